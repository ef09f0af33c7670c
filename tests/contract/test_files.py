"""The files source as its reader sees it: chunks that are the files, positions that survive, files put away."""

from __future__ import annotations

import gzip
import os
import re
import tracemalloc
import zlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Protocol

import msgspec
import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError
from actors.runtime.ledger import Ledger
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk
from actors.sources.files import OPTIONS, Files
from actors.sources.formats import GZIP, packing_of, refusal
from actors.sources.inflate import fingerprint
from tests.fakes import MemoryLedger
from tests.packing import PACKERS, SUFFIXES

BOM = b"\xef\xbb\xbf"
SAMPLE = Path(__file__).resolve().parents[2] / "../shared/data/appsinstalled-10k.tsv.gz"
BATCH = 256 * 1024
#: Faults that have a range and not its bytes.
WITHOUT_BYTES = ("line_too_long", "nul_hole")


class ReaderLedger(UnitLedger, Protocol):
    """A ledger, and what the reader does with it."""

    def issue(self, chunk: Chunk) -> object: ...

    def close(self, chunk: Chunk, counts: dict[str, int]) -> None: ...


def open_files(ledger: UnitLedger, pattern: Path | str, batch_bytes: int = BATCH, **options: object) -> Source:
    return msgspec.convert({"pattern": str(pattern), **options}, Files).open(ledger, batch_bytes, Path())


def read_all(source: Source) -> list[Chunk]:
    chunks = []
    while (chunk := source.read()) is not None:
        chunks.append(chunk)
    assert source.exhausted
    assert source.progress()[0] == source.progress()[1]
    source.close()
    return chunks


def data_of(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks)


def faults_of(chunks: list[Chunk]) -> list[str]:
    return [chunk.fault for chunk in chunks if chunk.fault]


def write(path: Path, content: bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    return path


def check(chunks: list[Chunk], content: bytes, base: int = 0) -> None:
    """The chunks are the content, without gaps, and each knows its place in it."""
    lead = len(BOM) if content.startswith(BOM) else 0
    assert data_of([filled(chunk, content, base) for chunk in chunks]) == content[lead:]
    position = base
    for chunk in chunks:
        assert chunk.start == position < chunk.end
        first_of_marked = lead if chunk.start == base else 0
        assert chunk.offset == chunk.start - base + first_of_marked
        assert chunk.line == 1 + content.count(b"\n", 0, chunk.offset)
        if chunk.data:
            assert chunk.end - chunk.start == len(chunk.data) + first_of_marked
            assert content[chunk.offset:chunk.offset + len(chunk.data)] == chunk.data
        position = chunk.end


def filled(chunk: Chunk, content: bytes, base: int = 0) -> Chunk:
    """A chunk, with its bytes if it is one that is known by its range alone."""
    assert chunk.fault not in WITHOUT_BYTES or chunk.data == b""
    if chunk.data:
        return chunk
    return msgspec.structs.replace(chunk, data=content[chunk.offset:chunk.end - base])


def is_whole(chunk: Chunk, content: bytes) -> bool:
    """Whether a chunk begins and ends where lines do."""
    end = chunk.offset + len(chunk.data)
    begins = chunk.offset in (0, len(BOM)) or content[chunk.offset - 1:chunk.offset] == b"\n"
    return begins and (chunk.data.endswith(b"\n") or end == len(content))


# What is matched, and in which order.


def test_files_are_read_by_name_across_folders(tmp_path: Path) -> None:
    for name in ("b/20170929000000.tsv", "a/20170929000200.tsv", "b/20170929000100.tsv.gz", "c/20170929000000.tsv"):
        write(tmp_path / name, name.encode())
    chunks = read_all(open_files(MemoryLedger(), tmp_path / "*/*.tsv", paths=[str(tmp_path / "*/*.gz")]))
    assert [chunk.data.decode() for chunk in chunks] == [
        "b/20170929000000.tsv", "c/20170929000000.tsv", "b/20170929000100.tsv.gz", "a/20170929000200.tsv"]
    assert [chunk.source for chunk in chunks] == [str(tmp_path / chunk.data.decode()) for chunk in chunks]


def test_each_file_begins_where_the_one_before_ends(tmp_path: Path) -> None:
    contents = [b"one\ntwo\n", b"", b"three"]
    for number, content in enumerate(contents):
        write(tmp_path / f"{number}.tsv.gz", content)
    ledger = MemoryLedger()
    chunks = read_all(open_files(ledger, tmp_path / "*"))
    assert [(chunk.start, chunk.end, chunk.offset, chunk.line, chunk.data) for chunk in chunks] == [
        (0, 8, 0, 1, b"one\ntwo\n"), (8, 13, 0, 1, b"three")]
    assert [(unit.base, unit.end) for unit in ledger.units] == [(0, 8), (8, 8), (8, 13)]


def test_two_stars_walk_through_folders_and_match_files_alone(tmp_path: Path) -> None:
    for name in ("1.tsv", "a/2.tsv", "a/b.tsv/3.tsv", ".hidden/4.tsv"):
        write(tmp_path / name, b"x")
    ledger = MemoryLedger()
    names = [Path(chunk.source).name for chunk in read_all(open_files(ledger, tmp_path / "**/*.tsv"))]
    assert (names, ledger.problems) == (["1.tsv", "2.tsv", "3.tsv"], {})


def test_names_with_a_dot_in_front_are_never_matched(tmp_path: Path) -> None:
    write(tmp_path / ".1.tsv", b"x")
    for pattern in ("*", "*.tsv", ".*", ".1.tsv"):
        assert read_all(open_files(MemoryLedger(), tmp_path / pattern)) == []


def test_a_file_that_is_matched_twice_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "1.tsv", b"x")
    monkeypatch.chdir(tmp_path)
    source = open_files(MemoryLedger(), "*.tsv", paths=["./1.tsv", str(tmp_path / "1.tsv"), "?.tsv"])
    assert [chunk.source for chunk in read_all(source)] == ["1.tsv"]


