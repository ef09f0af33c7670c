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
and cannot be read. With each position goes what the next reader needs to know of it (``Known``).

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
#: And end with, when what they are of is gone.
_GONE = " gone"
#: A partition of a topic: its name and number.
Key = tuple[str, int]
#: Bytes that a record takes in a chunk besides its own, about.
OVERHEAD = 16
#: Records that are fewer than a batch wait so many seconds for more, while more is known to be at hand.
LINGER_S = 0.2


def fingerprint(topic: str, number: int, generation: int = 0, is_gone: bool = False) -> str:
    """What a partition is known by in the ledger: the id of its topic, its number, how many times its log was cut back
    behind what was read of it, and whether it is known to be gone."""
    return f"{KIND}{topic} {number}" + (f" {generation}{_GONE}" if is_gone else f" {generation}" if generation else "")


def has_gone(mark: str) -> bool:
    """Whether the partition with this fingerprint is known to be gone: what became of it was told."""
    return mark.endswith(_GONE)


def gone(mark: str) -> str:
    """The fingerprint of a partition when it is known to be gone."""
    return fingerprint(*partition_of(mark), generation_of(mark), is_gone=True)


def there(mark: str) -> str:
    """The fingerprint of a partition that was thought to be gone."""
    return fingerprint(*partition_of(mark), generation_of(mark))


def generation_of(mark: str) -> int:
    """How many times the log of the partition with this fingerprint was cut back."""
    parts = mark.removeprefix(KIND).split(" ")
    return int(parts[2]) if len(parts) > 2 else 0


def partition_of(mark: str) -> tuple[str, int]:
    """The id of the topic, and the number of the partition, that a fingerprint is of."""
    topic, number = mark.removeprefix(KIND).split(" ")[:2]
    return topic, int(number)


class Known(NamedTuple):
    """What is kept of a partition with its position.

    Attributes:
        epoch: of the leader that gave what came last: with it the broker finds out whether its log is still the one
            that was read; -1: not known.
        high: where the log ended at least.
        behind: the offset behind the last record; what lies between it and the position is no record. The epoch is that
            of this record: what ends a transaction may be of the next one. -1: not known.
    """

    epoch: int = -1
    high: int = 0
    behind: int = -1

    @classmethod
    def read(cls, text: str) -> Known:
        """What was kept as ``text``; of nothing, nothing."""
        words = text.split(" ")
        return cls(*map(int, words[1::2])) if len(words) in (4, 6) else cls()

    def text(self) -> str:
        """As it is kept."""
        return f"epoch {self.epoch} high {self.high} behind {self.behind}"


