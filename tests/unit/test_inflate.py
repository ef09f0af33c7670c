"""The bytes of plain and gzip files: all that can be had, and then exactly what is wrong."""

from __future__ import annotations

import gzip
import os
import random
import tempfile
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from io import FileIO
from itertools import accumulate
from pathlib import Path

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.runtime.progress import listen
from actors.sources.formats import packing_of, refusal
from actors.sources.inflate import (
    byte_stream,
    change_of,
    fingerprint,
    identity_of,
    open_regular,
)
from actors.sources.streams import BLOCK_BYTES, INPUT_BYTES, ByteStream, Fault
from tests.fakes import Signs

TEXT = b"".join(b"idfa\t%d\t%d\n" % (number * 7919 % 1009, number) for number in range(60))


@contextmanager
def stream_of(content: bytes, name: str = "x.gz") -> Iterator[ByteStream]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "file")
        path.write_bytes(content)
        with open(path, "rb", buffering=0) as file:
            yield byte_stream(file, name)


def rest_of(stream: ByteStream) -> bytes:
    return b"".join(iter(stream.read, b""))


def read_all(content: bytes, name: str = "x.gz") -> tuple[bytes, Fault | None]:
    with stream_of(content, name) as stream:
        return rest_of(stream), stream.fault


def decodable(content: bytes) -> bytes:
    """All that zlib can decode of the first member, one byte in and one byte out at a time."""
    decoder = zlib.decompressobj(31)
    good = bytearray()
    try:
        for byte in content:
            data = bytes((byte,))
            while not decoder.eof and ((out := decoder.decompress(data, 1)) or decoder.unconsumed_tail):
                good += out
                data = decoder.unconsumed_tail
    except zlib.error:
        pass
    return bytes(good)


def members_of(*parts: bytes, level: int = 6) -> bytes:
    return b"".join(gzip.compress(part, level, mtime=0) for part in parts)


@pytest.mark.parametrize("content", [b"", b"a", TEXT, b"\x1f", random.Random(1).randbytes(2 * BLOCK_BYTES + 1)],
                         ids=["empty", "one byte", "text", "half a magic", "blocks"])
def test_a_plain_file_is_its_bytes(content: bytes) -> None:
    assert read_all(content, "x.tsv") == (content, None)


@pytest.mark.parametrize("name", ["x.gz", "x.GZ", "x.tsv", "x"])
def test_gzip_is_known_by_its_content_whatever_the_name(name: str) -> None:
    assert read_all(members_of(TEXT), name) == (TEXT, None)


@pytest.mark.parametrize("level", [0, 1, 6, 9])
def test_content_of_many_blocks_is_read_whole(level: int) -> None:
    content = random.Random(2).randbytes(BLOCK_BYTES) + bytes(3 * BLOCK_BYTES) + TEXT * 2000
    assert read_all(members_of(content, level=level)) == (content, None)


