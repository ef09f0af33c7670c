"""``thresher probe`` asked of real runs: in peace, at start and end, with a server down, with a supervisor stopped."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime import rundir
from actors.runtime.board import BoardReader
from tests.loads import ROOT, WATCHDOG_S, Load, Running
from tests.servers import free_port
from tests.troubled_loads import Gate, start

YES, NO, USAGE, BAD_CONFIG = 0, 1, 2, 78
QUESTIONS = ("live", "ready", "startup")


def probe(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "probe", *words], cwd=ROOT, capture_output=True,
                          text=True, timeout=240, check=False)


def answers(state: Path) -> dict[str, str]:
    """What is said to each of the three questions."""
    said = {}
    for question in QUESTIONS:
        done = probe(question, "--state", str(state))
        word, _, answer = done.stdout.partition(": ")
        assert (done.returncode, word, done.stderr) == (YES if answer == "yes\n" else NO, question, "")
        said[question] = answer.strip()
    return said


@pytest.fixture
def gate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """Loads of this test wait in their middle until it is opened."""
    gate = Gate(tmp_path / "gate")
    monkeypatch.setenv("TROUBLE", gate.trouble)
    return gate


@pytest.fixture
def _alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of this test lie where no others are."""
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:  # a short name: sockets have to fit
        monkeypatch.setenv("XDG_RUNTIME_DIR", folder)
        yield


def _following(tmp_path: Path, state: str = "state", target: str = "tests.pipelines.liner") -> Running:
    folder = tmp_path / "logs"
    folder.mkdir(exist_ok=True)
    (folder / "a.txt").write_bytes(b"line\n")
    return Running(tmp_path / state, "run", target, str(folder), "--follow")


def _until_ready(running: Running) -> None:
    done = probe("ready", "--timeout", str(WATCHDOG_S), "--state", str(running.state))
    assert (done.returncode, done.stdout) == (YES, "ready: yes\n"), running.output()


def test_a_run_that_gets_on_is_live_ready_and_started(tmp_path: Path) -> None:
    with _following(tmp_path) as running:
        _until_ready(running)
        assert answers(running.state) == dict.fromkeys(QUESTIONS, "yes")


def test_a_draining_run_is_live_and_started_and_not_ready(tmp_path: Path, gate: Gate) -> None:
    with start(tmp_path, "run.drain_s=60") as running:
        running.until(lambda _: (tmp_path / "gate").exists(), "the gate")
        running.process.send_signal(signal.SIGTERM)
        board = BoardReader(rundir.path_for(running.state) / rundir.BOARD)
        running.until(lambda _: board.run().mode == "draining", "a drain")
        board.close()
        assert answers(running.state) == {"live": "yes", "ready": "no: the run is draining", "startup": "yes"}
        gate.open()
        assert running.wait() == 3