def test_a_name_with_brackets_is_found_as_it_is(tmp_path: Path) -> None:
    path = write(tmp_path / "[1].tsv", b"x")
    assert len(read_all(open_files(MemoryLedger(), "", paths=[str(path)]))) == 1


def test_when_nothing_matches_the_source_is_exhausted_at_once(tmp_path: Path) -> None:
    for pattern in ("*.tsv", "1.tsv", "none/*/1.tsv"):
        ledger = MemoryLedger()
        source = open_files(ledger, tmp_path / pattern)
        assert source.exhausted
        assert source.read() is None
        assert (source.progress(), ledger.problems) == ((0, 0), {})


# What the chunks are.


@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz"])
@pytest.mark.parametrize("content", [
    b"one\n", b"one", b"one\r\ntwo\r\n", b"\n\n\n", BOM + b"one\ntwo", BOM + b"\n", b"\xef\xbb", b"\0\xff\n" * 1000,
], ids=["line", "no newline", "crlf", "empty lines", "bom", "bom and newline", "half a bom", "not text"])
@pytest.mark.parametrize("batch_bytes", [1, 5, 100, BATCH])
def test_the_chunks_are_the_content_cut_behind_newlines(
    tmp_path: Path, name: str, content: bytes, batch_bytes: int
) -> None:
    path = write(tmp_path / name, content)
    ledger = MemoryLedger()
    chunks = read_all(open_files(ledger, path, batch_bytes))
    check(chunks, content)
    assert all(is_whole(chunk, content) for chunk in chunks)
    assert all(len(chunk.data) <= batch_bytes or chunk.data.count(b"\n") <= 1 for chunk in chunks)
    assert ledger.units[0].end == len(content)


@pytest.mark.parametrize("content", [b"", BOM], ids=["empty", "nothing but a bom"])
@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz"])
def test_a_file_without_data_has_no_chunks_and_ends_where_it_begins(tmp_path: Path, name: str, content: bytes) -> None:
    path = write(tmp_path / name, content)
    ledger = MemoryLedger()
    assert read_all(open_files(ledger, path)) == []
    assert (ledger.units[0].base, ledger.units[0].end, ledger.problems) == (0, 0, {})


def test_a_byte_order_mark_counts_for_positions_and_is_not_data(tmp_path: Path) -> None:
    write(tmp_path / "1.tsv", b"12345\n")
    write(tmp_path / "2.tsv", BOM + b"one\ntwo\n")
    chunks = read_all(open_files(MemoryLedger(), tmp_path / "*", 4))
    assert [(chunk.start, chunk.end, chunk.offset, chunk.line, chunk.data) for chunk in chunks] == [
        (0, 6, 0, 1, b"12345\n"), (6, 13, 3, 1, b"one\n"), (13, 17, 7, 2, b"two\n")]


def test_a_line_longer_than_a_batch_makes_one_bigger_chunk(tmp_path: Path) -> None:
    content = b"short\n" + b"x" * 1000 + b"\nshort\n"
    path = write(tmp_path / "x.tsv.gz", content)
    chunks = read_all(open_files(MemoryLedger(), path, 100))
    assert [len(chunk.data) for chunk in chunks] == [6, 1001, 6]
    assert faults_of(chunks) == []


@pytest.mark.parametrize("batch_bytes", [1, 7, 10, 1000])
def test_a_line_longer_than_the_limit_is_one_fault_with_its_range_and_without_its_bytes(
    tmp_path: Path, batch_bytes: int
) -> None:
    content = b"a\n123456789\n" + b"x" * 24 + b"\nb\n" + b"y" * 11
    path = write(tmp_path / "x.tsv", content)
    chunks = read_all(open_files(MemoryLedger(), path, batch_bytes, max_line_bytes=10))
    check(chunks, content)
    found = [(chunk.fault, chunk.line, chunk.start, chunk.end, chunk.data, chunk.lines) for chunk in chunks
             if chunk.fault]
    assert found == [("line_too_long", 3, 12, 37, b"", 1), ("line_too_long", 5, 39, 50, b"", 0)]
    assert {chunk.detail for chunk in chunks if chunk.line == 3} == {
        "line 3 is longer than 10 bytes (max_line_bytes): the 25 bytes from byte 12 of the content on; its bytes are "
        "not kept; they are in the file"}


