"""What ``explain`` promises between our topics, Kafka and RabbitMQ: each source with each sink."""

from __future__ import annotations

import pytest

from actors.console.paths import path_of, state_of
from actors.runtime.ports import MOVED, SinkOptions, SourceOptions
from actors.sinks import kafka as kafka_sink
from actors.sinks import rabbitmq as rabbitmq_sink
from actors.sinks.lmdb import Lmdb
from actors.sinks.sql import Sql
from actors.sinks.topic import Topic as TopicSink
from actors.sources.kafka import Kafka
from actors.sources.rabbitmq import RabbitMQ
from actors.sources.topic import Topic

KAFKA, COLUMNS = "kafka://h:1/name", {"a": "text"}
TO_TOPIC, TO_KAFKA = TopicSink(), kafka_sink.Kafka(topic=KAFKA)
IN_TRANSACTIONS = kafka_sink.Kafka(topic=KAFKA, transactions=True)
TO_RABBITMQ = rabbitmq_sink.RabbitMQ(topic="amqp://h:1/?queue=name")
TO_TABLE, BY_KEY = Sql(columns=COLUMNS), Sql(columns=COLUMNS, key=["a"])
OF_TOPIC, OF_KAFKA, OF_GROUP = (
    Topic(topics=["topic:x"]), Kafka(topics=[KAFKA]), Kafka(topics=[KAFKA], group="g"))
AMQP = "amqp://h:1/?queue=name"
OF_QUEUE, OF_STREAM = RabbitMQ(topics=[AMQP]), RabbitMQ(topics=[AMQP], queue_type="stream")
WITHOUT_ID = "a message without a message id comes again when its acknowledgement was lost"


@pytest.mark.parametrize(("source", "sink", "promise"), [
    *((source, sink, "exactly once: ") for source in (OF_TOPIC, OF_KAFKA, OF_STREAM)
      for sink in (TO_TOPIC, IN_TRANSACTIONS, TO_TABLE, BY_KEY)),
    *((source, Lmdb(), "effectively once: ")
      for source in (OF_TOPIC, OF_KAFKA, OF_GROUP, OF_QUEUE, OF_STREAM)),
    *((source, sink, "at least once: what is written again after a crash is there twice")
      for source in (OF_TOPIC, OF_KAFKA, OF_GROUP, OF_QUEUE, OF_STREAM) for sink in (TO_KAFKA, TO_RABBITMQ)),
    *((OF_GROUP, sink, f"at least once: {MOVED}, and is there twice then")
      for sink in (TO_TOPIC, IN_TRANSACTIONS, TO_TABLE)),
    (OF_GROUP, BY_KEY, f"effectively once: {MOVED}, and takes its own place by its key"),
    *((OF_QUEUE, sink, f"at least once: {WITHOUT_ID}") for sink in (TO_TOPIC, IN_TRANSACTIONS, TO_TABLE)),
    (OF_QUEUE, BY_KEY, f"effectively once: {WITHOUT_ID}"),
])
def test_no_path_promises_more_than_its_source_or_its_sink(
    source: SourceOptions, sink: SinkOptions, promise: str
) -> None:
    assert path_of(source, sink).startswith(promise)


def test_what_is_folded_of_a_queue_is_counted_twice_where_a_message_comes_twice() -> None:
    assert state_of(OF_QUEUE).startswith(
        f"at least once: state and positions are in one transaction, but {WITHOUT_ID}")
    assert {state_of(source) for source in (OF_TOPIC, OF_KAFKA, OF_STREAM)} == {
        "exactly once: state and positions in one transaction"}


@pytest.mark.parametrize("sink", [TO_TOPIC, TO_KAFKA, IN_TRANSACTIONS, TO_RABBITMQ])
def test_a_tombstone_goes_on_through_a_broker(sink: SinkOptions) -> None:
    assert sink.tombstones().startswith("(key, None) goes to those who read")


@pytest.mark.parametrize("one", [OF_KAFKA, OF_GROUP, OF_QUEUE, TO_KAFKA, IN_TRANSACTIONS, TO_RABBITMQ])
def test_a_broker_is_waited_for_as_long_as_it_takes(one: SourceOptions | SinkOptions) -> None:
    assert type(one).max_outage_s == 0.0
