"""One run of a verification: a supervisor in a fresh interpreter, watched on its board, its actors killed at random.

The parent owns the scratch directory and the child; the child dies with the parent. An actor is killed through a pidfd
that was checked to be the child's own, so a number that was given to somebody else meanwhile harms nobody.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import random
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec

from actors.runtime import loading, procfs
from actors.runtime.board import read_views
from actors.runtime.errors import ConfigError, ThresherError
from actors.runtime.events import BAD_CONFIG, DONE, ActorView, Event, Observer, RunResult
from actors.runtime.manifest import Manifest, load_manifest
from actors.runtime.pipeline import Pipeline
from actors.runtime.rundir import BOARD, path_for
from actors.verify.compare import Outcome, outcome_of
from actors.verify.plan import Variant, manifest_of

_MANIFEST, _RESULT, _OUTPUT = "manifest.json", "result.json", "output.txt"
_PR_SET_PDEATHSIG = 1
#: The board is shared memory: it can only be looked at.
_LOOK_S = 0.002
_OUTPUT_SHOWN_LINES = 20
#: A run may take so many times as long as the reference, and so long in any case, before it counts as stuck.
_PATIENCE, _PATIENCE_S = 20.0, 60.0

Run = Callable[[Manifest, Observer], RunResult]


class SampleChanged(ThresherError):
    """The sample is not what it was when the verification began: nothing can be said."""


class Made(msgspec.Struct, frozen=True):
    """A run that was made.

    Attributes:
        seconds: how long it took.
        killed: the actors that were killed, in order.
        problem: why it did not come to its end; empty if it did.
    """

    variant: Variant
    seconds: float
    killed: list[str]
    problem: str
    outcome: Outcome


class Silent:
    """An observer that says nothing."""

    refresh_s = 0.0

    def event(self, event: Event) -> None:
        """Say nothing."""

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Say nothing."""


def run_one(folder: Path, run: Run) -> int:
    """In the child: run the manifest of a folder and leave the result there; return the exit code."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # the parent died before the line above
        return 1
    result = run(load_manifest(folder / _MANIFEST), Silent())
    (folder / _RESULT).write_bytes(msgspec.json.encode(result))
    return result.code


def make(
    settings_manifest: Manifest, pipeline: Pipeline, variant: Variant, folder: Path, command: Sequence[str],
    usual_s: float | None = None,
) -> Made:
    """Run one variant in a process of its own, in this folder, which is removed afterwards.

    Args:
        command: what runs ``run_one`` for the folder that is added to it.
        usual_s: how long the reference took; None for the reference, which has all the time there is.

    Raises:
        ConfigError: the run says that its configuration is wrong.
    """
    state = folder / "state"
    state.mkdir(parents=True)
    manifest = manifest_of(settings_manifest, variant, state)
    manifest.save(folder / _MANIFEST)
    began = time.monotonic()
    limit = None if usual_s is None else began + _PATIENCE_S + _PATIENCE * usual_s
    killer = _Killer(variant, state)
    with (folder / _OUTPUT).open("wb") as output:
        child = subprocess.Popen([*command, str(folder)], stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            problem = _watch(child, killer, limit)
        finally:
            _end(child, state)
    seconds = time.monotonic() - began
    problem = problem or _problem(child.returncode, folder)
    made = Made(variant, seconds, killer.killed, problem, outcome_of(manifest, pipeline))
    shutil.rmtree(folder, ignore_errors=True)
    return made


def command_of(target: str) -> list[str]:
    """The command that runs one variant in a fresh interpreter; the folder follows."""
    return [*loading.fresh_interpreter("actors.cli"), "verify", target, "--one"]


def _watch(child: subprocess.Popen[bytes], killer: _Killer, limit: float | None) -> str:
    while child.poll() is None:
        if killer.is_done:
            timeout = None if limit is None else max(0.0, limit - time.monotonic())
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(timeout)
                break
        else:
            killer.look(child.pid)
            time.sleep(_LOOK_S)
        if limit is not None and time.monotonic() > limit:
            return "it did not come to its end: 20 times the time of the reference and a minute were not enough"
    return ""


def _end(child: subprocess.Popen[bytes], state: Path) -> None:
    """Leave nothing behind: its actors die with it."""
    if child.poll() is None:
        child.kill()
        child.wait()
        shutil.rmtree(path_for(state), ignore_errors=True)


def _problem(code: int, folder: Path) -> str:
    """Why a run did not come to its end, or nothing."""
    lines = (folder / _OUTPUT).read_text(errors="replace").strip().splitlines()[-_OUTPUT_SHOWN_LINES:]
    try:
        result = msgspec.json.decode((folder / _RESULT).read_bytes(), type=RunResult)
    except OSError:
        text = "\n".join(lines) or "it said nothing"
        if code == BAD_CONFIG:
            raise ConfigError(text) from None
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        return f"it ended {how}: {text}"
    if result.code == DONE:
        return ""
    return "\n".join([f"it ended with exit code {result.code}: {result.reason}", *lines])


class _Killer:
    """Kills actors of a run at random moments of its progress.

    Args:
        variant: how many, and the seed.
        state: the run's state directory.
    """

    def __init__(self, variant: Variant, state: Path) -> None:
        self._random = random.Random(variant.seed)
        self._board = path_for(state) / BOARD
        self._left = variant.kills
        self._next = self._gap()
        self._has_begun = False
        self._closed: dict[int, int] = {}  # batches by generation of the reader
        self.killed: list[str] = []

    @property
    def is_done(self) -> bool:
        """Whether nobody is to be killed any more."""
        return self._left <= 0

    def look(self, supervisor: int) -> None:
        """Look at the board; kill somebody if the time has come."""
        try:
            views = read_views(self._board)
        except (OSError, ValueError):
            return  # not yet, or no longer
        for view in views:
            if view.actor.startswith("reader."):
                self._closed[view.generation] = max(view.batches, self._closed.get(view.generation, 0))
        ready = [view for view in views if view.pid and view.state in ("READY", "BUSY")]
        self._has_begun = self._has_begun or len(ready) == len(views)
        if not self._has_begun or not ready or sum(self._closed.values()) < self._next:
            return
        victim = self._random.choice(ready)
        if _kill(victim.pid, supervisor):
            self.killed.append(victim.actor)
            self._left -= 1
            self._next = sum(self._closed.values()) + self._gap()

    def _gap(self) -> int:
        """Batches until the next kill: mostly few, so that a small sample sees them all."""
        return self._random.choice((0, 1, 2, 5, 10, 20))


def _kill(pid: int, parent: int) -> bool:
    """SIGKILL a process if it is a child of ``parent``; return whether it was."""
    try:
        fd = os.pidfd_open(pid)
    except OSError:
        return False
    try:
        process = procfs.look(pid)
        if process is None or process.parent != parent:
            return False
        signal.pidfd_send_signal(fd, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(fd)
    return True
