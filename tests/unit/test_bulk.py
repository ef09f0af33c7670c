"""Whole slices at once: an application's ``bulk`` in a fused parser, with the same outcome as line by line."""

from __future__ import annotations

from operator import itemgetter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.parser import BULK_BYTES, bulk_of, quick_slices
from actors.runtime.errors import Reject
from actors.runtime.lift import lift
from actors.runtime.messages import Batch, Late
from actors.runtime.pipeline import Bulk, Fold, Pipeline, Windows, per_chunk
from actors.runtime.rows import Rows
from actors.runtime.sections import WindowOptions
from actors.runtime.windows import Passage, Placer
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.jsonl import Jsonl
from actors.sources.files import Files
from actors.testing import Faults, assert_bulk_is_faithful, run_inline

BATCH = Batch("p", 0, 1, 0, 0, 0, 1, "s", 0, 1)


@per_chunk
def parse(lines: list[bytes]) -> list[str | Reject | None]:
    return [Reject("bad", "") if b"!" in line else line.decode() or None for line in lines]


def check(word: str) -> str | None:
    return None if word.startswith("f") else word


def route(word: str) -> str | None:
    return "words" if word.startswith("w") else None


def count(words: list[str], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    return {(word,): [words.count(word)] for word in set(words)}


def bulk(data: bytes) -> Bulk | None:
    if b"!" in data:
        return None
    if b"E" in data:
        raise ValueError("bulk cannot do this")
    words = [line.decode() for line in data.split(b"\n") if line]
    kept = [word for word in words if not word.startswith("f")]
    items = {"words": [word for word in kept if word.startswith("w")]}
    return Bulk(read=len(words), filtered=len(words) - len(kept), items=items, partials=count(kept, 0))


PIPELINE = Pipeline(
    name="words", source=Files(pattern="x"), parse=parse, check=check, route=route, bulk=bulk,
    fold=Fold(partials=count, keys=("word",), fields=("number",)), sinks={"words": Jsonl()}, dead_letters=DeadLetters())

LINE = st.sampled_from([b"w1", b"w2", b"f", b"x", b"", b"!", b"E"])


@settings(deadline=None)
@given(lines=st.lists(LINE, max_size=60), batch_bytes=st.integers(1, 64), kills=st.integers(0, 2))
def test_the_outcome_is_that_of_the_functions_line_by_line(lines: list[bytes], batch_bytes: int, kills: int) -> None:
    slow = run_inline(msgspec.structs.replace(PIPELINE, bulk=None), lines)
    quick = run_inline(PIPELINE, lines, batch_bytes=batch_bytes, faults=Faults(3, kills=kills))
    apart = run_inline(PIPELINE, lines, batch_bytes=batch_bytes, fused=False)
    for other in (quick, apart):
        assert (other.written, other.folded, other.counts) == (slow.written, slow.folded, slow.counts)
        assert [letter.line for letter in other.dead_letters] == [letter.line for letter in slow.dead_letters]


def test_a_large_batch_is_given_in_slices_and_a_refused_one_goes_line_by_line_with_its_own_positions() -> None:
    line = b"x" * 1023 + b"\n"
    first = line * (BULK_BYTES // len(line) + 1)
    data = first + b"!\n" + line * 10
    slices = list(quick_slices(lambda data, lines: bulk(data), lift(parse, "parse"), BATCH, data))
    assert isinstance(slices[0], Bulk)
    assert slices[0].read == first.count(b"\n")
    rows = slices[1]
    assert isinstance(rows, Rows)
    assert len(slices) == 2
    assert rows.at == (len(first), first.count(b"\n"))
    assert rows.lines[0] == b"!"


@pytest.mark.parametrize(("data", "known", "expected"), [
    (b"a\nb\n", -1, 2), (b"a\nb", -1, 2), (b"a\nb\n", 2, 2), (b"a\nb", 1, 2)])
def test_the_number_of_lines_goes_along(data: bytes, known: int, expected: int) -> None:
    def by_lines(data: bytes, lines: int) -> Bulk:
        return Bulk(read=lines)

    call = bulk_of(msgspec.structs.replace(PIPELINE, bulk=by_lines), None)
    assert call is not None
    assert call(data, known) == Bulk(read=expected)


LAYOUT = WindowOptions(size_s=10, disorder_s=2)


def placed(*slices: tuple[int, int, int] | None, late: int | None = None, records: int = 4) -> list[Any]:
    """Where the slices of one batch belong that have these times, and so many records."""
    windows = Windows(time=itemgetter(0), emit=lambda window, rows: [])
    batch = msgspec.structs.replace(BATCH, anchor=0, seen_ms=10**9, late=() if late is None else (Late(0, late),))
    passage = Passage(batch)
    return [Placer(windows, None, LAYOUT, 1).place_whole(passage, times, records) for times in slices]


def test_a_slice_whose_times_are_in_one_window_belongs_there() -> None:
    assert placed((1000, 0, 9999), (9000, 9000, 9999)) == [((0, 10_000, ()),)] * 2


def test_a_slice_of_several_windows_or_of_no_known_time_goes_line_by_line() -> None:
    assert placed((9000, 9000, 10_000)) == [None]
    assert placed(None) == [None]


def test_a_slice_with_a_jump_in_it_or_few_records_goes_line_by_line() -> None:
    day = WindowOptions(size_s=86_400)
    passage = Passage(msgspec.structs.replace(BATCH, anchor=0, seen_ms=10**9))
    placer = Placer(Windows(time=itemgetter(0), emit=lambda window, rows: []), None, day, 1)
    assert placer.place_whole(passage, (0, 0, 3_600_001), 100) is None
    assert placer.place_whole(passage, (0, 0, 3_600_000), 100) == ((0, 86_400_000, ()),)
    assert placed((1000, 0, 9999), records=3) == [None]


def test_a_slice_in_which_something_may_be_late_goes_line_by_line() -> None:
    assert placed((11_000, 11_000, 12_500), (9000, 9000, 9500))[1] is None
    assert placed((1000, 1000, 2000), late=10_000) == [None]


def test_a_slice_older_than_the_first_record_by_more_than_the_disorder_goes_line_by_line() -> None:
    assert placed((5000, 2999, 6000)) == [None]
    assert placed((5000, 3000, 6000)) == [((0, 10_000, ()),)]


@pytest.mark.parametrize("wrong", [
    Bulk(read=2, partials={("x",): [1]}),
    Bulk(read=1, filtered=1),
    Bulk(read=1, items={"words": ["x"]}, partials={("x",): [1]}),
    Bulk(read=1, partials={("x",): [2]}),
])
def test_an_unfaithful_bulk_is_found_out(wrong: Bulk) -> None:
    with pytest.raises(AssertionError):
        assert_bulk_is_faithful(msgspec.structs.replace(PIPELINE, bulk=lambda data: wrong), b"x\n")


def test_a_bulk_that_takes_what_is_rejected_is_found_out() -> None:
    with pytest.raises(AssertionError, match="parse rejects"):
        assert_bulk_is_faithful(msgspec.structs.replace(PIPELINE, bulk=lambda data: Bulk(read=1)), b"!\n")


def test_a_faithful_one_is_shown_to_be() -> None:
    assert assert_bulk_is_faithful(PIPELINE, b"w1\nf\nx\n") is not None
    assert assert_bulk_is_faithful(PIPELINE, b"!\n") is None
