"""Counters of actors that outlive them: what a new generation counts from 0 goes on where the one before had come to.

    generation 1   0 ──▶ 700 ✝          what is kept: the sum of what the dead had last, and what the living has now
    generation 2              0 ──▶ 50  shown: 700, 750, never less

What a dead one did after the last look is not in the sum. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from actors.telemetry.model import ActorStatus


class Sums(msgspec.Struct, frozen=True, kw_only=True):
    """What all generations of an actor did; seconds as seconds, ``batch_times`` not cumulated as on the board."""

    batches: int
    records: int
    bytes_done: int
    busy_s: float
    starved_s: float
    cpu_s: float
    garbage: int
    refused: int
    batch_times_s: float
    batch_times: tuple[int, ...]


class _Kept:
    """One actor: the generation that counts, what it has now, and what those before it had."""

    def __init__(self, generation: int, now: Sequence[float]) -> None:
        self.generation = generation
        self.before: Sequence[float] = [0] * len(now)
        self.now = now

    def take(self, generation: int, now: Sequence[float]) -> None:
        """Take the figures of a look; one without a process says less than the one before."""
        if generation == self.generation:
            now = [max(pair) for pair in zip(self.now, now, strict=True)]
        else:
            self.before = self.total()
            self.generation = generation
        self.now = now

    def total(self) -> list[float]:
        """All generations together."""
        return [a + b for a, b in zip(self.before, self.now, strict=True)]


class Counters:
    """The sums of every actor of a run."""

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def take(self, actors: Iterable[ActorStatus]) -> None:
        """Take the figures of a look."""
        for actor in actors:
            view = actor.view
            if not view.pid:  # what its slot says is of the generation before
                continue
            now = [view.batches, view.records, view.bytes_done, view.busy_s, view.starved_s, actor.cpu_s, view.garbage,
                   view.refused, view.batch_times_s, *view.batch_times]
            kept = self._kept.get(view.actor)
            if kept is None:
                self._kept[view.actor] = _Kept(view.generation, now)
            else:
                kept.take(view.generation, now)

    def of(self, actor: str) -> Sums | None:
        """The sums of an actor; None when it never ran."""
        kept = self._kept.get(actor)
        if kept is None:
            return None
        (batches, records, bytes_done, busy_s, starved_s, cpu_s, garbage, refused, times_s, *times) = kept.total()
        return Sums(
            batches=int(batches), records=int(records), bytes_done=int(bytes_done), busy_s=busy_s, starved_s=starved_s,
            cpu_s=cpu_s, garbage=int(garbage), refused=int(refused), batch_times_s=times_s,
            batch_times=tuple(int(number) for number in times))
