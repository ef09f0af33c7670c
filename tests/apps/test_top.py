"""``thresher top`` on a run that is going on: on a terminal, in a pipe, as JSON; somebody dies, the run ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.runtime.ledger import read_units
from actors.telemetry.model import Status
from tests.loads import ROOT, Load
from tests.screen import ALTERNATE_OFF, ALTERNATE_ON, CURSOR_ON, Screen

#: Each record takes its parser a millisecond, asleep: a run lasts for minutes, and the parsers limit it however few
#: cores are free. The tests stop it before.
RECORDS, BATCH_BYTES, REST_S = 500_000, 2000, 0.001


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("log") / "a.txt"
    path.write_bytes(b"".join(b"k%d value\n" % number for number in range(RECORDS)))
    return path


@pytest.fixture
def running(tmp_path: Path, log: Path) -> Iterator[Load]:
    folder = tmp_path / "logs"
    folder.mkdir()
    (folder / "a.txt").hardlink_to(log)
    with Load(folder / "*.txt", tmp_path / "state", f"flow.batch_bytes={BATCH_BYTES}",
              f"options.rest_s={REST_S}", "flow.batch_s=0", target="tests.pipelines.treacherous") as load:
        load.until(lambda views: views["reader.1"].batches > 5, "5 batches")
        yield load


def ask(*words: str, columns: int = 100) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", "top", *words], cwd=ROOT, capture_output=True, text=True,
                          timeout=240, check=False, env={**os.environ, "COLUMNS": str(columns)})


def test_on_a_terminal_one_sees_who_was_killed_and_restarted_and_how_the_run_ended(running: Load) -> None:
    with Screen("top", "--state", str(running.state)) as screen:
        text = screen.until(lambda text: "writer.store" in text and "% of the input read" in text, "a frame")
        assert "treacherous: running for" in text
        assert screen.raw.count(ALTERNATE_ON) == 1
        screen.until(lambda text: "\nbottleneck: " in text and "not known yet" not in text, "a sentence with rates")
        running.kill("parser.1", 10)

        def restarted(text: str) -> bool:
            return any(line[2:].startswith("parser ") and line.split()[-1] == "1" for line in text.splitlines())

        text = screen.until(restarted, "the restart of the parser")
        assert "parser.1 died (signal SIGKILL) while" in text
        assert "deaths: signal SIGKILL 1" in text
        running.process.terminate()
        assert screen.wait() == 0
        assert "the run ended with exit code 3 after" in screen.text
        assert screen.raw.count(ALTERNATE_OFF) == 1
    assert running.wait() == 3


@pytest.mark.parametrize("end", ["key", "signal"])
def test_who_has_seen_enough_gets_the_terminal_back_as_it_was_and_the_run_goes_on(running: Load, end: str) -> None:
    with Screen("top", "--state", str(running.state), columns=80, lines=24) as screen:
        text = screen.until(lambda text: "writer.store" in text, "a frame")
        assert max(map(len, text.splitlines())) <= 80
        assert len(text.splitlines()) <= 24
        if end == "key":
            screen.press(b"\x03")
        else:
            screen.process.send_signal(signal.SIGTERM)
        assert screen.wait() == 0
        assert "Traceback" not in screen.text
        assert "treacherous: running for" in screen.text, "the last frame stays"
        assert screen.raw.rindex(ALTERNATE_OFF) > screen.raw.rindex(ALTERNATE_ON)
        assert CURSOR_ON in screen.raw
    assert running.process.poll() is None


def test_without_colours_the_limit_is_marked_all_the_same(running: Load) -> None:
    with Screen("top", "--state", str(running.state), environ={"NO_COLOR": "1"}) as screen:
        screen.until(lambda text: "\n> " in text, "a marked stage")
        assert b"\x1b[33m" not in screen.raw
        assert b"\x1b[1;33m" not in screen.raw
        screen.press(b"\x03")
        assert screen.wait() == 0


@pytest.mark.parametrize("columns", [100, 80, 40])
def test_in_a_pipe_one_frame_is_printed(running: Load, columns: int) -> None:
    done = ask("--state", str(running.state), "--interval", "0.3", columns=columns)
    assert (done.returncode, done.stderr) == (0, "")
    assert "\x1b" not in done.stdout
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    assert any(line[2:].startswith("writer.store") for line in lines)
    assert "not known yet" not in done.stdout


def test_once_prints_one_frame_on_a_terminal_too(running: Load) -> None:
    with Screen("top", "--once", "--interval", "0.3", "--state", str(running.state)) as screen:
        assert screen.wait() == 0
        assert "writer.store" in screen.text
        assert ALTERNATE_ON not in screen.raw


def test_a_terminal_that_can_do_nothing_gets_one_frame(running: Load) -> None:
    with Screen("top", "--state", str(running.state), environ={"TERM": "dumb"}) as screen:
        assert screen.wait() == 0
        assert "writer.store" in screen.text
        assert b"\x1b" not in screen.raw


def test_as_json_it_is_one_status_with_rates_of_the_interval(running: Load) -> None:
    done = ask("--json", "--interval", "0.5", "--state", str(running.state))
    assert done.returncode == 0, done.stderr
    status = msgspec.json.decode(done.stdout, type=Status)
    assert 0.5 <= status.flow.seconds < 5.0
    assert status.flow.records_per_s > 0.0
    assert {stage.stage for stage in status.flow.stages} >= {"reader", "parser", "writer.store"}


def test_the_only_run_needs_no_name_and_a_target_finds_its_own(running: Load, tmp_path: Path) -> None:
    done = ask("tests.pipelines.treacherous", "--state", str(running.state), "--json", "--interval", "0.1")
    assert done.returncode == 0, done.stderr
    done = ask("tests.pipelines.treacherous", "--state", str(tmp_path / "other"))
    assert done.returncode == 78
    assert done.stderr.startswith(f"no run is going on with the state directory {tmp_path}/other: start it with")


def test_status_says_the_same_in_the_same_words(running: Load) -> None:
    words = [sys.executable, "-m", "actors.cli", "status", "tests.pipelines.treacherous", "--state", str(running.state)]
    running.until(lambda views: any(unit.counts for unit in read_units(running.state / "positions.db")), "a commit")
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    first, heads, *rows = done.stdout.splitlines()
    assert first.startswith("treacherous: running for ")
    assert first.endswith(", ready")
    assert heads.split()[-6:] == ["backlog", "oldest", "restarts", "RSS", "waits", "for"]
    assert [row.split()[0] for row in rows[:6]] == [
        "writer.dead_letters", "writer.store", "aggregator.1", "parser.1", "parser.2", "reader.1"]
    assert rows[6].startswith("so far: read ")
    done = subprocess.run([*words, "--json"], cwd=ROOT, capture_output=True, text=True, timeout=240, check=True)
    data = json.loads(done.stdout)
    assert (data["running"], data["name"], data["mode"], data["not_ready"]) == (True, "treacherous", "running", [])
    assert data["outcomes"]["read"] > 0
    assert {"actor", "phase", "queued", "waiting_s", "stage", "restarts", "cpu_s"} <= set(data["actors"][0])


def test_where_no_run_goes_on_that_is_said(tmp_path: Path) -> None:
    done = ask("--state", str(tmp_path))
    assert done.returncode == 78
    assert done.stderr == (f"no run is going on with the state directory {tmp_path}: start it with `thresher run`, or "
                           "say with --state which one is meant\n")


@pytest.mark.parametrize("interval", ["0", "x", "-1", "nan"])
def test_an_interval_that_is_none_is_refused(tmp_path: Path, interval: str) -> None:
    done = ask("--state", str(tmp_path), f"--interval={interval}")
    assert done.returncode == 2
    assert f"expected seconds from 0.1 to 3600, got '{interval}'" in done.stderr


def test_a_run_that_was_killed_has_left_no_report(running: Load) -> None:
    with Screen("top", "--state", str(running.state)) as screen:
        screen.until(lambda text: "writer.store" in text, "a frame")
        running.process.kill()
        running.process.wait()
        assert screen.wait() == 0
        assert "the run has ended, and has left no report: `thresher status` says what is known" in screen.text
