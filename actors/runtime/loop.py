"""The supervisor's loop: process table, signals, waiting. The only code that starts or stops processes.

It sleeps until a pidfd, its control socket, a signal or a deadline wakes it, asks ``actors.runtime.tree`` what that
means, and does what the answer says. It runs no user code and decides nothing. What an actor does is not known here:
its entry is given by ``actors.launcher``.

The first generation of actors is forked, before this process has a ZeroMQ context, a socket or a thread: nine
interpreters that import the same modules at once were a fifth of a small load's time. Later generations are executed,
because by then there is a context, and a child that inherits one hangs without an error.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from actors.runtime import actions, messages, open_files, procfs, rundir, spawning, tree
from actors.runtime.agreement import require_agreement
from actors.runtime.board import SupervisorBoard, create_board
from actors.runtime.child import Mode
from actors.runtime.counted_twice import require_new
from actors.runtime.deaths import Recorder
from actors.runtime.desk import Desk, Reload
from actors.runtime.errors import ConfigError
from actors.runtime.eventlog import Log
from actors.runtime.events import (
    EmptyLeftOut,
    FileLost,
    LastWords,
    MonitorReady,
    Observer,
    RunEnded,
    RunReady,
    RunResult,
    RunStarted,
    SourceLost,
)
from actors.runtime.health import Sample
from actors.runtime.mailbox import ControlBox
from actors.runtime.manifest import Manifest, load_manifest
from actors.runtime.orphans import Orphans
from actors.runtime.policy import policy_of
from actors.runtime.restart import Exit, exit_of
from actors.runtime.rundir import BOARD, MANIFEST, RunDirectory
from actors.runtime.settling import settle
from actors.runtime.signals import Noted
from actors.runtime.spawning import Entry
from actors.runtime.topology import ChildSpec, expand, may_come
from actors.runtime.values import SOURCE_LOST

#: Seconds between two looks at the actors.
LOOK_S = 0.5
#: Takes how a run ended, as its actors tell it; returns how it ended.
Judge = Callable[[RunResult], RunResult]


def run(
    manifest: Manifest, observer: Observer, entry: Entry, reload: Reload | None = None, judge: Judge | None = None
) -> RunResult:
    """Run a pipeline to its end; return how it ended. Call from the main thread of a process.

    Args:
        manifest: what to run.
        observer: who is told what happens.
        entry: how actors are run.
        reload: reads the configuration again, for SIGHUP and ``thresher reload``.
        judge: has the last word on code and reason, before anybody is told: a run that ends well may have bad files.

    Raises:
        ConfigError: the state directory cannot be used, or another run uses it.
    """
    with Noted() as noted, furnished(manifest) as (run_dir, manifest):
        specs = expand(manifest)
        decisions = tree.Tree(specs, policy_of(manifest), random.Random())
        spawning.preload(manifest, entry.preload)
        desk = Desk(decisions, manifest, reload)
        told = Log(run_dir, Recorder(manifest, observer))
        spawner = spawning.Spawner(run_dir, entry, spawning.who_reads_stdin(manifest))
        with contextlib.closing(_Run(run_dir, decisions, desk, told, spawner, noted)) as supervised:
            return supervised.until_ended(
                RunStarted(manifest.run, manifest.name, manifest.state, len(specs)), judge or (lambda result: result))


@contextlib.contextmanager
def furnished(manifest: Manifest) -> Iterator[tuple[Path, Manifest]]:
    """Have the state to oneself, see that it is of one moment, and lay out a run directory; returns that and the
    manifest of the run.

    Raises:
        ConfigError: the state directory cannot be used, or another run uses it.
    """
    open_files.require_enough(len(expand(manifest)))
    with contextlib.closing(RunDirectory(Path(manifest.state))) as directory:
        manifest = require_agreement(manifest)
        settle(manifest)
        require_new(manifest)
        _furnish(directory.path, manifest, expand(manifest))
        yield directory.path, manifest


def heard(decisions: tree.Tree, sender: str, message: messages.AnyMessage, now: float) -> Iterator[actions.Action]:
    """What an actor says to its supervisor, whatever processes there are."""
    match message:
        case messages.Booted():
            return decisions.booted(sender, now)
        case messages.Lost(source, start, end, fault):
            kind = SourceLost if fault == SOURCE_LOST else FileLost
            return iter((actions.Emit(kind(source, start, end)),))
        case messages.LeftOut(start):
            return iter((actions.Emit(EmptyLeftOut(sender.partition("#")[0], start)),))
        case messages.Outage(problem, seconds):
            return decisions.outage(sender, problem, seconds, now)
        case messages.InputDone(left, code, reason):
            return decisions.input_done(sender, left, now, code, reason)
        case messages.Drain() if decisions.mode in (Mode.STARTING, Mode.RUNNING):
            return decisions.signalled(f"{sender.partition('#')[0]}, as nobody reads what it emits any more", now)
        case messages.Drained():
            return decisions.drained(sender, now)
        case _:
            return iter(())


def _furnish(run_dir: Path, manifest: Manifest, specs: Sequence[ChildSpec]) -> None:
    """Put into the run directory what its actors look for there."""
    try:
        manifest.save(run_dir / MANIFEST)
        rundir.save_search_path(run_dir)
        if manifest.monitor.enabled:
            rundir.save_monitor_token(run_dir, manifest.monitor.token_secret)
        create_board(run_dir / BOARD, [spec.name for spec in specs], may_come(manifest))
    except OSError as error:
        raise ConfigError(f"run directory {run_dir}: {error.strerror}: make room, "
                          "or set XDG_RUNTIME_DIR to another place") from error


class _Run:
    """One run: its processes, and the loop.

    Args:
        run_dir: the run directory, with manifest and board.
        decisions: the tree, which decides everything.
        desk: where commands are carried out.
        observer: who is told.
        spawner: starts actors.
        signals: what has been noted.
    """

    def __init__(
        self, run_dir: Path, decisions: tree.Tree, desk: Desk, observer: Observer, spawner: spawning.Spawner,
        signals: Noted
    ) -> None:
        self._run_dir = run_dir
        self._tree = decisions
        self._desk = desk
        self._observer = observer
        self._spawner = spawner
        self._signals = signals
        self._orphans = Orphans()
        self._board = SupervisorBoard(run_dir / BOARD)
        self._started = time.time()
        self._pids: dict[str, int] = {}
        self._pidfds: dict[int, str] = {}
        self._began = time.monotonic()
        self._ready_s = 0.0
        self._ended: actions.End | None = None
        self._control: ControlBox | None = None
        self._look_at = 0.0
        self._stillborn: dict[str, str] = {}

    def until_ended(self, started: RunStarted, judge: Judge) -> RunResult:
        """Start everyone and run the loop until no process is left."""
        gate, opened = os.pipe()
        self._spawner.gate = gate if threading.active_count() == 1 else None  # forking threads away is asking for it
        self._do(self._tree.begin(time.monotonic()))
        self._spawner.gate = None
        control = self._control = ControlBox(self._run_dir, load_manifest(self._run_dir / MANIFEST).links)
        for fd in (self._signals.fileno(), *self._pidfds):
            control.watch(fd)
        os.close(gate)
        os.close(opened)  # there is somebody to talk to: the forked go on
        self._observer.event(started)
        refresh_at = time.monotonic() + self._observer.refresh_s
        while self._ended is None:
            received, fds = control.wait(self._timeout(refresh_at))
            for sender, message, _ in received:
                self._do(self._heard(sender, message))
            for fd in fds:
                self._do(self._woken(fd))
            now = time.monotonic()
            self._do(self._tree.tick(now))
            self._board.beat(self._tree.mode.value, self._started)
            self._bury_the_stillborn(now)
            if now >= self._look_at:
                self._look(now)
            if self._observer.refresh_s and now >= refresh_at:
                self._observer.refresh(self._board.views())
                refresh_at = now + self._observer.refresh_s
        seconds = time.monotonic() - self._began
        if self._observer.refresh_s:
            self._observer.refresh(self._board.views())
        result = judge(RunResult(
            self._ended.code, self._ended.reason, seconds, self._ready_s, self._tree.lasting_outages))
        self._observer.event(RunEnded(result.code, result.reason, seconds))
        return result

    def close(self) -> None:
        """Leave nothing behind, whatever happened: no process and no descriptor."""
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still theirs
            os.waitpid(pid, 0)
        self._orphans.end()
        for fd in self._pidfds:
            os.close(fd)
        self._board.close()
        if self._control is not None:
            self._control.close()

    def _timeout(self, refresh_at: float) -> float | None:
        times = [t for t in (self._tree.next_deadline(), refresh_at if self._observer.refresh_s else None,
                             self._look_at) if t is not None]
        return max(0.0, min(times) - time.monotonic())

    def _look(self, now: float) -> None:
        """Look at every actor: what its slot says, and the kernel."""
        late_s = max(0.0, now - self._look_at - LOOK_S) if self._look_at else 0.0
        self._look_at = now + LOOK_S
        for view in self._board.views():
            process = procfs.look(view.pid) if view.pid else None
            if process is not None:
                progress = (view.batches, view.signs, view.hand[1], view.hand[2])
                sample = Sample(view.phase, progress, process.cpu_s, process.state, view.extended_s, late_s)
                self._do(self._tree.observed(view.actor, view.generation, sample, process.rss_bytes, now))
        self._orphans.bury(self._pids.values())

    def _heard(self, sender: str, message: messages.AnyMessage) -> Iterator[actions.Action]:
        now = time.monotonic()
        match message:
            case messages.Ready(endpoint):
                # Nothing is given to it before it is on the roster, so this is what it has without any work.
                bare_bytes = procfs.resident_bytes(self._pids.get(sender.partition("#")[0], 0))
                return self._tree.ready(sender, endpoint, now, bare_bytes)
            case messages.Serving(url):
                return iter((actions.Emit(MonitorReady(url, str(self._run_dir / rundir.MONITOR_TOKEN))),))
            case messages.Command():
                return self._desk.command(sender, message, now)
            case _:
                return heard(self._tree, sender, message, now)

    def _woken(self, fd: int) -> Iterator[actions.Action]:
        if fd == self._signals.fileno():
            for number in self._signals.take():
                if number == signal.SIGHUP:
                    yield from self._desk.reload("SIGHUP", time.monotonic())
                else:
                    yield from self._tree.signalled(number.name, time.monotonic())
            return
        name = self._pidfds.pop(fd)
        if self._control is not None:
            self._control.unwatch(fd)
        os.close(fd)
        _, wait_status = os.waitpid(self._pids.pop(name), 0)
        last = self._board.last_words(self._run_dir, name)
        yield from self._tree.exited(name, exit_of(wait_status), last, time.monotonic())

    def _do(self, wanted: Iterable[actions.Action]) -> None:
        for action in wanted:
            match action:
                case actions.Spawn(name, generation):
                    self._spawn(name, generation)
                case actions.Send(address, message):
                    if self._control is not None:
                        self._control.send(address, message)
                case actions.Kill(name, number):
                    if name in self._pids:
                        os.kill(self._pids[name], number)
                case actions.Say(name, state, generation):
                    self._board.say(name, state, generation)
                case actions.Emit(event):
                    if isinstance(event, RunReady):
                        self._ready_s = event.seconds
                    self._observer.event(event)
                case actions.End():
                    self._ended = action

    def _spawn(self, name: str, generation: int) -> None:
        try:
            pid, fd = self._spawner.spawn(name, generation)
        except OSError as error:  # too many processes, or no memory: a death before it was ready, like any other
            self._stillborn[name] = f"it could not be started: {error.strerror}"
            return
        self._pids[name] = pid
        self._pidfds[fd] = name
        if self._control is not None:
            self._control.watch(fd)

    def _bury_the_stillborn(self, now: float) -> None:
        for name in list(self._stillborn):
            self._do(self._tree.exited(name, Exit(os.EX_OSERR), LastWords(stack=self._stillborn.pop(name)), now))
