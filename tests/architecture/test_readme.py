"""What the README shows runs as it is written there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

from actors.runtime.state import read_state
from actors.sinks.lmdb import read_lmdb
from tests.loads import ROOT

README = (ROOT / "README.md").read_text()


def test_the_pipeline_of_the_readme_runs(tmp_path: Path) -> None:
    found = re.search(r"<!-- test: words.py -->\n```python\n(.*?)```", README, re.DOTALL)
    assert found is not None
    (tmp_path / "words.py").write_text(found[1])
    (tmp_path / "in.txt").write_text("one 1\ntwo 2\nthree x\none 11\n")
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "words", "in.txt"], cwd=tmp_path, capture_output=True, text=True,
        timeout=240, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    report = json.loads(done.stdout.splitlines()[-1])
    assert (done.returncode, report["code"]) == (4, 4), done.stdout + done.stderr  # one bad line in four
    assert dict(read_lmdb(tmp_path / "var/words/words.lmdb")) == {b"one": b"11", b"two": b"2"}
    assert read_state(tmp_path / "var/words/aggregator.1.db") == {("one",): [12], ("two",): [2]}
    (tmp_path / "more.txt").write_text("one 1\n")
    again = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "words", "in.txt", "more.txt", "--format", "text"], cwd=tmp_path,
        capture_output=True, text=True, timeout=240, check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    # Sums that are not kept by file are shown as those of no file.
    assert again.stdout.count("word  total") == 1
    assert "so far, in all runs\n  word  total\n  one      " in again.stdout


def test_every_file_that_the_documents_name_exists() -> None:
    for document in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        folders = "actors|tests|docs|scripts|config|benchmarks|protos"
        for name in re.findall(rf"`((?:{folders})/[\w./-]*)`", document.read_text()):
            assert (ROOT / name).exists(), f"{document.name} names {name}"


def test_files_and_functions_stay_small() -> None:
    for path in [ROOT / "supervisor.py", *(ROOT / "actors").rglob("*.py")]:
        lines = path.read_text().splitlines()
        assert len(lines) <= 400, f"{path} has {len(lines)} lines"
