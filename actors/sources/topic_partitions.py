"""One partition of a topic as a unit: its messages as chunks, from the committed offset on."""

from __future__ import annotations

import time
from collections import deque
from pathlib import Path

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.values import SOURCE_DAMAGED, SOURCE_LOST, Chunk, Unit
from actors.topics.manifest import Extent
from actors.topics.reading import Gap, PartitionReader, first_offset, offset_at

#: What the fingerprints of these units begin with.
KIND = "topic "
#: Bytes that a message takes in a chunk besides its own, about.
_OVERHEAD = 16


def fingerprint(topic: str, number: int) -> str:
    """What a partition is known by in the ledger."""
    return f"{KIND}{topic} {number}"


def begin_at(folder: Path, extent: Extent, start: str, moment: int | None) -> int:
    """Return the offset that a partition is read from which was not read before."""
    if moment is not None:
        return offset_at(folder, extent, moment)
    return extent.next if start == "latest" else first_offset(folder, extent)


class Partition:
    """A partition that is read.

    Args:
        unit: the ledger's.
        folder: of the partition.
        extent: how far it goes.
        recorded: ranges that were on their way when an earlier reader died: they are cut at the same places.
        now: monotonic seconds.

    Attributes:
        position: end of the last chunk.
        touched: when it was last seen to have grown (monotonic seconds).
        queued: it waits for its turn.
        is_over: nothing more is read of it.
        is_gone: what was not read is not there any more; it is told.
        old: it was begun in an earlier look.
    """

    def __init__(self, unit: Unit, folder: Path, extent: Extent, recorded: list[tuple[int, int]], now: float) -> None:
        self.unit = unit
        self.position = unit.low
        self.queued = self.is_over = self.is_gone = self.old = False
        self.touched = now - max(0.0, time.time() - extent.time / 1000)
        self._until = extent.next
        self._reader = PartitionReader(folder, unit.low, extent)
        self._ends = deque(end for _, end in recorded)
        self._held: list[Record] = []  # of a block, from ``_at`` on; so many bytes in all
        self._at = self._held_bytes = 0
        self._gap: Gap | None = None
        self._is_due = True  # the first time, also to see that there is nothing
        self._passed = 0

    def grow(self, extent: Extent, now: float) -> bool:
        """The partition goes so far; return whether it has to have a turn."""
        if extent.next > self._until:
            self.touched = now
        has_more, self._is_due = self._is_due or extent.next > self._until, False
        self._until = extent.next
        self._reader.extent = extent
        return has_more

    def has_more(self) -> bool:
        """Whether something is unread."""
        return self.position < self._until

    def behind(self) -> int:
        """Return how many messages are not durable in the run."""
        return max(0, self._until - self.unit.low)

    def ahead(self) -> int:
        """Return how many bytes are to be read, about."""
        return 0 if self.is_over else self._reader.ahead()

    def take_passed_bytes(self) -> int:
        """Return the bytes on the disk that were passed since the last call."""
        passed, self._passed = self._passed, 0
        return passed

    def next(self, batch_bytes: int) -> Chunk | None:
        """Return the next chunk, about so long; None: there is none now.

        Raises:
            OSError: it cannot be read.
        """
        while self._ends and self._ends[0] <= self.position:
            self._ends.popleft()
        end = self._ends[0] if self._ends else None
        records: list[Record] = []
        size = 0
        while not self.is_gone and (end is not None or size < batch_bytes) and self._fill():
            if end is None and size + self._held_bytes <= batch_bytes:  # a block, or what is left of one
                records += self._held[self._at:]
                size += self._held_bytes
                self._held = []
                continue
            record = self._held[self._at]
            if end is not None and record.offset >= end:
                break
            size += _size_of(record)
            if end is None and records and size > batch_bytes:
                break
            records.append(record)
            self._at += 1
        if records:
            return self._chunk(records)
        return None if self._gap is None else self._fault(self._gap, end)

    def give_up(self, why: str) -> None:
        """What was not read is gone: ``next`` tells of it, and has no more."""
        self.is_gone = True
        self._held, self._at = [], 0
        self._gap = Gap(self.position, self._until, "lost", why) if self.has_more() else None
        self.close()

    def close(self) -> None:
        """Close the files."""
        self._reader.close()

    def _fill(self) -> bool:
        """Have messages at hand; False: there are none, or a gap comes before them."""
        if self._at >= len(self._held):
            self._held, self._at = [], 0
        while not self._held and self._gap is None:
            found = self._reader.next()
            if found is None:
                return False
            if isinstance(found, Gap):
                self._gap = found
            else:
                self._held, self._held_bytes = found.records, found.size + _OVERHEAD * len(found.records)
                self._passed += found.size
        return bool(self._held)

    def _chunk(self, records: list[Record]) -> Chunk:
        start, self.position = self.position, records[-1].offset + 1
        return Chunk(self.unit.id, self.unit.name, start, self.position, start, 0, pack_records(records), lines=0,
                     framing=RECORDS)

    def _fault(self, gap: Gap, end: int | None) -> Chunk:
        start, self.position = self.position, gap.end if end is None else min(gap.end, end)
        if self.position == gap.end:
            self._gap = None
        return Chunk(self.unit.id, self.unit.name, start, self.position, start, 0, b"",
                     SOURCE_LOST if gap.kind == "lost" else SOURCE_DAMAGED, gap.why, lines=0)


def _size_of(record: Record) -> int:
    size = _OVERHEAD + len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
