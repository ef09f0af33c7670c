"""How an actor's process is started: the first generation is forked, later ones are executed.

A forked child is the supervisor until it has said otherwise: the same handlers, which write to the same descriptor. So
signals are held back from before the fork until the child has left all of it behind. What comes in between is heard by
the one that it was sent to, and means there what it always does.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from actors.runtime import signals
from actors.runtime.manifest import Manifest


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


class Spawner:
    """Starts actors, always from the main thread: the kernel's parent-death signal goes by the thread that spawned.

    Args:
        run_dir: the run directory.
        entry: how actors are run.
        stdin_for: what the names of those actors begin with that have our standard input; others have none.
    """

    def __init__(self, run_dir: Path, entry: Entry, stdin_for: str) -> None:
        self._run_dir = run_dir
        self._entry = entry
        self._stdin_for = stdin_for
        #: What the forked wait for, one after the other, until it ends; None: actors are executed.
        self.gate: int | None = None

    def spawn(self, name: str, generation: int) -> tuple[int, int]:
        """Start an actor; return its pid, and a descriptor that is readable when it has ended.

        Raises:
            OSError: too many processes or open files, or no memory.
        """
        pid = self._execute(name, generation) if self.gate is None else self._fork(name, generation, self.gate)
        try:
            return pid, os.pidfd_open(pid)
        except OSError:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
            raise

    def _execute(self, name: str, generation: int) -> int:
        arguments = [*self._entry.command, name, "--generation", str(generation),
                     "--run", str(self._run_dir), "--parent", str(os.getpid())]
        # A process group of its own: Ctrl-C at the terminal is for the supervisor alone.
        no_stdin = [(os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0)]
        return os.posix_spawn(
            sys.executable, arguments, os.environ, setpgroup=0, setsigmask=(),
            file_actions=[] if self._has_stdin(name) else no_stdin)

    def _fork(self, name: str, generation: int, gate: int) -> int:
        parent = os.getpid()
        with signals.held_back():
            pid = os.fork()
            if pid:
                return pid
            code = 1
            try:
                self._become_a_child(name, gate)
                code = self._entry.run(name, generation, self._run_dir, parent)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)

    def _become_a_child(self, name: str, gate: int) -> None:
        """Leave behind what is the supervisor's: handlers, descriptors, the terminal."""
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGINT, signal.SIGHUP):  # one that was sent to the whole group is the supervisor's
            signal.signal(number, signal.SIG_IGN)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        os.setpgid(0, 0)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        if not self._has_stdin(name):
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.closerange(3, gate)
        os.closerange(gate + 1, os.sysconf("SC_OPEN_MAX"))  # the lock, the pipe's other end, everything
        os.read(gate, 1)  # ends when the supervisor has bound its socket, or has died
        os.close(gate)

    def _has_stdin(self, name: str) -> bool:
        return bool(self._stdin_for) and name.startswith(self._stdin_for)


def preload(manifest: Manifest, modules: Sequence[str]) -> None:
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


def who_reads_stdin(manifest: Manifest) -> str:
    """What the names of the actors begin with that have the standard input of the run."""
    return "reader." if manifest.source.kind().wants_stdin else ""
