"""A chunk in pieces: each is what is cut one by one, and together they are the chunk."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.framing import RECORDS, Record, pack_records, records_in
from actors.runtime.pieces import Pieces, record_count
from actors.runtime.values import Chunk

LINES = st.lists(st.binary(max_size=6).map(lambda line: line.replace(b"\n", b"")), min_size=1, max_size=30)
COUNTS = st.lists(st.integers(1, 8), max_size=30)


def pieces(chunk: Chunk, counts: list[int]) -> list[Chunk]:
    rest, found = Pieces(chunk), []
    for count in [*counts, 10**6]:
        if rest.left:
            found.append(rest.take(count))
    return found


def first(chunk: Chunk, count: int) -> list[Chunk]:
    """A chunk cut behind its first records, and the rest: one by one, from what it has."""
    replace = msgspec.structs.replace
    if chunk.framing == RECORDS:
        records = records_in(chunk.data)
        if len(records) <= count:
            return [chunk]
        rest = records[count]
        end, lines = chunk.start + rest.offset - chunk.offset, max(0, rest.line - chunk.line)
        return [replace(chunk, end=end, data=pack_records(records[:count]), lines=lines, prefix=""),
                replace(chunk, start=end, offset=rest.offset, line=chunk.line + lines,
                        data=pack_records(records[count:]), lines=max(0, chunk.lines - lines))]
    head = b"".join(line + b"\n" for line in chunk.data.split(b"\n")[:count])[:len(chunk.data)]
    if len(head) == len(chunk.data):
        return [chunk]
    end = chunk.end - len(chunk.data) + len(head)
    return [replace(chunk, end=end, data=head, lines=count, prefix=""),
            replace(chunk, start=end, offset=chunk.offset + len(head), line=chunk.line + count,
                    data=chunk.data[len(head):], lines=-1 if chunk.lines < 0 else chunk.lines - count)]


def firsts(chunk: Chunk, counts: list[int]) -> list[Chunk]:
    found: list[Chunk] = []
    rest: list[Chunk] = [chunk]
    for count in [*counts, 10**6]:
        if rest:
            head, *rest = first(rest[0], count)
            found.append(head)
    return found


def lines_chunk(lines: list[bytes], mark: int, is_ended: bool, is_counted: bool) -> Chunk:
    data = b"\n".join(lines) + (b"\n" if is_ended or not lines[-1] else b"")
    return Chunk(3, "a", 100, 100 + mark + len(data), 7, 4, data, lines=data.count(b"\n") if is_counted else -1,
                 prefix="p")


@settings(deadline=None)  # a busy machine takes its time
@given(LINES, COUNTS, st.sampled_from((0, 3)), st.booleans(), st.booleans())
def test_pieces_of_lines_are_what_is_cut_one_by_one(
    lines: list[bytes], counts: list[int], mark: int, is_ended: bool, is_counted: bool
) -> None:
    chunk = lines_chunk(lines, mark, is_ended, is_counted)
    found = pieces(chunk, counts)
    assert found == firsts(chunk, counts)
    assert b"".join(piece.data for piece in found) == chunk.data
    assert [piece.start for piece in found[1:]] == [piece.end for piece in found[:-1]]
    assert [piece.prefix for piece in found] == [""] * (len(found) - 1) + ["p"]
    assert sum(map(record_count, found)) == record_count(chunk) == len(chunk.data.removesuffix(b"\n").split(b"\n"))


@settings(deadline=None)  # a busy machine takes its time
@given(st.lists(st.tuples(st.integers(1, 5), st.binary(max_size=5)), min_size=1, max_size=30), COUNTS,
       st.sampled_from((-1, 5)))
def test_pieces_of_records_are_what_is_cut_one_by_one(
    gaps: list[tuple[int, bytes]], counts: list[int], line: int
) -> None:
    records, offset = [], 17
    for index, (gap, value) in enumerate(gaps):
        records.append(Record(offset, value or None, line if line < 0 else line + 2 * index))
        offset += gap
    chunk = Chunk(3, "a", 100, 100 + offset - 17, 17, max(line, 0), pack_records(records), framing=RECORDS,
                  lines=0 if line < 0 else 2 * len(records), prefix="p")
    found = pieces(chunk, counts)
    assert found == firsts(chunk, counts)
    assert [record for piece in found for record in records_in(piece.data)] == records
    assert sum(map(record_count, found)) == len(records)


@pytest.mark.parametrize("count", [0, 1, 15, 16, 65_535, 65_536])
def test_how_many_records_there_are_is_known_from_the_first_bytes(count: int) -> None:
    data = pack_records([Record(number, b"x") for number in range(count)])
    assert record_count(Chunk(1, "a", 0, count + 1, 0, 0, data, framing=RECORDS)) == count
    if count:
        assert record_count(Chunk(1, "a", 0, count + 1, 0, 0, data[:5], framing=RECORDS)) == count


def test_a_chunk_that_is_taken_whole_is_not_copied() -> None:
    chunk = lines_chunk([b"x" * 1000] * 1000, 0, True, True)
    assert Pieces(chunk).take(1000).data is chunk.data
    packed = Chunk(1, "a", 0, 9, 0, 0, pack_records([Record(0, b"x")]), framing=RECORDS)
    assert Pieces(packed).take(1) is packed


def test_the_pieces_of_a_long_chunk_cost_what_it_costs_and_not_its_square() -> None:
    data = pack_records([Record(number, b"value") for number in range(3000)])
    rest = Pieces(Chunk(1, "a", 0, 3000, 0, 0, data, framing=RECORDS))
    rest.take(1)
    decoded = rest._records
    while rest.left:
        rest.take(1)
    assert rest._records is decoded, "decoded once"
    assert msgspec.msgpack.decode(data)[0][0] == 0
