"""Runs that read from a real Kafka, as real processes: every record id that was published is in exactly one of sink,
letters and told range, whoever is killed, the broker too; in a group nothing is lost, and what is done again is
counted.
"""

from __future__ import annotations

import json
import os
import signal
import sqlite3
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.ledger import ANY_RUN, read_units
from actors.runtime.units import LEDGER
from actors.runtime.values import HANDED_OVER, SOURCE_LOST, Unit
from actors.sinks.dead_letters import read_letters
from actors.sinks.lmdb import read_lmdb
from tests.kafka import WATCHDOG_S, Kafka, Topics
from tests.loads import Running, Views, assert_counts_add_up
from tests.monitors import eventually

KEYS = 7
BAD_EVERY = 50
SMALL = ("flow.batch_bytes=300", "flow.window_batches=4", "restart.max_backoff_s=0.2", "restart.intensity=50",
         "budget.max_error_rate=0.9")
#: As short as a broker allows.
SHORT = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 300}


def toml(value: Any) -> str:
    """A value as a configuration has it."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {json.dumps(part)}" for key, part in value.items()) + "}"
    return json.dumps(value)


def follow(folder: Path, state: str, broker: Kafka, topic: str, *words: str, target: str = "tests.pipelines.brokered",
           output: str = "", sets: Iterable[str] = (), source: dict[str, Any] | None = None) -> Running:
    """A run that reads a topic."""
    given = {"topics": [f"kafka://{broker.address}/{topic}"], **(source or {})}
    every = (*SMALL, *(f"source.{name}={toml(value)}" for name, value in given.items()), *sets)
    return Running(folder / state, "run", target, "--format", "json", *words,
                   *(word for item in every for word in ("--set", item)), output=folder / (output or f"{state}.out"))


class Published:
    """Numbers that are published, each once, to partitions in turn; some are none.

    Args:
        topics: of the broker.
        name: of the topic.
    """

    def __init__(self, topics: Topics, name: str) -> None:
        self.topics = topics
        self.name = name
        #: By partition and offset.
        self.numbers: dict[tuple[int, int], int] = {}
        self._next = 0

    def send(self, count: int, partitions: int) -> None:
        """Publish so many."""
        failed = list[object]()

        def note(number: int, error: object, message: Any) -> None:
            if error is not None:
                failed.append(error)
            else:
                self.numbers[message.partition(), message.offset()] = number

        producer = self.topics.producer(**{"enable.idempotence": True})
        for number in range(self._next, self._next + count):
            value = b"%d" % number if number % BAD_EVERY else b"none %d" % number if number % 3 else None
            producer.produce(self.name, value, key=b"%d" % (number % KEYS), partition=number % partitions,
                             headers=[("id", b"%d" % number)], on_delivery=partial(note, number))
        assert producer.flush(WATCHDOG_S) == 0 and not failed
        self._next += count

    def abort(self, count: int) -> None:
        """Somebody's transaction comes to nothing."""
        producer = self.topics.producer(**{"transactional.id": f"aborts {self.name}"})
        producer.init_transactions(WATCHDOG_S)
        producer.begin_transaction()
        for _ in range(count):
            producer.produce(self.name, b"999999", key=b"aborted", partition=0)
        assert producer.flush(WATCHDOG_S) == 0
        producer.abort_transaction(WATCHDOG_S)
        eventually(self._has_no_open_transaction, "its end in the partition, which comes behind the answer")

    def _has_no_open_transaction(self) -> bool:
        from confluent_kafka import IsolationLevel, TopicPartition
        from confluent_kafka.admin import OffsetSpec

        latest: Any = OffsetSpec
        ends = [next(iter(self.topics.admin.list_offsets(
            {TopicPartition(self.name, 0): latest.latest()}, isolation_level=level).values())).result(WATCHDOG_S).offset
            for level in (IsolationLevel.READ_COMMITTED, IsolationLevel.READ_UNCOMMITTED)]
        return bool(ends[0] == ends[1])

    def bad(self) -> set[int]:
        """Those that are no numbers."""
        return {number for number in self.numbers.values() if not number % BAD_EVERY}


def lined(state: Path) -> list[int]:
    """The numbers that the sink has."""
    return [int(line.split()[-1]) for line in (state / "lined.log").read_text().splitlines()]


def lettered(state: Path, published: Published) -> Iterator[int]:
    """The numbers of the letters, and of the ranges that are told; each letter says whose it is."""
    for letter in read_letters(state / "dead-letters.db"):
        partition = int(letter.source.rpartition("/")[2])
        if letter.reason == SOURCE_LOST:
            continue
        record = letter.record
        assert record is not None
        number = published.numbers[partition, letter.offset]
        assert record.headers == (("id", b"%d" % number),) and record.key == b"%d" % (number % KEYS)
        assert (record.value is None) == (number % 3 == 0)
        yield number


