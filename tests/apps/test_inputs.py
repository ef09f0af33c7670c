"""What FILE, --follow and --once mean, as a person meets it: real processes, growing files, pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.ledger import read_units
from tests.loads import ROOT

WATCHDOG_S = 240.0


def _line(name: str) -> bytes:
    return f"idfa\t{name}\t1.0\t2.0\t1,2\n".encode()


def _command(*words: str | Path) -> list[str]:
    return [sys.executable, "-m", "actors.cli", *map(str, words)]


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT)}


def thresher(*words: str | Path, stdin: bytes | Path | None = None, cwd: Path) -> subprocess.CompletedProcess[bytes]:
    given: dict[str, Any] = {"input": stdin} if isinstance(stdin, bytes) else {"stdin": subprocess.DEVNULL}
    if isinstance(stdin, Path):
        with stdin.open("rb") as file:
            return subprocess.run(_command(*words), cwd=cwd, capture_output=True, timeout=WATCHDOG_S, check=False,
                                  env=_environment(), stdin=file)
    return subprocess.run(_command(*words), cwd=cwd, capture_output=True, timeout=WATCHDOG_S, check=False,
                          env=_environment(), **given)


def report_of(out: bytes) -> dict[str, Any]:
    report: dict[str, Any] = json.loads(out.splitlines()[-1])
    return report


@contextmanager
def following(cwd: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(_command("run", *words), cwd=cwd, env=_environment(), stdin=subprocess.DEVNULL,
                               stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(state: Path, read: int) -> None:
    """Until so many records are done."""
    until = time.monotonic() + WATCHDOG_S
    done = -1
    while done != read:
        assert time.monotonic() < until, f"{done} records of {read}"
        if (state / "positions.db").exists():
            units = read_units(state / "positions.db")
            done = sum(unit.counts.get("read", 0) for unit in units)
        time.sleep(0.02)  # between two looks at a condition


def test_a_growing_file_is_followed_through_a_rotation_and_over_runs(tmp_path: Path) -> None:
    path, state = tmp_path / "some.tsv", tmp_path / "state"
    path.write_bytes(_line("a1") + _line("a2"))
    with following(tmp_path, "appsinstalled", "--state", "state", "--follow", "some.tsv") as run:
        wait_for(state, 2)
        with path.open("ab") as file:
            file.write(_line("b1"))
        wait_for(state, 3)
        path.rename(tmp_path / "some.tsv.1")
        path.write_bytes(_line("c1"))
        wait_for(state, 4)
        run.terminate()
        out, _ = run.communicate(timeout=WATCHDOG_S)
    assert report_of(out)["read"] == 4
    with path.open("ab") as file:
        file.write(_line("c2"))
    done = thresher("run", "appsinstalled", "some.tsv", "--state", "state", "--once", "--set", "source.type=directory",
                    cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    units = {unit["name"]: unit for unit in report_of(done.stdout)["units"]}
    assert units["some.tsv"]["read"] == 2  # in all runs
    assert units["some.tsv"]["status"] == "done"


@pytest.mark.parametrize("is_file", [False, True])
def test_standard_input_is_read_from_a_pipe_and_from_a_file(tmp_path: Path, is_file: bool) -> None:
    content = b"".join(_line(f"n{number}") for number in range(5000))
    (tmp_path / "in").write_bytes(content)
    done = thresher("run", "appsinstalled", "-", stdin=tmp_path / "in" if is_file else content, cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert report_of(done.stdout)["outcomes"] == {"written": 5000, "folded": 0, "filtered": 0, "dead_lettered": 0,
                                                "handed_over": 0}


def test_files_may_stand_behind_options_and_are_read_once_by_default(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(_line("a"))
    (tmp_path / "b.tsv").write_bytes(_line("b"))
    done = thresher("run", "appsinstalled", "a.tsv", "--state", "state", "b.tsv", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [unit["name"] for unit in report_of(done.stdout)["units"]] == ["a.tsv", "b.tsv"]
    assert sorted(os.listdir(tmp_path)) == [".a.tsv", ".b.tsv", "state"]


def test_what_the_configuration_says_of_files_does_not_disturb_following_them(tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text(
        'app = "appsinstalled"\n[source]\npattern = "logs/*.tsv"\nrename = "none"\nmax_line_bytes = 1000\n')
    done = thresher("run", "my.toml", "--follow", "--set", "source.poll_s=x", cwd=tmp_path)
    assert b"--set source.poll_s: source.poll_s: expected float" in done.stderr
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.tsv").write_bytes(_line("a"))
    with following(tmp_path, "my.toml", "--state", "state", "--follow", "--set", "source.poll_s=0.1"):
        wait_for(tmp_path / "state", 1)
        (tmp_path / "logs" / "b.tsv").write_bytes(_line("b"))
        wait_for(tmp_path / "state", 2)


@pytest.mark.parametrize(("words", "message"), [
    (("-", "a.tsv"), "FILE - is standard input, which is read alone and to its end"),
    (("-", "--follow"), "FILE - is standard input, which is read alone and to its end"),
    (("a.tsv", "--set", "source.type=stdin"),
     "FILE a.tsv: appsinstalled reads from a source of the type stdin, which reads no files"),
    (("--follow", "--set", "source.type=stdin"),
     "--follow: appsinstalled reads from a source of the type stdin: expected files or directory"),
    (("nowhere/a.tsv", "--follow"), "no nowhere in which it could appear"),
])
def test_what_cannot_be_is_said_in_a_sentence(tmp_path: Path, words: tuple[str, ...], message: str) -> None:
    done = thresher("run", "appsinstalled", *words, cwd=tmp_path)
    assert done.returncode == 78
    assert message in done.stderr.decode()
    assert b"Traceback" not in done.stderr


def test_a_terminal_is_no_input(tmp_path: Path) -> None:
    leader, follower = os.openpty()
    try:
        done = subprocess.run(_command("run", "appsinstalled", "-"), cwd=tmp_path, env=_environment(), stdin=follower,
                              capture_output=True, timeout=WATCHDOG_S, check=False)
    finally:
        os.close(leader)
        os.close(follower)
    assert done.returncode == 78
    assert done.stderr.startswith(b"standard input is a terminal: expected a pipe or a file")


def test_options_that_nobody_knows_are_a_usage_error(tmp_path: Path) -> None:
    assert thresher("run", "appsinstalled", "--folow", cwd=tmp_path).returncode == 2
    assert thresher("run", "appsinstalled", "--follow", "--once", cwd=tmp_path).returncode == 2
    assert thresher("echo", "appsinstalled", "a.tsv", cwd=tmp_path).returncode == 2
