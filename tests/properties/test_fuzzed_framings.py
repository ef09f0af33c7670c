"""A million bytes in each framing, good ones with mutations: nothing crashes, each record has the outcome that a plain
reading gives it, memory does not grow with a record, nor the work for a byte with the content.
"""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from actors.runtime.values import Chunk, Unit
from actors.sources.framings.cutter import RecordCutter
from tests.framings import FRAMINGS, Blocks, Framing, outcomes_of
from tests.growth import Work

UNITS, UNIT_BYTES = 40, 25_000
MOST = 700
#: So many blocks of 64 KiB are one record, which fits into no memory that it may have.
TIMES = 60
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)


def record(framing: Framing, chance: Random) -> bytes:
    """A good record."""
    text = bytes(chance.choices(b"abc \n019,;", k=chance.choice((0, 3, 20, 20, 300, 900))))
    match framing.options["framing"]:
        case "csv":
            quote = str(framing.options.get("quote", '"')).encode()
            return b"1" + str(framing.options.get("delimiter", ",")).encode() + quote + text + quote + b"\n"
        case "multiline":
            return b"2026 " + text.replace(b"\n", b"\n at ") + b"\n"
        case "json_array":
            return json.dumps({"a": [text.decode(), len(text), {"b": {"c": [[]]}}]}).encode() + b", "
    length = str(framing.options.get("length", "u32be"))
    size = len(text)
    if length == "varint":
        return bytes([size & 127 | 128, size >> 7]) + text
    if length == "u8":
        return bytes([len(text[:255])]) + text[:255]
    width = int(length[1:3]) // 8
    size += width if framing.options.get("length_counts") == "all" else 0
    return size.to_bytes(width, "little" if length.endswith("le") else "big") + text


def content_of(framing: Framing, seed: int) -> bytes:
    """A unit: good records, and in most of them a few that are none."""
    chance = Random(seed)
    made = [b"[" if framing.options["framing"] == "json_array" else b""]
    while sum(map(len, made)) < UNIT_BYTES:
        each = record(framing, chance)
        if chance.random() < (0, 0.002, 0.05)[seed % 3]:
            at = chance.randint(0, len(each))
            each = each[:at] + chance.choice((*framing.pieces, b"")) + each[at + chance.randint(0, 3):]
        made.append(each)
    return b"".join(made) + (b"]" if framing.options["framing"] == "json_array" else b"")


def cut(framing: Framing, stream: Any, batch: int, scanner: Any = None, most: int = MOST) -> list[Chunk]:
    unit = Unit(1, "unit", "", 0, 0, 0, None, "reading", {})
    cutter = RecordCutter(stream, unit, [], batch, scanner or framing.scanner(most))
    chunks = []
    while not cutter.finished:
        if (chunk := cutter.next()) is not None:
            chunks.append(chunk)
    return chunks


@each_framing
def test_a_million_bytes_have_the_outcomes_of_a_plain_reading(framing: Framing) -> None:
    reasons = set()
    for seed in range(UNITS):
        content = content_of(framing, seed)
        outcomes = outcomes_of(cut(framing, Blocks(content, [Random(seed).choice((100, 4096, 65536))]), 8192))
        assert outcomes == framing.read(content, MOST)
        reasons |= {outcome.reason for outcome in outcomes}
    assert len(reasons) > 1


class Endless:
    """So many times the same block."""

    def __init__(self, first: bytes, block: bytes, times: int, last: bytes) -> None:
        self.fault, self.note, self.consumed = None, "", 0
        self._blocks = iter([first, *([block] * times), last])

    def read(self) -> bytes:
        return next(self._blocks, b"")

    def skip(self, count: int) -> int:
        return 0


