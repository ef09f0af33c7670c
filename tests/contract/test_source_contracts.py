"""The public contract of sources, kept by all that ship."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from actors.console.retry_plan import make_plan
from actors.runtime.framing import Record, envelope_of
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import DeadLetter, Payload
from actors.sinks.dead_letters import DeadLetters, open_letters
from actors.sinks.topic import Topic as TopicSink
from actors.sources.dead_letters import PlannedLetters
from actors.sources.directory import Directory
from actors.sources.files import Files
from actors.sources.stdin import Stdin, StdinSource
from actors.sources.tcp import Tcp
from actors.sources.topic import Topic
from actors.testing import MemorySource, SourceContract
from tests.tcp import address_of

RECORDS = [b"record number %d of some" % number for number in range(40)]
CONTENT = b"".join(record + b"\n" for record in RECORDS)
MIDDLE = CONTENT.index(b"\n", 500) + 1


class Contract(SourceContract):
    __test__ = False

    def records(self) -> Sequence[bytes | Record]:
        return RECORDS


class TestFiles(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        (folder / "a.log").write_bytes(CONTENT[:MIDDLE])
        (folder / "b.log.gz").write_bytes(gzip.compress(CONTENT[MIDDLE:].removesuffix(b"\n")))
        return Files(pattern=f"{folder}/*.log*")

    def put_away(self, folder: Path) -> bool:
        return sorted(path.name for path in folder.glob("*log*")) == sorted([".a.log", ".b.log.gz"])


class TestFilesThatKeepTheirNames(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        (folder / "a.log").write_bytes(CONTENT)
        return Files(paths=[str(folder / "a.log")], rename="none")

    def put_away(self, folder: Path) -> bool:
        return (folder / "a.log").exists()


class TestDirectory(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        (folder / "logs").mkdir()
        (folder / "logs" / "a.log").write_bytes(CONTENT)
        return Directory(paths=[str(folder / "logs")], follow=False)


class TestFollowedDirectory(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        (folder / "logs").mkdir()
        (folder / "logs" / "a.log").write_bytes(CONTENT)
        return Directory(paths=[str(folder / "logs")], poll_s=0.01)


class TestMemory(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        return MemorySource(units={"a": CONTENT[:MIDDLE], "b": CONTENT[MIDDLE:]})


class TestMemoryOfRecords(Contract):
    """Records with gaps between them, newlines in them, and without values."""

    __test__ = True

    def records(self) -> list[Record]:
        return [Record(3 * number + number // 7, None if number % 9 == 4 else b"some\nrecord %d" % number,
                       time=1000 + number, key=b"key %d" % (number % 5), headers=(("n", b"%d" % number), ("n", None)))
                for number in range(60)]

    def options(self, folder: Path) -> SourceOptions:
        return MemorySource(units={"topic/0": self.records()})


class TestMemoryOfRecordsWithLines(Contract):
    """Records of a file, of one line or several; two units."""

    __test__ = True

    def records(self) -> list[Record]:
        line = 1
        records: list[Record] = []
        for number in range(60):
            if number == 40:
                line = 1
            records.append(Record(20 * (number % 40), b"row\n" * (number % 3) + b"%d" % number, line))
            line += number % 3 + 1
        return records

    def options(self, folder: Path) -> SourceOptions:
        return MemorySource(units={"a.csv": self.records()[:40], "b.csv": self.records()[40:]})


class TestDeadLettersOfRecords(Contract):
    """Each letter is a record as it came, however many newlines it has."""

    __test__ = True

    def records(self) -> list[Record]:
        return [Record(5 * number, None if number == 7 else b"\n" * (number % 4) + b"record %d" % number, -1, number,
                       b"key", (("h", b"\xff"),)) for number in range(40)]

    def options(self, folder: Path) -> SourceOptions:
        return _planned(folder, [
            DeadLetter("checker", "why", "", "topic/0", "p", record.offset, record.offset, record.line,
                       record.value or b"", envelope=envelope_of(record)) for record in self.records()])


class TestDeadLetters(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        return _planned(folder, [DeadLetter("parser", "why", "", "a.log", "p", number, 0, 1, raw)
                                 for number, raw in enumerate(RECORDS)])


def _planned(folder: Path, letters: list[DeadLetter]) -> PlannedLetters:
    """A retry of these letters."""
    options = DeadLetters(path=str(folder / "letters.db"))
    with closing(options.open("dead_letters", folder)) as sink:
        sink.write([Payload("p", 0, 1, len(letters), options.pack(letters))])
    with closing(open_letters(folder / "letters.db")) as connection:
        plan = make_plan(connection, range(1, len(letters) + 1), only_missing=False)
    assert plan is not None
    return PlannedLetters(path=str(folder / "letters.db"), retry=plan.retry, key=plan.key, total=plan.total)


class TestTcp(Contract):
    __test__ = True
    clients: list[socket.socket]

    @pytest.fixture(autouse=True)
    def _clients(self) -> Iterator[None]:
        self.clients = []
        yield
        for client in self.clients:
            client.close()

    def options(self, folder: Path) -> SourceOptions:
        return Tcp(port=0)

    def feed(self, folder: Path, source: Source) -> None:
        self.clients.append(socket.create_connection(address_of(folder / "state")))
        self.clients[-1].sendall(CONTENT)


class Redirected(Stdin, frozen=True, kw_only=True):
    """Standard input that is another descriptor."""

    descriptor: int

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path | None = None) -> StdinSource:
        return StdinSource(self, ledger, batch_bytes, self.descriptor)


class OfDescriptors(Contract):
    descriptors: list[int]

    @pytest.fixture(autouse=True)
    def _descriptors(self) -> Iterator[None]:
        self.descriptors = []
        yield
        for descriptor in self.descriptors:
            os.close(descriptor)


class TestStdinOfAFile(OfDescriptors):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        (folder / "in").write_bytes(CONTENT)
        self.descriptors.append(os.open(folder / "in", os.O_RDONLY))
        return Redirected(descriptor=self.descriptors[-1])


class TestStdinOfAPipe(OfDescriptors):
    __test__ = True
    rereads: ClassVar[bool] = False

    def options(self, folder: Path) -> SourceOptions:
        reads, writes = os.pipe()
        os.write(writes, CONTENT)
        os.close(writes)
        self.descriptors.append(reads)
        return Redirected(descriptor=reads)


def make_topic(folder: Path) -> None:
    """Append the records, in batches of seven, in several segments."""
    options = TopicSink(segment_bytes=300, sync=False)
    with closing(options.open("words", folder)) as sink:
        for start in range(0, len(RECORDS), 7):
            items = [(b"%d" % (number % 5), record) for number, record in enumerate(RECORDS[start:start + 7], start)]
            sink.write([Payload("p", start, start + len(items), len(items), options.pack(items))])


class TestTopic(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        make_topic(folder)
        return Topic(topics=[str(folder / "words")], follow=False)


class TestFollowedTopic(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        make_topic(folder)
        return Topic(topics=[f"topic://{folder}/words"], poll_s=0.01)