def test_a_run_is_not_started_until_everybody_is_ready(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LATE", str(tmp_path / "late"))
    with _following(tmp_path, target="tests.pipelines.latecomer") as running:
        running.until(lambda views: views["writer.dead_letters"].state == "READY", "the first actor")
        said = answers(running.state)
        assert said["live"] == "yes"
        assert said["startup"] == "no: starting: writer.store, parser.1, reader.1 not ready yet"
        assert said["ready"].startswith("no: the run is starting; writer.store is STARTING; ")
        (tmp_path / "late").touch()
        assert probe("startup", "--timeout", "60", "--state", str(running.state)).returncode == YES
        _until_ready(running)


def test_a_server_that_is_down_makes_a_run_not_ready_and_says_which(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"idfa\tx\t1.0\t2.0\t1,2\n")
    server = f"127.0.0.1:{free_port()}"
    with Load(tmp_path / "a.tsv", tmp_path / "state", "sinks.idfa.type=memcached", f"sinks.idfa.server={server}",
              *(f"sinks.{name}.type=lmdb" for name in ("gaid", "adid", "dvid"))) as running:
        running.until(lambda views: bool(views["writer.idfa"].note), "an outage")
        said = answers(running.state)
        assert said["ready"].startswith(f"no: writer.idfa waits: memcached {server}: connection refused")
        assert (said["live"], said["startup"]) == ("yes", "yes")


def test_a_supervisor_that_is_stopped_is_not_live_until_it_goes_on(tmp_path: Path) -> None:
    with _following(tmp_path) as running:
        _until_ready(running)
        running.process.send_signal(signal.SIGSTOP)
        deadline = time.monotonic() + WATCHDOG_S
        while (done := probe("live", "--state", str(running.state))).returncode == YES:
            assert time.monotonic() < deadline
        assert done.stdout.startswith(f"live: no: the supervisor (process {running.process.pid}) has not been heard of")
        running.process.send_signal(signal.SIGCONT)
        assert probe("live", "--timeout", "60", "--state", str(running.state)).returncode == YES


def test_no_run_is_no(tmp_path: Path) -> None:
    for state in (tmp_path / "nowhere", tmp_path):
        for question in QUESTIONS:
            done = probe(question, "--state", str(state))
            assert (done.returncode, done.stderr) == (NO, "")
            assert done.stdout == f"{question}: no: no run is going on with the state directory {state}\n"


def test_a_run_that_was_killed_is_no(tmp_path: Path) -> None:
    with _following(tmp_path) as running:
        _until_ready(running)
        running.process.kill()
        running.process.wait()
        assert probe("live", "--state", str(running.state)).returncode == NO


@pytest.mark.usefixtures("_alone")
def test_without_a_name_it_is_the_only_run_that_is_meant(tmp_path: Path) -> None:
    done = probe("live")
    assert (done.returncode, done.stdout) == (NO, "live: no: no run is going on\n")
    with _following(tmp_path, state="one") as one:
        assert probe("ready", "--timeout", "60").returncode == YES
        with _following(tmp_path, state="two") as two:
            _until_ready(two)
            done = probe("ready")
            assert done.returncode == USAGE
            assert done.stderr.splitlines() == ["more than one run is going on, say which with --state DIR:",
                                                f"  {one.state}", f"  {two.state}"]


def test_a_target_says_whose_run_is_meant(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'app = "tests.pipelines.liner"\nstate = "{tmp_path / "state"}"\n')
    with _following(tmp_path):
        assert probe("ready", str(config), "--timeout", "60").returncode == YES
    config.write_text("app = 3\n")
    assert probe("ready", str(config)).returncode == BAD_CONFIG


def test_the_answer_for_programs_is_one_map(tmp_path: Path) -> None:
    done = probe("ready", "--json", "--state", str(tmp_path))
    assert done.returncode == NO
    assert json.loads(done.stdout) == {
        "question": "ready", "ok": False, "reasons": [f"no run is going on with the state directory {tmp_path}"]}


@pytest.mark.parametrize("words", [[], ["alive"], ["live", "--timeout", "soon"], ["live", "--timeout", "-1"],
                                   ["live", "--timeout", "inf"]])
def test_a_wrong_question_is_a_matter_of_usage(words: list[str]) -> None:
    done = probe(*words)
    assert done.returncode == USAGE
    assert "Traceback" not in done.stderr


def test_an_answer_that_nobody_reads_is_still_the_exit_code(tmp_path: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run([sys.executable, "-m", "actors.cli", "probe", "live", "--state", str(tmp_path)], cwd=ROOT,
                              stdout=full, stderr=subprocess.PIPE, timeout=240, check=False)
    assert (done.returncode, done.stderr) == (NO, b"")


#: Of what a probe needs, all but the standard library.
SLOW = ("zmq", "sqlite3", "rich", "aiohttp", "asyncio", "lmdb", "google.protobuf", "actors.settings", "actors.apps",
        "tests.pipelines.liner")


@pytest.mark.parametrize("by_name", [True, False], ids=["--state", "the only run"])
@pytest.mark.usefixtures("_alone")
def test_a_probe_imports_next_to_nothing(tmp_path: Path, by_name: bool) -> None:
    program = "import sys; from actors.cli import main; code = main(sys.argv[1:]); " \
              f"print([name for name in {SLOW!r} if name in sys.modules]); sys.exit(code)"
    with _following(tmp_path) as running:
        _until_ready(running)
        words = ["--state", str(running.state)] if by_name else []
        done = subprocess.run([sys.executable, "-c", program, "probe", "ready", *words], cwd=ROOT, text=True,
                              capture_output=True, timeout=240, check=False)
    assert (done.returncode, done.stdout) == (YES, "ready: yes\n[]\n"), done.stderr