LONG: dict[str, tuple[str, bytes, bytes, bytes]] = {
    "a row": ("csv", b"1,", b"x" * 65536, b"\n2,3\n"),
    "a row in quotes": ("csv", b'1,"', b"x" * 65536, b'"\n2,3\n'),
    "a hole": ("csv", b"1,2\n", bytes(65536), b"2,3\n"),
    "a record of lines": ("multiline", b"1 a\n", (b" %b\n" % (b"x" * 200)) * 300, b"2 b\n"),
    "a record of one line": ("multiline", b"1 a", b"x" * 65536, b"\n2 b\n"),
    "a string": ("json_array", b'["', b"x" * 65536, b'", 2]'),
    "an object": ("json_array", b"[{", (b'"a": [1, "%b\\""], ' % (b"x" * 200)) * 300, b"}, 2]"),
    "white space": ("json_array", b"[1,", b" \n" * 32768, b" 2]"),
    "no array": ("json_array", b"{", (b'"a": [1, "%b\\""], ' % (b"x" * 200)) * 300, b"}"),
    "a length": ("u32be of all", (TIMES * 65536 + 4).to_bytes(4, "big"), b"x" * 65536, b"\0\0\0\x05a"),
    "no length": ("u32be of all", bytes(4), b"x" * 65536, b""),
}


@pytest.mark.parametrize(("name", "first", "block", "last"), LONG.values(), ids=LONG)
def test_memory_does_not_grow_with_a_record(name: str, first: bytes, block: bytes, last: bytes) -> None:
    tracemalloc.start()
    try:
        chunks = cut(FRAMINGS[name], Endless(first, block, TIMES, last), 8192)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 2_000_000
    assert sum(chunk.fault != "" for chunk in chunks) == (0 if block[:1] == b" " and name == "json_array" else 1)
    assert chunks[-1].end == len(first) + TIMES * len(block) + len(last)


class Counted:
    """A scanner that counts the bytes that it is given to look at."""

    def __init__(self, scanner: Any) -> None:
        self.__dict__["scanner"] = scanner
        self.__dict__["given"] = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.scanner, name)

    def __setattr__(self, name: str, value: object) -> None:
        setattr(self.scanner, name, value)

    def run(self, data: bytes, at: int, stop: int, *more: Any) -> Any:
        """As the scanner."""
        self.__dict__["given"] += stop - at
        return self.scanner.run(data, at, stop, *more)

    def look(self, data: bytes, at: int, stop: int, *more: Any) -> Any:
        """As the scanner."""
        self.__dict__["given"] += stop - at
        return self.scanner.look(data, at, stop, *more)


#: Contents that make a scanner look at what it has seen, if anything does: so many times the same.
HARD: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "every row opens a quote": ("csv", lambda size: b'"a\n' * (size // 3)),
    "every field has a quote too many": ("csv", lambda size: b'"a"b,"c"\n' * (size // 9)),
    "one quote, and rows of closed ones": ("csv", lambda size: b'"x\n' + b'"",""\n' * (size // 6)),
    "quotes that only open and escape": ("csv", lambda size: b'"""\n' * (size // 4)),
    "a quote now and then": ("csv", lambda size: (b'1,2\n' * 100 + b'"1,2\n') * (size // 405)),
    "nothing begins a record": ("multiline", lambda size: b" at\n" * (size // 4)),
    "everything begins a record": ("multiline", lambda size: b"1\n" * (size // 2)),
    "one line": ("multiline", lambda size: b"x" * size),
    "brackets in brackets": ("json_array", lambda size: b"[" + (b"[" * 90 + b"]" * 90 + b",") * (size // 181) + b"]"),
    "a long string": ("json_array", lambda size: b'["' + b'\\"' * (size // 2) + b'"]'),
    "commas": ("json_array", lambda size: b"[" + b"," * size + b"]"),
    "empty messages": ("varint", bytes),
    "messages that are too long": ("u16le", lambda size: (b"\x01\x04" + bytes(1025)) * (size // 1027)),
}


@pytest.mark.parametrize(("name", "make"), HARD.values(), ids=HARD)
def test_work_grows_with_the_content_and_no_faster(name: str, make: Callable[[int], bytes]) -> None:
    given, codes = [], []
    for size in (8_000, 16_000):
        content = make(size)
        scanner, work = Counted(FRAMINGS[name].scanner(256)), Work()
        with work.counted():
            cut(FRAMINGS[name], Blocks(content, [512]), 1024, scanner)
        given.append(scanner.given / len(content))
        codes.append(work.codes / len(content))
    assert codes[1] <= 1.2 * codes[0]
    assert given[1] <= 1.2 * given[0] + 1
