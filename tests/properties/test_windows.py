"""Windows in a simulated world: the rows are those of a program that reads one line after the other."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.runtime.pipeline import Fold, Pipeline, Window, Windows
from actors.runtime.sections import AggregatorOptions, FlowOptions, WindowOptions
from actors.testing import Faults, MemorySink, MemorySource, UnorderedMemorySink
from actors.testing.inline import result_of
from actors.testing.world import Shape, World

SEEDS = range(60)
Record = tuple[int, str, int]


def parse(line: bytes) -> Any:
    """``time key number``."""
    at, key, number = line.decode().split()
    return int(at), key, int(number)


def partials(values: list[Record], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """Number and sum, of even and of odd numbers."""
    totals: dict[tuple[Any, ...], list[Any]] = {}
    for _, _, number in values:
        total = totals.setdefault(("odd" if number % 2 else "even",), [0, 0])
        total[0] += 1
        total[1] += number
    return totals


def emit(window: Window, rows: list[tuple[tuple[Any, ...], list[Any]]]) -> list[tuple[str, Any]]:
    """One row of each window."""
    return [("rows", ((window.start, window.end, *window.key), (window.revision, {key[0]: n for key, n in rows})))]


def pipeline_of(window: WindowOptions, shards: int = 1) -> Pipeline:
    return Pipeline(
        name="windows", source=MemorySource(), parse=parse, sinks={"rows": MemorySink()}, emit_sinks=("rows",),
        dead_letters=UnorderedMemorySink(), fold=Fold(partials=partials, keys=("kind",), fields=("count", "sum")),
        windows=Windows(time=lambda value: value[0], key=lambda value: (value[1],), emit=emit), window=window,
        aggregator=AggregatorOptions(shards=shards), flow=FlowOptions(window_batches=6))


KINDS = {
    "tumbling": WindowOptions(size_s=10, disorder_s=3, jump_s=60),
    "hopping": WindowOptions(kind="hopping", size_s=10, every_s=4, disorder_s=3, jump_s=8),
    "session": WindowOptions(kind="session", gap_s=1.5, disorder_s=3, jump_s=5),
    "global": WindowOptions(kind="global"),
}
FOREVER = 1 << 62


def oracle(
    options: WindowOptions, records: list[Record], count: Callable[[list[Record], int], Any] = partials
) -> tuple[dict[Any, Any], list[Record]]:
    """The rows by window and key, and the late records, of a program that reads one record after the other."""
    size, every, gap, disorder = (
        round(1000 * x) for x in (options.size_s, options.every_s, options.gap_s, options.disorder_s))
    rows: dict[Any, list[Record]] = defaultdict(list)
    late: list[Record] = []
    before: list[int] = []
    for record in records:
        at, key, _ = record
        if options.kind == "tumbling":
            windows = [(at // size * size, at // size * size + size)]
        elif options.kind == "hopping":
            windows = [(start, start + size) for start in range((at - size) // every * every, at + 1, every)
                       if start <= at < start + size]
        else:
            windows = [(at, at + gap)] if options.kind == "session" else [(-FOREVER, FOREVER)]
        newest = believed(before, options.jump_confirm, max(options.jump_s, options.disorder_s))
        windows = [window for window in windows if window[1] > newest - disorder]
        if not windows:
            late.append(record)
        for window in windows:
            rows[(*window, key)].append(record)
        before.append(at)
    if options.kind == "session":
        rows = _sessions(rows)
    return {window: count(some, 0) for window, some in rows.items()}, late


def believed(times: list[int], confirm: int, step_s: float) -> int:
    """The newest time by which the next record is judged."""
    newest = sorted(times)[-confirm - 1:]
    if not newest:
        return -FOREVER
    way = newest[0]
    for at in newest:
        if at - way <= 1000 * step_s:
            way = at
    return way


def _sessions(alone: Mapping[Any, list[Record]]) -> dict[Any, list[Record]]:
    merged: dict[Any, list[Record]] = {}
    last: Any = None
    for (start, end, key), some in sorted(alone.items(), key=lambda item: (item[0][2], item[0][0])):
        if last is not None and last[2] == key and start < last[1]:
            records = merged.pop(last)
            last = (last[0], max(end, last[1]), key)
            merged[last] = records + some
        else:
            last = (start, end, key)
            merged[last] = list(some)
    return merged


def make_records(rng: random.Random, count: int, disorder_ms: int) -> list[Record]:
    """Records whose times are out of order by less than the disorder."""
    at, ordered = 1_565_647_204_351, []
    for number in range(count):
        at += rng.choice((0, 10, 200, 900, 4000))
        ordered.append((at, rng.choice("ab"), number))
    return sorted(ordered, key=lambda record: record[0] + rng.random() * disorder_ms)


def line_of(record: Record) -> bytes:
    return "{} {} {}".format(*record).encode()


def run(folder: Path, pipeline: Pipeline, records: list[Record], faults: Faults, workers: int, fused: bool) -> World:
    lines = [line_of(record) for record in records]
    middle = len(lines) // 2
    units = {"one": b"\n".join(lines[:middle]), "two": b"\n".join(lines[middle:])}
    world = World(pipeline, units, folder, Shape(batch_bytes=120, workers=workers, fused=fused), faults)
    try:
        world.run()
    finally:
        world.close()
    return world


def rows_of(world: World) -> dict[Any, Any]:
    """The rows that stand in the end, each without its revision; each was emitted once."""
    stored = world.stores["rows"].values
    assert all(revision == 1 for revision, _ in stored.values())
    return {window: {(kind,): numbers for kind, numbers in kinds.items()} for window, (_, kinds) in stored.items()}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_any_order_within_the_disorder_any_workers_and_any_kills_give_the_same_rows(
    tmp_path: Path, kind: str, seed: int
) -> None:
    rng = random.Random(seed)
    options = KINDS[kind]
    records = make_records(rng, rng.randint(1, 120), 2999)
    faults = Faults(seed, kills=rng.randint(0, 20), duplicates=0.02, outages=0.05)
    world = run(tmp_path, pipeline_of(options, rng.choice((1, 3))), records, faults, rng.choice((1, 2, 4)),
                bool(seed % 2))
    expected, late = oracle(options, sorted(records))
    assert not late
    assert rows_of(world) == expected
    assert result_of(world).counts.get("folded", 0) == len(records)


@pytest.mark.parametrize("kind", ["tumbling", "hopping", "session"])
@pytest.mark.parametrize("seed", SEEDS)
def test_what_comes_too_late_is_a_dead_letter_and_in_no_window(tmp_path: Path, kind: str, seed: int) -> None:
    rng = random.Random(seed)
    options = KINDS[kind]
    records = make_records(rng, rng.randint(20, 120), 2999)
    for _ in range(rng.randint(1, 5)):  # some are far too late, others hardly
        at = rng.randint(10, len(records))
        time = rng.choice((records[0][0] - rng.randint(0, 60_000), records[at - 1][0] - rng.randint(2000, 6000)))
        records.insert(at, (time, "a", -1))
    for _ in range(rng.randint(0, 6)):  # and some clocks are far ahead
        at = rng.randint(0, len(records))
        records.insert(at, (records[0][0] + rng.choice((3_600_000, 86_400_000)) + rng.randint(0, 9000), "b", -2))
    if rng.random() < 0.3:  # or the log goes on an hour later
        at = rng.randint(0, len(records))
        records[at:] = [(time + 3_600_000, key, number) for time, key, number in records[at:]]
    faults = Faults(seed, kills=rng.randint(0, 20), duplicates=0.02, outages=0.05)
    world = run(tmp_path, pipeline_of(options, rng.choice((1, 3))), records, faults, rng.choice((1, 2, 4)),
                bool(seed % 2))
    expected, late = oracle(options, records)
    result = result_of(world)
    assert {letter.reason for letter in result.dead_letters} <= {"late"}
    assert rows_of(world) == expected
    assert sorted(letter.raw for letter in result.dead_letters) == sorted(map(line_of, late))
    assert result.counts["read"] == len(records)
    assert result.counts.get("folded", 0) + result.counts.get("dead_lettered", 0) == len(records)


def test_an_emission_that_fails_is_a_dead_letter_with_all_that_was_in_the_window(tmp_path: Path) -> None:
    def fails(window: Window, rows: Any) -> Any:
        raise KeyError("missing")

    pipeline = pipeline_of(KINDS["tumbling"])
    assert pipeline.windows is not None
    pipeline = msgspec.structs.replace(pipeline, windows=msgspec.structs.replace(pipeline.windows, emit=fails))
    world = run(tmp_path, pipeline, make_records(random.Random(1), 20, 0), Faults(1), 2, True)
    letters = result_of(world).dead_letters
    assert {letter.reason for letter in letters} == {"emit_error"}
    assert all("KeyError" in letter.detail and b'"even"' in letter.raw + b'"even"' for letter in letters)


@pytest.mark.parametrize("is_ordered", [True, False])
@pytest.mark.parametrize("seed", range(20))
def test_what_has_a_sink_of_its_own_is_written_once_late_or_not_and_the_counts_add_up(
    tmp_path: Path, seed: int, is_ordered: bool
) -> None:
    rng = random.Random(seed)
    records = make_records(rng, rng.randint(20, 120), 2999)
    for _ in range(rng.randint(1, 5)):
        at = rng.randint(10, len(records))
        records.insert(at, (records[0][0] - rng.randint(0, 60_000), "a", at - 1000))
    pipeline = pipeline_of(KINDS["tumbling"], rng.choice((1, 3)))
    copy = MemorySink() if is_ordered else UnorderedMemorySink()
    pipeline = msgspec.structs.replace(
        pipeline, sinks={**pipeline.sinks, "copy": copy}, encode=list,
        route=lambda record: "copy" if record[2] % 3 else None)
    world = run(tmp_path, pipeline, records, Faults(seed, kills=rng.randint(0, 20)), rng.choice((1, 4)), bool(seed % 2))
    expected, late = oracle(KINDS["tumbling"], records)
    result = result_of(world)
    assert rows_of(world) == expected
    written = sorted(tuple(item) for item in world.stores["copy"].items)
    assert written == sorted(record for record in records if record[2] % 3)
    assert sorted(letter.raw for letter in result.dead_letters) == sorted(
        line_of(record) for record in late if not record[2] % 3)
    assert result.counts.get("late", 0) == sum(record[2] % 3 > 0 for record in late)
    assert result.counts["written"] == len(written)


@pytest.mark.parametrize("seed", range(40))
def test_rows_for_two_sinks_come_to_both_whichever_of_their_writers_dies(tmp_path: Path, seed: int) -> None:
    def emit_both(window: Window, rows: list[tuple[tuple[Any, ...], list[Any]]]) -> list[tuple[str, Any]]:
        return [row for name, item in emit(window, rows) for row in ((name, item), ("more", item))]

    rng = random.Random(seed)
    records = make_records(rng, 40, 2999)
    pipeline = pipeline_of(KINDS["tumbling"], rng.choice((1, 3)))
    assert pipeline.windows is not None
    pipeline = msgspec.structs.replace(
        pipeline, windows=msgspec.structs.replace(pipeline.windows, emit=emit_both), emit_sinks=("rows", "more"),
        sinks={**pipeline.sinks, "more": MemorySink()})
    world = run(tmp_path, pipeline, records, Faults(seed, kills=40, outages=0.2, stops=5, delays=10), 1, True)
    expected, _ = oracle(KINDS["tumbling"], records)
    assert rows_of(world) == expected
    assert world.stores["more"].values == world.stores["rows"].values