def told(running: Iterable[Running]) -> set[tuple[int, int]]:
    """The partitions and offsets that were said to be lost."""
    return {(int(event["source"].rpartition("/")[2]), offset) for one in running for event in one.of("source_lost")
            for offset in range(event["start"], event["end"])}


def under_way(state: Path) -> set[tuple[int, int]]:
    """The partitions and offsets that were issued, and of which nobody knows whether they were written."""
    with closing(sqlite3.connect(state / LEDGER)) as connection:
        return {(int(name.rpartition("/")[2]), offset) for name, start, end in connection.execute(
            'SELECT name, start, issued."end" FROM issued JOIN units ON units.id=unit') for offset in range(start, end)}


def until_all_is_committed(published: Published, group: str) -> None:
    """Wait until the broker was told that all is done."""
    ends: dict[int, int] = {}
    for partition, offset in published.numbers:
        ends[partition] = max(ends.get(partition, 0), offset + 1)
    eventually(lambda: all(published.topics.committed(group, published.name, partition) >= end
                           for partition, end in ends.items()), "all committed")


def test_whoever_is_killed_each_record_is_in_exactly_one_of_sink_letters_and_told_range(
    tmp_path: Path, kafka_to_kill: Kafka
) -> None:
    broker = kafka_to_kill
    with ExitStack() as stack:
        topics = Topics(broker.address)
        published = Published(topics, topics.make(partitions=2))
        source = {"commit_as": "proof"}
        published.send(1000, 2)
        first = stack.enter_context(follow(tmp_path, "state", broker, published.name, source=source))
        first.kill("reader.1", 4)
        published.abort(20)
        for name in ("parser.1", "writer.lined", "aggregator.1"):
            first.kill(name, 4)
        broker.kill()
        first.until(lambda views: views["reader.1"].phase == "RETRY" and broker.address in views["reader.1"].note,
                    "that the broker is away")
        broker.start()
        topics = published.topics = Topics(broker.address)  # the client of before may take a minute to find it
        topics.grow(published.name, 3)
        published.send(1500, 3)
        for name in ("reader.1", "writer.lined"):
            first.kill(name, 4)
        os.kill(first.process.pid, signal.SIGKILL)
        first.wait()
        (outage, *_) = [event for event in first.of("outage") if event["actor"] == "reader.1"]
        assert f"kafka {broker.address}: " in outage["problem"]
        published.send(600, 3)
        unsure = under_way(tmp_path / "state")
        ends = [offset for partition, offset in published.numbers if partition == 1]
        topics.forget(published.name, 1, max(ends) - 20)
        published.send(300, 3)
        second = stack.enter_context(
            follow(tmp_path, "state", broker, published.name, source=source, output="more.out"))
        second.kill("reader.1", 4)
        second.kill("writer.dead_letters", 1)
        until_all_is_committed(published, "proof")
        second.process.send_signal(signal.SIGTERM)
        assert second.wait() == 4, second.output()  # something was lost, and is told
        gone = told((first, second))
    lost = {published.numbers[place] for place in gone if place in published.numbers}
    assert lost, "retention took something"
    numbers, letters = lined(tmp_path / "state"), list(lettered(tmp_path / "state", published))
    found = Counter([*numbers, *letters])
    assert set(found.values()) == {1}, "each once"
    assert found.keys() | lost == set(published.numbers.values()), "nothing is lost in silence"
    both = {place for place in gone if published.numbers.get(place) in found}
    assert both <= unsure, "what is told and was written all the same was under way when everything was killed"
    assert set(letters) | lost >= published.bad() >= set(letters)
    assert "aborted" not in (tmp_path / "state" / "lined.log").read_text()
    assert_counts_add_up(tmp_path / "state")


def test_a_run_to_the_end_reads_what_is_there_and_the_next_one_reads_on(
    kafka: Kafka, tmp_path: Path
) -> None:
    topics = Topics(kafka.address)
    published = Published(topics, topics.make(partitions=3))
    for before in (0, 400):
        published.send(400, 3)
        with follow(tmp_path, "state", kafka, published.name, "--once") as running:
            assert running.wait() == 0, running.output()
        (report,) = running.of("report")
        assert (report["read"], report["read_before"]) == (before + 400, before)
        assert report["records_per_s"] == pytest.approx(400 / report["seconds"])
        assert Counter([*lined(tmp_path / "state"), *lettered(tmp_path / "state", published)]) == Counter(
            published.numbers.values())


