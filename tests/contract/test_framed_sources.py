"""The sources of bytes with each framing: files, directories, standard input; plain and packed, over deaths."""

from __future__ import annotations

import gzip
import math
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from random import Random

import msgspec
import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.framing import records_in
from actors.runtime.ports import Source
from actors.runtime.values import FILE_LOST, Chunk
from actors.sources.directory import Directory, DirectorySource
from actors.sources.files import Files
from actors.sources.framings.options import FramedOptions
from actors.sources.stdin import RecordStdinSource, Stdin, stdin_source
from tests.fakes import MemoryLedger
from tests.framings import FRAMINGS, Framing, outcomes_of
from tests.properties.test_fuzzed_framings import content_of

MOST = 700
BATCH = 4096
#: The descriptor that is standard input here.
REDIRECTED = 100
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)
Opener = Callable[[Path, Framing, MemoryLedger], Source]


def options(kind: type[FramedOptions], framing: Framing, **more: object) -> FramedOptions:
    return msgspec.convert({**framing.set(MOST), **more}, kind)


def files(path: Path, framing: Framing, ledger: MemoryLedger) -> Source:
    return options(Files, framing, paths=[str(path)], rename="none").open(ledger, BATCH, Path())


def directory(path: Path, framing: Framing, ledger: MemoryLedger) -> Source:
    return options(Directory, framing, paths=[str(path)], follow=False).open(ledger, BATCH, Path())


def redirected(path: Path, framing: Framing, ledger: MemoryLedger) -> Source:
    given = options(Stdin, framing)
    assert isinstance(given, Stdin)
    os.dup2(opened := os.open(path, os.O_RDONLY), REDIRECTED)
    os.close(opened)
    return stdin_source(given, ledger, BATCH, REDIRECTED)


def read(source: Source, ledger: MemoryLedger, most: float = math.inf) -> list[Chunk]:
    """So many chunks, or all that there are now; none of them is durable yet."""
    chunks: list[Chunk] = []
    quiet = 0
    while quiet < 3 and len(chunks) < most:
        chunk = source.read()
        quiet = quiet + 1 if chunk is None else 0
        if chunk is not None:
            ledger.issue(chunk)
            chunks.append(chunk)
    return chunks


def commit(ledger: MemoryLedger, chunks: Sequence[Chunk]) -> None:
    for chunk in chunks:
        ledger.close(chunk, {})


@each_framing
@pytest.mark.parametrize("opened", [files, directory, redirected])
@pytest.mark.parametrize("name", ["content", "content.gz"])
def test_all_outcomes_come_once_over_deaths_of_the_reader(
    tmp_path: Path, framing: Framing, opened: Opener, name: str
) -> None:
    if opened is redirected and name.endswith(".gz"):
        return  # standard input is not unpacked
    content = content_of(framing, 5)
    path = tmp_path / name
    path.write_bytes(gzip.compress(content) if name.endswith(".gz") else content)
    ledger, chance, found = MemoryLedger(), Random(1), list[Chunk]()
    source = opened(path, framing, ledger)
    while not source.exhausted:
        some = read(source, ledger, chance.randint(1, 4))
        done = some[:chance.randint(0, len(some))]
        commit(ledger, done)
        found += done
        if done != some:
            source.close()
            ledger = ledger.reopened()
            source = opened(path, framing, ledger)
            again = read(source, ledger, len(some) - len(done))
            assert [(each.start, each.end, each.data, each.fault) for each in again] == [
                (each.start, each.end, each.data, each.fault) for each in some[len(done):]]
            commit(ledger, again)
            found += again
    source.close()
    assert outcomes_of(found) == framing.read(content, MOST)
    assert found[-1].end == ledger.units[-1].end


