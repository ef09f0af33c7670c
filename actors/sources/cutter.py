"""The bytes of one file cut into chunks of whole lines, from any committed position on.

    bytes ─▶ [byte order mark] ─▶ [recorded ranges, exactly so] ─▶ [about batch_bytes, cut behind a newline] ─▶ chunks
                                                                    └─ a line too long: pieces, each a fault

Positions count every byte of the content, the mark included; a fault without data takes up one position, so that it has
a range of its own. Memory is bounded by ``max_line_bytes``, whatever the length of a line.
"""

from __future__ import annotations

from collections import deque

from actors.runtime.values import Chunk, Unit
from actors.sources.streams import ByteStream, Fault

BOM = b"\xef\xbb\xbf"
_NEWLINE = 10


class Cutter:
    """Cuts the bytes of one unit into chunks of whole lines, from ``unit.low`` on.

    Args:
        stream: the unit's bytes, at their beginning.
        unit: where the unit begins and how far it is committed.
        recorded: ranges that were issued beyond ``low``; they come first, exactly so.
        batch_bytes: size of a chunk, about.
        max_line_bytes: longest line that stays whole, with its newline; also the longest chunk.
        may_be_marked: a byte order mark at the beginning is not data.

    Attributes:
        position: end of the last chunk.
    """

    def __init__(
        self, stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int, max_line_bytes: int,
        may_be_marked: bool = True,
    ) -> None:
        self.position = unit.low
        self._stream = stream
        self._unit = unit
        self._recorded = deque(recorded)
        self._batch_bytes = min(batch_bytes, max_line_bytes)
        self._max_line_bytes = max_line_bytes
        self._line = unit.lines + 1
        self._buffer = bytearray()
        self._at_end = False  # the stream has no more than what is in the buffer
        self._may_be_marked = may_be_marked
        self._mark_bytes = 0  # of the byte order mark: it counts for the next position and is not data
        self._inside = False  # within a line that is too long
        self._is_started = False
        self._is_complete = False  # nothing follows but what is recorded

    @property
    def finished(self) -> bool:
        """Whether there is no further chunk."""
        return self._is_complete and not self._recorded

    @property
    def has_recorded(self) -> bool:
        """Whether the next chunk was on its way before."""
        return bool(self._recorded)

    def next(self) -> Chunk | None:
        """Return the next chunk, or None at the end of the unit.

        Raises:
            OSError: the file cannot be read on.
        """
        if not self._is_started:
            self._start()
        if self._recorded:
            return self._again(self._recorded.popleft()[1])
        return None if self.finished else self._fresh()

    def _start(self) -> None:
        self._is_started = True
        done = self._unit.low - self._unit.base
        if done:  # the byte before tells whether a line begins here
            self._stream.skip(done - 1)
            self._fill(1)
            self._inside = self._buffer[:1] != b"\n"
            self._is_complete = not self._buffer  # a fault without data takes up a position of its own
            del self._buffer[:1]
        elif self._may_be_marked:
            self._fill(len(BOM))
            if self._buffer.startswith(BOM):
                self._mark_bytes = len(BOM)
                del self._buffer[:len(BOM)]

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and not self._at_end:
            block = self._stream.read()
            self._buffer += block
            self._at_end = not block

    def _again(self, end: int) -> Chunk:
        """Cut the range that ends at ``end`` once more."""
        size = max(0, end - self.position - self._mark_bytes)
        self._fill(size + 1)
        if 0 < size <= len(self._buffer):
            is_whole = self._buffer[size - 1] == _NEWLINE
            is_last = size == len(self._buffer) and not self._recorded
            if is_whole or not is_last or self._stream.fault is None:
                return self._cut(size, is_too_long=self._inside or not (is_whole or is_last), ends_line=is_whole)
        fault = self._stream.fault or Fault(
            "file_changed", f"{size} bytes were read here before and {len(self._buffer)} are left: "
            "the file was changed between two runs")
        self._is_complete = True
        return self._chunk(min(size, len(self._buffer)), fault, end)

    def _fresh(self) -> Chunk | None:
        """Cut behind the last newline within a batch, or else behind the next one."""
        cut = start = 0
        if not self._inside:
            start = self._batch_bytes
            self._fill(start)
            if self._at_end and len(self._buffer) <= start and self._stream.fault is None:
                return self._last()
            cut = self._buffer.rfind(b"\n", 0, start) + 1
        cut = cut or self._line_end(start)
        if cut:
            return self._cut(cut, is_too_long=self._inside, ends_line=True)
        if len(self._buffer) > self._max_line_bytes:
            return self._cut(self._max_line_bytes, is_too_long=True, ends_line=False)
        return self._last()

    def _line_end(self, start: int) -> int:
        """Return the offset behind the first newline from ``start`` on, or 0 if the line is too long or the last."""
        while True:
            found = self._buffer.find(b"\n", start, self._max_line_bytes)
            if found >= 0:
                return found + 1
            if self._at_end or len(self._buffer) > self._max_line_bytes:
                return 0
            start = len(self._buffer)
            self._fill(start + 1)

    def _last(self) -> Chunk | None:
        """Cut all that is left, which may lack its newline, or is the part of a line that could be had."""
        self._is_complete = True
        size = len(self._buffer)
        if self._stream.fault is not None:
            end = self.position + max(1, self._mark_bytes + size)
            return self._chunk(size, self._stream.fault, end)
        return self._cut(size, is_too_long=self._inside, ends_line=False) if size else None

    def _cut(self, size: int, is_too_long: bool, ends_line: bool) -> Chunk:
        self._inside = is_too_long and not ends_line
        fault = Fault("", "")
        if is_too_long:
            offset = self.position - self._unit.base + self._mark_bytes
            fault = Fault("line_too_long", f"line {self._line} is longer than {self._max_line_bytes} bytes "
                          f"(max_line_bytes): this piece of {size} bytes begins at byte {offset} of the content")
        return self._chunk(size, fault, self.position + self._mark_bytes + size)

    def _chunk(self, size: int, fault: Fault, end: int) -> Chunk:
        with memoryview(self._buffer) as view:  # one copy, not two
            data = bytes(view[:size])
        del self._buffer[:size]
        start, offset = self.position, self.position - self._unit.base + self._mark_bytes
        lines = data.count(b"\n")
        chunk = Chunk(self._unit.id, self._unit.name, start, end, offset, self._line, data, fault.reason, fault.detail,
                      lines)
        self._line += lines
        self.position = end
        self._mark_bytes = 0
        return chunk
