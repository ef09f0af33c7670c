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
import time
from collections import deque
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from actors.runtime.ports import Source, UnitLedger
from actors.runtime.progress import progress
from actors.runtime.values import Chunk, Unit
from actors.sources import inflate
from actors.sources.cutter import BOM, HELD_BYTES
from actors.sources.formats import HEAD_BYTES, packing_of, refusal
from actors.sources.framings.assembler import Assembler, framing_changed
from actors.sources.framings.options import FramedOptions
from actors.sources.framings.scanner import End
from actors.sources.holes import AT_CONTENT, AT_LINE, LOOK_BACK, Passing, explain, least_after, sound
from actors.sources.streams import Fault, is_damage

#: Bytes that are asked of a pipe at a time: what one holds.
_BLOCK_BYTES = 64 * 1024


class Stdin(FramedOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read standard input to its end.

    Attributes:
        idle_timeout_s: with ``framing = "multiline"``: when nothing has come through a pipe for so long, the last
            record is whole, and what follows is a record of its own.

    Example::

        Stdin(max_line_bytes=1024 * 1024)
    """

    guarantee: ClassVar[str] = (
        "cannot be read again: at most once across a death of the reader, and what was lost then is reported")
    #: The reader is to have the standard input that the command was given.
    wants_stdin: ClassVar[bool] = True

    idle_timeout_s: Annotated[float, Meta(ge=0)] = 5.0

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path | None = None) -> StdinSource:
        """Go on reading descriptor 0."""
        return stdin_source(self, ledger, batch_bytes)

    def loses(self) -> str:
        """What its reader has read and not passed on when it dies."""
        return "what the reader had read and not passed on when it died is lost, and reported"

    def describe(self) -> str:
        """Say where this reads."""
        return f"standard input{self.framed_as()}"


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
        self._passing: Passing | None = None  # a line whose end has not come yet, and whose bytes are not kept
        self._at_end = False
        self._is_unknown = True  # too little has come to tell whether it is lines
        self._is_file = stat.S_ISREG(os.fstat(fd).st_mode)
        self._from = os.lseek(fd, 0, os.SEEK_CUR) if self._is_file else 0  # somebody may have read the first lines
        self._unit = unit = ledger.begin("stdin", self._fingerprint(), alone=True)
        self._position = unit.low
        self._line = unit.lines + 1
        self._least = self._look_back()  # NULs that are a hole at the position; 0: no line begins there
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
            if self._is_unknown and (why := self._refusal()):
                # Not of the unit, which would wait to be read: what is given next is something else.
                self._ledger.broken("standard input", f"cannot read standard input: {why}")
                self._at_end = True
                self._buffer.clear()
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
            data = os.pread(self._fd, size, self._from + self._position + self._ahead())
        elif select.select([self._fd], [], [], 0)[0]:
            data = os.read(self._fd, size)
        else:
            return False
        self._buffer += data
        self._at_end = not data
        return True

    def _ahead(self) -> int:
        """How many bytes behind the position were read."""
        return len(self._buffer) + (0 if self._passing is None else self._passing.size)

    def _refusal(self) -> str:
        """Why what comes is not lines, and what to do; empty: it is, or it is not known yet. It is told before any
        of it is handed out."""
        head = b"" if self._position or self._passing is not None else bytes(self._buffer[:HEAD_BYTES])
        self._is_unknown = not self._position and len(head) < HEAD_BYTES and b"\n" not in head
        if (packing := packing_of(head)) is None:
            return refusal(head)
        how = f"{packing.tool} FILE | thresher run APP -, or give the file by its name"
        return f"it is packed with {packing.name}, which is read from files only ({how})"

    def _look_back(self) -> int:
        if not self._is_file or not self._position:
            return AT_CONTENT
        size = min(self._position, LOOK_BACK)
        before = os.pread(self._fd, size, self._from + self._position - size)
        return least_after(before, size == self._position) if before else AT_CONTENT

    def _cut(self) -> Chunk | None:
        if self._passing is not None or not self._least:
            return self._pass_over()
        size = len(self._buffer)
        if size < self._batch_bytes and not self._at_end and self._is_more():
            return None
        cut = self._buffer.rfind(b"\n", 0, self._batch_bytes) + 1
        cut = cut or self._buffer.find(b"\n", self._searched, self._max_line_bytes) + 1
        self._searched = size
        if not cut and self._at_end and size <= self._max_line_bytes:
            cut = size
        if cut and (good := sound(self._buffer, cut, self._least)):
            return self._chunk(good)
        return self._pass_over() if cut or size > self._max_line_bytes else None

    def _pass_over(self) -> Chunk | None:
        """Go behind a line whose bytes are not kept, as far as it is there; None: its end is not."""
        passing = self._passing = self._passing or Passing(self._least)
        used = passing.feed(self._buffer)
        is_over = passing.is_over(used, self._buffer)
        del self._buffer[:used]
        progress()  # there may be gigabytes
        return self._odd(passing) if (is_over or self._at_end) and passing.size else None

    def _odd(self, passing: Passing) -> Chunk:
        """What was passed over, as one fault."""
        start, end, most = self._position, self._position + passing.size, self._max_line_bytes
        reason = passing.reason(most, not self._least) or "line_too_long"
        chunk = Chunk(self._unit.id, "stdin", start, end, start, self._line, b"", reason,
                      explain(reason, self._line, start, passing, most), int(passing.ends_line))
        self._passing, self._position, self._searched = None, end, 0
        self._least = AT_LINE if passing.ends_line else AT_CONTENT if passing.in_hole else 0
        self._line += chunk.lines
        return chunk

    def _is_more(self) -> bool:
        """Whether more can be had at once: then a chunk is not made of the little that is there."""
        return self._is_file or bool(select.select([self._fd], [], [], 0)[0])

    def _chunk(self, size: int) -> Chunk:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        self._searched = 0
        self._least = AT_LINE
        start, end = self._position, self._position + size
        self._position = end
        if start == 0:
            data = data.removeprefix(BOM)
        chunk = Chunk(self._unit.id, "stdin", start, end, end - len(data), self._line, data)
        self._line += data.count(b"\n")
        return chunk

    def _again(self, start: int, end: int) -> Chunk:
        """A range that was on its way: of a file it is cut so again, of a pipe it is gone."""
        if self._is_file and (chunk := self._from_file(end - start)):
            return chunk
        self._buffer.clear()
        return self._lost(end, f"the bytes {start} to {end} of standard input were on their way when their reader "
                          "died, and cannot be read again: whether they were finished is not known")

    def _from_file(self, size: int) -> Chunk | None:
        """Cut so many bytes again; None: the file has them no more."""
        self._fill_to(min(size, max(self._max_line_bytes, HELD_BYTES)))
        passing = Passing(self._least)
        used = passing.feed(self._buffer[:size])
        if len(self._buffer) < size and passing.is_over(used, self._buffer):
            self._fill_to(size)  # whole lines, cut with another limit
        elif len(self._buffer) < size:
            self._passing = passing
            while passing.size < size:
                self._buffer.clear()
                if not self._fill(min(_BLOCK_BYTES, size - passing.size)) or self._at_end:
                    self._passing = None
                    return None
                before = passing.size
                passing.feed(self._buffer)
                passing.size = before + len(self._buffer)
            self._buffer.clear()
            return self._odd(passing)
        if len(self._buffer) < size:
            return None
        self._at_end = False
        reason = passing.reason(self._max_line_bytes, not self._least) if used == size else ""
        if not reason:
            return self._chunk(size)
        del self._buffer[:size]
        return self._odd(passing)

    def _fill_to(self, size: int) -> None:
        while len(self._buffer) < size and not self._at_end:
            self._fill(size - len(self._buffer))

    def _lost(self, end: int, detail: str) -> Chunk:
        start, self._position = self._position, end
        return Chunk(self._unit.id, "stdin", start, end, start, self._line, b"", "stdin_lost", detail)


class RecordStdinSource(StdinSource):
    """The same, framed as something else than lines.

    Args:
        options: how it is framed.
        ledger: how far an earlier reader came.
        batch_bytes: size of a chunk, about.
        fd: the descriptor.
        clock: monotonic seconds.
    """

    def __init__(
        self, options: Stdin, ledger: UnitLedger, batch_bytes: int, fd: int = 0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(options, ledger, batch_bytes, fd)
        scanner = options.scanner()
        self._batch_bytes = min(batch_bytes, options.max_record_bytes)
        self._held_bytes = max(options.max_record_bytes, HELD_BYTES)
        self._made = Assembler(self._unit, scanner, self._batch_bytes)
        self._buffer = self._made.buffer
        self._clock = clock
        self._heard = clock()
        self._idle_timeout_s = options.idle_timeout_s
        if scanner.ends_when_idle and not self._is_file:
            self.wake = None  # nothing that comes says that nothing has come

    def _fill(self, size: int) -> bool:
        has_come = super()._fill(size)
        if has_come:
            self._heard = self._clock()
        return has_come

    def _ahead(self) -> int:
        return self._made.left

    def _cut(self) -> Chunk | None:
        if len(self._buffer) < self._batch_bytes and not self._at_end and self._is_more():
            return None
        is_idle = not self._is_file and self._clock() - self._heard >= self._idle_timeout_s
        chunk = self._made.next(End.CONTENT if self._at_end else End.IDLE if is_idle else End.MORE)
        return chunk and self._taken(chunk)

    def _from_file(self, size: int) -> Chunk | None:
        self._fill_to(min(size, self._held_bytes))
        if len(self._buffer) < size:
            chunk = None if self._at_end else self._made.over(size, self._fill_more)
            return chunk and self._taken(chunk)
        is_all = self._from + self._position + size >= os.fstat(self._fd).st_size
        chunk = self._made.again(size, End.CONTENT if is_all else End.BORDER)
        return self._taken(chunk or self._made.give_up(size, framing_changed(size)))

    def _fill_more(self) -> bool:
        return self._fill(_BLOCK_BYTES) and not self._at_end

    def _taken(self, chunk: Chunk) -> Chunk:
        self._position = chunk.end
        if is_damage(chunk.fault, "fail"):
            self._ledger.damaged(self._unit, chunk.detail, "")
        return chunk

    def _lost(self, end: int, detail: str) -> Chunk:
        return self._taken(self._made.give_up(end - self._position, Fault("stdin_lost", detail)))


def stdin_source(options: Stdin, ledger: UnitLedger, batch_bytes: int, fd: int = 0) -> StdinSource:
    """Return what reads this descriptor as the options say."""
    kind = StdinSource if options.framing == "lines" else RecordStdinSource
    return kind(options, ledger, batch_bytes, fd)
