"""Units that are given to a run, and taken away from it while it goes on; and a source that has to be kept alive.

    every turn   source.tick(now) ──▶ source.revoked()
    revoked      nothing more is issued ──all of it closed, or its time is over──▶ commit ──▶ source.released(units)
    lost         void at once: nothing more of it is committed
    come back    a new unit, a partition of its own, behind what its last owner has done

A broker gives the partitions of a topic to the members of a group, and takes them away again. Whoever has one next goes
on behind the last position that was committed. So what is committed, and what is not, is decided once: when a unit is
let go, what is closed by then is committed, and all that is still open is *void*, whatever comes of it later. Its
records count as ``handed_over``: they were read here, and become something there.

Guarantees:

* A unit is released when nothing of it is open, or when its time is over, whichever comes first, also when the disk of
  the ledger is full: then what could not be committed is void.
* What answers a void batch changes nothing: no position moves, no outcome is counted.
* A unit that comes back is a new one. A position of the old one can be taken for one of the new one by nobody.

Void batches are not forgotten at once. An ordered consumer applies parts in source order, so it holds what came to it
behind a range that did not, and a worker waits for its answer. Therefore the ranges stay open with nothing in them and
are delivered once more (``Origin.void``): part by part the empty ones take the place of what is held, are applied and
answered, and nothing is left anywhere. What a reader that died had issued is not in the origin of the next one; its
ranges are in the ledger until they are answered, and are delivered empty as well.

What does not work: to wait until all is closed (the sink may be down for an hour, and whoever gave the unit out takes
the whole membership away); to let batches go on and count what comes (the next owner counts it, too); to take a unit
that comes back for the one that it was (a late answer would move a position that another run has moved since).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Sequence

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ledger import Ledger
from actors.runtime.origin import Origin
from actors.runtime.pieces import record_count
from actors.runtime.ports import Source
from actors.runtime.values import HANDED_OVER, Chunk, Revoked, Unit

#: Seconds until the next try, when what is drained cannot be committed, or the source is not reached.
RETRY_S = 0.05

class Assigned:
    """The units of a reader that others may have after it.

    Args:
        ledger: positions and counts.
        source: is kept alive, and says which units it has to let go.
        origin: the open batches.
        folds: whether the pipeline folds: no unit can be let go then.
        close: closes what is acknowledged.
        commit: makes positions durable.
    """

    def __init__(
        self, ledger: Ledger, source: Source, origin: Origin, folds: bool, close: Callable[[float], None],
        commit: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._origin = origin
        self._folds = folds
        self._close = close
        self._commit = commit
        #: Units that nothing more is issued of, and until when what is open of them is waited for.
        self._leaving: dict[int, tuple[Unit, float]] = {}
        #: Units that are let go and have void batches, with their partitions.
        self._void: dict[int, str] = {}
        #: Units that were let go in this turn.
        self._gone: set[int] = set()
        self._tick_at: float | None = None
        self._is_new = True
        self._is_asleep = type(source).tick is Source.tick  # such a source has nothing to say
        self._problem: Retryable | None = None

    def turn(self, now: float) -> None:
        """Keep the source alive; take note of what it has to let go; let go of what is drained, or due."""
        self._problem = None
        self._gone.clear()
        if self._is_new:
            self._is_new = False
            for unit, partition, ranges in self._ledger.handed_over.left():
                self._issue_void(unit, partition, ranges, ranges[0][0])
                self._void[unit.id] = partition
        try:
            self._tick_at = self._source.tick(now)
        except Retryable as problem:
            self._problem, self._tick_at = problem, now + RETRY_S
        for said in self._source.revoked():
            self._take_note(said)
        if self._leaving:
            self._close(now)
            self._let_go(now)
        for key, partition in list(self._void.items()):
            if not self._origin.is_open(partition):
                del self._void[key]
                self._ledger.handed_over.forget(key)

    def require(self, may_read: bool) -> None:
        """Make sure that the source can be read, if it may be.

        Raises:
            Retryable: its last tick did not reach its outside system.
        """
        if may_read and self._problem is not None:
            raise self._problem

    def is_gone(self, unit: int) -> bool:
        """Whether nothing of a unit is issued any more: what was read of it, and not issued, is unread."""
        return unit in self._leaving or unit in self._gone

    def is_void(self, unit: int) -> bool:
        """Whether what comes of the batches of a unit is of no account."""
        return unit in self._void

    def committed(self) -> None:
        """The ledger has committed: the source may tell whoever keeps positions outside."""
        if type(self._source).committed is Source.committed:
            return
        with contextlib.suppress(Retryable):
            self._source.committed([unit for unit in self._ledger.taken_up() if unit.status == "reading"])

    def sooner(self, wait_s: float | None, now: float) -> float | None:
        """How long the reader may wait, when it would wait so long for everything else."""
        times = [until if self._origin.is_open(self._ledger.partition(unit.id)) else min(until, now + RETRY_S)
                 for unit, until in self._leaving.values()]
        if self._tick_at is not None:
            times.append(self._tick_at)
        waits = [max(0.0, at - now) for at in times]
        sooner = min(waits if wait_s is None else [wait_s, *waits], default=None)
        if sooner is None and not self._is_asleep:
            # What was read behind the tick may have changed when the next one is due: nobody sleeps without end on
            # the word of a tick that is older than that. One more turn hears the next one.
            self._is_asleep = True
            return 0.0
        if sooner is not None:
            self._is_asleep = type(self._source).tick is Source.tick
        return sooner

    def _take_note(self, said: Revoked) -> None:
        for unit in said.units:
            if unit.status == HANDED_OVER:
                continue
            if self._folds:
                raise ConfigError(f"source: {unit.name} was taken away, and what is folded of it cannot go with it: "
                                  "let moves() of the source's options say that units move")
            if said.is_lost:
                self._leaving.pop(unit.id, None)
                self._hand_over(unit, is_lost=True)
            else:
                _, until = self._leaving.get(unit.id, (unit, said.until))
                self._leaving[unit.id] = unit, min(until, said.until)

    def _let_go(self, now: float) -> None:
        """Commit what is closed, and release the units of which nothing is open, or that are due."""
        over = [unit for unit, until in self._leaving.values()
                if until <= now or not self._origin.is_open(self._ledger.partition(unit.id))]
        if not over:
            return
        is_committed = self._is_committed()
        units = over if is_committed else [unit for unit in over if self._leaving[unit.id][1] <= now]
        for unit in units:
            self._hand_over(unit, is_lost=not is_committed)
            del self._leaving[unit.id]
        self._is_committed()
        if units:
            self._source.released(units)

    def _is_committed(self) -> bool:
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk
            self._commit()
            return True
        return False

    def _hand_over(self, unit: Unit, is_lost: bool) -> None:
        """What is open of a unit is void; it is another run's."""
        if all(unit.id != each.id for each in self._ledger.taken_up()):  # what an earlier reader had
            self._ledger.resume(unit, unit.name, unit.fingerprint)
        partition = self._ledger.partition(unit.id)
        if not self._ledger.is_alone(unit.id):
            raise ConfigError(f"source: {unit.name} was taken away, and shares a partition with others: begin units "
                              "that move with alone=True")
        self._gone.add(unit.id)
        before = self._origin.void(partition)
        tip = self._origin.tip(partition)
        end = self._issue_void(unit, partition, self._ledger.boundaries(unit), unit.low if tip is None else tip)
        self._ledger.hand_over(unit, end, sum(map(record_count, before)), is_lost)
        if self._origin.is_open(partition):
            self._void[unit.id] = partition
        else:
            self._ledger.handed_over.forget(unit.id)

    def _issue_void(self, unit: Unit, partition: str, ranges: Sequence[tuple[int, int]], at: int) -> int:
        """Deliver empty what an earlier reader had issued from here on; return where the last range ends."""
        for start, end in ranges:
            if start >= at:
                self._origin.issue(partition, Chunk(unit.id, unit.name, start, end, start - unit.base, 0, b"", lines=0))
                at = end
        return at
