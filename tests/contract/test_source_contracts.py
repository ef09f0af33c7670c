"""The public contract of sources, kept by all that ship."""

from __future__ import annotations

import gzip
import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import ClassVar

import pytest

from actors.console.retry_plan import make_plan
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

    def records(self) -> list[bytes]:
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


class TestDeadLetters(Contract):
    __test__ = True

    def options(self, folder: Path) -> SourceOptions:
        options = DeadLetters(path=str(folder / "letters.db"))
        letters = [DeadLetter("parser", "why", "", "a.log", "p", number, 0, 1, raw)
                   for number, raw in enumerate(RECORDS)]
        sink = options.open("dead_letters", folder)
        sink.write([Payload("p", 0, 1, len(letters), options.pack(letters))])
        sink.close()
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
