"""A source over what is in memory: lines as the bytes of a file, or records with places of their own.

Between the records of a unit there may be gaps, as between those of a topic: a chunk begins where the one before it
ended, and ends behind its last record. A unit ends behind its last record.
"""

from __future__ import annotations

import zlib
from collections import deque
from collections.abc import Callable, Mapping, Sequence

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, Unit

#: The content of a unit: the bytes of its lines, or its records.
Content = bytes | Sequence[Record]


class MemoryReading(Source):
    """The opened source: cuts the ranges that are recorded, then others of about the size that is asked for.

    Args:
        units: content by name.
        ledger: what is known about them.
        batch_bytes: called for the size of each next chunk.
    """

    def __init__(self, units: Mapping[str, Content], ledger: UnitLedger, batch_bytes: Callable[[], int]) -> None:
        self._queue = deque(units.items())
        self._total = sum(map(length_of, units.values()))
        self._ledger = ledger
        self._batch_bytes = batch_bytes
        self._unit: Unit | None = None
        self._content: Content = b""
        self._next = 0  # which record
        self._recorded: deque[tuple[int, int]] = deque()
        self._at = self._passed = 0
        self._is_new = True
        self._stopping = False
        self.exhausted = False

    def read(self) -> Chunk | None:
        """Return the next chunk, or None at the end of the last unit."""
        self._is_new = False
        while self._unit is None or self._at >= self._unit.base + length_of(self._content):
            if self._unit is not None:
                self._ledger.end(self._unit, self._at)
                self._passed += length_of(self._content)
                self._unit = None
            if not self._queue:
                self.exhausted = True
                return None
            self._take_up(*self._queue.popleft())
        if self._stopping and not self._recorded:
            self.exhausted = True
            return None
        if isinstance(self._content, bytes):
            return self._cut_lines(self._unit, self._content)
        return self._cut_records(self._unit, self._content)

    def finished(self, unit: Unit) -> None:
        """Nothing is put away."""

    def stop(self) -> None:
        """Hand out only what an earlier generation had handed out."""
        self._stopping = True
        if not self._is_new and self._unit is None:
            self.exhausted = True

    def progress(self) -> tuple[int, int]:
        """Positions read so far, and in all."""
        return self._passed + (0 if self._unit is None else self._at - self._unit.base), self._total

    def close(self) -> None:
        """Nothing is held."""

    def _take_up(self, name: str, content: Content) -> None:
        data = content if isinstance(content, bytes) else pack_records(content)
        unit = self._ledger.begin(name, f"{zlib.crc32(data):08x}")
        if unit.status not in ("reading", "loaded"):
            self._passed += length_of(content)
            return
        self._unit, self._content, self._at = unit, content, unit.low
        self._next = 0
        if not isinstance(content, bytes):
            self._next = sum(record.offset < unit.low - unit.base for record in content)
        self._recorded = deque(self._ledger.boundaries(unit))

    def _cut_lines(self, unit: Unit, content: bytes) -> Chunk:
        start = self._at - unit.base
        if self._recorded:
            end = self._recorded.popleft()[1] - unit.base
        else:  # behind the last newline within a batch, or else behind the next one
            wanted = start + max(1, self._batch_bytes())
            end = wanted if wanted >= len(content) else (
                content.rfind(b"\n", start, wanted) + 1 or content.find(b"\n", wanted) + 1)
            end = min(end, len(content)) or len(content)
        self._at = unit.base + end
        return Chunk(unit.id, unit.name, unit.base + start, unit.base + end, start,
                     content.count(b"\n", 0, start) + 1, content[start:end])

    def _cut_records(self, unit: Unit, content: Sequence[Record]) -> Chunk:
        first, start = self._next, self._at - unit.base
        if self._recorded:
            end = self._recorded.popleft()[1] - unit.base
            while self._next < len(content) and content[self._next].offset < end:
                self._next += 1
        else:
            left = max(1, self._batch_bytes())
            while left > 0 and self._next < len(content):
                left -= 1 + len(content[self._next].value or b"")
                self._next += 1
            end = content[self._next - 1].offset + 1
        self._at = unit.base + end
        records = content[first:self._next]
        line = max(0, records[0].line) if records else 0
        passed = max(0, content[min(self._next, len(content) - 1)].line - line)
        return Chunk(unit.id, unit.name, unit.base + start, unit.base + end, start, line, pack_records(records),
                     lines=passed, framing=RECORDS)


def length_of(content: Content) -> int:
    """How many positions a unit has."""
    if isinstance(content, bytes):
        return len(content)
    return content[-1].offset + 1 if content else 0


def require_order(name: str, content: Content) -> None:
    """Refuse what is neither lines nor records, and records whose places do not grow.

    Raises:
        TypeError: what it is.
        ValueError: which ones.
    """
    if isinstance(content, bytes):
        return
    before = -1
    for record in content:
        if not isinstance(record, Record):
            raise TypeError(f"unit {name!r}: expected bytes, or a list of records, got {type(record).__name__} among "
                            "them")
        if record.offset <= before:
            raise ValueError(f"unit {name!r}: expected records in the order of their offsets, each greater than the "
                             f"one before and none below 0, got {record.offset} behind {before}")
        before = record.offset
