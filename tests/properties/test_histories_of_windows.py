"""Whatever happens to files that are read at the same time: each record is in its windows, or a letter, once.

A history is drawn: files that go on after hours, or stand still, records that are late, clocks that are wrong, how many
workers and shards there are, where batches end, how many are killed. What comes out is compared with a program that
reads one line after the other.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.runtime.sections import WindowOptions
from actors.runtime.state import add_each, merge_into
from actors.testing import Faults
from actors.testing.inline import result_of
from actors.testing.world import Shape
from tests.properties.test_windows import KINDS, Record, line_of, oracle, parse, pipeline_of
from tests.properties.test_windows_side_by_side import SideBySide

BEGIN_MS = 1_565_647_200_000
EMPTY = WindowOptions(size_s=10, disorder_s=3, jump_s=60, empty="emit")
OPTIONS = {"tumbling": KINDS["tumbling"], "hopping": KINDS["hopping"], "with empty ones": EMPTY}
#: To the record before: how much later it is, and how much later than that the next one begins.
STEPS = {"usual": (0, 0), "disorder": (-2900, 2900), "late": (-30_000, 30_000), "far too late": (-3_000_000, 3_000_000),
         "after hours": (7_200_000, 0), "wrong clock": (6_000_000, -6_000_000)}
RECORDS = st.tuples(
    st.sampled_from([*STEPS, *["usual"] * 6]), st.sampled_from((0, 10, 900, 4000)), st.sampled_from("ab"))
#: Of each file: so that a sum of their numbers says which records are in it.
MOST = 20


class History(NamedTuple):
    """See above. ``silent``: bytes behind which a file is silent for a while, by its name."""

    kind: str
    files: dict[str, list[Record]]
    silent: dict[str, int]
    shards: int
    workers: int
    is_fused: bool
    batch_bytes: int
    kills: int
    seed: int


@st.composite
def histories(draw: st.DrawFn, are_silent: bool) -> History:
    files: dict[str, list[Record]] = {}
    for file in range(draw(st.integers(1, 3))):
        at, records = BEGIN_MS + draw(st.sampled_from((0, 500, 20_000))), []
        for number, (step, later, key) in enumerate(draw(st.lists(RECORDS, max_size=MOST))):
            before, behind = STEPS[step]
            at += later + before
            records.append((at, key, 1 << (MOST * file + number)))
            at += behind
        files[f"file-{file}"] = records
    sizes = {name: sum(len(line_of(record)) + 1 for record in some) for name, some in files.items()}
    silent = {name: draw(st.integers(0, size - 1)) for name, size in sizes.items() if are_silent and size}
    return History(draw(st.sampled_from(sorted(OPTIONS))), files, silent, draw(st.sampled_from((1, 3))),
                   draw(st.integers(1, 3)), draw(st.booleans()), draw(st.integers(30, 400)), draw(st.integers(0, 15)),
                   draw(st.integers(0, 1 << 16)))


def counted(values: list[Record], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """How many there are, and which."""
    return {("all",): [len(values), sum(number for _, _, number in values)]}


def played(history: History) -> tuple[dict[tuple[int, ...], Any], list[Record], Counter[str]]:
    """The rows by window and key, the records of the letters, and the counts."""
    options = OPTIONS[history.kind]
    pipeline = pipeline_of(options, history.shards)
    assert pipeline.windows is not None and pipeline.fold is not None
    windows = pipeline.windows if options.empty == "skip" else msgspec.structs.replace(pipeline.windows, key=None)
    fold = msgspec.structs.replace(pipeline.fold, partials=counted, fields=("count", "which"))
    pipeline = msgspec.structs.replace(pipeline, windows=windows, fold=fold)
    units = {name: b"".join(line_of(record) + b"\n" for record in some) for name, some in history.files.items()}
    shape = Shape(batch_bytes=history.batch_bytes, workers=history.workers, fused=history.is_fused)
    with tempfile.TemporaryDirectory() as folder:
        world = SideBySide(pipeline, units, Path(folder), shape,
                           Faults(history.seed, kills=history.kills, duplicates=0.02, outages=0.05), history.silent)
        try:
            world.run()
        finally:
            world.close()
        result = result_of(world)
        rows = world.stores["rows"].items
    assert max(Counter(tuple(window) for window, _ in rows).values(), default=1) == 1, "each came once"
    assert {letter.reason for letter in result.dead_letters} <= {"late"}
    return ({tuple(window): kinds.get("all", []) for window, (_, kinds) in rows},
            [parse(letter.raw) for letter in result.dead_letters], Counter(result.counts))


def expected(history: History, files: dict[str, list[Record]]) -> tuple[dict[tuple[int, ...], Any], list[Record]]:
    """The rows of these files, each read alone, line after line, and what is late in them."""
    options = OPTIONS[history.kind]
    found: dict[tuple[int, ...], Any] = {}
    late: list[Record] = []
    for records in files.values():
        some, too_late = oracle(options, records, counted)
        late += too_late
        for (start, end, key), numbers in some.items():
            window = (start, end, key) if options.empty == "skip" else (start, end)
            merge_into(found.setdefault(window, {}), numbers.items(), add_each)
    rows = {window: kinds[("all",)] for window, kinds in found.items()}
    if options.empty == "emit" and rows:
        starts = [start for start, *_ in rows]
        rows = {**{(at, at + 10_000): [] for at in range(min(starts), max(starts), 10_000)}, **rows}
    return rows, late


def add_up(counts: Counter[str], history: History, late: list[Record]) -> bool:
    number = sum(map(len, history.files.values()))
    return (counts["read"], counts["folded"], counts["dead_lettered"]) == (number, number - len(late), len(late))


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(are_silent=False))
def test_rows_and_letters_are_those_of_a_program_that_reads_each_file_line_by_line(history: History) -> None:
    rows, letters, counts = played(history)
    expected_rows, late = expected(history, history.files)
    assert sorted(letters) == sorted(late)
    assert rows == expected_rows
    assert add_up(counts, history, late)


@settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
@given(histories(are_silent=True))
def test_with_files_that_are_silent_for_a_while_each_record_is_in_its_window_or_a_letter_and_never_both(
    history: History
) -> None:
    if history.kind == "hopping":  # a record may be late for some of its windows: which, the letters do not say
        history = history._replace(kind="tumbling")
    rows, letters, counts = played(history)
    assert len(set(letters)) == len(letters)
    on_time = {name: [record for record in some if record not in set(letters)] for name, some in history.files.items()}
    assert rows == expected_of_all(history, on_time)
    assert set(expected(history, history.files)[1]) <= set(letters), "what is late in its own file is late"
    assert add_up(counts, history, letters)


def expected_of_all(history: History, files: dict[str, list[Record]]) -> dict[tuple[int, ...], Any]:
    """The rows of all of these records: none is late."""
    ordered = sorted(record for some in files.values() for record in some)
    rows, late = expected(history, {"all": ordered})
    assert not late
    return rows
