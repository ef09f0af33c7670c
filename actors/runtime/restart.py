"""Restart decisions: pure functions of a history and of now. Times are seconds of a monotonic clock.

The vocabulary is OTP's. A *pool* may restart ``intensity`` times in ``period_s``; one restart more and the pool as a
whole is restarted, which the *tree* counts: more than ``tree_intensity`` of those in ``tree_period_s`` and the run
gives up. Commanded stops never count. A death before the first *ready* is a boot failure, counted apart, because
nothing gets better by trying a broken start faster.
"""

from __future__ import annotations

import os
import random
import signal

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
#: So many suspect batches are remembered.
_SUSPECTS = 256


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
        self._ranges: list[BatchId] = []

    def add(self, hand: BatchId) -> bool:
        """Note what was in hand at a death; return whether it, or what it is a part of, is known already."""
        partition, start, end = hand
        if end <= start:
            return False
        if any(known == partition and at <= start and end <= until for known, at, until in self._ranges):
            return True
        self._ranges = [*self._ranges[1 - _SUSPECTS:], hand]
        return False


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
