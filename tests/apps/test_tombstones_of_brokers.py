"""Tombstones through Kafka and RabbitMQ: published by their sinks, read by their sources; gone from store and table."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload
from actors.sinks.kafka import Kafka
from actors.sinks.lmdb import read_lmdb
from actors.sinks.rabbitmq import RabbitMQ
from tests.apps.test_letters_of_topics import dlq
from tests.apps.test_tombstones import run, table, words_of
from tests.kafka import Kafka as Broker
from tests.kafka import Topics
from tests.letters import letters
from tests.loads import assert_counts_add_up

pytest.importorskip("sqlalchemy")

WORDS = 1000


def a_place_in(broker: str, request: pytest.FixtureRequest) -> tuple[str, SinkOptions]:
    """A topic or a queue of its own: the address, and the sink that writes there."""
    server = request.getfixturevalue(broker)
    if broker == "kafka":
        address = f"kafka://{server.address}/{Topics(server.address).make(partitions=3)}"
        return address, Kafka(topic=address)
    address = server.url(f"?queue={server.new_name()}")
    return address, RabbitMQ(topic=address)


@pytest.mark.parametrize("broker", ["kafka", "rabbitmq"])
def test_the_last_word_on_each_key_stands_be_it_a_value_or_a_tombstone(
    request: pytest.FixtureRequest, tmp_path: Path, broker: str
) -> None:
    address, options = a_place_in(broker, request)
    spoken = list(words_of(2))[:WORDS]
    with closing(options.open("out", tmp_path)) as sink:
        assert sink.write([Payload("p", 0, 1, WORDS, options.pack(spoken))]) == []
    sets = (f"source.type={broker}", f'source.topics=["{address}"]', "source.follow=false")
    with run(tmp_path, *sets) as running:
        assert running.wait() == 0, running.output()
    expected = {key: value for key, value in dict(spoken).items() if value is not None}
    assert 0 < len(expected) < len(dict(spoken))
    assert dict(read_lmdb(tmp_path / "state" / "store.lmdb")) == expected
    assert table(tmp_path / "state") == expected
    assert assert_counts_add_up(tmp_path / "state")["written.store"] == WORDS


def test_a_letter_of_kafka_says_partition_offset_key_and_headers_and_is_sent_in_again(
    tmp_path: Path, kafka: Broker
) -> None:
    topics, state = Topics(kafka.address), tmp_path / "state"
    name = topics.make(partitions=2)
    topics.send(name, [{"key": b"a", "value": b"x", "partition": 1}, {"key": b"b", "value": b"y", "partition": 1},
                       {"key": b"a", "value": None, "partition": 1, "headers": [("trace", b"\xfe")]}])
    with run(tmp_path, "source.type=kafka", f'source.topics=["kafka://{kafka.address}/{name}"]', "source.follow=false",
             "budget.max_error_rate=1", target="tests.pipelines.erased:VALUES") as running:
        assert running.wait() == 0, running.output()
    assert dict(read_lmdb(state / "store.lmdb")) == {b"a": b"X", b"b": b"Y"}
    (number,) = letters(state)
    shown = dlq("show", state, str(number))
    assert f"{name}/1 offset 2\n" in shown and "trace" in shown
    assert "1 retried, 0 rejected again" in dlq("retry", state)
    assert dict(read_lmdb(state / "store.lmdb")) == {b"b": b"Y"}
