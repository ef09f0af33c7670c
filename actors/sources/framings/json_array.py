"""The elements of a JSON array: ``[{"a": 1}, {"a": 2}]`` is two records.

    [ {"a": 1} , {"a": 2} ] \\n
      └──────┘   └──────┘       values, byte for byte; between them is any number of white space and commas

So what is at a border, wherever that is, is what would be there at the beginning: a gap, an element, or the end. An
element has ended when something else than white space is behind it: of ``[1, 2`` nobody knows whether ``2`` is whole.

What cannot be the structure of an array (a bracket that closes another kind, something behind the last bracket, no
bracket at the end, an element that begins with a character like ``'``, of which nobody knows where it ends) is one
fault for all that follows, and the content is damaged. What an element is, be it ``nul`` or
``{"a" 1}``, is for ``parse`` to say. An element that is too long is one fault, and reading goes on behind it.
"""

from __future__ import annotations

import re
from enum import Enum, auto

from actors.runtime.framing import Record
from actors.sources.cutter import BOM
from actors.sources.framings.scanner import End, Item, Scanner

#: Brackets may be in brackets so often; each takes a byte of memory, also in an element that is too long.
MOST_DEEP = 10_000
_SPACE, _GAP = re.compile(rb"[ \t\r\n]*+"), re.compile(rb"[ \t\r\n,]*+")
#: In an element: what has no brackets, with the strings that end.
_FLAT = re.compile(rb'(?:[^"{}\[\]]++|"(?:[^"\\]++|\\.)*+")*+', re.DOTALL)
_ESCAPE, _WORD = re.compile(rb'["\\]'), re.compile(rb"[-+.0-9A-Za-z]*+")
_CLOSES = {ord("}"): ord("{"), ord("]"): ord("[")}
_QUOTE, _BACKSLASH, _OPEN, _CLOSE = b'"\\[]'


def _elements(depth: int) -> re.Pattern[bytes]:
    """What is an element, with so many brackets in brackets at most, and what has to follow it."""
    text = rb'"(?:[^"\\]++|\\.)*+"'
    nested = b""
    for _ in range(depth):
        nested = rb'|\{(?:[^"{}\[\]]++|%b%b)*+\}|\[(?:[^"{}\[\]]++|%b%b)*+\]' % (text, nested, text, nested)
    return re.compile(rb"([ \t\r\n,]*+)(%b%b|[-+.0-9A-Za-z]++)(?=[ \t\r\n]*+[^ \t\r\n])" % (text, nested), re.DOTALL)


_ELEMENT = _elements(4)


class _In(Enum):
    """Where in the array."""

    START = auto()  # before its bracket
    GAP = auto()
    NEST = auto()  # in an object or an array
    NEST_TEXT = auto()  # in a string in one
    TEXT = auto()
    WORD = auto()
    BEHIND = auto()  # behind an element
    END = auto()  # behind the last bracket
    BROKEN = auto()


