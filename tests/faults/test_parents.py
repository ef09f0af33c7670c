"""What a process is given by the one that starts it: ignored and held signals, closed descriptors, no folder, no files.

None of it is a reason to end otherwise than with all of the input, or with a sentence.
"""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S, Running, until, views_of

LINES = 3
IGNORED = "signal.signal(signal.SIGCHLD, signal.SIG_IGN)"
HELD = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGCHLD])"
CLOSED = "[os.close(descriptor) for descriptor in {}]"


def started_by(parent: str, *words: str) -> list[str]:
    """A command line of ``thresher``, begun by a process that does this before."""
    return [sys.executable, "-c", f"import os, signal, sys\n{parent}\nos.execv(sys.executable, sys.argv[1:])",
            sys.executable, "-m", "thresher", *words]


def folder_of(tmp_path: Path, *lines: str) -> Path:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.txt").write_text("".join(f"{line}\n" for line in lines or range(LINES)))
    return folder


def words_of(tmp_path: Path, *more: str, target: str = "tests.pipelines.liner") -> list[str]:
    return ["run", target, "--state", str(tmp_path / "state"), *more]


def done(
    command: list[str], cwd: Path = ROOT, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)


@pytest.mark.parametrize("closed", [(0,), (1,), (2,), (0, 1, 2)])
def test_a_run_whose_standard_descriptors_are_closed_is_a_run(tmp_path: Path, closed: tuple[int, ...]) -> None:
    words = words_of(tmp_path, str(folder_of(tmp_path) / "a.txt"), "--format", "text")
    ended = done(started_by(CLOSED.format(closed), *words))
    assert (ended.returncode, "Traceback" in ended.stderr) == (0, False), ended.stderr
    assert (tmp_path / "state" / "store.log").read_text() == "0\n1\n2\n"
    assert ("all input is loaded" in ended.stdout) == (1 not in closed)


def test_what_a_parent_ignores_and_holds_back_is_not_for_the_run(tmp_path: Path) -> None:
    words = words_of(tmp_path, str(folder_of(tmp_path)), "--follow")
    with subprocess.Popen(started_by(f"{IGNORED}\n{HELD}\n{CLOSED.format((0, 1, 2))}", *words), cwd=ROOT) as run:
        log = tmp_path / "state" / "store.log"
        until(lambda: log.exists() and log.read_text().count("\n") == LINES, "lines")
        writer = views_of(tmp_path / "state", run.pid)["writer.store"]
        os.kill(writer.pid, signal.SIGKILL)
        until(lambda: views_of(tmp_path / "state", run.pid)["writer.store"].generation == 2, "the next writer")
        run.send_signal(signal.SIGTERM)
        assert run.wait(WATCHDOG_S) == 0


def test_input_and_output_that_are_the_run_s_own_must_be_open(tmp_path: Path) -> None:
    ended = done(started_by(CLOSED.format((0,)), *words_of(tmp_path, "-")))
    assert (ended.returncode, ended.stderr) == (
        78, "standard input is closed: expected a pipe or a file, e.g. zcat x.gz | thresher run APP -\n")
    ended = done(started_by(CLOSED.format((1,)), *words_of(
        tmp_path, str(folder_of(tmp_path) / "a.txt"), "--set", "sinks.store.type=stdout")))
    assert (ended.returncode, ended.stderr) == (
        78, "sinks.store: standard output is closed: expected a pipe, a file or a terminal\n")


