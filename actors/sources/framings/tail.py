"""One file that may grow, framed as records: what ``Tail`` does with lines.

    0 ───────── position ───── border ───────────── looked ─────── end of the file
                    │   a gap     │ an unfinished record │ not looked at

Like any tail it holds no data: of an unfinished record it keeps what its scanner has seen of it, and reads it again, as
a range, once its end is there. What was written once is looked at once until then, however slowly it comes.
"""

from __future__ import annotations

import os

import msgspec

from actors.runtime.progress import progress
from actors.runtime.values import Chunk, Unit
from actors.sources.cutter import HELD_BYTES
from actors.sources.framings.assembler import Assembler, framing_changed
from actors.sources.framings.scanner import End, Scanner
from actors.sources.marks import Mark
from actors.sources.tail import ANCHOR_BYTES, BLOCK_BYTES, Limits, Tail


def tail_of(unit: Unit, mark: Mark, path: str, limits: Limits) -> Tail:
    """Return what reads a unit with this framing."""
    return Tail(unit, mark, path, limits) if limits.scanner is None else RecordTail(unit, mark, path, limits)


class RecordTail(Tail):
    """A unit of a directory whose framing is not lines.

    Args:
        unit: the unit.
        mark: what it is known by.
        path: where it was seen last.
        limits: of its chunks; with a scanner.
    """

    __slots__ = ("_gap", "_is_ended", "_scanner")

    def __init__(self, unit: Unit, mark: Mark, path: str, limits: Limits) -> None:
        super().__init__(unit, mark, path, limits)
        self._scanner: Scanner | None = None
        self._gap = 0  # from the position to the border, when an unfinished record was looked at
        self._is_ended = False

    @property
    def waits(self) -> bool:
        return self.live and not self.packed and self._begun.ends_when_idle and self._begun.looked > 0

    @property
    def _begun(self) -> Scanner:
        if self._scanner is None:
            assert self._limits.scanner is not None
            self._scanner = self._limits.scanner()
        return self._scanner

    def begin(self, head: bytes, recorded: list[tuple[int, int]], was_ended: bool = False) -> None:
        super().begin(head, recorded, was_ended)
        self._forget()

    def end(self) -> None:
        super().end()
        self._scanner = None

    def cut(self, fd: int | None, ended: bool) -> Chunk | None:
        self._is_ended = ended
        if self._recorded or fd is None or self._is_torn(fd):
            chunk = super().cut(fd, ended)
            if chunk is not None:
                self._forget()
            return chunk
        if not self._begun.looked and not self._gap:
            chunk = self._at_once(fd)
            if chunk is not None:
                return self._taken(fd, chunk)
        size = self._find(fd)
        self.require_the_same(fd)
        if size is None:
            return None
        is_all = ended and self.position + self._gap + size >= os.fstat(fd).st_size
        chunk = self._range(fd, self._gap + size, End.CONTENT if is_all else End.BORDER)
        return chunk and self._taken(fd, chunk)

    def _forget(self) -> None:
        """Look anew at what is behind the position."""
        self._gap, self.idle, self._draft = 0, False, None
        self._begun.begin(not self.position)

    def _is_torn(self, fd: int) -> bool:
        """Whether the rest of a line follows whose beginning was taken for a record when the file had ended."""
        if not self._was_ended or not self._begun.ends_with_lines:
            return False
        self._look_back(fd)
        return self._inside == "line_torn"

    def _at_once(self, fd: int) -> Chunk | None:
        """Cut a chunk of what is there; None: not even one record is there, as far as was looked."""
        made = self._assembler()
        most = self._limits.batch_bytes
        made.buffer += os.pread(fd, most, self.position)
        self.require_the_same(fd)
        chunk = made.next(self._end(len(made.buffer) < most))
        if chunk is None:
            self._gap, self._draft = made.gap, None
        return chunk

    def _find(self, fd: int) -> int | None:
        """Look on for the end of the unfinished record; return its size, or None: it is not there yet."""
        scanner = self._begun
        while True:
            start = self.position + self._gap + scanner.looked
            block = os.pread(fd, BLOCK_BYTES, start)
            is_all = len(block) < BLOCK_BYTES
            item = scanner.look(block, 0, len(block), self._end(is_all))
            if item is None and is_all and scanner.is_broken:
                item = scanner.look(b"", 0, 0, End.CONTENT)  # what is written behind that is looked at anew
            if item is not None:
                return item.size
            if is_all:
                return 0 if self._gap and self._is_ended else None
            progress()  # there may be gigabytes

    def _end(self, is_all: bool) -> End:
        if not is_all:
            return End.MORE
        return End.CONTENT if self._is_ended else End.IDLE if self.idle else End.MORE

    def _range(self, fd: int, size: int, end: End) -> Chunk | None:
        """Cut exactly so many bytes; None: they are not there, or are no records."""
        made = self._assembler()
        if size <= max(self._limits.max_line_bytes, HELD_BYTES):
            made.buffer += os.pread(fd, size, self.position)
            return made.again(size, end) if len(made.buffer) == size else None
        at = self.position

        def fill() -> bool:
            nonlocal at
            block = os.pread(fd, BLOCK_BYTES, at)
            at += len(block)
            made.buffer.extend(block)
            return bool(block)

        return made.over(size, fill)

    def _again(self, fd: int | None, end: int) -> Chunk | None:
        """Cut the range that ends at ``end`` once more."""
        size = end - self.position
        if fd is not None and os.fstat(fd).st_size >= end:
            chunk = self._range(fd, size, End.BORDER)
            self.require_the_same(fd)
            if chunk is None:
                self._draft = None
                made = self._assembler()
                made.buffer += os.pread(fd, min(size, HELD_BYTES), self.position)
                chunk = made.give_up(size, framing_changed(size))
            return self._taken(fd, chunk)
        return self._gone(end, f"the bytes {self.position} to {end} of this file were read before and not finished, "
                               "and are there no more: it was changed or deleted between two runs")

    def _taken(self, fd: int, chunk: Chunk) -> Chunk:
        """This chunk is cut; return it with what the unit is known by behind it."""
        chunk = self.passed(chunk) if self._is_ended else self._summed_up(chunk)
        at = max(0, self.position - ANCHOR_BYTES)
        self._anchor = os.pread(fd, self.position - at, at)
        self._forget()
        return chunk

    def _summed_up(self, chunk: Chunk) -> Chunk:
        """``passed``, of a content that goes on: whatever is wrong with its records, they are in it. (One that ends in
        the middle of a record may be given again, whole.)"""
        prefix = self._sum_up_passed(chunk.end)
        self.position = self._searched = chunk.end
        self.line += chunk.lines
        return msgspec.structs.replace(chunk, prefix=prefix)

    def _assembler(self) -> Assembler:
        unit = msgspec.structs.replace(self.unit, low=self.position, lines=self.line - 1)
        return Assembler(unit, self._begun, self._limits.batch_bytes, passed=self.passing_by)
