"""What the payload of a batch is made of: lines, or records. All that depends on which is here.

    lines     b"a\\nb\\nc"                      a record ends with its newline; its position is its byte
    records   [offset, value, line, time, …] …  packed one by one; each knows its place, and places may have gaps

A line is found where its bytes are, and costs nothing to find. A record of any other kind (a message of a topic, a row
of a CSV file with a newline in it, an element of an array) has its place in its unit with it: the byte it begins at, or
its number. So whatever reads a batch, or a piece of one, knows where each record came from, and one that is cut out of
its middle keeps its place.

Guarantees: the pieces of a chunk, one behind the other, have all of its records and all of its positions: a piece
begins where the one before it ends, whatever gaps there are. A record is never cut. None is not ``b""``.

What does not work: to frame all input as records (lines would pay for it: a chunk of lines is a slice of the file, and
is never copied); to number the records of a chunk from its beginning (a piece of it would have to be written anew).

What is no payload of records, though it is said to be one, is one record to all that cuts it, and one dead letter to a
parser: its source is wrong, and no worker dies of it.

Pure: no clock, no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from actors.runtime.errors import DecodeError
from actors.runtime.values import Chunk, DeadLetter

#: What ``Chunk.framing`` may be.
LINES, RECORDS = "", "records"

Headers = tuple[tuple[str, bytes | None], ...]
T = TypeVar("T")
#: A place, a line, a time: the sum of two has room in 64 bits, here and in every store.
MOST_INT = 1 << 62
Int63 = Annotated[int, Meta(ge=-MOST_INT, le=MOST_INT)]
#: Why a payload that is none is a dead letter.
NOT_RECORDS = "not_records"


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A record that is no line, as it came: a message of a topic, a row that has newlines in it.

    Its numbers have 62 bits and a sign (``Int63``).

    Attributes:
        offset: where it begins in its unit: a byte of a file, or the number of a message.
        value: its bytes; None: it says that there is no value any more for its key.
        line: the line of its unit that it begins in, from 1; -1: its unit has no lines.
        time: when it was published, in ms since 1970; None: nobody says.
        key: what it is about; None: nothing.
        headers: what it has with it, by name; a name may come twice.

    Example::

        Record(offset=17, value=b"5.0", key=b"B00A", time=1_700_000_000_000)
    """

    offset: Int63
    value: bytes | None
    line: Int63 = -1
    time: Int63 | None = None
    key: bytes | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()


class Envelope(msgspec.Struct, frozen=True, array_like=True):
    """What a record has besides its value and its place; a dead letter keeps it so that it can be sent again."""

    is_none: bool = False
    time: int | None = None
    key: bytes | None = None
    headers: Headers = ()


_encoder = msgspec.msgpack.Encoder()
_records = msgspec.msgpack.Decoder(list[Record])
_envelope = msgspec.msgpack.Decoder(Envelope)


def pack_records(records: Sequence[Record]) -> bytes:
    """Return the payload of a chunk of records (``Chunk.data``, where ``framing`` is ``records``).

    Example::

        records = [Record(offset=3, value=b"a"), Record(offset=7, value=None)]
        chunk = Chunk(unit=1, source="topic", start=0, end=8, offset=0, line=0, data=pack_records(records), lines=0,
                      framing="records")
    """
    return _encoder.encode(records)


def records_in(data: bytes | memoryview) -> list[Record]:
    """Return the records of a payload.

    Raises:
        DecodeError: it is none.

    Example::

        assert records_in(pack_records([Record(offset=3, value=b"a")])) == [Record(offset=3, value=b"a")]
    """
    try:
        return _records.decode(data)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not a payload of records: {error}") from error


def records_or_one(data: bytes | memoryview, offset: int, line: int) -> list[Record]:
    """Return the records of a payload; of what is no such payload all bytes, as one record at this place."""
    try:
        return records_in(data)
    except DecodeError:
        return [Record(offset, bytes(data), line)]


def envelope_of(record: Record) -> bytes:
    """What a dead letter keeps of a record, besides its value."""
    return _encoder.encode(Envelope(record.value is None, record.time, record.key, record.headers))


def unwrap(envelope: bytes, raw: bytes, offset: int, line: int) -> Record:
    """The record that a dead letter was made of."""
    found = _envelope.decode(envelope)
    return Record(offset, None if found.is_none else raw, line, found.time, found.key, found.headers)


