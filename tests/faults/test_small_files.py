"""What many small files wait for: the disk and one another's messages, together and not each for itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.powercut.disk import read_record
from tests.powercut.recording import recorded, require_recorder

ROOT = Path(__file__).resolve().parents[2]
FILES = 1500
_PIPELINE = """
from thresher import Pipeline
from thresher.sinks import Lines
from thresher.sources import Directory, Files

PIPELINE = Pipeline(
    source=SOURCE, parse=lambda line: line.rstrip(b"\\n"), encode=lambda record: record, sinks={"out": Lines()})
"""


@pytest.mark.parametrize("source", ['Files(pattern="logs/*")', 'Directory(paths=["logs"], follow=False)'])
def test_small_files_wait_for_the_disk_together(tmp_path: Path, source: str) -> None:
    root = tmp_path / "root"
    (root / "logs").mkdir(parents=True)
    for number in range(FILES):
        (root / f"logs/{number:05d}.log").write_text(f"{number} first\n{number} second\n")
    (root / "job.py").write_text(_PIPELINE.replace("SOURCE", source))
    log = tmp_path / "log"
    done = subprocess.run(
        [sys.executable, "-P", "-m", "thresher", "run", "job.py", "--state", "state"], cwd=root, text=True,
        env={**recorded(require_recorder(tmp_path), root, log), "PYTHONPATH": str(ROOT)}, capture_output=True,
        timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    lines = (root / "state" / "out.log").read_text().split("\n")
    expected = [f"{number} {word}" for number in range(FILES) for word in ("first", "second")]
    assert sorted(lines) == sorted(["", *expected])
    flushes = sum(op.kind in "fF" for op in read_record(log))
    assert flushes < FILES / 6, "each file for itself would be more than one"
