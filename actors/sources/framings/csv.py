"""Rows of CSV: a row ends with its line, but for the newlines that are in quotes.

    1,"two lines,\\nin quotes",3\\n        one row
    4,5" of rain,"6 ""x"" 7"\\n          one row: a quote within a field is a character, two in quotes are one
    7,"never closed\\n8,nine\\n…          one fault, ``unbalanced_quote``, of the first line alone; ``8,nine`` is a row

Only a quote at the beginning of a field opens it. One that is not closed within ``max_bytes``, or by the end of the
content, or that is closed behind a newline by a quote with neither delimiter nor line end behind it, was no opening
quote: its row is a fault of one line, and reading goes on with the next line.

Linear: the lines that such a quote has swallowed have an even number of quotes in each place, so each of them closes
what it opens: they are looked at once more, and no more than that.

What does not work: to count quotes (one within a field is a character); to read on to the next quote, whatever is
behind it (one forgotten quote would turn the file inside out: text becomes fields, and fields text).
"""

from __future__ import annotations

import re
from enum import Enum, auto

from actors.runtime.framing import Record
from actors.sources.framings.scanner import End, Item, Run
from actors.sources.framings.text import TextScanner

_LF, _CR = 10, 13


class _In(Enum):
    """Where in a row."""

    FIELD = auto()  # at its beginning
    PLAIN = auto()  # in a field without quotes, or behind those
    QUOTES = auto()
    QUOTE = auto()  # behind a quote in quotes: another makes it a character
    RETURN = auto()  # behind a closing quote and a carriage return, with newlines in the field
    LONG = auto()  # too long: on the way to the next newline


