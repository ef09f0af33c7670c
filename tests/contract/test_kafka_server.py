"""The Kafka that tests use is a real one: it keeps what it acknowledged, its transactions are all or nothing."""

from __future__ import annotations

import pytest

from tests.kafka import PASSWORD, STRANGER, USER, WATCHDOG_S, Kafka, Topics
from tests.monitors import eventually
from tests.processes import named_in_processes


def _values(topics: Topics, name: str, isolation: str = "read_committed") -> list[bytes | None]:
    return [message.value() for message in topics.read(name, isolation)]


def test_kafka_keeps_its_records_over_a_kill_and_leaves_nothing() -> None:
    with Kafka() as kafka:
        topics = Topics(kafka.address)
        name = topics.make(partitions=2)
        topics.send(name, [{"key": b"a", "value": b"1", "partition": 0, "headers": [("h", b"x")], "timestamp": 5}])
        topics.send(name, [{"value": b"2", "partition": 1}])
        kafka.restart()
        topics.send(name, [{"key": b"a", "value": None, "partition": 0}])
        first, second, third = topics.read(name)
        assert (first.key(), first.value(), first.headers(), first.timestamp()[1]) == (b"a", b"1", [("h", b"x")], 5)
        assert (second.value(), third.value()) == (None, b"2")
        folder = kafka.folder
    assert not folder.exists()
    assert not named_in_processes(str(folder))


def test_a_transaction_of_kafka_is_all_or_nothing_and_fences_the_older_producer(kafka: Kafka) -> None:
    topics = Topics(kafka.address)
    name = topics.make()
    older = topics.producer(**{"transactional.id": name})
    older.init_transactions(WATCHDOG_S)
    for value, end in ((b"kept", older.commit_transaction), (b"aborted", older.abort_transaction)):
        older.begin_transaction()
        older.produce(name, value)
        assert older.flush(WATCHDOG_S) == 0
        end(WATCHDOG_S)
    older.begin_transaction()
    older.produce(name, b"a zombie's")
    assert older.flush(WATCHDOG_S) == 0
    newer = topics.producer(**{"transactional.id": name})
    newer.init_transactions(WATCHDOG_S)
    with pytest.raises(Exception, match="FENCED"):
        older.commit_transaction(WATCHDOG_S)
    newer.begin_transaction()
    newer.produce(name, b"too")
    newer.commit_transaction(WATCHDOG_S)
    assert _values(topics, name) == [b"kept", b"too"]
    assert _values(topics, name, "read_uncommitted") == [b"kept", b"aborted", b"a zombie's", b"too"]


def test_a_topic_of_kafka_grows_and_forgets(kafka: Kafka) -> None:
    topics = Topics(kafka.address)
    name = topics.make(retention_ms=86_400_000)
    topics.send(name, [{"value": b"%d" % one} for one in range(5)])
    topics.forget(name, 0, before=3)
    topics.grow(name, 2)
    topics.send(name, [{"value": b"5", "partition": 1}])
    assert [(one.partition(), one.offset(), one.value()) for one in topics.read(name)] == [
        (0, 3, b"3"), (0, 4, b"4"), (1, 0, b"5")]


def test_retention_and_compaction_of_kafka_take_records_at_once(kafka: Kafka) -> None:
    topics = Topics(kafka.address)
    short = topics.make(retention_ms=1)
    compacted = topics.make(cleanup_policy="compact", segment_ms=1, min_cleanable_dirty_ratio=0.001)
    topics.send(short, [{"value": b"1"}, {"value": b"2"}])
    for value in (b"older", b"newer", b"newest"):
        topics.send(compacted, [{"key": b"k", "value": value}])
    eventually(lambda: topics.first(short) == 2, "everything is taken")
    topics.send(compacted, [{"key": b"other", "value": b"the open segment is left alone"}])
    eventually(lambda: _values(topics, compacted)[0] == b"newest", "one record for the key")


@pytest.mark.parametrize("mechanism", [None, "PLAIN", "SCRAM-SHA-256"])
def test_kafka_is_reached_with_tls_and_with_a_login(kafka: Kafka, mechanism: str | None) -> None:
    topics = Topics(kafka.address)
    name = topics.make()
    topics.send(name, [{"value": b"1"}])
    options: dict[str, object] = {"security.protocol": "SSL", "ssl.ca.location": str(kafka.authority)}
    address = kafka.tls_address
    if mechanism == "SCRAM-SHA-256":
        topics.let_in(USER, PASSWORD)
    if mechanism is not None:
        address = kafka.login_address
        options |= {"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism, "sasl.username": USER,
                    "sasl.password": PASSWORD}
    consumer = topics.consumer(**{"bootstrap.servers": address, **options})
    consumer.subscribe([name])
    message = consumer.poll(WATCHDOG_S)
    consumer.close()
    assert message is not None and message.value() == b"1"


def test_kafka_refuses_a_stranger_where_a_topic_has_a_rule(kafka: Kafka) -> None:
    from confluent_kafka import KafkaError
    from confluent_kafka.admin._acl import AclBinding, AclOperation, AclPermissionType
    from confluent_kafka.admin._resource import ResourcePatternType, ResourceType

    topics = Topics(kafka.address)
    name = topics.make()
    rule = AclBinding(ResourceType.TOPIC, name, ResourcePatternType.LITERAL, f"User:{STRANGER}", "*",
                      AclOperation.ALL, AclPermissionType.DENY)
    for done in topics.admin.create_acls([rule]).values():
        done.result(WATCHDOG_S)
    consumer = topics.consumer(**{
        "bootstrap.servers": kafka.login_address, "security.protocol": "SASL_SSL", "sasl.mechanism": "PLAIN",
        "sasl.username": STRANGER, "sasl.password": PASSWORD, "ssl.ca.location": str(kafka.authority)})
    consumer.subscribe([name])
    message = consumer.poll(WATCHDOG_S)
    consumer.close()
    assert message is not None
    error = message.error()
    assert error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
