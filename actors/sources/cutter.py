"""The bytes of one file cut into chunks of whole lines, from any committed position on.

    bytes ─▶ [byte order mark] ─▶ [recorded ranges, exactly so] ─▶ [about batch_bytes, cut behind a newline] ─▶ chunks
                                                                    └─ a line too long, a hole of NULs: one fault

Positions count every byte of the content, the mark included. A line that is too long, and a hole, is one fault with its
range and without its bytes. Another fault without data takes up one position, so that it has a range of its own. Memory
is bounded by ``max_line_bytes``, whatever the length of a line.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actors.runtime.progress import progress
from actors.runtime.values import Chunk, Unit
from actors.sources.holes import AT_CONTENT, AT_LINE, LOOK_BACK, Passing, explain, least_after, sound
from actors.sources.streams import ByteStream, Fault

BOM = b"\xef\xbb\xbf"
_NEWLINE = 10
#: A recorded range of up to so many bytes is held whole, until it is known what it is: it may have been cut with
#: another ``max_line_bytes``.
HELD_BYTES = 16 * 1024 * 1024


class Cutter:
    """Cuts the bytes of one unit into chunks of whole lines, from ``unit.low`` on.

    Args:
        stream: the unit's bytes, at their beginning.
        unit: where the unit begins and how far it is committed.
        recorded: ranges that were issued beyond ``low``; they come first, exactly so.
        batch_bytes: size of a chunk, about.
        max_line_bytes: longest line that stays whole, with its newline; also the longest chunk.
        is_foreign: others wrote it: a byte order mark at its beginning is not data, and a hole of NULs is no line.
        passed: is given the bytes of what is cut without them, block by block.

    Attributes:
        position: end of the last chunk.
    """

    def __init__(
        self, stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int, max_line_bytes: int,
        is_foreign: bool = True, passed: Callable[[bytearray], None] | None = None,
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
        self._is_foreign = is_foreign
        self._passed = passed
        self._mark_bytes = 0  # of the byte order mark: it counts for the next position and is not data
        self._least = AT_CONTENT  # NULs that are a hole at the beginning of the buffer; 0: within a line too long
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
        if done:  # the bytes before tell whether a line begins here
            size = min(done, LOOK_BACK)
            self._stream.skip(done - size)
            self._fill(size)
            self._is_complete = len(self._buffer) < size  # a fault without data takes up a position of its own
            before = bytes(self._buffer[:size])
            self._least = least_after(before.removeprefix(BOM) if size == done else before, size == done)
            del self._buffer[:size]
        elif self._is_foreign:
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
        self._fill(min(size + 1, max(self._max_line_bytes, HELD_BYTES)))
        passing = Passing(self._least)
        used = passing.feed(self._buffer[:size])
        if len(self._buffer) <= size and not self._at_end and not passing.is_over(used, self._buffer):
            passing = self._pass_over(size)
            self._fill(1)
            is_last = not self._buffer and not self._recorded
            if passing.size == size and (passing.ends_line or not is_last or self._stream.fault is None):
                return self._odd(passing, self._reason(passing) or "line_too_long")
            return self._missing(end, size, passing.size, b"")
        self._fill(size + 1)
        if 0 < size <= len(self._buffer):
            is_whole = self._buffer[size - 1] == _NEWLINE
            is_last = size == len(self._buffer) and not self._recorded
            if is_whole or not is_last or self._stream.fault is None:
                reason = self._reason(passing) if used == size else ""
                if not self._least or not (is_whole or is_last or reason):
                    reason = "line_too_long"  # or a piece of one, as an earlier version has cut it
                return self._odd(passing, reason, size) if reason else self._cut(size)
        left, data = len(self._buffer), self._take(size)
        return self._missing(end, size, left, b"" if used == len(data) and self._reason(passing) else data)

    def _missing(self, end: int, size: int, left: int, data: bytes) -> Chunk:
        """What is left of a recorded range that the file has no longer."""
        fault = self._stream.fault or Fault("file_changed", f"{size} bytes were read here before and {left} are left: "
                                            "the file was changed between two runs")
        self._is_complete = True
        return self._chunk(data, fault, end)

    def _fresh(self) -> Chunk | None:
        """Cut behind the last newline within a batch, or else behind the next one."""
        if self._least:
            size, is_last = self._lines()
            good = sound(self._buffer, size, self._least) if self._is_foreign else size
            if good == size and is_last:
                return self._last()
            if good:
                return self._cut(good)
        passing = self._pass_over()
        if self._at_end and not self._buffer and not passing.ends_line:
            self._is_complete = True
            if self._stream.fault is not None:
                end = self.position + max(1, self._mark_bytes + passing.size)
                return self._chunk(b"", self._stream.fault, end)
        return self._odd(passing, self._reason(passing)) if passing.size else None

    def _lines(self) -> tuple[int, bool]:
        """Return how many bytes of whole lines come next, 0 for a line too long, and whether it is all that is left."""
        start = self._batch_bytes
        self._fill(start)
        if not (self._at_end and len(self._buffer) <= start and self._stream.fault is None):
            if cut := self._buffer.rfind(b"\n", 0, start) + 1 or self._line_end(start):
                return cut, False
            if len(self._buffer) > self._max_line_bytes:
                return 0, False
        return len(self._buffer), True

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

    def _pass_over(self, size: int | None = None) -> Passing:
        """Go behind one line, or so many bytes that it was taken to have."""
        passing = Passing(self._least)
        while True:
            block = self._buffer if size is None else self._buffer[:size - passing.size]
            used = passing.feed(block)
            is_over = passing.is_over(used, block)
            self._drop(used, passing.size == used)
            if passing.size == size:
                break
            if is_over:
                if size is not None:
                    passing.size += self._skip(size - passing.size)
                break
            self._fill(1)
            if not self._buffer:
                break
            progress()  # there may be gigabytes
        return passing

    def _drop(self, size: int, is_first: bool) -> None:
        """Drop so many bytes of the buffer; the first of a chunk or not."""
        if self._passed is not None:
            if is_first and self._mark_bytes:
                self._passed(bytearray(BOM))
            self._passed(self._buffer[:size])
        del self._buffer[:size]

    def _skip(self, count: int) -> int:
        held = min(count, len(self._buffer))
        del self._buffer[:held]
        return held + self._stream.skip(count - held)

    def _last(self) -> Chunk | None:
        """Cut all that is left, which may lack its newline, or is the part of a line that could be had."""
        self._is_complete = True
        size = len(self._buffer)
        if self._stream.fault is not None:
            end = self.position + max(1, self._mark_bytes + size)
            return self._chunk(self._take(size), self._stream.fault, end)
        return self._cut(size) if size else None

    def _reason(self, passing: Passing) -> str:
        reason = passing.reason(self._max_line_bytes, not self._least)
        return reason if self._is_foreign or reason != "nul_hole" else ""

    def _odd(self, passing: Passing, reason: str, held: int = 0) -> Chunk:
        """Cut what was passed, of which so much is held yet, as one fault."""
        if held:
            self._drop(held, is_first=True)
        at = self.position - self._unit.base + self._mark_bytes
        fault = Fault(reason, explain(reason, self._line, at, passing, self._max_line_bytes))
        chunk = self._chunk(b"", fault, self.position + self._mark_bytes + passing.size, passing.ends_line)
        self._least = AT_LINE if passing.ends_line else AT_CONTENT if passing.in_hole else 0
        return chunk

    def _cut(self, size: int) -> Chunk:
        end = self.position + self._mark_bytes + size
        self._least = AT_LINE
        return self._chunk(self._take(size), Fault("", ""), end)

    def _take(self, size: int) -> bytes:
        with memoryview(self._buffer) as view:  # one copy, not two
            data = bytes(view[:size])
        del self._buffer[:size]
        return data

    def _chunk(self, data: bytes, fault: Fault, end: int, newlines: int = 0) -> Chunk:
        """Make a chunk; ``newlines`` are those that it has besides its data."""
        start, offset = self.position, self.position - self._unit.base + self._mark_bytes
        lines = data.count(b"\n") + newlines
        chunk = Chunk(self._unit.id, self._unit.name, start, end, offset, self._line, data, fault.reason, fault.detail,
                      lines)
        self._line += lines
        self.position = end
        self._mark_bytes = 0
        return chunk
