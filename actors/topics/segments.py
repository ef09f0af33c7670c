"""Segments of a partition: their blocks, one behind the other, and the index that leads into them.

    ….log     [block][block][block][block]…        named by the offset of its first message
    ….index   (offset, place, newest) of a block every 64 KiB or more

The index is a help and no more: it is not flushed, and what it says is believed only when a block with that offset
stands there. Without it, or with one that a power cut has torn, the headers are looked through from the beginning.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from actors.topics.blocks import HEADER_BYTES, MAGIC, Header
from actors.topics.places import index_file

#: Bytes of a segment between two entries of its index, at least.
INDEX_EVERY_BYTES = 64 * 1024
_ENTRY = struct.Struct("<QQq")
ENTRY_BYTES = _ENTRY.size
#: Bytes that are looked through for a block, behind one that is damaged, at a time.
_SEARCH_BYTES = 1024 * 1024


class Entry(NamedTuple):
    """One entry of an index: of a block, with the largest time of what comes before it in its partition."""

    offset: int
    place: int
    newest: int

    def packed(self) -> bytes:
        """Return its bytes."""
        return _ENTRY.pack(*self)


def read_index(folder: Path, first: int, length: int) -> list[Entry]:
    """Return the entries of the index of a segment, as far as they are in order and within so many bytes of it."""
    try:
        data = index_file(folder, first).read_bytes()
    except OSError:
        return []
    entries: list[Entry] = []
    place, offset = 0, first
    for at in range(0, len(data) - len(data) % ENTRY_BYTES, ENTRY_BYTES):
        entry = Entry(*_ENTRY.unpack_from(data, at))
        if not (entry.place > place and entry.offset > offset and entry.place < length):
            break
        entries.append(entry)
        place, offset = entry.place, entry.offset
    return entries


class Segment:
    """One segment, open for reading.

    Args:
        folder: of the partition.
        first: its first offset.
        descriptor: of its file; closed with this.
        length: so many bytes of it count; for one that is appended to it is set anew, when it has grown.

    Raises:
        OSError: it cannot be opened.
    """

    def __init__(self, folder: Path, first: int, descriptor: int, length: int) -> None:
        self.folder = folder
        self.first = first
        self.length = length
        self._descriptor = descriptor

    def header_at(self, place: int) -> Header | None:
        """Return the header of the block at a place, if one is there, whole."""
        if place >= self.length:
            return None
        header = Header.read(os.pread(self._descriptor, HEADER_BYTES, place))
        return None if header is None or place + header.whole > self.length else header

    def body_of(self, place: int, header: Header) -> bytes:
        """Return the body of the block at a place; it is shorter where the file has been cut."""
        return os.pread(self._descriptor, header.size, place + HEADER_BYTES)

    def place_of(self, offset: int) -> int:
        """Return the place of the block that an offset is in, or of the first that is damaged before that."""
        return self._walk(lambda entry: entry.offset <= offset, lambda header: header.end > offset)

    def place_at(self, time: int) -> int:
        """Return the place of the first block with a message of this time or later; of the end, if there is none."""
        return self._walk(lambda entry: entry.newest < time, lambda header: header.newest >= time)

    def find_block(self, place: int, offset: int, until: int) -> int | None:
        """Return the place, behind this one, of the next block with something of ``[offset, until)``, if there is one.
        """
        at = place + 1
        while at < self.length:
            data = os.pread(self._descriptor, min(_SEARCH_BYTES, self.length - at), at)
            found = data.find(MAGIC)
            while found >= 0:
                header = self.header_at(at + found)
                if header is not None and header.end > offset and header.offset < until:
                    return at + found
                found = data.find(MAGIC, found + 1)
            if len(data) < len(MAGIC):
                return None
            at += len(data) - len(MAGIC) + 1
        return None

    def size(self) -> int:
        """Return the bytes of its file."""
        return os.fstat(self._descriptor).st_size

    def close(self) -> None:
        """Close it."""
        os.close(self._descriptor)

    def _walk(self, is_before: Callable[[Entry], bool], is_there: Callable[[Header], bool]) -> int:
        """Return the place of the first block for which this is so, behind the last entry for which that is."""
        place = 0
        for entry in reversed(read_index(self.folder, self.first, self.length)):
            if is_before(entry) and (header := self.header_at(entry.place)) and header.offset == entry.offset:
                place = entry.place
                break
        while place < self.length:
            header = self.header_at(place)
            if header is None or is_there(header):
                break
            place += header.whole
        return place


def time_of_first(path: Path) -> int | None:
    """Return when the first block of a segment was appended; None: it has none, or is gone."""
    try:
        with path.open("rb", buffering=0) as file:
            header = Header.read(file.read(HEADER_BYTES) or b"")
    except OSError:
        return None
    return None if header is None else header.time