def test_a_folder_that_is_gone_is_said(tmp_path: Path) -> None:
    words = words_of(tmp_path, str(folder_of(tmp_path) / "a.txt"))
    (tmp_path / "gone").mkdir()
    ended = done(started_by("os.rmdir(os.getcwd())", *words), cwd=tmp_path / "gone",
                 env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert (ended.returncode, ended.stderr.count("\n")) == (78, 1), ended.stderr
    assert ended.stderr.startswith("the current folder has been removed")


@pytest.mark.parametrize("most", [8, 20, 36])
def test_too_few_open_files_are_said_before_anything_begins(tmp_path: Path, most: int) -> None:
    ended = done(["sh", "-c", f'ulimit -n {most}; exec "$@"', "sh", sys.executable, "-m", "thresher",
                  *words_of(tmp_path, str(folder_of(tmp_path) / "a.txt"))])
    assert (ended.returncode, ended.stderr.count("\n")) == (78, 1), ended.stderr
    assert ended.stderr.startswith(f"a process may have {most} open files here, ")
    assert not (tmp_path / "state" / "store.log").exists()


def test_a_soft_limit_of_open_files_is_raised_and_many_files_are_read_with_few_open(tmp_path: Path) -> None:
    folder = folder_of(tmp_path)
    for number in range(80):
        (folder / f"{number}.txt").write_text(f"{number}\n")
    words = words_of(tmp_path, str(folder), "--set", "source.type=directory", "--once", "--set", "parser.workers=1")
    ended = done(["sh", "-c", 'ulimit -Sn 20; ulimit -Hn 64; exec "$@"', "sh", sys.executable, "-m", "thresher",
                  *words])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert len((tmp_path / "state" / "store.log").read_text().splitlines()) == LINES + 80


def sends_itself(folder: Path, number: signal.Signals, module: str) -> dict[str, str]:
    """An environment in which each Python gets a signal as it imports this module."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(
        "import os, sys\n"
        "class Signals:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        f"        if name == {module!r}:\n"
        f"            os.kill(os.getpid(), {int(number)})\n"
        "sys.meta_path.insert(0, Signals())\n")
    return {**os.environ, "PYTHONPATH": f"{folder}:{ROOT}"}


@pytest.mark.parametrize("module", ["argparse", "actors.console.commandline", "tests.pipelines.liner"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_before_the_run_has_begun_stops_it_and_is_said(
    tmp_path: Path, number: signal.Signals, module: str
) -> None:
    report = tmp_path / "report"
    words = words_of(tmp_path, str(folder_of(tmp_path) / "a.txt"), "--report", str(report))
    said = f"stopped by {number.name} before the run had begun"
    environment = sends_itself(tmp_path / "site", number, module)
    ended = done([sys.executable, "-m", "thresher", *words], env=environment)
    assert (ended.returncode, ended.stdout) == (3, ""), ended.stderr
    assert json.loads(ended.stderr) == {"event": "ended", "code": 3, "reason": said, "seconds": 0.0}
    assert json.loads(report.read_text()) == {"event": "stopped", "code": 3, "reason": said, "seconds": 0.0}
    assert not (tmp_path / "state").exists()
    ended = done([sys.executable, "-m", "actors.cli", *words, "--format", "text"], env=environment)
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", f"thresher: {said}\n")


@pytest.mark.parametrize("module", ["argparse", "actors.console", "actors.runtime.errors"])
def test_ctrl_c_while_another_command_is_imported_ends_it_without_a_word(tmp_path: Path, module: str) -> None:
    words = started_by("signal.signal(signal.SIGINT, signal.default_int_handler)", "--version")
    ended = done(words, env=sends_itself(tmp_path / "site", signal.SIGINT, module))
    assert (ended.returncode, ended.stdout, ended.stderr) == (3, "", "")


def test_a_signal_after_the_run_has_ended_changes_nothing_of_its_exit_code(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    os.write(writing, b"x" * fcntl.fcntl(writing, fcntl.F_GETPIPE_SZ))  # the report finds no room
    os.set_blocking(writing, True)
    words = words_of(tmp_path, str(folder_of(tmp_path) / "a.txt"), "--format", "text")
    with subprocess.Popen([sys.executable, "-m", "thresher", *words], cwd=ROOT, stdout=writing) as run:
        last = tmp_path / "state" / "last-run.json"
        until(lambda: last.exists() and json.loads(last.read_text())["result"], "the end of the run")
        run.send_signal(signal.SIGTERM)
        assert run.wait(WATCHDOG_S) == 0
    os.close(writing)
    os.close(reading)


FORKED = """
import os, signal
from tests.pipelines.liner import PIPELINE
def signalled():
    try:
        os.close(os.open({done!r}, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    os.kill(os.getpid(), {number})
os.register_at_fork(after_in_child=signalled)
"""


@pytest.mark.parametrize(("number", "deaths"), [(signal.SIGINT, 0), (signal.SIGHUP, 0), (signal.SIGTERM, 1)])
def test_a_signal_that_meets_a_child_before_it_is_an_actor_is_not_the_supervisor_s(
    tmp_path: Path, number: signal.Signals, deaths: int
) -> None:
    target = tmp_path / "forked.py"
    target.write_text(FORKED.format(done=str(tmp_path / "done"), number=int(number)))
    words = ("run", str(target), str(folder_of(tmp_path) / "a.txt"), "--format", "json")
    with Running(tmp_path / "state", *words) as running:
        assert running.wait() == 0, running.output()
    assert (tmp_path / "done").exists()
    assert [event["how"] for event in running.of("died")] == ["signal SIGTERM"] * deaths
    assert running.of("report")[0]["reason"] == "all input is loaded"
    assert (running.of("draining"), running.of("reloaded")) == ([], [])


@pytest.mark.parametrize("line", ["600", "deaf 600"])
def test_what_actors_have_started_and_left_is_gone_when_the_run_is(tmp_path: Path, line: str) -> None:
    words = words_of(tmp_path, str(folder_of(tmp_path, line, line) / "a.txt"), target="tests.pipelines.parents")
    ended = done([sys.executable, "-m", "thresher", *words])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    left = (tmp_path / "state" / "store.log").read_text().split()
    assert len(left) == 2
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]


def test_what_an_application_forks_is_its_own_and_whatever_comes_back_of_it_is_no_actor(tmp_path: Path) -> None:
    kinds = ("ends", "stopped", "pool", "exits", "raises", "back", "left") * 2
    folder = folder_of(tmp_path, *(f"{kind} {number}" for number, kind in enumerate([*kinds, "deaf"], 1)))
    ended = done([sys.executable, "-m", "thresher", *words_of(
        tmp_path, str(folder / "a.txt"), "--format", "json", target="tests.pipelines.forks")])
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert '"event": "died"' not in ended.stdout + ended.stderr
    found = [int(line) for line in (tmp_path / "state" / "store.log").read_text().split()]
    left = [found.pop(at) for at in (13, 6)]
    assert found == [number for number in range(1, 16) if number not in (7, 14)]
    assert not [pid for pid in left if Path(f"/proc/{pid}").exists()]
    assert ended.stderr.count("ValueError: in the child") == 2
    assert ended.stderr.count("came back out of its function, and is ended") == 2
