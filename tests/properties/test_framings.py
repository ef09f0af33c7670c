"""Every framing, over any bytes in any blocks, from any border: the records of a plain reading, in their places.

What is read plainly is in ``tests.framings``: byte by byte, over the whole content, with none of the code under test.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.framing import records_in
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.cutter import RecordCutter
from actors.sources.streams import Fault
from tests.framings import FRAMINGS, MOST, Blocks, Framing, outcomes_of

BASE = 1000
SIZES = st.lists(st.integers(1, 90), min_size=1, max_size=5)
BATCHES = st.integers(1, 120)
few = settings(max_examples=40, deadline=None)
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)


def contents(framing: Framing) -> st.SearchStrategy[bytes]:
    pieces = st.one_of(st.sampled_from(list(framing.pieces)), st.binary(max_size=3))
    return st.builds(lambda mark, found: mark + b"".join(found),
                     st.sampled_from([b"", b"", b"", b"\xef\xbb\xbf", b"[", b" [ "]), st.lists(pieces, max_size=60))


def cut(
    framing: Framing, content: bytes, sizes: Sequence[int], batch: int, low: int = 0, lines: int = 0,
    recorded: Sequence[tuple[int, int]] = (), fault: Fault | None = None, most: int = MOST,
) -> list[Chunk]:
    """All chunks of a unit that lies at BASE in its partition."""
    unit = Unit(1, "unit", "", BASE, BASE + low, lines, None, "reading", {})
    passed = bytearray()
    cutter = RecordCutter(Blocks(content, sizes, fault), unit, [(BASE + a, BASE + b) for a, b in recorded], batch,
                          framing.scanner(most), passed.extend)
    chunks: list[Chunk] = []
    while not cutter.finished:
        if (chunk := cutter.next()) is not None:
            chunks.append(chunk)
    assert passed == content[low:], "what was passed is not the content"
    return chunks


def expect_whole(framing: Framing, chunks: Sequence[Chunk], content: bytes, low: int = 0) -> None:
    """The chunks are all of the content, one behind the other, and each knows its place."""
    has_lines = framing.scanner().has_lines
    at = BASE + low
    for chunk in chunks:
        assert chunk.start == at < chunk.end
        assert chunk.offset == chunk.start - BASE
        if has_lines:
            assert chunk.line == 1 + content.count(b"\n", 0, chunk.offset)
            assert chunk.lines == content.count(b"\n", chunk.offset, chunk.end - BASE)
        else:
            assert (chunk.line, chunk.lines) == (0, 0)
        for record in records_in(chunk.data):
            assert chunk.offset <= record.offset < chunk.end - BASE
        at = chunk.end
    left = content[at - BASE:]
    assert not left.strip(b" \t\r\n" if framing.options["framing"] == "json_array" else b""), f"not read: {left!r}"


@each_framing
@few
@given(data=st.data())
def test_any_bytes_in_any_blocks_are_the_records_of_a_plain_reading(framing: Framing, data: st.DataObject) -> None:
    content = data.draw(contents(framing))
    chunks = cut(framing, content, data.draw(SIZES), data.draw(BATCHES))
    assert outcomes_of(chunks) == framing.read(content, MOST)
    expect_whole(framing, chunks, content)


@each_framing
@few
@given(data=st.data())
def test_from_every_border_on_the_rest_is_the_same(framing: Framing, data: st.DataObject) -> None:
    content = data.draw(contents(framing))
    chunks = cut(framing, content, [7], data.draw(BATCHES))
    found = outcomes_of(chunks)
    borders = {chunk.offset for chunk in chunks} | {
        record.offset for chunk in chunks if not chunk.fault for record in records_in(chunk.data)[1:]}
    for border in borders:
        rest = cut(framing, content, data.draw(SIZES), data.draw(BATCHES), border, content.count(b"\n", 0, border))
        assert outcomes_of(rest) == [each for each in found if each.offset >= border]
        expect_whole(framing, rest, content, border)


@each_framing
@few
@given(data=st.data())
def test_recorded_ranges_are_cut_exactly_so_again(framing: Framing, data: st.DataObject) -> None:
    content = data.draw(contents(framing))
    chunks = cut(framing, content, [64], data.draw(BATCHES))
    borders = sorted({chunk.offset for chunk in chunks} | {chunk.end - BASE for chunk in chunks} | {
        record.offset for chunk in chunks if not chunk.fault for record in records_in(chunk.data)[1:]})
    ranges = list(itertools.pairwise(borders))
    done = data.draw(st.integers(0, len(ranges)))
    recorded = ranges[done:data.draw(st.integers(done, len(ranges)))]
    low = borders[done] if borders else 0
    again = cut(framing, content, data.draw(SIZES), data.draw(BATCHES), low, content.count(b"\n", 0, low), recorded)
    assert [(chunk.offset, chunk.end - BASE) for chunk in again[:len(recorded)]] == recorded
    assert outcomes_of(again) == [each for each in outcomes_of(chunks) if each.offset >= low]
    expect_whole(framing, again, content, low)


@each_framing
@few
@given(data=st.data())
def test_what_was_cut_with_another_limit_stays_in_one_piece(framing: Framing, data: st.DataObject) -> None:
    content = data.draw(contents(framing))
    recorded = [(chunk.offset, chunk.end - BASE) for chunk in cut(framing, content, [64], 50)]
    again = cut(framing, content, [64], 50, recorded=recorded, most=data.draw(st.integers(1, 2 * MOST)))
    assert [(chunk.offset, chunk.end - BASE) for chunk in again] == recorded


@each_framing
@few
@given(data=st.data())
def test_a_stream_that_is_cut_off_has_its_whole_records_and_one_fault(framing: Framing, data: st.DataObject) -> None:
    content = data.draw(contents(framing))
    whole = outcomes_of(cut(framing, content, [64], 50))
    fault = Fault("truncated_gzip", "cut short")
    chunks = cut(framing, content, data.draw(SIZES), data.draw(BATCHES), fault=fault)
    *before, last = chunks
    assert last.fault == "truncated_gzip"
    assert last.end - BASE >= len(content)
    assert outcomes_of(before) == whole[:len(outcomes_of(before))]
    if last.end - BASE == len(content):
        rest = cut(framing, content, [64], 50, last.offset, content.count(b"\n", 0, last.offset))
        assert outcomes_of(before) + outcomes_of(rest) == whole, "whole, it does not go on behind what was read"
    recorded = [(chunk.offset, chunk.end - BASE) for chunk in chunks]
    again = cut(framing, content, [64], 50, recorded=recorded, fault=fault)
    assert again[:-1] == before
    assert (again[-1].start, again[-1].end, again[-1].fault) == (
        last.start, last.end, last.fault)


NULS = [bytes(size) for size in (1, 63, 64, 100, 511, 512, 4095, 4096, 5000)]


@pytest.mark.parametrize("framing", [FRAMINGS["csv"], FRAMINGS["csv with a header"], FRAMINGS["multiline"]])
@few
@given(data=st.data())
def test_holes_are_the_same_in_any_blocks_and_from_any_border(framing: Framing, data: st.DataObject) -> None:
    pieces = st.one_of(st.sampled_from(list(framing.pieces)), st.sampled_from(NULS))
    content = b"".join(data.draw(st.lists(pieces, max_size=20)))
    most = data.draw(st.sampled_from([10, 1000, 10_000]))
    chunks = cut(framing, content, [100_000], 100_000, most=most)
    expect_whole(framing, chunks, content)
    blocks = st.lists(st.integers(1, 3000), min_size=1, max_size=5)
    found = outcomes_of(chunks)
    assert outcomes_of(cut(framing, content, data.draw(blocks), data.draw(st.integers(1, 5000)), most=most)) == found
    for border in {chunk.offset for chunk in chunks}:
        rest = cut(framing, content, data.draw(blocks), 100, border, content.count(b"\n", 0, border), most=most)
        assert outcomes_of(rest) == [each for each in found if each.offset >= border]
    recorded = [(chunk.offset, chunk.end - BASE) for chunk in chunks]
    again = cut(framing, content, data.draw(blocks), 100, recorded=recorded, most=most)
    assert [(chunk.offset, chunk.end - BASE) for chunk in again] == recorded
    assert outcomes_of(again) == found
