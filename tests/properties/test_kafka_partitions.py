"""What comes of a partition in Kafka is cut into chunks that have all of it, whatever comes together, is skipped, or is
gone; and is cut the same again by the reader after one that died."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.kafka.received import Odd
from actors.runtime.framing import Record, records_in
from actors.runtime.values import SOURCE_LOST, Chunk, Unit
from actors.sources.kafka_partitions import LINGER_S, Partition, Run, generation_of, partition_of, size_of
from actors.sources.kafka_partitions import fingerprint as mark_of


class Log(NamedTuple):
    """A partition of a broker: the offsets of its records, where it ends, and which of its records cannot be read. What
    is between them is no record."""

    offsets: list[int]
    end: int
    odd: frozenset[int] = frozenset()


@st.composite
def logs(draw: st.DrawFn) -> Log:
    gaps = draw(st.lists(st.integers(1, 4), min_size=1, max_size=40))
    offsets = [sum(gaps[:index]) for index in range(len(gaps))]
    odd = draw(st.frozensets(st.sampled_from(offsets), max_size=3))
    return Log(offsets, offsets[-1] + 1 + draw(st.integers(0, 3)), odd)


def record(offset: int) -> Record:
    return Record(offset, b"x" * (offset % 7) if offset % 5 else None, key=b"k", headers=(("h", None),))


def unit(low: int = 0) -> Unit:
    return Unit(1, "t/0", "kafka id 0", 0, low, 0, None, "reading", {})


class Fed:
    """A partition, and a broker that gives it what it has from some offset on, so much at a time."""

    def __init__(self, log: Log, partition: Partition) -> None:
        self.log = log
        self.partition = partition
        self.at = partition.seen
        self.chunks: list[Chunk] = []

    def give(self, count: int) -> None:
        """So many records come; behind the last one it is known where the partition ends."""
        records = [record(offset) for offset in self.log.offsets if offset >= self.at][:count]
        if records:
            for is_odd, some in groupby(records, lambda each: each.offset in self.log.odd):
                run = list(some)
                if is_odd:
                    for each in run:
                        self.partition.come_odd(Odd(each, "odd", "why"), -1, 0.0)
                else:
                    self.partition.come(Run(run, sum(map(size_of, run))), 0.0)
            self.at = records[-1].offset + 1
        else:
            self.partition.reached(self.log.end)

    def cut(self, batch_bytes: int, is_all: bool) -> None:
        """Chunks are taken as long as there are any."""
        while (chunk := self.partition.next(batch_bytes, is_all, 0.0)) is not None:
            self.chunks.append(chunk)

    def to_the_end(self, batch_bytes: int) -> None:
        """All of it."""
        while self.partition.position < self.log.end:
            self.give(3)
            self.cut(batch_bytes, True)


def offsets_in(chunks: list[Chunk]) -> list[int]:
    return [each.offset for chunk in chunks if chunk.fault in ("", "odd") for each in records_in(chunk.data)]


def assert_contiguous(chunks: list[Chunk], start: int, end: int) -> None:
    assert [chunk.start for chunk in chunks] == [start, *(chunk.end for chunk in chunks)][:-1]
    assert chunks[-1].end == end
    for chunk in chunks:
        assert chunk.start < chunk.end
        assert all(chunk.start <= each.offset < chunk.end for each in records_in(chunk.data or b"\x90"))


steps = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 200), st.booleans()), max_size=30)


@settings(deadline=None)
@given(logs(), steps, st.integers(1, 200))
def test_all_records_are_handed_out_once_and_in_order_and_what_is_no_record_is_passed_over(
    log: Log, script: list[tuple[int, int, bool]], batch_bytes: int
) -> None:
    fed = Fed(log, Partition(("t", 0), unit(), [], 0.0))
    for count, size, is_all in script:
        fed.give(count)
        fed.cut(size, is_all)
    fed.to_the_end(batch_bytes)
    assert offsets_in(fed.chunks) == log.offsets
    assert_contiguous(fed.chunks, 0, log.end)
    assert fed.partition.size == 0 and not fed.partition.has_more()


@settings(deadline=None)
@given(logs(), steps, st.data())
def test_what_was_issued_is_cut_the_same_again_when_all_of_it_has_come(
    log: Log, script: list[tuple[int, int, bool]], data: st.DataObject
) -> None:
    first = Fed(log, Partition(("t", 0), unit(), [], 0.0))
    for count, size, is_all in script:
        first.give(count)
        first.cut(size, is_all)
    done = data.draw(st.integers(0, len(first.chunks)))
    low = first.chunks[done - 1].end if done else 0
    left = [(chunk.start, chunk.end) for chunk in first.chunks[done:]]
    second = Fed(log, Partition(("t", 0), unit(low), left, 0.0))
    while second.partition.position < log.end:
        second.give(data.draw(st.integers(1, 5)))
        second.cut(data.draw(st.integers(1, 300)), data.draw(st.booleans()))
        if second.at >= log.offsets[-1]:
            second.give(1)
            second.cut(1, True)
    assert [(chunk.start, chunk.end) for chunk in second.chunks[:len(left)]] == left
    assert [chunk.data for chunk in second.chunks[:len(left)]] == [chunk.data for chunk in first.chunks[done:]]
    assert offsets_in(second.chunks) == [offset for offset in log.offsets if offset >= low]


@settings(deadline=None)
@given(logs(), st.integers(0, 50), st.integers(1, 60), st.integers(1, 9), st.lists(st.integers(1, 20), max_size=4))
def test_what_is_gone_is_a_fault_with_its_offsets_in_its_place(
    log: Log, came: int, until: int, count: int, ranges: list[int]
) -> None:
    ends = [sum(ranges[:index]) for index in range(1, len(ranges) + 1)]
    recorded = list(zip([0, *ends], ends, strict=False))
    fed = Fed(log, Partition(("t", 0), unit(), recorded, 0.0))
    while fed.at <= log.offsets[-1] and fed.at < came:
        fed.give(count)
    seen = fed.partition.seen
    until = max(seen + 1, until)
    fed.partition.lost(until, "retention took it")
    fed.at = until
    end = max(log.end, until, *ends, 0)
    later = Log([offset for offset in log.offsets if offset >= until], end, log.odd)
    fed.log = later
    fed.to_the_end(40)
    faults = [chunk for chunk in fed.chunks if chunk.fault == SOURCE_LOST]
    assert {chunk.detail for chunk in faults} == {"retention took it"}
    assert (faults[0].start, faults[-1].end) == (seen, until), "told range"
    assert offsets_in(fed.chunks) == [offset for offset in log.offsets if offset < seen or offset >= until]
    assert_contiguous(fed.chunks, 0, end)
    cuts = {chunk.end for chunk in fed.chunks}
    assert cuts >= set(ends), "a range that was issued is never part of another one"


@settings(deadline=None)
@given(logs(), st.integers(0, 60), st.integers(1, 9))
def test_nothing_is_read_from_where_it_is_to_end_and_then_it_is_read(log: Log, until: int, count: int) -> None:
    until = min(until, log.end)
    fed = Fed(log, Partition(("t", 0), unit(), [], 0.0, until))
    while not fed.partition.is_read():
        fed.give(count)
        fed.cut(100, True)
    assert offsets_in(fed.chunks) == [offset for offset in log.offsets if offset < until]
    assert fed.partition.position == until


def test_a_few_records_wait_a_moment_for_more_while_more_is_at_hand() -> None:
    partition = Partition(("t", 0), unit(), [], 0.0)
    partition.come(Run([record(3)], 20), 5.0)
    assert partition.next(1000, False, 5.0 + LINGER_S / 2) is None
    partition.come(Run([record(4)], 20), 5.0 + LINGER_S / 2)
    chunk = partition.next(1000, False, 5.0 + LINGER_S)
    assert chunk is not None and (chunk.start, chunk.end) == (0, 5), "the first one has waited long enough"


def test_records_that_come_a_second_time_are_dropped() -> None:
    partition = Partition(("t", 0), unit(), [], 0.0)
    partition.come(Run([record(0), record(1)], 40), 0.0)
    partition.come(Run([record(1), record(2)], 40), 0.0)
    chunk = partition.next(1000, True, 0.0)
    assert chunk is not None and offsets_in([chunk]) == [0, 1, 2]
    assert partition.size == 0


def test_a_fingerprint_says_what_it_is_of() -> None:
    assert partition_of(mark_of("aBc-_1", 7)) == partition_of(mark_of("aBc-_1", 7, 2)) == ("aBc-_1", 7)
    assert [generation_of(mark_of("a", 7, generation)) for generation in (0, 1, 2)] == [0, 1, 2]
