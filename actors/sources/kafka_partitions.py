"""One partition of a topic in Kafka as a unit: what has come of it, cut into chunks by offset.

    fetched ──records──▶ ┐                          (gaps: transaction markers, compaction, aborted transactions)
    end of partition ──▶ ├ held, in order ──▶ chunk [end of the last chunk, ...)
    retention took ────▶ ┘

Positions are offsets and count records, with gaps. A chunk begins where the one before it ended, whatever the offset of
its first record is, and ends behind all that is known to be there: what the broker skips (a marker behind the last
record, an aborted transaction) is passed over by a chunk without records, so that a position does not stay in front of
it for ever. Otherwise retention would seem to take a record where it takes a marker.

Guarantees: a range that an earlier reader had issued is handed out when all of it has come, in the same cut; what could
not be fetched any more is a fault with its offsets, in its place among the records, and so is a record that is there
and cannot be read.

Pure: no clock, no client.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from actors.kafka.received import Odd
from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.values import SOURCE_LOST, Chunk, Unit

#: What the fingerprints of these units begin with.
KIND = "kafka "
#: A partition of a topic: its name and number.
Key = tuple[str, int]
#: Bytes that a record takes in a chunk besides its own, about.
OVERHEAD = 16
#: Records that are fewer than a batch wait so many seconds for more, while more is known to be at hand.
LINGER_S = 0.2


def fingerprint(topic: str, number: int, generation: int = 0) -> str:
    """What a partition is known by in the ledger: the id of its topic, its number, and how many times its log was cut
    back behind what was read of it."""
    return f"{KIND}{topic} {number}" + (f" {generation}" if generation else "")


def generation_of(mark: str) -> int:
    """How many times the log of the partition with this fingerprint was cut back."""
    parts = mark.removeprefix(KIND).split(" ")
    return int(parts[2]) if len(parts) > 2 else 0


def partition_of(mark: str) -> tuple[str, int]:
    """The id of the topic, and the number of the partition, that a fingerprint is of."""
    topic, number = mark.removeprefix(KIND).split(" ")[:2]
    return topic, int(number)


class Run(NamedTuple):
    """Records of a partition that have come together.

    Attributes:
        records: by offset.
        size: bytes, about.
    """

    records: list[Record]
    size: int


class Lost(NamedTuple):
    """What is gone: all up to this offset.

    Attributes:
        until: the first offset that is there.
        why: for a person.
    """

    until: int
    why: str


class Partition:
    """A partition that is read.

    Args:
        key: topic and number.
        unit: the ledger's.
        recorded: ranges that were on their way when an earlier reader died: they are cut at the same places.
        now: monotonic seconds.
        until: nothing is read from this offset on; None: it goes on for ever.

    Attributes:
        position: end of the last chunk.
        seen: all below this offset has come, or is not there.
        high: end of the log, as far as it is known.
        size: bytes of the records that are held, about.
        touched: when something of it has come last (monotonic seconds).
        queued: it waits for its turn.
        is_over: nothing more is read of it.
        is_leaving: it is taken away from this run.
        is_gone: nothing more comes of it: there is no such partition any more.
    """

    def __init__(self, key: Key, unit: Unit, recorded: list[tuple[int, int]], now: float,
                 until: int | None = None) -> None:
        self.key = key
        self.unit = unit
        self.position = self.seen = self.high = unit.low
        self.size = 0
        self.touched = self._since = now
        self.queued = self.is_over = self.is_leaving = self.is_gone = False
        self._until = until
        self._ends = deque(end for _, end in recorded)
        self._runs: deque[Run | Lost | Odd] = deque()
        self._held: list[Record] = []  # of a run, from ``_at`` on; so many bytes are left
        self._at = self._left = 0

    def come(self, run: Run, now: float) -> None:
        """Records have come; those that had come before, or lie beyond the end of what is to be read, are dropped."""
        records, size = run
        end = records[-1].offset + 1
        if records[0].offset < self.seen or (self._until is not None and end > self._until):
            limit = end if self._until is None else self._until
            records = [record for record in records if self.seen <= record.offset < limit]
            size = sum(map(size_of, records))
        self.reached(end)
        if records:
            self._since = self._since if self.size else now
            self.touched = now
            self.size += size
            self._runs.append(Run(records, size))

    def come_odd(self, odd: Odd, now: float) -> None:
        """A record has come that is a dead letter; not one that had come before, or that is not to be read."""
        end = odd.record.offset + 1
        if odd.record.offset >= self.seen and (self._until is None or end <= self._until):
            self._since = self._since if self.size else now
            self.touched = now
            self.size += size_of(odd.record)
            self._runs.append(odd)
        self.reached(end)

    def reached(self, offset: int) -> None:
        """All below this offset has come, or is no record that anybody reads."""
        self.seen = max(self.seen, offset if self._until is None else min(offset, self._until))

    def lost(self, until: int, why: str) -> None:
        """What has not come, up to this offset, is gone."""
        until = until if self._until is None else min(until, self._until)
        if until > self.seen:
            self._runs.append(Lost(until, why))
            self.seen = until

    def give_up(self, why: str) -> None:
        """Nothing more comes. What an earlier reader had issued, and has not come again, is gone as well."""
        if self._ends:
            self.lost(self._ends[-1], why)

    def has_more(self) -> bool:
        """Whether something is to be handed out."""
        return self.position < self.seen

    def is_read(self) -> bool:
        """Whether all is handed out that is to be read."""
        return self.is_over or (self._until is not None and self.position >= self._until)

    def next(self, batch_bytes: int, is_all: bool, now: float) -> Chunk | None:
        """Return the next chunk, about so long; None: there is none now, or it is worth to wait for more.

        Args:
            batch_bytes: size of a chunk.
            is_all: nothing more is at hand: what there is goes, however little.
            now: monotonic seconds.
        """
        while self._ends and self._ends[0] <= self.position:
            self._ends.popleft()
        end = self._ends[0] if self._ends else None
        if not self.has_more() or (end is not None and self.seen < end):
            return None
        if end is None and not (is_all or self.size >= batch_bytes or now >= self._since + LINGER_S):
            return None
        records = self._take(batch_bytes, end)
        self._since = now
        if records:
            return self._chunk(records, end)
        fault = self._runs[0] if self._runs and not self._has_held() else None
        if isinstance(fault, Odd) and (end is None or fault.record.offset < end):
            return self._refused(fault)
        return self._fault(fault, end) if isinstance(fault, Lost) else self._passed(end)

    def _take(self, batch_bytes: int, end: int | None) -> list[Record]:
        """Take the records of the next chunk: up to ``end``, or so many bytes."""
        records: list[Record] = []
        size = 0
        while (end is not None or size < batch_bytes) and self._fill():
            if end is None and size + self._left <= batch_bytes:
                records += self._held[self._at:]
                size += self._left
                self._held, self._at, self._left = [], 0, 0
                continue
            record = self._held[self._at]
            bytes_ = size_of(record)
            if (record.offset >= end) if end is not None else (records and size + bytes_ > batch_bytes):
                break
            records.append(record)
            size += bytes_
            self._at += 1
            self._left -= bytes_
        self.size -= size
        return records

    def _fill(self) -> bool:
        """Have records at hand; False: there are none, or a fault comes before them."""
        if not self._has_held() and self._runs and isinstance(run := self._runs[0], Run):
            self._runs.popleft()
            self._held, self._at, self._left = run.records, 0, run.size
        return self._has_held()

    def _has_held(self) -> bool:
        return self._at < len(self._held)

    def _chunk(self, records: list[Record], end: int | None) -> Chunk:
        fault = self._runs[0] if self._runs and not self._has_held() else None
        is_below = isinstance(fault, Lost) or (
            isinstance(fault, Odd) and end is not None and fault.record.offset < end)
        if end is not None and not is_below:
            until = end  # all records below it are taken
        else:
            until = records[-1].offset + 1 if self._has_held() or self._runs else self.seen
        return self._cut(until, pack_records(records))

    def _fault(self, lost: Lost, end: int | None) -> Chunk:
        until = lost.until if end is None else min(lost.until, end)
        if until == lost.until:
            self._runs.popleft()
        return self._cut(until, b"", SOURCE_LOST, lost.why)

    def _refused(self, odd: Odd) -> Chunk:
        """What is passed over in front of it goes with it: a letter knows its offset."""
        self._runs.popleft()
        self.size -= size_of(odd.record)
        return self._cut(odd.record.offset + 1, pack_records([odd.record]), odd.reason, odd.why)

    def _passed(self, end: int | None) -> Chunk:
        """Pass over what is no record."""
        return self._cut(self.seen if end is None else end, pack_records([]))

    def _cut(self, until: int, data: bytes, fault: str = "", why: str = "") -> Chunk:
        start, self.position = self.position, until
        return Chunk(self.unit.id, self.unit.name, start, until, start, 0, data, fault, why, lines=0, framing=RECORDS)


def size_of(record: Record) -> int:
    """Bytes that a record takes, about."""
    size = OVERHEAD + len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
