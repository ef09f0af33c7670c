"""A file that grows, framed as records: whatever comes when, and whoever dies, the records of a plain reading.

The tails are those of the ``directory`` source, on a real file; what they are known by is summed up as they go.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.values import Chunk, Unit
from actors.sources.content import Sum
from actors.sources.framings.tail import RecordTail, tail_of
from actors.sources.marks import Mark
from actors.sources.tail import Limits, Tail
from tests.framings import FRAMINGS, MOST, Framing, outcomes_of
from tests.properties.test_framings import contents

few = settings(max_examples=40, deadline=None)
each_framing = pytest.mark.parametrize("framing", FRAMINGS.values(), ids=FRAMINGS)


class Growing:
    """A file that grows, and the tail that reads it.

    Attributes:
        chunks: what it has handed out.
    """

    def __init__(self, path: Path, framing: Framing, batch: int) -> None:
        self.chunks: list[Chunk] = []
        self._framing = framing
        self._batch = batch
        self._path = path
        path.write_bytes(b"")
        self._fd = os.open(path, os.O_RDWR | os.O_APPEND)
        self._content = b""
        self._unit = Unit(1, "unit", "", 0, 0, 0, None, "reading", {})
        self.tail = self._opened(())

    def _opened(self, recorded: Sequence[tuple[int, int]]) -> Tail:
        limits = Limits(self._batch, MOST, self._framing.scanner)
        tail = tail_of(self._unit, Mark.of(self._content[:1024], 1, 1), str(self._path), limits)
        tail.begin(self._content[:1024], list(recorded))
        return tail

    def write(self, data: bytes) -> None:
        """It grows."""
        os.write(self._fd, data)
        self._content += data

    def read(self, ended: bool = False) -> None:
        """Read all that can be read now."""
        while (chunk := self.tail.cut(self._fd, ended)) is not None:
            self.chunks.append(chunk)
            assert chunk.prefix == Sum().then(self._content[:chunk.end]).text() or chunk.fault.startswith(
                ("truncated", "corrupt"))

    def die(self, done: int) -> list[Chunk]:
        """The reader dies when so many chunks are committed; the next one goes on. Return those that were on their
        way."""
        committed, on_their_way = self.chunks[:done], self.chunks[done:]
        if committed:
            last = committed[-1]
            self._unit = msgspec.structs.replace(
                self._unit, low=last.end, lines=sum(chunk.lines for chunk in committed), prefix=last.prefix)
        self.chunks = committed
        self.tail = self._opened([(chunk.start, chunk.end) for chunk in on_their_way])
        return on_their_way

    def close(self) -> None:
        os.close(self._fd)


@contextmanager
def growing(folder: Path, framing: Framing, batch: int) -> Iterator[Growing]:
    file = Growing(folder / "growing", framing, batch)
    try:
        yield file
    finally:
        file.close()


@each_framing
@few
@given(data=st.data())
def test_a_file_that_grows_is_the_records_of_a_plain_reading(
    tmp_path_factory: pytest.TempPathFactory, framing: Framing, data: st.DataObject
) -> None:
    content = data.draw(contents(framing))
    plain = framing.read(content, MOST)
    if any(each.reason.startswith("corrupt") for each in plain):
        return  # where such a fault ends depends on what is there: see below
    with growing(tmp_path_factory.getbasetemp(), framing, data.draw(st.integers(1, 120))) as file:
        at = 0
        while at < len(content):
            size = data.draw(st.integers(1, 50))
            file.write(content[at:at + size])
            at += size
            if data.draw(st.booleans()):
                file.read()
            if data.draw(st.integers(0, 9)) == 0:
                done = data.draw(st.integers(0, len(file.chunks)))
                on_their_way = file.die(done)
                file.read()
                again = file.chunks[done:done + len(on_their_way)]
                assert [(each.start, each.end, each.data, each.fault) for each in again] == [
                    (each.start, each.end, each.data, each.fault) for each in on_their_way]
        file.read(ended=True)
        assert outcomes_of(file.chunks) == plain
        assert [chunk.start for chunk in file.chunks[1:]] == [chunk.end for chunk in file.chunks[:-1]]
        assert (file.chunks[-1].end if file.chunks else 0) == file.tail.position


@each_framing
@few
@given(data=st.data())
def test_what_cannot_be_read_of_a_file_that_grows_is_one_fault_up_to_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, framing: Framing, data: st.DataObject
) -> None:
    content = data.draw(contents(framing))
    with growing(tmp_path_factory.getbasetemp(), framing, data.draw(st.integers(1, 120))) as file:
        file.write(content)
        if data.draw(st.booleans()):
            file.read()
        file.read(ended=True)
        assert outcomes_of(file.chunks) == framing.read(content, MOST)
        assert isinstance(file.tail, RecordTail)
        assert file.tail.position == len(content)
