"""The journal of what cannot be given again: what was accepted comes back, exactly, whatever happened to the file."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from contextlib import closing, contextmanager
from itertools import pairwise
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError, Fatal, Retryable
from actors.runtime.values import Chunk, Unit
from actors.sources.cutter import Cutter
from actors.sources.journal import Journal
from tests.fakes import MemoryLedger

FOLDER = "journal"


def opened(state: Path, ledger: MemoryLedger, batch_bytes: int = 100, segment_bytes: int = 1000,
           sync: bool = False) -> Journal:
    return Journal(state, FOLDER, ledger, batch_bytes, segment_bytes, sync)


def append(journal: Journal, ledger: MemoryLedger, *blocks: bytes) -> list[Chunk]:
    """What the reader does: each chunk is recorded before it goes on."""
    chunks = [journal.append(block) for block in blocks]
    for chunk in chunks:
        ledger.issue(chunk)
    return chunks


def left(journal: Journal) -> list[Chunk]:
    return list(iter(journal.left, None))


def segments(state: Path) -> list[Path]:
    return sorted((state / FOLDER).iterdir())


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """What is written beyond this size fails, after the part that fits."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("sync", [False, True])
def test_what_is_appended_is_on_disk_when_it_is_handed_out_and_knows_its_place(tmp_path: Path, sync: bool) -> None:
    ledger = MemoryLedger()
    with closing(opened(tmp_path, ledger, sync=sync)) as journal:
        first, second = append(journal, ledger, b"one\ntwo\n", b"three\n")
        (path,) = segments(tmp_path)
        assert path.read_bytes() == b"one\ntwo\nthree\n"
    assert (first.start, first.end, first.offset, first.line) == (0, 8, 0, 1)
    assert (second.start, second.end, second.offset, second.line) == (8, 14, 8, 3)
    assert first.source == f"{FOLDER}/{path.name}" == ledger.units[0].name
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_restart_gives_what_was_issued_in_the_same_ranges_and_then_what_was_not(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    first, second, third = append(opened(tmp_path, ledger), ledger, b"a\n" * 30, b"b\n" * 3, b"c\n" * 70)
    ledger.close(first, {})
    unissued = b"d\n" * 120
    with segments(tmp_path)[0].open("ab") as file:  # written, and then the reader died
        file.write(unissued)
    with closing(opened(tmp_path, ledger.reopened(), batch_bytes=100)) as journal:
        again = left(journal)
        assert again[:2] == [second, third]
        assert b"".join(chunk.data for chunk in again[2:]) == unissued
        assert [len(chunk.data) for chunk in again[2:]] == [100, 100, 40]
        assert again[0].start == first.end
        assert all(one.end == two.start for one, two in pairwise(again))


def test_new_data_goes_to_a_new_segment_behind_what_was_left(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger), ledger, b"old\n")
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger)) as journal:
        (old,) = left(journal)
        (new,) = append(journal, ledger, b"new\n")
    assert (old.end, new.start, new.unit) == (4, 4, old.unit + 1)
    assert [path.name[:7] for path in segments(tmp_path)] == ["000001-", "000002-"]
    with closing(opened(tmp_path, ledger.reopened())) as journal:
        assert left(journal) == [old, new]


def test_a_half_line_at_the_end_was_never_accepted(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger), ledger, b"whole\n")
    (path,) = segments(tmp_path)
    for torn in (b"hal", b"x" * 200_000):
        with path.open("ab") as file:
            file.write(torn)
        with closing(opened(tmp_path, ledger.reopened())) as journal:
            assert [chunk.data for chunk in left(journal)] == [b"whole\n"]
        assert path.read_bytes() == b"whole\n"


