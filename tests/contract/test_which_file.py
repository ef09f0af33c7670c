"""Which file is which: a file goes on as one that was read only when all that was read is what it begins with."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime.values import Chunk
from actors.sources.content import Sum
from actors.sources.marks import KIND, Mark
from tests.contract.test_directory import Place

#: Longer than what files are known by at first sight.
HEADER = b"a rather long header\n" * 60
#: One line each of which some file has in another form.
LINES = [b"%06d\n" % number for number in range(30000)]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    # How long a look takes on this machine puts off no look: the clock is the test's.
    monkeypatch.setattr("actors.sources.lookout._LONG_S", math.inf)
    place = Place(tmp_path)
    yield place
    place.close()


@pytest.mark.parametrize("changed", [0, 100, 12000, 29999])
@pytest.mark.parametrize("inode", ["reused", "another"])
def test_a_file_that_differs_anywhere_before_the_position_is_another(place: Place, changed: int, inode: str) -> None:
    lines = [HEADER, *LINES]
    path = place.write("a.log", b"".join(lines))
    place.open(follow=False, batch_bytes=65536)
    assert len(place.lines()["a.log"]) == len(b"".join(lines))
    lines[changed + 1] = b"XXXXXX\n"
    other = b"".join(lines) + b"more\n"
    if inode == "another":
        path.rename(place.logs.parent / "away")
    path.write_bytes(other)
    place.again(follow=False)
    assert place.lines() == {"a.log": other}


def test_in_a_run_too_a_file_with_the_same_header_is_read_whole(place: Place) -> None:
    path = place.write("one.csv", HEADER + b"1\n" * 100)
    place.read()
    path.unlink()
    place.read()
    place.write("two.csv", HEADER + b"2\n" * 150)
    assert place.lines() == {"two.csv": HEADER + b"2\n" * 150}


def test_a_file_that_goes_on_is_read_on_however_long_it_is(place: Place) -> None:
    path = place.write("a.log", b"".join(LINES))
    place.open(follow=False, batch_bytes=65536)
    place.read()
    place.write("a.log", b"more\n")
    path.rename(place.logs / "a.log.1")
    place.again(follow=False)
    assert place.lines() == {"a.log.1": b"more\n"}


def test_a_state_without_sums_is_resumed_as_before_and_has_one_from_then_on(place: Place) -> None:
    place.write("a.log", HEADER)
    place.read()
    (unit,) = place.ledger.units
    unit.prefix, unit.fingerprint = "", ":".join(unit.fingerprint.split(":")[:5])
    place.write("a.log", b"more\n")
    place.again()
    assert place.lines() == {"a.log": b"more\n"}
    assert Sum.read(place.ledger.units[0].prefix) == Sum().then(HEADER + b"more\n")


def test_a_mark_is_read_as_it_was_written_and_as_older_versions_wrote_it() -> None:
    mark = Mark.of(b"head", 7, 1)._replace(changed_ns=5, longest=9, home="a:b.log", target="/c:d.log")
    assert Mark.read(mark.text()) == mark
    assert Mark.read(f"{KIND}4:{mark.digest}:7:1") == Mark.of(b"head", 7, 1)


@pytest.mark.parametrize("size", [1, 1023, 1024, 1025, 5000, 65536, 210000])
def test_a_sum_is_the_same_however_the_bytes_come(size: int) -> None:
    data = b"".join(LINES)
    assert Sum().then(data[:size]).then(data[size:]) == Sum().then(data)


# Links.


def test_the_rest_of_a_file_behind_a_link_is_found_beside_the_file(place: Place) -> None:
    pods = place.logs.parent / "pods"
    pods.mkdir()
    target = pods / "0.log"
    target.write_bytes(b"one\n")
    (pods / "link").symlink_to(target)
    (place.logs / "web.log").symlink_to(pods / "link")
    assert place.lines() == {"web.log": b"one\n"}
    with target.open("ab") as file:
        file.write(b"two\n")
    target.rename(pods / "0.log.20261128")
    target.write_bytes(b"three\n")
    place.again()
    assert place.lines() == {"0.log.20261128": b"two\n", "web.log": b"three\n"}
    with (pods / "0.log.20261128").open("ab") as file:
        file.write(b"straggler\n")
    place.again()
    assert place.lines() == {"0.log.20261128": b"straggler\n"}


def test_links_to_directories_are_followed_once_and_not_round_in_circles(place: Place) -> None:
    elsewhere = place.logs.parent / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.log").write_bytes(b"b\n")
    place.write("below/a.log", b"a\n")
    (place.logs / "round").symlink_to(place.logs)
    (place.logs / "there").symlink_to(elsewhere)
    (place.logs / "again").symlink_to(elsewhere)
    os.symlink("loop", place.logs / "loop")
    place.open(recursive=True)
    assert place.lines() == {"a.log": b"a\n", "b.log": b"b\n"}
    assert place.ledger.problems == {}


# Packed.


@pytest.mark.parametrize("first", [b"", b"one\n", b"x" * 2000 + b"\n"])
def test_a_gzip_that_grows_by_a_member_is_read_on_whatever_its_length(place: Place, first: bytes) -> None:
    for member in (first, first or b"two\n"):
        place.write("a.gz", gzip.compress(member, mtime=0))
        place.again(follow=False)
        assert place.lines() == ({"a.gz": member} if member else {})


def test_the_rest_is_read_on_inside_the_gzip_that_was_made_while_nobody_looked(place: Place) -> None:
    path = place.write("a.log", b"one\n")
    place.open(pattern="*.log")
    place.read()
    place.close()
    path.unlink()
    place.write("a.log", b"new\n")
    place.write("a.log.1.gz", gzip.compress(b"one\ntwo\n"))
    place.ledger = place.ledger.reopened()
    place.open(pattern="*.log")
    assert place.lines() == {"a.log.1.gz": b"two\n", "a.log": b"new\n"}


# What is gone.


def _read_once(place: Place) -> Chunk:
    """The first chunk, of which the ledger knows that all came of it."""
    chunk = place.source.read()
    assert chunk is not None
    place.ledger.issue(chunk)
    place.ledger.close(chunk, {})
    return chunk


def test_what_was_seen_and_is_gone_at_the_next_run_is_told_with_its_range(place: Place) -> None:
    path = place.write("a.log", b"0123456789\n" * 1000)
    first = _read_once(place)
    path.unlink()
    place.again()
    (lost,) = place.read()
    assert (lost.start, lost.end, lost.fault) == (first.end, 11000, "file_lost")
    assert "were not read" in place.ledger.units[0].damage


def test_what_was_on_its_way_at_a_crash_is_told_when_the_file_is_gone_also_when_all_was_read(place: Place) -> None:
    path = place.write("a.log", b"0123456789\n" * 1000)
    source = place.open(follow=False)
    chunks = [*iter(source.read, None)]
    for chunk in chunks:
        place.ledger.issue(chunk)
    path.unlink()
    place.again()
    assert [(lost.start, lost.end, lost.fault) for lost in place.read()] == [
        (chunk.start, chunk.end, "file_lost") for chunk in chunks]


def test_what_was_lost_and_is_given_again_is_read_from_there_on(place: Place) -> None:
    content = b"0123456789\n" * 1000
    path = place.write("a.log", content)
    first = _read_once(place)
    path.unlink()
    place.again()
    place.read()
    place.write("a.log", content)
    place.again()
    assert place.lines() == {"a.log": content[first.end:]}


def test_a_packed_file_that_was_cut_short_goes_on_behind_what_was_read_when_it_is_given_whole(place: Place) -> None:
    content = b"".join(b"line %d\n" % number for number in range(20_000))
    packed = gzip.compress(content)
    place.write("a.log.gz", packed[:len(packed) // 2])
    place.open(follow=False)
    *chunks, fault = place.read()
    read = b"".join(chunk.data for chunk in chunks)
    assert fault.fault == "truncated_gzip" and content.startswith(read + fault.data)
    (place.logs / "a.log.gz").write_bytes(packed)
    place.again(follow=False)
    assert place.lines() == {"a.log.gz": content[len(read):]}
