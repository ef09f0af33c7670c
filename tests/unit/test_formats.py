"""Files that are neither text nor gzip: what can be unpacked is read, and everything else is refused by its name."""

from __future__ import annotations

import bz2
import io
import lzma
import random
import zipfile
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from actors.sources.files import Files
from actors.sources.inflate import byte_stream
from actors.sources.streams import INPUT_BYTES, Fault
from tests.fakes import MemoryLedger

TEXT = b"".join(b"line %d\n" % number for number in range(50_000))
Pack = Callable[[bytes], bytes]
PACKERS: dict[str, Pack] = {"xz": lzma.compress, "bzip2": bz2.compress}


def read(path: Path, content: bytes) -> tuple[bytes, Fault | None, str]:
    path.write_bytes(content)
    with open(path, "rb", buffering=0) as file:
        stream = byte_stream(file, str(path))
        return b"".join(iter(stream.read, b"")), stream.fault, stream.note


def archive(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("x.tsv", data)
    return made.getvalue()


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.parametrize("name", ["x.tsv", "x.gz"])
def test_xz_and_bzip2_are_known_by_their_content_and_read_whole(tmp_path: Path, packing: str, name: str) -> None:
    pack = PACKERS[packing]
    assert read(tmp_path / name, pack(TEXT)) == (TEXT, None, "")
    assert read(tmp_path / name, pack(TEXT) + pack(b"") + bytes(64) + pack(b"more\n")) == (TEXT + b"more\n", None, "")
    assert read(tmp_path / name, pack(b"")) == (b"", None, "")


@pytest.mark.parametrize("packing", PACKERS)
def test_xz_and_bzip2_that_are_cut_are_truncated_wherever(tmp_path: Path, packing: str) -> None:
    pack = PACKERS[packing]
    first, second = pack(TEXT[:3000]), pack(TEXT[:2000])
    for cut in (len(first) - 1, len(first) // 2, len(first) + 1, len(first) + 5, len(first) + 9, len(first) + 40):
        got, fault, _ = read(tmp_path / "x", (first + second)[:cut])
        assert TEXT.startswith(got[:3000])
        assert fault is not None and fault.reason == f"truncated_{packing}", cut


@pytest.mark.parametrize("packing", PACKERS)
def test_damage_in_xz_and_bzip2_is_a_fault_and_bytes_behind_them_are_a_note(tmp_path: Path, packing: str) -> None:
    pack = PACKERS[packing]
    content = bytearray(pack(random.Random(1).randbytes(3 * INPUT_BYTES)))
    content[len(content) // 2] ^= 0xff
    _, fault, _ = read(tmp_path / "x", bytes(content))
    assert fault is not None and fault.reason == f"corrupt_{packing}"
    got, fault, note = read(tmp_path / "x", pack(TEXT) + b"a signature")
    assert (got, fault) == (TEXT, None) and note.startswith(f"11 bytes behind the {packing} data")


@pytest.mark.parametrize(("content", "words"), [
    (b"\x28\xb5\x2f\xfdrest", "packed with zstd"), (b"\x04\x22\x4d\x18rest", "packed with lz4"),
    (archive(TEXT), "a zip archive"), (b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
    (TEXT.decode().encode("utf-16"), "text in UTF-16"), (TEXT.decode().encode("utf-16-le"), "iconv -f utf-16le"),
    (TEXT.decode().encode("utf-16-be"), "iconv -f utf-16be"), (TEXT.decode().encode("utf-32"), "text in UTF-32"),
])
def test_what_cannot_be_read_is_refused_by_its_name_and_keeps_its_own(
    tmp_path: Path, content: bytes, words: str
) -> None:
    path = tmp_path / "x.tsv"
    path.write_bytes(content)
    ledger = MemoryLedger()
    options = msgspec.convert({"pattern": str(path)}, Files)
    assert options.open(ledger, 1000, tmp_path).read() is None
    assert words.lower() in ledger.problems[str(path)].lower() and path.exists() and not ledger.units
    (problem,) = options.check(tmp_path)
    assert words.lower() in problem.lower()


@pytest.mark.parametrize("content", [b"", b"a", b"PK\n", b"a\0b\0c\n" * 2, b"\0" * 5000,
                                     b"BZh9 is a line\n", b"\xef\xbb\xbfx\n"])
def test_text_is_not_taken_for_another_format(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path / "x.tsv", content) == (content, None, "")
