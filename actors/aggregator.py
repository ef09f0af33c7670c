"""The aggregator: one shard of the folded state. Parts in source order, merged, committed with their positions.

    part ──▶ [source order] ──▶ state ──commit──▶ acknowledged
                 └─late─▶ Again        └─outbox──▶ writers of what is emitted ──▶ forgotten

State and positions are committed in one transaction and acknowledged after it, so a range is folded exactly once,
whoever dies when. While one commit runs the next parts gather: groups grow with the load by themselves. What the state
emits is in the same transaction; the shard is an origin for it, and keeps it until its writers have acknowledged it.
When they are slow and too much of it is open nothing more is folded, and the window holds back the reader.
"""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterable, Sequence

from actors.runtime.actor import Post
from actors.runtime.counts import FINISH
from actors.runtime.messages import Ack, Again, AnyMessage, Drain, Drained, Late, Member, Part, Roll
from actors.runtime.outbox import Entry, rows_of
from actors.runtime.sequencer import Held, Sequencer
from actors.runtime.shard import Closed, ShardState
from actors.runtime.singly import Singly
from actors.runtime.tracing import Group
from actors.runtime.trouble import Trouble

#: What may be open of what was emitted, in bytes and in entries, before no more is folded.
MAX_OPEN_BYTES, MAX_OPEN_ENTRIES = 16 * 1024 * 1024, 256


class Aggregator:
    """The role of an aggregator shard.

    Args:
        post: the way out.
        shard: its number, from 0.
        state: the shard's durable state.
    """

    wake: int | None = None

    def __init__(self, post: Post, shard: int, state: ShardState) -> None:
        self._post = post
        self._shard = shard
        self._state = state
        self._sequencer = Sequencer(state.applied())
        self._uncommitted: list[Held] = []
        self._refused: list[tuple[Held, Closed]] = []
        self._trouble = Trouble(post)
        self._singly = Singly(post)
        self._ending: bool | None = None  # told to come to an end; True: the input has ended
        self._is_told = False

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Take a part, or a writer's acknowledgement of what was emitted."""
        if isinstance(message, Part):
            ack = self._sequencer.offer(sender, message, frames, time.monotonic())
            if ack is not None:
                self._post.send(sender, ack)
        elif isinstance(message, Roll):
            self._emits()
            self._state.roll(message.version, message.active, message.silences)
            self._singly.done()
        elif isinstance(message, Ack) and self._state.outbox is not None:
            self._state.outbox.acked(sender.rpartition("#")[0], message.id)
            if FINISH in message.counts and self._ending is None:  # nobody takes what is emitted any more
                self._post.tell(Drain())

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """A writer that has come gets what it is still due."""
        outbox = self._state.outbox
        if outbox is not None:
            for member in come:
                for entry in outbox.due(member.name):
                    self._send_to(member.name, entry)

    def work(self, now: float) -> float | None:
        """Fold and commit everything that is there."""
        if wait_s := self._trouble.wait_s(now):
            return wait_s
        slot = self._post.slot
        slot.phase("WORK")  # what folds is the application's: it can hang
        began = time.monotonic()
        next_s = self._state.tick(now)
        if not self._is_full():
            self._uncommitted += self._sequencer.ready(
                self._refuses, lambda: self._state.is_large or self._singly.holds)
        slot.open = slot.queued = len(self._sequencer)
        slot.waiting_since = self._sequencer.since()
        if self._ending is not None:
            self._emits()
            self._state.end(self._ending)
        outbox = self._state.outbox
        if not self._uncommitted and not self._state.is_large and not (outbox is not None and outbox.has_changes):
            self._answer_the_refused()
            self._singly.done()
            slot.phase("IDLE" if not self._is_full() else "WAIT_CREDIT")
            self._be_done()
            return next_s
        return self._commit(now, began)

    def drain(self, is_end: bool = False) -> None:
        """No input comes any more: emit what is closed, or all when the input has ended; then say so."""
        self._ending, self._is_told = is_end, False

    def close(self) -> None:
        """Close the state's file; everything acknowledged is in it."""
        if self._state.outbox is None:  # nobody has told it to come to an end, for it emits nothing
            with contextlib.suppress(Exception):  # it is durable as it is: who reads it says what is wrong
                self._state.end(False)
        self._state.close()

    def _is_full(self) -> bool:
        outbox = self._state.outbox
        return outbox is not None and (len(outbox) >= MAX_OPEN_ENTRIES or outbox.size >= MAX_OPEN_BYTES)

    def _refuses(self, held: Held) -> bool:
        if held.part.count and self._singly.wants(held.part):
            self._singly.begin(held.part)
            if held.part.alone and self._state.rehearse(held.frames):
                self._singly.beside()
        closed = self._state.accept(held.part, held.frames)
        if closed is None:
            self._singly.linger()
            if self._state.closes or not self._singly.holds:
                self._singly.done()  # else it is in hand until the commit, which merges it, too, or emits it
            return False
        self._singly.done()
        self._refused.append((held, closed))
        return True

    def _commit(self, now: float, began: float) -> float:
        slot = self._post.slot
        self._emits()
        try:
            with Group(self._post.tracer, "commit", self._uncommitted):
                entries = self._state.commit(self._sequencer.positions())
        except sqlite3.OperationalError as error:
            return self._trouble.met(f"aggregate state: {error}", now)
        self._trouble.over(now)
        self._singly.done()
        if self._uncommitted:
            slot.took(time.monotonic() - began)
        for held in self._uncommitted:
            slot.batches += 1
            slot.records += held.part.count
            for sender, ack in self._sequencer.durable(held):
                self._post.send(sender, ack)
        self._uncommitted = []
        for notice in self._state.notices():
            self._post.tell(notice)
        self._emit(entries)
        self._answer_the_refused()
        return 0.0

    def _emits(self) -> None:
        """What an application's ``emit`` may die of is no fault of the part that was folded last."""
        if self._state.closes and self._state.outbox is not None:
            self._singly.emit(self._state.outbox.next_id)

    def _answer_the_refused(self) -> None:
        """After a commit only: by what it says is closed it stands, also if it dies now."""
        for held, closed in self._refused:
            late = Late(self._shard, closed.reached, closed.newest)
            for (sender, _, _), part in held.senders.items():
                self._post.send(sender, Again(*part.id, part.epoch, None, (late,)))
        self._refused = []

    def _emit(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            for destination in sorted(entry.waits):
                self._send_to(destination, entry)

    def _send_to(self, destination: str, entry: Entry) -> None:
        outbox, member = self._state.outbox, self._post.members.get(destination)
        if outbox is None or member is None:
            return  # it gets it when it has come
        count, frames = rows_of(entry, destination)
        header = Part(outbox.partition, entry.seq, entry.seq + 1, self._post.generation, outbox.low_for(destination),
                      count, {}, self._post.address.rpartition("#")[0])
        self._post.send(member.address, header, frames)

    def _be_done(self) -> None:
        outbox = self._state.outbox
        if self._ending is None or self._is_told or (outbox is not None and len(outbox)):
            return
        self._is_told = True
        self._post.tell(Drained())
