"""The directory source as its reader sees it: what is read, what it is called, what happens when files are rotated."""

from __future__ import annotations

import gzip
import math
import os
import select
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.values import Chunk
from actors.sources import lookout
from actors.sources.content import Sum
from actors.sources.cutter import BOM
from actors.sources.directory import Directory, DirectorySource
from tests.fakes import MemoryLedger

BATCH = 64


class Clock:
    """Time that passes only when somebody says so. It is far from the times of files."""

    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A folder of logs, a ledger, and a source that is opened when it is needed."""

    def __init__(self, folder: Path) -> None:
        self.logs = folder / "logs"
        self.logs.mkdir()
        self.ledger = MemoryLedger()
        self.clock = Clock()
        self._source: DirectorySource | None = None

    def open(self, *paths: Path | str, batch_bytes: int = BATCH, **options: float | str) -> DirectorySource:
        self.close()
        wanted = [str(path) for path in paths or (self.logs,)]
        given = msgspec.convert({"paths": wanted, "poll_s": 0.0, **options}, Directory)
        self._source = DirectorySource(given, self.ledger, batch_bytes, self.clock)
        return self._source

    @property
    def source(self) -> DirectorySource:
        return self._source or self.open()

    def write(self, name: str, content: bytes, mode: str = "ab") -> Path:
        path = self.logs / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open(mode) as file:
            file.write(content)
        return path

    def read(self) -> list[Chunk]:
        """All chunks that there are now; each is durable at once."""
        chunks: list[Chunk] = []
        quiet = 0
        while quiet < 4:
            chunk = self.source.read()
            quiet = quiet + 1 if chunk is None else 0
            if chunk is not None:
                self.ledger.issue(chunk)
                self.ledger.close(chunk, {})
                chunks.append(chunk)
        return chunks

    def lines(self) -> dict[str, bytes]:
        """What is read now, by file name."""
        found: dict[str, bytes] = {}
        for chunk in self.read():
            name = os.path.basename(chunk.source)
            found[name] = found.get(name, b"") + bytes(chunk.data)
        return found

    def again(self, follow: bool = True) -> DirectorySource:
        """The next run."""
        self.close()
        self.ledger = self.ledger.reopened()
        return self.open(follow=follow)

    def close(self) -> None:
        if self._source is not None:
            self._source.close()
            self._source = None


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # How long a look takes on this machine puts off no look: the clock is the test's.
    monkeypatch.setattr("actors.sources.lookout._LONG_S", math.inf)
    place = Place(tmp_path)
    yield place
    place.close()


# What is read.


def test_all_files_of_a_directory_are_read_each_as_a_unit_from_zero(place: Place) -> None:
    place.write("b.log", b"one\ntwo\n")
    place.write("a.log", b"three\n")
    assert [(c.source[-5:], c.start, c.end, c.offset, c.line, c.data) for c in place.read()] == [
        ("a.log", 0, 6, 0, 1, b"three\n"), ("b.log", 0, 8, 0, 1, b"one\ntwo\n")]
    assert [unit.base for unit in place.ledger.units] == [0, 0]


def test_names_are_chosen_by_the_pattern_and_never_begin_with_a_dot(place: Place) -> None:
    for name in ("a.log", "b.txt", ".c.log", "below/d.log"):
        place.write(name, b"x\n")
    assert list(place.lines()) == ["a.log", "b.txt"]
    place.open(pattern="*.txt")
    place.ledger = MemoryLedger()
    place.open(pattern="*.log", recursive=True)
    assert list(place.lines()) == ["a.log", "d.log"]


def test_files_take_turns(place: Place) -> None:
    for name in ("a", "b", "c"):
        place.write(name, b"0123456789\n" * 12)
    names = [os.path.basename(chunk.source) for chunk in place.read()]
    assert names == ["a", "b", "c"] * 3


def test_a_file_with_many_names_is_read_once(place: Place) -> None:
    path = place.write("a.log", b"x\n")
    (place.logs / "b.log").symlink_to(path)
    os.link(path, place.logs / "c.log")
    place.open(place.logs, path, f"{place.logs}/*.log", place.logs / "b.log")
    assert place.lines() == {"a.log": b"x\n"}


def test_an_unfinished_line_waits_for_its_newline(place: Place) -> None:
    place.write("a", b"one\ntw")
    assert place.lines() == {"a": b"one\n"}
    place.write("a", b"o")
    assert place.lines() == {}
    place.write("a", b"\nthree")
    assert place.lines() == {"a": b"two\n"}


def test_once_the_last_line_needs_no_newline_and_then_all_is_read(place: Place) -> None:
    place.write("a", b"one\ntwo")
    place.open(follow=False)
    assert place.lines() == {"a": b"one\ntwo"}
    assert place.source.exhausted
    assert not place.source.endless
    assert [(unit.low, unit.end) for unit in place.ledger.units] == [(7, 7)]
    assert place.source.progress() == (7, 7)


def test_an_empty_directory_is_exhausted_at_once_or_never(place: Place) -> None:
    place.open(follow=False)
    assert place.lines() == {}
    assert place.source.exhausted
    place.open()
    assert place.lines() == {}
    assert not place.source.exhausted
    assert place.source.endless


def test_a_byte_order_mark_is_no_part_of_the_first_line(place: Place) -> None:
    place.write("a", b"\xef\xbb\xbfone\n")
    assert [(c.start, c.end, c.offset, c.data) for c in place.read()] == [(0, 7, 3, b"one\n")]


def test_a_line_that_is_too_long_is_one_fault_without_its_bytes_when_its_end_has_come(place: Place) -> None:
    place.write("a", b"short\n" + b"x" * 25)
    place.open(max_line_bytes=10)
    assert [(c.data, c.fault) for c in place.read()] == [(b"short\n", "")]
    place.write("a", b"y\nlast\n")
    assert [(c.data, c.fault, c.start, c.end, c.line, c.lines) for c in place.read()] == [
        (b"", "line_too_long", 6, 33, 2, 1), (b"last\n", "", 33, 38, 3, 1)]


@pytest.mark.parametrize("size", [64, 700, 5000, 3_000_000])
def test_a_hole_that_a_truncation_leaves_under_its_writer_is_a_fault_and_the_lines_behind_it_are_read(
    place: Place, size: int
) -> None:
    path = place.write("a.log", b"before\n")
    place.read()
    os.truncate(path, 0)
    place.read()
    with path.open("r+b") as file:
        file.truncate(size)  # the writer's offset, and nothing is written yet
        assert place.read() == []
        file.seek(size)
        file.write(b"after 1\naft")
        file.flush()
        assert [(c.data, c.fault, c.start, c.end) for c in place.read()] == [
            (b"", "nul_hole", 0, size), (b"after 1\n", "", size, size + 8)]
        file.write(b"er 2\n")
    assert [(c.data, c.line) for c in place.read()] == [(b"after 2\n", 2)]
    place.again(follow=False)
    assert place.read() == []


def test_a_file_that_is_cut_short_again_and_again_under_its_writer_gives_each_line_once(place: Place) -> None:
    path = place.write("a.log", b"before\n")
    place.read()
    at = 7
    found = []
    for number in range(4):
        shutil.copyfile(path, place.logs.parent / f"old{number}")
        os.truncate(path, 0)
        with path.open("r+b") as file:
            file.seek(at * 1000)
            at = file.write(b"after %d\n" % number) + at
        found += place.read()
    assert [c.data for c in found if not c.fault] == [b"after %d\n" % number for number in range(4)]
    assert [(c.start, c.data, c.fault) for c in found if c.fault] == [(0, b"", "nul_hole")] * 4
    place.again(follow=False)
    assert place.read() == []


@pytest.mark.parametrize("hole", [bytes(5000), b"x" * 5000 + b"\n"])
@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_file_that_grows_behind_what_was_passed_over_is_read_on(
    place: Place, hole: bytes, pack: Callable[[bytes], bytes]
) -> None:
    place.write("a.log", pack(BOM + hole + b"one\n"))
    place.open(follow=False, max_line_bytes=4000)
    assert [c.data for c in place.read()] == [b"", b"one\n"]
    (unit,) = place.ledger.units
    assert (Sum.read(unit.prefix) or Sum()).size == unit.low == len(hole) + 7
    place.write("a.log", pack(b"two\n"))
    place.again(follow=False)
    assert [c.data for c in place.read()] == [b"two\n"]


@pytest.mark.parametrize("text", [b"", b"half a li"])
def test_a_hole_at_the_end_of_a_file_that_is_read_once_is_a_fault_and_what_is_written_behind_it_a_line(
    place: Place, text: bytes
) -> None:
    place.write("a", b"one\n" + text + bytes(5000))
    place.open(follow=False)
    assert [(c.data, c.fault, c.end) for c in place.read()] == [
        (b"one\n", "", 4), (b"", "nul_hole", 5004 + len(text))]
    place.write("a", b"two\n")
    place.again(follow=False)
    assert [(c.data, c.fault) for c in place.read()] == [(b"two\n", "")]


@pytest.mark.parametrize("monster", [bytes(40_000_000), b"x" * 40_000_000 + b"\n", b"ab" + bytes(9000)])
def test_what_was_passed_over_and_was_on_its_way_at_a_crash_is_the_same_fault_again(
    place: Place, monster: bytes
) -> None:
    place.write("a", b"one\n" + monster + b"two\n")
    first = [place.source.read(), place.source.read()]
    for chunk in first:
        assert chunk is not None
        place.ledger.issue(chunk)
    place.again()
    again = place.read()
    assert again[:2] == first
    assert [(c.data, c.fault) for c in again[2:]] == [(b"two\n", "")]


def test_what_is_written_behind_a_last_line_that_was_taken_for_one_is_a_fault(place: Place) -> None:
    place.write("a", b"one\ntw")
    place.open(follow=False)
    place.read()
    place.write("a", b"o\nthree\n")
    place.again(follow=False)
    assert [(c.data, c.fault, c.line) for c in place.read()] == [(b"o\n", "line_torn", 2), (b"three\n", "", 3)]


def test_compressed_files_are_read_whole_and_the_packed_copy_of_what_was_read_is_not(place: Place) -> None:
    place.write("a.log", b"one\ntwo\n")
    place.write("b.gz", gzip.compress(b"three\n"))
    place.open(follow=False)
    assert place.lines() == {"a.log": b"one\ntwo\n", "b.gz": b"three\n"}
    (place.logs / "a.log").unlink()
    place.write("a.log.1.gz", gzip.compress(b"one\ntwo\n"))
    place.again(follow=False)
    assert place.lines() == {}


def test_a_compressed_file_is_waited_for_until_it_is_silent(place: Place) -> None:
    path = place.write("a.gz", gzip.compress(b"one\n")[:12])
    assert place.lines() == {}
    path.write_bytes(gzip.compress(b"one\n"))
    assert place.lines() == {}
    place.clock.now += 61
    assert place.lines() == {"a.gz": b"one\n"}


# Rotation.


def test_a_renamed_file_is_read_on_and_the_new_one_is_another_unit(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    path.rename(place.logs / "a.log.1")
    place.write("a.log", b"two\n")
    place.write("a.log.1", b"late\n")
    assert place.lines() == {"a.log.1": b"late\n", "a.log": b"two\n"}
    assert [unit.low for unit in place.ledger.units] == [9, 4]


def test_a_file_renamed_out_of_sight_is_read_by_its_descriptor_until_it_is_silent(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    path.rename(place.logs.parent / "elsewhere")
    assert place.lines() == {}
    with (place.logs.parent / "elsewhere").open("ab") as file:
        file.write(b"late\nunfinished")
    assert place.lines() == {"a.log": b"late\n"}
    place.clock.now += 61
    assert place.lines() == {"a.log": b"unfinished"}
    (unit,) = place.ledger.units
    assert (unit.low, unit.end, place.ledger.problems) == (19, 19, {})


def test_a_copy_made_before_the_truncation_is_not_read_again_but_for_what_was_not_read(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    place.write("a.log", b"two\n")
    shutil.copyfile(path, place.logs / "a.log.1")
    os.truncate(path, 0)
    assert place.lines() == {"a.log.1": b"two\n"}
    place.write("a.log", b"new\n")
    assert place.lines() == {"a.log": b"new\n"}


def test_a_copy_waits_for_the_truncation_and_is_a_file_of_its_own_without_one(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    shutil.copyfile(path, place.logs / "a.log.1")
    assert place.lines() == {}
    place.clock.now += 11
    assert place.lines() == {"a.log.1": b"one\n"}


def test_two_files_of_the_same_content_are_two_files(place: Place) -> None:
    place.write("a.log", b"ok\n")
    assert place.lines() == {"a.log": b"ok\n"}
    place.write("b.log", b"ok\n")
    assert place.lines() == {"b.log": b"ok\n"}
    (place.logs / "a.log").unlink()
    place.write("c.log", b"ok\n")
    assert place.lines() == {"c.log": b"ok\n"}


def test_a_file_cut_short_and_written_anew_is_a_new_unit_and_what_was_missed_is_said(place: Place) -> None:
    path = place.write("a.log", b"one\ntwo\n")
    place.read()
    path.write_bytes(b"new\n")
    assert place.lines() == {"a.log": b"new\n"}
    assert place.ledger.problems == {}
    place.write("a.log", b"unfinished")
    assert place.lines() == {}
    path.write_bytes(b"again\n")
    missed, again = sorted(place.read(), key=lambda chunk: chunk.unit)
    assert (missed.start, missed.end, missed.data, missed.fault) == (4, 14, b"", "file_lost")
    assert again.data == b"again\n"


def test_a_file_written_anew_to_a_greater_length_is_noticed_too(place: Place) -> None:
    path = place.write("a.log", b"one\ntwo\n")
    place.read()
    path.write_bytes(b"other\nlines\nhere\n")
    assert [(c.data, c.fault) for c in place.read()] == [(b"other\nlines\nhere\n", "")], "nothing of the first is lost"
    place.write("a.log", b"unfinished")
    assert place.read() == []
    path.write_bytes(b"and\n" * 10)
    missed, anew = sorted(place.read(), key=lambda chunk: chunk.unit)
    assert (missed.start, missed.end, missed.fault, anew.data) == (17, 27, "file_lost", b"and\n" * 10)


def test_a_deleted_file_is_read_to_its_end_its_unfinished_line_too(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    place.write("a.log", b"two\nthr")
    path.unlink()
    assert place.lines() == {"a.log": b"two\nthr"}
    assert [unit.end for unit in place.ledger.units] == [11]


@pytest.mark.parametrize("how", ["rename", "copy"])
def test_the_rest_of_a_single_file_is_found_beside_it_after_a_rotation_while_nobody_looked(
    place: Place, how: str
) -> None:
    path = place.write("a.log", b"one\n")
    place.open(path)
    place.read()
    place.close()
    place.write("a.log", b"two\n")
    if how == "rename":
        path.rename(place.logs / "a.log.1")
    else:
        shutil.copyfile(path, place.logs / "a.log.1")
    path.write_bytes(b"new\n")
    place.ledger = place.ledger.reopened()
    place.open(path)
    assert place.lines() == {"a.log.1": b"two\n", "a.log": b"new\n"}


# Runs.


def test_the_next_run_goes_on_where_this_one_was_whatever_the_file_is_called(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.read()
    place.source.stop()
    assert place.source.exhausted
    place.write("a.log", b"two\n")
    assert place.source.read() is None
    path.rename(place.logs / "other.txt")
    place.again()
    assert [(c.start, c.line, c.data) for c in place.read()] == [(4, 2, b"two\n")]


def test_what_was_read_once_is_not_read_again_and_its_growth_is(place: Place) -> None:
    place.write("a.log", b"one\n")
    place.open(follow=False)
    place.read()
    place.again(follow=False)
    assert place.lines() == {}
    place.write("a.log", b"two\n")
    place.again(follow=False)
    assert place.lines() == {"a.log": b"two\n"}


def test_ranges_on_their_way_at_a_crash_are_cut_the_same_again(place: Place) -> None:
    place.write("a.log", b"0123456789\n" * 20)
    first, second = place.source.read(), place.source.read()
    assert first is not None
    assert second is not None
    for chunk in (first, second):
        place.ledger.issue(chunk)
    place.ledger.close(first, {})
    place.close()
    place.ledger = place.ledger.reopened()
    place.open(batch_bytes=10**6)
    assert [(c.start, c.end) for c in place.read()] == [(second.start, second.end), (second.end, 220)]


def test_ranges_that_the_file_has_no_more_are_faults(place: Place) -> None:
    path = place.write("a.log", b"one\ntwo\n")
    chunk = place.source.read()
    assert chunk is not None
    place.ledger.issue(chunk)
    place.close()
    path.unlink()
    place.ledger = place.ledger.reopened()
    place.open()
    assert [(c.start, c.end, c.data, c.fault) for c in place.read()] == [(0, 8, b"", "file_lost")]
    assert [unit.end for unit in place.ledger.units] == [8]


# The watermark, the kernel's notices, bounds.


def test_a_unit_is_active_until_it_has_been_silent_for_a_while(place: Place) -> None:
    place.write("a.log", b"one\n")
    place.read()
    (unit,) = place.ledger.units
    assert place.source.active() == (unit.id,)
    place.clock.now += 61
    assert place.lines() == {}
    assert place.source.active() == ()
    place.write("a.log", b"two\n")
    place.read()
    assert place.source.active() == (unit.id,)


def test_files_that_wait_for_their_turn_are_active(place: Place) -> None:
    for name in ("a", "b"):
        os.utime(place.write(name, b"one\n"), (0, 0))
    assert place.source.read() is not None
    assert place.source.active() == (1, 2)
    place.read()
    assert place.source.active() == ()


def test_the_descriptor_is_readable_when_a_file_has_come_or_grown(place: Place) -> None:
    pytest.importorskip("watchfiles")
    place.open(poll_s=1000.0)
    assert place.source.wake is not None
    place.read()
    for content in (b"one\n", b"two\n"):
        place.write("a.log", content)
        found: dict[str, bytes] = {}
        while not found:
            assert select.select([place.source.wake], [], [], 20)[0]
            found = place.lines()
        assert found == {"a.log": content}


def _target(descriptor: str) -> str:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}")
    except OSError:  # that of the listing itself
        return ""


def test_no_more_than_so_many_files_are_open(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lookout, "MOST_OPEN", 5)
    for number in range(40):
        place.write(f"{number}.log", b"x\n" * 50)
    place.open()
    assert len(place.lines()) == 40
    assert sum(Path(target).parent == place.logs for target in map(_target, os.listdir("/proc/self/fd"))) <= 5
    for number in range(40):
        place.write(f"{number}.log", b"y\n")
    assert set(place.lines().values()) == {b"y\n"}


def test_what_cannot_be_read_is_reported_and_the_rest_is_read(place: Place) -> None:
    place.write("a.log", b"one\n")
    os.mkfifo(place.logs / "pipe")
    place.open(place.logs, place.logs / "pipe", place.logs / "nothing", follow=False)
    assert place.lines() == {"a.log": b"one\n"}
    assert place.source.exhausted
    assert {os.path.basename(name) for name in place.ledger.problems} == {"pipe", "nothing"}


def test_a_file_that_is_followed_may_come_later_but_its_directory_must_be_there(place: Place) -> None:
    path = place.logs / "later.log"
    place.open(path)
    assert place.lines() == {}
    place.write("later.log", b"x\n")
    assert place.lines() == {"later.log": b"x\n"}
    with pytest.raises(ConfigError, match="no /nowhere in which it could appear"):
        Directory(paths=["/nowhere/a.log"]).open(place.ledger, BATCH)
    with pytest.raises(ConfigError, match="paths is empty"):
        Directory().open(place.ledger, BATCH)


def test_it_says_what_it_reads() -> None:
    assert Directory(paths=["a.log", "logs"]).describe() == "paths a.log, logs, followed"
    assert Directory(paths=[str(number) for number in range(5)], follow=False).describe() == "paths 0, 1, 2 and 2 more"
    assert Directory().describe() == "no paths, followed"


def test_how_files_begin_can_be_looked_at_without_reading_on(place: Place) -> None:
    whole = b"".join(b"%d,line\n" % number for number in range(100))
    place.write("a", whole)
    os.utime(place.write("b.gz", gzip.compress(whole)), (1, 1))
    place.write("c", b"one\ntw")
    place.write("d", b"")
    for follow in (True, False):
        source = place.again(follow=follow)
        units = source.first_look()
        assert [os.path.basename(unit.name) for unit in place.ledger.units if unit.id in units] == ["a", "b.gz", "c"]
        found = [source.glance(unit, 30) for unit in units]
        assert [chunk and (chunk.data, chunk.start, is_all) for chunk, is_all in found] == [
            (whole[:28], 0, False), (whole[:28], 0, False), (b"one\n", 0, follow)]
        for unit in units[:2]:
            chunk, is_all = source.glance(unit, 100_000)
            assert chunk is not None
            assert (chunk.data, chunk.lines, is_all) == (whole, 100, True)
    assert place.lines() == {"a": whole, "b.gz": whole, "c": b"one\ntw"}
