"""Source order at a keyed consumer: which part to apply next, and what is a repetition.

    offered ──▶ held ──(all before it applied)──▶ ready ──▶ applied ──▶ durable ──▶ acknowledged, to all who sent it

Per partition the consumer knows ``applied``, the position up to which it has applied every range, and ``durable``, up
to which that is safe. A part that begins at ``applied`` is next. A part that ends at or below it is a repetition: it is
acknowledged again (when the first is durable) with the same counts, and not applied. Everything below the ``low``
position in a part's header is durable everywhere, so a new generation that knows nothing begins there.

Ranges nest: once a batch has been split, its halves travel and the whole never again. So a part that begins below
``applied`` and ends above it is a straggler from before the split: it is dropped, and answered without counts, so that
its sender can forget it; the origin knows only the halves. The whole may have been applied before its halves come: they
are repetitions. What became of the whole is not known by halves, so what differs from its claims (an item was refused)
is answered with the part that begins where the whole began.

A partition of which no part is here is *at rest*: of very many files only their positions are in memory, and of the
last ``MOST_DONE`` of them what became of their ranges.

What does not work: a sequence number per batch (a split or a restart with another batch size renumbers them); the set
of all applied ids (it grows with the input; ``low`` bounds it here to the window).

Pure: no clock, no socket.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from math import inf
from operator import attrgetter

import msgspec

from actors.runtime.counts import Counts, merged
from actors.runtime.messages import Ack, BatchId, Part
from actors.runtime.outputs import gaps_of
from actors.runtime.positions import Positions

#: The payload frames of a part.
Frames = Sequence[bytes]
#: Partitions at rest of which it is known what became of their ranges, when that is what was said: they may be asked
#: for as long as their origin has not closed them.
MOST_DONE = 8192
_since = attrgetter("since")


class Held:
    """A part that waits, or is applied and not yet durable, with everyone who sent it (or a half of it).

    ``since``: when it came, for who is asked how long it has waited.
    """

    __slots__ = ("frames", "part", "senders", "since")

    def __init__(self, part: Part, frames: Frames, since: float = 0.0) -> None:
        self.part = part
        self.frames = frames
        self.since = since
        self.senders: dict[tuple[str, BatchId, int], Part] = {}

    def add_sender(self, sender: str, part: Part) -> None:
        """This sender, too, gets an answer: one for each epoch, for an old delivery may arrive after a newer one."""
        self.senders[sender, part.id, part.epoch] = part


class _Partition:
    """The parts of one partition."""

    def __init__(self, applied: int | None) -> None:
        self.applied = applied
        self.waiting: dict[int, Held] = {}  # by start
        self.undurable: dict[BatchId, Held] = {}  # applied, in order
        self.done: dict[BatchId, _Outcome] = {}  # durable and above low, in order

    @property
    def is_busy(self) -> bool:
        """Whether a part of it is here."""
        return bool(self.waiting or self.undurable)


class _Outcome(msgspec.Struct, frozen=True):
    """What a range was said to become, and what it became; positions of records that are not counted in it."""

    whole: BatchId
    claims: Counts
    counts: Counts
    failed: tuple[int, ...] = ()

    def answer(self, part: Part) -> Ack:
        """The acknowledgement of the range, or of a part of it."""
        failed = gaps_of(self.failed, part.start, part.end) if self.failed else ()
        return Ack(*part.id, part.epoch, self.of(part), failed=failed)

    def of(self, part: Part) -> Counts:
        """The counts of the range, or of a part of it."""
        if part.id == self.whole:
            return self.counts
        if part.start != self.whole[1] or self.counts == self.claims:
            return part.claims
        return merged((part.claims, self.counts, {name: -number for name, number in self.claims.items()}))


class Sequencer:
    """The parts that one keyed consumer was offered, by partition.

    Args:
        applied: for a consumer with durable state: the committed position of each partition.
    """

    def __init__(self, applied: dict[str, int] | None = None) -> None:
        #: Those that hold a part, or know what became of one: a run without end comes to have very many others.
        self._partitions: dict[str, _Partition] = {}
        self._busy: dict[str, _Partition] = {}
        self._at_rest = Positions(applied)
        #: Those that only know what became of a part, as it was said to; the last one came to rest last.
        self._done: dict[str, None] = {}

    def __len__(self) -> int:
        return sum(len(p.waiting) + len(p.undurable) for p in self._busy.values())

    def since(self) -> float:
        """When the oldest came of the parts that wait or are not durable; 0 without any. It is about that one: parts
        that were applied together count as having come in their order."""
        oldest = inf
        for partition in self._busy.values():
            for held in partition.undurable.values():
                oldest = min(oldest, held.since)
                break
            oldest = min(oldest, min(map(_since, partition.waiting.values()), default=inf))
        return 0.0 if oldest == inf else oldest

    def offer(self, sender: str, part: Part, frames: Frames, now: float = 0.0) -> Ack | None:
        """Take a part; return its acknowledgement at once when it is a durable repetition, or a straggler."""
        partition = self._partitions.get(part.partition)
        if partition is None:
            partition = self._partitions[part.partition] = _Partition(self._at_rest.get(part.partition))
        self._learn_low(partition, part.low)
        assert partition.applied is not None
        if part.end <= partition.applied:
            ack = self._repetition(partition, sender, part)
            self._may_rest(part.partition, partition)
            return ack
        if part.start < partition.applied:
            self._may_rest(part.partition, partition)
            return Ack(*part.id, part.epoch, {})
        self._done.pop(part.partition, None)
        held = partition.waiting.get(part.start)
        if held is None or held.part.end > part.end:  # a half takes the place of the whole it was cut from
            held = partition.waiting[part.start] = Held(part, frames, now)
            self._busy[part.partition] = partition
        if held.part.end == part.end:
            if part.epoch > held.part.epoch:  # the same, unless its origin has let go of what was in it
                held.part, held.frames = part, frames
            held.add_sender(sender, part)
        return None

    def ready(
        self, refuse: Callable[[Held], bool] = lambda held: False, is_enough: Callable[[], bool] = lambda: False
    ) -> list[Held]:
        """Take out the parts that can be applied now, in source order; they count as applied from here on.

        ``refuse`` is asked for each, in that order: a part that it refuses is forgotten, and nothing behind it is
        applied before it has come again. When ``is_enough`` says so, what is left is for the next call.
        """
        result: list[Held] = []
        for name, partition in list(self._busy.items()):
            if not partition.is_busy:
                del self._busy[name]
                if self._partitions.get(name) is partition:  # a repetition may have laid it to rest
                    self._may_rest(name, partition)
        for partition in self._busy.values():
            while partition.applied is not None and not is_enough() and (
                    held := partition.waiting.pop(partition.applied, None)):
                if refuse(held):
                    break
                partition.applied = held.part.end
                partition.undurable[held.part.id] = held
                result.append(held)
            for start in [start for start in partition.waiting if start < (partition.applied or 0)]:
                for (sender, _, _), half in partition.waiting.pop(start).senders.items():
                    self._repetition(partition, sender, half)  # it had overtaken the whole that it is a half of
        return result

    def durable(
        self, held: Held, counts: Counts | None = None, failed: Iterable[int] = ()
    ) -> list[tuple[str, Ack]]:
        """An applied part is safe; return (sender, acknowledgement) for all who sent it.

        ``counts`` replaces the part's claims, when the outcome was another (a sink refused an item); ``failed`` has the
        positions of records that are not counted in it.
        """
        partition = self._partitions[held.part.partition]
        partition.undurable.pop(held.part.id, None)
        claims = held.part.claims
        outcome = partition.done[held.part.id] = _Outcome(
            held.part.id, claims, claims if counts is None else counts, tuple(failed))
        held.frames = ()
        return [(sender, outcome.answer(part)) for (sender, _, _), part in held.senders.items()]

    def positions(self) -> dict[str, int]:
        """The position up to which everything is applied, of each partition of which a part waits or is not durable."""
        return {name: p.applied for name, p in self._busy.items() if p.applied is not None}

    def _may_rest(self, name: str, partition: _Partition) -> None:
        """Keep no more of a partition than its position, when no part of it is here, and few others have come since."""
        if partition.is_busy or partition.applied is None:
            return
        self._at_rest.put(name, partition.applied)
        if not partition.done:
            del self._partitions[name]
            self._done.pop(name, None)
        elif all(outcome.counts == outcome.claims for outcome in partition.done.values()):
            self._done[name] = None
            if len(self._done) > MOST_DONE:
                oldest = next(iter(self._done))
                del self._done[oldest], self._partitions[oldest]

    @staticmethod
    def _learn_low(partition: _Partition, low: int) -> None:
        if partition.applied is None or low > partition.applied:
            # A new generation begins here; for an old one nothing above its own work can be durable everywhere.
            partition.applied = low
            for start in [start for start in partition.waiting if start < low]:
                del partition.waiting[start]
        while partition.done:
            key = next(iter(partition.done))
            if key[2] > low:
                break
            del partition.done[key]

    @staticmethod
    def _repetition(partition: _Partition, sender: str, part: Part) -> Ack | None:
        for held in partition.undurable.values():
            if held.part.start <= part.start and part.end <= held.part.end:
                held.add_sender(sender, part)
                return None
        outcome = partition.done.get(part.id)
        if outcome is None:
            outcome = next((whole for (_, start, end), whole in partition.done.items()
                            if start <= part.start and part.end <= end), None)
        return Ack(*part.id, part.epoch, part.claims) if outcome is None else outcome.answer(part)
