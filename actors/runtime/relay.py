"""The stateless middle: which input of a worker waits for which outputs. No payload is ever kept here.

    producer ──Batch──▶ [accept] … work … [sent] ──Part──▶ destinations
    producer ◀──Ack─── [all acknowledged] ◀──Ack── each of them
    producer ◀─Failed─ [a destination died first]
    producer ◀─Again── [a destination can do nothing with it, unless it is told more]

An input is acknowledged when all that was made from it is. When a destination dies first, its input has *failed*: the
origin, which holds the payload, delivers it again. A worker that dies takes only this table with it.

A destination that has refused one of several outputs of a record for good names the record instead of counting it:
others may name the same one, and it counts once (``outputs.py``).

Pure: no clock, no socket.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.runtime.counts import Counts, merge
from actors.runtime.messages import Ack, Again, BatchId, Failed
from actors.runtime.outputs import positions_of


class _Input:
    """An input whose outputs are under way."""

    __slots__ = ("counts", "dead", "epoch", "failed", "pending")

    def __init__(self, epoch: int, pending: set[str], counts: Counts, dead: Iterable[int]) -> None:
        self.epoch = epoch
        self.pending = pending
        self.counts = counts
        self.dead = dead
        self.failed: set[int] | None = None

    def outcome(self) -> Counts:
        """What has become of its records: those that somebody has named are no longer written."""
        if self.failed:
            refused = len(self.failed.difference(self.dead))
            merge(self.counts, {"written": -refused, "dead_lettered": refused})
        return self.counts


class Relay:
    """The inputs of one worker that wait for acknowledgement from downstream.

    A range can wait twice: delivered again through another producer while the first delivery is still under way.
    Each producer gets its own answer; to let the later delivery take the place of the earlier one loses an answer
    when the two overtake each other.
    """

    def __init__(self) -> None:
        self._inputs: dict[BatchId, dict[str, _Input]] = {}

    def __len__(self) -> int:
        return len(self._inputs)

    def sent(
        self, producer: str, key: BatchId, epoch: int, destinations: Iterable[str], counts: Counts,
        dead: Iterable[int] = (),
    ) -> None:
        """The outputs of an input went to these addresses; ``counts`` is what the worker itself adds to the ack.

        An input that the same producer delivers again takes the place of its earlier delivery. ``dead``: positions of
        records that are counted as dead letters, whoever names them.
        """
        self._inputs.setdefault(key, {})[producer] = _Input(epoch, set(destinations), dict(counts), dead)

    def ack(self, sender: str, ack: Ack) -> list[tuple[str, Ack]]:
        """A destination acknowledged its part; return (producer, acknowledgement) for inputs that it completes."""
        answers: list[tuple[str, Ack]] = []
        for producer, entry in self._waiting(sender, ack.id, ack.epoch):
            entry.pending.discard(sender)
            merge(entry.counts, ack.counts)
            if ack.failed:
                entry.failed = {*(entry.failed or ()), *positions_of(ack.failed, ack.start)}
            if not entry.pending:
                self._forget(ack.id, producer)
                answers.append((producer, Ack(*ack.id, entry.epoch, entry.outcome())))
        return answers

    def given_back(self, sender: str, answer: Failed | Again) -> list[tuple[str, Failed | Again]]:
        """A destination says that outputs were lost, or that it needs more; return (producer, answer) to pass on."""
        answers: list[tuple[str, Failed | Again]] = []
        for producer, _ in self._waiting(sender, answer.id, answer.epoch):
            self._forget(answer.id, producer)
            answers.append((producer, answer))
        return answers

    def gone(self, address: str) -> list[tuple[str, Failed]]:
        """An actor died: forget what it had sent here; return (producer, failure) for what it had not acknowledged."""
        failures: list[tuple[str, Failed]] = []
        for key, producers in list(self._inputs.items()):
            for producer, entry in list(producers.items()):
                if producer == address:
                    self._forget(key, producer)
                elif address in entry.pending:
                    self._forget(key, producer)
                    failures.append((producer, Failed(*key, entry.epoch, f"{address} died")))
        return failures

    def _waiting(self, sender: str, key: BatchId, epoch: int) -> list[tuple[str, _Input]]:
        return [(producer, entry) for producer, entry in self._inputs.get(key, {}).items()
                if entry.epoch == epoch and sender in entry.pending]

    def _forget(self, key: BatchId, producer: str) -> None:
        producers = self._inputs[key]
        del producers[producer]
        if not producers:
            del self._inputs[key]