@pytest.mark.parametrize(("monster", "fault"), [
    ([b"x" * 1024 * 1024] * 50 + [b"\n"], "line_too_long"), ([bytes(1024 * 1024)] * 50, "nul_hole"),
    ([b"half a line", *[bytes(1024 * 1024)] * 50], "nul_hole"),
], ids=["a line", "NULs", "NULs within a line"])
def test_fifty_megabytes_without_a_newline_are_one_fault_in_bounded_memory(
    tmp_path: Path, monster: list[bytes], fault: str
) -> None:
    path = tmp_path / "x.tsv.gz"
    with gzip.open(path, "wb", 1) as file:
        file.writelines([b"before\n", *monster, b"after\n"])
    limit = 4 * 1024 * 1024
    source = open_files(MemoryLedger(), path, max_line_bytes=limit)
    tracemalloc.start()
    try:
        chunks = read_all(source)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    size = sum(map(len, monster))
    assert [(chunk.start, chunk.end, chunk.data, chunk.fault) for chunk in chunks] == [
        (0, 7, b"before\n", ""), (7, 7 + size, b"", fault), (7 + size, 13 + size, b"after\n", "")]
    assert peak < 3 * limit


def test_a_range_of_fifty_megabytes_that_was_on_its_way_is_the_same_fault_again_in_bounded_memory(
    tmp_path: Path
) -> None:
    path = tmp_path / "x.tsv.gz"
    for monster in ([b"x" * 1024 * 1024] * 50 + [b"\n"], [bytes(1024 * 1024)] * 50):
        with gzip.open(path, "wb", 1) as file:
            file.writelines([b"before\n", *monster, b"after\n"])
        ledger = MemoryLedger()
        source = open_files(ledger, path)
        first = [source.read(), source.read()]
        for chunk in first:
            assert chunk is not None
            ledger.issue(chunk)
        source.close()
        tracemalloc.start()
        try:
            again = read_all(open_files(ledger.reopened(), path))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert [(c.start, c.end, c.data, c.lines) for c in again[:2]] == [
            (c.start, c.end, c.data, c.lines) for c in first if c is not None]
        assert again[2].data == b"after\n" and peak < 48 * 1024 * 1024


@pytest.mark.parametrize(("content", "expected"), [
    (bytes(63) + b"a\n", [bytes(63) + b"a\n"]),
    (bytes(64) + b"a\n", ["nul_hole", b"a\n"]),
    (BOM + bytes(64) + b"a\n", ["nul_hole", b"a\n"]),
    (b"a\n" + bytes(511) + b"b\n", [b"a\n" + bytes(511) + b"b\n"]),
    (b"a\n" + bytes(512) + b"b\n", [b"a\n", "nul_hole", b"b\n"]),
    (b"a\nb" + bytes(4095) + b"c\n", [b"a\nb" + bytes(4095) + b"c\n"]),
    (b"a\nb" + bytes(4096) + b"c\n", [b"a\n", "nul_hole", b"c\n"]),
    (b"a\nb" + bytes(4096) + b"\nc\n", [b"a\n", "nul_hole", b"c\n"]),
    (b"a\n" + bytes(5000), [b"a\n", "nul_hole"]),
    (b"a\nb" + bytes(5000), [b"a\n", "nul_hole"]),
    (b"x" * 20_000 + bytes(5000) + b"a\n", ["line_too_long", b"a\n"]),
])
def test_a_hole_of_nuls_is_a_fault_from_its_least_size_on_and_a_line_begins_behind_it(
    tmp_path: Path, content: bytes, expected: list[bytes | str]
) -> None:
    path = write(tmp_path / "x", content)
    chunks = read_all(open_files(MemoryLedger(), path, rename="none", max_line_bytes=10_000))
    check(chunks, content)
    assert [chunk.fault or chunk.data for chunk in chunks] == expected


@pytest.mark.skipif(not SAMPLE.exists(), reason="the sample is not here")
def test_a_real_export_is_read_whole() -> None:
    content = gzip.decompress(SAMPLE.read_bytes())
    chunks = read_all(open_files(MemoryLedger(), SAMPLE, rename="none"))
    check(chunks, content)
    assert faults_of(chunks) == []
    assert all(is_whole(chunk, content) for chunk in chunks)


# What is wrong with a file.


def decodable(content: bytes) -> bytes:
    decoder = zlib.decompressobj(31)
    return decoder.decompress(content)


def test_a_gzip_cut_at_any_byte_gives_all_complete_lines_and_one_fault_with_the_rest(tmp_path: Path) -> None:
    content = b"".join(b"%d\t%d\n" % (number, number * 7919) for number in range(40))
    whole = gzip.compress(content, mtime=0)
    path = tmp_path / "x.tsv.gz"
    for cut in range(len(whole)):
        path.write_bytes(whole[:cut])
        ledger = MemoryLedger()
        chunks = read_all(open_files(ledger, path, 50))
        good = decodable(whole[:cut])
        complete = good[:good.rfind(b"\n") + 1]
        assert data_of([chunk for chunk in chunks if not chunk.fault]) == complete
        assert faults_of(chunks) == (["truncated_gzip"] if cut else [])
        if cut:
            rest = len(good) - len(complete)
            check(chunks, good)
            assert chunks[-1].end - chunks[-1].start == max(1, rest)
            assert ledger.units[0].end == chunks[-1].end


