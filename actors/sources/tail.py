"""One file that may grow: its whole lines as chunks, and what its content is known by.

    0 ────────────── position ──────────── searched ──────── end of the file
    │ head │         │ anchor│ unfinished line, no newline │ not looked at
    └ what the unit is known by └ what must still be there when it is read on

A ``Tail`` holds no descriptor and no data of the file but its head and its anchor: there may be thousands.

Guarantees:

* Each chunk is made of whole lines, as long as the file goes on: a line without its newline waits for it, and is looked
  through for it once only. Of a file that has ended the last line is a line.
* A hole of NULs, and a line that is too long, is one fault without its bytes, as soon as its end is there: until then
  it is passed over block by block, and each block once.
* Ranges that were on their way at a crash are cut exactly so again, or given as faults when the file has them no more.
* A file that was cut short, or written anew, is noticed before anything of it is given: ``Changed``. What cannot be
  noticed while it is open is a file that has the same head, and the same bytes before the position, as the one before.
* What was read is summed up as it is read (``known``), so that a file in which it is looked for is compared with all of
  it.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from actors.runtime.progress import progress
from actors.runtime.values import FILE_LOST, Chunk, Unit
from actors.sources.content import Sum
from actors.sources.cutter import BOM, HELD_BYTES
from actors.sources.framings.scanner import Scanner
from actors.sources.holes import AT_CONTENT, AT_LINE, LOOK_BACK, WITHIN, Passing, explain, least_after, sound
from actors.sources.marks import HEAD_BYTES, Key, Mark
from actors.sources.streams import CUT_OFF

#: Bytes before the position that are compared when a file is read on.
ANCHOR_BYTES = 256
#: Bytes looked through for a newline at a time.
BLOCK_BYTES = 256 * 1024


class Changed(Exception):
    """The file no longer has what was read of it."""


class Limits(NamedTuple):
    """How large chunks are, about, how long a line or record may be, and what makes a scanner of a framing; None: it is
    lines."""

    batch_bytes: int
    max_line_bytes: int
    scanner: Callable[[], Scanner] | None = None


class Tail:
    """A unit of a directory: what is known of it, and where reading it has come to.

    Args:
        unit: the unit.
        mark: what it is known by.
        path: where it was seen last.
        limits: of its chunks.

    Attributes:
        key: the file that has its content now; None when it is nowhere in sight.
        position: end of the last chunk.
        known: the sum of what was read, up to the position or less; None: made by a version that kept none.
        line: number of the line that begins at the position.
        size: bytes of its file, as seen last; ``modified_ns`` is when it was written to.
        longest: the most bytes that its file was seen to have.
        touched: when it was last seen to have grown (monotonic seconds).
        live: this run reads it.
        queued: it waits for its turn.
        moved: it has left the name that it is written under.
        gone: its file has no name in sight, and is read by its descriptor.
        deleted: it has no name at all.
        packed: its file is compressed.
        ending: nothing more will be written to it.
        lost_at: number of the look that found its content gone.
        idle: nothing has come for so long that a record which may go on is taken for whole.
    """

    __slots__ = (
        "_anchor", "_draft", "_inside", "_least", "_limits", "_passing", "_recorded", "_searched", "_was_ended",
        "deleted", "ending", "gone", "head", "idle", "key", "known", "line", "live", "longest", "lost_at", "mark",
        "modified_ns", "moved", "packed", "path", "position", "queued", "size", "touched", "unit")

    def __init__(self, unit: Unit, mark: Mark, path: str, limits: Limits) -> None:
        self.unit = unit
        self.mark = mark
        self.path = path
        self.key: Key | None = None
        self.position = self._searched = unit.low
        self.known = Sum.read(unit.prefix) or (None if unit.low else Sum())
        self.line = unit.lines + 1
        self.size = self.longest = self.lost_at = 0
        self.touched = 0.0
        self.modified_ns = 0
        self.live = self.queued = self.moved = self.gone = self.deleted = self.ending = self.packed = self.idle = False
        self._was_ended = False
        self.head = self._anchor = b""
        self._inside: str | None = None  # why what follows is not the beginning of a line, "" if it is
        self._least = AT_CONTENT  # NULs that are a hole at the position; 0: no line begins there
        self._draft: Sum | None = None  # the sum of what was read, and of what is being passed over
        self._passing: Passing | None = None  # a line whose end has not come yet, and whose bytes are not kept
        self._recorded: list[tuple[int, int]] = []
        self._limits = limits

    def begin(self, head: bytes, recorded: list[tuple[int, int]], was_ended: bool = False) -> None:
        """Read it on from here, the recorded ranges first.

        Args:
            head: how its file begins.
            recorded: ranges that were on their way when an earlier reader died.
            was_ended: it was read to its end before, and so its last line was taken for one.
        """
        self.live, self.ending = True, False
        self._was_ended = was_ended
        self.head = head
        self._anchor = b""
        self._inside = self._passing = self._draft = None
        self._searched = self.position
        self._recorded = list(recorded)

    def end(self) -> None:
        """It is read to its end; let go what is not needed to know it again."""
        self.live = self.gone = self.deleted = self.ending = self.queued = False
        self.head = self._anchor = b""

    @property
    def waits(self) -> bool:
        """Whether it holds a record back that would be whole if nothing more came."""
        return False

    def take_recorded(self) -> list[tuple[int, int]]:
        """Return the recorded ranges, which somebody else cuts."""
        recorded, self._recorded = self._recorded, []
        return recorded

    def passed(self, chunk: Chunk) -> Chunk:
        """Somebody else has cut this chunk; return it with what the unit is known by behind it."""
        mark = BOM if chunk.offset > chunk.start - self.unit.base else b""
        if self._draft is not None and not chunk.fault.startswith(CUT_OFF):
            prefix = self._sum_up_passed(chunk.end)
        elif len(mark) + len(chunk.data) == chunk.end - chunk.start and not chunk.fault.startswith(CUT_OFF):
            prefix = self._sum_up(mark + chunk.data)
        else:
            prefix = self._tear()
        self.position = self._searched = chunk.end
        self.line += chunk.lines
        return msgspec.structs.replace(chunk, prefix=prefix)

    def passing_by(self, data: bytes | bytearray) -> None:
        """These bytes are passed over: they are in no chunk, and the unit is known by them, too."""
        known = self.known if self._draft is None else self._draft
        self._draft = None if known is None else known.then(bytes(data))

    def _sum_up_passed(self, end: int) -> str:
        """All was passed over up to here; return what the unit is known by."""
        draft, self._draft = self._draft, None
        if draft is None or draft.size != end:
            return ""
        self.known = draft
        return draft.text()

    def cut(self, fd: int | None, ended: bool) -> Chunk | None:
        """Return the next chunk; None when there is no whole line.

        Args:
            fd: the file; None: there is none any more.
            ended: an unfinished last line is a line.

        Raises:
            Changed: the file was cut short or written anew.
            OSError: it cannot be read.
        """
        if self._recorded:
            return self._again(fd, self._recorded.pop(0)[1])
        if fd is None:
            return self._missed() if self.longest > self.position and not self.packed else None
        self._look_back(fd)
        if self._passing is not None or self._inside == "line_too_long":
            return self._pass_over(fd, ended)
        end = 0
        if self._inside or self._searched > self.position:
            end = self._line_end(fd, ended)
            if not end:
                self.require_the_same(fd)
                return None
        size = end - self.position if self._inside else max(end - self.position, min(self._limits[:2]))
        data = os.pread(fd, size, self.position)
        self.require_the_same(fd)
        if not self._inside and (cut := data.rfind(b"\n") + 1):
            good = self._sound(data[:cut])
            return self._chunk(data[:good]) if good else self._pass_over(fd, ended)
        if not end:
            self._searched += len(data)
            return self.cut(fd, ended) if data else None
        if len(data) < end - self.position:
            return None  # it was cut short between two calls, and the next one will notice
        data = data[:end - self.position]
        is_whole = data.endswith(b"\n") or (ended and not os.pread(fd, 1, end))
        if is_whole and len(data) <= self._limits.max_line_bytes and self._sound(data) == len(data):
            return self._line(data)
        return self._pass_over(fd, ended)

    def _line(self, data: bytes) -> Chunk | None:
        """One line, or the rest of one that was torn."""
        chunk = self._chunk(data, self._inside or "", self._explain_torn() if self._inside else "")
        self._inside = "" if data.endswith(b"\n") else self._inside
        return chunk

    def _explain_torn(self) -> str:
        return (f"this was written behind byte {self.position}, where the file ended in the middle of line "
                f"{self.line} when that was taken for its last: the beginning of the line was read as a line")

    def _look_back(self, fd: int) -> None:
        """Find out whether a line begins at the position."""
        if self._inside is not None:
            return
        size = min(self.position, LOOK_BACK)
        before = os.pread(fd, size, self.position - size)
        is_all = size == self.position
        self._least = least_after(before.removeprefix(BOM) if is_all else before, is_all) if before else AT_CONTENT
        self._inside = "" if self._least else "line_torn" if self._was_ended else "line_too_long"

    def _sound(self, data: bytes) -> int:
        """How many bytes of whole lines, or of one that is the last, come before a hole."""
        mark = len(BOM) if not self.position and data.startswith(BOM) else 0
        size = len(data) - mark
        good = sound(data[mark:] if mark else data, size, self._least or WITHIN)
        return len(data) if good == size else good and good + mark

    def _pass_over(self, fd: int, ended: bool) -> Chunk | None:
        """Go behind a line whose bytes are not kept, as far as it is there; None: its end is not."""
        passing = self._passing = self._passing or Passing(self._least)
        is_over = self._feed(fd, passing)
        self.require_the_same(fd)
        return self._passed_over(fd, passing) if (is_over or ended) and passing.size else None

    def _feed(self, fd: int, passing: Passing, most: int | None = None) -> bool:
        """Feed it with what is there, or so many bytes; return whether its line is over."""
        mark = self._mark_bytes(fd)
        start = self.position + mark
        if mark and not passing.size:
            self.passing_by(BOM)
        while passing.size != most:
            size = BLOCK_BYTES if most is None else min(BLOCK_BYTES, most - passing.size)
            block = os.pread(fd, size, start + passing.size)
            used = passing.feed(block)
            self.passing_by(block[:used])
            if not block or passing.is_over(used, block):
                if most is not None and block:
                    passing.size = max(0, min(most, os.fstat(fd).st_size - start))
                return bool(block)
            progress()  # there may be gigabytes
        return False

    def _mark_bytes(self, fd: int) -> int:
        return len(BOM) if not self.position and os.pread(fd, len(BOM), 0) == BOM else 0

    def _passed_over(self, fd: int, passing: Passing, reason: str = "") -> Chunk:
        mark, most = self._mark_bytes(fd), self._limits.max_line_bytes
        start, begin = self.position, self.position + mark
        end = begin + passing.size
        reason = reason or passing.reason(most, bool(self._inside))
        if self._inside == "line_torn":
            reason, detail = "line_torn", self._explain_torn()
        else:
            detail = explain(reason, self.line, begin, passing, most)
        self._inside = "" if passing.ends_line or passing.in_hole else reason
        self._least = AT_LINE if passing.ends_line else AT_CONTENT if passing.in_hole else 0
        self._passing = None
        at = max(0, end - ANCHOR_BYTES)
        self._anchor = os.pread(fd, end - at, at)
        chunk = Chunk(self.unit.id, self.unit.name, start, end, begin, self.line, b"", reason, detail,
                      int(passing.ends_line), self._sum_up_passed(end))
        self.line += chunk.lines
        self.position = self._searched = end
        return chunk

    def _line_end(self, fd: int, ended: bool) -> int:
        """Return the position behind the line that was searched so far, or 0 as long as it is not finished."""
        limit = self.position + self._limits.max_line_bytes
        while self._searched < limit:
            block = os.pread(fd, min(BLOCK_BYTES, limit - self._searched), self._searched)
            found = block.find(b"\n")
            if found >= 0:
                return self._searched + found + 1
            if not block:
                return self._searched if ended else 0
            self._searched += len(block)
        return limit

    def _again(self, fd: int | None, end: int) -> Chunk | None:
        """Cut the range that ends at ``end`` once more."""
        size = end - self.position
        if fd is not None:
            self._look_back(fd)
            passing, mark = Passing(self._least), self._mark_bytes(fd)
            data = os.pread(fd, min(size, max(self._limits.max_line_bytes, HELD_BYTES)), self.position)
            used = passing.feed(data[mark:])
            if len(data) < size:  # so long is only what was passed over, or was cut with another limit
                if passing.is_over(used, data[mark:]):
                    data = os.pread(fd, size, self.position)
                else:
                    self.passing_by(data)
                    self._feed(fd, passing, size - mark)
            self.require_the_same(fd)
            is_single = used == len(data) - mark
            reason = passing.reason(self._limits.max_line_bytes, bool(self._inside)) if is_single else ""
            if len(data) < size == passing.size + mark:
                return self._passed_over(fd, passing, reason or "line_too_long")
            if len(data) == size:
                return self._held_again(fd, passing, data, reason)
        return self._gone(end, f"the bytes {self.position} to {end} of this file were read before and not finished, "
                          "and are there no more: it was changed or deleted between two runs")

    def _held_again(self, fd: int, passing: Passing, data: bytes, reason: str) -> Chunk | None:
        most = self._limits.max_line_bytes
        is_whole = data.endswith(b"\n") or (len(data) < most and not os.pread(fd, 1, self.position + len(data)))
        if self._inside == "line_torn" and is_whole and not passing.in_hole and len(data) <= most:
            return self._line(data)
        if not reason and not is_whole:
            reason = "line_too_long"  # a piece of one, as an earlier version has cut it
        if not reason:
            return self._chunk(data)
        self.passing_by(data)
        return self._passed_over(fd, passing, reason)

    def _missed(self) -> Chunk:
        """What was seen to be there, and was cut off or deleted before it was read."""
        return self._gone(self.longest, f"the bytes {self.position} to {self.longest} of this file were not read: it "
                          "was deleted, or cut short, before that, and no copy of it is there")

    def _gone(self, end: int, detail: str) -> Chunk:
        self._passing = self._draft = None
        prefix = self._tear()
        start, self.position, self._searched = self.position, end, end
        return Chunk(self.unit.id, self.unit.name, start, end, start, self.line, b"", FILE_LOST, detail, prefix=prefix)

    def _sum_up(self, data: bytes) -> str:
        """These bytes are read; return what the unit is known by."""
        if self.known is None or self.known.size != self.position:
            return ""
        self.known = self.known.then(data)
        return self.known.text()

    def _tear(self) -> str:
        """What comes next is not in the content; return what the unit is known by."""
        if self.known is None:
            return ""
        self.known = self.known._replace(is_torn=1)
        return self.known.text()

    def _chunk(self, data: bytes, fault: str = "", detail: str = "") -> Chunk | None:
        start, end = self.position, self.position + len(data)
        self._anchor = data[-ANCHOR_BYTES:]
        prefix = self._sum_up(data)
        if start == 0 and data.startswith(BOM):
            data = data[len(BOM):]
            if not data:  # it is given with what follows
                self.known = Sum()
                return None
        lines = data.count(b"\n")
        chunk = Chunk(self.unit.id, self.unit.name, start, end, end - len(data), self.line, data, fault, detail, lines,
                      prefix)
        self.line += lines
        self.position = self._searched = end
        self._least = AT_LINE
        return chunk

    def require_the_same(self, fd: int) -> None:
        """Look whether what was read before is still there, after what comes next was read, or its size was seen.

        Raises:
            Changed: it is not.
        """
        head = self.head
        if len(head) < HEAD_BYTES:
            head = os.pread(fd, HEAD_BYTES, 0)
        elif os.pread(fd, HEAD_BYTES, 0) != head:
            raise Changed
        if not head.startswith(self.head):
            raise Changed
        at = self.position - len(self._anchor)
        if self._anchor and os.pread(fd, len(self._anchor), at) != self._anchor:
            raise Changed
        self.head = head
