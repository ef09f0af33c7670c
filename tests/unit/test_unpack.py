"""What is packed with xz, bzip2 and zstd, of any number of members: the libraries that pack it are the oracle."""

from __future__ import annotations

import random
import tempfile
import tracemalloc
import zlib
from io import FileIO
from itertools import pairwise
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.sources.inflate import byte_stream
from actors.sources.streams import BLOCK_BYTES, INPUT_BYTES, Fault
from tests.packing import PACKERS, SUFFIXES, decodable

OTHERS = ("xz", "bzip2", "zstd")
TEXT = b"".join(b"idfa\t%d\t%d\n" % (number * 7919 % 1009, number) for number in range(60))
NOISE = random.Random(1).randbytes(3 * BLOCK_BYTES)
MIB = 1024 * 1024


class Pieces(FileIO):
    """A file that is read in pieces of these sizes, in turn: the borders of the blocks may be anywhere."""

    sizes: tuple[int, ...] = (INPUT_BYTES,)
    calls = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.calls += 1
        return super().read(min(INPUT_BYTES, self.sizes[self.calls % len(self.sizes)])) or b""


def read(content: bytes, *sizes: int, name: str = "x") -> tuple[bytes, Fault | None, str]:
    """All bytes, and what is said at the end."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(content)
        with Pieces(path) as file:
            file.sizes = sizes or file.sizes
            stream = byte_stream(file, name)
            got = b"".join(iter(stream.read, b""))
            assert stream.fault is not None or stream.note or stream.consumed == len(content)
            return got, stream.fault, stream.note


_PARTS = st.lists(st.integers(0, 3000).map(lambda size: TEXT[:size]), min_size=1, max_size=5)
_SIZES = st.lists(st.integers(1, 50), min_size=1, max_size=4)


@given(st.sampled_from(sorted(PACKERS)), _PARTS, st.integers(0, 9), st.sampled_from([b"", b"x", b"BZhx", b"\xfd7zY"]),
       _SIZES)
@settings(max_examples=300, deadline=None)
def test_members_follow_one_another_with_zeros_between_and_anything_behind_them(
    packing: str, parts: list[bytes], zeros: int, rest: bytes, sizes: list[int]
) -> None:
    content = b"".join(PACKERS[packing](part) + bytes(zeros) for part in parts)
    got, fault, note = read(content + rest, *sizes)
    assert (got, fault) == (b"".join(parts), None)
    if rest:
        assert note.startswith(f"{zeros + len(rest)} bytes behind the {packing} data, from byte {len(content) - zeros}")
        assert f"begin with {rest.hex(' ')}" in note
    else:
        assert note.startswith(f"{zeros} zero bytes follow the {packing} data") if zeros else not note


@given(st.sampled_from(OTHERS), _PARTS, st.integers(0, 100_000), _SIZES)
@settings(max_examples=300, deadline=None)
def test_a_file_cut_at_any_byte_gives_all_that_can_be_decoded_and_is_truncated(
    packing: str, parts: list[bytes], cut: int, sizes: list[int]
) -> None:
    members = [PACKERS[packing](part) for part in parts]
    ends = [0]
    for member in members:
        ends.append(ends[-1] + len(member))
    cut %= ends[-1] + 1
    content = b"".join(members)[:cut]
    got, fault, note = read(content, *sizes, name=f"x{SUFFIXES[packing]}")
    whole = [part for part, (_, end) in zip(parts, pairwise(ends), strict=True) if end <= cut]
    assert got == b"".join(whole) + decodable(packing, content[ends[len(whole)]:]) and not note
    if cut in ends:
        assert fault is None
    else:
        assert fault is not None and fault.reason == f"truncated_{packing}" and f"after {cut} comp" in fault.detail


@given(st.sampled_from(OTHERS), st.integers(0, 3000), st.integers(0, 100_000), st.integers(0, 7), _SIZES)
@settings(max_examples=500, deadline=None)
def test_a_bit_that_is_wrong_is_noticed_and_all_that_can_be_decoded_before_it_is_given(
    packing: str, size: int, at: int, bit: int, sizes: list[int]
) -> None:
    content = bytearray(PACKERS[packing](TEXT[:size]) + PACKERS[packing](TEXT[size:]))
    first = len(PACKERS[packing](TEXT[:size]))
    at %= len(content)
    content[at] ^= 1 << bit
    got, fault, note = read(bytes(content), *sizes, name=f"x{SUFFIXES[packing]}")
    if fault is None:
        assert got == TEXT or (note and got == TEXT[:size] and at >= first)  # it begins like nothing that is known
    else:
        assert fault.reason.removesuffix(packing) in ("truncated_", "corrupt_", "not_", "unsupported_")
        all_of_it = (TEXT[:size] if at >= first else b"") + decodable(packing, bytes(content[first * (at >= first):]))
        assert got == all_of_it or (packing == "zstd" and all_of_it.startswith(got))  # the damaged block is not given


@pytest.mark.parametrize("packing", OTHERS)
@pytest.mark.parametrize("seed", range(3))
def test_a_large_file_damaged_in_the_middle_gives_all_before_the_damage(packing: str, seed: int) -> None:
    text = NOISE[:200_000].hex("\n", 20).encode()
    content = bytearray(PACKERS[packing](text))
    at = random.Random(seed).randrange(len(content) // 3, len(content) // 2)
    content[at:at + 40] = b"\xff" * 40
    got, fault, _ = read(bytes(content))
    assert fault is not None and fault.reason == f"corrupt_{packing}"
    assert got == decodable(packing, bytes(content)) and text.startswith(got[:len(text) // 4])


@pytest.mark.parametrize(("packing", "at"), [("xz", -30), ("zstd", -1)])
def test_of_a_file_whose_checksum_is_wrong_every_byte_is_given(packing: str, at: int) -> None:
    content = bytearray(PACKERS[packing](NOISE))
    content[at] ^= 1
    got, fault, _ = read(bytes(content))
    assert got == NOISE and fault is not None and fault.reason == f"corrupt_{packing}"
    if packing == "zstd":
        assert f"between the compressed bytes 0 and {len(content)}, so that records" in fault.detail


@pytest.mark.parametrize("packing", OTHERS)
@pytest.mark.parametrize("damage", [0, 9])
def test_a_bomb_is_read_in_bounded_memory_damaged_or_not(packing: str, damage: int) -> None:
    size = 24 * MIB
    content = bytearray(PACKERS[packing](bytes(size)))
    if damage:
        content[-damage] ^= 1
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        path.write_bytes(content)
        with FileIO(path) as file:
            tracemalloc.start()
            try:
                stream = byte_stream(file, "x")
                got = sum(map(len, iter(stream.read, b"")))
                _, peak = tracemalloc.get_traced_memory()
            finally:
                tracemalloc.stop()
    assert (stream.fault is not None) == bool(damage)
    assert size - BLOCK_BYTES <= got <= size
    assert peak < {"xz": 12 * MIB, "bzip2": 2 * MIB, "zstd": 2 * MIB}[packing]  # the window of xz has 8 MiB


def test_an_xz_that_wants_too_much_memory_is_named_and_not_called_damaged() -> None:
    content = bytearray(PACKERS["xz"](TEXT))
    size = 4 * (content[12] + 1)  # of the header of the first block: its dictionary has 2 GiB from here on
    content[16] = 38
    content[12 + size - 4:12 + size] = zlib.crc32(content[12:12 + size - 4]).to_bytes(4, "little")
    assert read(bytes(content)) == (b"", Fault(
        "unsupported_xz", f"the xz data from compressed byte {len(content)} on are not read here: its decoder wants "
        "more than 256 MiB of memory (unpack it first, with xz -d)"), "")


# What zstd alone has.


def frame(data: bytes, window_log: int = 0, **options: bool) -> bytes:
    parameters = {"window_log": window_log} if window_log else {}
    given = zstandard.ZstdCompressionParameters.from_level(3, **parameters)
    made = zstandard.ZstdCompressor(compression_params=given).compressobj()
    return made.compress(data) + made.flush()


def skippable(data: bytes, number: int = 0) -> bytes:
    return bytes((0x50 + number,)) + b"\x2a\x4d\x18" + len(data).to_bytes(4, "little") + data


@pytest.mark.parametrize("size", [0, 5, 4090, 3 * INPUT_BYTES])
def test_frames_that_are_to_be_skipped_are_wherever_they_are(size: int) -> None:
    skip = skippable(bytes(size), size % 16)
    assert read(skip) == (b"", None, "")
    assert read(skip + frame(TEXT) + skip + skip + frame(TEXT) + skip) == (TEXT + TEXT, None, "")
    got, fault, _ = read(skip + frame(TEXT) + skip[:-1], name="x.zst")
    assert got == TEXT and fault is not None and fault.reason == "truncated_zstd"


def test_what_follows_a_frame_to_skip_and_is_no_zstd_is_named() -> None:
    got, fault, _ = read(skippable(bytes(5000)) + b"\x04\x22\x4d\x18rest")
    assert got == b"" and fault is not None and fault.reason == "unsupported_zstd"
    assert "begins with 04 22 4d 18 72 65 73 74, and is no zstd" in fault.detail


def test_a_window_that_takes_too_much_memory_is_named_and_what_is_before_it_is_read() -> None:
    assert read(frame(TEXT, 27)) == (TEXT, None, "")
    got, fault, _ = read(frame(TEXT) + frame(TEXT, 28))
    assert got == TEXT and fault is not None and fault.reason == "unsupported_zstd"
    assert "a window of 256 MiB, and no more than 128 MiB is used (unpack the file, with zstd -d --lo" in fault.detail


def test_a_dictionary_that_is_needed_is_named() -> None:
    trained = zstandard.train_dictionary(2000, [b"line %d of a log\n" % number * 3 for number in range(2000)])
    got, fault, _ = read(zstandard.ZstdCompressor(dict_data=trained).compress(TEXT))
    assert got == b"" and fault is not None and fault.reason == "unsupported_zstd"
    assert f"they need the dictionary {trained.dict_id()} (" in fault.detail


@pytest.mark.parametrize("block", [b"\7\0\0", b"\xff\xff\xff", (128 * 1024 + 1 << 3 | 1).to_bytes(3, "little")])
def test_a_block_that_cannot_be_is_damage_and_is_not_waited_for(block: bytes) -> None:
    head = b"\x28\xb5\x2f\xfd\0\x88"
    got, fault, _ = read(head + block + bytes(300_000))
    assert got == b"" and fault is not None and fault.reason == "corrupt_zstd" and "a block " in fault.detail


@pytest.mark.parametrize("tool", ["threads", "flushes", "no size", "no checksum", "incompressible", "long"])
def test_what_tools_write_is_read_whole(tool: str) -> None:
    text = TEXT * 2000
    if tool == "flushes":
        made = zstandard.ZstdCompressor().compressobj()
        content = b"".join(made.compress(text[at:at + 777]) + made.flush(zstandard.COMPRESSOBJ_FLUSH_BLOCK)
                           for at in range(0, len(text), 777)) + made.flush()
    elif tool == "threads":
        content = zstandard.ZstdCompressor(threads=2, write_content_size=False).compress(text)
    elif tool == "incompressible":
        text = NOISE
        content = zstandard.compress(text)
    elif tool == "long":
        content = zstandard.ZstdCompressor(
            compression_params=zstandard.ZstdCompressionParameters(window_log=27, enable_ldm=True)).compress(text)
    else:
        content = zstandard.ZstdCompressor(write_content_size=tool != "no size").compress(text)
    assert read(content) == (text, None, "")
    assert read(content, 1000, 3, 1) == (text, None, "")
