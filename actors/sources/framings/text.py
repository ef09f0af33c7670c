"""What the framings of text have in common: a byte order mark, and holes of NULs (see ``holes``).

A hole cuts off the record that it is in: both are one fault without bytes, and what follows begins a record.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, ClassVar

from actors.runtime.framing import Record
from actors.sources.cutter import BOM
from actors.sources.framings.scanner import End, Item, Run, Scanner
from actors.sources.holes import AT_CONTENT, AT_LINE, RUNS, SOME, WITHIN, behind_nuls


class TextScanner(Scanner):
    """A framing of text. Who inherits finds the records of a text without holes."""

    ends_with_lines: ClassVar[bool] = True
    #: Whether a record may end with each of its lines, whatever follows.
    any_line_may_be_last: ClassVar[bool] = False

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._mark = 0  # bytes of a byte order mark at the border
        self._nuls = 0  # at the end of what was looked at
        self._text = -1  # bytes before the hole that is passed over; -1: there is none
        self._sound = 0  # in the bytes of this run there is no hole up to here

    def begin(self, is_first: bool) -> None:
        super().begin(is_first)
        self._mark = self._nuls = 0
        self._text = -1
        self._fresh()

    @property
    def is_long(self) -> bool:
        return self._text >= 0 or self.looked - self._mark > self.max_bytes

    def look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        if self._is_first and not self.looked:
            if stop - at < len(BOM) and not end.is_final and BOM.startswith(bytes(data[at:stop])):
                return None
            if data.startswith(BOM, at, stop):
                self.looked = self._mark = len(BOM)
                at += len(BOM)
        if self._text >= 0:
            return self._over_hole(data, at, stop, end)
        before, base, is_between = self._state(), at - self.looked, self._is_between()
        item = self._look(data, at, stop, end)
        reached = min(stop, base + max(self.looked, item.size if item else 0))
        hole = self._hole(data, at, reached, base, is_between)
        if hole is None:
            if item is None:
                self._count_nuls(data, at, reached)
            return item
        self.looked = at - base
        self._restore(before)
        begin = max(at, hole)
        if begin > at and (item := self._look(data, at, begin, End.MORE)):
            return item
        if item := self._ended(hole - base):
            return item
        self._text, self.looked = hole - base, begin - base
        return self._over_hole(data, begin, stop, end)

    def run(self, data: bytes | bytearray, at: int, stop: int, end: End, offset: int, line: int) -> Run:
        self._sound = -1
        return super().run(data, at, stop, end, offset, line)

    def quick(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        if self._is_first:
            return at, line
        if self._sound < at:
            hole = data.find(SOME, at, stop)
            self._sound = stop if hole < 0 else hole
        return self._many(data, at, self._sound, shift, line, records)

    @abstractmethod
    def _many(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        """``quick``, of text that has no hole."""

    @abstractmethod
    def _fresh(self) -> None:
        """A border is here."""

    @abstractmethod
    def _state(self) -> Any:
        """What was seen since the border."""

    @abstractmethod
    def _restore(self, state: Any) -> None:
        """That is all that was seen."""

    @abstractmethod
    def _look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        """``look``, of text that has no hole. ``looked`` is where it has looked also when an item is returned."""

    def _ended(self, size: int) -> Item | None:
        """The record that has ended before a hole so many bytes behind the border; None: the hole cuts it off."""
        return None

    def _is_between(self) -> bool:
        """Whether what was looked at is whole lines, and the record may end with them."""
        return False

    def _hole(self, data: bytes | bytearray, at: int, stop: int, base: int, is_between: bool) -> int | None:
        """Return where a hole begins, of those of which the end of the least is in ``data[at:stop]``."""
        lead = behind_nuls(data, at, stop) - at
        start = at - self._nuls
        if lead and self._nuls + lead >= self._least(start == base + self._mark, is_between and not self._nuls):
            return start
        if data.find(SOME, at + lead, stop) < 0:
            return None
        for run in RUNS.finditer(data, at + lead, stop):
            start = run.start()
            if run.end() - start >= self._least(False, self.any_line_may_be_last and data[start - 1] == 10):
                return start
        return None

    def _least(self, is_at_border: bool, is_between: bool) -> int:
        """The fewest NULs that are a hole."""
        if is_at_border:
            return AT_CONTENT if self._is_first else AT_LINE
        return AT_LINE if is_between else WITHIN

    def _count_nuls(self, data: bytes | bytearray, at: int, stop: int) -> None:
        end = data[max(at, stop - WITHIN):stop]
        nuls = len(end) - len(end.rstrip(b"\0"))
        self._nuls = self._nuls + nuls if nuls == stop - at else nuls

    def _over_hole(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        behind = behind_nuls(data, at, stop)
        self.looked += behind - at
        if behind == stop and not end.is_final:
            return None
        nuls = self.looked - self._text
        if behind < stop and data[behind] == 10:
            self.looked += 1
        cut = f", behind the beginning of a record ({self._text - self._mark} bytes), which was cut off"
        return Item(self.looked, self._mark, 0, 0, "nul_hole", (
            f"a hole of {nuls} NULs{cut if self._text > self._mark else ''}: a file cut short under its writer, or by "
            "a power cut, has such; its bytes are not kept, and what follows is read"))