def test_a_segment_that_never_got_a_whole_line_ends_as_nothing(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    (tmp_path / FOLDER).mkdir()
    (tmp_path / FOLDER / "000007-0123456789abcdef.log").write_bytes(b"hal")
    with closing(opened(tmp_path, ledger)) as journal:
        assert left(journal) == []
        append(journal, ledger, b"a\n")
        assert [unit.end for unit in ledger.units] == [0, None]
    assert segments(tmp_path)[1].name.startswith("000008-")


def test_a_full_segment_is_ended_and_deleted_when_it_is_finished(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    with closing(opened(tmp_path, ledger, segment_bytes=10)) as journal:
        chunks = append(journal, ledger, b"12345\n", b"12345\n", b"1\n", b"123456789\n")
        assert [chunk.unit for chunk in chunks] == [1, 1, 2, 2]
        assert [unit.end for unit in ledger.units] == [12, 24]
        assert len(segments(tmp_path)) == 2
        journal.put_away(ledger.units[0])
        journal.put_away(ledger.units[0])
        (path,) = segments(tmp_path)
        assert path.name.startswith("000002-")
        journal.put_away(ledger.units[1])
    assert not (tmp_path / FOLDER).exists()


def test_a_unit_of_another_source_is_left_alone(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    with closing(opened(tmp_path, ledger)) as journal:
        other = tmp_path / FOLDER / "notes.txt"
        other.write_text("mine")
        for name in ("notes.txt", f"{FOLDER}/notes.txt", str(other)):
            journal.put_away(Unit(1, name, "", 0, 0, 0, None, "loaded", {}))
        assert other.read_text() == "mine"
        assert left(journal) == []


@pytest.mark.parametrize("status", ["done", "failed"])
def test_a_segment_whose_reader_died_before_it_was_deleted_is_deleted_and_not_read(tmp_path: Path, status: str) -> None:
    ledger = MemoryLedger()
    journal = opened(tmp_path, ledger)
    (chunk,) = append(journal, ledger, b"a\n")
    journal.end()
    ledger.close(chunk, {})
    ledger.units[0].status = status
    with closing(opened(tmp_path, ledger.reopened())) as again:
        assert left(again) == []
        assert segments(tmp_path) == []


def test_a_segment_that_has_become_shorter_gives_its_range_as_a_fault_and_fails(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger), ledger, b"one\n", b"two\n")
    os.truncate(segments(tmp_path)[0], 4)
    with closing(opened(tmp_path, ledger.reopened())) as journal:
        one, gone = left(journal)
    assert (one.data, one.fault) == (b"one\n", "")
    (path,) = segments(tmp_path)
    assert (gone.start, gone.end, gone.fault) == (4, 8, "source_lost")
    assert gone.detail == f"{path}: it has 4 bytes, and had 8 or more; what was in them, and not loaded, is lost"


def test_a_segment_that_the_ledger_has_open_and_that_is_gone_gives_its_ranges_as_faults_and_fails(
    tmp_path: Path
) -> None:
    ledger = MemoryLedger()
    chunks = append(opened(tmp_path, ledger, segment_bytes=1), ledger, b"a\n", b"b\n", b"c\n", b"d\n")
    ledger.close(chunks[3], {})
    ledger.units[3].end = None  # all that was issued of it is durable; what else was in it nobody knows
    gone = segments(tmp_path)[1:]
    for path in gone:
        path.unlink()
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger)) as journal:
        found = left(journal)
        append(journal, ledger, b"e\n")
        assert [path.name[:7] for path in segments(tmp_path)] == ["000001-", "000005-"]
    assert [(chunk.data, chunk.start, chunk.end, chunk.fault) for chunk in found] == [
        (b"a\n", 0, 2, ""), (b"", 2, 4, "source_lost"), (b"", 4, 6, "source_lost")]
    assert [unit.damage for unit in ledger.units[:4]] == [
        "", *(f"{path}: it is gone; what was in it behind byte {at}, and not loaded, is lost"
              for path, at in zip(gone, (0, 0, 2), strict=True))]


def test_a_segment_that_the_ledger_does_not_know_and_that_is_missing_between_others_is_reported(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger, segment_bytes=1), ledger, b"a\n", b"b\n", b"c\n", b"d\n")
    for path in segments(tmp_path)[1:3]:
        path.unlink()
    for unit in ledger.units[1:3]:
        unit.status = "abandoned"
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger)) as journal:
        assert [chunk.data for chunk in left(journal)] == [b"a\n", b"d\n"]
    assert ledger.problems == {
        f"{FOLDER}/000002 to 000003": f"{tmp_path / FOLDER}: there is no segment 000002 to 000003: somebody has "
                                      "removed it, and what was in it is lost"}


def test_what_was_never_issued_of_a_segment_that_was_cut_is_told_too(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = opened(tmp_path, ledger)
    append(journal, ledger, b"one\n")
    journal.append(b"two\n")
    journal.end()  # so far it was whole
    os.truncate(segments(tmp_path)[0], 4)
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger)) as again:
        one, gone = left(again)
        assert (one.data, gone.data, gone.start, gone.fault) == (b"one\n", b"", 4, "source_lost")
        again.put_away(ledger.units[0])
    assert [path.name[-12:] for path in segments(tmp_path)] == [".log.damaged"]  # what is left of it is kept


