"""Functions that take long, in real processes: every worker has some of the records, and what they cost is shown.

Who worked on which record is in what is written; how long all of it took is nobody's business here.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from actors.runtime.sizing import LEARNT
from actors.runtime.units import read_fact
from tests.loads import ROOT

PIPELINE = """
import os
import time

from thresher import Pipeline
from thresher.sinks import Lines
from thresher.sources import Files


def check(line):
    time.sleep(SLEEP(int(line)))
    return b"%d %d" % (int(line), os.getpid())


PIPELINE = Pipeline(
    name="slow", source=Files(pattern="in.log", rename="none"), parse=lambda line: line, check=check,
    encode=lambda line: line, sinks={"out": Lines(sync=False)})
"""


def thresher(folder: Path, *words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", *words], cwd=folder, capture_output=True, text=True, timeout=240,
        check=False, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shares(folder: Path, sleep: str, records: int, *sets: str) -> Counter[str]:
    """Run it; return how many records each process had. All of them must be there, in their order."""
    (folder / "slow.py").write_text(PIPELINE.replace("SLEEP", f"({sleep})"))
    (folder / "in.log").write_text("".join(f"{number}\n" for number in range(records)))
    thresher(folder, "run", "slow.py", *(word for each in sets for word in ("--set", each)))
    rows = [line.split() for line in (folder / "var/slow/out.log").read_text().splitlines()]
    assert [int(number) for number, _ in rows] == list(range(records))
    return Counter(pid for _, pid in rows)


def test_two_hundred_records_in_one_small_file_keep_four_workers_busy(tmp_path: Path) -> None:
    found = shares(tmp_path, "lambda number: 0.02", 200, "parser.workers=4")
    assert len(found) == 4
    assert max(found.values()) < 100
    record_s, _, records = (read_fact(tmp_path / "var/slow/positions.db", LEARNT) or "").partition(" ")
    assert float(record_s) >= 0.02
    assert 1 <= int(records) <= 10
    assert "or about 0.2 s of work, if that is less (flow.batch_s); at the end of the last run a record takes " in (
        thresher(tmp_path, "explain", "slow.py"))
    size = "one" if records == "1" else f"{records} or fewer"
    assert f"{size} in a batch" in json.loads(thresher(tmp_path, "explain", "slow.py", "--json"))["batches"]


@pytest.mark.parametrize("parsers", [1, 2])
def test_few_records_that_take_long_reach_every_checker(tmp_path: Path, parsers: int) -> None:
    found = shares(tmp_path, "lambda number: 0.2", 30, f"parser.workers={parsers}", "parser.fused=false",
                   "checker.workers=6")
    assert len(found) == 6
    assert max(found.values()) <= 10


def test_slow_records_that_stand_together_are_shared_by_all(tmp_path: Path) -> None:
    found = shares(tmp_path, "lambda number: 0.02 if 20_000 <= number < 20_200 else 0", 30_000, "parser.workers=4")
    assert len(found) == 4


def test_by_bytes_alone_one_worker_has_them_all(tmp_path: Path) -> None:
    found = shares(tmp_path, "lambda number: 0.001", 200, "parser.workers=4", "flow.batch_s=0")
    assert list(found.values()) == [200]
    assert "however long they take" in thresher(tmp_path, "explain", "slow.py", "--set", "flow.batch_s=0")
