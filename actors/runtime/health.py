"""Busy or hung? Judged from progress, phase, CPU time and process state together. Pure: samples and the time in.

    phase WORK or WRITE, and no progress for ``suspect_s``    ──▶ SUSPECT: nothing new is given to it
        CPU time advances, ``hard_cpu_s`` of it used          ──▶ HUNG: an endless loop
        no CPU time used, process sleeps, ``hard_block_s``    ──▶ HUNG: a deadlock, or a call that never returns
        progress, or another phase                            ──▶ well again
    stopped by a signal (state T) for ``stopped_s``, any phase ──▶ HUNG

*Progress* is a batch finished or a sign within one. IDLE waits for work, WAIT_CREDIT is back-pressure and RETRY an
outage: never a hang, however long. The budget of a loop is CPU time, not time on the clock, so a starved machine kills
nobody; time in which nobody could look (all was paused) does not count; a process in state D waits for a disk, which a
kill cannot help.

What does not work: heartbeats. A thread that beats is late by seconds behind one regular expression that holds the
GIL, and on time in a deadlock. A deadline on the clock for each batch kills what is merely slow.
"""

from __future__ import annotations

from enum import Enum

import msgspec

from actors.runtime.sections import WatchOptions

#: Phases in which an actor can hang.
WORKING = frozenset({"WORK", "WRITE"})
#: CPU seconds that are more than a heartbeat's.
_SOME_CPU_S = 0.05


class Sample(msgspec.Struct, frozen=True):
    """What is seen of an actor.

    Attributes:
        phase: from its slot on the board.
        progress: anything that changes with progress: its counters.
        cpu_s: CPU seconds used by the process so far.
        state: the kernel's letter for the process: R, S, D, T.
        extended_s: seconds for which it has asked for patience.
        late_s: seconds for which nobody has looked, though it was time to: the supervisor was stopped or starved, and
            perhaps all the others with it.
    """

    phase: str
    progress: tuple[int, ...]
    cpu_s: float
    state: str
    extended_s: float = 0.0
    late_s: float = 0.0


class Verdict(Enum):
    """What an actor is taken for."""

    WELL = "well"
    SUSPECT = "suspect"
    HUNG = "hung"


class Health:
    """The history of one generation of an actor.

    Args:
        options: the budgets.
    """

    def __init__(self, options: WatchOptions) -> None:
        self._options = options
        self._mark: tuple[str, tuple[int, ...]] | None = None
        self._since = 0.0
        self._cpu_s = 0.0
        self._cpu_at = 0.0
        self._cpu_mark_s = 0.0
        self._stopped_at: float | None = None
        self.reason = ""

    def adopt(self, options: WatchOptions) -> None:
        """Go by other budgets; the silence so far counts."""
        self._options = options

    def observe(self, sample: Sample, now: float) -> Verdict:
        """Take a sample; ``reason`` says why, when the verdict is not WELL."""
        self._since += sample.late_s
        self._cpu_at += sample.late_s
        if self._stopped_at is not None:
            self._stopped_at += sample.late_s
        mark = (sample.phase, sample.progress)
        if mark != self._mark or sample.extended_s > 0.0:
            self._mark, self._since, self._cpu_s = mark, now, sample.cpu_s
            self._cpu_at, self._cpu_mark_s = now, sample.cpu_s
        if sample.cpu_s - self._cpu_mark_s >= _SOME_CPU_S or sample.state in "RD":
            self._cpu_at, self._cpu_mark_s = now, sample.cpu_s
        if sample.state in "Tt":
            return self._stopped(now)
        if self._stopped_at is not None:  # the time it was stopped is not held against it
            self._stopped_at = None
            self._since, self._cpu_s, self._cpu_at = now, sample.cpu_s, now
        if sample.phase not in WORKING or now - self._since < self._options.suspect_s:
            return Verdict.WELL
        return self._silent(sample, now)

    def _stopped(self, now: float) -> Verdict:
        if self._stopped_at is None:
            self._stopped_at = now
        stopped_s = now - self._stopped_at
        self.reason = f"stopped by a signal for {stopped_s:.1f} s"
        if stopped_s >= self._options.stopped_s:
            return Verdict.HUNG
        return Verdict.SUSPECT if stopped_s >= self._options.suspect_s else Verdict.WELL

    def _silent(self, sample: Sample, now: float) -> Verdict:
        used_s, blocked_s = sample.cpu_s - self._cpu_s, now - self._cpu_at
        if used_s >= self._options.hard_cpu_s:
            self.reason = f"no progress in {used_s:.1f} s of CPU time"
            return Verdict.HUNG
        if blocked_s >= self._options.hard_block_s:
            self.reason = f"blocked for {blocked_s:.1f} s, without using the CPU"
            return Verdict.HUNG
        self.reason = f"no progress for {now - self._since:.1f} s"
        return Verdict.SUSPECT
