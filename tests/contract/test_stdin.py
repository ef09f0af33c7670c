"""Standard input as its reader sees it: a pipe, a file, and what a reader that died had read of them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime.values import Chunk
from actors.sources.stdin import Stdin, StdinSource
from tests.fakes import MemoryLedger
from tests.packing import PACKERS


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        try:
            os.close(fd)
        except OSError:
            continue


def read(source: StdinSource, ledger: MemoryLedger, durable: bool = True) -> list[Chunk]:
    """All that there is now."""
    chunks = []
    while (chunk := source.read()) is not None:
        ledger.issue(chunk)
        if durable:
            ledger.close(chunk, {})
        chunks.append(chunk)
    return chunks


def test_lines_come_as_they_are_written_and_the_last_needs_no_newline(pipe: tuple[int, int]) -> None:
    ledger = MemoryLedger()
    source = StdinSource(Stdin(), ledger, 64, pipe[0])
    assert (source.wake, source.read(), source.exhausted) == (pipe[0], None, False)
    os.write(pipe[1], b"\xef\xbb\xbfone\ntw")
    assert [(c.start, c.end, c.offset, c.line, c.data) for c in read(source, ledger)] == [(0, 7, 3, 1, b"one\n")]
    assert source.active() == (1,)
    os.write(pipe[1], b"o\nthree")
    assert [c.data for c in read(source, ledger)] == [b"two\n"]
    os.close(pipe[1])
    assert [(c.start, c.end, c.line, c.data) for c in read(source, ledger)] == [(11, 16, 3, b"three")]
    assert source.exhausted
    assert (ledger.units[0].low, ledger.units[0].end) == (16, 16)
    assert source.active() == ()


@pytest.mark.parametrize(("monster", "fault"), [
    (b"x" * 25 + b"\n", "line_too_long"), (bytes(70), "nul_hole"), (b"half" + bytes(5000), "nul_hole"),
    (b"x" * 25 + bytes(5000) + b"\n", "line_too_long")])
def test_a_line_that_is_too_long_and_a_hole_are_one_fault_without_bytes_however_they_come(
    monster: bytes, fault: str
) -> None:
    for step in (1, 7, 100_000):
        ends = os.pipe()
        ledger = MemoryLedger()
        source = StdinSource(Stdin(max_line_bytes=10), ledger, 64, ends[0])
        content = monster + b"short\n" + bytes(9000) + b"last"
        chunks = []
        for at in range(0, len(content), step):
            os.write(ends[1], content[at:at + step])
            chunks += read(source, ledger)
        os.close(ends[1])
        chunks += read(source, ledger)
        os.close(ends[0])
        size = len(monster)
        assert [(c.start, c.end, c.data, c.fault) for c in chunks] == [
            (0, size, b"", fault), (size, size + 6, b"short\n", ""), (size + 6, size + 9006, b"", "nul_hole"),
            (size + 9006, size + 9010, b"last", "")]


@pytest.mark.parametrize("monster", [b"x" * 40_000_000 + b"\n", bytes(40_000_000), b"ab" + bytes(5000)])
def test_of_a_file_the_range_of_a_fault_without_bytes_is_the_same_again(tmp_path: Path, monster: bytes) -> None:
    path = tmp_path / "in"
    path.write_bytes(monster + b"last\n")
    ledger = MemoryLedger()
    with path.open("rb") as file:
        first = StdinSource(Stdin(), ledger, 1000, file.fileno()).read()
        assert first is not None and (first.end, first.data) == (len(monster), b"")
        ledger.issue(first)
        ledger = ledger.reopened()
        again = read(StdinSource(Stdin(), ledger, 100, file.fileno()), ledger)
    assert again[0] == first and [c.data for c in again[1:]] == [b"last\n"]


def test_what_a_reader_that_died_had_read_of_a_pipe_is_gone_and_that_is_said(pipe: tuple[int, int]) -> None:
    ledger = MemoryLedger()
    os.write(pipe[1], b"one\n")
    first = StdinSource(Stdin(), ledger, 4, pipe[0])
    read(first, ledger)
    os.write(pipe[1], b"two\n")
    read(first, ledger, durable=False)
    ledger = ledger.reopened()
    os.write(pipe[1], b"three\n")
    os.close(pipe[1])
    second = StdinSource(Stdin(), ledger, 64, pipe[0])
    assert [(c.start, c.end, c.data, c.fault) for c in read(second, ledger)] == [
        (4, 8, b"", "stdin_lost"), (8, 9, b"", "stdin_lost"), (9, 15, b"three\n", "")]
    assert second.exhausted


def test_what_was_on_its_way_when_all_of_a_pipe_was_read_is_said_to_be_gone_and_no_more(pipe: tuple[int, int]) -> None:
    ledger = MemoryLedger()
    os.write(pipe[1], b"one\ntwo\n")
    os.close(pipe[1])
    first = StdinSource(Stdin(), ledger, 4, pipe[0])
    assert len(read(first, ledger, durable=False)) == 2
    assert first.exhausted
    second = StdinSource(Stdin(), ledger.reopened(), 64, pipe[0])
    assert not second.exhausted
    assert [(c.start, c.end, c.data, c.fault) for c in read(second, ledger, durable=False)] == [
        (0, 4, b"", "stdin_lost"), (4, 8, b"", "stdin_lost")]
    assert second.exhausted


def test_of_a_file_nothing_is_lost(tmp_path: Path) -> None:
    path = tmp_path / "in"
    path.write_bytes(b"skipped\n" + b"0123456789\n" * 3)
    ledger = MemoryLedger()
    with path.open("rb") as file:
        os.lseek(file.fileno(), 8, os.SEEK_SET)  # somebody has read the first line
        first = StdinSource(Stdin(), ledger, 16, file.fileno())
        chunk = first.read()
        assert chunk is not None
        ledger.issue(chunk)
        ledger = ledger.reopened()
        second = StdinSource(Stdin(), ledger, 100, file.fileno())
        assert [(c.start, c.end, c.line) for c in read(second, ledger)] == [(0, 11, 1), (11, 33, 2)]
        assert second.progress() == (33, 33)


def test_to_stop_leaves_the_rest_in_the_pipe(pipe: tuple[int, int]) -> None:
    ledger = MemoryLedger()
    source = StdinSource(Stdin(), ledger, 64, pipe[0])
    os.write(pipe[1], b"one\n")
    source.stop()
    assert source.exhausted
    assert source.read() is None
    assert os.read(pipe[0], 64) == b"one\n"


@pytest.mark.parametrize(("content", "words"), [
    *((pack(b"one\n" * 3000), f"it is packed with {packing}, which is read from files only (")
      for packing, pack in PACKERS.items()),
    ("one\n".encode("utf-16") * 9, "text in UTF-16"), (b"PK\3\4" + bytes(9000), "a zip archive")])
@pytest.mark.parametrize("is_file", [False, True])
def test_what_is_not_lines_is_refused_by_its_name_before_any_of_it_is_handed_out(
    tmp_path: Path, pipe: tuple[int, int], content: bytes, words: str, is_file: bool
) -> None:
    path = tmp_path / "in"
    path.write_bytes(content)
    os.write(pipe[1], content)
    os.close(pipe[1])
    ledger = MemoryLedger()
    with path.open("rb") as file:
        source = StdinSource(Stdin(), ledger, 64, file.fileno() if is_file else pipe[0])
        assert read(source, ledger) == []
    assert words in ledger.problems["standard input"]
    assert source.exhausted and ledger.units[0].end == 0


@pytest.mark.parametrize("content", [b"", b"P", b"PK\n", b"\x1f", b"\n\x1f\x8b", b"x" * 9000,
                                     b"a\0b\0" * 3, b"one\n\xff\xfe\n"])
def test_what_may_be_lines_is_lines(pipe: tuple[int, int], content: bytes) -> None:
    ledger = MemoryLedger()
    source = StdinSource(Stdin(), ledger, 64, pipe[0])
    chunks = []
    for byte in content:
        os.write(pipe[1], bytes((byte,)))
        chunks += read(source, ledger)
    os.close(pipe[1])
    chunks += read(source, ledger)
    assert b"".join(chunk.data for chunk in chunks) == content and not ledger.problems