class Run(NamedTuple):
    """Records of a partition that have come together.

    Attributes:
        records: by offset.
        size: bytes, about.
        epoch: of the leader that gave them; -1: not known.
    """

    records: list[Record]
    size: int
    epoch: int = -1


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
        is_sure: whether the broker has said that with what came last.
        ended: where it ended when it was taken up.
        epoch: of the leader that gave the record that came last; -1: not known.
        behind: the offset behind that record; -1: not known. It is fetched from there on, with this epoch, and what is
            passed over comes again: for the client, a marker of the next epoch would be a log that was cut back.
        size: bytes of the records that are held, about.
        touched: when something of it has come last (monotonic seconds).
        queued: it waits for its turn.
        is_over: nothing more is read of it.
        is_leaving: it is taken away from this run: nothing more of it is handed out.
        is_gone: nothing more comes of it: there is no such partition any more.
        short_until: the broker has said once that its log is too short, and is asked again then; 0: it has not.
    """

    def __init__(self, key: Key, unit: Unit, recorded: list[tuple[int, int]], now: float,
                 until: int | None = None) -> None:
        self.key = key
        self.unit = unit
        self.position = self.seen = unit.low
        known = Known.read(unit.prefix)
        self.epoch, self.high = known.epoch, max(known.high, unit.low)
        self.behind = self._behind = known.behind if known.behind <= unit.low else -1
        self.ended = 0
        self.short_until = 0.0
        self.size = 0
        self.touched = self._since = now
        self.queued = self.is_over = self.is_leaving = self.is_gone = False
        self._until = until
        self.is_sure = False
        #: One that was read to its end is looked at all the same: another log may lie there now.
        self._is_heard = self.epoch < 0
        self._ends = deque(end for _, end in recorded)
        self._runs: deque[Run | Lost | Odd] = deque()
        self._held: list[Record] = []  # of a run, from ``_at`` on; so many bytes are left
        self._at = self._left = 0

    def come(self, run: Run, now: float) -> None:
        """Records have come; those that had come before, or lie beyond the end of what is to be read, are dropped."""
        records, size, epoch = run
        end = records[-1].offset + 1
        if records[0].offset < self.seen or (self._until is not None and end > self._until):
            limit = end if self._until is None else self._until
            records = [record for record in records if self.seen <= record.offset < limit]
            size = sum(map(size_of, records))
        self.reached(end)
        self.epoch = max(self.epoch, epoch)
        if records:
            self.behind = records[-1].offset + 1
            self._since = self._since if self.size else now
            self.touched = now
            self.size += size
            self._runs.append(Run(records, size, epoch))

    def come_odd(self, odd: Odd, epoch: int, now: float) -> None:
        """A record has come that is a dead letter; not one that had come before, or that is not to be read."""
        end = odd.record.offset + 1
        if odd.record.offset >= self.seen and (self._until is None or end <= self._until):
            self._since = self._since if self.size else now
            self.touched = now
            self.size += size_of(odd.record)
            self._runs.append(odd)
            self.behind = end
        self.reached(end)
        self.epoch = max(self.epoch, epoch)

    def begins(self) -> tuple[int, int]:
        """From where on it is fetched, and the epoch of what lies in front of that; -1: not known."""
        return (self.seen, -1) if self.behind < 0 else (self.behind, self.epoch)

    def is_as_read(self, offset: int) -> bool:
        """Whether a record, or the end, can be at this offset in the log that was read: neither was where it passed
        over."""
        return not 0 <= self.behind <= offset < self.seen

    def reached(self, offset: int) -> None:
        """All below this offset has come, or is no record that anybody reads."""
        self._is_heard = True
        self.seen = max(self.seen, offset if self._until is None else min(offset, self._until))

    def ends(self, high: int | None) -> None:
        """With what came last the broker said that the log ends here; None: nobody knows what it said."""
        self.is_sure = high is not None
        self.high = max(self.high, high or 0)

    def lost(self, until: int, why: str) -> None:
        """What has not come, up to this offset, is gone."""
        until = until if self._until is None else min(until, self._until)
        if until > self.seen:
            self._runs.append(Lost(until, why))
            self.seen, self.behind = until, -1

    def give_up(self, why: str, high: int, is_all: bool) -> None:
        """Nothing more comes. What is known to have been there, and has not come, is gone: what an earlier reader had
        issued, and what lies below ``high``.

        Args:
            why: nothing more comes, for a person.
            high: where the log ended at least.
            is_all: nothing was there behind that. Where it is not known that is told, as one offset if as no more.
        """
        self._until = None
        name, seen = self.unit.name, self.seen
        self.high = high = max(high, seen, *self._ends)
        lost = f"offsets {seen} to {high - 1} of {name} are lost" if high > seen else ""
        if is_all:
            self.lost(high, f"{why} before all of it was read: {lost}")
        else:
            unknown = f"{why}; whether all of {name} was read is not known: it was read up to offset {seen}"
            self.lost(max(high, seen + 1), f"{unknown}, {lost}" if lost else unknown)

    def drop(self, why: str) -> None:
        """What is held is not handed out any more: all behind the last chunk is gone."""
        if not self._has_held() and all(isinstance(run, Lost) for run in self._runs):
            return
        told = [run.why for run in self._runs if isinstance(run, Lost)]
        why = f"{why}: offsets {self.position} to {self.seen - 1} of {self.unit.name} are lost"
        self._runs = deque([Lost(self.seen, "; ".join([why, *told]))])
        self._held, self._at, self._left, self.size = [], 0, 0, 0

    def has_more(self) -> bool:
        """Whether something is to be handed out."""
        return self.position < self.seen

    def is_read(self) -> bool:
        """Whether all is handed out that is to be read."""
        return self.is_over or (self._is_heard and self._until is not None and self.position >= self._until)

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
        self._behind = records[-1].offset + 1
        return self._cut(until, pack_records(records))

    def _fault(self, lost: Lost, end: int | None) -> Chunk:
        until = lost.until if end is None else min(lost.until, end)
        if until == lost.until:
            self._runs.popleft()
        self._behind = -1
        return self._cut(until, b"", SOURCE_LOST, lost.why)

    def _refused(self, odd: Odd) -> Chunk:
        """What is passed over in front of it goes with it: a letter knows its offset."""
        self._runs.popleft()
        self.size -= size_of(odd.record)
        self._behind = odd.record.offset + 1
        return self._cut(self._behind, pack_records([odd.record]), odd.reason, odd.why)

    def _passed(self, end: int | None) -> Chunk:
        """Pass over what is no record."""
        return self._cut(self.seen if end is None else end, pack_records([]))

    def _cut(self, until: int, data: bytes, fault: str = "", why: str = "") -> Chunk:
        start, self.position = self.position, until
        return Chunk(self.unit.id, self.unit.name, start, until, start, 0, data, fault, why, lines=0,
                     prefix=Known(self.epoch, max(self.high, until), self._behind).text(), framing=RECORDS)


def size_of(record: Record) -> int:
    """Bytes that a record takes, about."""
    size = OVERHEAD + len(record.value or b"") + len(record.key or b"")
    return size + sum(len(name) + len(value or b"") for name, value in record.headers) if record.headers else size
