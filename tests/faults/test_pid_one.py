"""The supervisor as process 1 of a container: it hears signals, and buries whoever nobody else waits for."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.runtime.events import ActorView
from tests.loads import ROOT, WATCHDOG_S, Running, until, views_of

UNSHARE = ["unshare", *([] if os.getuid() == 0 else ["--user", "--map-root-user"]), "--pid", "--fork", "--mount-proc"]
ORPHANS = 3


def _require_namespaces() -> None:
    if shutil.which("unshare") is None or subprocess.run(
            [*UNSHARE, "true"], capture_output=True, check=False).returncode:
        pytest.skip("no new process namespace can be made here")


def _children(pid: int) -> list[int]:
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def _name(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _hears(pid: int, number: int) -> bool:
    """Whether it is Python that holds this signal back, or has a handler; ``unshare`` holds it back for a moment."""
    try:
        if not Path(f"/proc/{pid}/exe").readlink().name.startswith("python"):
            return False
        sets = re.findall(r"Sig(?:Cgt|Blk):\s*(\w+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return False
    return any(int(numbers, 16) >> number - 1 & 1 for numbers in sets)


@contextmanager
def _container(tmp_path: Path, target: str = "tests.pipelines.liner") -> Iterator[tuple[subprocess.Popen[bytes], int]]:
    """A run without end as process 1 of a namespace: who started it, and its number here."""
    _require_namespaces()
    with (tmp_path / "out").open("wb") as out:
        outside = subprocess.Popen(
            [*UNSHARE, sys.executable, "-m", "actors.cli", "run", target, str(_folder(tmp_path)), "--follow",
             "--state", str(tmp_path / "state")], cwd=ROOT, stdout=out, stderr=out, stdin=subprocess.DEVNULL)
    pid = until(lambda: _children(outside.pid), "process 1")[0]
    try:
        yield outside, pid
    finally:
        if outside.poll() is None:
            os.kill(pid, signal.SIGKILL)
        outside.wait(WATCHDOG_S)


def _folder(tmp_path: Path) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.txt").write_bytes(b"0.3\n" * ORPHANS)
    return folder


def _written(tmp_path: Path) -> list[bytes]:
    log = tmp_path / "state" / "store.log"
    lines = log.read_bytes().splitlines() if log.exists() else []
    return lines if len(lines) == ORPHANS else []


def _reader(tmp_path: Path) -> ActorView | None:
    view = views_of(tmp_path / "state").get("reader.1")
    return view if view is not None and view.state == "READY" else None


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_process_one_drains_when_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    with _container(tmp_path) as (outside, pid):
        until(lambda: _reader(tmp_path) and _written(tmp_path), "work")
        os.kill(pid, number)
        assert outside.wait(WATCHDOG_S) == 0
    assert f"stopped by {number.name}" in (tmp_path / "out").read_text()


def test_process_one_hears_of_a_stop_before_the_run_has_begun(tmp_path: Path) -> None:
    with _container(tmp_path) as (outside, pid):
        until(lambda: _hears(pid, signal.SIGTERM), "signals held back, or a handler")
        os.kill(pid, signal.SIGTERM)
        assert outside.wait(WATCHDOG_S) == 3
    assert "stopped by SIGTERM before the run had begun" in (tmp_path / "out").read_text()


def test_process_one_is_asked_for_a_reload_and_says_so(tmp_path: Path) -> None:
    with _container(tmp_path) as (outside, pid):
        until(lambda: _reader(tmp_path), "reader")
        os.kill(pid, signal.SIGHUP)
        until(lambda: '"event": "reloaded"' in (tmp_path / "out").read_text(), "reload")
        assert outside.poll() is None


def test_process_one_buries_orphans(tmp_path: Path) -> None:
    with _container(tmp_path, "tests.pipelines.parents") as (outside, pid):
        until(lambda: _written(tmp_path), "orphans")
        until(lambda: not any(_name(child) == "sleep" for child in _children(pid)), "end of the orphans")
        os.kill(pid, signal.SIGTERM)
        assert outside.wait(WATCHDOG_S) == 0


def test_any_supervisor_buries_orphans(tmp_path: Path) -> None:
    with Running(tmp_path / "state", "run", "tests.pipelines.parents", str(_folder(tmp_path)), "--follow") as running:
        orphans = [int(pid) for pid in until(lambda: _written(tmp_path), "orphans")]
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in orphans), "end of the orphans")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0
