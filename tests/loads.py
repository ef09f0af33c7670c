"""Runs of the main job as users start it, with someone who watches, kills and checks. Used by many tests.

A load is a real process with all its actors. What it does is watched on its board, which is shared memory: it can only
be looked at, so ``until`` looks every few milliseconds, under a watchdog.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

from actors.apps.appsinstalled.appsinstalled_pb2 import UserApps
from actors.runtime.board import BoardReader
from actors.runtime.events import ActorView
from actors.runtime.ledger import read_units
from actors.runtime.rundir import BOARD, path_for
from actors.sinks.lmdb import read_lmdb

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
DEVICE_TYPES = ("idfa", "gaid", "adid", "dvid")
WATCHDOG_S = 120.0
T = TypeVar("T")
Views = Mapping[str, ActorView]
Stores = dict[str, dict[bytes, bytes]]


class Running:
    """A command of ``thresher`` that runs actors, in a process of its own.

    Args:
        state: the state directory.
        words: the command line.
        output: where what it prints is kept; by default beside the state directory.
    """

    def __init__(self, state: Path, *words: str, output: Path | None = None) -> None:
        self.state = state
        self.events: list[dict[str, Any]] = []
        self._killed = {0}
        self._output = output or state.parent / f"{state.name}.{words[0]}.out"
        self._file = self._output.open("wb")
        self.process = subprocess.Popen(
            [sys.executable, "-m", "actors.cli", *words, "--state", str(state)],
            cwd=ROOT, stdout=self._file, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self._file.close()

    def views(self) -> Views:
        """The board of this very run now; empty before there is one and after it has gone.

        What lies there before is the board of a run that was killed, which shows what that one had done.
        """
        return views_of(self.state, self.process.pid)

    def until(self, condition: Callable[[Views], bool], what: str) -> Views:
        """Wait until the board shows something; fail when the run ends first."""
        deadline = time.monotonic() + WATCHDOG_S
        while time.monotonic() < deadline:
            views = self.views()
            if views and condition(views):
                return views
            assert self.process.poll() is None, f"the run ended before {what}:\n{self.output()}"
            time.sleep(0.002)
        raise AssertionError(f"no {what} within {WATCHDOG_S} s:\n{self.output()}")

    def kill(self, name: str, after_batches: int, number: int = signal.SIGKILL) -> None:
        """Signal an actor once a generation of it that was not killed before has finished so many batches."""

        def is_next(views: Views) -> bool:
            view = views[name]
            return view.batches >= after_batches and view.pid not in self._killed and bool(living([view.pid]))

        views = self.until(is_next, f"{after_batches} batches of {name}")
        os.kill(views[name].pid, number)
        self._killed.add(views[name].pid)

    def wait(self) -> int:
        """Wait for the end; return the exit code."""
        code = self.process.wait(WATCHDOG_S)
        for line in self._output.read_text().splitlines():
            if line.startswith("{"):
                self.events.append(json.loads(line))
        return code

    def output(self) -> str:
        """Everything printed so far."""
        return self._output.read_text()

    def of(self, kind: str) -> list[dict[str, Any]]:
        """The events of one kind, after ``wait``."""
        return [event for event in self.events if event.get("event") == kind]


def until(find: Callable[[], T], what: str) -> T:
    """Look until there is something; return it."""
    deadline = time.monotonic() + WATCHDOG_S
    while not (found := find()):
        assert time.monotonic() < deadline, f"no {what}"
        time.sleep(0.002)
    return found


def views_of(state: Path, supervisor: int | None = None) -> Views:
    """What the board of a state directory's run shows now, or that of this supervisor; empty before there is one and
    after it has gone."""
    try:
        board = BoardReader(path_for(state) / BOARD)
    except (OSError, ValueError):
        return {}
    try:
        return {view.actor: view for view in board.views()} if supervisor in (None, board.run().pid) else {}
    finally:
        board.close()


class Load(Running):
    """One run of ``thresher run``.

    Args:
        logs: a glob pattern of input files.
        state: the state directory.
        sets: ``--set`` options.
        target: another pipeline than the main job.
        output: where what it prints is kept.
    """

    def __init__(
        self, logs: str | Path, state: Path, *sets: str, target: str = "appsinstalled", output: Path | None = None
    ) -> None:
        options = (word for item in (f"source.pattern={logs}", *sets) for word in ("--set", item))
        super().__init__(state, "run", target, "--format", "json", *options, output=output)


def load(logs: str | Path, state: Path, *sets: str, target: str = "appsinstalled") -> Load:
    """Run to the end."""
    with Load(logs, state, *sets, target=target) as running:
        running.wait()
    return running


def encode(apps: Sequence[int], lat: float, lon: float) -> bytes:
    """protobuf's own encoding."""
    return bytes(UserApps(apps=apps, lat=lat, lon=lon).SerializeToString())


def expected_stores(lines: Iterable[bytes]) -> Stores:
    """What the stores must hold after these lines, as one program would store them one after the other."""
    stores: Stores = {name: {} for name in DEVICE_TYPES}
    for line in lines:
        columns = line.strip().split(b"\t")
        if len(columns) != 5 or columns[0].decode() not in stores or not re.fullmatch(rb"[^\x00-\x20]+", columns[1]):
            continue
        kind, device, lat, lon, apps = columns
        if not all(re.fullmatch(rb"-?\d+\.\d+", number) for number in (lat, lon)):
            continue
        ids = [int(app) for app in apps.split(b",") if app.isdigit() and int(app) < 2**32]
        stores[kind.decode()][kind + b":" + device] = encode(ids, float(lat), float(lon))
    return stores


def lmdb_stores(state: Path) -> Stores:
    """What the embedded stores hold."""
    return {name: dict(read_lmdb(state / f"{name}.lmdb")) for name in DEVICE_TYPES}


def assert_counts_add_up(state: Path) -> dict[str, int]:
    """Every record read has exactly one outcome; return the sums over the units of the last run."""
    total: dict[str, int] = {}
    for unit in read_units(state / "positions.db"):
        for name, number in unit.counts.items():
            total[name] = total.get(name, 0) + number
    outcomes = sum(total.get(name, 0) for name in ("written", "folded", "filtered", "dead_lettered"))
    assert total.get("read", 0) == outcomes
    return total


def members(session: int) -> list[int]:
    """The processes of a load that still live, by the session that its supervisor leads and none of them leaves."""
    found: list[int] = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, leader = path.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(leader) == session and state not in "ZX":
            found.append(int(path.parent.name))
    return found


def living(pids: Iterable[int]) -> list[int]:
    """Those of these processes that still live."""
    found: list[int] = []
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except OSError:
            continue
        if state not in "ZX":
            found.append(pid)
    return found
