"""One file that may grow: its whole lines as chunks, and what its content is known by.

    0 ────────────── position ──────────── searched ──────── end of the file
    │ head │         │ anchor│ unfinished line, no newline │ not looked at
    └ what the unit is known by └ what must still be there when it is read on

A ``Tail`` holds no descriptor and no data of the file but its head and its anchor: there may be thousands.

Guarantees:

* Each chunk is made of whole lines, as long as the file goes on: a line without its newline waits for it, and is looked
  through for it once only. Of a file that has ended the last line is a line.
* Ranges that were on their way at a crash are cut exactly so again, or given as faults when the file has them no more.
* A file that was cut short, or written anew, is noticed before anything of it is given: ``Changed``. What cannot be
  noticed while it is open is a file that has the same head, and the same bytes before the position, as the one before.
* What was read is summed up as it is read (``known``), so that a file in which it is looked for is compared with all of
  it.
"""

from __future__ import annotations

import os
from collections import deque
from hashlib import blake2b
from typing import NamedTuple

import msgspec

from actors.runtime.values import FILE_LOST, Chunk, Unit
from actors.sources.content import Sum
from actors.sources.cutter import BOM

#: Bytes at the beginning of a file that it is known by. Shorter files are known by what they have.
HEAD_BYTES = 1024
#: Bytes before the position that are compared when a file is read on.
_ANCHOR_BYTES = 256
#: Bytes looked through for a newline at a time.
_BLOCK_BYTES = 256 * 1024
#: What the fingerprints of such units begin with.
KIND = "tail:"
#: Faults of a packed content that ends before it should: the last bytes may be the half of a line.
_CUT_OFF = ("truncated_", "corrupt_")

#: Device and inode: what a file is while this process looks at it.
Key = tuple[int, int]


class Changed(Exception):
    """The file no longer has what was read of it."""


class Mark(NamedTuple):
    """What a unit is known by, over renames, copies and runs.

    Attributes:
        size: how many bytes at the beginning of the content the digest is of, 1024 at most.
        digest: of those bytes.
        inode: the file's; a hint that decides between two that have the same content.
        serial: tells units apart that have all of that in common.
        changed_ns: when the file was changed last, when that was long enough before it was read to its end: it is the
            same file as long as that is the same. 0: not known.
        longest: the most bytes that it was seen to have, as long as it is read.
        home: the name by which it was found at first, when it has another one since.
        target: where the file is, when it was found by a link, or through one.
    """

    size: int
    digest: str
    inode: int
    serial: int
    changed_ns: int = 0
    longest: int = 0
    home: str = ""
    target: str = ""

    @staticmethod
    def of(head: bytes, inode: int, serial: int) -> Mark:
        """Return the mark of a file that begins with ``head``."""
        return Mark(len(head), digest(head), inode, serial)

    @staticmethod
    def read(text: str) -> Mark:
        """Return the mark that a fingerprint in the ledger says."""
        size, hashed, inode, serial, *more = text.removeprefix(KIND).split(":", 4)
        return Mark(int(size), hashed, int(inode), int(serial), *(msgspec.json.decode(more[0]) if more else ()))

    def text(self) -> str:
        """The fingerprint for the ledger."""
        more = msgspec.json.encode(self[4:]).decode()
        return f"{KIND}{self.size}:{self.digest}:{self.inode}:{self.serial}:{more}"


def digest(head: bytes) -> str:
    """Return the digest of the first bytes of a file."""
    return blake2b(head, digest_size=16).hexdigest()


