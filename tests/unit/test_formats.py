"""Files that are neither text nor gzip: what can be unpacked is read, and everything else is refused by its name."""

from __future__ import annotations

import io
import lzma
import sqlite3
import sys
import tarfile
import zipfile
import zlib
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.runtime.extras import how_to_install
from actors.sources.files import Files
from actors.sources.inflate import byte_stream
from actors.sources.streams import Fault
from tests.fakes import MemoryLedger
from tests.packing import PACKERS, SUFFIXES

TEXT = b"".join(b"line %d\n" % number for number in range(3000))


OTHERS = ("xz", "bzip2", "zstd")


def read(path: Path, content: bytes) -> tuple[bytes, Fault | None, str]:
    path.write_bytes(content)
    with open(path, "rb", buffering=0) as file:
        stream = byte_stream(file, str(path))
        return b"".join(iter(stream.read, b"")), stream.fault, stream.note


@pytest.mark.parametrize("packing", OTHERS)
@pytest.mark.parametrize("name", ["x.tsv", "x.gz"])
def test_what_others_pack_with_is_known_by_its_content_and_read_whole(tmp_path: Path, packing: str, name: str) -> None:
    pack = PACKERS[packing]
    assert read(tmp_path / name, pack(TEXT)) == (TEXT, None, "")
    assert read(tmp_path / name, pack(TEXT) + pack(b"") + bytes(64) + pack(b"more\n")) == (TEXT + b"more\n", None, "")
    assert read(tmp_path / name, pack(b"")) == (b"", None, "")


def tar(data: bytes, form: int) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as packed:
        header = tarfile.TarInfo("logs/access.log")
        header.size = len(data)
        packed.addfile(header, io.BytesIO(data))
    return made.getvalue()


def archive(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as zipped:
        zipped.writestr("x.tsv", data)
    return made.getvalue()


def database(folder: Path) -> bytes:
    with closing(sqlite3.connect(folder / "made")) as made:
        made.execute("CREATE TABLE lines (line TEXT)")
    return (folder / "made").read_bytes()


OLD_TAR = bytearray(tar(TEXT, tarfile.USTAR_FORMAT))
OLD_TAR[257:265] = bytes(8)
OLD_TAR[148:156] = b"%06o\0 " % (sum(OLD_TAR[:148]) + 256 + sum(OLD_TAR[156:512]))
REFUSED = [
    (b"\x27\xb5\x2f\xfdrest", "packed with zstd of before 2016"), (b"\x04\x22\x4d\x18rest", "packed with lz4"),
    (b"\x50\x2a\x4d\x18\4\0\0\0\1\2\3\4\x04\x22\x4d\x18rest", "packed with lz4"),
    (archive(TEXT), "a zip archive"), (b"7z\xbc\xaf\x27\x1crest", "a 7z archive"),
    (tar(TEXT, tarfile.GNU_FORMAT), "a tar archive"), (tar(TEXT, tarfile.PAX_FORMAT), "a tar archive"),
    (bytes(OLD_TAR), "a tar archive"), (lzma.compress(TEXT, lzma.FORMAT_ALONE), "packed with lzma"),
    *((zlib.compress(TEXT, level), "packed with zlib") for level in (1, 5, 6, 9)),
    (b"PAR1\x15\4\x15\xb4", "a Parquet file"), (Path(sys.executable).resolve().read_bytes()[:9000], "a program"),
    (TEXT.decode().encode("utf-16"), "text in UTF-16"), (TEXT.decode().encode("utf-16-le"), "iconv -f utf-16le"),
    (b"\xfe\xff" + TEXT.decode().encode("utf-16-be"), "text in UTF-16"),
    (TEXT.decode().encode("utf-16-be"), "iconv -f utf-16be"), (TEXT.decode().encode("utf-32"), "text in UTF-32"),
]


def the_problem(folder: Path, content: bytes, name: str = "x.tsv") -> str:
    """What is reported, and said by ``check``, of a file that is not read."""
    path = folder / name
    path.write_bytes(content)
    ledger = MemoryLedger()
    options = msgspec.convert({"pattern": str(path)}, Files)
    assert options.open(ledger, 1000, folder).read() is None
    assert path.exists() and not ledger.units
    (problem,) = options.check(folder)
    (found,) = ledger.problems.values()
    assert found.removeprefix(f"cannot read {path}: ") in problem
    return found


@pytest.mark.parametrize(("content", "words"), REFUSED)
def test_what_cannot_be_read_is_refused_by_its_name_and_keeps_its_own(
    tmp_path: Path, content: bytes, words: str
) -> None:
    assert words in the_problem(tmp_path, content)
    for packing, pack in PACKERS.items():
        found = the_problem(tmp_path, pack(content), "x" + SUFFIXES[packing])
        assert (words in found and f", packed with {packing}," in found) or f"with {packing}" in found


def test_a_database_is_refused_by_its_name(tmp_path: Path) -> None:
    assert "an SQLite database" in the_problem(tmp_path, database(tmp_path))


@pytest.mark.parametrize("outer", PACKERS)
@pytest.mark.parametrize("inner", PACKERS)
def test_what_is_packed_twice_is_refused_by_both_names(tmp_path: Path, inner: str, outer: str) -> None:
    content = PACKERS[outer](b"") + PACKERS[outer](PACKERS[inner](TEXT))
    assert f"packed twice, with {inner} and then with {outer}" in the_problem(tmp_path, content, "x.gz")


@pytest.mark.parametrize("content", [
    b"", b"a", b"PK\n", b"a\0b\0c\n" * 2, b"\0" * 5000, b"BZh9 is a line\n", b"\xef\xbb\xbfx\n", b"PAR1234\n",
    b"x^2\n" * 99, "x\u0680 is Arabic\n".encode() * 9, b"]\0\0\n" * 99, b"(\xb5 is no letter\n", b"ORC\n",
    b"7z is a name\n", b"1234567" * 90, b"a\0" + b"1234567" * 90])
def test_text_is_not_taken_for_another_format(tmp_path: Path, content: bytes) -> None:
    assert read(tmp_path / "x.tsv", content) == (content, None, "")
    for packing, pack in PACKERS.items():
        assert read(tmp_path / f"x.tsv{SUFFIXES[packing]}", pack(content)) == (content, None, "")


@pytest.mark.parametrize("packing", PACKERS)
def test_a_name_that_promises_a_packing_over_what_is_none_is_a_fault_and_gives_no_bytes(
    tmp_path: Path, packing: str
) -> None:
    path = tmp_path / f"x.tsv{SUFFIXES[packing].upper()}"
    got, fault, _ = read(path, b"idfa\t1\t2\n")
    assert got == b"" and fault is not None and fault.reason == f"not_{packing}"
    assert f"the name ends in {SUFFIXES[packing]} but the content is not {packing}" in fault.detail
    assert read(path, b"") == (b"", None, "")
    got, fault, _ = read(path, PACKERS[packing](TEXT)[:1])
    assert got == b"" and fault is not None and fault.reason == f"truncated_{packing}"
    for other in PACKERS:
        assert read(path, PACKERS[other](TEXT)) == (TEXT, None, "")


def test_without_its_library_a_zstd_file_is_refused_by_a_command_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for library in ("zstandard", "compression.zstd"):
        monkeypatch.setitem(sys.modules, library, None)
    assert the_problem(tmp_path, PACKERS["zstd"](TEXT), "x.zst").endswith(
        f"it is packed with zstd, and the library that reads it is not installed ({how_to_install('zstd')})")