@each_framing
def test_a_pipe_is_the_records_of_a_plain_reading(framing: Framing) -> None:
    content = content_of(framing, 5)
    ends = os.pipe()
    ledger, found, at, chance = MemoryLedger(), list[Chunk](), 0, Random(2)
    given = options(Stdin, framing, idle_timeout_s=60)
    assert isinstance(given, Stdin)
    source = stdin_source(given, ledger, BATCH, ends[0])
    while at < len(content):
        at += os.write(ends[1], content[at:at + chance.randint(1, 5000)])
        found += read(source, ledger, chance.randint(1, 10))
    os.close(ends[1])
    found += read(source, ledger)
    os.close(ends[0])
    assert source.exhausted
    assert outcomes_of(found) == framing.read(content, MOST)
    assert found[-1].end == len(content)


def test_a_damaged_content_fails_its_unit_and_goes_on_when_it_is_given_whole(tmp_path: Path) -> None:
    framing = FRAMINGS["u32be of all"]
    whole = b"\0\0\0\x09hello" + b"\0\0\0\x07you"
    path = tmp_path / "content"
    ledger = MemoryLedger()
    for content, values in ((whole[:-1], [b"hello", whole[9:-1]]), (whole, [b"you"])):
        path.write_bytes(content)
        source = files(path, framing, ledger)
        chunks = read(source, ledger)
        commit(ledger, chunks)
        source.close()
        assert [outcome.value for outcome in outcomes_of(chunks)] == values
    damaged, mended = ledger.units
    assert "ends within a record" in damaged.damage
    assert (mended.damage, mended.low - mended.base) == ("", len(whole))


@pytest.mark.parametrize(("content", "damage"), [(b"[1, 2", "no ] at its end"), (b"[1, {]", "closes what another"),
                                                 (b"[1] 2", "something follows"), (b'{"a": 1}', "it is no array")])
def test_a_broken_array_fails_its_unit_wherever_it_is_read(tmp_path: Path, content: bytes, damage: str) -> None:
    path = tmp_path / "content"
    path.write_bytes(content)
    for opened in (files, directory, redirected):
        ledger = MemoryLedger()
        source = opened(path, FRAMINGS["json_array"], ledger)
        commit(ledger, read(source, ledger))
        source.close()
        assert damage in ledger.units[0].damage
    accepted = options(Files, FRAMINGS["json_array"], paths=[str(path)], damaged="accept")
    ledger = MemoryLedger()
    assert read(accepted.open(ledger, BATCH, Path()), ledger)
    assert ledger.units[0].damage == ""


def test_a_damaged_content_of_a_directory_is_told_once_until_it_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actors.sources.lookout._SURELY_OLD_NS", 0)
    path = tmp_path / "content"
    ledger = MemoryLedger()
    found = []
    for content in (b"[1, 2", None, b"[1, 2, 3]"):
        if content is not None:
            path.write_bytes(content)
        source = directory(path, FRAMINGS["json_array"], ledger)
        chunks = read(source, ledger)
        commit(ledger, chunks)
        source.close()
        found.append([outcome.reason or outcome.value for outcome in outcomes_of(chunks)])
        ledger = ledger.reopened()
    assert found == [[b"1", "truncated_json"], [], [b"2", b"3"]]


# Followed files.


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        return self.now


class Place:
    """A followed folder with a log of several lines a record."""

    def __init__(self, folder: Path) -> None:
        self.log = folder / "a.log"
        self.ledger = MemoryLedger()
        self.clock = Clock()
        self.source = self._opened()

    def _opened(self) -> DirectorySource:
        given = Directory(paths=[str(self.log.parent)], poll_s=0.0, framing="multiline", record_start="[0-9]")
        return DirectorySource(given, self.ledger, BATCH, self.clock)

    def write(self, data: bytes) -> None:
        with self.log.open("ab") as file:
            file.write(data)

    def read(self) -> list[tuple[int, int, bytes]]:
        """What there is now: offset, line and value of each record; all is durable at once."""
        chunks = [chunk for chunk in self.chunks() if chunk.fault != FILE_LOST]
        return [outcome[:2] + outcome[3:] for outcome in outcomes_of(chunks)]

    def chunks(self) -> list[Chunk]:
        """The same, as it is handed out."""
        chunks = read(self.source, self.ledger)
        commit(self.ledger, chunks)
        return chunks

    def again(self) -> None:
        """The next run."""
        self.source.close()
        self.ledger = self.ledger.reopened()
        self.source = self._opened()


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Place]:
    monkeypatch.setattr("actors.sources.lookout._LONG_S", math.inf)  # the clock is the test's
    place = Place(tmp_path)
    yield place
    place.source.close()


