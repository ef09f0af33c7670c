"""The aggregator: one shard of the folded state. Parts in source order, merged, committed with their positions.

State and positions are committed in one transaction and acknowledged after it, so a range is folded exactly once,
whoever dies when. While one commit runs the next parts gather: groups grow with the load by themselves.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from actors.runtime.actor import Post
from actors.runtime.messages import AnyMessage, Member, Part
from actors.runtime.sequencer import Held, Sequencer
from actors.runtime.state import FoldState
from actors.runtime.trouble import Trouble


class Aggregator:
    """The role of an aggregator shard.

    Args:
        post: the way out.
        state: the shard's durable state.
    """

    def __init__(self, post: Post, state: FoldState) -> None:
        self._post = post
        self._state = state
        self._sequencer = Sequencer(state.applied())
        self._uncommitted: list[Held] = []
        self._trouble = Trouble(post)

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Take a part."""
        if isinstance(message, Part):
            ack = self._sequencer.offer(sender, message, frames)
            if ack is not None:
                self._post.send(sender, ack)

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """Nothing to do: who waits for an answer is kept with the parts."""

    def work(self, now: float) -> float | None:
        """Fold and commit everything that is there."""
        if wait_s := self._trouble.wait_s(now):
            return wait_s
        slot = self._post.slot
        ready = self._sequencer.ready()
        slot.open = len(self._sequencer)
        if not ready and not self._uncommitted:
            slot.phase("IDLE")
            return None
        slot.phase("WORK")
        for held in ready:
            if held.frames:
                self._state.fold((tuple(key), numbers) for key, numbers in msgspec.msgpack.decode(held.frames[0]))
        self._uncommitted += ready
        return self._commit(now)

    def drain(self) -> None:
        """Nothing to do: no input comes once the reader has stopped."""

    def close(self) -> None:
        """Close the state's file; everything acknowledged is in it."""
        self._state.close()

    def _commit(self, now: float) -> float:
        slot = self._post.slot
        try:
            self._state.commit(self._sequencer.positions())
        except sqlite3.OperationalError as error:
            return self._trouble.met(f"aggregate state: {error}", now)
        self._trouble.over(now)
        for held in self._uncommitted:
            slot.batches += 1
            slot.records += held.part.count
            for sender, ack in self._sequencer.durable(held):
                self._post.send(sender, ack)
        self._uncommitted = []
        return 0.0
