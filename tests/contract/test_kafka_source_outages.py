"""The source `kafka` and a broker that is not there, goes away, or does not let it in; and what `check` says of it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.sources.kafka import Kafka
from actors.testing.reading import Reading
from tests.contract.test_kafka_source import (
    has,
    numbered,
    options,
    reading,
    to_the_end,
    until_it_works,
    values,
)
from tests.kafka import PASSWORD, STRANGER, USER, WATCHDOG_S, Topics
from tests.kafka import Kafka as Broker
from tests.servers import free_port


@pytest.fixture(scope="session")
def topics(kafka: Broker) -> Topics:
    return Topics(kafka.address)


def login(kafka: Broker, user: str = USER, password: str = PASSWORD) -> dict[str, str]:
    return {"security.protocol": "SASL_SSL", "ssl.ca.location": str(kafka.authority), "sasl.mechanism": "PLAIN",
            "sasl.username": user, "sasl.password": password}


def at(address: str, name: str, **more: Any) -> Kafka:
    return Kafka(topics=[f"kafka://{address}/{name}"], look_s=0.1, **more)


def test_a_position_behind_what_another_leader_has_passed_over_is_one_in_its_log_and_nothing_is_told_as_lost(
    tmp_path: Path, kafka_to_kill: Broker
) -> None:
    """The end of a transaction that was open when the broker was killed is no record, and is of the next epoch."""
    from confluent_kafka import Producer

    broker = kafka_to_kill
    name = Topics(broker.address).make()
    words = {"bootstrap.servers": broker.address, "transactional.id": name}
    producer = Producer(words)
    producer.init_transactions()
    producer.begin_transaction()
    for number in range(5):
        producer.produce(name, b"%d" % number)
    producer.commit_transaction()
    producer.begin_transaction()
    producer.produce(name, b"5")
    producer.flush()
    with reading(broker, tmp_path / "state", name) as source:
        source.read_until(has(5))
        broker.kill()
        broker.start()
        Producer(words).init_transactions(WATCHDOG_S)  # aborts what was open
        until_it_works(source, lambda: source.chunks[-1].end == 8)
        source.commit(*source.chunks)
    for number in (6, 7):
        Topics(broker.address).send(name, [{"value": b"%d" % number}])
        with reading(broker, tmp_path / "state", name) as source:
            source.read_until(has(1))
            assert values(source.chunks) == [b"%d" % number]
            assert len(source.ledger.known("kafka ")) == 1, "nothing was told as cut back"
            source.commit(*source.chunks)


def test_a_broker_that_is_not_there_yet_is_waited_for_and_logs_that_it_has_lost_meanwhile_are_told(
    tmp_path: Path, kafka_to_kill: Broker
) -> None:
    broker = kafka_to_kill
    topics = Topics(broker.address)
    name = topics.make()
    topics.send(name, numbered(5))
    cut = [topics.make() for _ in range(4)]
    for one in cut:
        topics.send(one, numbered(5))
        with reading(broker, tmp_path / one, one, follow=False) as source:
            source.commit(*to_the_end(source))
            source.finish()
            source.ledger.commit()
    broker.kill()
    for one in cut:
        (log,) = broker.folder.glob(f"**/{one}-0")
        shutil.rmtree(log)
    with reading(broker, tmp_path / "state", name, follow=False) as source:
        with pytest.raises(Retryable, match="refused"):
            source.read_until(lambda _: False)
        (problem,) = options(broker, name).check(tmp_path / "state")
        assert "refused" in problem
        broker.start()
        until_it_works(source, lambda: source.source.exhausted)
        assert values(source.chunks) == [b"%d" % number for number in range(5)]
    topics = Topics(broker.address)
    for one, count, is_followed in zip(cut, (2, 5, 9, 2), (False, False, False, True), strict=True):
        topics.send(one, numbered(count, 100))
        with reading(broker, tmp_path / one, one, follow=is_followed) as source:
            until_it_works(source, lambda new=count: has(new)(source) and any(  # type: ignore[misc]
                chunk.fault for chunk in source.chunks))
            assert values(source.chunks) == [b"%d" % number for number in range(100, 100 + count)], "all is new"
            (told,) = [chunk for chunk in source.chunks if chunk.fault]
            assert (told.start, told.end) == (5, 6)
            assert "its log was cut back" in told.detail and "offsets from 0 on are given anew" in told.detail
            assert is_followed or to_the_end(source)


def test_it_reads_with_tls_and_an_unknown_authority_is_refused(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    known = {"security.protocol": "SSL", "ssl.ca.location": str(kafka.authority)}
    good = at(kafka.tls_address, name, follow=False, client=known)
    assert good.check(tmp_path / "state") == []
    with Reading(good, tmp_path / "state", 1000) as source:
        assert len(values(to_the_end(source))) == 5
    bad = at(kafka.tls_address, name, client={"security.protocol": "SSL"})
    with pytest.raises(ConfigError, match=r"mend ssl\.\* in client"):
        bad.check(tmp_path / "other")
    with Reading(bad, tmp_path / "other", 1000) as source, pytest.raises(ConfigError, match=r"mend ssl\.\* in client"):
        source.read_until(has(1))


def test_it_reads_with_a_login_and_a_wrong_one_is_refused_without_its_password(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    good = at(kafka.login_address, name, follow=False, client=login(kafka))
    assert good.check(tmp_path / "state") == []
    with Reading(good, tmp_path / "state", 1000) as source:
        assert len(values(to_the_end(source))) == 5
    bad = at(kafka.login_address, name, client=login(kafka, password="battery-staple"))
    with pytest.raises(ConfigError, match=r"mend sasl\.\* in client") as of_check:
        bad.check(tmp_path / "other")
    with Reading(bad, tmp_path / "other", 1000) as source, pytest.raises(
            ConfigError, match=r"mend sasl\.\* in client") as of_run:
        source.read_until(has(1))
    assert "battery-staple" not in str(of_check.value) + str(of_run.value)


def let_only_user(topics: Topics, kind: str, name: str) -> None:
    """From here on nobody else has this topic, or group."""
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    rule = AclBinding(ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{USER}", "*", AclOperation.ALL,
                      AclPermissionType.ALLOW)
    for future in topics.admin.create_acls([rule]).values():
        future.result(WATCHDOG_S)


def test_a_topic_that_this_user_may_not_read_is_refused_and_found_by_check(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    let_only_user(topics, "TOPIC", name)
    strange = at(kafka.login_address, name, client=login(kafka, STRANGER))
    with pytest.raises(ConfigError, match="an ACL of the topic"):
        strange.check(tmp_path / "state")
    with Reading(strange, tmp_path / "state", 1000) as source, pytest.raises(ConfigError, match="an ACL of the topic"):
        source.read_until(has(1))


def test_who_may_not_tell_the_broker_of_positions_reads_all_the_same_and_check_says_so(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    let_only_user(topics, "GROUP", name)
    strange = at(kafka.login_address, name, commit_as=name, client=login(kafka, STRANGER))
    (problem,) = strange.check(tmp_path / "state")
    assert "an ACL of the group" in problem
    member = at(kafka.login_address, name, group=name, client=login(kafka, STRANGER))
    with pytest.raises(ConfigError, match="an ACL of the group"):  # who may not commit is no member
        member.check(tmp_path / "state")
    with Reading(member, tmp_path / "member", 1000) as source, pytest.raises(
            ConfigError, match="an ACL of the group"):
        source.read_until(has(1))
    with Reading(strange, tmp_path / "state", 1000) as source:
        source.read_until(has(5))
        source.commit(*source.chunks)
        told = source.source._told  # type: ignore[attr-defined]
        source.read_until(lambda _: told.refused is not None)
        source.read_until(lambda _: source.ledger.taken_up()[0].note != "")
        assert "positions are not told to the broker" in source.ledger.taken_up()[0].note
        refused = told.refused
    with reading(kafka, tmp_path / "early", name) as source:  # it may be known before any partition is read
        source.source._told.refused = refused  # type: ignore[attr-defined]
        source.tick()
        source.read_until(has(5))
        source.tick()
        assert "positions are not told to the broker" in source.ledger.taken_up()[0].note


def test_check_finds_a_topic_that_is_not_there_and_offsets_that_are_gone(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(10))
    state = tmp_path / "state"
    with reading(kafka, state, name, batch_bytes=20) as source:
        source.read_until(has(10))
        source.commit(*source.chunks[:1])
        low = source.chunks[0].end
    assert options(kafka, name).check(state) == []
    topics.forget(name, 0, 7)
    (problem,) = options(kafka, name).check(state)
    assert f"{name}/0: offsets {low} to 6 are not there any more" in problem
    (problem,) = options(kafka, "nowhere").check(state)
    assert "there is no topic nowhere" in problem
    with pytest.raises(ConfigError, match="there is no topic nowhere"):  # nobody waits for it
        options(kafka, "nowhere", follow=False).check(state)
    with pytest.raises(ConfigError, match=r"source\.client: .*fetch\.max\.bytes"):
        options(kafka, name, client={"fetch.max.bytes": -1}).check(state)
    with pytest.raises(ConfigError, match=r"source\.partitions: expected 0 to 0"):
        options(kafka, name, partitions=[3]).check(state)
    (problem,) = at(f"127.0.0.1:{free_port()}", name).check(state)
    assert "refused" in problem
