"""Files that grow, and are rotated in every way, under a reader that dies: each line exactly once, in its order."""

from __future__ import annotations

import os
import shutil
from contextlib import ExitStack
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from actors.runtime.ledger import Ledger
from actors.runtime.values import Chunk
from actors.sources.directory import Directory, DirectorySource
from actors.sources.formats import packing_of, refusal


class Clock:
    """Time that passes only when somebody says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Reading:
    """A reader with its ledger in a file: issues what it reads, closes some of it, dies, is there again."""

    def __init__(self, folder: Path, state: Path, random: Random, follow: bool = True) -> None:
        self.folder = folder
        self.state = state
        self.random = random
        self.follow = follow
        self.clock = Clock()
        #: What is durable, by (partition, start): (end, data).
        self.durable: dict[tuple[str, int], tuple[int, bytes]] = {}
        self.faults: list[Chunk] = []
        self.runs = 0
        self.open("run-0")

    def open(self, run: str) -> None:
        self.ledger = Ledger(self.state / "positions.db", run)
        options = Directory(paths=[str(self.folder)], follow=self.follow, poll_s=0.0, idle_timeout_s=60.0)
        self.source = DirectorySource(options, self.ledger, self.random.randint(1, 60), self.clock)
        self.pending: dict[int, list[Chunk]] = {}

    def step(self) -> bool:
        """Read one chunk."""
        chunk = self.source.read()
        if chunk is not None:
            self.ledger.issue(chunk)
            self.ledger.flush()
            self.pending.setdefault(chunk.unit, []).append(chunk)
        return chunk is not None

    def drain(self) -> None:
        """Read until nothing comes, some looks long."""
        quiet = 0
        while quiet < 4:
            quiet = 0 if self.step() else quiet + 1

    def close(self, most: int) -> None:
        """Let some of what was read become durable, unit by unit in order."""
        for chunks in self.pending.values():
            for chunk in chunks[:most]:
                self.ledger.close(chunk, {"read": 1})
                if chunk.fault:
                    self.faults.append(chunk)
                else:
                    key = (self.ledger.partition(chunk.unit), chunk.start)
                    known = self.durable.setdefault(key, (chunk.end, bytes(chunk.data)))
                    assert known == (chunk.end, bytes(chunk.data))
            del chunks[:most]
        self.ledger.commit()

    def settle(self) -> None:
        """What was read to its end and is closed is done."""
        for unit in self.ledger.taken_up():
            if unit.end is not None and unit.low >= unit.end and unit.status == "reading":
                self.ledger.settle(unit, "done")

    def die(self, same_run: bool) -> None:
        """Lose all that is not committed, and begin again."""
        self.shut()
        self.runs += not same_run
        self.open(f"run-{self.runs}")

    def shut(self) -> None:
        """Leave everything as at a SIGKILL."""
        self.source.close()
        self.ledger._connection.close()

    def lines(self) -> list[bytes]:
        """All lines, partition by partition; that there are no gaps is looked at, too."""
        lines: list[bytes] = []
        for partition in sorted({partition for partition, _ in self.durable}):
            data, position = b"", 0
            for start, (end, piece) in sorted(
                    (start, one) for (name, start), one in self.durable.items() if name == partition):
                assert start == position
                data, position = data + piece, end
            lines += data.splitlines(keepends=True)
        return lines


class Writer:
    """Writes numbered lines in pieces, to the file that it has opened, whatever that is called now."""

    def __init__(self, path: Path, tag: str) -> None:
        self.path = path
        self.tag = tag
        self.written: list[bytes] = []
        self.left = b""
        self.file = path.open("ab", buffering=0)
        self.old: list[Path] = []

    def write(self, random: Random) -> None:
        """Write on, maybe to the middle of a line."""
        if not self.left:
            for _ in range(random.randint(1, 4)):
                line = f"{self.tag} {len(self.written)} {'x' * random.choice([0, 3, 50])}\n".encode()
                self.written.append(line)
                self.left += line
        size = random.randint(1, len(self.left))
        self.file.write(self.left[:size])
        self.left = self.left[size:]

    def finish(self) -> None:
        """Write what is left of a line."""
        self.file.write(self.left)
        self.left = b""

    def shift(self) -> Path:
        """Give the older files the next numbers, as logrotate does; return the name for the newest."""
        names = [self.path.with_name(f"{self.path.name}.{number}") for number in range(1, len(self.old) + 2)]
        for older, name in zip(reversed(self.old), reversed(names), strict=False):
            older.rename(name)
        self.old = names
        return names[0]

    def rename(self, reopen: bool) -> None:
        """Rotate by a rename; the writer goes over to the new file now, or goes on in the old one for a while."""
        if self.file.tell() == 0 or not os.path.exists(self.path):
            return
        self.path.rename(self.shift())
        if reopen:
            self.reopen()
        else:
            self.path.touch()

    def reopen(self) -> None:
        """Go over to the file that has the name now."""
        self.finish()
        self.file.close()
        self.file = self.path.open("ab", buffering=0)

    def copy_and_truncate(self) -> None:
        """Rotate by a copy."""
        self.finish()  # a line across a truncation is a line torn by the rotation, not by the reader
        if os.fstat(self.file.fileno()).st_size and os.fstat(self.file.fileno()).st_ino == self.path.stat().st_ino:
            shutil.copyfile(self.path, self.shift())
            os.truncate(self.path, 0)


ACTIONS = ("write", "write", "write", "read", "read", "drain", "close", "die", "die", "rename", "rename late", "reopen",
           "copy", "time")


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), plan=st.lists(st.sampled_from(ACTIONS), max_size=60))
def test_each_line_comes_once_whatever_is_done_to_the_files_and_the_reader(seed: int, plan: list[str]) -> None:
    random = Random(seed)
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder, state = Path(place) / "logs", Path(place) / "state"
        folder.mkdir()
        writers = [Writer(folder / f"{tag}.log", tag) for tag in ("one", "two")]
        for one in writers:
            stack.callback(lambda writer: writer.file.close(), one)
        reading = Reading(folder, state, random)
        stack.callback(reading.shut)
        for action in plan:
            writer = random.choice(writers)
            match action:
                case "write":
                    writer.write(random)
                case "read":
                    reading.step()
                case "drain":
                    reading.drain()
                case "close":
                    reading.close(random.randint(0, 5))
                    reading.settle()
                case "die":
                    reading.die(same_run=random.random() < 0.5)
                case "rename":
                    writer.rename(reopen=True)
                case "rename late":
                    writer.rename(reopen=False)
                case "reopen":
                    writer.reopen()
                case "copy":
                    writer.copy_and_truncate()
                case "time":  # what is silent for so long in the middle of a line, and renamed, has ended there
                    for one in writers:
                        one.finish()
                    reading.drain()
                    reading.clock.now += 100.0
        for writer in writers:
            writer.finish()
        reading.drain()
        reading.close(10**6)
        reading.clock.now += 100.0
        reading.drain()
        reading.close(10**6)
        written = [line for writer in writers for line in writer.written]
        assert reading.faults == []
        assert sorted(reading.lines()) == sorted(written)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 2**32), content=st.binary(max_size=300).map(lambda text: text.replace(b"a", b"\n")))
def test_a_file_that_grows_in_pieces_is_its_chunks_whoever_reads_it(seed: int, content: bytes) -> None:
    assume(not any(packing_of(content[:size]) or refusal(content[:size]) for size in range(len(content) + 1)))
    random = Random(seed)
    with TemporaryDirectory() as place, ExitStack() as stack:
        folder, state = Path(place) / "logs", Path(place) / "state"
        folder.mkdir()
        reading = Reading(folder, state, random)
        stack.callback(reading.shut)
        at = 0
        while at < len(content):
            size = random.randint(1, 40)
            with (folder / "grows").open("ab") as file:
                file.write(content[at:at + size])
            at += size
            reading.drain()
            reading.close(random.randint(0, 3))
            if random.random() < 0.3:
                reading.die(same_run=random.random() < 0.5)
        reading.drain()
        reading.close(10**6)
        data = b"".join(piece for _, (_, piece) in sorted(reading.durable.items()))
        whole = content[:content.rfind(b"\n") + 1]
        assert data == whole.removeprefix(b"\xef\xbb\xbf")
        assert len({partition for partition, _ in reading.durable}) <= 1
