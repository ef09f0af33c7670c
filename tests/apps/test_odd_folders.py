"""What lies in the user's folder stands in the way of nothing: a run there is the same, executed actors included."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.loads import views_of

WATCHDOG_S = 240.0
THRESHER = Path(sys.executable).with_name("thresher")
#: Names that this project, Python or a distribution that many have uses, too.
TAKEN = ("supervisor.py", "config.py", "logging.py", "json.py", "numbers.py", "parser.py", "protos/__init__.py",
         "actors/__init__.py", "thresher/__init__.py", "config/__init__.py", "msgspec.py", "zmq/__init__.py")
MINE = '''
from thresher import Pipeline
from thresher.sinks import Lines, SinkOptions
from thresher.sources import Files
from beside import shout


class Mine(Lines, frozen=True, kw_only=True):
    """Options of a sink that lies in the same file."""


PIPELINE = Pipeline(source=Files(rename="none"), parse=shout, sinks={"out": Mine()})
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "full of names"
    folder.mkdir()
    for name in TAKEN:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(f"raise RuntimeError('the user\\'s own {name} was imported')\n")
    (folder / "mine.py").write_text(MINE)
    (folder / "beside.py").write_text("def shout(line):\n    return line.upper()\n")
    (folder / "in.log").write_text("first\n")
    return folder


def test_a_run_and_its_executed_actors_are_the_same_there(folder: Path) -> None:
    state = folder / "state"
    with subprocess.Popen(
            [THRESHER, "run", "mine.py", "in.log", "--follow", "--state", str(state)], cwd=folder,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL) as run:
        try:
            _until(lambda: _written(state) == b"FIRST\n", run)
            for actor in ("parser.1", "writer.out", "reader.1"):
                before = views_of(state)[actor]
                os.kill(before.pid, signal.SIGKILL)
                _until(lambda actor=actor, before=before: (  # type: ignore[misc]
                    views_of(state)[actor].generation > before.generation and views_of(state)[actor].state == "READY"
                ), run)
            with (folder / "in.log").open("a") as log:
                log.write("second\n")
            _until(lambda: _written(state) == b"FIRST\nSECOND\n", run)
        finally:
            run.send_signal(signal.SIGTERM)
            said = run.communicate(timeout=WATCHDOG_S)[0]
    assert run.returncode == 0, said
    assert b"RuntimeError" not in said


@pytest.mark.parametrize("words", [
    ("lint", "mine.py"), ("explain", "./mine.py"), ("run", "mine.py", "in.log", "--dry-run"),
    ("verify", "mine.py", "in.log", "--runs", "2"), ("doctor",)])
def test_other_verbs_work_there(folder: Path, words: tuple[str, ...]) -> None:
    done = subprocess.run([THRESHER, *words], cwd=folder, capture_output=True, text=True, timeout=WATCHDOG_S,
                          check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_file_is_run_from_any_folder(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run([THRESHER, "run", folder / "mine.py", folder / "in.log", "--state", tmp_path / "state"],
                          cwd="/", capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _written(tmp_path / "state") == b"FIRST\n"


def _written(state: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(state.glob("out*.log")))


def _until(condition: Callable[[], bool], run: subprocess.Popen[bytes]) -> None:
    """Wait for what others do to a file or a board; both can only be looked at."""
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        assert run.poll() is None, "the run ended"
        assert time.monotonic() < deadline
        time.sleep(0.005)
