"""The job whose sinks are servers that keep their power: what they have is ahead of what this machine's disk has left.

On a real disk only: a cut that is worked out from a record comes when the servers have all of it already.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any
from uuid import uuid4

from actors.sinks.dead_letters import read_letters
from tests import amqp
from tests.kafka import Kafka, Topics
from tests.postgres import Postgres
from tests.powercut.cuts import FILES, Job, write_numbers
from tests.rabbitmq import RabbitMQ
from tests.servers import Memcached

LINES = 120


class Elsewhere:
    """The servers; each run has places of its own in them."""

    def __init__(self, memcached: Memcached, postgres: Postgres, kafka: Kafka, rabbitmq: RabbitMQ) -> None:
        self._memcached, self._postgres, self._kafka, self._rabbitmq = memcached, postgres, kafka, rabbitmq
        self._topics = Topics(kafka.address)
        self._database = self._name = ""

    def job(self) -> Job:
        """What is run: the configuration in its folder says where its places are."""
        return Job(("elsewhere.toml",), self.prepare, self.look)

    def prepare(self, root: Path) -> None:
        """Make its input, and places that are empty."""
        write_numbers(root, FILES, LINES)
        self._name, self._database = f"n{uuid4().hex}", self._postgres.make_database()
        self._memcached.flush()
        self._topics.make(name=self._name)
        url = self._rabbitmq.url(f"?queue={self._name}")
        amqp.declare(self._rabbitmq.url(), self._name)
        (root / "elsewhere.toml").write_text(f"""app = "tests.pipelines.elsewhere"
            sinks.kept.server = "{self._memcached.address}"
            sinks.rowed.url = "{self._postgres.url(self._database)}"
            sinks.told.topic = "kafka://{self._kafka.address}/{self._name}"
            sinks.queued.topic = "{url}"
            budget.max_error_rate = 0.5
            flow.batch_bytes = 100
            flow.window_batches = 4
            """)

    def look(self, root: Path) -> Any:
        """What is in each place; messages of a queue may be there again, under the same id."""
        with self._postgres.connect(self._database) as connection:
            rowed = sorted(number for (number,) in connection.execute("SELECT number FROM numbers"))
        queued = amqp.take(self._rabbitmq.url(), self._name)
        of = {(message.id, message.body) for message in queued}
        assert len({message_id for message_id, _ in of}) == len(of), "an id is that of two messages"
        return {
            "kept": self._memcached.get_many([b"%d" % number for number in range(FILES * LINES)]),
            "rowed": rowed,
            "told": [message.value() for message in self._topics.read(self._name)],
            "queued": sorted(body for _, body in of),
            "letters": Counter(letter.raw for letter in read_letters(root / "state" / "dead-letters.db")),
            "files": sorted(path.name for path in (root / "data").iterdir())}
