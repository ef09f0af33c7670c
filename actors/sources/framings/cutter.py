"""The bytes of one file cut into chunks of records: as ``actors.sources.cutter.Cutter`` does with lines."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actors.runtime.values import Chunk, Unit
from actors.sources.cutter import HELD_BYTES, Cutter
from actors.sources.framings.assembler import Assembler, framing_changed
from actors.sources.framings.scanner import End, Scanner
from actors.sources.streams import ByteStream, Fault
from actors.sources.tail import Limits


def cutter_for(
    stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], limits: Limits,
    passed: Callable[[bytes | bytearray], None] | None = None,
) -> AnyCutter:
    """Return what cuts the bytes of a unit as its framing says."""
    if limits.scanner is None:
        return Cutter(stream, unit, recorded, *limits[:2], passed=passed)
    return RecordCutter(stream, unit, recorded, limits.batch_bytes, limits.scanner(), passed)


class RecordCutter:
    """Cuts the bytes of one unit into chunks of records, from ``unit.low`` on.

    Args:
        stream: the unit's bytes, at their beginning.
        unit: where the unit begins and how far it is committed.
        recorded: ranges that were issued beyond ``low``; they come first, exactly so.
        batch_bytes: size of a chunk, about.
        scanner: of its framing.
        passed: is given all bytes that are in chunks, block by block.
    """

    def __init__(
        self, stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int, scanner: Scanner,
        passed: Callable[[bytes | bytearray], None] | None = None,
    ) -> None:
        self._stream = stream
        self._unit = unit
        self._recorded = deque(recorded)
        self._batch_bytes = min(batch_bytes, scanner.max_bytes)
        self._held_bytes = max(scanner.max_bytes, HELD_BYTES)
        self._assembler = Assembler(unit, scanner, self._batch_bytes, passed)
        self._buffer = self._assembler.buffer
        self._at_end = False  # the stream has no more than what is in the buffer
        self._is_started = False
        self._is_complete = False  # nothing follows but what is recorded

    @property
    def position(self) -> int:
        """End of the last chunk."""
        return self._assembler.position

    @property
    def finished(self) -> bool:
        """Whether there is no further chunk."""
        return self._is_complete and not self._recorded

    @property
    def has_recorded(self) -> bool:
        """Whether the next chunk was on its way before."""
        return bool(self._recorded)

    def next(self) -> Chunk | None:
        """Return the next chunk, or None at the end of the unit.

        Raises:
            OSError: the file cannot be read on.
        """
        if not self._is_started:
            self._is_started = True
            done = self._unit.low - self._unit.base
            self._is_complete = self._stream.skip(done) < done  # a fault without data has a position of its own
        if self._recorded:
            return self._again(self._recorded.popleft()[1] - self.position)
        return None if self._is_complete else self._fresh()

    def _fresh(self) -> Chunk | None:
        self._fill(self._batch_bytes)
        while True:
            is_whole = self._at_end and self._stream.fault is None
            if chunk := self._assembler.next(End.CONTENT if is_whole else End.MORE):
                return chunk
            if self._at_end:
                self._is_complete = True
                return None if self._stream.fault is None else self._cut_off(self._stream.fault)
            self._fill(len(self._buffer) + 1)

    def _cut_off(self, fault: Fault) -> Chunk:
        """The bytes end before the content does: what there is of the last record is a fault."""
        return self._assembler.give_up(max(1, self._assembler.left), fault, self._assembler.rest())

    def _again(self, size: int) -> Chunk:
        """Cut so many bytes once more."""
        self._fill(min(size + 1, self._held_bytes))
        if len(self._buffer) < size and not self._at_end:
            if chunk := self._assembler.over(size, self._fill_more):
                return chunk
            return self._missing(size)
        fault = self._stream.fault
        is_last = self._at_end and len(self._buffer) <= size and not self._recorded
        if len(self._buffer) < size:
            return self._missing(size)
        is_cut_off = is_last and fault is not None
        end = End.MORE if is_cut_off else End.CONTENT if is_last else End.BORDER
        if chunk := self._assembler.again(size, end):
            return chunk
        if is_cut_off:
            return self._missing(size)
        return self._assembler.give_up(size, framing_changed(size))

    def _missing(self, size: int) -> Chunk:
        """What is left of a recorded range that the file has no longer, or that ends in a fault."""
        made = self._assembler
        fault = self._stream.fault or Fault("file_changed", (
            f"{size} bytes were read here before and {made.left} are left: the file was changed between two runs"))
        self._is_complete = True
        return made.give_up(size, fault, made.rest())

    def _fill(self, size: int) -> None:
        while len(self._buffer) < size and not self._at_end:
            self._fill_more()

    def _fill_more(self) -> bool:
        block = self._stream.read()
        self._buffer += block
        self._at_end = not block
        return not self._at_end


AnyCutter = Cutter | RecordCutter
