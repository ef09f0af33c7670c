"""Headers of gzip members as any tool may write them: what zlib reads is read, and what it refuses is a fault."""

from __future__ import annotations

import random
import struct
import tempfile
import zlib
from io import FileIO
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.sources.gunzip import GzipStream
from actors.sources.streams import INPUT_BYTES, Fault

FHCRC, FEXTRA, FNAME, FCOMMENT = 2, 4, 8, 16
TEXT = b"".join(b"line %d\n" % number for number in range(50))


def member(
    data: bytes, flags: int = 0, extra: bytes = b"", name: bytes = b"", comment: bytes = b"",
    checksum: int | None = None,
) -> bytes:
    head = b"\x1f\x8b\x08" + bytes((flags,)) + struct.pack("<LBB", 1_700_000_000, 0, 255)
    if flags & FEXTRA:
        head += struct.pack("<H", len(extra)) + extra
    if flags & FNAME:
        head += name + b"\0"
    if flags & FCOMMENT:
        head += comment + b"\0"
    if flags & FHCRC:
        head += struct.pack("<H", zlib.crc32(head) & 0xffff if checksum is None else checksum)
    encoder = zlib.compressobj(6, zlib.DEFLATED, -15)
    body = encoder.compress(data) + encoder.flush()
    return head + body + struct.pack("<LL", zlib.crc32(data), len(data))


class Pieces(FileIO):
    """A file that is read in pieces of these sizes, in turn: the borders of the blocks may be anywhere."""

    sizes: tuple[int, ...] = (INPUT_BYTES,)
    calls = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.calls += 1
        return super().read(min(INPUT_BYTES, self.sizes[self.calls % len(self.sizes)])) or b""


def read_all(content: bytes, *sizes: int) -> tuple[bytes, Fault | None]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x.gz")
        path.write_bytes(content)
        with Pieces(path) as file:
            file.sizes = sizes or file.sizes
            stream = GzipStream(file)
            return b"".join(iter(stream.read, b"")), stream.fault


def by_zlib(content: bytes) -> bytes | None:
    """All members, as zlib reads them at one go; None: it refuses one, or one is cut."""
    whole = b""
    while content:
        decoder = zlib.decompressobj(31)
        try:
            whole += decoder.decompress(content)
        except zlib.error:
            return None
        if not decoder.eof:
            return None
        content = decoder.unused_data
    return whole


_TEXTS = st.binary(max_size=40).map(lambda text: text.replace(b"\0", b""))
_MEMBERS = st.builds(
    member, st.binary(max_size=200), st.integers(0, 31), st.binary(max_size=40), _TEXTS, _TEXTS,
    st.sampled_from([None, None, None, 77]))


@given(st.lists(_MEMBERS, min_size=1, max_size=4), st.lists(st.integers(1, 50), min_size=1, max_size=5))
@settings(max_examples=500, deadline=None)
def test_members_with_any_header_are_read_as_zlib_reads_them_wherever_the_blocks_end(
    members: list[bytes], sizes: list[int]
) -> None:
    content = b"".join(members)
    got, fault = read_all(content, *sizes)
    expected = by_zlib(content)
    assert (fault is None) == (expected is not None), fault
    assert expected is None or got == expected


@given(_MEMBERS, _MEMBERS, st.integers(0, 400), st.integers(0, 7), st.lists(st.integers(1, 50), min_size=1, max_size=3))
@settings(max_examples=500, deadline=None)
def test_a_bit_that_is_wrong_is_noticed_where_zlib_notices_it(
    first: bytes, second: bytes, at: int, bit: int, sizes: list[int]
) -> None:
    content = bytearray(first + second)
    at %= len(content)
    content[at] ^= 1 << bit
    if at in (0, 1, len(first), len(first) + 1):  # what does not begin like a member is none
        return
    got, fault = read_all(bytes(content), *sizes)
    expected = by_zlib(bytes(content))
    assert (fault is None) == (expected is not None), fault
    assert expected is None or got == expected


@pytest.mark.parametrize("flags", range(32))
def test_a_header_may_lie_over_every_border_of_a_block(flags: int) -> None:
    noise = random.Random(flags).randbytes(INPUT_BYTES - 400)
    second = member(TEXT, flags, b"BC\2\0\0\0" * 3, b"access.log", b"a comment")
    padding = INPUT_BYTES - len(member(noise)) - 70
    for more in range(0, 80):
        first = member(noise + b"x" * (padding + more))
        content = first + second + second
        assert read_all(content) == (by_zlib(content), None)


def test_fields_of_a_header_may_be_longer_than_a_block() -> None:
    flags = FHCRC | FEXTRA | FNAME | FCOMMENT
    content = member(TEXT, flags, b"e" * 65535, b"n" * 200_000, b"c" * 70_000)
    assert read_all(content + content) == (2 * TEXT, None)


@pytest.mark.parametrize(("header", "why"), [
    (b"\x1f\x8b\x07\0\0\0\0\0\0\xff", "unknown compression method 7"),
    (b"\x1f\x8b\x08\x20\0\0\0\0\0\xff", "unknown header flags set"),
    (member(b"", FHCRC, checksum=1)[:12], "incorrect checksum of its header"),
])
@pytest.mark.parametrize("before", [b"", member(TEXT)], ids=["the first member", "a later one"])
def test_what_begins_like_a_member_and_is_none_is_a_fault_that_says_why(before: bytes, header: bytes, why: str) -> None:
    got, fault = read_all(before + header + bytes(100))
    assert got == (TEXT if before else b"")
    assert fault == Fault("corrupt_gzip", "the gzip data are damaged at or shortly before compressed byte "
                          f"{len(before) + len(header)} ({why}); nothing behind it was read")


@pytest.mark.parametrize("cut", range(1, len(member(b"", 31, b"extra", b"name", b"comment"))))
def test_a_file_that_ends_in_a_later_member_is_truncated_also_in_its_header_and_trailer(cut: int) -> None:
    first, second = member(TEXT), member(b"", 31, b"extra", b"name", b"comment")
    got, fault = read_all(first + second[:cut])
    assert got == TEXT and fault is not None and fault.reason == "truncated_gzip"
    assert f"after {len(first) + cut} compressed bytes" in fault.detail


def test_a_length_that_is_wrong_is_a_fault() -> None:
    got, fault = read_all(member(TEXT)[:-4] + b"\1\0\0\0")
    assert got == TEXT and fault is not None and "incorrect length" in fault.detail
