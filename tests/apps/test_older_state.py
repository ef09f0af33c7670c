"""A run of this version goes on from what an older one left behind when it was killed, and from nothing newer."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from actors.sinks.dead_letters import read_letters
from tests.data.make_states import HOURS, LOAD, NUMBERS
from tests.loads import ROOT, WATCHDOG_S, expected_stores, lmdb_stores
from tests.states import OLDER, unpack

pytestmark = pytest.mark.parametrize("older", OLDER)


def thresher(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb in a folder with the state directory in it."""
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", *words, "--state", "state"], cwd=folder, capture_output=True, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=WATCHDOG_S, check=False)


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def make_newer(path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version=99")


def test_a_load_goes_on_and_has_the_results_of_one_that_was_never_stopped(tmp_path: Path, older: str) -> None:
    folder = unpack(older, "load", tmp_path)
    lines = [line for path in sorted((folder / "logs").iterdir())
             for line in gzip.decompress(path.read_bytes()).splitlines()]
    shutil.copytree(folder / "logs", tmp_path / "whole" / "logs")
    begun = ask(folder / "state/positions.db", "SELECT low, status FROM units")
    assert [status for _, status in begun] == ["reading"]
    assert int(str(begun[0][0])) > 0
    done, whole = thresher(folder, *LOAD, "--format", "json"), thresher(tmp_path / "whole", *LOAD, "--format", "json")
    assert (done.returncode, whole.returncode) == (0, 0), done.stdout + done.stderr
    assert lmdb_stores(folder / "state") == expected_stores(lines)
    reports = [json.loads(run.stdout.splitlines()[-1]) for run in (done, whole)]
    assert [report.pop("read_before") > 0 for report in reports] == [True, False]
    for report in reports:
        for volatile in ("seconds", "records_per_s", "reason", "ready_s", "state", "places"):
            report.pop(volatile, None)
        for cause in report["causes"].values():
            del cause["letter"]  # their order among all letters is that of the writers
    assert reports[0] == reports[1]
    assert reports[0]["read"] == len(lines)
    letters = [sorted((x.source, x.offset, x.line, x.reason, x.raw)
                      for x in read_letters(run / "state/dead-letters.db")) for run in (folder, tmp_path / "whole")]
    assert letters[0] == letters[1] != []
    assert sorted(path.name for path in (folder / "logs").iterdir()) == [
        ".20170929000000.tsv.gz", ".20170929000001.tsv.gz"]


def test_windows_go_on_and_each_report_gets_away_once(tmp_path: Path, older: str) -> None:
    folder, whole = unpack(older, "hours", tmp_path), tmp_path / "whole"
    whole.mkdir()
    shutil.copyfile(folder / "log.txt", whole / "log.txt")
    assert ask(folder / "state/windows.1.db", "SELECT count(*) FROM outbox") != [(0,)]
    for each in (folder, whole):
        done = thresher(each, *HOURS, "--once")
        assert done.returncode == 0, done.stdout + done.stderr
    hours = [sorted((each / "state/hours.jsonl").read_text().splitlines()) for each in (folder, whole)]
    assert hours[0] == hours[1]
    assert len(hours[0]) == len({json.loads(line)["start"] for line in hours[0]}) > 2
    rows = [ask(each / "state/rows.sqlite", 'SELECT * FROM connections ORDER BY start') for each in (folder, whole)]
    assert rows[0] == rows[1]
    assert len(rows[0]) == len(hours[0])
    letters = [[(x.line, x.reason, x.raw) for x in read_letters(each / "state/dead-letters.db")]
               for each in (folder, whole)]
    assert letters[0] == letters[1] == [(701, letters[0][0][1], b"no record")]


def test_numbers_go_on_and_none_that_was_logged_is_logged_again(tmp_path: Path, older: str) -> None:
    folder = unpack(older, "numbers", tmp_path)
    address = folder / "state/journal/tcp.address"
    with (tmp_path / "out").open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.cli", *NUMBERS, "--resume", "--state", "state"], cwd=folder,
            stdin=subprocess.DEVNULL, stdout=out, stderr=out, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            deadline = time.monotonic() + WATCHDOG_S
            while not address.exists():
                assert process.poll() is None, (tmp_path / "out").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.002)
            host, _, port = address.read_text().strip().rpartition(":")
            with socket.create_connection((host, int(port)), timeout=WATCHDOG_S) as client:
                client.sendall(b"314159265\n000000001\nterminate\n")
            assert process.wait(WATCHDOG_S) == 0, (tmp_path / "out").read_text()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    assert sorted((folder / "state/numbers.log").read_bytes().splitlines()) == [
        b"000000001", b"007007009", b"314159265"]
    assert "Unique total: 3\n" in (tmp_path / "out").read_text()


@pytest.mark.parametrize(("run", "words", "file"), [
    ("load", LOAD, "positions.db"), ("load", LOAD, "aggregator.1.db"), ("load", LOAD, "dead-letters.db"),
    ("hours", (*HOURS, "--once"), "windows.1.db"), ("numbers", (*NUMBERS, "--resume"), "distinct.1.db")])
def test_a_run_refuses_a_newer_file_with_78_and_a_sentence(
    tmp_path: Path, older: str, run: str, words: tuple[str, ...], file: str
) -> None:
    folder = unpack(older, run, tmp_path)
    make_newer(folder / "state" / file)
    done = thresher(folder, *words)
    assert done.returncode == 78
    assert f"{file}: made by a newer version of Thresher (schema 99, expected at most " in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


@pytest.mark.parametrize("verb", ["report", "status"])
def test_who_asks_about_a_newer_ledger_is_answered_in_a_sentence(tmp_path: Path, older: str, verb: str) -> None:
    folder = unpack(older, "load", tmp_path)
    make_newer(folder / "state/positions.db")
    done = thresher(folder, verb, "appsinstalled")
    assert done.returncode == 78
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert "positions.db: made by a newer version of Thresher (schema 99, expected at most " in done.stderr


@pytest.mark.parametrize("words", [
    ("report", "appsinstalled"), ("status", "appsinstalled"), ("dlq", "ls", "appsinstalled")])
def test_a_state_of_an_older_version_can_be_asked_about_before_it_is_resumed(
    tmp_path: Path, older: str, words: tuple[str, ...]
) -> None:
    done = thresher(unpack(older, "load", tmp_path), *words)
    assert "Traceback" not in done.stderr
    assert "20170929000000.tsv.gz" in done.stdout
    assert done.returncode == (3 if words[0] == "report" else 0)
