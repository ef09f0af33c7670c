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
import ctypes
import gc
import importlib
import os
import random
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from actors.runtime import actions, messages, procfs, rundir, tree
from actors.runtime.agreement import require_agreement
from actors.runtime.board import SupervisorBoard, create_board
from actors.runtime.child import Mode
from actors.runtime.counted_twice import require_new
from actors.runtime.deaths import Recorder
from actors.runtime.desk import Desk, Reload
from actors.runtime.errors import ConfigError
from actors.runtime.eventlog import Log
from actors.runtime.events import (
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
from actors.runtime.policy import policy_of
from actors.runtime.restart import Exit, exit_of
from actors.runtime.rundir import BOARD, MANIFEST, RunDirectory, stack_file
from actors.runtime.settling import settle
from actors.runtime.topology import expand, may_come
from actors.runtime.values import SOURCE_LOST

_PR_SET_CHILD_SUBREAPER = 36
#: Seconds between two looks at the actors.
LOOK_S = 0.5
#: How much of a stack is kept: its end.
_STACK_BYTES = 8192
_SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
#: Takes how a run ended, as its actors tell it; returns how it ended.
Judge = Callable[[RunResult], RunResult]


class Entry(msgspec.Struct, frozen=True):
    """How an actor is run.

    Attributes:
        run: runs one in this process, which is its own, and returns its exit code; it is given its name, its
            generation, the run directory and the pid of the supervisor.
        command: the words before an actor's own arguments that do the same in a fresh interpreter.
        preload: modules that the forked will need, imported once before there are any.
    """

    run: Callable[[str, int, Path, int], int]
    command: tuple[str, ...]
    preload: tuple[str, ...]


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
    directory = RunDirectory(Path(manifest.state))
    try:
        manifest = require_agreement(manifest)
        settle(manifest)
        require_new(manifest)
        specs = expand(manifest)
        try:
            manifest.save(directory.path / MANIFEST)
            rundir.save_search_path(directory.path)
            if manifest.monitor.enabled:
                rundir.save_monitor_token(directory.path, manifest.monitor.token_secret)
            create_board(directory.path / BOARD, [spec.name for spec in specs], may_come(manifest))
        except OSError as error:
            raise ConfigError(f"run directory {directory.path}: {error.strerror}: make room, "
                              "or set XDG_RUNTIME_DIR to another place") from error
        decisions = tree.Tree(specs, policy_of(manifest), random.Random())
        _preload(manifest, entry.preload)
        desk = Desk(decisions, manifest, reload)
        told = Log(directory.path, Recorder(manifest, observer))
        stdin_for = _who_reads_stdin(manifest)
        with contextlib.closing(_Run(directory.path, decisions, desk, told, stdin_for, entry)) as supervised:
            return supervised.until_ended(
                RunStarted(manifest.run, manifest.name, manifest.state, len(specs)), judge or (lambda result: result))
    finally:
        directory.close()


class _Run:
    """One run: its processes, and the loop.

    Args:
        run_dir: the run directory, with manifest and board.
        decisions: the tree, which decides everything.
        desk: where commands are carried out.
        observer: who is told.
        stdin_for: what the names of those actors begin with that have our standard input; others have none.
        entry: how actors are run.
    """

    def __init__(
        self, run_dir: Path, decisions: tree.Tree, desk: Desk, observer: Observer, stdin_for: str, entry: Entry
    ) -> None:
        # Grandchildren of a child that dies come to us, and go when we go.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._run_dir = run_dir
        self._tree = decisions
        self._desk = desk
        self._observer = observer
        self._stdin_for = stdin_for
        self._entry = entry
        self._board = SupervisorBoard(run_dir / BOARD)
        self._started = time.time()
        self._pids: dict[str, int] = {}
        self._pidfds: dict[int, str] = {}
        self._began = time.monotonic()
        self._ready_s = 0.0
        self._ended: actions.End | None = None
        self._wakeup, self._signals = _signal_pipe()
        self._old_handlers = {number: signal.signal(number, _noted) for number in _SIGNALS}
        self._old_wakeup = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)
        self._control: ControlBox | None = None
        self._fork_gate: int | None = None
        self._look_at = 0.0
        self._stillborn: dict[str, str] = {}

    def until_ended(self, started: RunStarted, judge: Judge) -> RunResult:
        """Start everyone and run the loop until no process is left."""
        gate, opened = os.pipe()
        self._fork_gate = gate if threading.active_count() == 1 else None  # forking threads away is asking for it
        self._do(self._tree.begin(time.monotonic()))
        self._fork_gate = None
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
        """Leave nothing behind, whatever happened: no process, no handler, no descriptor."""
        for pid in self._pids.values():
            os.kill(pid, signal.SIGKILL)  # not reaped yet, so the number is still theirs
            os.waitpid(pid, 0)
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        for fd in self._pidfds:
            os.close(fd)
        self._wakeup.close()
        self._signals.close()
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
                self._do(self._tree.observed(view.actor, view.generation, sample, view.rss_bytes, now))
        self._bury_orphans()

    def _bury_orphans(self) -> None:
        """Wait for grandchildren that have outlived their parent and ended: they are ours, and zombies until then."""
        with contextlib.suppress(ChildProcessError):  # nobody lives
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in self._pids.values():  # an actor: its pidfd is about to wake us
                    break
                os.waitpid(ended.si_pid, 0)

    def _heard(self, sender: str, message: messages.AnyMessage) -> Iterator[actions.Action]:
        now = time.monotonic()
        match message:
            case messages.Booted():
                return self._tree.booted(sender, now)
            case messages.Ready(endpoint):
                return self._tree.ready(sender, endpoint, now)
            case messages.Serving(url):
                return iter((actions.Emit(MonitorReady(url, str(self._run_dir / rundir.MONITOR_TOKEN))),))
            case messages.Lost(source, start, end, fault):
                kind = SourceLost if fault == SOURCE_LOST else FileLost
                return iter((actions.Emit(kind(source, start, end)),))
            case messages.Outage(problem, seconds):
                return self._tree.outage(sender, problem, seconds, now)
            case messages.InputDone(left, code, reason):
                return self._tree.input_done(sender, left, now, code, reason)
            case messages.Drain() if self._tree.mode in (Mode.STARTING, Mode.RUNNING):
                return self._tree.signalled(f"{sender.partition('#')[0]}, as nobody reads what it emits any more", now)
            case messages.Drained():
                return self._tree.drained(sender, now)
            case messages.Command():
                return self._desk.command(sender, message, now)
            case _:
                return iter(())

    def _woken(self, fd: int) -> Iterator[actions.Action]:
        if fd == self._signals.fileno():
            for number in self._signals.recv(64):
                if number == signal.SIGHUP:
                    yield from self._desk.reload("SIGHUP", time.monotonic())
                elif number in _SIGNALS:
                    yield from self._tree.signalled(signal.Signals(number).name, time.monotonic())
            return
        name = self._pidfds.pop(fd)
        if self._control is not None:
            self._control.unwatch(fd)
        os.close(fd)
        _, wait_status = os.waitpid(self._pids.pop(name), 0)
        yield from self._tree.exited(name, exit_of(wait_status), self._last_words(name), time.monotonic())

    def _last_words(self, name: str) -> LastWords:
        view = next((view for view in self._board.views() if view.actor == name), None)
        if view is None:
            return LastWords()
        path, stack = stack_file(self._run_dir, name, view.generation), b""
        with contextlib.suppress(OSError):
            stack = path.read_bytes()[-_STACK_BYTES:]
            path.unlink()
        return LastWords(view.phase, view.hand, stack.decode(errors="replace"), view.rss_bytes, view.batches)

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
        # Always from the main thread: the kernel's parent-death signal goes by the thread that spawned.
        try:
            pid = self._execute(name, generation) if self._fork_gate is None else self._fork(name, generation)
        except OSError as error:  # too many processes, or no memory: a death before it was ready, like any other
            self._stillborn[name] = f"it could not be started: {error.strerror}"
            return
        self._pids[name] = pid
        fd = os.pidfd_open(pid)
        self._pidfds[fd] = name
        if self._control is not None:
            self._control.watch(fd)

    def _bury_the_stillborn(self, now: float) -> None:
        for name in list(self._stillborn):
            self._do(self._tree.exited(name, Exit(os.EX_OSERR), LastWords(stack=self._stillborn.pop(name)), now))

    def _execute(self, name: str, generation: int) -> int:
        arguments = [*self._entry.command, name, "--generation", str(generation),
                     "--run", str(self._run_dir), "--parent", str(os.getpid())]
        # A process group of its own: Ctrl-C at the terminal is for the supervisor alone.
        no_stdin = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        return os.posix_spawn(
            sys.executable, arguments, os.environ, setpgroup=0,
            file_actions=[] if self._has_stdin(name) else no_stdin)

    def _fork(self, name: str, generation: int) -> int:
        parent = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        code = 1
        try:
            self._become_a_child(name)
            code = self._entry.run(name, generation, self._run_dir, parent)
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _has_stdin(self, name: str) -> bool:
        return bool(self._stdin_for) and name.startswith(self._stdin_for)

    def _become_a_child(self, name: str) -> None:
        """Leave behind what is the supervisor's: handlers, descriptors, the terminal."""
        signal.set_wakeup_fd(-1)
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        gate = self._fork_gate
        assert gate is not None
        if not self._has_stdin(name):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, gate)
        os.closerange(gate + 1, os.sysconf("SC_OPEN_MAX"))  # the lock, the pipe's other end, everything
        os.read(gate, 1)  # ends when the supervisor has bound its socket, or has died
        os.close(gate)


def _who_reads_stdin(manifest: Manifest) -> str:
    return "reader." if manifest.source.kind().wants_stdin else ""


def _preload(manifest: Manifest, modules: Sequence[str]) -> None:
    """Import what the forked will need, once."""
    names = [*modules, *(("actors.telemetry.spans", "requests") if manifest.tracing.enabled else ())]
    for component in manifest.components():
        names += component.kind().imports
    for name in names:
        with contextlib.suppress(ImportError):  # the actor that misses it says so
            importlib.import_module(name)
    sys.stdout.flush()
    sys.stderr.flush()
    gc.collect()
    gc.freeze()  # what everybody shares is not touched by anybody's collector, so it stays shared


def _signal_pipe() -> tuple[socket.socket, socket.socket]:
    writer, reader = socket.socketpair()
    writer.setblocking(False)
    reader.setblocking(False)
    return writer, reader


def _noted(number: int, frame: object) -> None:
    """Python wants a handler; the wakeup descriptor does the work."""
