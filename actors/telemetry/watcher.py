"""Looks at a run that goes on, from outside: the one place where a snapshot is made.

    board (mapped, kept) ── who does what ─────────┐
    kernel (/proc/PID/stat) ── processor time ─────┼──▶ Snapshot ──and one before it──▶ Flow
    ledger (positions.db) ── outcomes ─────────────┤
    event log (followed) ── deaths, restarts ──────┤
    lag.json, of the reader ── how far behind ─────┘

Nobody in the run notices: all of it is files and shared memory. A look takes about a millisecond.
"""

from __future__ import annotations

import os
import time
from collections import Counter, deque
from pathlib import Path

import msgspec

from actors.runtime import procfs, rundir
from actors.runtime.board import BoardReader
from actors.runtime.eventlog import Follower, Happened
from actors.runtime.events import ActorDied, ActorView
from actors.runtime.lag import read_lag
from actors.runtime.manifest import load_manifest
from actors.runtime.topology import stage_of
from actors.runtime.units import LEDGER
from actors.telemetry.flow import flow_between
from actors.telemetry.model import ActorStatus, Happening, Lag, PartitionLag, Snapshot, Status
from actors.telemetry.outcomes import Outcomes
from actors.telemetry.readiness import ready

#: How many events are remembered.
HAPPENINGS = 50
#: Seconds that rates are those of, at least, unless there are fewer looks; and those that the time left is judged by.
RATES_S, ETA_S = 2.0, 15.0


class Watcher:
    """Looks at a run again and again; each look also says what has gone on in the last seconds.

    Args:
        run_dir: its run directory.
        over_s: rates are those of at least so many seconds, if there were looks before that; 0: since the last look.

    Attributes:
        manifest: of the run.

    Raises:
        OSError: there is no run (any more).
        ValueError: its board is none.
    """

    def __init__(self, run_dir: Path, over_s: float = RATES_S) -> None:
        self._over_s = over_s
        self._run_dir = run_dir
        self._paper = run_dir / rundir.MANIFEST
        self._written = self._paper.stat().st_mtime_ns
        try:
            self.manifest = load_manifest(self._paper)
        except msgspec.MsgspecError as error:
            raise ValueError(f"{self._paper}: {error}") from error
        self._state = Path(self.manifest.state)
        self._board = BoardReader(run_dir / rundir.BOARD)
        self._log = Follower(run_dir)
        self._outcomes = Outcomes(self._state / LEDGER)
        self._happenings: deque[Happening] = deque(maxlen=HAPPENINGS)
        self._deaths: Counter[str] = Counter()
        self._restarts: Counter[str] = Counter()
        self._cores = len(os.sched_getaffinity(0))
        self._looks: deque[Snapshot] = deque()

    def status(self) -> Status:
        """Look. Raises as above."""
        if rundir.find(self._state) is None or self._paper.stat().st_mtime_ns != self._written:
            raise ProcessLookupError(f"the run {self.manifest.run} has ended")
        after = self._look()
        looks = self._looks
        before = next((look for look in reversed(looks) if after.clock - look.clock >= self._over_s),
                      looks[0] if looks else after)
        earlier = looks[0] if looks else after
        looks.append(after)
        while len(looks) > 2 and after.clock - looks[1].clock >= max(ETA_S, self._over_s):
            looks.popleft()
        return Status(snapshot=after, flow=flow_between(before, after, self.manifest, self._cores, earlier))

    def close(self) -> None:
        """Unmap the board."""
        self._board.close()

    def _look(self) -> Snapshot:
        for happened in self._log.new():
            self._take_note(happened)
        run, views = self._board.run(), self._board.views()
        return Snapshot(
            name=self.manifest.name, run=self.manifest.run, state=self.manifest.state, mode=run.mode,
            started=run.started, at=time.time(), clock=time.monotonic(), beat_s=run.beat_s,
            actors=[self._actor(view) for view in views], outcomes=dict(self._outcomes.now()),
            deaths=dict(self._deaths), happenings=list(self._happenings), not_ready=ready(run, views).reasons,
            lag=self._lag())

    def _lag(self) -> Lag | None:
        found = read_lag(self._run_dir)
        return None if found is None else Lag(
            records=found.records, partitions=found.partitions, age_s=max(0.0, time.monotonic() - found.at),
            worst=[PartitionLag(name, records) for name, records in found.worst])

    def _actor(self, view: ActorView) -> ActorStatus:
        process = procfs.look(view.pid) if view.pid else None
        return ActorStatus(view=view, stage=stage_of(view.actor), cpu_s=0.0 if process is None else process.cpu_s,
                           restarts=self._restarts[view.actor])

    def _take_note(self, happened: Happened) -> None:
        event = happened.event
        fields = event.fields()
        self._happenings.append(Happening(at=happened.at, kind=fields["event"], text=event.text(), fields=fields))
        if isinstance(event, ActorDied):
            self._deaths[event.cause if event.cause == "timeout" else event.how] += 1
            self._restarts[event.actor] += event.restart_s is not None