def test_the_last_record_of_a_followed_file_is_whole_when_the_file_is_silent(place: Place) -> None:
    place.write(b"1 first\n at x\n2 second\n at y\n hal")
    assert place.read() == [(0, 1, b"1 first\n at x")]
    place.clock.now += 59
    assert place.read() == [], "it may go on"
    place.clock.now += 2
    assert place.read() == [(14, 3, b"2 second\n at y")]
    place.clock.now += 61
    assert place.read() == [], "half a line is nothing yet"
    place.write(b"f a line\n at z\n3 third\n")
    assert place.read() == [(29, 5, b" half a line\n at z")], "what goes on is a record of its own"


def test_where_a_silent_record_ended_is_a_border_in_the_ledger(place: Place) -> None:
    place.write(b"1 first\n")
    assert place.read() == []
    place.clock.now += 61
    assert place.read() == [(0, 1, b"1 first")]
    place.again()
    place.write(b" at x\n2 second\n")
    assert place.read() == [(8, 2, b" at x")]


def test_a_record_that_grows_is_waited_for(place: Place) -> None:
    place.write(b"1 first\n")
    assert place.read() == []
    for number in range(5):
        place.clock.now += 40
        place.write(b" at %d\n" % number)
        assert place.read() == []
    place.clock.now += 61
    ((_, _, value),) = place.read()
    assert value == b"1 first\n at 0\n at 1\n at 2\n at 3\n at 4"


def test_a_rotated_file_ends_with_its_last_record(place: Place) -> None:
    place.write(b"1 first\n at x\n")
    assert place.read() == []
    place.log.rename(place.log.with_name("a.log.1"))
    place.write(b"2 second\n")
    assert place.read() == []
    place.clock.now += 61
    assert sorted(place.read()) == [(0, 1, b"1 first\n at x"), (0, 1, b"2 second")]


def test_a_deleted_file_gives_its_last_record_at_once(place: Place) -> None:
    place.write(b"1 first\n at x\n")
    assert place.read() == []
    place.log.unlink()
    assert place.read() == [(0, 1, b"1 first\n at x")]


def test_a_file_that_was_truncated_is_a_unit_of_its_own_and_its_hole_one_fault(place: Place) -> None:
    place.write(b"1 first\n2 second\n")
    assert place.read() == [(0, 1, b"1 first")]
    os.truncate(place.log, 0)
    assert [(chunk.start, chunk.end, chunk.fault) for chunk in place.chunks()] == [(8, 17, FILE_LOST)]
    os.truncate(place.log, 1000)
    place.write(b"3 third\n4 fourth\n")
    assert place.read() == [(0, 1, b""), (1000, 1, b"3 third")]
    assert [unit.low for unit in place.ledger.units] == [17, 1008]


def test_what_goes_on_behind_half_a_line_that_was_taken_for_one_is_torn(place: Place, tmp_path: Path) -> None:
    place.write(b"1 first\n2 sec")
    framing = FRAMINGS["multiline"]
    source = directory(tmp_path, framing, place.ledger)
    assert [outcome.value for outcome in outcomes_of(read(source, place.ledger))] == [b"1 first", b"2 sec"]
    source.close()
    place.ledger.units[0].low = 13
    place.ledger.units[0].lines = 1
    place.again()
    place.write(b"ond\n3 third\n4 fourth\n")
    first, *rest = read(place.source, place.ledger)
    assert (first.fault, first.data) == ("line_torn", b"ond\n")
    assert [outcome.value for outcome in outcomes_of(rest)] == [b"3 third"]


