"""The origin of batches: holds payloads until they are acknowledged, delivers, redelivers, moves the low position.

    issue ──▶ queued ──assign──▶ sent ──ack──▶ acked ──advance──▶ closed (payload let go, position committed)
                 ▲                │              │
                 └──failed, worker lost──────────┴── an ordered consumer died: a new epoch

Guarantees, given that whoever delivers a message delivers it once or dies:

* A batch is closed only when it and all before it are acknowledged in the current epoch, and then exactly once.
* Whatever dies, an open batch is queued again; nothing outside this object has to remember it.
* No more than a window of batches is open, so every consumer can hold all of them and nothing can fill up.

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
share (one slow batch then idles the others).

Pure: no clock, no socket, no file.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from enum import Enum

from actors.runtime.messages import Batch, BatchId, Counts
from actors.runtime.poison import Blame
from actors.runtime.ports import Chunk

#: Room for 2^32 deaths of consumers in each generation of the origin.
_EPOCHS_PER_GENERATION = 1 << 32


class _State(Enum):
    QUEUED = "queued"
    SENT = "sent"
    ACKED = "acked"


class _Open:
    """One open batch."""

    __slots__ = ("blame", "chunk", "counts", "state", "worker")

    def __init__(self, chunk: Chunk, blame: Blame) -> None:
        self.chunk = chunk
        self.blame = blame
        self.state = _State.QUEUED
        self.worker = ""
        self.counts: Counts = {}


class Origin:
    """The open batches of one partition, in source order.

    Args:
        partition: what the partition is called on the wire.
        low: position to go on from.
        generation: the origin's own generation.
        window_batches: most batches open at a time.
        window_bytes: most payload bytes open at a time; one batch is always allowed.
    """

    def __init__(self, partition: str, low: int, generation: int, window_batches: int, window_bytes: int) -> None:
        self.partition = partition
        self.low = low
        #: Position up to which all is closed and committed: what consumers are told, and may forget.
        self.committed_low = low
        self.epoch = generation * _EPOCHS_PER_GENERATION
        #: Version of the last roster that was taken note of.
        self.roster = 0
        self._window_batches = window_batches
        self._window_bytes = window_bytes
        self._open: dict[BatchId, _Open] = {}
        self._bytes = 0
        self._queue: list[tuple[int, BatchId]] = []
        self._credit: dict[str, int] = {}
        self._held: set[str] = set()

    def __len__(self) -> int:
        return len(self._open)

    def has_room(self) -> bool:
        """Whether another batch may be issued."""
        if not self._open:
            return True
        return len(self._open) < self._window_batches and self._bytes < self._window_bytes

    def has_queued(self) -> bool:
        """Whether a batch waits for a worker with credit."""
        return bool(self._queue)

    def begin(self, partition: str, low: int) -> None:
        """Go on with another partition, or at another position of this one; nothing may be open."""
        assert not self._open
        self.partition, self.low, self.committed_low = partition, low, low

    def issue(self, chunk: Chunk, blame: Blame = Blame()) -> None:  # noqa: B008 - frozen
        """Open a batch; it must begin where the last one ended."""
        key = (self.partition, chunk.start, chunk.end)
        self._open[key] = _Open(chunk, blame)
        self._bytes += len(chunk.data)
        heapq.heappush(self._queue, (chunk.start, key))

    def grant(self, worker: str, batches: int) -> None:
        """A worker can take more."""
        self._credit[worker] = self._credit.get(worker, 0) + batches

    def hold(self, worker: str, on: bool) -> None:
        """Give this worker nothing new, or again."""
        if on:
            self._held.add(worker)
        else:
            self._held.discard(worker)

    def suspect(self, key: BatchId) -> tuple[Chunk, Blame] | None:
        """The open batch that somebody died with, and its blame so far; None when it is done in the meantime."""
        batch = self._open.get(key)
        return None if batch is None or batch.state is _State.ACKED else (batch.chunk, batch.blame)

    def replace(self, key: BatchId, instead: list[tuple[Chunk, Blame]]) -> None:
        """Deliver these in the place of an open batch; together they are its range."""
        opened: dict[BatchId, _Open] = {}
        for old, batch in self._open.items():
            if old != key:
                opened[old] = batch
                continue
            self._bytes -= len(batch.chunk.data)
            for chunk, blame in instead:
                new = (self.partition, chunk.start, chunk.end)
                opened[new] = _Open(chunk, blame)
                self._bytes += len(chunk.data)
                heapq.heappush(self._queue, (chunk.start, new))
        self._open = opened

    def lost(self, worker: str) -> None:
        """A worker died: what it had in hand is queued again."""
        self._credit.pop(worker, None)
        self._held.discard(worker)
        for key, batch in self._open.items():
            if batch.state is _State.SENT and batch.worker == worker:
                self._requeue(key, batch)

    def deliver_again(self) -> None:
        """No answer has come for long: deliver what is under way again, when the workers have given credit anew.

        Not a new epoch: the first answer counts, and one who was merely slow has not worked for nothing.
        """
        self._credit.clear()
        for key, batch in self._open.items():
            if batch.state is _State.SENT:
                self._requeue(key, batch)

    def committed(self) -> None:
        """What is closed so far is committed: nobody will ever deliver it again."""
        self.committed_low = self.low

    def new_epoch(self) -> None:
        """An ordered consumer died and its successor is ready: deliver every open batch again.

        Only after a commit: the successor begins at ``committed_low``, and what is closed is not delivered again.
        """
        assert self.committed_low == self.low
        self.epoch += 1
        self._queue = [(key[1], key) for key in self._open]  # in source order: a sorted list is a heap
        for batch in self._open.values():
            batch.state = _State.QUEUED
            batch.worker = ""
            batch.counts = {}

    def assign(self) -> Iterator[tuple[str, Batch, bytes]]:
        """Yield (worker, header, payload) to send now: lowest range first, to the worker with most free credit."""
        while self._queue:
            free = (worker for worker in self._credit if worker not in self._held)
            worker = max(free, key=self._credit.__getitem__, default=None)
            if worker is None or self._credit[worker] <= 0:
                return
            _, key = heapq.heappop(self._queue)
            batch = self._open.get(key)
            if batch is None or batch.state is not _State.QUEUED:
                continue
            self._credit[worker] -= 1
            batch.state = _State.SENT
            batch.worker = worker
            yield worker, self._header(batch.chunk), batch.chunk.data

    def ack(self, key: BatchId, epoch: int, counts: Counts) -> bool:
        """Take an acknowledgement; return whether it was news."""
        batch = self._open.get(key)
        if batch is None or epoch != self.epoch or batch.state is _State.ACKED:
            return False
        batch.state = _State.ACKED
        batch.counts = counts
        return True

    def failed(self, key: BatchId, epoch: int, worker: str) -> bool:
        """A worker says that what it made of a batch was lost; return whether that was news."""
        batch = self._open.get(key)
        if batch is None or epoch != self.epoch or batch.state is not _State.SENT or batch.worker != worker:
            return False
        self._requeue(key, batch)
        return True

    def advance(self) -> list[tuple[Chunk, Counts]]:
        """Close the acknowledged batches at the low end, in order, and move ``low`` behind them."""
        closed: list[tuple[Chunk, Counts]] = []
        while self._open:
            key = next(iter(self._open))
            batch = self._open[key]
            if batch.state is not _State.ACKED:
                break
            del self._open[key]
            self._bytes -= len(batch.chunk.data)
            self.low = batch.chunk.end
            closed.append((batch.chunk, batch.counts))
        return closed

    def _requeue(self, key: BatchId, batch: _Open) -> None:
        batch.state = _State.QUEUED
        batch.worker = ""
        heapq.heappush(self._queue, (key[1], key))

    def _header(self, chunk: Chunk) -> Batch:
        return Batch(
            partition=self.partition, start=chunk.start, end=chunk.end, epoch=self.epoch, low=self.committed_low,
            roster=self.roster, unit=chunk.unit, source=chunk.source, offset=chunk.offset, line=chunk.line,
            fault=chunk.fault, detail=chunk.detail, lines=chunk.lines,
        )