def record_of(letter: DeadLetter) -> Record | None:
    """Return the record that a dead letter was made of, as it came; None: it was a line, or is a packed item.

    Example::

        letter = DeadLetter(stage="parser", reason="stars", detail="", source="a.log", partition="p", position=0,
                            offset=0, line=1, raw=b"a line")
        assert record_of(letter) is None
    """
    return unwrap(letter.envelope, letter.raw, letter.offset, letter.line) if letter.envelope else None


def slices(records: Sequence[Record], size: int) -> Iterator[Sequence[Record]]:
    """Yield the records of a chunk in slices of about ``size`` bytes of values, each of one record or more."""
    start, held = 0, 0
    for index, record in enumerate(records, 1):
        held += len(record.value or b"")
        if held >= size:
            yield records[start:index]
            start, held = index, 0
    if start < len(records):
        yield records[start:]


def is_alone(chunk: Chunk) -> bool:
    """Whether a chunk is a single record, or none."""
    if chunk.framing == RECORDS:
        return len(_records_of(chunk)) < 2
    return chunk.data.find(b"\n", 0, len(chunk.data) - 1) < 0


def split(chunk: Chunk) -> list[Chunk]:
    """Cut a chunk in two between the records that are nearest to its middle; a single record is left whole."""
    if chunk.framing == RECORDS:
        records = _records_of(chunk)
        return [chunk] if len(records) < 2 else _parted(chunk, records, _middle_of(records))
    middle = len(chunk.data) // 2
    after = chunk.data.find(b"\n", middle, len(chunk.data) - 1) + 1
    before = chunk.data.rfind(b"\n", 0, middle) + 1
    cut = min((at for at in (before, after) if at), key=lambda at: abs(at - middle), default=0)
    return _cut_at(chunk, cut) if cut else [chunk]


def places_in(data: bytes, framing: str, start: int, end: int, offset: int) -> list[int]:
    """Return the position of each record of a payload, and the one behind the last; see ``Chunk`` for the others."""
    if framing == RECORDS:
        return [*(start + record.offset - offset for record in records_or_one(data, offset, 0)), end]
    places = [end - len(data)]
    while (at := data.find(b"\n", places[-1] - places[0]) + 1) and at < len(data):
        places.append(places[0] + at)
    return [*places, end]


def cut_out(chunk: Chunk, first: int, last: int) -> list[Chunk]:
    """Cut a chunk in front of the record at one position and in front of the one at another; where there is none it is
    left whole."""
    pieces = [chunk]
    for at in (first, last):
        piece = pieces.pop()
        places = places_in(piece.data, piece.framing, piece.start, piece.end, piece.offset)
        if at not in places[1:-1]:
            pieces.append(piece)
        elif piece.framing == RECORDS:
            pieces += _parted(piece, _records_of(piece), places.index(at))
        else:
            pieces += _cut_at(piece, at - places[0])
    return pieces


def _records_of(chunk: Chunk) -> list[Record]:
    return records_or_one(chunk.data, chunk.offset, chunk.line)


def _middle_of(records: Sequence[Record]) -> int:
    sizes = [1 + len(record.value or b"") for record in records]
    half, so_far = sum(sizes) / 2, 0
    for index, size in enumerate(sizes[:-1], 1):
        so_far += size
        if so_far >= half:
            return index if index == 1 or so_far - half <= half - (so_far - size) else index - 1
    return len(records) - 1


def _cut_at(chunk: Chunk, cut: int) -> list[Chunk]:
    """Cut a chunk of lines behind so many bytes."""
    head, rest = chunk.data[:cut], chunk.data[cut:]
    lines = head.count(b"\n")
    end = chunk.end - len(rest)  # a byte order mark has positions, and is no data: it belongs to the first
    return [
        msgspec.structs.replace(chunk, end=end, data=head, lines=lines, prefix=""),
        msgspec.structs.replace(chunk, start=end, offset=chunk.offset + cut, line=chunk.line + lines, data=rest,
                                lines=-1 if chunk.lines < 0 else chunk.lines - lines),
    ]


def _parted(chunk: Chunk, records: Sequence[Record], count: int) -> list[Chunk]:
    """Cut a chunk of records in front of this one."""
    rest = records[count]
    end = chunk.start + rest.offset - chunk.offset
    lines = max(0, rest.line - chunk.line)
    return [
        msgspec.structs.replace(chunk, end=end, data=pack_records(records[:count]), lines=lines, prefix=""),
        msgspec.structs.replace(chunk, start=end, offset=rest.offset, line=chunk.line + lines,
                                data=pack_records(records[count:]), lines=max(0, chunk.lines - lines)),
    ]
