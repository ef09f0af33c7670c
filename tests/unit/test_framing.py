"""Framing: where lines and records are cut, and what a record keeps."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.parser import slices_of
from actors.runtime.errors import DecodeError, Reject
from actors.runtime.framing import (
    RECORDS,
    Record,
    envelope_of,
    is_alone,
    pack_records,
    records_in,
    slices,
    split,
    unwrap,
)
from actors.runtime.lift import lift_parse
from actors.runtime.messages import Batch
from actors.runtime.pieces import Pieces
from actors.runtime.rows import Rows, pack_rows, unpack_rows
from actors.runtime.values import Chunk

BASE = 1000
GAPS = st.lists(st.tuples(st.integers(1, 5), st.one_of(st.none(), st.binary(max_size=20))), min_size=1, max_size=30)


def records_from(gaps: Sequence[tuple[int, bytes | None]], start: int = 70) -> list[Record]:
    records, at = [], start
    for gap, value in gaps:
        at += gap
        records.append(Record(at, value, key=b"k%d" % at))
    return records


def cut(chunk: Chunk, count: int) -> list[Chunk]:
    rest = Pieces(chunk)
    found = [rest.take(count)]
    return [*found, rest.take(rest.left)] if rest.left else found


def chunk_of(records: Sequence[Record], start: int = 70) -> Chunk:
    return Chunk(1, "topic/0", BASE + start, BASE + records[-1].offset + 1, start, 0, pack_records(records), lines=0,
                 framing=RECORDS)


@given(GAPS)
def test_the_halves_of_a_chunk_of_records_have_all_records_and_all_positions(
    gaps: list[tuple[int, bytes | None]]
) -> None:
    records = records_from(gaps)
    chunk = chunk_of(records)
    halves = split(chunk)
    assert [record for half in halves for record in records_in(half.data)] == records
    assert (len(halves) == 1) == is_alone(chunk) == (len(records) == 1)
    assert (halves[0].start, halves[-1].end) == (chunk.start, chunk.end)
    for before, after in itertools.pairwise(halves):
        assert before.end == after.start == BASE + after.offset == BASE + records_in(after.data)[0].offset
    assert all(half.start - half.offset == BASE for half in halves)


@given(GAPS, st.integers(1, 40))
def test_the_first_records_of_a_chunk_are_cut_off(gaps: list[tuple[int, bytes | None]], count: int) -> None:
    records = records_from(gaps)
    pieces = cut(chunk_of(records), count)
    assert [len(records_in(piece.data)) for piece in pieces] == (
        [count, len(records) - count] if count < len(records) else [len(records)])
    assert [record for piece in pieces for record in records_in(piece.data)] == records


@given(st.lists(st.binary(max_size=9).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=30),
       st.integers(1, 40), st.booleans(), st.booleans())
def test_the_first_lines_of_a_chunk_are_cut_off(lines: list[bytes], count: int, is_last: bool, has_mark: bool) -> None:
    data = b"".join(line + b"\n" for line in lines)
    data = data[:-1] or b"\n" if is_last else data
    mark = 3 if has_mark else 0
    chunk = Chunk(1, "a", BASE, BASE + mark + len(data), mark, 1, data, lines=data.count(b"\n"))
    pieces = cut(chunk, count)
    assert b"".join(piece.data for piece in pieces) == data
    assert (pieces[0].start, pieces[-1].end) == (chunk.start, chunk.end)
    if len(pieces) == 2:
        head, rest = pieces
        assert head.data.count(b"\n") == head.lines == count
        assert head.end == rest.start == BASE + rest.offset, "the mark is a part of the first piece"
        assert rest.line == 1 + count
        assert rest.lines == rest.data.count(b"\n")


def test_lines_of_a_file_are_passed_over_by_the_pieces_of_its_records() -> None:
    records = [Record(0, b"a\nb", 1), Record(4, b"c", 3), Record(6, b"d\ne\nf", 4)]
    chunk = Chunk(1, "a.csv", 0, 12, 0, 1, pack_records(records), lines=6, framing=RECORDS)
    head, rest = cut(chunk, 2)
    assert (head.line, head.lines, rest.line, rest.lines) == (1, 3, 4, 3)
    assert (head.end, rest.start, rest.offset) == (6, 6, 6)


def test_what_is_no_payload_of_records_is_refused() -> None:
    for data in (b"", b"a line\n", pack_records([Record(0, b"x")])[:-1]):
        with pytest.raises(DecodeError, match="not a payload of records"):
            records_in(data)


def test_none_is_not_empty_and_a_name_of_a_header_may_come_twice() -> None:
    records = [Record(0, None, key=b"k"), Record(1, b"", headers=(("a", b"1"), ("a", None)))]
    assert records_in(pack_records(records)) == records


@given(GAPS, st.integers(1, 100))
def test_slices_are_all_records_in_order(gaps: list[tuple[int, bytes | None]], size: int) -> None:
    records = records_from(gaps)
    parts = list(slices(records, size))
    assert [record for part in parts for record in part] == records
    assert all(parts)


def test_a_dead_letter_keeps_all_that_a_record_came_with() -> None:
    record = Record(71, None, 4, 1_700_000_000_000, b"key", (("h", b"v"),))
    assert unwrap(envelope_of(record), b"", 71, 4) == record
    record = Record(71, b"raw", -1, None, None, ())
    assert unwrap(envelope_of(record), b"raw", 71, -1) == record


def batch_of(chunk: Chunk, fault: str = "") -> Batch:
    return Batch("p", chunk.start, chunk.end, 0, 0, 0, 1, chunk.source, chunk.offset, chunk.line, fault,
                 framing=chunk.framing)


def test_parse_is_given_values_and_a_rejected_record_has_its_true_position() -> None:
    records = [Record(71, b"1", key=b"a"), Record(75, None, key=b"b"), Record(80, b"x", key=b"c")]
    chunk = chunk_of(records)
    seen: list[bytes | None] = []

    def parse(value: bytes | None) -> int:
        seen.append(value)
        return int(value or b"0")

    (rows,) = slices_of(lift_parse(parse, None), batch_of(chunk), chunk.data)
    assert (seen[:3], rows.values[:2]) == ([b"1", None, b"x"], [1, 0])
    (letter,) = rows.dead_letters([(2, Reject("bad"), "parser")])
    assert (letter.position, letter.offset, letter.raw) == (BASE + 80, 80, b"x")
    assert unwrap(letter.envelope, letter.raw, letter.offset, letter.line) == records[2]


def test_parse_may_ask_for_the_whole_record() -> None:
    records = [Record(71, b"1", time=5, key=b"a"), Record(75, None, key=b"b")]
    chunk = chunk_of(records)

    def parse(value: bytes | None, record: Record) -> tuple[bytes | None, bytes | None]:
        return record.key, value

    (rows,) = slices_of(lift_parse(parse, None), batch_of(chunk), chunk.data)
    assert rows.values == [(b"a", b"1"), (b"b", None)]
    (rows,) = slices_of(lift_parse(lambda line, record: (record.offset, record.line), None),
                        Batch("p", 100, 105, 0, 0, 0, 1, "a", 100, 7), b"ab\ncd")
    assert rows.values == [(100, 7), (103, 8)], "lines have a place, too"


def test_rows_of_records_travel_to_a_checker() -> None:
    records = [Record(71, b"1"), Record(75, None), Record(80, b"a\nb")]
    chunk = chunk_of(records)
    made = list(slices_of(lambda values: values, batch_of(chunk), chunk.data))
    rows = unpack_rows(batch_of(chunk), [chunk.data, pack_rows(made, msgspec.msgpack.Encoder())],
                       msgspec.msgpack.Decoder(bytes | None))
    assert (list(rows.lines), rows.values) == (records, [b"1", None, b"a\nb"])


def test_a_record_that_is_given_up_is_one_dead_letter() -> None:
    record = Record(71, b"a\nb", key=b"k")
    chunk = chunk_of([record])
    (rows,) = slices_of(lambda values: values, batch_of(chunk, "worker_died"), chunk.data)
    assert isinstance(rows, Rows)
    (letter,) = rows.dead_letters([(0, rows.values[0], "reader")])
    assert (letter.raw, letter.reason) == (b"a\nb", "worker_died")
    assert unwrap(letter.envelope, letter.raw, letter.offset, letter.line) == record