class Limits(NamedTuple):
    """How large chunks are, about, and how long a line may be."""

    batch_bytes: int
    max_line_bytes: int


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
    """

    __slots__ = (
        "_anchor", "_inside", "_limits", "_recorded", "_searched", "_was_ended", "deleted", "ending", "gone",
        "head", "key", "known", "line", "live", "longest", "lost_at", "mark", "modified_ns", "moved", "packed", "path",
        "position", "queued", "size", "touched", "unit")

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
        self.live = self.queued = self.moved = self.gone = self.deleted = self.ending = self.packed = False
        self._was_ended = False
        self.head = self._anchor = b""
        self._inside: str | None = None  # why what follows is not the beginning of a line, "" if it is
        self._recorded: deque[tuple[int, int]] = deque()
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
        self._inside = None
        self._searched = self.position
        self._recorded = deque(recorded)

    def end(self) -> None:
        """It is read to its end; let go what is not needed to know it again."""
        self.live = self.gone = self.deleted = self.ending = self.queued = False
        self.head = self._anchor = b""

    def take_recorded(self) -> list[tuple[int, int]]:
        """Return the recorded ranges, which somebody else cuts."""
        recorded, self._recorded = list(self._recorded), deque()
        return recorded

    def passed(self, chunk: Chunk) -> Chunk:
        """Somebody else has cut this chunk; return it with what the unit is known by behind it."""
        mark = BOM if chunk.offset > chunk.start - self.unit.base else b""
        if len(mark) + len(chunk.data) == chunk.end - chunk.start and not chunk.fault.startswith(_CUT_OFF):
            prefix = self._sum_up(mark + chunk.data)
        else:
            prefix = self._tear()
        self.position = self._searched = chunk.end
        self.line += chunk.data.count(b"\n")
        return msgspec.structs.replace(chunk, prefix=prefix)

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
            return self._again(fd, self._recorded.popleft()[1])
        if fd is None:
            return self._missed() if self.longest > self.position and not self.packed else None
        if self._inside is None:
            self._inside = self._begins_inside(fd)
        end = 0
        if self._inside or self._searched > self.position:
            end = self._line_end(fd, ended)
            if not end:
                self._require_the_same(fd)
                return None
        size = end - self.position if self._inside else max(end - self.position, min(self._limits))
        data = os.pread(fd, size, self.position)
        self._require_the_same(fd)
        if not self._inside and (cut := data.rfind(b"\n") + 1):
            return self._chunk(data[:cut])
        if not end:
            self._searched += len(data)
            return self.cut(fd, ended) if data else None
        if len(data) < end - self.position:
            return None  # it was cut short between two calls, and the next one will notice
        data = data[:end - self.position]
        return self._line(data, is_last=ended and not os.pread(fd, 1, end))

    def _line(self, data: bytes, is_last: bool) -> Chunk | None:
        """One line, or a piece of one."""
        why = self._inside or ("" if data.endswith(b"\n") or is_last else "line_too_long")
        chunk = self._chunk(data, why, self._explain(why, len(data)))
        self._inside = "" if data.endswith(b"\n") else why
        return chunk

    def _explain(self, why: str, size: int) -> str:
        if why == "line_too_long":
            return (f"line {self.line} is longer than {self._limits.max_line_bytes} bytes (max_line_bytes): "
                    f"this piece of {size} bytes begins at byte {self.position} of the content")
        return why and (f"this was written behind byte {self.position}, where the file ended in the middle of line "
                        f"{self.line} when that was taken for its last: the beginning of the line was read as a line")

    def _begins_inside(self, fd: int) -> str:
        if not self.position or os.pread(fd, 1, self.position - 1) in (b"\n", b""):
            return ""
        return "line_torn" if self._was_ended else "line_too_long"

    def _line_end(self, fd: int, ended: bool) -> int:
        """Return the position behind the line that was searched so far, or 0 as long as it is not finished."""
        limit = self.position + self._limits.max_line_bytes
        while self._searched < limit:
            block = os.pread(fd, min(_BLOCK_BYTES, limit - self._searched), self._searched)
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
        data = b""
        if fd is not None:
            if self._inside is None:
                self._inside = self._begins_inside(fd)
            data = os.pread(fd, size, self.position)
            self._require_the_same(fd)
        if len(data) == size:
            is_last = size < self._limits.max_line_bytes and fd is not None and not os.pread(fd, 1, end)
            return self._line(data, is_last)
        return self._gone(end, f"the bytes {self.position} to {end} of this file were read before and not finished, "
                          "and are there no more: it was changed or deleted between two runs")

    def _missed(self) -> Chunk:
        """What was seen to be there, and was cut off or deleted before it was read."""
        return self._gone(self.longest, f"the bytes {self.position} to {self.longest} of this file were not read: it "
                          "was deleted, or cut short, before that, and no copy of it is there")

    def _gone(self, end: int, detail: str) -> Chunk:
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
        self._anchor = data[-_ANCHOR_BYTES:]
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
        return chunk

    def _require_the_same(self, fd: int) -> None:
        """Look whether what was read before is still there, after what comes next was read."""
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