@given(st.lists(st.binary(max_size=300), max_size=8), st.integers(0, 9), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_members_follow_one_another_with_zero_padding_between_and_behind(
    parts: list[bytes], level: int, padding: int
) -> None:
    assume(not refusal(b"".join(parts)) and not packing_of(b"".join(parts)))
    content = b"".join(gzip.compress(part, level) + bytes(padding) for part in parts)
    assert read_all(content) == (b"".join(parts), None)


def test_members_and_padding_may_begin_anywhere_in_the_blocks_that_are_read() -> None:
    noise = random.Random(3).randbytes(INPUT_BYTES - 60)
    first = gzip.compress(noise, 0)
    for padding in range(80):
        assert read_all(first + bytes(padding) + members_of(TEXT)) == (noise + TEXT, None)
    assert read_all(first + bytes(3 * INPUT_BYTES)) == (noise, None)


def test_an_empty_file_named_gz_is_empty() -> None:
    assert read_all(b"") == (b"", None)


def test_a_gzip_cut_at_any_byte_gives_all_that_can_be_decoded_and_says_that_it_is_truncated() -> None:
    first, second = members_of(TEXT), members_of(TEXT[::-1])
    content = first + second
    for cut in range(len(content) + 1):
        got, fault = read_all(content[:cut])
        if cut <= len(first):
            assert got == decodable(first[:cut])
        else:
            assert got == TEXT + decodable(second[:cut - len(first)])
        if cut in (0, len(first), len(content)):
            assert fault is None
        else:
            assert fault is not None and fault.reason == "truncated_gzip" and f" {cut} " in f"{fault.detail} {cut} "


def test_the_detail_of_a_truncated_gzip_says_where_it_stops() -> None:
    _, fault = read_all(members_of(TEXT)[:100])
    assert fault == Fault("truncated_gzip", "the gzip data stop in the middle, after 100 compressed bytes; "
                          "the file was probably not copied to its end")


def test_a_gzip_with_any_one_byte_damaged_gives_all_that_can_be_decoded_before_it() -> None:
    content = members_of(TEXT)
    for at in range(len(content)):
        for flip in (1, 0x80):
            damaged = bytearray(content)
            damaged[at] ^= flip
            got, fault = read_all(bytes(damaged))
            if damaged[:2] != content[:2]:
                assert (got, fault and fault.reason) == (b"", "not_gzip")
                continue
            assert fault is None or fault.reason in ("corrupt_gzip", "truncated_gzip")
            assert got.startswith(decodable(bytes(damaged))) or fault is None
            assert fault is not None or got == TEXT, "damage to the data is noticed"


@pytest.mark.parametrize("seed", range(4))
def test_a_large_gzip_damaged_in_the_middle_gives_all_before_the_damage(seed: int) -> None:
    chance = random.Random(seed)
    text = b"".join(b"%d\t%d\n" % (chance.getrandbits(40), chance.getrandbits(40)) for _ in range(30_000))
    content = bytearray(members_of(text, level=1))
    at = chance.randrange(len(content) // 3, len(content) // 2)
    content[at:at + 40] = b"\xff" * 40  # no code of a deflate block is that long
    got, fault = read_all(bytes(content))
    assert fault is not None and fault.reason == "corrupt_gzip"
    assert got == decodable(bytes(content))
    assert text.startswith(got[:len(text) // 4])


def test_damage_in_a_later_member_keeps_the_members_before_it_and_names_the_compressed_byte() -> None:
    first, second = members_of(TEXT * 3), bytearray(members_of(TEXT))
    second[-8] ^= 1  # the checksum
    got, fault = read_all(first + bytes(second) + members_of(b"never looked for"))
    assert got == TEXT * 3 + TEXT
    assert fault is not None and fault.reason == "corrupt_gzip"
    assert f"between the compressed bytes {len(first)} and {len(first) + len(second)}, so that" in fault.detail
    assert "incorrect checksum" in fault.detail and fault.detail.endswith("nothing behind it was read")


@pytest.mark.parametrize("garbage", [b"x", b"garbage\n", b"\x1fx", b"\0\0x", b"x" * INPUT_BYTES, bytes(70_000) + b"x"])
def test_what_follows_the_last_member_and_is_not_gzip_leaves_the_file_whole_and_is_a_note(garbage: bytes) -> None:
    content = members_of(TEXT)
    with stream_of(content + garbage) as stream:
        assert (rest_of(stream), stream.fault) == (TEXT, None)
        assert stream.note.startswith(f"{len(garbage)} bytes behind the gzip data, from byte {len(content)} on, are no")
        assert f"begin with {garbage.lstrip(bytes(1))[:8].hex(' ')} and were not read" in stream.note


@pytest.mark.parametrize("zeros", [0, 1, 511, INPUT_BYTES, 3 * INPUT_BYTES])
def test_zeros_behind_the_last_member_leave_the_file_whole_and_are_a_note(zeros: int) -> None:
    content = members_of(TEXT)
    with stream_of(content + bytes(zeros)) as stream:
        assert (rest_of(stream), stream.fault) == (TEXT, None)
        assert stream.note == ((zeros and f"{zeros} zero bytes follow the gzip data, from byte {len(content)} on: they "
                               "are padding") or "")
        assert stream.consumed == len(content) + zeros


def test_a_name_that_ends_in_gz_over_other_content_is_a_fault_and_gives_no_bytes() -> None:
    assert read_all(b"idfa\t1\t2\n") == (b"", Fault(
        "not_gzip", "the name ends in .gz but the content is not gzip: it begins with 69 64 66 61 09 31 09 32, "
        "expected 1f 8b; if it is plain text, rename it without .gz"))


@given(st.lists(st.integers(0, 3 * BLOCK_BYTES), max_size=5), st.sampled_from(["plain", "gzip", "cut"]))
@settings(max_examples=60, deadline=None)
def test_to_skip_bytes_is_to_read_and_drop_them(skips: list[int], kind: str) -> None:
    text = (TEXT * 1000)[:2 * BLOCK_BYTES + 77]
    content = text if kind == "plain" else members_of(text[:BLOCK_BYTES], text[BLOCK_BYTES:])
    name = "x.tsv" if kind == "plain" else "x.gz"
    if kind == "cut":
        content = content[:-30]
    whole, fault = read_all(content, name)
    with stream_of(content, name) as stream:
        for before, after in zip([0, *accumulate(skips)], accumulate(skips), strict=False):
            assert stream.skip(after - before) == min(after, len(whole)) - min(before, len(whole))
        assert rest_of(stream) == whole[sum(skips):]
        assert stream.fault == fault
        assert stream.consumed == len(content)


def test_a_long_way_to_skip_shows_signs_of_progress() -> None:
    class Signs:
        given = 0

        def progress(self) -> None:
            self.given += 1

        def extend(self, seconds: float) -> None:
            raise AssertionError("no time was asked for")

    signs = Signs()
    listen(signs)
    try:
        with stream_of(gzip.compress(bytes(20 * BLOCK_BYTES))) as stream:
            stream.skip(19 * BLOCK_BYTES)
    finally:
        listen(None)
    assert signs.given >= 19


def test_a_zip_bomb_is_read_in_bounded_memory() -> None:
    bomb = gzip.compress(bytes(64 * 1024 * 1024))
    with stream_of(bomb) as stream:
        tracemalloc.start()
        try:
            size = sum(map(len, iter(stream.read, b"")))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size == 64 * 1024 * 1024
    assert peak < 4 * BLOCK_BYTES


def test_a_damaged_zip_bomb_is_salvaged_in_bounded_memory() -> None:
    bomb = bytearray(gzip.compress(bytes(32 * 1024 * 1024)))
    bomb[-8] ^= 1
    with stream_of(bytes(bomb)) as stream:
        tracemalloc.start()
        try:
            size = sum(map(len, iter(stream.read, b"")))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert size == 32 * 1024 * 1024
    assert peak < 8 * BLOCK_BYTES


def test_a_fingerprint_is_of_the_first_and_last_bytes_and_the_size(tmp_path: Path) -> None:
    def of(content: bytes) -> str:
        path = tmp_path / "x"
        path.write_bytes(content)
        with open_regular(str(path)) as file:
            return fingerprint(file)

    middle = bytes(300_000)
    known = of(b"a" + middle + b"z")
    assert known == of(b"a" + middle + b"z")
    assert len({known, of(b"b" + middle + b"z"), of(b"a" + middle + b"y"), of(b"a" + middle[1:] + b"z"), of(b"")}) == 5


@pytest.mark.parametrize(("change", "words"), [
    (lambda path: path.write_bytes(b"longer than it was"), "grew (from 10 to 18 bytes)"),
    (lambda path: path.write_bytes(b"short"), "became shorter (from 10 to 5 bytes)"),
    (lambda path: os.utime(path, ns=(1, 1)), "was written to"),
    (lambda path: (path.rename(path.with_name("old")), path.write_bytes(b"new")), "was replaced by another file"),
    (lambda path: path.read_bytes(), ""),
], ids=["longer", "shorter", "written", "replaced", "read"])
def test_what_happened_to_a_file_is_said(tmp_path: Path, change: object, words: str) -> None:
    assert callable(change)
    path = tmp_path / "x"
    path.write_bytes(b"0123456789")
    before = identity_of(path.stat())
    change(path)
    assert change_of(before, identity_of(path.stat())) == words


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    dotted = tmp_path / ".x"
    dotted.touch()
    for path, words in ((tmp_path, "it is a directory"), (pipe, "it is a pipe or a device"),
                        (dotted, "names that begin with a dot are finished files")):
        with pytest.raises(OSError, match=words):
            open_regular(str(path))
    plain = tmp_path / "x"
    plain.touch()
    with open_regular(str(plain)) as file:
        assert isinstance(file, FileIO)


def test_to_skip_much_of_a_gzip_file_shows_progress() -> None:
    signs = Signs()
    listen(signs)
    try:
        with stream_of(gzip.compress(bytes(8 * BLOCK_BYTES))) as stream:
            assert stream.skip(8 * BLOCK_BYTES) == 8 * BLOCK_BYTES
    finally:
        listen(None)
    assert signs.given >= 8
