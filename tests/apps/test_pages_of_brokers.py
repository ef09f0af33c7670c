"""The pipeline that the page of each broker begins with, as it stands there, beside a real server."""

from __future__ import annotations

import re
from pathlib import Path

from actors.sinks.dead_letters import read_letters
from actors.sinks.lmdb import read_lmdb
from tests.kafka import Kafka, Topics
from tests.loads import ROOT, Running
from tests.queues import declare, publish
from tests.rabbitmq import RabbitMQ

ORDERS = [b'{"id": "a"}', b'{"id": "b"}', b"no order", b'{"id": "c"}']


def assert_it_runs(folder: Path, page: str, address: str) -> None:
    """All orders are in the store, what is none is a letter."""
    (block,) = re.findall(r"```python\n(# orders.py\n.*?)```", (ROOT / "docs" / page).read_text(), re.S)
    pipeline, count = re.subn(r'topics=\[".*?"\]', f"topics=[{address!r}]", block)
    assert count == 1
    (folder / "orders.py").write_text(pipeline)
    with Running(folder / "state", "run", str(folder / "orders.py"), "--once", "--set",
                 "budget.max_error_rate=1") as running:
        assert running.wait() == 0, running.output()
    assert sorted(key for key, _ in read_lmdb(folder / "state" / "orders.lmdb")) == [b"a", b"b", b"c"]
    (letter,) = read_letters(folder / "state" / "dead-letters.db")
    assert (letter.reason, letter.raw) == ("json", b"no order")


def test_the_pipeline_of_the_page_on_kafka_runs(tmp_path: Path, kafka: Kafka) -> None:
    topics = Topics(kafka.address)
    name = topics.make()
    topics.send(name, [{"value": order} for order in ORDERS])
    assert_it_runs(tmp_path, "kafka.md", f"kafka://{kafka.address}/{name}")


def test_the_pipeline_of_the_page_on_rabbitmq_runs(tmp_path: Path, rabbitmq: RabbitMQ) -> None:
    queue = rabbitmq.new_name()
    declare(rabbitmq.url(), queue)
    publish(rabbitmq.url(), queue, ORDERS)
    assert_it_runs(tmp_path, "rabbitmq.md", rabbitmq.url(f"?queue={queue}"))
