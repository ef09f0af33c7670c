"""How writes lie in a journal of records: each behind a header that tells damage from a write that was never finished.

    segment   [header│records] [header│records] …                    appended, never changed
    header    magic, size and checksum of the records, checksum of the header, its place and its segment   16 bytes

The first byte of a header has its highest bit set, which no length of a record has: so what reads records finds headers
between them, and passes over these. A mark is the same bit, and how many bytes are damaged: it is put over these while
they are read, never into the file.

Guarantees: bytes that are not what was written are found before any record of their write is handed out, and hide no
write behind them: each begins with a magic word, and its header is true at its own place in its own segment only (a
message may well be a copy of a journal). The end of a write that was never finished has no write behind it, nor has the
ledger issued any of it; all else that is no write is damage.

What does not work: the length of each record alone (zeros in the middle look like an end that was never finished: what
is behind them would be cut off); a checksum of each record (twice the price, and what is written is a write).
"""

from __future__ import annotations

import os
import struct
from collections import deque
from collections.abc import Iterator, Sequence
from io import FileIO
from typing import NamedTuple
from zlib import crc32

from actors.runtime.values import SOURCE_DAMAGED
from actors.sources.framings.length_prefixed import LengthPrefixedScanner
from actors.sources.framings.scanner import End, Item
from actors.sources.inflate import PlainStream

MAGIC = b"\x93TJ1"
_HEADER = struct.Struct(">4sIII")
HEADER_BYTES = _HEADER.size
_WORD_BYTES = 4
_MARK = 0x80000000
#: Most bytes that one mark covers; what was issued as one range is covered by one.
_MOST_MARKED = 1 << 28
#: What was never issued is told in pieces of about so many bytes: they are held in memory.
_PIECE_BYTES = 4 * 1024 * 1024
#: How long a record may be was decided when it was accepted.
_ANY_LENGTH = (1 << 31) - _WORD_BYTES
_BLOCK_BYTES = 256 * 1024
#: An end that is no write is a write that was never finished if it is no longer than this, or two of the others.
_LEAST_TORN = 64 * 1024


class Looked(NamedTuple):
    """What a segment is like.

    Attributes:
        end: where its last whole write ends, or what is damaged.
        damaged: what is not what was written, in order: start and end.
        is_odd: what is behind the end is not merely the beginning of a write.
    """

    end: int
    damaged: list[tuple[int, int]]
    is_odd: bool


def header_of(records: bytes, place: int, segment: str) -> bytes:
    """Return what stands before records that are written at this place of a segment."""
    head = _HEADER.pack(MAGIC, len(records), crc32(records), 0)[:-_WORD_BYTES]
    return head + _seal(head, place, segment).to_bytes(_WORD_BYTES, "big")


def writes_in(file: FileIO, segment: str) -> Iterator[bytes]:
    """Yield the records of each write that is what was written; each alone is in memory."""
    size, at = os.fstat(file.fileno()).st_size, 0
    while at < size:
        end = _end_of(file, at, segment)
        if end is None or end > size:
            at = _find(file, at + HEADER_BYTES, size, segment)
            continue
        records = _records_at(file, at, end)
        if records is not None:
            yield records
        at = end


def look_through(file: FileIO, segment: str, start: int, known: int, write_bytes: int) -> Looked:
    """Look at all of a segment that is to be read.

    Args:
        file: the segment.
        segment: its random id.
        start: what is before it is durable elsewhere.
        known: so far it was issued, or was whole.
        write_bytes: of a usual write.
    """
    size, at, last = os.fstat(file.fileno()).st_size, 0, -1
    damaged: list[tuple[int, int]] = []
    while at < size:
        end = _end_of(file, at, segment)
        if end is not None and end <= size:
            write_bytes = max(write_bytes, end - at)
            last = at
            if end > start and _records_at(file, at, end) is None:
                damaged.append((max(at, start), end))
            at = end
            continue
        following = _find(file, at + HEADER_BYTES, size, segment)
        if following == size and at >= known and (end is not None or size - at <= max(_LEAST_TORN, 2 * write_bytes)):
            return Looked(at, damaged, end is None and size - at > HEADER_BYTES)
        damaged.append((max(at, start), following))
        at = following
    if damaged and last >= known and damaged[-1] == (last, size):  # as long as it was to be, and not what it was to be
        return Looked(last, damaged[:-1], True)
    return Looked(size, damaged, False)