def test_segments_that_were_deleted_behind_one_that_could_not_be_are_not_missed(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = opened(tmp_path, ledger, segment_bytes=1)
    chunks = append(journal, ledger, b"a\n", b"b\n", b"c\n")
    for chunk in chunks[:2]:
        ledger.close(chunk, {})
    ledger.units[0].status = "loaded"
    journal.put_away(ledger.units[1])
    ledger = ledger.reopened()
    with closing(opened(tmp_path, ledger)) as again:
        assert [chunk.data for chunk in left(again)] == [b"c\n"]
    assert ledger.problems == {}


def test_a_byte_order_mark_is_data_the_first_time_and_again(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    data = b"\xef\xbb\xbfone\n"
    (first,) = append(opened(tmp_path, ledger), ledger, data)
    with closing(opened(tmp_path, ledger.reopened())) as journal:
        assert left(journal) == [first]
    with closing(opened(tmp_path, MemoryLedger())) as journal:
        assert [chunk.data for chunk in left(journal)] == [data]


def test_a_write_that_fails_half_way_is_made_again_at_the_same_place(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    with closing(opened(tmp_path, ledger)) as journal:
        append(journal, ledger, b"first\n")
        with files_of_at_most(10):
            for _ in range(2):
                with pytest.raises(Retryable, match=rf"^journal {tmp_path / FOLDER}: file too large$"):
                    journal.append(b"second\n")
            (path,) = segments(tmp_path)
            assert path.read_bytes() == b"first\nseco"
        (chunk,) = append(journal, ledger, b"second\n")
        assert (chunk.start, chunk.offset, chunk.line) == (6, 6, 2)
        assert path.read_bytes() == b"first\nsecond\n"


@pytest.mark.parametrize("how", ["removed", "moved"])
def test_a_segment_that_somebody_removes_while_it_grows_is_told_and_another_begun(tmp_path: Path, how: str) -> None:
    ledger = MemoryLedger()
    with closing(opened(tmp_path, ledger)) as journal:
        append(journal, ledger, b"one\n")
        (path,) = segments(tmp_path)
        if how == "moved":
            path.rename(tmp_path / "aside")
        else:
            path.unlink()
        (chunk,) = append(journal, ledger, b"two\n")
        (another,) = segments(tmp_path)
        assert (another.read_bytes(), bytes(chunk.data)) == (b"two\n", b"two\n")
    first, second = ledger.units
    assert (first.end, second.name) == (first.base + 4, f"{FOLDER}/{another.name}")
    assert f"{path} was removed, moved away or replaced" in first.note and not second.note


def test_a_segment_that_cannot_be_made_is_tried_again(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    journal = opened(tmp_path, ledger)
    (tmp_path / FOLDER).rmdir()
    with pytest.raises(Retryable, match="no such file or directory"):
        journal.append(b"a\n")
    (tmp_path / FOLDER).mkdir()
    with closing(journal):
        assert journal.append(b"a\n").start == 0
    assert len(ledger.units) == 1


def test_a_segment_that_cannot_be_opened_is_waited_for_because_it_was_accepted(tmp_path: Path) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger), ledger, b"a\n")
    (path,) = segments(tmp_path)
    aside = tmp_path / "aside"
    path.rename(aside)
    path.mkdir()
    with closing(opened(tmp_path, ledger.reopened())) as journal:
        for _ in range(2):
            with pytest.raises(Retryable, match=r"is a directory: it has lines that were accepted and are not loaded"):
                journal.left()
        path.rmdir()
        aside.rename(path)
        assert [chunk.data for chunk in left(journal)] == [b"a\n"]


def test_a_segment_that_cannot_be_read_on_ends_the_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = MemoryLedger()
    append(opened(tmp_path, ledger), ledger, b"a\n")

    def broken(cutter: Cutter) -> Chunk | None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(Cutter, "next", broken)
    with (closing(opened(tmp_path, ledger.reopened())) as journal,
          pytest.raises(Fatal, match="beyond byte 0: input/output error")):
        journal.left()


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / FOLDER).write_text("a file")
    with pytest.raises(ConfigError, match=r"file exists: expected a folder that can be written to"):
        opened(tmp_path, MemoryLedger())


def test_other_files_in_the_folder_are_none_of_its_business(tmp_path: Path) -> None:
    (tmp_path / FOLDER).mkdir()
    for name in ("tcp.address", "000001.log", "x000001-0123456789abcdef.log", "000001-0123456789abcdef.log.gz"):
        (tmp_path / FOLDER / name).write_text("something\n")
    with closing(opened(tmp_path, MemoryLedger())) as journal:
        assert left(journal) == []
