"""The origin of batches: holds payloads until they are acknowledged, delivers, redelivers, moves the low position.

    issue ──▶ queued ──assign──▶ sent ──ack──▶ acked ──advance──▶ closed (payload let go, position committed)
                 ▲                │              │
                 └──failed, worker lost──────────┴── an ordered consumer died: a new epoch

Guarantees, given that whoever delivers a message delivers it once or dies:

* A batch is closed only when it and all before it in its partition are acknowledged in the current epoch, and then
  exactly once.
* Whatever dies, an open batch is queued again; nothing outside this object has to remember it.
* No more than a window of batches is open, so every consumer can hold all of them and nothing can fill up; and none is
  issued that is very far from the oldest that is open, so consumers need not know for ever what is over.

Partitions are closed each in its own order, and one never waits for another; the window, the credit, the epochs and the
roster are those of all together. Batches are delivered in the order of issue, so no partition is starved. A partition
with nothing open, and all of it committed, is forgotten; its next batch begins it again, where it had ended.

What a worker or a consumer could do nothing with is delivered *again*, with more in its header (what is late, for each
shard). Until windows have an anchor (see runtime/anchor.py) such batches are put off: open, and in nobody's hands.

Why epochs. An ordered consumer applies parts in source order. Its new generation knows nothing, so it must see every
range from ``low`` on, also ranges that the old one had acknowledged. It is not enough to deliver again what failed: a
range acknowledged by the old generation would close, its successor would wait at the new one for a range that never
comes, and with a full window nothing would ever tell it so. So the death of an ordered consumer begins a new epoch:
every open batch is delivered again, acked ones as well, and an answer that names an older epoch is void. Epochs are
unique across generations of the origin, or an answer meant for the dead one could pass for a new one.

Why consumers are told the committed position, not the position. What is closed and not committed is delivered again
when the reader dies. A consumer that began behind it would take that for a repetition of what it never saw, and answer
with what should have become of it, not with what did (an item may have been refused).

Why rosters have versions. A worker can be slow for so long that what it still has of a closed range comes to the second
generation of a consumer after; which knows nothing, begins there, and puts an old value over a newer one. So a batch
says which roster its origin knew, and no worker gives anything of it to a fixed destination that is on a later one
only: the origin, once it knows that one, delivers the range again or has closed it.

Links do not lose messages, so nothing waits for a time-out in the normal course. If one is lost all the same, nothing
would ever move again; so an origin that has heard nothing for long asks for credit anew and delivers again.

What does not work: closing batches as they are acked, not in order (the low position then has holes that a restart
forgets); waiting for a time-out instead of the roster (a slow writer is not a dead one); giving each worker a fixed
share (one slow batch then idles the others). Pure: no clock, no socket, no file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping

from actors.runtime.counts import Counts
from actors.runtime.late import of_piece, take_note
from actors.runtime.messages import NO_TIMES, Batch, BatchId, Late, Span
from actors.runtime.open_batch import NOTHING_LATE, Open, Partition, State
from actors.runtime.poison import Blame
from actors.runtime.takers import Takers
from actors.runtime.values import Chunk

#: Room for 2^32 deaths of consumers, and changes of what is active, in each generation of the origin.
_PER_GENERATION = 1 << 32
#: Between the oldest batch that is open and the newest no more than so many are issued, however many of those are over
#: by then: fewer than the partitions that a file of lines remembers.
_MOST_TURNS = 4096


class Origin:
    """The open batches of all partitions.

    Args:
        generation: the origin's own generation.
        window_batches: most batches open at a time.
        window_bytes: most payload bytes open at a time; one batch is always allowed.
    """

    def __init__(self, generation: int, window_batches: int, window_bytes: int) -> None:
        self.epoch = generation * _PER_GENERATION
        #: Version of the last roster that was taken note of.
        self.roster = 0
        #: Units that the watermark has to wait for (None: not known yet, so nobody is told), and the version of that.
        self.active: tuple[int, ...] | None = None
        self.roll = generation * _PER_GENERATION
        self.silences = 0  # how often none was active
        #: What windows are counted from.
        self.anchor: int | None = None
        self._window_batches = window_batches
        self._window_bytes = window_bytes
        self._partitions: dict[str, Partition] = {}
        #: Those that have something open: of small files, many are closed and not committed at a time.
        self._opened: dict[str, Partition] = {}
        self._batches = self._bytes = self._turns = 0
        #: No open batch has an earlier turn.
        self._oldest = 0
        self._queue: list[tuple[int, int, BatchId]] = []
        self.takers = Takers()
        #: See ``Batch``.
        self.give_back_s = 0.0
        #: Partitions in which something was acknowledged, or closed and not committed, since they were looked at last.
        self._answered: dict[str, None] = {}
        self._uncommitted: dict[str, None] = {}

    def __len__(self) -> int:
        return self._batches

    def has_room(self) -> bool:
        """Whether another batch may be issued."""
        return not self._batches or (
            self._batches < self._window_batches and self._bytes < self._window_bytes
            and (self._turns - self._oldest < _MOST_TURNS or self._turns - self._oldest_open() < _MOST_TURNS))

    def queued(self) -> int:
        """How many batches wait for a worker with credit, about."""
        return len(self._queue)

    def credit(self) -> int:
        """How many the workers would take."""
        return self.takers.credit()

    def low(self, partition: str) -> int | None:
        """Position below which everything of this partition is closed; None when it is not known (any more)."""
        known = self._partitions.get(partition)
        return None if known is None else known.low

    def tip(self, partition: str) -> int | None:
        """Position behind the last batch of this partition; None when it is not known (any more)."""
        known = self._partitions.get(partition)
        return None if known is None else known.tip

    def is_open(self, partition: str) -> bool:
        """Whether a batch of this partition is open."""
        known = self._partitions.get(partition)
        return known is not None and bool(known.open)

    def issue(
        self, partition: str, chunk: Chunk, blame: Blame = Blame(), late: Mapping[int, Late] = NOTHING_LATE,  # noqa: B008
        may_cut: bool = False,
    ) -> None:
        """Open a batch; it begins at the partition's tip. A partition that is not known begins with it."""
        known = self._partitions.setdefault(partition, Partition(chunk.start))
        assert chunk.start == known.tip
        known.tip = chunk.end
        self._turns += 1
        batch = Open(chunk, blame, self._turns, dict(late), self.epoch, may_cut)
        self._add(known, (partition, chunk.start, chunk.end), batch)

    def open_units(self) -> set[int]:
        """The units that have open batches."""
        return {batch.chunk.unit for _, batch in self.all_open()}

    def is_waiting(self) -> bool:
        """Whether an open batch waits for a worker, or for an answer."""
        return any(batch.state in (State.QUEUED, State.SENT) for _, batch in self.all_open())

    def grant(self, worker: str, batches: int, done: int = 0, seconds: float = 0.0) -> None:
        """A worker can take more; see ``Takers``."""
        self.takers.grant(worker, batches, done, seconds)

    def returned(self, key: BatchId, epoch: int, worker: str) -> Chunk | None:
        """The chunk of a batch that this worker gives back, if it may."""
        batch = self._sent(key, epoch, worker)
        return None if batch is None or not batch.may_return() else batch.chunk

    def hold(self, worker: str, on: bool) -> None:
        """Give this worker nothing new, or again."""
        self.takers.hold(worker, on)

    def suspect(self, key: BatchId) -> tuple[Chunk, Blame] | None:
        """The open batch that somebody died with, and its blame so far; None when it is done in the meantime."""
        batch = self._find(key)
        return None if batch is None or batch.state is State.ACKED else (batch.chunk, batch.blame)

    def replace(self, key: BatchId, instead: list[tuple[Chunk, Blame]]) -> None:
        """Deliver these in the place of an open batch; together they are its range.

        A batch that is only marked stays where it is. If the one who has it died, the roster says so after this, and
        then it is queued; were it queued now, it could go to the dead once more.
        """
        if [chunk for chunk, _ in instead] == [self._partitions[key[0]].open[key].chunk]:
            batch = self._partitions[key[0]].open[key]
            batch.blame, batch.fell = instead[0][1], False
            return
        partition = self._partitions[key[0]]
        before, partition.open = partition.open, {}
        for old, batch in before.items():
            if old != key:
                partition.open[old] = batch
                continue
            self._batches -= 1
            self._bytes -= len(batch.chunk.data)
            for chunk, blame in instead:
                late = of_piece(batch.late, chunk.start == key[1])
                half = Open(chunk, blame, batch.turn, late, self.epoch, batch.may_return())
                self._add(partition, (key[0], chunk.start, chunk.end), half)

    def is_with_another(self, key: BatchId) -> bool:
        """Whether a batch has been delivered again since the death that somebody is told of now.

        That a worker is gone may be known by a link before the supervisor says with what in hand it died.
        """
        batch = self._find(key)
        return batch is not None and batch.fell and batch.state is State.SENT

    def lost(self, worker: str) -> None:
        """A worker died: what it had in hand is queued again."""
        self.takers.lost(worker)
        for key, batch in self.all_open():
            if batch.state is State.SENT and batch.worker == worker:
                batch.fell = True
                self.requeue(key, batch)

    def deliver_again(self) -> None:
        """No answer has come for long: deliver what is under way again, when the workers have given credit anew.

        Not a new epoch: the first answer counts, and one who was merely slow has not worked for nothing.
        """
        self.takers.take_back()
        for key, batch in self.all_open():
            if batch.state is State.SENT:
                self.requeue(key, batch)

    def void(self, name: str) -> list[Chunk]:
        """Let go of what is open of a partition, and return it: another run goes on with it (see ``assigned``). Its
        ranges stay open, with nothing in them, and are delivered once more; what was said of them before is void."""
        opened = self._opened[name].open if name in self._opened else {}
        before = [batch.chunk for batch in opened.values()]
        self.epoch += 1
        for key, batch in opened.items():
            self._bytes -= len(batch.chunk.data)
            batch.empty(self.epoch)
            self.requeue(key, batch)
        return before

    def committed(self) -> None:
        """What is closed so far is committed: nobody will ever deliver it again."""
        for name in self._uncommitted:
            partition = self._partitions[name]
            partition.committed_low = partition.low
            if not partition.open:
                del self._partitions[name]
        self._uncommitted.clear()

    def new_epoch(self) -> None:
        """An ordered consumer died and its successor is ready: deliver every open batch again.

        Only after a commit: the successor begins at ``committed_low``, and what is closed is not delivered again.
        """
        assert all(partition.committed_low == partition.low for partition in self._partitions.values())
        self.epoch += 1
        self._queue = []
        for key, batch in self.all_open():
            batch.since = self.epoch
            if batch.state is not State.PUT_OFF:  # nothing was made of those
                batch.counts = {}
                self.requeue(key, batch)

    def assign(self) -> Iterator[tuple[str, Batch, bytes]]:
        """Yield (worker, header, payload) to send now: first issued first; see ``takers`` for who gets it."""
        while self._queue:
            batch = self._find(self._queue[0][2])
            if batch is None or batch.state is not State.QUEUED:
                heapq.heappop(self._queue)
                continue
            worker = self.takers.next(len(self._queue))
            if worker is None:
                return
            _, _, key = heapq.heappop(self._queue)
            self.takers.give(worker)
            batch.state = State.SENT
            batch.worker = worker
            batch.deliveries += 1
            yield worker, self._header(key[0], batch), batch.chunk.data

    def ack(self, key: BatchId, epoch: int, counts: Counts) -> bool:
        """Take an acknowledgement; return whether it was news."""
        batch = self._find(key)
        if batch is None or epoch < batch.since or batch.state is State.ACKED:
            return False
        batch.state = State.ACKED
        batch.counts = counts
        self._answered[key[0]] = None
        return True

    def failed(self, key: BatchId, epoch: int, worker: str, cause: str = "") -> bool:
        """A worker says that what it made of a batch was lost, and why; return whether that was news."""
        batch = self._sent(key, epoch, worker)
        if batch is None:
            return False
        batch.fell = True
        self.requeue(key, batch)
        return True

    def again(
        self, key: BatchId, epoch: int, worker: str, late: tuple[Late, ...]
    ) -> tuple[Chunk, dict[int, Late]] | None:
        """A batch is to be delivered once more, with this in its header, too; return it and all that is late in it.

        None: that was no news. Only after it is recorded may it be delivered: a shard may have taken what was made of
        it then, and to a restarted origin it would be what it was before.
        """
        batch = self._sent(key, epoch, worker)
        if batch is None:
            return None
        take_note(batch.late, late)
        # What is made of it now is another thing than before: an answer of the dead-letter store to the first delivery,
        # still under way, must not be taken for one to the second.
        self.epoch += 1
        batch.since = self.epoch
        self.requeue(key, batch)
        return batch.chunk, batch.late

    def put_off(self, key: BatchId, epoch: int, worker: str, span: Span) -> bool:
        """Nothing can be made of a batch as long as there is no anchor; return whether that was news."""
        batch = self._sent(key, epoch, worker)
        if batch is None:
            return False
        batch.state = State.PUT_OFF
        batch.span = span
        batch.timeless = span == NO_TIMES
        return True

    def resume(self, anchor: int) -> None:
        """Windows are counted from here: deliver what was put off."""
        self.anchor = anchor
        for key, batch in self.all_open():
            if batch.state is State.PUT_OFF:
                self.requeue(key, batch)

    def ask(self, partition: str, chunk: Chunk) -> None:
        """Deliver the beginning of something, which is answered as what has no anchor is; ``take_out`` ends that."""
        self._turns += 1
        known = self._partitions[partition] = Partition(chunk.start)
        key = (partition, chunk.start, chunk.end)
        self._add(known, key, Open(chunk, Blame(), self._turns, {}, self.epoch, False))

    def take_out(self, key: BatchId, epoch: int = 0, worker: str = "") -> bool:
        """Forget what was asked; return whether it was open, and with this worker, if one is named."""
        if (batch := self._sent(key, epoch, worker) if worker else self._find(key)) is None:
            return False
        del self._partitions[key[0]], self._opened[key[0]]
        self._batches -= 1
        self._bytes -= len(batch.chunk.data)
        return True

    def advance(self) -> list[tuple[Chunk, Counts]]:
        """Close the acknowledged batches at the low end of each partition, in order, and move ``low`` behind them."""
        closed: list[tuple[Chunk, Counts]] = []
        for name in self._answered:
            partition = self._partitions[name]
            while partition.open:
                key = next(iter(partition.open))
                batch = partition.open[key]
                if batch.state is not State.ACKED:
                    break
                del partition.open[key]
                self._batches -= 1
                self._bytes -= len(batch.chunk.data)
                partition.low = batch.chunk.end
                self._uncommitted[name] = None
                closed.append((batch.chunk, batch.counts))
            if not partition.open:
                self._opened.pop(name, None)
        self._answered.clear()
        return closed

    def _oldest_open(self) -> int:
        self._oldest = min(next(iter(partition.open.values())).turn for partition in self._opened.values())
        return self._oldest

    def all_open(self) -> Iterator[tuple[BatchId, Open]]:
        """The open batches, partition by partition, each in source order."""
        for partition in self._opened.values():
            yield from partition.open.items()

    def _find(self, key: BatchId) -> Open | None:
        partition = self._partitions.get(key[0])
        return None if partition is None else partition.open.get(key)

    def _sent(self, key: BatchId, epoch: int, worker: str) -> Open | None:
        """The batch, if this worker has it from a delivery of this epoch."""
        batch = self._find(key)
        if batch is None or epoch < batch.since or batch.state is not State.SENT or batch.worker != worker:
            return None
        return batch

    def _add(self, partition: Partition, key: BatchId, batch: Open) -> None:
        partition.open[key] = batch
        self._opened[key[0]] = partition
        self._batches += 1
        self._bytes += len(batch.chunk.data)
        self.requeue(key, batch)

    def requeue(self, key: BatchId, batch: Open) -> None:
        """Deliver a batch once more, as it is now."""
        batch.state = State.QUEUED
        batch.worker = ""
        batch.span = None
        heapq.heappush(self._queue, (batch.turn, key[1], key))

    def _header(self, partition: str, batch: Open) -> Batch:
        return batch.header(partition, self._partitions[partition].committed_low, self.epoch, self.roster, self.roll,
                            self.active or (), self.anchor, self.give_back_s, self.silences)
