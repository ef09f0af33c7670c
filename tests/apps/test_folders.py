"""A configuration can be run from any folder: ``run.base`` and ``--chdir``."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S


def thresher(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=folder, text=True, capture_output=True,
                          check=False, timeout=WATCHDOG_S, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder beside that of a new pipeline, ``access``."""
    assert thresher(tmp_path, "init", "access").returncode == 0
    folder = tmp_path / "elsewhere [1]"
    folder.mkdir()
    return folder


def test_what_init_makes_runs_the_same_from_any_folder(elsewhere: Path) -> None:
    access = elsewhere.parent / "access"
    done = thresher(elsewhere, "run", "../access/access.toml", "--format", "text")
    assert "read 200 records" in done.stdout, done.stderr
    assert f"(thresher dlq ls {access}/access.toml shows more)" in done.stdout
    assert list(elsewhere.iterdir()) == []
    for again in (("../access/access.toml", "../access/data/access.log"),  # the same unit, however it is named
                  ("access.toml", "data/access.log", "--chdir", str(access))):
        done = thresher(elsewhere, "run", *again, "--format", "text")
        assert "nothing to do: no new input in paths data/access.log" in done.stdout, done.stderr


def test_what_is_typed_is_looked_for_where_it_is_typed(elsewhere: Path) -> None:
    shutil.copy(elsewhere.parent / "access/data/access.log", elsewhere / "mine.log")
    done = thresher(elsewhere, "run", "../access/access.toml", "mi*.log", "--state", "kept", "--report", "report.json")
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted(path.name for path in elsewhere.iterdir()) == ["kept", "mine.log", "report.json"]
    assert (elsewhere / "kept/requests.jsonl").stat().st_size
    assert not (elsewhere.parent / "access/var").exists()


def test_without_a_word_paths_are_relative_to_where_the_command_is_typed(elsewhere: Path) -> None:
    toml = elsewhere.parent / "access/access.toml"
    toml.write_text(toml.read_text().replace('base = "file"', 'base = "here"'))
    (elsewhere / "data").mkdir()
    shutil.copy(elsewhere.parent / "access/data/access.log", elsewhere / "data/other.log")
    done = thresher(elsewhere, "run", str(toml))
    assert '"data/other.log"' in done.stdout, done.stderr
    assert (elsewhere / "var/access/requests.jsonl").stat().st_size


@pytest.mark.parametrize(("words", "said"), [
    (("--chdir", "none"), "--chdir none: expected a folder: no such file or directory\n"),
    (("--chdir=data.log",), "--chdir data.log: expected a folder: not a directory\n"),
    (("--set", "run.base=there"), "--set run.base: run.base: expected 'here' or 'file', got 'there'\n"),
])
def test_a_folder_that_is_none_is_told(elsewhere: Path, words: tuple[str, ...], said: str) -> None:
    (elsewhere / "data.log").touch()
    done = thresher(elsewhere, "echo", "../access/access.toml", *words)
    assert (done.returncode, done.stderr) == (78, said)
