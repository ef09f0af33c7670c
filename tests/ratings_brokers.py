"""Where ratings go from one pipeline to the other: a topic on this disk, in Kafka, or through RabbitMQ.

    topic     a folder                                                        read back: the folder
    kafka     a topic of three partitions, written in transactions            read back: the topic
    rabbitmq  an exchange with two queues, of which trends consumes one       read back: the other

Each place is a fresh one. ``options`` are those that a side needs: one line for the broker, and what makes each rating
one, also when its writer dies between sending it and hearing of it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from actors.runtime.framing import Record
from tests.kafka import Kafka, Topics
from tests.rabbitmq import RabbitMQ
from tests.ratings import records_of

PARTITIONS = 3


class Server(Protocol):
    """A broker that can be killed."""

    def kill(self) -> None:
        """SIGKILL."""

    def start(self) -> None:
        """Start it again, with what it has on its disk."""


class Place:
    """A place for ``live_ratings``.

    Attributes:
        name: of the broker.
        server: the broker; None: it is no process.
        published_to: what ``sinks.live_ratings.topic`` says.
        read_from: what is in ``source.topics``.
        more: further options of each side, by ``feed`` and ``trends``.
    """

    name = ""
    server: Server | None = None
    published_to = ""
    read_from = ""
    more: Mapping[str, Sequence[str]] = {}

    def records(self) -> list[Record]:
        """Everything that was published there, in the order in which it was taken."""
        raise NotImplementedError

    def grow(self) -> None:
        """Add a partition, where there are any."""


def options(place: Place, side: str) -> list[str]:
    """The words of the command line that let ``feed`` or ``trends`` use this place."""
    line = f"sinks.live_ratings.topic={place.published_to}" if side == "feed" else (
        f'source.topics=["{place.read_from}"]')
    return sets(line, *place.more[side])


def sets(*items: str) -> list[str]:
    """Each as a ``--set``."""
    return [word for item in items for word in ("--set", item)]


class OnDisk(Place):
    """A topic of our own.

    Args:
        folder: where it is made; states lie in the same folder.
    """

    name = "topic"

    def __init__(self, folder: Path) -> None:
        self._topic = folder / "topics" / "live_ratings"
        self.published_to = self.read_from = f"topic:{self._topic}"
        self.more = {"feed": (f"sinks.live_ratings.partitions={PARTITIONS}",), "trends": ("source.idle_timeout_s=1",)}

    def records(self) -> list[Record]:
        return records_of(self._topic)


class InKafka(Place):
    """A topic of Kafka.

    Args:
        server: the broker.
    """

    name = "kafka"

    def __init__(self, server: Kafka) -> None:
        self.server = server
        self._topics = Topics(server.address)
        self._topic = self._topics.make(PARTITIONS)
        self._grown: set[int] = set()
        self.published_to = self.read_from = f"kafka://{server.address}/{self._topic}"
        self.more = {"feed": ("sinks.live_ratings.transactions=true", "sinks.live_ratings.timeout_s=2"),
                     "trends": ("source.idle_timeout_s=1", "source.look_s=0.2")}

    def records(self) -> list[Record]:
        found = self._topics.read(self._topic)
        assert self._grown <= {one.partition() for one in found}, "nothing was published to what was added"
        return [Record(one.offset() or 0, one.value(), key=one.key(), time=one.timestamp()[1]) for one in found]

    def grow(self) -> None:
        self._topics.grow(self._topic, PARTITIONS + 1)
        self._grown = {PARTITIONS}


class InRabbitMQ(Place):
    """An exchange of RabbitMQ with two queues.

    Args:
        server: the broker.
        audited: False: only the queue that is consumed, and no exchange; nothing is read back.
    """

    name = "rabbitmq"

    def __init__(self, server: RabbitMQ, audited: bool = True) -> None:
        from tests import amqp

        self.server = server
        self._url = server.url()
        self._audit = f"audit.{(name := server.new_name())}"
        with amqp.channel(self._url) as channel:
            channel.exchange_declare(name, "direct", durable=True)
            for queue in (name, self._audit) if audited else (name,):
                channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
                channel.queue_bind(queue, name, "ratings")
        for queue in (name, self._audit) if audited else (name,):
            server.until_kept(queue)  # it may be killed soon
        self.published_to = server.url(f"?exchange={name}&routing_key=ratings" if audited else f"?queue={name}")
        self.read_from = server.url(f"?queue={name}")
        self.more = {"feed": (), "trends": ("source.unique_ids=true",)}

    def records(self) -> list[Record]:
        """What was published several times under one message id was published once. The queue is empty then."""
        from actors.rabbitmq.properties import record_of
        from tests import amqp

        found: dict[str, Record] = {}
        for one in amqp.consume(self._url, self._audit):
            found.setdefault(one.id, record_of(len(found), one.properties, one.body))
        return list(found.values())


def missing(name: str) -> str:
    """Why there is no such broker on this machine; empty: there is one."""
    if name == "kafka":
        from scripts.kafka import NotThere, find_jars, find_java

        try:
            find_java()
            find_jars()
        except NotThere as error:
            return str(error)
    if name == "rabbitmq" and not os.path.exists("/usr/lib/rabbitmq/bin/rabbitmq-server"):
        return "RabbitMQ is not installed (apt-get install rabbitmq-server)"
    return ""


BROKERS: Sequence[str] = ("topic", "kafka", "rabbitmq")


@contextmanager
def servers(name: str) -> Iterator[Kafka | RabbitMQ | None]:
    """A broker, one that is not ``missing``, started for this and ended; None for topics on this disk."""
    if name == "kafka":
        with Kafka() as kafka:
            yield kafka
    elif name == "rabbitmq":
        with RabbitMQ() as rabbitmq:
            yield rabbitmq
    else:
        yield None


def placed_in(server: Kafka | RabbitMQ | None, folder: Path, audited: bool = True) -> Place:
    """A fresh place in a broker.

    Args:
        server: the broker.
        folder: where a topic on this disk is made.
        audited: whether it can be read back.
    """
    if isinstance(server, Kafka):
        return InKafka(server)
    return InRabbitMQ(server, audited) if isinstance(server, RabbitMQ) else OnDisk(folder)
