"""FILE on the command line: a pattern that stands for nothing is an error, and one whose files are loaded is not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S

MODULE = """
from thresher import Pipeline
from thresher.sinks import Jsonl
from thresher.sources import Directory, Files

PIPELINE = Pipeline(source={source}, parse=bytes.decode, sinks={{"out": Jsonl()}})
"""


def run(folder: Path, *words: str, source: str = 'Files(pattern="data/*.txt")') -> subprocess.CompletedProcess[str]:
    (folder / "words.py").write_text(MODULE.format(source=source))
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "words.py", *words], cwd=folder, text=True, capture_output=True,
        check=False, timeout=WATCHDOG_S, env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(("source", "more"), [
    ("Files()", ()), ('Directory(paths=["data"])', ("--once",))])
def test_a_pattern_of_nothing_is_refused_and_one_whose_files_are_put_away_is_done(
    tmp_path: Path, source: str, more: tuple[str, ...]
) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a [1].txt").write_text("one\n")
    wrong = run(tmp_path, "data/*.text", *more, source=source)
    assert wrong.returncode == 78
    assert wrong.stderr == ("FILE data/*.text: nothing matches it, and nothing that is loaded and put away: looked for "
                            f"it from {tmp_path}\n")
    assert not (tmp_path / "var").exists()
    assert [run(tmp_path, name, *more, source=source).returncode
            for name in ("data/*.txt", "data/*.txt", "data/a [[]1].txt")] == [0, 0, 0]
    assert [json.loads(line) for line in (tmp_path / "var/words/out.jsonl").read_text().splitlines()] == ["one"]


def test_a_file_may_have_any_name_that_is_utf_8_and_another_is_read_by_its_folder(tmp_path: Path) -> None:
    names = ["\U0001f600.txt", "a\x7fb\x1b.txt", 'q"\\u00e9\n.txt', "\xe9\u2028.txt"]
    (tmp_path / "data").mkdir()
    for name in [*names, "\udcff.txt"]:
        (tmp_path / "data" / name).write_text("one\n")
    done = run(tmp_path, *(f"data/{name}" for name in names))
    assert (done.returncode, done.stderr) == (0, "")
    wrong = run(tmp_path, "data/\udcff.txt")
    assert (wrong.returncode, wrong.stderr) == (
        78, "--set source.paths: source.paths: expected text that UTF-8 can write, got ['data/\\udcff.txt']\n")
    assert run(tmp_path, "data", "--once", source='Directory(paths=["data"])').returncode == 0
    assert (tmp_path / "var/words/out.jsonl").read_text() == '"one"\n' * 5


def test_so_many_workers_as_are_asked_for_run(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "a.txt").write_text("one\n")
    done = run(tmp_path, "data/*.txt", "--workers", "1")
    started, *_ = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, started["actors"]) == (0, 4)
