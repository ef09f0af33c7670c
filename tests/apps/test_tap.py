"""thresher tap on real runs: records of each stage, from whoever parses now, and the run does not wait for it."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.apps.appsinstalled import encode_user_apps
from actors.console import command
from actors.runtime.errors import ConfigError
from actors.runtime.rundir import path_for
from actors.sinks.lmdb import read_lmdb
from tests.loads import ROOT, WATCHDOG_S, Load, Running, Views, assert_counts_add_up

Shown = dict[str, Any]
CONNECTION = b"1565647204351 Aadvik Matina\n"


@contextmanager
def growing(path: Path, *lines: bytes) -> Iterator[None]:
    """A file to which these lines are written, again and again."""
    ended = threading.Event()

    def grow() -> None:
        with path.open("ab", buffering=0) as file:
            while not ended.wait(0.02):
                file.write(b"".join(lines))

    path.touch()
    thread = threading.Thread(target=grow)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def running(state: Path, target: str, path: Path, *sets: str) -> Running:
    """A run that follows a file."""
    quick = ["source.type=directory", f"source.paths={json.dumps([str(path)])}", "source.poll_s=0.05",
             "window.start=clock", *sets]  # by the clock, nobody has to wait for what windows are counted from
    return Running(state, "run", target, "--format", "json", *(word for one in quick for word in ("--set", one)))


def tapping(state: Path | None, stage: str, *words: str) -> subprocess.Popen[str]:
    """A tap; without a state directory, of the only run that is going on."""
    where = () if state is None else ("--state", str(state))
    return subprocess.Popen(
        [sys.executable, "-m", "actors.cli", "tap", stage, *where, "--json", *words], cwd=ROOT,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)


def tap(state: Path, stage: str, *words: str) -> list[Shown]:
    """What a tap shows until it ends."""
    with tapping(state, stage, *words) as process:
        output, problem = process.communicate(timeout=WATCHDOG_S)
    assert process.returncode == 0, problem
    return [json.loads(line) for line in output.splitlines()]


def is_working(views: Views) -> bool:
    return "reader.1" in views and views["reader.1"].batches > 0


@pytest.mark.parametrize("fused", ["true", "false"])
def test_each_stage_of_a_load_shows_its_records(tmp_path: Path, fused: str) -> None:
    state, log = tmp_path / "state", tmp_path / "a.tsv"
    item = encode_user_apps([7, 8], 67.5, -22.5)
    good = b"idfa\te7e1\t67.5\t-22.5\t7,8"
    with growing(log, good + b"\n", b"gaid\tbad\n"), running(
            state, "appsinstalled", log, f"parser.fused={fused}", "budget.max_error_rate=1.0") as run:
        run.until(is_working, "a batch")
        raw = tap(state, "reader", "--limit", "2", "--match", "e7e1")
        assert {(shown["source"], shown["raw"]) for shown in raw} == {(str(log), good.decode())}
        assert all(shown["offset"] % (len(good) + 10) == 0 for shown in raw)
        (parsed,) = tap(state, "parser", "--limit", "1")
        assert parsed["value"] == good.decode().split("\t")
        (checked,) = tap(state, "checker", "--limit", "1")
        assert (checked["sink"], checked["item"][0], checked["value"][3]) == ("idfa", "idfa:e7e1", 2)
        (written,) = tap(state, "writer.idfa", "--limit", "1")
        assert base64.b64decode(written["item"][1]["base64"]) == item
        (folded,) = tap(state, "aggregator", "--limit", "1")
        assert folded["folded"][0]["key"][1] == "idfa"
        assert folded["folded"][0]["numbers"] == [1, 2, 0]
        letters = [letter for words in (("writer.dead_letters",), ("parser", "--errors"))
                   for letter in tap(state, *words, "--limit", "1")]
        assert [(letter["by"], letter["reason"], letter["raw"]) for letter in letters] == [
            ("parser", "columns", "gaid\tbad")] * 2
        assert tap(state, "writer.gaid", "--seconds", "1") == []
        run.process.send_signal(signal.SIGTERM)
        run.wait()


def test_a_killed_parser_is_tapped_again_and_windows_are_shown(tmp_path: Path) -> None:
    state, log = tmp_path / "state", tmp_path / "a.log"
    with growing(log, CONNECTION), running(state, "connections", log, "parser.workers=1") as run:
        run.until(is_working, "a batch")
        with tapping(state, "aggregator", "--rate", "100") as process:
            assert process.stdout is not None
            first = json.loads(process.stdout.readline())
            assert first["folded"] == [{"window": ["2019-08-12T22:00:00.000Z", "2019-08-12T23:00:00.000Z"],
                                        "key": ["out", "Aadvik"], "numbers": [1]}]
            run.kill("parser.1", 0)
            run.until(lambda views: views["parser.1"].generation == 2 and views["parser.1"].pid > 0, "a fresh parser")
            before = _bytes_of(log)
            watchdog = threading.Timer(WATCHDOG_S, process.kill)
            watchdog.start()
            while json.loads(process.stdout.readline() or pytest.fail("the tap ended"))["offset"] < before:
                pass
            watchdog.cancel()
            process.send_signal(signal.SIGINT)
            assert process.wait(WATCHDOG_S) == 0
            assert process.stderr is not None
            assert process.stderr.read() == ""
        assert not list(path_for(state).glob("tap.*"))
        run.process.send_signal(signal.SIGTERM)
        run.wait()


def _bytes_of(path: Path) -> int:
    return path.stat().st_size


def test_a_tap_whose_reader_has_stopped_neither_slows_the_run_nor_changes_it(tmp_path: Path) -> None:
    records = 60_000
    folder = tmp_path / "logs"
    folder.mkdir()
    lines = [f"k{number} value {number}".encode() for number in range(records)]
    (folder / "a.txt").write_bytes(b"\n".join(lines) + b"\n")
    state = tmp_path / "state"
    path = str(tmp_path / "tap")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as never_read, Load(
            folder / "*.txt", state, "flow.batch_bytes=4000", target="tests.pipelines.treacherous") as run:
        never_read.bind(path)
        run.until(is_working, "a batch")
        assert command.ask(state, "tap", path, "60").ok
        assert run.wait() == 0, run.output()
        assert never_read.recv(1 << 20, socket.MSG_DONTWAIT), "it was tapped"
    assert run.of("died") == []
    assert dict(read_lmdb(state / "store.lmdb")) == dict(line.split(b" ", 1) for line in lines)
    assert assert_counts_add_up(state)["written"] == records


def test_a_dry_run_can_be_tapped_and_a_tap_ends_with_its_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "a.log"
    with tempfile.TemporaryDirectory() as place:
        monkeypatch.setenv("XDG_RUNTIME_DIR", place)  # where this is the only run
        with growing(log, CONNECTION), Running(
                tmp_path / "unused", "run", "connections", str(log), "--dry-run", "--set", "window.start=clock") as run:
            _wait_for_a_run()
            with tapping(None, "parser") as process:
                assert process.stdout is not None
                assert json.loads(process.stdout.readline())["value"] == [1565647204351, "Aadvik", "Matina"]
                os.kill(run.process.pid, signal.SIGTERM)
                process.communicate(timeout=WATCHDOG_S)
                assert process.returncode == 0
            run.wait()


def _wait_for_a_run() -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while True:
        try:
            command.only_run()
            return
        except ConfigError:
            assert time.monotonic() < deadline
            time.sleep(0.01)


@pytest.mark.parametrize(("words", "text"), [
    (["writers"], "tap writers: expected one of reader, parser, checker, aggregator, writer.dead_letters"),
    (["writer.report"], "the aggregators emit"),
    (["aggregator", "--errors"], "nothing is rejected there"),
])
def test_a_stage_that_shows_nothing_is_told_what_does(tmp_path: Path, words: list[str], text: str) -> None:
    state, log = tmp_path / "state", tmp_path / "a.log"
    with growing(log, CONNECTION), running(state, "connections", log) as run:
        run.until(is_working, "a batch")
        with tapping(state, *words) as process:
            _, problem = process.communicate(timeout=WATCHDOG_S)
        assert process.returncode == 78
        assert text in problem
        run.process.send_signal(signal.SIGTERM)
        run.wait()


def test_without_a_run_there_is_nothing_to_tap(tmp_path: Path) -> None:
    with tapping(tmp_path, "parser") as process:
        _, problem = process.communicate(timeout=WATCHDOG_S)
    assert process.returncode == 78
    assert problem.startswith("no run is going on with the state directory")
