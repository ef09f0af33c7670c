"""The supervisor: process table, signals, waiting. The only code that starts or stops processes.

It sleeps until a pidfd, its control socket, a signal or a deadline wakes it, asks ``actors.runtime.tree`` what that
means, and does what the answer says. It runs no user code and decides nothing.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from actors.runtime import messages, tree
from actors.runtime.board import SupervisorBoard, create_board
from actors.runtime.events import Observer, RunEnded, RunReady, RunResult, RunStarted
from actors.runtime.mailbox import ControlBox
from actors.runtime.manifest import Manifest
from actors.runtime.restart import Exit
from actors.runtime.rundir import BOARD, MANIFEST, RunDirectory
from actors.runtime.topology import expand

_PR_SET_CHILD_SUBREAPER = 36
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def run(manifest: Manifest, observer: Observer) -> RunResult:
    """Run a pipeline to its end; return how it ended. Call from the main thread of a process.

    Raises:
        ConfigError: the state directory cannot be used, or another run uses it.
    """
    directory = RunDirectory(Path(manifest.state))
    try:
        manifest.save(directory.path / MANIFEST)
        specs = expand(manifest)
        create_board(directory.path / BOARD, [spec.name for spec in specs])
        decisions = tree.Tree(specs, manifest.restart, manifest.limits, random.Random())
        with contextlib.closing(_Run(directory.path, decisions, observer)) as supervised:
            observer.event(RunStarted(manifest.run, manifest.name, manifest.state, len(specs)))
            return supervised.until_ended()
    finally:
        directory.close()


class _Run:
    """One run: its processes, and the loop.

    Args:
        run_dir: the run directory, with manifest and board.
        decisions: the tree, which decides everything.
        observer: who is told.
    """

    def __init__(self, run_dir: Path, decisions: tree.Tree, observer: Observer) -> None:
        # Grandchildren of a child that dies come to us, and go when we go.
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._run_dir = run_dir
        self._tree = decisions
        self._observer = observer
        self._control = ControlBox(run_dir)
        self._board = SupervisorBoard(run_dir / BOARD)
        # Whoever looks for the processes of a run finds them by this, whatever their titles say.
        # SPT_NOENV keeps setproctitle from writing titles over it.
        self._environment = {**os.environ, "THRESHER_RUN_DIR": str(run_dir), "SPT_NOENV": "1"}
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._pidfds: dict[int, str] = {}
        self._began = time.monotonic()
        self._ready_s = 0.0
        self._ended: tree.End | None = None
        self._wakeup, self._signals = _signal_pipe()
        self._control.watch(self._signals.fileno())
        self._old_handlers = {number: signal.signal(number, _noted) for number in _SIGNALS}
        self._old_wakeup = signal.set_wakeup_fd(self._wakeup.fileno(), warn_on_full_buffer=False)

    def until_ended(self) -> RunResult:
        """Run the loop until no process is left."""
        self._do(self._tree.begin(time.monotonic()))
        refresh_at = time.monotonic() + self._observer.refresh_s
        while self._ended is None:
            received, fds = self._control.wait(self._timeout(refresh_at))
            for sender, message, _ in received:
                self._do(self._heard(sender, message))
            for fd in fds:
                self._do(self._woken(fd))
            now = time.monotonic()
            self._do(self._tree.tick(now))
            if self._observer.refresh_s and now >= refresh_at:
                self._observer.refresh(self._board.views())
                refresh_at = now + self._observer.refresh_s
        seconds = time.monotonic() - self._began
        outages = {name: problem for name, (problem, _) in self._tree.lasting_outages.items()}
        if self._observer.refresh_s:
            self._observer.refresh(self._board.views())
        self._observer.event(RunEnded(self._ended.code, self._ended.reason, seconds))
        return RunResult(self._ended.code, self._ended.reason, seconds, self._ready_s, outages)

    def close(self) -> None:
        """Leave nothing behind, whatever happened: no process, no handler, no descriptor."""
        for name, process in self._processes.items():
            process.kill()
            process.wait()
            self._board.say(name, "STOPPED", 0)
        signal.set_wakeup_fd(self._old_wakeup)
        for number, handler in self._old_handlers.items():
            signal.signal(number, handler)
        for fd in self._pidfds:
            os.close(fd)
        self._wakeup.close()
        self._signals.close()
        self._board.close()
        self._control.close()

    def _timeout(self, refresh_at: float) -> float | None:
        times = [t for t in (self._tree.next_deadline(), refresh_at if self._observer.refresh_s else None)
                 if t is not None]
        return max(0.0, min(times) - time.monotonic()) if times else None

    def _heard(self, sender: str, message: messages.AnyMessage) -> Iterator[tree.Action]:
        now = time.monotonic()
        match message:
            case messages.Booted():
                return self._tree.booted(sender, now)
            case messages.Ready(endpoint):
                return self._tree.ready(sender, endpoint, now)
            case messages.Outage(problem, seconds):
                return self._tree.outage(sender, problem, seconds, now)
            case messages.InputDone(left):
                return self._tree.input_done(sender, left, now)
            case _:
                return iter(())

    def _woken(self, fd: int) -> Iterator[tree.Action]:
        if fd == self._signals.fileno():
            for number in self._signals.recv(64):
                if number in _SIGNALS:
                    yield from self._tree.signalled(signal.Signals(number).name, time.monotonic())
            return
        name = self._pidfds.pop(fd)
        self._control.unwatch(fd)
        os.close(fd)
        status = self._processes.pop(name).wait()
        phase = next((view.phase for view in self._board.views() if view.actor == name), "")
        yield from self._tree.exited(name, Exit(status), phase, time.monotonic())

    def _do(self, actions: Iterable[tree.Action]) -> None:
        for action in actions:
            match action:
                case tree.Spawn(name, generation):
                    self._spawn(name, generation)
                case tree.Send(address, message):
                    self._control.send(address, message)
                case tree.Kill(name, number):
                    if name in self._processes:
                        self._processes[name].send_signal(number)
                case tree.Say(name, state, generation):
                    self._board.say(name, state, generation)
                case tree.Emit(event):
                    if isinstance(event, RunReady):
                        self._ready_s = event.seconds
                    self._observer.event(event)
                case tree.End():
                    self._ended = action

    def _spawn(self, name: str, generation: int) -> None:
        # Always from the main thread: the kernel's parent-death signal goes by the thread that spawned. A process
        # group of its own: Ctrl-C at the terminal is for the supervisor alone.
        process = subprocess.Popen(
            [sys.executable, "-m", "actors", name, "--generation", str(generation), "--run", str(self._run_dir),
             "--parent", str(os.getpid())],
            stdin=subprocess.DEVNULL, process_group=0, env=self._environment)
        self._processes[name] = process
        fd = os.pidfd_open(process.pid)
        self._pidfds[fd] = name
        self._control.watch(fd)


def _signal_pipe() -> tuple[socket.socket, socket.socket]:
    writer, reader = socket.socketpair()
    writer.setblocking(False)
    reader.setblocking(False)
    return writer, reader


def _noted(number: int, frame: object) -> None:
    """Python wants a handler; the wakeup descriptor does the work."""


if __name__ == "__main__":
    import runpy

    runpy.run_module("actors.cli", run_name="__main__")