@contextmanager
def member(folder: Path, state: str, broker: Kafka, topic: str, output: str = "") -> Iterator[Running]:
    """A run in the group ``members``."""
    with follow(folder, state, broker, topic, target="tests.pipelines.brokered:GROUPED", output=output,
                source={"group": "members", "client": SHORT, "drain_s": 5}) as running:
        yield running


def stored(*states: Path) -> dict[int, bytes]:
    """What the keyed sinks have together."""
    return {int(key): value for state in states if (state / "keyed.lmdb").exists()
            for key, value in read_lmdb(state / "keyed.lmdb")}


def written(*states: Path) -> Counter[str]:
    """The outcomes of all runs of these states."""
    found: Counter[str] = Counter()
    for state in states:
        for unit in read_units(state / LEDGER, ANY_RUN):
            found.update(unit.counts)
    return found


def units_of(state: Path) -> dict[int, Unit]:
    """All units of a state, by number."""
    return {unit.id: unit for unit in read_units(state / LEDGER, ANY_RUN)} if (state / LEDGER).exists() else {}


def has_joined(state: Path, before: Collection[int] = (), records: int = 0) -> None:
    """Wait until a run has been given partitions, and has done so much of them."""
    eventually(lambda: (new := [unit for unit in units_of(state).values() if unit.id not in before]) and sum(
        unit.counts.get("read", 0) for unit in new) >= records, "a partition is given")


def has_read(running: Running, count: int) -> Views:
    return running.until(lambda views: views["reader.1"].records >= count, f"{count} records")


def test_in_a_group_that_a_second_member_joins_leaves_and_is_killed_nothing_is_lost_and_repeats_are_counted(
    tmp_path: Path, kafka_to_kill: Kafka
) -> None:
    first, second, broker = tmp_path / "first", tmp_path / "second", kafka_to_kill
    with ExitStack() as stack:
        topics = Topics(broker.address)
        published = Published(topics, topics.make(partitions=4))
        published.send(2000, 4)
        one = stack.enter_context(member(tmp_path, "first", broker, published.name))
        has_read(one, 200)
        two = stack.enter_context(member(tmp_path, "second", broker, published.name))
        has_joined(second)
        published.send(2000, 4)
        has_read(two, 100)
        two.kill("reader.1", 2)
        has_read(two, 20)
        os.kill(two.process.pid, signal.SIGKILL)  # its partitions are given to the first when its session has ended
        two.wait()
        published.send(1000, 4)
        until_all_is_committed(published, "members")
        before = units_of(second)
        again = stack.enter_context(member(tmp_path, "second", broker, published.name, output="again.out"))
        has_joined(second, before)
        published.send(1000, 4)
        has_joined(second, before, 20)
        again.process.send_signal(signal.SIGTERM)
        assert again.wait() == 0, again.output()
        published.send(500, 4)
        until_all_is_committed(published, "members")
        one.process.send_signal(signal.SIGTERM)
        assert one.wait() == 0, one.output()
    good = set(published.numbers.values()) - published.bad()
    assert stored(first, second) == {number: b"%d" % (number % KEYS) for number in good}, "nothing is lost"
    letters = [*lettered(first, published), *lettered(second, published)]
    assert set(letters) == published.bad()
    counts = written(first, second)
    assert counts["read"] == counts["written"] + counts["dead_lettered"] + counts[HANDED_OVER]
    repeats = counts["written"] + counts["dead_lettered"] - len(published.numbers)
    assert 0 <= repeats < len(published.numbers) / 4, f"{repeats} were done again"


def test_a_pipeline_that_folds_is_refused_in_a_group(tmp_path: Path, kafka: Kafka) -> None:
    with follow(tmp_path, "state", kafka, "any", source={"group": "members"}) as running:
        assert running.wait() == 78, running.output()
    assert "what is folded is kept in the state directory of one" in running.output()


@pytest.mark.parametrize("verb", ["check", "explain"])
def test_no_secret_is_printed(tmp_path: Path, kafka: Kafka, verb: str) -> None:
    client = {"sasl.username": "u", "sasl.password": "correct-horse", "security.protocol": "SASL_PLAINTEXT",
              "sasl.mechanism": "PLAIN"}
    words = (f'source.topics=["kafka://{kafka.address}/any"]', f"source.client={toml(client)}")
    with Running(tmp_path / "state", verb, "tests.pipelines.brokered",
                 *(word for item in words for word in ("--set", item))) as running:
        running.wait()
    assert "correct-horse" not in running.output()
