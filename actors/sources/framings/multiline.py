"""Records of several lines, as stack traces in a log: a record begins with a line that a regular expression matches.

    2026-01-01 10:00:00 ERROR no route\\n     matches: a record begins
      File "a.py", line 3\\n                  does not: it goes on
    2026-01-01 10:00:01 INFO up\\n            matches: the record before has ended

What is at a border begins a record, whether it matches or not: the beginning of a file, or what is written behind a
record that was taken for whole because nothing more came (``End.IDLE``). That border is in the ledger, as any.

The expression is matched at the beginning of a line, and sees 4096 bytes of it at most, without its newline: so it is
decided in the same way whatever the blocks are, and a line of any length is decided.

What does not work: to search a block for the expression (``[^x]*`` goes on over newlines, and ``^`` is no beginning of
a line that a block begins with).
"""

from __future__ import annotations

import re
from typing import ClassVar

from actors.runtime.framing import Record
from actors.sources.framings.scanner import End, Item
from actors.sources.framings.text import TextScanner

#: So much of a line is looked at to tell whether it begins a record.
HEAD_BYTES = 4096


class MultilineScanner(TextScanner):
    """Records of one line or more.

    Args:
        max_bytes: longest record.
        first: what the first line of a record matches.
    """

    any_line_may_be_last: ClassVar[bool] = True
    ends_when_idle: ClassVar[bool] = True

    def __init__(self, max_bytes: int, first: re.Pattern[bytes]) -> None:
        super().__init__(max_bytes)
        self._match = first.match
        self._line = 0  # where the line begins that was looked at last
        self._is_inside = False  # that line is known to belong to the record

    def value(self, raw: bytes) -> bytes:
        return raw.removesuffix(b"\n")

    def _fresh(self) -> None:
        self._line, self._is_inside = 0, False

    def _state(self) -> tuple[int, bool]:
        return self._line, self._is_inside

    def _restore(self, state: tuple[int, bool]) -> None:
        self._line, self._is_inside = state

    def _look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        base = at - self.looked
        while at < stop:
            if not self._is_inside:
                self._line = at - base
                begins = self._line > self._mark and self._begins(data, at, stop, end)
                if begins is None:
                    break
                if begins:
                    self.looked = self._line
                    return self._record(self._line)
                self._is_inside = True
            newline = data.find(b"\n", at, stop) + 1
            at = newline or stop
            self._is_inside = not newline
        self.looked = at - base
        if not self._is_inside:
            self._line = self.looked
        if end.is_final and stop > base:
            return self._record(stop - base)
        return self._record(self._line) if end is End.IDLE and self._line > self._mark else None

    def _begins(self, data: bytes | bytearray, at: int, stop: int, end: End) -> bool | None:
        """Whether the line at this place begins a record; None: too little of it is there."""
        newline = data.find(b"\n", at, min(stop, at + HEAD_BYTES))
        if newline < 0 and stop - at < HEAD_BYTES and not end.is_final:
            return None
        head = bytes(data[at:min(stop, at + HEAD_BYTES) if newline < 0 else newline])
        return self._match(head.removesuffix(b"\r")) is not None

    def _record(self, size: int) -> Item:
        length = size - self._mark
        if length <= self.max_bytes:
            return Item(size, self._mark if length else -1, self._mark, size)
        return Item(size, self._mark, 0, 0, "record_too_long", (
            f"a record of {length} bytes is longer than {self.max_bytes} (max_record_bytes): its bytes are not kept"))

    def _ended(self, size: int) -> Item | None:
        return self._record(size) if self._mark < size == self.looked and self._is_between() else None

    def _is_between(self) -> bool:
        return not self._is_inside and self.looked == self._line

    def _many(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        lines = bytes(data[at:stop]).split(b"\n")
        lines.pop()
        match, most = self._match, min(self.max_bytes, HEAD_BYTES)
        start, start_line = at, line
        for number, each in enumerate(lines):
            if len(each) >= most:
                break
            if number and match(each[:-1] if each[-1:] == b"\r" else each):
                if at - start > self.max_bytes:
                    break
                records.append(Record(shift + start, bytes(data[start:at - 1]), start_line))
                start, start_line = at, line
            at += len(each) + 1
            line += 1
        return start, start_line
