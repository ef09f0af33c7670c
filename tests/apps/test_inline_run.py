"""``thresher run --inline``: one process, the same functions, ledger and report; and what a debugger does elsewhere."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.loads import ROOT, WATCHDOG_S

MODULE = """
import os

from thresher import Pipeline
from thresher.sinks import Jsonl
from thresher.sources import Files


def parse(line):
    {stop}
    return int(line)


def check(value):
    return [6 / value, os.getpid()]


PIPELINE = Pipeline(source=Files(pattern="in.txt", rename="none"), parse=parse, check=check, sinks={{"out": Jsonl()}})
"""
ENVIRON = {**os.environ, "PYTHONPATH": str(ROOT)}


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "actors.cli", *words]


def thresher(folder: Path, *words: str, said: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*words), cwd=folder, text=True, capture_output=True, input=said, check=False,
                          timeout=WATCHDOG_S, env={**ENVIRON, **environ})


def _report(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return report


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in.txt").write_text("1\n2\n0\nx\n")
    return tmp_path


@pytest.mark.parametrize("fused", ["true", "false"])
def test_one_process_comes_to_the_same_as_many(tmp_path: Path, fused: str) -> None:
    assert thresher(tmp_path, "init", "access").returncode == 0
    found = []
    for state, more in (("many", ()), ("one", ("--inline",))):
        done = thresher(tmp_path, "run", "access/access.toml", "--state", state, "--set", f"parser.fused={fused}",
                        "--set", "flow.batch_bytes=2000", *more)
        report = _report(done)
        written = {name: sorted((tmp_path / state / name).read_text().splitlines())
                   for name in ("requests.jsonl", "errors.jsonl")}
        found.append((done.returncode, written, report["groups"], report["outcomes"], report["units"][0]["rejected"]))
    assert found[0] == found[1]
    again = thresher(tmp_path, "run", "access/access.toml", "--state", "one")  # each goes on where the other was
    assert _report(again)["reason"].startswith("nothing to do")


def test_a_debugger_stops_once_for_each_record_and_what_it_leaves_is_done_later(folder: Path) -> None:
    (folder / "words.py").write_text(MODULE.format(stop="breakpoint()"))
    left = thresher(folder, "run", "words.py", "--inline", "--format", "text", said="p line\nc\np line\nq\n")
    assert (left.returncode, left.stdout.count("(Pdb) b'1'"), left.stdout.count("(Pdb) b'2'")) == (3, 1, 1)
    assert "stopped by the debugger" in left.stdout
    done = thresher(folder, "run", "words.py", "--inline", said="p 'here', line\nc\n" * 4)
    assert [line.partition("'here', ")[2] for line in done.stdout.splitlines() if "('here', " in line] == [
        "b'1')", "b'2')", "b'0')", "b'x')"]
    assert _report(done)["outcomes"] == {"written": 2, "folded": 0, "filtered": 0, "dead_lettered": 2,
                                         "handed_over": 0}
    rows = [json.loads(line) for line in (folder / "var/words/out.jsonl").read_text().splitlines()]
    assert [value for value, _ in rows] == [6, 3]
    assert len({pid for _, pid in rows}) == 1


@pytest.mark.parametrize("stop", ["breakpoint()", "import pdb; pdb.set_trace()"])
def test_a_debugger_in_an_actor_is_told_where_there_is_a_terminal(folder: Path, stop: str) -> None:
    (folder / "words.py").write_text(MODULE.format(stop=stop))
    done = thresher(folder, "run", "words.py")
    assert done.returncode == 78
    assert f"breakpoint() at {folder / 'words.py'}:1" in _report(done)["reason"]
    assert _report(done)["reason"].endswith(
        "an actor has no terminal: expected `thresher run TARGET --inline`, which runs all in one process")
    assert _report(done)["outcomes"]["dead_lettered"] == 0
    if stop == "breakpoint()":
        done = thresher(folder, "run", "words.py", PYTHONBREAKPOINT="0")
        assert _report(done)["outcomes"]["written"] == 2


def test_what_fails_ends_the_run_and_the_next_one_does_the_rest(folder: Path) -> None:
    (folder / "words.py").write_text(MODULE.format(stop="") + """
from actors.sinks.lines import LinesFile
from pathlib import Path

def write(self, *words, **named):
    if Path("broken").exists():
        raise LookupError("the shelf is gone")
    return written(self, *words, **named)

written, LinesFile.write = LinesFile.write, write
""")
    (folder / "broken").touch()
    done = thresher(folder, "run", "words.py", "--inline", "--format", "text")
    assert done.returncode == 1
    assert "exit code 1 (failure): writer.out failed: LookupError: the shelf is gone" in done.stdout
    assert "words.py" in done.stderr.partition("Traceback")[2]
    (folder / "broken").unlink()
    assert _report(thresher(folder, "run", "words.py", "--inline"))["outcomes"]["written"] == 2


def test_ctrl_c_stops_one_that_follows_and_it_goes_on_later(folder: Path) -> None:
    (folder / "words.py").write_text(MODULE.format(stop=""))
    with subprocess.Popen(command("run", "words.py", "--inline", "--follow"), cwd=folder, env=ENVIRON,
                          stdout=subprocess.PIPE, text=True) as run:
        rows, deadline = folder / "var/words/out.jsonl", time.monotonic() + WATCHDOG_S
        while not (rows.exists() and rows.read_text().count("\n") == 2):
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        assert '"stopped by SIGINT"' in run.communicate(timeout=WATCHDOG_S)[0]
    assert run.returncode == 3
    with (folder / "in.txt").open("a") as file:
        file.write("3\n")
    assert _report(thresher(folder, "run", "words.py", "--inline"))["outcomes"]["written"] == 3
