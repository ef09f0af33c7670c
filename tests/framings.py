"""Content in each framing, and the plainest reading of it, byte by byte: for the tests of framings."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from actors.runtime.framing import RECORDS, records_in
from actors.runtime.values import Chunk
from actors.sources.files import Files
from actors.sources.framings.scanner import Scanner
from actors.sources.streams import Fault

BOM = b"\xef\xbb\xbf"
#: Longest record in these tests: short, so that many are too long.
MOST = 40


class Outcome(NamedTuple):
    """What becomes of a record: where it begins, and what it is; or what is wrong with it, and what is kept of it."""

    offset: int
    line: int
    reason: str
    value: bytes


class Framing(NamedTuple):
    """A framing to be tested: its options, bytes that it is about, and how it is read plainly."""

    options: dict[str, object]
    pieces: Sequence[bytes]
    read: Callable[[bytes, int], list[Outcome]]

    def set(self, most: int = MOST) -> dict[str, Any]:
        """The options, with the longest record."""
        return {**self.options, "max_record_bytes": most}

    def scanner(self, most: int = MOST) -> Scanner:
        """What is tested."""
        return Files(pattern="x", **self.set(most)).scanner()


def outcomes_of(chunks: Sequence[Chunk]) -> list[Outcome]:
    """What is in these chunks."""
    found: list[Outcome] = []
    for chunk in chunks:
        assert chunk.framing == RECORDS
        records = records_in(chunk.data)
        assert len(records) == 1 or not chunk.fault, "a fault is one outcome"
        found += [Outcome(each.offset, each.line, chunk.fault, each.value or b"") for each in records]
    return found


def _csv(delimiter: int, quote: int, skips_header: bool) -> Callable[[bytes, int], list[Outcome]]:
    def read(content: bytes, most: int) -> list[Outcome]:
        found: list[Outcome] = []
        at = end = len(BOM) if content.startswith(BOM) else 0
        while at < len(content):
            end, reason = _row(content, at, most, delimiter, quote)
            value = content[at:end]
            if value.endswith(b"\n"):
                value = value[:-1].removesuffix(b"\r")
            is_header = skips_header and not reason and at == (len(BOM) if content.startswith(BOM) else 0)
            if not is_header:
                found.append(Outcome(at, 1 + content.count(b"\n", 0, at), reason,
                                     b"" if reason == "record_too_long" else value))
            at = end
        return found

    return read


def _row(content: bytes, start: int, most: int, delimiter: int, quote: int) -> tuple[int, str]:
    """Where the row ends, and what is wrong with it."""
    at, is_beginning, newline = start, True, 0
    while at < len(content):
        byte = content[at]
        if at - start >= most:
            return _behind_line(content, at), "record_too_long"
        if byte == quote and is_beginning:
            at += 1
            while True:
                if at >= len(content) or at - start >= most:
                    if newline or at >= len(content):
                        return newline or len(content), "unbalanced_quote"
                    return _behind_line(content, at), "record_too_long"
                if content[at] == 10 and not newline:
                    newline = at + 1
                if content[at] == quote:
                    if content[at + 1:at + 2] == bytes([quote]) and at + 1 - start < most:
                        at += 1
                    elif newline:
                        rest = content[at + 1:]
                        is_cut = at + 1 - start >= most and rest
                        if is_cut or not (not rest or rest[0] in (delimiter, 10) or rest == b"\r" or (
                                rest.startswith(b"\r\n") and at + 2 - start < most)):
                            return newline, "unbalanced_quote"
                        break
                    else:
                        break
                at += 1
            at += 1
            is_beginning = False
            if newline and content[at:at + 2] == b"\r\n":
                at += 1
        elif byte == 10:
            return at + 1, ""
        else:
            is_beginning = byte == delimiter
            at += 1
    return len(content), ""


def _behind_line(content: bytes, at: int) -> int:
    return content.find(b"\n", at) + 1 or len(content)


def _multiline(pattern: bytes) -> Callable[[bytes, int], list[Outcome]]:
    def read(content: bytes, most: int) -> list[Outcome]:
        start = len(BOM) if content.startswith(BOM) else 0
        found: list[list[bytes]] = []
        for line in _lines(content[start:]):
            if not found or re.match(pattern, line.removesuffix(b"\n")):
                found.append([])
            found[-1].append(line)
        outcomes, at = [], start
        for lines in found:
            value = b"".join(lines)
            number = 1 + content.count(b"\n", 0, at)
            outcomes.append(Outcome(at, number, "", value.removesuffix(b"\n")) if len(value) <= most else
                            Outcome(at, number, "record_too_long", b""))
            at += len(value)
        return outcomes

    return read


def _lines(content: bytes) -> Iterator[bytes]:
    while content:
        end = content.find(b"\n") + 1 or len(content)
        yield content[:end]
        content = content[end:]


def _json_array(content: bytes, most: int) -> list[Outcome]:
    found: list[Outcome] = []

    def add(at: int, reason: str, value: bytes) -> None:
        found.append(Outcome(at, 1 + content.count(b"\n", 0, at), reason, value if len(value) <= most else b""))

    at = len(BOM) if content.startswith(BOM) else 0
    at, border = _behind(content, at, b" \t\r\n"), 0
    if at == len(content):
        return []
    if content[at] != ord("["):
        add(0, "corrupt_json", content)
        return found
    at += 1
    while True:
        at = _behind(content, at, b" \t\r\n,")
        end, reason = _element(content, at)
        if reason == "end":
            if _behind(content, end, b" \t\r\n") < len(content):
                add(border, "corrupt_json", content[border:])
            return found
        if reason or (behind := _behind(content, end, b" \t\r\n")) == len(content):
            where = border if reason == "corrupt_json" or at == len(content) else at
            add(where, reason or "truncated_json", content[border:])
            return found
        add(at, "" if end - at <= most else "record_too_long", content[at:end])
        at, border = end, end
        assert behind


def _element(content: bytes, at: int) -> tuple[int, str]:
    """Where an element ends; or "end" for the bracket of the array, or what is wrong."""
    if at == len(content):
        return at, "truncated_json"
    if content[at] == ord("]"):
        return at + 1, "end"
    if content[at] == ord('"'):
        end = _text(content, at + 1)
        return end, "" if end else "truncated_json"
    if content[at] not in b"{[":
        end = _behind(content, at, b"-+.0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
        return end, "" if end > at else "corrupt_json"
    brackets = b""
    while at < len(content):
        byte = content[at:at + 1]
        if byte == b'"':
            at = _text(content, at + 1)
            if not at:
                return 0, "truncated_json"
            continue
        if byte in (b"{", b"["):
            brackets += byte
        elif byte in (b"}", b"]"):
            if brackets[-1:] != (b"{" if byte == b"}" else b"["):
                return 0, "corrupt_json"
            brackets = brackets[:-1]
            if not brackets:
                return at + 1, ""
        at += 1
    return 0, "truncated_json"


def _text(content: bytes, at: int) -> int:
    """Behind the quote that ends a string; 0: there is none."""
    while at < len(content):
        if content[at] == ord('"'):
            return at + 1
        at += 2 if content[at] == ord("\\") else 1
    return 0


def _behind(content: bytes, at: int, these: bytes) -> int:
    while at < len(content) and content[at] in these:
        at += 1
    return at


def _length_prefixed(length: str, counts_itself: bool) -> Callable[[bytes, int], list[Outcome]]:
    def read(content: bytes, most: int) -> list[Outcome]:
        found, at = [], 0
        while at < len(content):
            width, size = _varint(content, at) if length == "varint" else _fixed(content, at, length)
            size -= width * counts_itself
            if width and size < 0:
                found.append(Outcome(at, -1, "corrupt_record", content[at:] if len(content) - at <= most else b""))
                break
            end = at + width + size
            if not width or end > len(content):
                is_kept = len(content) - at <= most and size <= most
                found.append(Outcome(at, -1, "truncated_record", content[at:] if is_kept else b""))
                break
            found.append(Outcome(at, -1, "", content[at + width:end]) if size <= most else
                         Outcome(at, -1, "record_too_long", b""))
            at = end
        return found

    return read


def _fixed(content: bytes, at: int, length: str) -> tuple[int, int]:
    width = int(length[1:].rstrip("ble")) // 8
    return (width, int.from_bytes(content[at:at + width], "little" if length.endswith("le") else "big")) if (
        at + width <= len(content)) else (0, 0)


def _varint(content: bytes, at: int) -> tuple[int, int]:
    size = 0
    for index, byte in enumerate(content[at:at + 9]):
        size += (byte & 127) << 7 * index
        if byte < 128:
            return index + 1, size
    return (9, -1) if at + 9 <= len(content) else (0, 0)


_BINARY = [b"\0", b"\1", b"\5", b"ab", b"\n", b"x" * 17, b"\xff"]
FRAMINGS: dict[str, Framing] = {
    "csv": Framing({"framing": "csv"}, [b'"', b'""', b",", b"\n", b"\r\n", b"a", b"\0", b"x" * 17],
                   _csv(ord(","), ord('"'), False)),
    "csv with a header": Framing(
        {"framing": "csv", "header": "skip", "delimiter": ";", "quote": "'"},
        [b"'", b"''", b";", b"\n", b"\r\n", b'a"', b"x" * 17], _csv(ord(";"), ord("'"), True)),
    "multiline": Framing({"framing": "multiline", "record_start": "[0-9]|>"},
                         [b"1", b">", b" a", b"\n", b"\n", b"x" * 17], _multiline(b"[0-9]|>")),
    "json_array": Framing(
        {"framing": "json_array"},
        [b"[", b"]", b"{", b"}", b'"', b'"', b'\\"', b"\\", b",", b" ", b"\n", b"12", b"null", b":", b"x" * 17, b"{}",
         b'"a"', b'{"a":[1]}'], _json_array),
    "u8": Framing({"framing": "length_prefixed", "length": "u8"}, _BINARY, _length_prefixed("u8", False)),
    "u16le": Framing({"framing": "length_prefixed", "length": "u16le"}, [*_BINARY, b"\5\0", b"\2\0hi"],
                     _length_prefixed("u16le", False)),
    "u32be of all": Framing({"framing": "length_prefixed", "length": "u32be", "length_counts": "all"},
                            [*_BINARY, b"\0\0\0\5x", b"\0\0\0\x09hello"], _length_prefixed("u32be", True)),
    "varint": Framing({"framing": "length_prefixed", "length": "varint"}, [*_BINARY, b"\x85\0hello", b"\3foo"],
                      _length_prefixed("varint", False)),
}


class Blocks:
    """A stream of bytes that come in blocks of these sizes, over and over."""

    def __init__(self, content: bytes, sizes: Sequence[int], fault: Fault | None = None) -> None:
        self.fault: Fault | None = None
        self.note = ""
        self.consumed = 0
        self._content = content
        self._sizes = sizes
        self._number = 0
        self._last_fault = fault

    def read(self) -> bytes:
        """The next block."""
        size = self._sizes[self._number % len(self._sizes)]
        self._number += 1
        block = self._content[self.consumed:self.consumed + size]
        self.consumed += len(block)
        if not block:
            self.fault = self._last_fault
        return block

    def skip(self, count: int) -> int:
        """Pass over so many bytes."""
        passed = min(count, len(self._content) - self.consumed)
        self.consumed += passed
        return passed