def marks_of(damaged: Sequence[tuple[int, int]], ranges: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Return start and size of what is to be told of damage, each by itself: as it was issued before."""
    issued = max((end for _, end in ranges), default=0)
    borders = sorted({place for range_ in ranges for place in range_})
    marks = []
    for start, end in damaged:
        cuts = [place for place in borders if start < place < end]
        cuts += range(max(start, issued) + _PIECE_BYTES, end, _PIECE_BYTES)
        for one, two in zip([start, *cuts], [*cuts, end], strict=True):
            if _WORD_BYTES <= two - one < _MOST_MARKED:
                marks.append((one, two - one))
    return marks


class MarkedStream(PlainStream):
    """The bytes of a segment, with marks over what is damaged."""

    def __init__(self, file: FileIO, marks: Sequence[tuple[int, int]]) -> None:
        super().__init__(file)
        self._marks = deque(marks)

    def read(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        at = self.consumed
        block = super().read()
        while self._marks and self._marks[0][0] + _WORD_BYTES <= at:
            self._marks.popleft()
        if not self._marks or self._marks[0][0] >= at + len(block):
            return block
        marked = bytearray(block)
        for start, size in self._marks:
            if start >= at + len(block):
                break
            word = (_MARK | size).to_bytes(_WORD_BYTES, "big")
            first, last = max(start, at), min(start + _WORD_BYTES, at + len(block))
            marked[first - at:last - at] = word[first - start:last - start]
        return bytes(marked)


class WritesScanner(LengthPrefixedScanner):
    """Records with their lengths, between the headers of writes, and marks."""

    def __init__(self) -> None:
        super().__init__(_ANY_LENGTH, "u32be", counts_itself=True)
        self._marked = 0

    def begin(self, is_first: bool) -> None:
        super().begin(is_first)
        self._marked = 0

    def look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        begin = at - self.looked
        if not self._marked and not self.looked and stop - begin >= _WORD_BYTES:
            word = int.from_bytes(data[begin:begin + _WORD_BYTES], "big")
            if word & 0xF0000000 == _MARK:
                self._marked = word ^ _MARK
            elif data[begin:begin + _WORD_BYTES] == MAGIC and stop - begin >= HEADER_BYTES:
                return Item(HEADER_BYTES, -1, 0, 0)
            elif data[begin:begin + _WORD_BYTES] == MAGIC and not end.is_final:
                return None
        if not self._marked:
            return super().look(data, at, stop, end)
        self.looked = min(stop - begin, self._marked)
        return self._damage() if self.looked == self._marked or end.is_final else None

    def _damage(self) -> Item:
        return Item(self.looked, 0, 0, 0, SOURCE_DAMAGED, (
            f"{self.looked} bytes are not what was written there: something has changed them; the file is kept"))


def _seal(head: bytes, place: int, segment: str) -> int:
    return crc32(head + place.to_bytes(8, "big"), crc32(segment.encode()))


def _end_of(file: FileIO, at: int, segment: str) -> int | None:
    """Where the write ends that begins here; None: none does."""
    head = os.pread(file.fileno(), HEADER_BYTES, at)
    if len(head) < HEADER_BYTES or not head.startswith(MAGIC):
        return None
    _, size, _, seal = _HEADER.unpack(head)
    return at + HEADER_BYTES + size if seal == _seal(head[:-_WORD_BYTES], at, segment) else None


def _records_at(file: FileIO, at: int, end: int) -> bytes | None:
    """The records of a write; None: they are not what was written."""
    whole = os.pread(file.fileno(), end - at, at)
    records = whole[HEADER_BYTES:]
    is_whole = len(whole) == end - at and crc32(records) == _HEADER.unpack_from(whole)[2]
    return records if is_whole else None


def _find(file: FileIO, at: int, size: int, segment: str) -> int:
    """Return where the next write begins that may be whole; ``size`` when there is none."""
    while at < size:
        block = os.pread(file.fileno(), _BLOCK_BYTES, at)
        if not block:
            break
        place = block.find(MAGIC)
        while place >= 0:
            end = _end_of(file, at + place, segment)
            if end is not None and end <= size:
                return at + place
            place = block.find(MAGIC, place + 1)
        at += max(1, len(block) - len(MAGIC) + 1)
    return size
