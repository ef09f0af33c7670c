"""How records that are no lines lie in a journal: each behind its length, whatever their own framing was.

    header │ 00 00 00 09 h e l l o 00 00 00 07 y o u │ header …        a header for each write: see ``writes``

The length counts itself: zeros are no record, but a hole. So a segment can be read on from any border.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import FileIO

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.cutter import RecordCutter
from actors.sources.framings.scanner import End
from actors.sources.framings.writes import HEADER_BYTES, WritesScanner, writes_in
from actors.sources.streams import ByteStream

_LENGTH_BYTES = 4


def packed(values: Sequence[bytes]) -> bytes:
    """Return records as they lie in a journal."""
    return b"".join([part for value in values for part in (
        (len(value) + _LENGTH_BYTES).to_bytes(_LENGTH_BYTES, "big"), value)])


def chunk_of(unit: Unit, offset: int, data: bytes) -> Chunk:
    """Return records, written behind their header at this offset of the segment that is this unit, as a chunk."""
    return made_of(unit, offset, data, records_of(data, offset + HEADER_BYTES))


def made_of(unit: Unit, offset: int, data: bytes, records: Sequence[Record]) -> Chunk:
    """Return the chunk of these records, which are a write of this data at this offset."""
    start = unit.base + offset
    return Chunk(unit.id, unit.name, start, start + HEADER_BYTES + len(data), offset, 0, pack_records(records),
                 lines=0, framing=RECORDS)


def records_of(data: bytes, offset: int) -> list[Record]:
    """Return the whole records that lie from this offset on in a segment."""
    return WritesScanner().run(data, 0, len(data), End.MORE, offset, 0).records


def cutter_of(stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int) -> RecordCutter:
    """Return what reads a segment on."""
    return RecordCutter(stream, unit, recorded, batch_bytes, WritesScanner())


def records_from(file: FileIO, segment: str) -> Iterator[Record]:
    """Yield the records of a segment that are what was written, of which few are in memory. ``segment``: its id."""
    for data in writes_in(file, segment):
        yield from records_of(data, 0)