def test_the_last_record_of_a_pipe_is_whole_when_nothing_comes() -> None:
    ends = os.pipe()
    clock, ledger = Clock(), MemoryLedger()
    given = Stdin(framing="multiline", record_start="[0-9]", idle_timeout_s=5)
    source = RecordStdinSource(given, ledger, BATCH, ends[0], clock)
    os.write(ends[1], b"1 first\n at x\n")
    assert source.wake is None, "it is looked at without being woken"
    assert read(source, ledger) == []
    clock.now += 6
    (chunk,) = read(source, ledger)
    assert [record.value for record in records_in(chunk.data)] == [b"1 first\n at x"]
    os.close(ends[1])
    assert read(source, ledger) == []
    assert source.exhausted
    os.close(ends[0])


def test_what_a_reader_that_died_had_read_of_a_framed_pipe_is_gone_and_that_is_said() -> None:
    ends = os.pipe()
    ledger = MemoryLedger()
    given = Stdin(framing="csv")
    source = stdin_source(given, ledger, 10, ends[0])
    os.write(ends[1], b'1,"\n"\n2,345\n4')
    first, second = read(source, ledger)
    ledger.close(first, {})
    ledger = ledger.reopened()
    source = stdin_source(given, ledger, 10, ends[0])
    os.write(ends[1], b",5\n6,7\n")
    os.close(ends[1])
    chunks = read(source, ledger)
    os.close(ends[0])
    assert [(chunk.start, chunk.end, chunk.fault) for chunk in chunks[:2]] == [
        (second.start, second.end, "stdin_lost"), (second.end, second.end + 1, "stdin_lost")]
    assert [outcome.value for outcome in outcomes_of(chunks[2:])] == [b",5", b"6,7"]


# Options.


@pytest.mark.parametrize(("given", "what"), [
    ({"framing": "csv", "delimiter": ",,"}, "delimiter: expected one ASCII character"),
    ({"framing": "csv", "quote": "\n"}, "quote: expected one ASCII character"),
    ({"framing": "csv", "quote": ","}, "quote: expected another character than the delimiter"),
    ({"framing": "multiline"}, "record_start: expected a regular expression that the first line"),
    ({"framing": "multiline", "record_start": "("}, "record_start: expected a regular expression, got '('"),
    ({"framing": "multiline", "record_start": "ä"}, "record_start: expected ASCII"),
    ({"record_start": "x"}, 'record_start: it is for framing = "multiline"'),
    ({"framing": "json_array", "length": "u8"}, 'length: it is for framing = "length_prefixed"'),
    ({"framing": "xml"}, "Invalid enum value 'xml'"),
    ({"framing": "length_prefixed", "length": "u24"}, "Invalid enum value 'u24'"),
])
def test_options_that_cannot_be_are_refused(given: dict[str, object], what: str) -> None:
    for kind in (Files, Directory, Stdin):
        with pytest.raises((msgspec.ValidationError, ConfigError)) as refused:
            msgspec.convert(given, kind)
        assert what in str(refused.value)


def test_they_say_how_they_are_framed() -> None:
    assert Files(pattern="a", framing="csv").describe() == "files a, framed as csv"
    assert Directory(paths=["a"], framing="json_array").describe() == "paths a, followed, framed as json_array"
    assert Stdin(framing="length_prefixed").describe() == "standard input, framed as length_prefixed"
    assert Files(pattern="a").describe() == "files a"


def test_the_sample_of_a_directory_is_framed_as_it_is() -> None:
    sample = Directory(paths=["a"], framing="csv", delimiter=";").sample()
    assert (sample.framing, sample.delimiter) == ("csv", ";")
