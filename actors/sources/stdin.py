"""Standard input as a source: one unit, the bytes as they come, cut at newlines.

What comes through a pipe comes once. Its reader acknowledges nothing to the program at the other end, so what it had
read and not finished when it died is gone: that is counted, as dead letters of the ranges that were on their way and
of the place where it happened, and said. Standard input that is a file (``< FILE``) is read by position, and nothing of
it is lost.

What does not work: to give the pipe back what was read of it; to let the supervisor read for the reader (its death
would lose as much, and it runs no work); a line per record to a shared file (the writer would have to know of it).
"""

from __future__ import annotations

import os
import select
import stat
from collections import deque
from io import FileIO
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Unit
from actors.sources import inflate
from actors.sources.cutter import BOM

#: Bytes that are asked of a pipe at a time: what one holds.
_BLOCK_BYTES = 64 * 1024


class Stdin(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read standard input to its end.

    Attributes:
        max_line_bytes: longest line, its newline included; a longer one goes to the dead letters, in pieces.

    Example::

        Stdin(max_line_bytes=1024 * 1024)
    """

    guarantee: ClassVar[str] = (
        "cannot be read again: at most once across a death of the reader, and what was lost then is reported")
    #: The reader is to have the standard input that the command was given.
    wants_stdin: ClassVar[bool] = True

    max_line_bytes: Annotated[int, Meta(ge=1)] = 16 * 1024 * 1024

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path | None = None) -> StdinSource:
        """Go on reading descriptor 0."""
        return StdinSource(self, ledger, batch_bytes)

    def describe(self) -> str:
        """Say where this reads."""
        return "standard input"


OPTIONS = Stdin


class StdinSource(Source):
    """The opened source.

    Args:
        options: how long a line may be.
        ledger: how far an earlier reader came.
        batch_bytes: size of a chunk, about.
        fd: the descriptor.
    """

    def __init__(self, options: Stdin, ledger: UnitLedger, batch_bytes: int, fd: int = 0) -> None:
        self.wake: int | None = fd
        self._fd = fd
        self._ledger = ledger
        self._max_line_bytes = options.max_line_bytes
        self._batch_bytes = min(batch_bytes, options.max_line_bytes)
        self._buffer = bytearray()
        self._searched = 0
        self._inside = False
        self._at_end = False
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._from = os.lseek(fd, 0, os.SEEK_CUR) if self._is_file else 0  # somebody may have read the first lines
        self._unit = unit = ledger.begin("stdin", self._fingerprint(), alone=True)
        self._position = unit.low
        self._line = unit.lines + 1
        self._recorded = deque(ledger.boundaries(unit))
        # A reader that came to the end has read nothing that it did not pass on.
        self._is_torn = not self._is_file and unit.end is None and (unit.low > 0 or bool(self._recorded))
        self.exhausted = unit.end is not None and unit.low >= unit.end

    def read(self) -> Chunk | None:
        """Return the next chunk of whole lines, or None: there is no whole line now."""
        if self.exhausted:
            return None
        if self._recorded:
            return self._again(*self._recorded.popleft())
        if self._is_torn:
            self._is_torn = False
            return self._lost(self._position + 1, "what the reader that died had read and not passed on is gone, and "
                              "maybe the beginning of the line that comes next")
        while True:
            if chunk := self._cut():
                return chunk
            if self._at_end:
                self._ledger.end(self._unit, self._position)
                self.exhausted = True
                return None
            if not self._fill(_BLOCK_BYTES):
                return None

    def finished(self, unit: Unit) -> None:
        """Nothing to put away."""

    def stop(self) -> None:
        """Read no further; what is in the pipe is not ours."""
        self.exhausted = True

    def active(self) -> tuple[int, ...]:
        """The one unit, until its end."""
        return () if self.exhausted else (self._unit.id,)

    def progress(self) -> tuple[int, int]:
        """Bytes read, and in all, which a pipe does not tell."""
        return self._position, os.fstat(self._fd).st_size - self._from if self._is_file else 0

    def close(self) -> None:
        """Descriptor 0 stays open."""

    def _fingerprint(self) -> str:
        if not self._is_file:
            return "stdin"
        with FileIO(self._fd, closefd=False) as file:
            return f"stdin:{inflate.fingerprint(file)}:{self._from}"

    def _fill(self, size: int) -> bool:
        """Read what is there; return whether anything was, or the end."""
        if self._is_file:
            data = os.pread(self._fd, size, self._from + self._position + len(self._buffer))
        elif select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, size)
        else:
            return False
        self._buffer += data
        self._at_end = not data
        return True

    def _cut(self) -> Chunk | None:
        size = len(self._buffer)
        if size < self._batch_bytes and not self._at_end and self._is_more():
            return None
        cut = 0 if self._inside else self._buffer.rfind(b"\n", 0, self._batch_bytes) + 1
        cut = cut or self._buffer.find(b"\n", self._searched, self._max_line_bytes) + 1
        self._searched = size
        if not cut and size > self._max_line_bytes:
            cut = self._max_line_bytes
        elif not cut and self._at_end:
            cut = size
        return self._chunk(cut) if cut else None

    def _is_more(self) -> bool:
        """Whether more can be had at once: then a chunk is not made of the little that is there."""
        return self._is_file or bool(select.select([self._fd], [], [], 0)[0])

    def _chunk(self, size: int) -> Chunk:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        ends = data.endswith(b"\n")
        fault = "line_too_long" if self._inside or not (ends or (self._at_end and not self._buffer)) else ""
        self._inside = bool(fault) and not ends
        detail = fault and f"line {self._line} is longer than {self._max_line_bytes} bytes (max_line_bytes)"
        start, end = self._position, self._position + size
        self._position = end
        if start == 0:
            data = data.removeprefix(BOM)
        chunk = Chunk(self._unit.id, "stdin", start, end, end - len(data), self._line, data, fault, detail)
        self._line += data.count(b"\n")
        return chunk

    def _again(self, start: int, end: int) -> Chunk:
        """A range that was on its way: of a file it is cut so again, of a pipe it is gone."""
        if self._is_file:
            while len(self._buffer) < end - start and not self._at_end:
                self._fill(end - start - len(self._buffer))
            if len(self._buffer) >= end - start:
                self._at_end = False
                return self._chunk(end - start)
            self._buffer.clear()
        return self._lost(end, f"the bytes {start} to {end} of standard input were on their way when their reader "
                          "died, and cannot be read again: whether they were finished is not known")

    def _lost(self, end: int, detail: str) -> Chunk:
        start, self._position = self._position, end
        return Chunk(self._unit.id, "stdin", start, end, start, self._line, b"", "stdin_lost", detail)
