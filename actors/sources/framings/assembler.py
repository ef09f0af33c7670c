"""Chunks of records from the bytes of one unit, as they come: what ``RecordCutter`` and standard input have in common.

    bytes ─▶ buffer ─▶ scanner ─▶ records, about ``batch_bytes`` of them ─▶ chunk
               │          └─ a fault ─▶ a chunk of its own, with its bytes if these are no more than a record may have
               └─ dropped as they are looked at, when the item is longer than that

A chunk begins where the one before it ends: a gap belongs to what follows it, or at the end to a chunk without records.
"""

from __future__ import annotations

from collections.abc import Callable

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.progress import progress
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.scanner import End, Item, Run, Scanner
from actors.sources.streams import Fault

#: Bytes that are scanned at a time: a fault ends a chunk, and what is behind it is looked at once more.
STEP_BYTES = 64 * 1024


class Assembler:
    """Makes chunks of a unit, from ``unit.low`` on.

    Args:
        unit: where the unit begins and how far it is committed.
        scanner: of its framing.
        batch_bytes: size of a chunk, about.
        passed: is given all bytes that are in chunks, block by block, before the chunk is.

    Attributes:
        position: end of the last chunk.
        buffer: bytes that are in no chunk yet, and may be put into one.
        gap: bytes from the position to the border; what is behind that the scanner looks at.
    """

    def __init__(
        self, unit: Unit, scanner: Scanner, batch_bytes: int, passed: Callable[[bytes | bytearray], None] | None = None
    ) -> None:
        self.position = unit.low
        self.buffer = bytearray()
        self._unit = unit
        self._scanner = scanner
        self._batch_bytes = batch_bytes
        self._passed = passed
        self._line = unit.lines + 1  # at the position
        self.gap = self._gap_lines = 0  # from the position to the border that the buffer begins at
        self._dropped = self._dropped_lines = 0  # bytes behind the border, before those of the buffer
        self._fault: Item | None = None  # what the buffer begins with
        scanner.begin(unit.low == unit.base)

    def next(self, end: End) -> Chunk | None:
        """Return the next chunk; None: more is needed, or there is no more. ``end``: what is behind the buffer."""
        if self._fault is None and not self._scanner.looked:
            records, size, lines = self._records(min(self._batch_bytes, len(self.buffer)), end)
            if records:
                return self._chunk(records, size, lines)
            self._pass(size, lines)
        return self._single(end)

    def again(self, size: int, end: End) -> Chunk | None:
        """Return the next ``size`` bytes, which are in the buffer, as one chunk, which they were before.

        None: they are not whole records, nor one fault; all is as before.

        Args:
            size: so many bytes.
            end: what is behind them; ``MORE``: they are the last that could be had of a damaged file.
        """
        most = self._scanner.max_bytes
        for limit in (most, max(most, size)):  # what was cut with another limit stays in one piece
            run = self._run_again(size, end, limit)
            if run.size == size and (run.records or end is not End.MORE):
                return self._chunk(run.records, size, run.lines)
            if run.fault is not None and not run.records and run.size + run.fault.size == size:
                self._pass(run.size, run.lines)
                return self._faulty(run.fault)
        return None

    def over(self, size: int, fill: Callable[[], bool]) -> Chunk | None:
        """Return the next ``size`` bytes, which are too many to hold, as the one fault that they were before.

        None: there are not so many.

        Args:
            size: so many bytes.
            fill: puts more into the buffer; returns False when there is no more.
        """
        item: Item | None = None
        while self._dropped < size:
            until = min(len(self.buffer), size - self._dropped)
            if item is None:
                end = End.BORDER if self._dropped + until == size else End.MORE
                item = self._scanner.look(self.buffer, self._scanner.looked - self._dropped, until, end)
            self._spend(until if item is not None else self._scanner.looked - self._dropped)
            progress()  # there may be gigabytes
            is_short = self._dropped + len(self.buffer) < size
            if is_short and (item is None or not self.buffer) and not fill():
                return None
        if item is None or item.size != size or not item.reason:
            item = Item(size, 0, 0, 0, "record_too_long", f"these {size} bytes were passed over before, as one record")
        return self._faulty(item)

    def give_up(self, size: int, fault: Fault, kept: bytes = b"") -> Chunk:
        """Return the next ``size`` bytes as one fault, whatever there is of them."""
        end = self.position + size
        self._spend(min(len(self.buffer), max(0, size - self.gap - self._dropped)))
        self._fault = None
        self._scanner.begin(False)
        return self._made([Record(self._offset(), kept, self._line_at(0))], end, self._taken_lines(), fault)

    @property
    def left(self) -> int:
        """How many bytes are in no chunk yet: those of the buffer, and those before them."""
        return self.gap + self._dropped + len(self.buffer)

    def rest(self) -> bytes:
        """The bytes of the item that is not finished, if they are no more than a record may have."""
        is_short = not self._dropped and len(self.buffer) <= self._scanner.max_bytes
        return bytes(self.buffer) if is_short else b""

    def _records(self, stop: int, end: End) -> tuple[list[Record], int, int]:
        """All records in so many bytes, up to a fault; their bytes and their lines, with the gaps."""
        records: list[Record] = []
        size = lines = 0
        while size < stop and self._fault is None:
            until = min(size + STEP_BYTES, stop)
            if size:
                self._scanner.begin(False)
            behind = end if until == len(self.buffer) else End.MORE
            run = self._scanner.run(self.buffer, size, until, behind, self._border() + size, self._line_at(lines))
            records += run.records
            size, lines, self._fault = size + run.size, lines + run.lines, run.fault
            if run.size < STEP_BYTES // 2:
                break  # what follows is long: it is a chunk of its own
        return records, size, lines

    def _run_again(self, size: int, end: End, limit: int) -> Run:
        scanner, most = self._scanner, self._scanner.max_bytes
        is_first = self.position == self._unit.base
        scanner.max_bytes = limit
        scanner.begin(is_first)
        run = scanner.run(self.buffer, 0, size, end, self._offset(), self._line_at(0))
        scanner.max_bytes = most
        scanner.begin(is_first)
        return run

    def _single(self, end: End) -> Chunk | None:
        """The one item that comes next."""
        while True:
            scanner = self._scanner
            item, self._fault = self._fault, None
            if item is None:
                item = scanner.look(self.buffer, scanner.looked - self._dropped, len(self.buffer), end)
            if item is None:
                self._drop_if_long()
                return self._chunk([], 0, 0) if end.is_final and self.gap and not self.buffer else None
            if item.reason:
                return self._faulty(item)
            if item.at >= 0:
                return self._record_of(item)
            self._pass(item.size, -1)
            scanner.begin(False)

    def _drop_if_long(self) -> None:
        if self._scanner.is_long:
            self._spend(self._scanner.looked - self._dropped)
            progress()  # there may be gigabytes

    def _record_of(self, item: Item) -> Chunk:
        value = self._scanner.value(bytes(self.buffer[item.begin:item.stop]))
        before = self.buffer.count(b"\n", 0, item.at) if item.at else 0
        record = Record(self._border() + item.at, value, self._line_at(before))
        return self._chunk([record], item.size, self._count(item.size))

    def _faulty(self, item: Item) -> Chunk:
        is_kept = item.stop - item.begin if not self._dropped else 0
        kept = self._scanner.value(bytes(self.buffer[item.begin:item.stop])) if is_kept else b""
        before = 0 if self._dropped or not item.at else self.buffer.count(b"\n", 0, item.at)
        place, line = self._border() + item.at, self._line_at(before)
        where = f"line {line}, byte {place}" if self._scanner.has_lines else f"byte {place}"
        end = self.position + self.gap + item.size
        self._spend(item.size - self._dropped)
        chunk = self._made([Record(place, kept, line)], end, self._taken_lines(),
                           Fault(item.reason, f"{where} of the content: {item.detail}"))
        self._scanner.begin(False)
        return chunk

    def _chunk(self, records: list[Record], size: int, lines: int) -> Chunk:
        end = self.position + self.gap + size
        if self._passed is not None and size:
            self._passed(bytes(self.buffer[:size]))
        del self.buffer[:size]
        self._scanner.begin(False)
        return self._made(records, end, self._gap_lines + lines, Fault("", ""))

    def _made(self, records: list[Record], end: int, lines: int, fault: Fault) -> Chunk:
        start, has_lines = self.position, self._scanner.has_lines
        chunk = Chunk(
            self._unit.id, self._unit.name, start, end, self._offset(), self._line if has_lines else 0,
            pack_records(records), fault.reason, fault.detail, lines, framing=RECORDS)
        self._line += lines
        self.position = end
        self.gap = self._gap_lines = self._dropped = self._dropped_lines = 0
        return chunk

    def _pass(self, size: int, lines: int) -> None:
        """So many bytes are a gap, with so many lines (-1: they are not counted)."""
        left = size - self._dropped
        self._gap_lines += self._dropped_lines + (self._count(left) if lines < 0 else lines)
        if self._passed is not None and left:
            self._passed(bytes(self.buffer[:left]))
        del self.buffer[:left]
        self.gap += size
        self._dropped = self._dropped_lines = 0

    def _spend(self, size: int) -> None:
        """Drop so many bytes of the buffer, which belong to the item."""
        self._dropped_lines += self._count(size)
        if self._passed is not None and size:
            self._passed(bytes(self.buffer[:size]))
        del self.buffer[:size]
        self._dropped += size

    def _count(self, size: int) -> int:
        return self.buffer.count(b"\n", 0, size) if self._scanner.has_lines else 0

    def _taken_lines(self) -> int:
        return self._gap_lines + self._dropped_lines

    def _offset(self) -> int:
        """Of the position in the unit."""
        return self.position - self._unit.base

    def _border(self) -> int:
        """Of the border in the unit."""
        return self._offset() + self.gap

    def _line_at(self, before: int) -> int:
        """The line that so many newlines are before, from the border on."""
        return self._line + self._gap_lines + before if self._scanner.has_lines else -1


def framing_changed(size: int) -> Fault:
    """A range that was cut before is neither whole records nor one fault any more."""
    return Fault("framing_changed", (
        f"these {size} bytes were cut before with another framing, or other options of it, and are no whole records "
        "now: give the file again under another name"))