class CsvScanner(TextScanner):
    """Rows.

    Args:
        max_bytes: longest row.
        delimiter: what is between fields; one byte.
        quote: one byte.
        skips_header: the first row of the content is none.
    """

    def __init__(
        self, max_bytes: int, delimiter: bytes = b",", quote: bytes = b'"', skips_header: bool = False
    ) -> None:
        super().__init__(max_bytes)
        self._delimiter, self._quote = delimiter[0], quote[0]
        self._skips_header = skips_header
        self._break = re.compile(b"[\n%b]" % re.escape(delimiter))
        words = {b"d": re.escape(delimiter), b"q": re.escape(quote)}
        field = b"(?:%(q)b(?:[^%(q)b]++|%(q)b%(q)b)*+%(q)b(?=[%(d)b\n]|\r\n)|(?!%(q)b)[^%(d)b\n]*+)" % words
        self._row = re.compile(b"%b(?:%b%b)*+\r?\n" % (field, words[b"d"], field))
        self._quoteless = 0  # in the bytes of this run there is no quote up to here
        self._in = _In.FIELD
        self._first = 0  # bytes of the first line of a row that has several; 0: there is no newline yet

    def value(self, raw: bytes) -> bytes:
        return raw.removesuffix(b"\n").removesuffix(b"\r") if raw.endswith(b"\n") else raw

    def run(self, data: bytes | bytearray, at: int, stop: int, end: End, offset: int, line: int) -> Run:
        self._quoteless = -1
        return super().run(data, at, stop, end, offset, line)

    def _fresh(self) -> None:
        self._in, self._first = _In.FIELD, 0

    def _state(self) -> tuple[_In, int]:
        return self._in, self._first

    def _restore(self, state: tuple[_In, int]) -> None:
        self._in, self._first = state

    def _look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        base = at - self.looked
        until = min(stop, base + self._mark + self.max_bytes)
        if self._in is not _In.LONG:
            at, is_over = self._walk(data, at, until, base)
            self.looked = at - base
            if is_over:
                return self._row_of(self.looked)
            if self._in is _In.RETURN and at < until:
                return self._unbalanced()
            if at < stop:
                if self._is_open():
                    return self._unbalanced()
                self._in = _In.LONG
        if self._in is _In.LONG:
            newline = data.find(b"\n", at, stop) + 1
            self.looked = (newline or stop) - base
            if newline:
                return self._too_long()
        return self._finish() if end.is_final and self.looked else None

    def _walk(self, data: bytes | bytearray, at: int, until: int, base: int) -> tuple[int, bool]:
        """Go on in the row; return where to, and whether it has ended there. In ``RETURN`` with bytes left it is stuck:
        what is there cannot be behind the closing quote."""
        while at < until:
            byte = data[at]
            if self._in is _In.PLAIN:
                found = self._break.search(data, at, until)
                if found is None:
                    return until, False
                at = found.end()
                if data[at - 1] == _LF:
                    return at, True
                self._in = _In.FIELD
            elif self._in is _In.QUOTES:
                at = self._through_quotes(data, at, until, base)
            elif self._in is _In.FIELD:
                is_quote = byte == self._quote
                self._in = _In.QUOTES if is_quote else _In.PLAIN
                at += is_quote
            elif byte == _LF:
                return at + 1, True
            elif self._in is _In.QUOTE and byte in (self._quote, self._delimiter):
                self._in = _In.QUOTES if byte == self._quote else _In.FIELD
                at += 1
            elif self._in is _In.QUOTE and not self._first:
                self._in = _In.PLAIN
            elif self._in is _In.QUOTE and byte == _CR:
                self._in = _In.RETURN
                at += 1
            else:
                self._in = _In.RETURN
                return at, False
        return at, False

    def _through_quotes(self, data: bytes | bytearray, at: int, until: int, base: int) -> int:
        quote = data.find(self._quote, at, until)
        end = until if quote < 0 else quote
        if not self._first and (newline := data.find(b"\n", at, end)) >= 0:
            self._first = newline + 1 - base
        if quote < 0:
            return until
        self._in = _In.QUOTE
        return quote + 1

    def _is_open(self) -> bool:
        """Whether a field with newlines in its quotes is not over yet."""
        return self._first > 0 and self._in in (_In.QUOTES, _In.QUOTE, _In.RETURN)

    def _row_of(self, size: int) -> Item:
        is_gap = size == self._mark or (self._is_first and self._skips_header)
        return Item(size, -1 if is_gap else self._mark, self._mark, size)

    def _unbalanced(self) -> Item:
        size = self._first or self.looked
        return Item(size, self._mark, self._mark, size, "unbalanced_quote", (
            f"a quote is not closed, at the end of its field, within {self.max_bytes} bytes (max_record_bytes) or up "
            "to the end: this line is not read as a row of several lines, and what follows is read"))

    def _too_long(self) -> Item:
        return Item(self.looked, self._mark, 0, 0, "record_too_long", (
            f"a row of {self.looked - self._mark} bytes is longer than {self.max_bytes} (max_record_bytes): its bytes "
            "are not kept"))

    def _finish(self) -> Item:
        """The row that is ended by the end."""
        if self._in is _In.LONG:
            return self._too_long()
        if self._in is _In.QUOTES:
            return self._unbalanced()
        return self._row_of(self.looked)

    def _ended(self, size: int) -> Item | None:
        return self._unbalanced() if self._is_open() else None

    def _many(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        if self._quoteless < at:
            quote = data.find(self._quote, at, stop)
            self._quoteless = stop if quote < 0 else quote
        if self._quoteless >= stop:
            return self._lines(data, at, stop, shift, line, records)
        row = self._row
        while (found := row.match(data, at, stop)) is not None and found.end() - at <= self.max_bytes:
            raw = found[0]
            records.append(Record(shift + at, self.value(bytes(raw)), line))
            line += raw.count(b"\n")
            at = found.end()
        return at, line

    def _lines(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        """Rows without any quotes."""
        lines = bytes(data[at:stop]).split(b"\n")
        lines.pop()
        most = self.max_bytes
        for each in lines:
            if len(each) >= most:
                break
            records.append(Record(shift + at, each[:-1] if each[-1:] == b"\r" else each, line))
            at += len(each) + 1
            line += 1
        return at, line
