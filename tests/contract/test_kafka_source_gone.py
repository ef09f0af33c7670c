"""The source `kafka` on a real broker: what it says of records that are gone before they were read, and what it reads
all the same."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from actors.runtime.values import SOURCE_LOST, Chunk
from actors.sources.kafka_gone import CutBack
from actors.testing.reading import Reading
from tests.contract.test_kafka_source import (
    has,
    numbered,
    options,
    reading,
    records,
    to_the_end,
    until_it_works,
    values,
)
from tests.kafka import Kafka as Broker
from tests.kafka import Topics


@pytest.fixture(scope="session")
def topics(kafka: Broker) -> Topics:
    return Topics(kafka.address)


def test_what_retention_took_before_it_was_read_is_told_with_its_offsets(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(10))
    with reading(kafka, tmp_path / "state", name, batch_bytes=20) as source:
        source.read_until(has(3))
        source.commit(*source.chunks[:1])
        done, issued = source.chunks[0].end, source.chunks[-1].end
    topics.forget(name, 0, 7)
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(3))
        lost = [chunk for chunk in source.chunks if chunk.fault]
        assert [chunk.fault for chunk in lost] == [SOURCE_LOST] * len(lost)
        assert (lost[0].start, lost[-1].end) == (done, 7)
        assert issued in {chunk.end for chunk in lost}, "what was issued is told in the range that it was issued in"
        assert f"offsets {done} to 6 of {name}/0 were not there any more" in lost[0].detail
        assert values(source.chunks) == [b"7", b"8", b"9"]


def test_what_is_gone_at_an_offset_that_was_named_is_told(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    topics.forget(name, 0, 3)
    (problem,) = options(kafka, name, start="offset:1").check(tmp_path / "state")
    assert f"{name}/0 has nothing in front of offset 3 any more" in problem
    with reading(kafka, tmp_path / "state", name, start="offset:1") as source:
        source.read_until(has(2))
        assert [(chunk.start, chunk.end) for chunk in source.chunks if chunk.fault] == [(1, 3)]
        assert values(source.chunks) == [b"3", b"4"]


def test_a_topic_that_is_made_anew_while_it_runs_is_another_one_and_is_read_from_its_beginning(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        source.read_until(lambda _: bool(source.ledger.taken_up()))
        topics.send(name, numbered(2, 5))
        source.read_until(has(2))
        (old,) = source.ledger.taken_up()
        topics.delete(name)
        until_it_works(source, lambda: old.end is not None)
        topics.make(name=name)
        topics.send(name, numbered(3, 100))
        until_it_works(source, lambda: len(records(source.chunks)) >= 5)
        assert values(source.chunks) == [b"5", b"6", b"100", b"101", b"102"]
        assert next(chunk.start for chunk in source.chunks if chunk.unit != old.id) == 0
        assert (old.end, old.damage) == (7, "")
        assert "removed" in old.note


def faults(source: Reading) -> list[Chunk]:
    return [chunk for chunk in source.chunks if chunk.fault]


def ended(source: Reading) -> Callable[[], bool]:
    """Whether all is handed out of a unit that is known to be gone."""
    return lambda: any(unit.fingerprint.endswith(" gone") and unit.end is not None
                       for unit in source.ledger.known("kafka "))


def test_what_was_fetched_of_a_topic_that_is_made_anew_goes_on_and_what_was_not_is_told(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name = topics.make()
    topics.send(name, [{"value": b"%d" % number * 2000} for number in range(10, 1510)])
    with reading(kafka, tmp_path / "state", name, batch_bytes=20_000) as source:
        source.read_until(has(10))
        (old,) = source.ledger.taken_up()
        topics.delete(name)
        while not old.note:  # nothing is taken meanwhile
            source.tick()
        topics.make(name=name)
        topics.send(name, numbered(3))
        until_it_works(source, lambda: b"2" in values(source.chunks) and ended(source)())
        of_old = [chunk for chunk in source.chunks if chunk.unit == old.id]
        assert [chunk.start for chunk in of_old] == [0, *(chunk.end for chunk in of_old[:-1])]
        assert of_old[-1].end == 1500, "all that was published, as the broker had said"
        (told,) = faults(source)
        assert len(records(of_old)) == told.start
        assert f"offsets {told.start} to 1499 of {name}/0 are lost" in told.detail
        assert "the topic was removed" in told.detail
        source.commit(*source.chunks)
        assert old.low == 1500 and "are lost" in old.damage
        assert values([chunk for chunk in source.chunks if chunk.unit != old.id]) == [b"0", b"1", b"2"]


def test_a_topic_that_is_removed_while_the_reader_is_paused_is_told_though_its_end_is_not_known(
    kafka: Broker, topics: Topics, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(5))
        monkeypatch.setattr("actors.sources.kafka_inflow.PAUSE_S", 0.0)
        (unit,) = source.ledger.taken_up()
        while not source.source._inflow.is_paused:  # type: ignore[attr-defined]
            source.tick()
        topics.send(name, numbered(5, 5))
        topics.delete(name)
        while not unit.note:
            source.tick()
        until_it_works(source, ended(source))
        (told,) = faults(source)
        assert told.start == 5 and told.end in (6, 10), "an answer may have been under way"
        assert f"whether all of {name}/0 was read is not known: it was read up to offset 5" in told.detail


def test_when_it_is_stopped_what_was_fetched_of_a_topic_that_is_gone_is_told_for_no_later_run_can_have_it(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name, other = topics.make(), topics.make()
    topics.send(name, numbered(100))
    with reading(kafka, tmp_path / "state", name, other, batch_bytes=20) as source:
        source.read_until(has(3))
        (unit,) = [unit for unit in source.ledger.taken_up() if unit.name == f"{name}/0"]
        topics.delete(name)
        while not unit.note:
            source.tick()
        topics.send(other, numbered(3))
        at = source.chunks[-1].end
        source.source.stop()
        until_it_works(source, lambda: source.source.exhausted)
        (told,) = faults(source)
        assert source.chunks[-1] is told and (told.start, told.end) == (at, 100), "and nothing else is read"
        assert f"offsets {at} to 99 of {name}/0 are lost" in told.detail
    with reading(kafka, tmp_path / "state", name, other, batch_bytes=20) as source:  # it was killed
        until_it_works(source, lambda: any(told.end == 100 for told in faults(source)) and has(3)(source))
        assert faults(source)[0].start == 0, "what was issued is told again"


def test_a_topic_that_was_removed_between_two_runs_is_told_and_so_it_is_when_it_had_been_read_to_its_end(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    name, other = topics.make(partitions=2), topics.make()
    topics.send(name, [*numbered(5), *numbered(4, 0, 1)])
    with reading(kafka, tmp_path / "state", name, follow=False) as source:
        source.commit(*to_the_end(source))
        source.finish()
        source.ledger.commit()
    topics.delete(name)
    with reading(kafka, tmp_path / "state", name, other) as source:
        until_it_works(source, lambda: len(faults(source)) == 2)
        assert {(told.source, told.start, told.end) for told in faults(source)} == {
            (f"{name}/0", 5, 6), (f"{name}/1", 4, 5)}
        source.commit(*source.chunks)
        source.fail()
        source.ledger.commit()
    with reading(kafka, tmp_path / "state", name, other) as source:
        until_it_works(source, lambda: name in source.source._topics._removed)  # type: ignore[attr-defined]
        source._read_once()
        assert source.chunks == [], "it is told once"


def test_a_topic_that_was_made_anew_between_two_runs_is_told(kafka: Broker, topics: Topics, tmp_path: Path) -> None:
    name = topics.make()
    topics.send(name, numbered(5))
    with reading(kafka, tmp_path / "state", name, batch_bytes=20) as source:
        source.read_until(has(5))
        source.commit(*source.chunks[:1])
        (old,) = source.ledger.taken_up()
        issued = source.chunks[-1].end
    topics.delete(name)
    topics.make(name=name)
    topics.send(name, numbered(20, 100))
    with reading(kafka, tmp_path / "state", name, start="latest") as source:
        source.read_until(has(20))
        source.read_until(lambda _: any(chunk.fault and chunk.end == issued for chunk in source.chunks))
        of_old = [chunk for chunk in source.chunks if chunk.unit == old.id]
        assert {chunk.fault for chunk in of_old} == {SOURCE_LOST}
        assert (of_old[0].start, of_old[-1].end) == (old.low, issued)
        assert f"is not known: it was read up to offset {old.low}, offsets {old.low} to {issued - 1} of" in (
            of_old[0].detail)
        assert values(source.chunks) == [b"%d" % number for number in range(100, 120)]


def test_what_a_broker_says_once_of_a_log_that_is_too_short_is_not_believed(
    kafka: Broker, topics: Topics, tmp_path: Path
) -> None:
    """One that was killed, and starts again, may know less of its log for a moment."""
    name = topics.make()
    topics.send(name, numbered(5))
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(5))
        said = CutBack(None, 0, 0)
        source.source._topics._read_on(  # type: ignore[attr-defined]
            source.source._roster.by_key[name, 0], said, time.monotonic())  # type: ignore[attr-defined]
        source.source._inflow.resets[name, 0] = None  # type: ignore[attr-defined]  # as the client says it
        topics.send(name, numbered(5, 5))
        source.read_until(has(10))
        assert len(source.ledger.taken_up()) == 1 and not faults(source)
        assert values(source.chunks) == [b"%d" % number for number in range(10)]


@pytest.mark.parametrize("is_written", [False, True])
def test_a_log_that_was_cut_back_is_told_and_read_on_as_another_unit(
    kafka: Broker, topics: Topics, tmp_path: Path, is_written: bool
) -> None:
    """Found out by where it ends, or by a record where there was none."""
    name = topics.make()
    topics.send(name, numbered(5))
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(has(5))
        (unit,) = source.ledger.taken_up()
        source.commit(*source.chunks)
        unit.low = 50  # as if there had been so many, and another broker that had fewer had become the leader
        source.ledger._touch(unit)
        source.ledger.commit()
    if is_written:
        topics.send(name, numbered(3, 100))
    with reading(kafka, tmp_path / "state", name) as source:
        source.read_until(lambda _: len(source.ledger.taken_up()) == 2)
        if not is_written:
            topics.send(name, numbered(3, 100))
        source.read_until(has(3))
        old, new = source.ledger.taken_up()
        (told,) = [chunk for chunk in source.chunks if chunk.fault]
        assert (told.unit, told.start, told.end, new.low) == (old.id, 50, 51, 5)
        assert f"ends at offset {8 if is_written else 5}, and was read up to 50" in told.detail
        assert values(source.chunks) == [b"100", b"101", b"102"]
        source.commit(*source.chunks)
    with reading(kafka, tmp_path / "state", name) as source:
        topics.send(name, numbered(1, 103))
        source.read_until(has(1))
        assert values(source.chunks) == [b"103"]