def test_a_damaged_gzip_gives_the_lines_before_the_damage_and_one_fault(tmp_path: Path) -> None:
    content = b"".join(b"%d\t%d\n" % (number, number * 7919) for number in range(4000))
    damaged = bytearray(gzip.compress(content))
    damaged[len(damaged) // 2:len(damaged) // 2 + 20] = b"\xff" * 20
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(damaged)
    ledger = MemoryLedger()
    chunks = read_all(open_files(ledger, path, 1000))
    assert faults_of(chunks) == ["corrupt_gzip"]
    assert "compressed byte" in chunks[-1].detail
    assert content.startswith(data_of(chunks)[:len(content) // 3])
    assert ledger.units[0].end == chunks[-1].end


def test_garbage_behind_a_gzip_leaves_it_whole(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\n") + b"garbage")
    write(tmp_path / "y.tsv", b"next\n")
    chunks = read_all(open_files(MemoryLedger(), tmp_path / "*"))
    assert [(chunk.start, chunk.end, chunk.offset, chunk.line, chunk.data, chunk.fault) for chunk in chunks] == [
        (0, 8, 0, 1, b"one\ntwo\n", ""), (8, 13, 0, 1, b"next\n", "")]


def test_zero_padding_behind_a_gzip_is_no_fault(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(b"one\n") + bytes(1000))
    assert [chunk.data for chunk in read_all(open_files(MemoryLedger(), path))] == [b"one\n"]


def test_a_truncated_gzip_that_begins_with_a_byte_order_mark_keeps_its_positions(tmp_path: Path) -> None:
    content = gzip.compress(BOM + b"one\ntwo\n", 0)
    path = tmp_path / "x.tsv.gz"
    for kept, expected in ((3, [(0, 3, b"")]), (5, [(0, 5, b"on")]), (8, [(0, 7, b"one\n"), (7, 8, b"t")])):
        path.write_bytes(content[:15 + kept])  # header, stored block, text
        chunks = read_all(open_files(MemoryLedger(), path))
        assert [(chunk.start, chunk.end, chunk.data) for chunk in chunks] == expected
        assert faults_of(chunks) == ["truncated_gzip"]


def test_text_under_a_name_that_ends_in_gz_is_one_fault_and_no_records(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(b"idfa\t1\n")
    chunks = read_all(open_files(MemoryLedger(), path))
    assert [(chunk.start, chunk.end, chunk.data, chunk.fault) for chunk in chunks] == [(0, 1, b"", "not_gzip")]


def test_a_truncated_gzip_within_a_line_that_is_too_long_ends_with_one_fault_for_that(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(b"a\n" + b"x" * 100, 0)[:15 + 27])
    chunks = read_all(open_files(MemoryLedger(), path, max_line_bytes=10))
    assert [(chunk.data, chunk.fault) for chunk in chunks] == [
        (b"a\n", ""), (b"", "truncated_gzip")]
    assert [(chunk.start, chunk.end) for chunk in chunks] == [(0, 2), (2, 27)]


# What cannot be read.


def test_what_cannot_be_opened_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    (tmp_path / "1.tsv").mkdir()
    os.mkfifo(tmp_path / "2.tsv")
    (tmp_path / "3.tsv").symlink_to("nowhere")
    gone = write(tmp_path / "4.tsv", b"x")
    write(tmp_path / ".5.tsv", b"x")
    write(tmp_path / "6.tsv", b"the rest")
    ledger = MemoryLedger()
    source = open_files(ledger, tmp_path / "*.tsv", paths=[str(tmp_path / "missing.tsv"), str(tmp_path / ".5.tsv")])
    gone.unlink()
    chunks = []
    while (chunk := source.read()) is not None:
        chunks.append(chunk.data)
    assert chunks == [b"the rest"]
    missing = "there is no such file (check the name; it may have been moved or deleted)"
    words = {
        "1.tsv": f"it is a directory (for the files in it, give {tmp_path}/1.tsv/*)",
        "2.tsv": "it is a pipe or a device, which cannot be read again after a crash (write it to a file first)",
        "3.tsv": missing, "4.tsv": missing, "missing.tsv": missing,
        ".5.tsv": "names that begin with a dot are finished files (rename it to load it again)",
    }
    assert ledger.problems == {
        str(tmp_path / name): f"cannot read {tmp_path / name}: {text}" for name, text in words.items()}


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may read everything")
def test_a_file_without_permission_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"x")
    path.chmod(0)
    ledger = MemoryLedger()
    assert read_all(open_files(ledger, path)) == []
    assert ledger.problems == {
        str(path): f"cannot read {path}: permission denied (run as a user who may read it)"}


def test_a_disk_that_fails_when_a_file_is_opened_is_reported_and_the_rest_goes_on(tmp_path: Path) -> None:
    failing = tmp_path / "1.tsv"
    failing.symlink_to("/proc/self/mem")  # a regular file; to read its first byte is an input/output error
    write(tmp_path / "2.tsv", b"the rest")
    ledger = MemoryLedger()
    assert data_of(read_all(open_files(ledger, tmp_path / "*"))) == b"the rest"
    assert ledger.problems == {str(failing): f"cannot read {failing}: input/output error"}


def break_open_file(path: Path) -> None:
    """Let every further read of an open file end in an input/output error."""
    (descriptor,) = [
        int(entry.name) for entry in Path("/proc/self/fd").iterdir() if os.path.realpath(entry) == str(path)]
    with open("/proc/self/mem", "rb") as memory:
        os.dup2(memory.fileno(), descriptor)


def test_a_disk_that_fails_within_a_file_ends_the_input_and_the_next_run_reads_the_rest(tmp_path: Path) -> None:
    content = b"".join(b"%d\n" % number for number in range(200_000))
    path = write(tmp_path / "1.tsv", content)
    write(tmp_path / "2.tsv", b"must not overtake\n")
    ledger = MemoryLedger()
    source = open_files(ledger, tmp_path / "*", 100_000)
    first = source.read()
    assert first is not None
    ledger.issue(first)
    ledger.close(first, {})
    break_open_file(path)
    chunks = [first]
    while (chunk := source.read()) is not None:
        chunks.append(chunk)
        ledger.issue(chunk)
        ledger.close(chunk, {})
    assert source.exhausted
    assert ledger.problems == {
        str(path): f"cannot read {path} beyond byte 262144: input/output error; "
                   "the input ends here for now, run again to read the rest"}
    assert ledger.units[0].end is None
    chunks += read_all(open_files(ledger.reopened(), tmp_path / "*", 100_000))
    check(chunks[:-1], content)
    assert chunks[-1].data == b"must not overtake\n"


# What changes while it is read.


def half_read(tmp_path: Path, ledger: MemoryLedger) -> tuple[Path, bytes, Source, list[Chunk]]:
    content = b"".join(b"%07d\n" % number for number in range(100_000))
    path = write(tmp_path / "x.tsv", content)
    source = open_files(ledger, path, 10_000)
    chunk = source.read()
    assert chunk is not None
    return path, content, source, [chunk]


@pytest.mark.parametrize(("change", "words", "kept"), [
    (lambda path: os.truncate(path, 400_000), "became shorter (from 800000 to 400000 bytes)", 400_000),
    (lambda path: os.truncate(path, 100), "became shorter (from 800000 to 100 bytes)", 262_144),
    (lambda path: path.write_bytes(path.read_bytes() + b"more\n"), "grew (from 800000 to 800005 bytes)", 800_005),
    (lambda path: os.utime(path, ns=(1, 1)), "was written to", 800_000),
    (lambda path: (path.unlink(), path.write_bytes(b"new")), "was replaced by another file", 800_000),
], ids=["shorter", "much shorter", "longer", "touched", "replaced"])
def test_a_file_that_changes_while_it_is_read_ends_where_it_ends_and_keeps_its_name(
    tmp_path: Path, change: Callable[[Path], object], words: str, kept: int
) -> None:
    ledger = MemoryLedger()
    path, content, source, chunks = half_read(tmp_path, ledger)
    change(path)
    while (chunk := source.read()) is not None:
        chunks.append(chunk)
    check(chunks, (content + b"more\n")[:kept])
    assert faults_of(chunks) == []
    assert ledger.units[0].end == kept
    text = (f"{path} {words} while it was loaded: what was read is loaded, the file keeps its name; "
            "run again to load it as it is now")
    assert ledger.problems.pop(str(path)) == text
    source.finished(ledger.units[0])
    assert path.exists() and ledger.problems == {str(path): text}
    source.close()


def test_a_file_that_is_replaced_after_it_was_read_keeps_its_name(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"old")
    ledger = MemoryLedger()
    source = open_files(ledger, path)
    read_all(source)
    os.replace(write(tmp_path / "new", b"new"), path)
    source.finished(ledger.units[0])
    assert path.read_bytes() == b"new"
    assert "was replaced by another file" in ledger.problems[str(path)]


def test_a_file_that_is_deleted_while_it_is_read_is_read_to_its_end(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    path, content, source, chunks = half_read(tmp_path, ledger)
    path.unlink()
    check(chunks + read_all(source), content)
    assert ledger.problems == {}
    source.finished(ledger.units[0])
    assert ledger.problems == {
        str(path): f"{path} is loaded but cannot be renamed to {tmp_path}/.x.tsv: no such file or directory "
                   "(rename it by hand, or make its folder writable and run again)"}


# What is put away.


def test_a_finished_file_gets_a_dot_and_takes_the_place_of_one_that_has_it(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv.gz", b"new")
    content = path.read_bytes()
    dotted = write(tmp_path / ".x.tsv.gz", b"old")
    ledger = MemoryLedger()
    source = open_files(ledger, path)
    read_all(source)
    assert path.exists(), "not before it is finished"
    source.finished(ledger.units[0])
    source.finished(ledger.units[0])
    assert not path.exists() and dotted.read_bytes() == content
    assert ledger.problems == {}


def test_a_finished_file_keeps_its_name_when_renaming_is_off(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"x")
    ledger = MemoryLedger()
    source = open_files(ledger, path, rename="none")
    read_all(source)
    source.finished(ledger.units[0])
    assert path.exists()


def test_a_file_that_cannot_be_renamed_is_reported(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"x")
    (tmp_path / ".x.tsv").mkdir()
    ledger = MemoryLedger()
    source = open_files(ledger, path)
    read_all(source)
    source.finished(ledger.units[0])
    assert path.exists()
    assert ledger.problems[str(path)].startswith(f"{path} is loaded but cannot be renamed to {tmp_path}/.x.tsv: is a ")


def known(path: Path, status: str, low: int, end: int | None) -> MemoryLedger:
    """A ledger that knows a file from an earlier run."""
    ledger = MemoryLedger()
    read_all(open_files(ledger, path, rename="none"))
    unit = ledger.units[0]
    unit.status, unit.low, unit.end = status, low, end
    return ledger


def test_a_file_that_was_loaded_before_a_crash_is_put_away_unread(tmp_path: Path) -> None:
    path = write(tmp_path / "1.tsv", b"12345678")
    write(tmp_path / "2.tsv", b"next")
    ledger = known(path, "loaded", 8, 8)
    source = open_files(ledger, tmp_path / "*")
    assert [chunk.data for chunk in read_all(source)] == [b"next"]
    assert not path.exists() and (tmp_path / ".1.tsv").exists()
    source.finished(ledger.units[0])
    assert ledger.problems == {}, "the reader may say so too"


def test_a_file_that_was_put_away_before_a_crash_is_so_and_no_problem(tmp_path: Path) -> None:
    path = write(tmp_path / "1.tsv", b"12345678")
    ledger = known(path, "loaded", 8, 8)
    path.rename(tmp_path / ".1.tsv")
    source = open_files(ledger, tmp_path / "*")
    source.finished(ledger.units[0])  # said by the reader, who cannot know
    assert read_all(source) == []
    assert ledger.problems == {}
    assert [entry.name for entry in tmp_path.iterdir()] == [".1.tsv"]


def test_a_new_file_under_the_name_of_one_put_away_before_a_crash_is_read(tmp_path: Path) -> None:
    path = write(tmp_path / "1.tsv", b"12345678")
    ledger = known(path, "loaded", 8, 8)
    path.rename(tmp_path / ".1.tsv")
    write(path, b"another")
    source = open_files(ledger, tmp_path / "*")
    source.finished(ledger.units[0])
    assert data_of(read_all(source)) == b"another"
    assert path.exists() and ledger.problems == {}


def test_a_loaded_file_may_be_put_away_before_its_turn_to_be_read(tmp_path: Path) -> None:
    path = write(tmp_path / "1.tsv", b"12345678")
    write(tmp_path / "2.tsv", b"next")
    ledger = known(path, "loaded", 8, 8)
    source = open_files(ledger, tmp_path / "*")
    source.finished(ledger.units[0])
    assert not path.exists() and (tmp_path / ".1.tsv").exists()
    assert data_of(read_all(source)) == b"next"
    assert ledger.problems == {}


def test_a_file_that_becomes_a_pipe_before_it_is_opened_is_not_waited_for(tmp_path: Path) -> None:
    path = write(tmp_path / "1.tsv", b"x")
    ledger = MemoryLedger()
    source = open_files(ledger, path)
    path.unlink()
    os.mkfifo(path)
    assert source.read() is None
    assert "it is a pipe or a device" in ledger.problems[str(path)]


def test_a_file_of_which_all_is_committed_is_not_read_again(tmp_path: Path) -> None:
    path = write(tmp_path / "x.tsv", b"12345678")
    assert read_all(open_files(known(path, "reading", 8, 8), path)) == []
    assert read_all(open_files(known(path, "reading", 8, None), path)) == []


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_file_that_this_run_has_settled_is_neither_read_nor_renamed(tmp_path: Path, status: str) -> None:
    path = write(tmp_path / "x.tsv", b"12345678")
    ledger = known(path, status, 8, 8)
    assert read_all(open_files(ledger, path)) == []
    assert path.exists() and ledger.problems == {}


def test_a_named_file_that_was_put_away_by_the_last_generation_is_not_missing(tmp_path: Path) -> None:
    write(tmp_path / ".x.tsv", b"x")
    ledger = MemoryLedger()
    assert read_all(open_files(ledger, "", paths=[str(tmp_path / "x.tsv")])) == []
    assert ledger.problems == {}


def test_progress_counts_the_bytes_on_disk(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.tsv.gz", os.urandom(300_000))
    total = sum(path.stat().st_size for path in tmp_path.iterdir())
    source = open_files(MemoryLedger(), tmp_path / "*", 1000)
    seen = [source.progress()]
    while source.read() is not None:
        seen.append(source.progress())
    assert seen == sorted(seen)
    assert (seen[0], source.progress()) == ((0, total), (total, total))
    assert len({done for done, _ in seen}) > 3


# What survives a crash.

LINES = st.lists(st.binary(max_size=12) | st.sampled_from([b"", b"\r", b"x" * 40]), max_size=25)
CONTENTS = st.builds(
    lambda mark, lines, end: mark + b"\n".join(lines) + end,
    st.sampled_from([b"", BOM]), LINES, st.sampled_from([b"", b"\n", b"\r\n"])).filter(
        lambda content: not content.startswith(GZIP.magic))
#: Text with runs of NULs about the least sizes of a hole.
HOLED = st.builds(
    lambda mark, parts: mark + b"".join(parts), st.sampled_from([b"", BOM]),
    st.lists(st.one_of(st.sampled_from([0, 1, 63, 64, 65, 511, 512, 4095, 4096, 4097, 9000]).map(bytes),
                       st.sampled_from([b"a\n", b"\n", b"half", b"\n\n", b"x" * 30]), LINES.map(b"\n".join)),
             max_size=9)).filter(lambda content: not content.startswith(GZIP.magic))
#: (batch_bytes, chunks read, chunks closed at most) of each generation that crashes
CRASHES = st.lists(st.tuples(st.integers(1, 60), st.integers(0, 8), st.integers(0, 8)), max_size=4)


def generation(source: Source, ledger: ReaderLedger, most: int, closed: int) -> tuple[list[Chunk], int]:
    """Read as one generation of a reader does; return what it issued, and how much of that was closed."""
    chunks: list[Chunk] = []
    while len(chunks) < most and (chunk := source.read()) is not None:
        ledger.issue(chunk)
        chunks.append(chunk)
    for chunk in chunks[:closed]:
        ledger.close(chunk, {})
    source.close()
    return chunks, min(closed, len(chunks))


def read_with_crashes(
    path: Path, ledger: MemoryLedger, crashes: list[tuple[int, int, int]], **options: object
) -> list[Chunk]:
    """Return the chunks in the order of input; assert that what was issued is cut again exactly so."""
    chunks: list[Chunk] = []
    pending: list[Chunk] = []
    for batch_bytes, most, closed in [*crashes, (33, 1_000_000, 1_000_000)]:
        issued, done = generation(open_files(ledger, path, batch_bytes, **options), ledger, most, closed)
        both = min(len(pending), len(issued))
        assert issued[:both] == pending[:both]
        chunks += issued[:done]
        pending = issued[done:] + pending[len(issued):]
        ledger = ledger.reopened()
    assert pending == []
    return chunks


def parts_of(content: bytes) -> list[bytes]:
    """The lines of a content, those with a hole up to its end: by another way than the code goes."""
    parts: list[bytes] = []
    rest = content
    while rest:
        begin = rb"\0{64,}\n?" if not parts else rb"\0{512,}\n?"
        found = re.match(begin, rest) or re.match(rb"[^\n]*?\0{4096,}\n?|[^\n]*\n|[^\n]+", rest)
        assert found is not None
        parts.append(found[0])
        rest = rest[found.end():]
    return parts


def fault_of(part: bytes, is_first: bool, max_line_bytes: int) -> str:
    """What a part is, if it is no line."""
    hole = re.search(rb"\A\0{64,}|\0{4096,}" if is_first else rb"\A\0{512,}|\0{4096,}", part)
    if len(part if hole is None else part[:hole.start()]) > max_line_bytes:
        return "line_too_long"
    return "" if hole is None else "nul_hole"


@given(CONTENTS | HOLED, CRASHES, st.sampled_from(["x.tsv", "x.tsv.gz"]), st.integers(0, 100),
       st.sampled_from([7, 20, 1000, 6000]))
@example(BOM + bytes(4095) + b"a\n", [(1, 1, 1)], "x.tsv", 0, 7)  # the hole and the mark are more than a page
@settings(max_examples=400, deadline=None)
def test_whatever_the_crashes_the_chunks_are_the_file_and_recorded_ranges_are_kept(
    content: bytes, crashes: list[tuple[int, int, int]], name: str, member: int, max_line_bytes: int
) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_bytes(content)
        if path.suffix == ".gz":
            path.write_bytes(gzip.compress(content[:member]) + gzip.compress(content[member:]))
        ledger = MemoryLedger()
        chunks = read_with_crashes(path, ledger, crashes, max_line_bytes=max_line_bytes)
    if content == BOM:
        assert chunks == []
        return
    if refusal(content) or packing_of(content):
        assert data_of([chunk for chunk in chunks if not chunk.fault]) == b""  # it has no lines
        return
    check(chunks, content)
    assert sum(chunk.lines for chunk in chunks) == content.count(b"\n")
    parts = parts_of(content.removeprefix(BOM))
    assert [(filled(chunk, content).data, chunk.fault) for chunk in chunks if chunk.fault] == [
        (part, fault_of(part, not at, max_line_bytes)) for at, part in enumerate(parts)
        if fault_of(part, not at, max_line_bytes)]
    good = [part for at, part in enumerate(parts) if not fault_of(part, not at, max_line_bytes)]
    assert data_of([chunk for chunk in chunks if not chunk.fault]) == b"".join(good)


@given(CONTENTS.filter(lambda content: len(content) > 3 and not refusal(content) and not packing_of(content)), CRASHES,
       st.integers(1, 10_000), st.sampled_from([*PACKERS, "stored"]))
@settings(max_examples=400, deadline=None)
def test_whatever_the_crashes_a_truncated_file_gives_the_same_lines_and_one_fault(
    content: bytes, crashes: list[tuple[int, int, int]], cut: int, packing: str
) -> None:
    whole = gzip.compress(content, 0) if packing == "stored" else PACKERS[packing](content)
    packing = "gzip" if packing == "stored" else packing
    with TemporaryDirectory() as folder:
        path = Path(folder, f"x.tsv{SUFFIXES[packing]}")
        path.write_bytes(whole[:1 + cut % (len(whole) - 1)])
        ledger = MemoryLedger()
        straight = read_all(open_files(ledger, path, 33, max_line_bytes=20))
        assume(not ledger.problems)  # what is left of it may look like something else than lines
        chunks = read_with_crashes(path, MemoryLedger(), crashes, max_line_bytes=20)
    assert data_of(chunks) == data_of(straight)
    assert chunks[-1] == straight[-1]
    assert [fault for fault in faults_of(chunks) if fault != "line_too_long"] == [f"truncated_{packing}"]
    assert chunks[-1].fault == f"truncated_{packing}"


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", ["x.tsv", "x.tsv.gz", "cut.tsv.gz"])
def test_a_file_of_many_blocks_resumes_the_same(tmp_path: Path, name: str, seed: int) -> None:
    chance = Random(seed)
    content = b"".join(chance.randbytes(chance.choice([3, 300, 300, 150_000])).replace(b"\n", b"") + b"\n"
                       for _ in range(80))
    path = write(tmp_path / name, content)
    if name.startswith("cut"):
        path.write_bytes(path.read_bytes()[:-1000])
        content = content.removesuffix(content[len(decodable(path.read_bytes())):])
    crashes = [(chance.choice([20_000, 70_000, BATCH]), chance.randrange(20), chance.randrange(9)) for _ in range(6)]
    chunks = read_with_crashes(path, MemoryLedger(), crashes, max_line_bytes=100_000)
    check(chunks, content)
    assert faults_of(chunks).count("truncated_gzip") == name.startswith("cut")


@given(CONTENTS, CRASHES)
@settings(max_examples=30, deadline=None)
def test_whatever_the_crashes_the_ledger_on_disk_resumes_the_same(
    content: bytes, crashes: list[tuple[int, int, int]]
) -> None:
    with TemporaryDirectory() as folder:
        path = write(Path(folder, "x.tsv.gz"), content)
        chunks: list[Chunk] = []
        for batch_bytes, most, closed in [*crashes, (33, 1_000_000, 1_000_000)]:
            ledger = Ledger(Path(folder, "ledger"), "a run")
            issued, done = generation(open_files(ledger, path, batch_bytes), ledger, most, closed)
            chunks += issued[:done]
            ledger.close_file()
    if content != BOM:
        check(chunks, content)


def test_a_file_that_lost_what_was_issued_gives_it_as_faults_in_the_same_ranges(tmp_path: Path) -> None:
    path = tmp_path / "x.tsv.gz"
    path.write_bytes(gzip.compress(b"one\ntwo\nthree\n", 0))
    ledger = MemoryLedger()
    generation(open_files(ledger, path, 5), ledger, 3, 1)
    ledger.units[0].end = None
    path.write_bytes(gzip.compress(b"one\nt", 0))
    with path.open("rb", buffering=0) as file:
        ledger.units[0].fingerprint = fingerprint(file)
    chunks = read_all(open_files(ledger, path, 5))
    assert [(chunk.start, chunk.end, chunk.data, chunk.fault) for chunk in chunks] == [
        (4, 8, b"t", "file_changed"), (8, 14, b"", "file_changed")]
    assert chunks[0].detail == ("4 bytes were read here before and 1 are left: "
                                "the file was changed between two runs")
    assert ledger.units[0].end == 14


# What the options say.


def test_a_source_that_is_stopped_reads_no_further_and_leaves_the_rest_for_the_next_run(tmp_path: Path) -> None:
    first = write(tmp_path / "a.txt", b"".join(b"%d\n" % number for number in range(1000)))
    write(tmp_path / "b.txt", b"x\n")
    ledger = MemoryLedger()
    source = open_files(ledger, tmp_path / "*.txt", 500)
    chunk = source.read()
    assert chunk is not None
    source.stop()
    assert source.read() is None
    assert source.exhausted
    source.close()
    assert [(unit.status, unit.end) for unit in ledger.units] == [("reading", None)]
    ledger.issue(chunk)
    ledger.close(chunk, {})
    again = open_files(ledger.reopened(), tmp_path / "*.txt", 500)
    assert data_of([chunk, *read_all(again)]) == first.read_bytes() + b"x\n"


def test_a_source_that_is_stopped_before_it_reads_gives_what_was_on_its_way_before(tmp_path: Path) -> None:
    write(tmp_path / "a.txt", b"1\n2\n3\n")
    write(tmp_path / "b.txt", b"4\n5\n")
    write(tmp_path / "c.txt", b"6\n")
    ledger = MemoryLedger()
    source = open_files(ledger, tmp_path / "*.txt", 2)
    for _ in range(4):
        chunk = source.read()
        assert chunk is not None
        ledger.issue(chunk)
    source.close()
    again = open_files(ledger.reopened(), tmp_path / "*.txt", 100)
    again.stop()
    assert [chunk.data for chunk in iter(again.read, None)] == [b"1\n", b"2\n", b"3\n", b"4\n"]
    assert again.exhausted
    again.close()


def test_the_options_describe_themselves() -> None:
    assert OPTIONS is Files
    assert Files(pattern="data/*.tsv.gz").describe() == "files data/*.tsv.gz"
    assert Files(pattern="", paths=["a", "b", "c", "d", "e"]).describe() == "files a, b, c and 2 more"
    assert "\n" not in Files.guarantee


def test_options_without_any_file_are_a_configuration_error() -> None:
    with pytest.raises(ConfigError, match=r"^the files source has nothing to read: pattern is empty and so is paths"):
        Files(pattern="").open(MemoryLedger(), BATCH, Path())


@pytest.mark.parametrize("values", [{"patern": "x"}, {"pattern": "x", "rename": "move"}, {"max_line_bytes": 0}])
def test_unknown_and_impossible_options_are_refused(values: dict[str, object]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert(values, Files)


@pytest.mark.parametrize("packed", [False, True])
def test_a_file_system_that_gives_less_than_it_says_makes_the_file_fail(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool) -> None:
    content = b"".join(b"line %d\n" % number for number in range(40_000))
    write(tmp_path / "a", gzip.compress(content) + gzip.compress(content) if packed else content)
    ledger = MemoryLedger()
    whole = os.stat(tmp_path / "a").st_size
    source = open_files(ledger, tmp_path / "a")
    less = len(gzip.compress(content)) if packed else 100_000

    class Short(FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            return super().read(max(0, min(size or 0, less - self.tell()))) or b""

    monkeypatch.setattr("actors.sources.inflate.FileIO", Short)
    read_all(source)
    (unit,) = ledger.units
    assert unit.damage == (
        f"its end came after {less} of its {whole} bytes: the file system has given less than it says that there is")
