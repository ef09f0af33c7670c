"""How records that are no lines lie in a journal: each behind its length, whatever their own framing was.

    00 00 00 09 h e l l o 00 00 00 07 y o u        the length counts itself: zeros are no record, but a hole

So a segment can be read on from any border, and of a write that was never finished the end is told by the length that
goes beyond it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from io import FileIO

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.cutter import RecordCutter
from actors.sources.framings.length_prefixed import LengthPrefixedScanner
from actors.sources.framings.scanner import End, Run
from actors.sources.inflate import PlainStream

_LENGTH_BYTES = 4
#: How long a record may be was decided when it was accepted.
_ANY_LENGTH = 1 << 31
_BLOCK_BYTES = 256 * 1024


def packed(values: Sequence[bytes]) -> bytes:
    """Return records as they lie in a journal."""
    return b"".join([part for value in values for part in (
        (len(value) + _LENGTH_BYTES).to_bytes(_LENGTH_BYTES, "big"), value)])


def chunk_of(unit: Unit, offset: int, data: bytes) -> Chunk:
    """Return records, as they lie from this offset on in the segment that is this unit, as a chunk."""
    start = unit.base + offset
    return Chunk(unit.id, unit.name, start, start + len(data), offset, 0, pack_records(records_of(data, offset)),
                 lines=0, framing=RECORDS)


def records_of(data: bytes, offset: int) -> list[Record]:
    """Return the whole records that lie from this offset on in a segment."""
    return scanner().run(data, 0, len(data), End.MORE, offset, 0).records


def cutter_of(file: FileIO, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int) -> RecordCutter:
    """Return what reads a segment on."""
    return RecordCutter(PlainStream(file), unit, recorded, batch_bytes, scanner())


def whole_bytes(file: FileIO, start: int) -> int:
    """Return where the last whole record of a segment ends, of which one begins at ``start``."""
    end = start
    for run in _runs(file, start):
        end += run.size
    return end


def records_from(file: FileIO) -> Iterator[Record]:
    """Yield the whole records of a segment, of which few are in memory."""
    for run in _runs(file, 0):
        yield from run.records


def _runs(file: FileIO, start: int) -> Iterator[Run]:
    reading, data, at = scanner(), bytearray(), start
    while block := os.pread(file.fileno(), _BLOCK_BYTES, at + len(data)):
        data += block
        run = reading.run(data, 0, len(data), End.MORE, at, 0)
        at += run.size
        del data[:run.size]
        yield run
        if reading.is_broken:
            break
        reading.begin(False)


def scanner() -> LengthPrefixedScanner:
    """Return what finds the records of a segment."""
    return LengthPrefixedScanner(_ANY_LENGTH, "u32be", counts_itself=True)
