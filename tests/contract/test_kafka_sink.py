"""The sink of Kafka on the real broker: what is written, what is refused, who may, and that each message is there."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar
from uuid import uuid4

import pytest

from actors.kafka.applied import owner_of
from actors.kafka.identity import FILE, id_of
from actors.kafka.received import headers_of
from actors.runtime.errors import ConfigError, Lost, Retryable
from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload
from actors.sinks.kafka import Kafka
from actors.sinks.kafka_ending import Ending
from actors.sinks.kafka_messages import RECORD_ID
from actors.sinks.kafka_producer import Broker
from actors.testing import SinkContract
from actors.topics.blocks import Message, unpack_items
from tests.kafka import PASSWORD, STRANGER, USER, WATCHDOG_S, Topics
from tests.kafka import Kafka as Server
from tests.kafka_hanging import Hung, hang

#: Small enough for a test that waits for it, and far more than a broker takes that is not stopped.
PATIENCE_S = 3.0


@pytest.fixture
def topics(kafka: Server) -> Topics:
    return Topics(kafka.address)


def sink(kafka: Server, name: str, **options: Any) -> Kafka:
    return Kafka(topic=f"kafka://{kafka.address}/{name}", **{"timeout_s": 30.0, **options})


def batch(options: SinkOptions, start: int, items: list[Any], partition: str = "run/1") -> Payload:
    return Payload(partition, start, start + 1, len(items), options.pack(items))


def written(topics: Topics, name: str, **options: Any) -> list[Message]:
    """The messages as they are in the topic, without their ids."""
    if name not in topics.admin.list_topics(timeout=WATCHDOG_S).topics:
        return []
    return [Message(one.value(), one.key(), one.timestamp()[1],
                    tuple((head, value) for head, value in headers_of(one) if head != RECORD_ID))
            for one in topics.read(name, **options)]


def ids(topics: Topics, name: str) -> list[str]:
    return [(dict(headers_of(one))[RECORD_ID] or b"").decode() for one in topics.read(name)]


class TestKafka(SinkContract):
    """A topic, with all that a message may have."""

    repeats: ClassVar[bool] = True
    in_order: ClassVar[bool] = True
    transactions: ClassVar[bool] = False

    @pytest.fixture(autouse=True)
    def _server(self, kafka: Server) -> None:
        self.server = kafka
        self.topics = Topics(kafka.address)
        self.topic = f"t{uuid4().hex}"

    def options(self, folder: Path) -> SinkOptions:
        return sink(self.server, self.topic, timeout_s=PATIENCE_S, partitions=1, transactions=self.transactions,
                    applied_topic=f"{self.topic}.applied")

    def items(self) -> list[Any]:
        return [Message(b"one", b"a", 1, (("h", b"x"), ("h", None))), Message(None, b"b", 2), Message(b"", None, 3),
                Message(b"\n\xff", b"", 4)]

    def impossible(self) -> Any:
        """Packed as it is allowed, and with its id and its framing a little too large for the client."""
        return Message(b"x" * 1_000_000, None, 5)

    def contents(self, folder: Path) -> list[Any]:
        return written(self.topics, self.topic)

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        self.server.pause()
        try:
            yield
        finally:
            self.server.resume()


class TestKafkaInTransactions(TestKafka):
    repeats: ClassVar[bool] = False
    transactions: ClassVar[bool] = True


def test_a_message_has_the_id_of_its_record_the_same_in_every_delivery(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name)
    payloads = [batch(options, 4, [b"a", b"b"]), batch(options, 5, [("k", "c")])]
    for _ in range(2):
        with closing(options.open("out", tmp_path)) as opened:
            opened.write(payloads)
    assert ids(topics, name) == ["run/1:4-5:0", "run/1:4-5:1", "run/1:5-6:0"] * 2


@pytest.mark.parametrize("transactions", [False, True])
@pytest.mark.parametrize("compression", ["none", "gzip", "snappy", "lz4", "zstd"])
def test_every_compression_that_may_be_chosen_is_one_that_the_broker_takes(
    tmp_path: Path, kafka: Server, topics: Topics, compression: Any, transactions: bool
) -> None:
    name = topics.make()
    options = sink(kafka, name, compression=compression, transactions=transactions)
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"text " * 1000])])
    assert [one.value for one in written(topics, name)] == [b"text " * 1000]


def test_messages_of_a_key_are_in_the_partition_that_the_java_client_takes(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make(partitions=32)
    hashes = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    options = sink(kafka, name)
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [(key, b"v") for key in hashes])])
    assert {one.key(): one.partition() for one in topics.read(name)} == {
        key: (found & 0x7FFFFFFF) % 32 for key, found in hashes.items()}


def test_a_topic_that_is_missing_is_made_as_the_options_say(tmp_path: Path, kafka: Server, topics: Topics) -> None:
    name = f"t{uuid4().hex}"
    options = sink(kafka, name, partitions=3, replication=1)
    assert options.check("out", tmp_path) == []
    assert name not in topics.admin.list_topics(timeout=WATCHDOG_S).topics
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"a"])])
    assert len(topics.admin.list_topics(timeout=WATCHDOG_S).topics[name].partitions) == 3
    assert [one.value for one in written(topics, name)] == [b"a"]


def test_a_topic_that_cannot_be_made_is_told_by_check_and_ends_the_run(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = f"t{uuid4().hex}"
    options = sink(kafka, name, replication=3)
    with pytest.raises(ConfigError, match=r"cannot be made: .*[Rr]eplication"):
        options.check("out", tmp_path)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError, match=f"sinks.out: .*/{name}: "):
        opened.write([batch(options, 0, [b"a"])])


@pytest.mark.parametrize("transactions", [False, True])
def test_a_topic_that_is_missing_and_not_to_be_made_is_said_with_what_to_do(
    tmp_path: Path, kafka: Server, transactions: bool
) -> None:
    name = f"t{uuid4().hex}"
    options = sink(kafka, name, create=False, transactions=transactions, applied_topic=f"{name}.applied")
    with pytest.raises(ConfigError, match=f"there is no topic {name}: make it, or set sinks.out.create = true"):
        options.check("out", tmp_path)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError, match="there is no"):
        opened.write([batch(options, 0, [b"a"])])


@pytest.mark.parametrize("transactions", [False, True])
def test_what_is_too_large_for_the_topic_is_refused_alone_and_its_neighbours_are_there_in_order(
    tmp_path: Path, kafka: Server, topics: Topics, transactions: bool
) -> None:
    name = topics.make(max_message_bytes=2000)
    options = sink(kafka, name, transactions=transactions, compression="none")
    items: list[Any] = [("k", b"%d" % number) for number in range(300)]
    for at in (7, 150, 299):
        items[at] = ("k", b"x" * 3000 + b"%d" % at)
    payloads = [batch(options, 0, items[:100]), batch(options, 1, items[100:])]
    with closing(options.open("out", tmp_path)) as opened:
        refusals = opened.write(payloads)
        assert [(one.payload, one.item, one.reason) for one in refusals] == [
            (0, 7, "too_large"), (1, 50, "too_large"), (1, 199, "too_large")]
        assert unpack_items(refusals[1].raw) == [Message(items[150][1], b"k")]
        assert opened.write([batch(options, 2, [("k", b"300")])]) == []
    found = [one.value for one in written(topics, name)]
    assert found == [b"%d" % number for number in range(301) if number not in (7, 150, 299)], "each once, in order"


@pytest.mark.parametrize("transactions", [False, True])
def test_what_the_broker_refuses_for_its_own_sake_is_refused_alone(
    tmp_path: Path, kafka: Server, topics: Topics, transactions: bool
) -> None:
    name = topics.make(cleanup_policy="compact")
    options = sink(kafka, name, transactions=transactions)
    with closing(options.open("out", tmp_path)) as opened:
        refusals = opened.write([batch(options, 0, [("a", "1"), "without a key", ("b", "2")])])
    assert [(one.payload, one.item, one.reason) for one in refusals] == [(0, 1, "sink_rejected")]
    assert {one.key: one.value for one in written(topics, name)} == {b"a": b"1", b"b": b"2"}


def test_a_writer_that_dies_before_its_refusals_are_stored_says_them_again(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make(cleanup_policy="compact")
    options = sink(kafka, name, transactions=True)
    payloads = [batch(options, 0, [("a", "1"), "without a key"]), batch(options, 1, [("b", "2")])]
    with closing(options.open("out", tmp_path)) as opened:
        first = opened.write(payloads)
    with closing(options.open("out", tmp_path)) as opened:
        again = opened.write([*payloads, batch(options, 2, [("c", "3"), "nor this"])])
    assert again[:1] == first
    assert [(one.payload, one.item) for one in again] == [(0, 1), (2, 1)]
    assert [one.value for one in written(topics, name)] == [b"1", b"2", b"3"]


# Outages -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("transactions", [False, True])
def test_a_broker_that_falls_silent_is_waited_for_and_what_was_under_way_is_there_once(
    tmp_path: Path, kafka: Server, topics: Topics, transactions: bool
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=transactions, timeout_s=1.0)
    second = [batch(options, 1, [b"1", b"2"])]
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
        kafka.pause()
        try:
            for _ in range(2):
                with pytest.raises(Retryable, match=f"{kafka.address}/{name}: "):
                    opened.write(second)
        finally:
            kafka.resume()
        finish(opened, second)
        finish(opened, [batch(options, 2, [b"3"])])
    assert [one.value for one in written(topics, name)] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("transactions", [False, True])
def test_a_topic_that_is_removed_or_made_anew_is_told_once_and_the_new_one_is_written_to(
    tmp_path: Path, kafka: Server, topics: Topics, monkeypatch: pytest.MonkeyPatch, transactions: bool
) -> None:
    monkeypatch.setattr("actors.sinks.kafka_producer._SAME_S", 0.0)
    name = topics.make()
    options = sink(kafka, name, transactions=transactions, applied_topic=f"{name}.applied")
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"0"])])
        topics.delete(name)
        topics.make(name=name)
        with pytest.raises(Retryable, match=r"the topic was removed( and made anew)?: what was written"):
            opened.write([batch(options, 1, [b"1"])])
        finish(opened, [batch(options, 1, [b"1"])])
        assert [one.value for one in written(topics, name)] == [b"1"]
        topics.delete(name)
        with pytest.raises(Retryable, match="the topic was removed: "):
            opened.write([batch(options, 2, [b"2"])])
        finish(opened, [batch(options, 2, [b"2"])])
        finish(opened, [batch(options, 3, [b"3"])])
    assert [one.value for one in written(topics, name)] == [b"2", b"3"]


def test_a_topic_that_is_removed_and_not_to_be_made_is_waited_for(
    tmp_path: Path, kafka: Server, topics: Topics, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sinks.kafka_producer._SAME_S", 0.0)
    name = topics.make()
    options = sink(kafka, name, create=False)
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"0"])])
        topics.delete(name)
        for said in ("the topic was removed", "there is no such topic"):
            with pytest.raises(Retryable, match=said):
                opened.write([batch(options, 1, [b"1"])])
        topics.make(name=name)
        finish(opened, [batch(options, 1, [b"1"])])
    assert [one.value for one in written(topics, name)] == [b"1"]


def test_positions_that_are_gone_end_the_run_and_say_what_follows(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=True, applied_topic=f"{name}.applied", timeout_s=2.0)
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
        topics.delete(f"{name}.applied")
        with pytest.raises(Lost, match="has lost the positions of this sink: it was removed, or made anew"):
            finish(opened, [batch(options, 1, [b"1"])])
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 1, [b"1"])])
    assert [one.value for one in written(topics, name)] == [b"0", b"1"]


@pytest.mark.parametrize("transactions", [False, True])
def test_more_messages_than_the_client_holds_at_a_time_are_all_there_in_order(
    tmp_path: Path, kafka: Server, topics: Topics, transactions: bool
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=transactions, client={"queue.buffering.max.messages": 10})
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"%d" % number for number in range(300)])])
    assert [one.value for one in written(topics, name)] == [b"%d" % number for number in range(300)]


def finish(opened: Any, payloads: list[Payload]) -> None:
    """Write as a writer does: again, as long as it has to be waited for."""
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        with contextlib.suppress(Retryable):
            assert opened.write(payloads) == []
            return
    raise AssertionError(f"it cannot be written within {WATCHDOG_S} s")


# Transactions --------------------------------------------------------------------------------------------------------


def test_what_a_killed_broker_has_left_open_hides_no_position_and_is_in_no_later_transaction(
    tmp_path: Path, kafka_to_kill: Server
) -> None:
    topics = Topics(kafka_to_kill.address)
    name = topics.make(partitions=2)
    options = sink(kafka_to_kill, name, transactions=True, applied_topic=f"{name}.applied")
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
    with topics.credulous():
        hang(kafka_to_kill.address, f"{id_of(tmp_path)}/out", [
            Hung(f"{name}.applied", 0, b"hung"), Hung(name, 0, b"hung"), Hung(name, 1, b"hung")])
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 1, [Message(b"%d" % number, b"k%d" % number) for number in range(1, 9)])])
    assert sorted(one.value or b"" for one in written(topics, name)) == [b"%d" % number for number in range(9)]


@pytest.mark.parametrize(("committed", "is_answered"), [
    ("nothing", True), ("the position", False), ("the position", True), ("a message", False), ("nothing", False)])
def test_what_a_killed_broker_has_committed_by_half_is_there_once(
    tmp_path: Path, kafka_to_kill: Server, committed: str, is_answered: bool
) -> None:
    """The marks of a commit are missing in some partitions, or in all; the last case is one that was none."""
    topics = Topics(kafka_to_kill.address)
    name = topics.make(partitions=2)
    applied, transactional_id = f"{name}.applied", f"{id_of(tmp_path)}/out"
    options = sink(kafka_to_kill, name, transactions=True, applied_topic=applied)
    second = batch(options, 1, [Message(b"1", b"a"), Message(b"2", b"b")])
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
    position = json.dumps(["applied", owner_of(id_of(tmp_path), "out", name), "run/1"]).encode(), b"2"
    messages = [Hung(name, number, b"%d" % (number + 1), b"ab"[number:number + 1],
                     ((RECORD_ID, b"run/1:1-2:%d" % number),)) for number in (0, 1)]
    left = [*messages, Hung(applied, 0, position[1], position[0])]
    if committed == "the position":
        topics.send(applied, [{"key": position[0], "value": position[1]}])
        del left[2]
    elif committed == "a message":
        topics.send(name, [{"partition": 0, "key": b"a", "value": b"1", "headers": dict(messages[0].headers)}])
        del left[0]
    with topics.credulous():
        hang(kafka_to_kill.address, transactional_id, left)
    if is_answered:
        Ending(Broker(options, "out"), "out", tmp_path).answered({"run/1": 2})
    is_there = is_answered or committed != "nothing"
    for again in range(2):  # the second time nothing is left to mend
        with closing(options.open("out", tmp_path)) as opened:
            finish(opened, [batch(options, 2 + again, [Message(b"%d" % (3 + again), b"a")])] if is_there
                   else [second, batch(options, 2 + again, [Message(b"%d" % (3 + again), b"a")])])
        assert options.positions("out", tmp_path) == {"run/1": 3 + again}
        assert sorted(one.value or b"" for one in written(topics, name)) == [b"%d" % n for n in range(4 + again)]
    assert ids(topics, name).count("run/1:1-2:1") == 1
    assert not (tmp_path / "out.kafka.plan").exists()


def test_what_is_to_be_written_again_is_so_once_whenever_the_writer_is_killed_meanwhile(
    tmp_path: Path, kafka_to_kill: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    topics = Topics(kafka_to_kill.address)
    name = topics.make(partitions=2)
    options = sink(kafka_to_kill, name, transactions=True, applied_topic=f"{name}.applied")
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
    key = json.dumps(["applied", owner_of(id_of(tmp_path), "out", name), "run/1"]).encode()
    with topics.credulous():
        hang(kafka_to_kill.address, f"{id_of(tmp_path)}/out", [
            Hung(name, 1, b"1", b"a", ((RECORD_ID, b"run/1:1-2:0"),)), Hung(f"{name}.applied", 0, b"2", key)])
    Ending(Broker(options, "out"), "out", tmp_path).answered({"run/1": 2})
    for step in ("_write", "answered"):  # what was open is rolled back; it is committed again, and nobody knows it
        with monkeypatch.context() as patch:
            patch.setattr(Ending, step, death)
            with closing(options.open("out", tmp_path)) as opened, pytest.raises(KeyboardInterrupt):
                opened.write([batch(options, 2, [Message(b"2", b"a")])])
        assert (tmp_path / "out.kafka.plan").exists()
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 2, [Message(b"2", b"a")])])
    assert sorted(one.value or b"" for one in written(topics, name)) == [b"0", b"1", b"2"]


def death(*_: Any) -> None:
    raise KeyboardInterrupt


def test_positions_are_those_of_this_state_sink_and_topic_and_are_read_without_a_trace(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=True)
    assert options.positions("out", tmp_path) == {}
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 3, [b"a"]), batch(options, 8, [b"b"], "run/2")])
        opened.write([batch(options, 4, [b"c"])])
        assert options.positions("out", tmp_path) == {"run/1": 5, "run/2": 9}
        opened.write([batch(options, 5, [b"d"])])  # it was not fenced
    assert options.positions("other", tmp_path) == {}
    assert sink(kafka, topics.make(), transactions=True).positions("out", tmp_path) == {}
    (tmp_path / "elsewhere").mkdir()
    assert options.positions("out", tmp_path / "elsewhere") == {}
    assert sink(kafka, name).positions("out", tmp_path) == {}


def test_a_transaction_that_a_writer_left_open_is_ended_and_its_messages_are_not_there(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=True)
    zombie = topics.producer(**{"transactional.id": f"{id_of(tmp_path)}/out"})
    zombie.init_transactions(WATCHDOG_S)
    zombie.begin_transaction()
    zombie.produce(name, b"of the dead")
    assert zombie.flush(WATCHDOG_S) == 0
    with closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [b"of the living"])])
    assert [one.value for one in written(topics, name)] == [b"of the living"]
    seen = [one.value for one in written(topics, name, isolation="read_uncommitted")]
    assert seen == [b"of the dead", None, b"of the living"], "what is rolled back to end what was open, too"


def test_a_position_that_lies_behind_an_open_transaction_of_another_sink_is_waited_for(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name, applied = topics.make(), topics.make(cleanup_policy="compact")
    options = sink(kafka, name, transactions=True, applied_topic=applied, timeout_s=2.0)
    other = topics.producer(**{"transactional.id": name})
    other.init_transactions(WATCHDOG_S)
    other.begin_transaction()
    other.produce(applied, b"1", b'["applied", "another sink", "run/1"]')
    assert other.flush(WATCHDOG_S) == 0
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(
            Retryable, match="lie behind an open transaction of another sink"):
        opened.write([batch(options, 0, [b"0"])])
    other.commit_transaction(WATCHDOG_S)
    with closing(options.open("out", tmp_path)) as opened:
        finish(opened, [batch(options, 0, [b"0"])])
    assert [one.value for one in written(topics, name)] == [b"0"]


def test_of_two_that_open_the_same_sink_of_the_same_state_the_older_one_ends_and_is_told(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=True)
    copy = tmp_path / "copy"
    copy.mkdir()
    older, newer = options.open("out", tmp_path), options.open("out", copy)
    older.write([batch(options, 0, [b"0"])])
    (copy / FILE).write_text((tmp_path / FILE).read_text())
    newer.write([batch(options, 0, [b"0"]), batch(options, 1, [b"1"])])
    for _ in range(2):
        with pytest.raises(ConfigError, match=r"another process has opened this sink of this state.*Remove kafka\.id"):
            older.write([batch(options, 1, [b"1"])])
    newer.write([batch(options, 2, [b"2"])])
    assert [one.value for one in written(topics, name)] == [b"0", b"1", b"2"]
    older.close()
    newer.close()


def test_a_producer_whose_transaction_the_broker_has_ended_goes_on(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    options = sink(kafka, name, transactions=True)
    opened = options.open("out", tmp_path)
    opened.write([batch(options, 0, [b"0"])])
    fence = topics.producer(**{"transactional.id": f"{id_of(tmp_path)}/out"})
    fence.init_transactions(WATCHDOG_S)  # as the broker does it: nobody says that he is the holder
    with pytest.raises(Retryable):
        opened.write([batch(options, 1, [b"1"])])
    opened.write([batch(options, 1, [b"1"])])
    opened.close()
    assert [one.value for one in written(topics, name)] == [b"0", b"1"]


def test_positions_that_would_be_lost_by_and_by_are_refused(tmp_path: Path, kafka: Server, topics: Topics) -> None:
    name, applied = topics.make(), topics.make(retention_ms=86_400_000)
    options = sink(kafka, name, transactions=True, applied_topic=applied)
    with pytest.raises(ConfigError) as told_by_check:
        options.check("out", tmp_path)
    assert str(told_by_check.value) == (
        f"topic {applied}: expected cleanup.policy=compact, got delete: positions would be lost by and by: change it, "
        "or set applied_topic")
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError, match="positions would be lost"):
        opened.write([batch(options, 0, [b"0"])])


def test_a_topic_of_something_else_is_no_topic_of_positions(tmp_path: Path, kafka: Server, topics: Topics) -> None:
    name, applied = topics.make(), topics.make(cleanup_policy="compact")
    topics.send(applied, [{"key": b"not ours", "value": b"x"}])
    options = sink(kafka, name, transactions=True, applied_topic=applied)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError, match="got the key 'not ours'"):
        opened.write([batch(options, 0, [b"0"])])


def test_the_id_of_a_state_is_made_once_and_one_that_is_none_is_refused(tmp_path: Path) -> None:
    made = id_of(tmp_path / "state")
    assert id_of(tmp_path / "state") == made != id_of(tmp_path / "other")
    (tmp_path / "state" / FILE).write_text("broken")
    with pytest.raises(ConfigError, match="expected 32 hexadecimal digits"):
        id_of(tmp_path / "state")


# Who may, and where --------------------------------------------------------------------------------------------------


def login(kafka: Server, user: str = USER, password: str = PASSWORD, mechanism: str = "PLAIN") -> dict[str, Any]:
    return {"security.protocol": "SASL_SSL", "sasl.mechanism": mechanism, "sasl.username": user,
            "sasl.password": password, "ssl.ca.location": str(kafka.authority)}


@pytest.mark.parametrize("transactions", [False, True])
def test_with_tls_and_with_a_login(tmp_path: Path, kafka: Server, topics: Topics, transactions: bool) -> None:
    name = topics.make()
    tls = Kafka(topic=f"kafka://{kafka.tls_address}/{name}", transactions=transactions,
                client={"security.protocol": "SSL", "ssl.ca.location": str(kafka.authority)})
    topics.let_in(USER, PASSWORD)
    plain, scram = (Kafka(topic=f"kafka://{kafka.login_address}/{name}", transactions=transactions,
                          client=login(kafka, mechanism=mechanism)) for mechanism in ("PLAIN", "SCRAM-SHA-256"))
    for number, options in enumerate((tls, plain, scram)):
        assert options.check("out", tmp_path) == []
        with closing(options.open("out", tmp_path)) as opened:
            opened.write([batch(options, number, [b"%d" % number])])
    assert [one.value for one in written(topics, name)] == [b"0", b"1", b"2"]


@pytest.mark.parametrize(("change", "said"), [
    ({"sasl.password": "wr0ng-pa55word"}, "mend sasl.* in client"), ({"ssl.ca.location": ""}, "mend ssl.* in client")])
def test_a_wrong_password_and_an_unknown_authority_end_the_run_and_the_password_is_shown_to_nobody(
    tmp_path: Path, kafka: Server, topics: Topics, change: dict[str, str], said: str
) -> None:
    client = {name: value for name, value in {**login(kafka), **change}.items() if value}
    options = Kafka(topic=f"kafka://{kafka.login_address}/{topics.make()}", client=client, timeout_s=PATIENCE_S)
    with pytest.raises(ConfigError) as told_by_check:
        options.check("out", tmp_path)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError) as told_by_write:
        opened.write([batch(options, 0, [b"0"])])
    for error in (told_by_check, told_by_write):
        assert said in str(error.value)
        assert len(str(error.value).splitlines()) == 1
        assert client["sasl.password"] not in str(error.value)


def test_a_user_who_may_not_write_is_told_by_check_and_by_the_run(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make()
    deny(topics, name, "WRITE")
    options = Kafka(topic=f"kafka://{kafka.login_address}/{name}", client=login(kafka, STRANGER))
    with pytest.raises(ConfigError) as told_by_check:
        options.check("out", tmp_path)
    assert str(told_by_check.value) == (
        f"topic {name}: this user may not write it: let it (an ACL of the topic), or set sasl.* in client")
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(ConfigError, match="an ACL of the topic"):
        opened.write([batch(options, 0, [b"0"])])


def test_a_user_who_may_not_use_the_transactional_id_is_told_by_the_run(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    deny(topics, f"{id_of(tmp_path)}/out", "WRITE", "TRANSACTIONAL_ID")
    options = Kafka(topic=f"kafka://{kafka.login_address}/{topics.make()}", client=login(kafka, STRANGER),
                    transactions=True)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(
            ConfigError, match="an ACL of the transactional id"):
        opened.write([batch(options, 0, [b"0"])])


def deny(topics: Topics, name: str, operation: str, kind: str = "TOPIC") -> None:
    from confluent_kafka.admin import AclBinding, AclOperation, AclPermissionType, ResourcePatternType, ResourceType

    rules = [AclBinding(ResourceType[kind], name, ResourcePatternType.LITERAL, f"User:{STRANGER}", "*", *rule)
             for rule in ((AclOperation.ALL, AclPermissionType.ALLOW), (AclOperation[operation],
                                                                        AclPermissionType.DENY))]
    for done in topics.admin.create_acls(rules).values():
        done.result(WATCHDOG_S)


@pytest.mark.parametrize("name", ["lingr.ms", "max.in.flight"])
def test_a_property_that_the_client_does_not_take_ends_the_run_with_its_name_before_anything_is_written(
    tmp_path: Path, kafka: Server, name: str
) -> None:
    options = sink(kafka, f"t{uuid4().hex}", client={name: 100})  # not so many, for the order rests on it
    for use in (options.open, options.check):
        with pytest.raises(ConfigError, match=rf"client: .*{name}"):
            use("out", tmp_path)


def test_a_listener_that_wants_tls_of_a_client_without_it_is_guessed(tmp_path: Path, kafka: Server) -> None:
    options = Kafka(topic=f"kafka://{kafka.tls_address}/words", timeout_s=PATIENCE_S)
    (said,) = options.check("out", tmp_path)
    assert "set security.protocol in client as the broker's listener has it: SSL for TLS" in said


def test_a_broker_that_is_not_there_is_named_with_the_topic(tmp_path: Path) -> None:
    options = Kafka(topic="kafka://127.0.0.1:1/words", timeout_s=1.0)
    with closing(options.open("out", tmp_path)) as opened, pytest.raises(Retryable) as error:
        opened.write([batch(options, 0, [b"0"])])
    assert str(error.value).startswith("kafka://127.0.0.1:1/words: ")
    assert "Connection refused" in str(error.value)
    problem, = options.check("out", tmp_path)
    assert "Connection refused" in problem and "set sinks.out.topic" in problem
    id_of(tmp_path)
    with pytest.raises(Retryable, match="Connection refused"):
        Kafka(topic="kafka://127.0.0.1:1/words", timeout_s=1.0, transactions=True).positions("out", tmp_path)


# Reading back --------------------------------------------------------------------------------------------------------


def test_a_panel_reads_the_last_messages_and_then_those_that_come(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = topics.make(partitions=2)
    options = sink(kafka, name, transactions=True)
    follower = options.follow("out", tmp_path, 3)
    with closing(follower), closing(options.open("out", tmp_path)) as opened:
        opened.write([batch(options, 0, [Message(b"%d" % number, b"%d" % number, 1000 + number)
                                         for number in range(10)])])
        assert [one.value for one in follower.new()] == [b"7", b"8", b"9"]
        opened.write([batch(options, 1, [Message(None, b"k", 2000, (("h", b"x"),))])])
        one, = until(follower.new, 1)
        assert (one.value, one.key, one.time, one.headers[0]) == (None, b"k", 2000, ("h", b"x"))
        assert follower.new() == []


def test_a_panel_of_a_topic_that_is_not_there_yet_is_empty_until_it_is(
    tmp_path: Path, kafka: Server, topics: Topics
) -> None:
    name = f"t{uuid4().hex}"
    options = sink(kafka, name)
    with closing(options.follow("out", tmp_path, 3)) as follower:
        assert follower.new() == []
        topics.make(name=name)
        topics.send(name, [{"value": b"1"}])
        assert [one.value for one in until(follower.new, 1)] == [b"1"]


def until(ask: Any, number: int) -> list[Any]:
    """Ask until so many have come."""
    found: list[Any] = []
    deadline = time.monotonic() + WATCHDOG_S
    while len(found) < number:
        assert time.monotonic() < deadline, found
        found += ask()
    return found
