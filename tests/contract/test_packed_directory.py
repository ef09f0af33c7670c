"""Compressed files of a directory: read whole, known by their content, and never half of one for all of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime.values import Chunk
from actors.sources import lookout
from actors.sources.directory import Directory
from actors.sources.files import Files
from tests.contract.test_directory import Place
from tests.packing import PACKERS, SUFFIXES

LINES = b"".join(b"line %d\n" % number for number in range(20_000))
PACKINGS = pytest.mark.parametrize("packing", PACKERS)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # How long a look takes on this machine puts off no look: the clock is the test's.
    monkeypatch.setattr("actors.sources.lookout._LONG_S", math.inf)
    place = Place(tmp_path)
    yield place
    place.close()


def good(chunks: list[Chunk]) -> bytes:
    return b"".join(chunk.data for chunk in chunks if not chunk.fault)


def cut(packing: str) -> bytes:
    """Two members, the second of which is not all there: all of the first can be read."""
    whole = PACKERS[packing](LINES)
    return whole + whole[:len(whole) // 2]


# Which file it is.


@PACKINGS
def test_the_packed_copy_of_what_was_read_is_not_read_again_and_the_rest_is_read_in_it(
    place: Place, packing: str
) -> None:
    path = place.write("a.log", b"one\n")
    place.open(pattern="*.log")
    assert place.lines() == {"a.log": b"one\n"}
    place.close()
    path.unlink()
    place.write("a.log", b"new\n")
    rotated = f"a.log.1{SUFFIXES[packing]}"
    place.write(rotated, PACKERS[packing](b"one\ntwo\n"))
    place.ledger = place.ledger.reopened()
    place.open(pattern="*.log")
    assert place.lines() == {"a.log": b"new\n", rotated: b"two\n"}
    place.ledger = place.ledger.reopened()
    place.open(follow=False)
    assert place.lines() == {}


@PACKINGS
def test_a_packed_file_that_grows_by_a_member_is_read_on(place: Place, packing: str) -> None:
    for member in (b"one\n", b"x" * 2000 + b"\n", b"two\n"):
        place.write("a", PACKERS[packing](member))
        place.again(follow=False)
        assert place.lines() == {"a": member}


@PACKINGS
def test_a_file_whose_name_says_that_it_is_packed_is_waited_for_before_its_first_bytes_tell(
    place: Place, packing: str
) -> None:
    whole = PACKERS[packing](LINES)
    path = place.write(f"a{SUFFIXES[packing]}", whole[:1])
    assert place.read() == []
    path.write_bytes(whole)
    assert place.read() == []
    place.clock.now += 61
    assert good(place.read()) == LINES


def test_what_holds_no_lines_is_told_once_by_its_name_and_the_rest_is_read(place: Place) -> None:
    wide = place.write("wide.log.gz", PACKERS["gzip"]("text\n".encode("utf-16") * 99))
    twice = place.write("twice.zst", PACKERS["zstd"](PACKERS["gzip"](LINES)))
    place.write("a.log", b"one\n")
    source = place.open(follow=False)
    assert place.lines() == {"a.log": b"one\n"}
    assert "text in UTF-16, packed with gzip" in place.ledger.problems[str(wide)]
    assert "packed twice, with gzip and then with zstd" in place.ledger.problems[str(twice)]
    assert source.exhausted and len(place.ledger.units) == 1
    problems = Directory(paths=[str(place.logs)]).check(place.logs)
    assert sorted(problem.partition(": ")[0] for problem in problems) == [str(twice), str(wide)]


# What is not whole.


@PACKINGS
@pytest.mark.parametrize("damaged", ["fail", "accept"])
def test_a_file_that_is_cut_fails_unless_that_is_accepted(place: Place, packing: str, damaged: str) -> None:
    place.write("a", cut(packing))
    place.open(follow=False, damaged=damaged, batch_bytes=65536)
    *chunks, fault = place.read()
    (unit,) = place.ledger.units
    assert good(chunks).startswith(LINES) and fault.fault == f"truncated_{packing}"
    assert unit.damage == (fault.detail if damaged == "fail" else "") and unit.end == fault.end


@pytest.mark.parametrize("damaged", ["fail", "accept"])
def test_what_is_whole_and_not_read_here_always_fails(place: Place, damaged: str) -> None:
    """A frame that wants a window of 256 MiB: nothing of it was read, so nothing can be accepted."""
    place.write("a.zst", PACKERS["zstd"](LINES) + b"\x28\xb5\x2f\xfd\0\x90\1\0\0")
    place.open(follow=False, damaged=damaged)
    assert good(place.read()) == LINES
    assert "a window of 256 MiB" in place.ledger.units[0].damage


@PACKINGS
@pytest.mark.parametrize("is_touched", [False, True])
def test_a_cut_file_that_nobody_has_mended_is_told_once(
    place: Place, packing: str, is_touched: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_SURELY_OLD_NS", -1)  # the time of its last change is believed at once
    path = place.write("a", cut(packing))
    place.open(follow=False, batch_bytes=65536)
    assert place.read()[-1].fault == f"truncated_{packing}"
    for _ in range(2):
        if is_touched:
            path.touch()
        place.again(follow=False)
        assert place.read() == []
    assert len(place.ledger.units) == 1


@PACKINGS
def test_a_cut_file_goes_on_behind_what_was_read_whenever_more_of_it_is_given(place: Place, packing: str) -> None:
    whole = PACKERS[packing](LINES) * 3
    path = place.write("a", whole[:len(whole) // 3 - 9])
    place.open(follow=False, batch_bytes=65536)
    read = good(place.read())
    for size in (len(whole) * 5 // 6, len(whole)):
        path.write_bytes(whole[:size])
        place.again(follow=False)
        read += good(place.read())
    assert read == LINES * 3
    assert [bool(unit.damage) for unit in place.ledger.units] == [True, True, False]
    place.again(follow=False)
    assert place.read() == []


def test_a_cut_file_that_is_made_whole_while_it_is_followed_is_read_on(place: Place) -> None:
    whole = PACKERS["gzip"](LINES)
    path = place.write("a.log.1.gz", whole[:len(whole) // 2])
    assert place.read() == []
    place.clock.now += 61
    read = good(place.read())
    assert place.ledger.units[0].damage
    path.write_bytes(whole)
    assert place.read() == []  # it may grow yet
    place.clock.now += 61
    assert read + good(place.read()) == LINES


# What survives a crash.


@PACKINGS
@pytest.mark.parametrize("content", ["whole", "cut"])
@pytest.mark.parametrize("closed", [0, 1, 2, 1000])
def test_what_was_on_its_way_at_a_crash_is_handed_out_again_also_when_all_was_read(
    place: Place, packing: str, content: str, closed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lookout, "_SURELY_OLD_NS", -1)  # the time of its last change is believed at once
    place.write("a", cut(packing) if content == "cut" else PACKERS[packing](LINES))
    source = place.open(follow=False, batch_bytes=40_000)
    chunks: list[Chunk] = []
    while (chunk := source.read()) is not None:
        place.ledger.issue(chunk)
        chunks.append(chunk)
    for chunk in chunks[:closed]:
        place.ledger.close(chunk, {})
    place.close()
    place.ledger = place.ledger.reopened()
    place.open(follow=False, batch_bytes=1000)
    assert place.read() == chunks[closed:]
    assert len(place.ledger.units) == 1
    assert bool(place.ledger.units[0].damage) == (content == "cut")


# Odd ones.

GZIP = PACKERS["gzip"]
WRONG_HEADER = b"\x1f\x8b\x08\x02" + GZIP(LINES)[4:10] + b"\0\0" + GZIP(LINES)[10:]


@pytest.mark.parametrize(("name", "content", "lines", "fault"), [
    ("a.gz", b"", b"", ""),
    ("a.gz", GZIP(b""), b"", ""),
    ("a.gz", GZIP(LINES) + GZIP(b""), LINES, ""),
    ("a.gz", GZIP(b"") + GZIP(LINES), LINES, ""),
    ("a", GZIP(LINES), LINES, ""),
    ("a.xz", GZIP(LINES), LINES, ""),
    ("a.gz", GZIP(LINES) + bytes(512), LINES, ""),
    ("a.gz", GZIP(LINES) + b"a signature", LINES, ""),
    ("a.gz", LINES, b"", "not_gzip"),
    ("a.zst", bytes(5000), b"", "not_zstd"),
    ("a.gz", WRONG_HEADER, b"", "corrupt_gzip"),
    ("a.gz", GZIP(LINES) + WRONG_HEADER, LINES, "corrupt_gzip"),
    ("a.gz", GZIP(LINES) + b"\x1f\x8b\x08\x20" + GZIP(LINES)[4:], LINES, "corrupt_gzip"),
    ("a.gz", GZIP(LINES) + b"\x1f", LINES, "truncated_gzip"),
    ("a.gz", GZIP(LINES)[:-8] + bytes(8), LINES, "corrupt_gzip"),
])
@pytest.mark.parametrize("kind", ["files", "directory"])
def test_an_odd_file_is_read_as_far_as_it_is_good_and_told_once(
    place: Place, kind: str, name: str, content: bytes, lines: bytes, fault: str
) -> None:
    path = place.write(name, content)
    for run in range(3):
        place.ledger = place.ledger.reopened()
        if kind == "directory":
            place.open(follow=False, batch_bytes=65536)
            chunks = place.read()
        elif run:
            break
        else:
            source = Files(paths=[str(path)]).open(place.ledger, 65536, place.logs)
            chunks = [*iter(source.read, None)]
        assert good(chunks) == (b"" if run else lines)
        assert [chunk.fault for chunk in chunks if chunk.fault] == ([fault] if fault and not run else [])
    assert len(place.ledger.units) == (1 if content or kind == "files" else 0) and not place.ledger.problems
    assert all(bool(unit.damage) == fault.startswith(("truncated", "corrupt")) for unit in place.ledger.units)