class JsonArrayScanner(Scanner):
    """Elements of an array."""

    def __init__(self, max_bytes: int) -> None:
        super().__init__(max_bytes)
        self._in = _In.START
        self._begin = self._stop = 0
        self._is_escaped = False
        self._open = bytearray()
        self._why = ""

    def begin(self, is_first: bool) -> None:
        super().begin(is_first)
        self._in = _In.START if is_first else _In.GAP
        self._begin = self._stop = 0
        self._is_escaped = False
        self._open.clear()

    @property
    def is_long(self) -> bool:
        return self.looked - self._begin > self.max_bytes

    @property
    def is_broken(self) -> bool:
        return self._in is _In.BROKEN

    def look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        base = at - self.looked
        if self._in is _In.START and not self.looked:
            if stop - at < len(BOM) and not end.is_final and BOM.startswith(bytes(data[at:stop])):
                return None
            at += len(BOM) if data.startswith(BOM, at, stop) else 0
        while at < stop:
            if self._in is _In.BEHIND:
                at = self._past(_SPACE, data, at, stop)
                if at < stop:
                    self.looked = at - base
                    return self._element()
            elif self._in is _In.BROKEN:
                at = stop
            else:
                at = self._step(data, at, stop, base)
        self.looked = stop - base
        if end.is_final and self.looked:
            return self._finish(end)
        if self._in is _In.GAP and self.is_long:
            return Item(self.looked - 1, -1, 0, 0)  # one byte is left: a content without its last bracket has a fault
        return None

    def _step(self, data: bytes | bytearray, at: int, stop: int, base: int) -> int:
        if self._in is _In.NEST:
            return self._through_nest(data, at, stop, base)
        if self._in in (_In.TEXT, _In.NEST_TEXT):
            return self._through_text(data, at, stop, base)
        if self._in is _In.WORD:
            at = self._past(_WORD, data, at, stop)
            return self._ends(at, base) if at < stop else at
        at = self._past(_GAP if self._in is _In.GAP else _SPACE, data, at, stop)
        if at == stop:
            return at
        if self._in is _In.GAP:
            return self._enter(data, at, stop, base)
        if self._in is _In.START and data[at] == _OPEN:
            self._in = _In.GAP
            return at + 1
        return self._break(stop, "something follows the array" if self._in is _In.END else
                           "it is no array: it does not begin with [")

    def _enter(self, data: bytes | bytearray, at: int, stop: int, base: int) -> int:
        """Begin an element, or end the array."""
        byte = data[at]
        self._begin = at - base
        if byte == _QUOTE:
            self._in = _In.TEXT
        elif byte in b"{[":
            self._in = _In.NEST
            self._open.append(byte)
        elif byte == _CLOSE:
            self._in, self._begin = _In.END, 0
        elif self._past(_WORD, data, at, at + 1) > at:
            self._in = _In.WORD
        else:
            return self._break(stop, f"{chr(byte)!r} is where an element should begin")
        return at + 1

    def _through_nest(self, data: bytes | bytearray, at: int, stop: int, base: int) -> int:
        at = self._past(_FLAT, data, at, stop)
        if at == stop:
            return stop
        byte = data[at]
        at += 1
        if byte == _QUOTE:
            self._in = _In.NEST_TEXT
        elif byte in b"{[":
            self._open.append(byte)
            if len(self._open) > MOST_DEEP:
                return self._break(stop, f"an element has more than {MOST_DEEP} brackets in brackets")
        elif self._open.pop() != _CLOSES[byte]:
            return self._break(stop, f"{chr(byte)!r} closes what another bracket has opened")
        elif not self._open:
            return self._ends(at, base)
        return at

    def _through_text(self, data: bytes | bytearray, at: int, stop: int, base: int) -> int:
        if self._is_escaped:
            self._is_escaped = False
            return at + 1
        found = _ESCAPE.search(data, at, stop)
        if found is None:
            return stop
        self._is_escaped = data[found.start()] == _BACKSLASH
        if self._is_escaped:
            return found.end()
        if self._in is _In.TEXT:
            return self._ends(found.end(), base)
        self._in = _In.NEST
        return found.end()

    def _ends(self, at: int, base: int) -> int:
        self._in, self._stop = _In.BEHIND, at - base
        return at

    def _break(self, stop: int, why: str) -> int:
        self._in, self._begin, self._why = _In.BROKEN, 0, why
        return stop

    @staticmethod
    def _past(pattern: re.Pattern[bytes], data: bytes | bytearray, at: int, stop: int) -> int:
        found = pattern.match(data, at, stop)
        assert found is not None
        return found.end()

    def _element(self) -> Item:
        length = self._stop - self._begin
        if length <= self.max_bytes:
            return Item(self._stop, self._begin, self._begin, self._stop)
        return Item(self._stop, self._begin, 0, 0, "record_too_long", (
            f"an element of {length} bytes is longer than {self.max_bytes} (max_record_bytes): its bytes are not kept"))

    def _finish(self, end: End) -> Item:
        """What is ended by the end."""
        if self._in in (_In.BEHIND, _In.WORD) and end is End.BORDER:
            self._stop = self._stop or self.looked
            return self._element()
        is_blank = self._in is _In.START
        if self._in is _In.END or is_blank or (self._in is _In.GAP and end is End.BORDER):
            return Item(self.looked, -1, 0, 0)
        kept = self.looked if self.looked <= self.max_bytes else 0
        if self._in is _In.BROKEN:
            return Item(self.looked, self._begin, 0, kept, "corrupt_json", (
                f"{self._why}; the {self.looked} bytes from here up to the end were not read"))
        return Item(self.looked, self._begin, 0, kept, "truncated_json", (
            "the array has no ] at its end; the content was probably not copied, or not written, to its end"))

    def quick(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        if self._is_first:
            return at, line
        while (found := _ELEMENT.match(data, at, stop)) is not None and found.end() - found.end(1) <= self.max_bytes:
            line += data.count(b"\n", at, found.end(1))
            value = bytes(found[2])
            records.append(Record(shift + found.end(1), value, line))
            line += value.count(b"\n")
            at = found.end()
        return at, line
