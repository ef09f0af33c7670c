"""``thresher init --sink`` and ``--source``: what it makes keeps the contract, and its pipeline runs."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.apps.test_cli import thresher
from tests.apps.test_init import _made, _pytest


@pytest.mark.parametrize(("kind", "made"), [
    ("sink", ["data/mine.log", "mine.py", "test_mine.py", "try_mine.py"]),
    ("source", ["mine.py", "test_mine.py", "try_mine.py"])])
def test_what_is_made_runs_and_keeps_the_contract(kind: str, made: list[str], tmp_path: Path) -> None:
    done = thresher("init", f"--{kind}", "mine", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[-3:] == ["  cd mine", "  thresher run try_mine.py", "  python -m pytest"]
    folder = tmp_path / "mine"
    assert _made(folder) == made
    ran = thresher("run", "try_mine.py", cwd=folder)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    state = folder / "var" / "try_mine"
    if kind == "sink":
        with closing(sqlite3.connect(state / "out.db")) as connection:
            assert connection.execute("SELECT count(*) FROM lines").fetchone() == (200,)
    else:
        assert len((state / "out.log").read_bytes().splitlines()) == 1000
    tested = _pytest(folder)
    assert tested.returncode == 0 and "passed" in tested.stdout, tested.stdout


def test_what_is_there_is_not_replaced_and_a_bad_name_is_refused(tmp_path: Path) -> None:
    assert thresher("init", "--sink", "mine", cwd=tmp_path).returncode == 0
    assert thresher("init", "--sink", "mine", cwd=tmp_path).returncode == 1
    assert thresher("init", "--source", "my-own", cwd=tmp_path).returncode == 2
    assert thresher("init", "other", "--sink", "mine", cwd=tmp_path).returncode == 2
    assert thresher("init", cwd=tmp_path).returncode == 2
