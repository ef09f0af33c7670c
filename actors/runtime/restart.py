"""Restart decisions: pure functions of a history and of now. Times are seconds of a monotonic clock.

The vocabulary is OTP's. A *pool* may restart ``intensity`` times in ``period_s``; one restart more and the pool as a
whole is restarted, which the *tree* counts: more than ``tree_intensity`` of those in ``tree_period_s`` and the run
gives up. Commanded stops never count. A death before *ready* is a boot failure, counted apart, because nothing gets
better by trying a broken start faster; so many in a row, with no *ready* between them, and the run gives up.
"""

from __future__ import annotations

import os
import random
import signal
from collections.abc import Sequence

import msgspec

from actors.runtime.events import BAD_CONFIG, FAILED
from actors.runtime.messages import BatchId
from actors.runtime.sections import RestartOptions

#: A boot failure is tried again after this many seconds.
BOOT_RETRY_S = 1.0
#: READY for at least this long (or twice the last delay) makes the backoff begin anew.
HEALTHY_S = 10.0
#: Of an actor that cannot go on because what was acknowledged is lost.
LOST = os.EX_IOERR
#: So many suspect batches are remembered, and so many deaths are put down to one that was only near.
_SUSPECTS, _MOST_NEAR = 256, 20


class RestartBudget:
    """So many restarts within a sliding period."""

    def __init__(self, intensity: int, period_s: float) -> None:
        self._intensity = intensity
        self._period_s = period_s
        self._stamps: list[float] = []

    def adopt(self, intensity: int, period_s: float) -> None:
        """Go by other limits; what has been counted stays counted."""
        self._intensity, self._period_s = intensity, period_s

    def add(self, now: float) -> bool:
        """Count a restart; return whether the budget still holds."""
        self._stamps = [stamp for stamp in self._stamps if now - stamp <= self._period_s]
        self._stamps.append(now)
        return len(self._stamps) <= self._intensity

    def clear(self) -> None:
        """Begin anew."""
        self._stamps.clear()


def full_jitter(failures: int, base_s: float, max_s: float, random_unit: random.Random) -> float:
    """Seconds to wait after so many failures in a row: uniform below a bound that doubles with each."""
    return random_unit.uniform(0, min(max_s, base_s * 2.0 ** min(failures, 32)))


class Backoff:
    """Delays before the restarts of one child: none at first, then full jitter up to a doubling bound."""

    def __init__(self, base_s: float, max_s: float, random_unit: random.Random) -> None:
        self._base_s = base_s
        self._max_s = max_s
        self._random = random_unit
        self._restarts = 0
        self._last_s = 0.0

    def adopt(self, base_s: float, max_s: float) -> None:
        """Go by other delays."""
        self._base_s, self._max_s = base_s, max_s

    def next(self, healthy_s: float) -> float:
        """Seconds to wait before the next restart, after the child was ready for ``healthy_s``."""
        if healthy_s >= max(HEALTHY_S, 2 * self._last_s):
            self._restarts = 0
        self._last_s = 0.0 if self._restarts == 0 else full_jitter(
            self._restarts - 1, self._base_s, self._max_s, self._random)
        self._restarts += 1
        return self._last_s


class KnownSuspects:
    """The batches that somebody died with: a death with a part of one in hand is that batch's fault."""

    def __init__(self) -> None:
        #: How often each was only near.
        self._ranges: dict[BatchId, int] = {}

    def add(self, hand: BatchId, near: Sequence[BatchId] = ()) -> bool:
        """Note what was in hand at a death, and what had been done just before; return whether one of these, or what it
        is a part of, is known already. The batch in hand may be so as often as its origin goes on with it; those that
        were near only so often."""
        known = self._known(hand)
        if known is None and hand[1] < hand[2]:
            culprit = next((at for at in map(self._known, near) if at and self._ranges[at] < _MOST_NEAR), None)
            for each in (*near, hand):
                if self._known(each) is None:
                    self._ranges[each] = 0
            self._ranges = dict(list(self._ranges.items())[-_SUSPECTS:])
            if culprit in self._ranges:
                self._ranges[culprit] += 1
                return True
        return known is not None

    def _known(self, batch: BatchId) -> BatchId | None:
        partition, start, end = batch
        return next((each for each in self._ranges if each[0] == partition and each[1] <= start and end <= each[2]),
                    None) if start < end else None


class Exit(msgspec.Struct, frozen=True):
    """How a process ended: ``status`` as ``os.waitstatus_to_exitcode`` gives it, negative for a signal."""

    status: int

    @property
    def crashed(self) -> bool:
        """Whether it was anything but a normal exit."""
        return self.status != 0

    @property
    def permanent(self) -> bool:
        """Whether starting it again cannot help."""
        return self.status in (BAD_CONFIG, LOST)

    @property
    def is_told(self) -> bool:
        """Whether it has ended by its own decision, and said why."""
        return self.permanent or self.status == os.EX_TEMPFAIL

    @property
    def run_code(self) -> int:
        """The exit code of the run, when this ends it."""
        return BAD_CONFIG if self.status == BAD_CONFIG else FAILED

    def text(self) -> str:
        """Say it for people."""
        if self.status >= 0:
            return f"exit code {self.status}"
        try:
            return f"signal {signal.Signals(-self.status).name}"
        except ValueError:
            return f"signal {-self.status}"


def exit_of(wait_status: int) -> Exit:
    """The exit of a reaped process."""
    return Exit(os.waitstatus_to_exitcode(wait_status))


def wants_restart(restart: str, ended: Exit) -> bool:
    """Whether a child of this restart type is to be started again after this exit, which nobody had asked for."""
    return restart == "permanent" or (restart == "transient" and ended.crashed)


class Pool:
    """The restart history of one pool.

    Args:
        options: intensities and periods.
        random_unit: source of jitter.
    """

    def __init__(self, options: RestartOptions, random_unit: random.Random) -> None:
        self._options = options
        self._random = random_unit
        self._budget = RestartBudget(options.intensity, options.period_s)
        self._backoffs: dict[str, Backoff] = {}
        self._boot_failures: dict[str, int] = {}

    def crashed(self, name: str, ready_for_s: float | None, now: float) -> float | str:
        """A child died; return the delay before its restart, or why the pool must be restarted as a whole.

        ``ready_for_s`` is how long it had been ready, None if it never was.
        """
        if ready_for_s is None:
            failures = self._boot_failures[name] = self._boot_failures.get(name, 0) + 1
            if failures >= self._options.boot_failures:
                return f"{name} died {failures} times before it was ready"
            return BOOT_RETRY_S
        self._boot_failures.pop(name, None)
        if not self._budget.add(now):
            return f"{name}: more than {self._options.intensity} restarts of its pool in {self._options.period_s:g} s"
        backoff = self._backoffs.get(name)
        if backoff is None:
            backoff = self._backoffs[name] = Backoff(
                self._options.backoff_s, self._options.max_backoff_s, self._random)
        return backoff.next(ready_for_s)

    def ready(self, name: str) -> None:
        """A child is ready: the deaths of this start are over."""
        self._boot_failures.pop(name, None)

    def adopt(self, options: RestartOptions) -> None:
        """Go by other options; what has been counted stays counted."""
        self._options = options
        self._budget.adopt(options.intensity, options.period_s)
        for backoff in self._backoffs.values():
            backoff.adopt(options.backoff_s, options.max_backoff_s)

    def restarted(self) -> None:
        """The pool was restarted as a whole: its history begins anew."""
        self._budget.clear()
        self._backoffs.clear()
        self._boot_failures.clear()
