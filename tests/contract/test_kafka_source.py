"""The source `kafka` on a real broker: what it reads, from where on, up to where, and what it says of what is gone."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import pytest

from actors.runtime.framing import Record, records_in
from actors.runtime.ports import SourceOptions
from actors.runtime.values import Chunk
from actors.sources.kafka import Kafka
from actors.testing import SourceContract
from actors.testing.reading import Reading
from tests.kafka import WATCHDOG_S, Topics
from tests.kafka import Kafka as Broker
from tests.kafka_headers import send_named
from tests.loads import ROOT


@pytest.fixture(scope="session")
def topics(kafka: Broker) -> Topics:
    return Topics(kafka.address)


def options(kafka: Broker, *names: str, **more: Any) -> Kafka:
    return Kafka(topics=[f"kafka://{kafka.address}/{name}" for name in names], look_s=0.1, **more)


def reading(kafka: Broker, state: Path, *names: str, batch_bytes: int = 1000, **more: Any) -> Reading:
    return Reading(options(kafka, *names, **more), state, batch_bytes)


def numbered(count: int, start: int = 0, partition: int = 0) -> list[dict[str, Any]]:
    return [{"value": b"%d" % number, "partition": partition} for number in range(start, start + count)]


def records(chunks: Sequence[Chunk]) -> list[Record]:
    return [record for chunk in chunks if not chunk.fault for record in records_in(chunk.data)]


def values(chunks: Sequence[Chunk]) -> list[bytes | None]:
    return [record.value for record in records(chunks)]


def has(count: int) -> Callable[[Reading], bool]:
    return lambda source: len(records(source.chunks)) >= count


def to_the_end(source: Reading) -> list[Chunk]:
    source.read_until(lambda _: source.source.exhausted)
    return source.chunks


class Contract(SourceContract):
    """A partition with everything that a record may have."""

    __test__ = False
    follow: ClassVar[bool]

    @pytest.fixture(autouse=True)
    def _broker(self, kafka: Broker, topics: Topics) -> None:
        self.kafka, self.topics = kafka, topics

    def records(self) -> list[Record]:
        return [Record(number, None if number % 9 == 4 else b"" if number % 9 == 5 else b"some\nrecord %d" % number,
                       time=1_700_000_000_000 + number, key=b"key %d" % (number % 5) if number % 7 else None,
                       headers=(("n", b"%d" % number), ("n", None)) if number % 2 else ()) for number in range(60)]

    def options(self, folder: Path) -> SourceOptions:
        name = self.topics.make(retention_ms=-1)  # they are old
        self.topics.send(name, [
            {"value": one.value, "key": one.key, "timestamp": one.time, "headers": list(one.headers), "partition": 0}
            for one in self.records()])
        return options(self.kafka, name, follow=self.follow)


class TestKafka(Contract):
    __test__ = True
    follow = False
    batch_bytes = 320  # each chunk more is a topic more, for each prefix


class TestFollowedKafka(Contract):
    __test__ = True
    follow = True
    batch_bytes = 640


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
def test_whatever_it_was_compressed_with_it_is_read(kafka: Broker, topics: Topics, tmp_path: Path, codec: str) -> None:
    name = topics.make()
    producer = topics.producer(**{"compression.type": codec, "linger.ms": 50})
    for number in range(500):
        producer.produce(name, b"value %d" % number * 10, key=b"k")
    assert producer.flush(WATCHDOG_S) == 0
    with reading(kafka, tmp_path / "state", name, follow=False) as source:
        assert values(to_the_end(source)) == [b"value %d" % number * 10 for number in range(500)]


@pytest.mark.parametrize(("start", "expected"), [
    ("earliest", [b"0", b"1", b"2"]), ("latest", []), ("2000", [b"1", b"2"]), ("2001", [b"2"]), ("9999", []),
    ("1970-01-01T00:00:02+00:00", [b"1", b"2"]), ("offset:1", [b"1", b"2"]), ("offset:9", []), ("offset:-1", [b"2"]),
    ("offset:-9", [b"0", b"1", b"2"])])
def test_a_topic_begins_where_start_says(
    kafka: Broker, topics: Topics, tmp_path: Path, start: str, expected: list[bytes]
) -> None:
    name = topics.make(retention_ms=-1)
    topics.send(name, [{"value": b"%d" % number, "timestamp": 1000 + 1000 * number} for number in range(3)])
    with reading(kafka, tmp_path / "state", name, start=start) as source:
        source.read_until(lambda _: bool(source.ledger.taken_up()))
        topics.send(name, [{"value": b"new", "timestamp": 4000}])
        source.read_until(has(len(expected) + 1))
        assert values(source.chunks) == [*expected, b"new"]


def test_where_a_topic_begins_is_decided_once(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    name = topics.make()
    topics.send(name, numbered(3))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        source.read_until(lambda _: bool(source.ledger.taken_up()))
        source.commit()
    topics.send(name, numbered(2, 3))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        source.read_until(has(2))
        assert values(source.chunks) == [b"3", b"4"]


def test_it_reads_to_where_the_partitions_ended_when_it_began_and_the_next_run_reads_on(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make(partitions=3)
    topics.send(name, [*numbered(5), *numbered(5, 100, 2)])  # one partition is empty
    for expected in ([*range(5), *range(100, 105)], [*range(5, 7)], []):
        with reading(kafka, tmp_path / "state", name, follow=False) as source:
            source.read_until(lambda _: len(source.ledger.taken_up()) >= 3 or source.source.exhausted)
            topics.send(name, numbered(2, 5) if len(expected) > 2 else [])
            chunks = to_the_end(source)
            assert sorted(int(value or b"") for value in values(chunks)) == expected
            source.commit(*chunks)
            source.finish()
            source.ledger.commit()


def transaction(topics: Topics, name: str, given: Sequence[bytes], end: str) -> None:
    producer = topics.producer(**{"transactional.id": f"{name} {end}"})
    producer.init_transactions(WATCHDOG_S)
    producer.begin_transaction()
    for value in given:
        producer.produce(name, value)
    assert producer.flush(WATCHDOG_S) == 0
    getattr(producer, f"{end}_transaction")(WATCHDOG_S)


def test_aborted_transactions_are_not_read_and_positions_pass_over_them_and_their_markers(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    transaction(topics, name, [b"a", b"b"], "commit")  # 0, 1, and a marker
    transaction(topics, name, [b"c", b"d", b"e"], "abort")
    topics.send(name, [{"value": b"f"}])  # 7
    transaction(topics, name, [b"g"], "abort")
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(lambda _: bool(source.chunks) and source.chunks[-1].end == 10)
        assert [(record.offset, record.value) for record in records(source.chunks)] == [(0, b"a"), (1, b"b"), (7, b"f")]
        assert [chunk.start for chunk in source.chunks] == [0, *(chunk.end for chunk in source.chunks[:-1])]
        source.commit(*source.chunks)
        (unit,) = source.ledger.taken_up()
        source.read_until(lambda _: source.source.lag() == {unit.id: 0})
        assert unit.low == 10, "nothing is behind, though the last record is at 7"
    topics.forget(name, 0, 10)
    topics.send(name, [{"value": b"h"}])
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(1))
        assert [chunk.fault for chunk in source.chunks] == [""], "markers that retention took are nothing that is lost"


def test_what_a_transaction_has_not_committed_is_waited_for_when_followed_and_not_read_to_the_end(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(2))
    producer = topics.producer(**{"transactional.id": name})
    producer.init_transactions(WATCHDOG_S)
    producer.begin_transaction()
    producer.produce(name, b"open")
    assert producer.flush(WATCHDOG_S) == 0
    topics.send(name, numbered(1, 2))
    with reading(kafka, tmp_path / "once", name, follow=False) as source:
        assert values(to_the_end(source)) == [b"0", b"1"]
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(2))
        assert values(source.chunks) == [b"0", b"1"]
        producer.commit_transaction(WATCHDOG_S)
        source.read_until(has(4))
        assert values(source.chunks) == [b"0", b"1", b"open", b"2"]


def test_a_record_that_cannot_be_read_is_a_dead_letter_and_its_neighbours_are_read(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make(message_timestamp_after_max_ms=(1 << 63) - 1)
    for number in range(0, 400, 100):  # so many that the loop is warm: only then does the library's error come late
        topics.send(name, numbered(100, number))
        if number == 100:
            send_named(kafka.address, name, b"odd", b"k", [(b"a", b"1"), (b"\xff", b"2"), (b"b", b"3")])
        if number == 200:
            topics.send(name, [{"value": b"late", "key": b"k", "timestamp": (1 << 62) + 1, "headers": [("a", b"")]}])
    with reading(kafka, tmp_path / "state", name, follow=False, batch_bytes=200_000) as source:
        chunks = to_the_end(source)
        assert values(chunks) == [b"%d" % number for number in range(400)]
        assert [chunk.start for chunk in chunks] == [0, *(chunk.end for chunk in chunks[:-1])]
        odd, late = [chunk for chunk in chunks if chunk.fault]
        assert (odd.fault, odd.end, late.fault, late.end) == ("bad_header", 201, "bad_time", 302)
        assert r"b'\xff'" in odd.detail and str((1 << 62) + 1) in late.detail
        (kept,), (timeless,) = records_in(odd.data), records_in(late.data)
        assert (kept.offset, kept.value, kept.key, kept.headers) == (200, b"odd", b"k", (("a", b"1"), ("b", b"3")))
        assert (timeless.offset, timeless.value, timeless.time, timeless.headers) == (301, b"late", None, (("a", b""),))
        issued = [(chunk.start, chunk.end) for chunk in chunks]
    with reading(kafka, tmp_path / "state", name, follow=False, batch_bytes=200_000) as source:
        assert [(chunk.start, chunk.end) for chunk in to_the_end(source)] == issued, "cut the same by the next reader"


def test_a_partition_that_is_added_is_read_from_its_beginning_while_it_runs(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(3))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        source.read_until(lambda _: bool(source.ledger.taken_up()))
        topics.grow(name, 3)
        topics.send(name, [*numbered(4, 10, 1), *numbered(4, 20, 2)])
        source.read_until(has(8))
        assert {*values(source.chunks)} == {b"%d" % number for number in [*range(10, 14), *range(20, 24)]}
        assert {chunk.source for chunk in source.chunks} == {f"{name}/1", f"{name}/2"}
        assert all(chunk.start == 0 or chunk.start < 4 for chunk in source.chunks)


def committed(topics: Topics, group: str, name: str, partition: int = 0) -> tuple[int, str]:
    from confluent_kafka import TopicPartition

    consumer = topics.consumer(**{"group.id": group})
    try:
        (found,) = consumer.committed([TopicPartition(name, partition)], timeout=WATCHDOG_S)
        return found.offset, found.metadata or ""
    finally:
        consumer.close()


def test_the_broker_is_told_what_the_ledger_has_committed_and_no_more_with_the_id_of_the_state(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(10))
    with reading(kafka, tmp_path / "state", name, batch_bytes=20, commit_as=f"lag of {name}") as source:
        source.read_until(has(10))
        source.commit(*source.chunks[:2])
        state_id, low = source.ledger.state_id, source.chunks[1].end
        source.read_until(lambda _: committed(topics, f"lag of {name}", name)[0] >= 0)
        assert committed(topics, f"lag of {name}", name) == (low, state_id)
        (unit,) = source.ledger.taken_up()
        source.read_until(lambda _: source.source.lag() == {unit.id: 10 - low})
        source.commit(*source.chunks[2:])
    assert committed(topics, f"lag of {name}", name) == (10, state_id), "the last word, when it ends"


def test_only_the_partitions_that_are_named_are_read(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    name = topics.make(partitions=3)
    topics.send(name, [record for number in range(3) for record in numbered(2, 10 * number, number)])
    with reading(kafka, tmp_path / "state", name, partitions=[0, 2], follow=False) as source:
        assert {*values(to_the_end(source))} == {b"0", b"1", b"20", b"21"}


def test_a_partition_that_is_not_there_is_refused(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    from thresher import ConfigError

    name = topics.make(partitions=2)
    with reading(kafka, tmp_path / "state", name, partitions=[1, 2]) as source, pytest.raises(
            ConfigError, match=r"source\.partitions: expected 0 to 1, .* got 2"):
        source.read_until(has(1))


def test_a_topic_that_is_not_there_is_waited_for_when_followed_and_refused_otherwise(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    from thresher import ConfigError, Retryable

    name = f"later-{tmp_path.name}"
    with reading(kafka, tmp_path / "once", name, follow=False) as source, pytest.raises(
            ConfigError, match=f"there is no topic {name}"):
        source.read_until(has(1))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        with pytest.raises(Retryable, match=rf"kafka {kafka.address}: there is no topic {name} \(it may come\)"):
            source.read_until(has(1))
        topics.make(name=name)
        until_it_works(source, lambda: bool(source.ledger.taken_up()))
        topics.send(name, numbered(2))
        source.read_until(has(2))


def until_it_works(source: Reading, is_so: Callable[[], bool]) -> None:
    """Read though it says now and then that it cannot."""
    from thresher import Retryable

    while not is_so():
        try:
            source.read_until(lambda _: is_so())
        except Retryable:
            source._wait()


def test_a_reader_that_takes_nothing_is_paused_knows_of_what_comes_meanwhile_and_reads_on_where_it_was(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make(partitions=2)
    topics.send(name, [*numbered(500), *numbered(500, 500, 1)])
    with reading(kafka, tmp_path / "state", name, batch_bytes=500) as source:
        source.read_until(has(50))
        inflow = source.source._inflow  # type: ignore[attr-defined]
        while not inflow.is_paused:
            source.tick()
            source._wait()
        topics.send(name, numbered(300, 1000, 1))
        units = source.ledger.taken_up()
        while sum(source.source.lag().values()) < 1300:  # the client knows of none of them, for it fetches nothing
            source.tick()
            source._wait()
        source.read_until(has(1300))
        assert sorted(int(value or b"") for value in values(source.chunks)) == list(range(1300)), "each once"
        source.commit(*source.chunks)
        source.read_until(lambda _: source.source.lag() == dict.fromkeys((unit.id for unit in units), 0))
        for unit in source.ledger.taken_up():
            mine = [chunk for chunk in source.chunks if chunk.unit == unit.id]
            assert [chunk.start for chunk in mine] == [0, *(chunk.end for chunk in mine[:-1])]


def test_the_table_client_cannot_undo_what_is_promised() -> None:
    for name in ("enable.auto.commit", "auto.offset.reset", "isolation.level", "group.id", "bootstrap.servers"):
        with pytest.raises(ValueError, match=rf"client: {name} is not set here"):
            Kafka(topics=["kafka://h/t"], client={name: "latest"})


@pytest.mark.parametrize(("given", "said"), [
    ({"group": "g", "partitions": [1]}, "partitions: expected none in a group"),
    ({"group": "g", "follow": False}, "follow: expected true in a group"),
    ({"group": "g", "commit_as": "h"}, "commit_as: expected nothing in a group")])
def test_options_that_do_not_go_together_are_refused(given: Mapping[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Kafka(topics=["kafka://h/t"], **given)


@pytest.mark.parametrize("start", ["offset:", "offset:x", "offset:1.5", "offset:+1", "offset:9999999999999999999"])
def test_an_offset_that_is_none_is_refused_before_anything_starts(tmp_path: Path, start: str) -> None:
    from thresher import ConfigError

    with pytest.raises(ConfigError, match=r"source\.start: expected offset:N, or offset:-N for the last N of each"):
        Kafka(topics=["kafka://h/t"], start=start).require_addresses(tmp_path)


def test_secrets_are_shown_nowhere() -> None:
    secret = "correct-horse"
    source = Kafka(topics=["kafka://h:1/t"], client={"sasl.password": secret, "sasl.username": "u"})
    assert source.describe() == "kafka h:1 topics t, followed"
    assert secret not in source.describe() + source.guarantee
    assert Kafka(topics=[f"kafka://u:{secret}@h/t"]).describe() == "kafka topics kafka://u:***@h/t"
    assert secret in json.dumps(source.client), "it is there"


#: Reads a little, then nothing, until it is paused and some seconds longer; prints by how much it has grown.
_STALLED = """
import re, sys
from pathlib import Path
from actors.sources.kafka import Kafka
from actors.testing.reading import Reading
import confluent_kafka.admin
def most():
    return int(re.search(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[1])
before = most()
with Reading(Kafka(topics=[sys.argv[1]]), Path(sys.argv[2]), 262144) as source:
    source.read_until(lambda _: bool(source.chunks))
    while not source.source._inflow.is_paused:
        source.tick()
        source._wait()
    print(most() - before)
"""


def test_the_queue_of_the_client_adds_at_most_16_mb_to_a_reader_that_stands_still(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    few, many = topics.make(), topics.make(partitions=4)
    topics.send(few, numbered(1))
    topics.send(many, [{"value": b"x" * 1000, "partition": number % 4} for number in range(60_000)])
    grown = []
    for name in (few, many):
        done = subprocess.run([sys.executable, "-c", _STALLED, f"kafka://{kafka.address}/{name}", str(tmp_path / name)],
                              cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=True)
        grown.append(int(done.stdout))
    assert grown[1] - grown[0] < 16 * 1024, f"KiB, with a record and with 60 MB: {grown}"
