"""A chunk, given out in pieces of so many records, one behind the other.

    chunk  ├──── take(3) ────┤── take(2) ──┤──────── take(left) ────────┤

The rest is neither copied nor decoded for each piece, so the cost of all pieces together is that of the chunk. How many
records it has is known from what is counted already, or from the first bytes of the payload: a chunk that is given out
whole costs nothing. What is no payload of records, whatever its first bytes say, is one piece.

Pure: no clock, no file.
"""

from __future__ import annotations

import msgspec

from actors.runtime.errors import DecodeError
from actors.runtime.framing import RECORDS, Record, pack_records, records_in
from actors.runtime.values import Chunk

_FIXED, _SHORT, _LONG = range(0x90, 0xA0), 0xDC, 0xDD


def record_count(chunk: Chunk) -> int:
    """How many records a chunk has; what is wrong as a whole, or no payload of records, is one."""
    data = chunk.data
    if chunk.fault:
        return 1
    if chunk.framing == RECORDS:  # the head of a msgpack array
        if not data or data[0] in _FIXED:
            return data[0] & 0x0F if data else 0
        size = {_SHORT: 2, _LONG: 4}.get(data[0], 0)
        return int.from_bytes(data[1:1 + size], "big") if size else 1
    newlines = data.count(b"\n") if chunk.lines < 0 else chunk.lines
    return newlines + bool(data and data[-1:] != b"\n")


class Pieces:
    """The pieces of one chunk.

    Args:
        chunk: one that has a fault is one piece.

    Attributes:
        left: so many records are not given out yet.
    """

    def __init__(self, chunk: Chunk) -> None:
        self.left = record_count(chunk)
        #: What is left, but for its data: that begins at ``_at``, a byte or the index of a record.
        self._rest = chunk
        self._at = 0
        self._records: list[Record] = []

    @property
    def unit(self) -> int:
        """The unit that the chunk is of."""
        return self._rest.unit

    @property
    def size(self) -> int:
        """How many bytes are left, of records that were cut: about."""
        data, at = self._rest.data, self._at
        return len(data) - at if self._rest.framing != RECORDS else len(data) * self.left // max(1, at + self.left)

    def take(self, count: int) -> Chunk:
        """Return the next records, so many (1 or more) or all that are left."""
        is_all = count >= self.left
        self.left -= min(count, self.left)
        if self._rest.framing == RECORDS:
            return self._take_records(count, is_all)
        return self._take_lines(count, is_all)

    def _take_lines(self, count: int, is_all: bool) -> Chunk:
        rest, at = self._rest, self._at
        if is_all:
            return msgspec.structs.replace(rest, data=rest.data[at:] if at else rest.data)
        for _ in range(count):
            self._at = rest.data.find(b"\n", self._at) + 1
        data = rest.data[at:self._at]
        end = rest.end - (len(rest.data) - self._at)  # a byte order mark has positions, and is no data
        self._rest = msgspec.structs.replace(
            rest, start=end, offset=rest.offset + len(data), line=rest.line + count,
            lines=-1 if rest.lines < 0 else rest.lines - count)
        return msgspec.structs.replace(rest, end=end, data=data, lines=count, prefix="")

    def _take_records(self, count: int, is_all: bool) -> Chunk:
        rest, at = self._rest, self._at
        if is_all:
            return rest if not at else msgspec.structs.replace(rest, data=pack_records(self._records[at:]))
        try:
            self._records = self._records or records_in(rest.data)
        except DecodeError:  # whoever parses it says so
            self.left = 0
            return rest
        self._at += count
        following = self._records[self._at]
        end = rest.start + following.offset - rest.offset
        lines = max(0, following.line - rest.line)
        self._rest = msgspec.structs.replace(
            rest, start=end, offset=following.offset, line=rest.line + lines, lines=max(0, rest.lines - lines))
        return msgspec.structs.replace(rest, end=end, data=pack_records(self._records[at:self._at]), lines=lines,
                                       prefix="")
