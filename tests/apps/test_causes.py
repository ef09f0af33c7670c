"""The report says why records were rejected: of each reason the newest, with the line that raised it."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from actors.console.causes import Cause, newest_causes
from tests.loads import ROOT, WATCHDOG_S

MODULE = """
from thresher import Pipeline, Reject
from thresher.sinks import Jsonl
from thresher.sources import Files


def parse(line):
    if line.endswith(b"9"):
        raise Reject("nine", "it ends\\x1b with a 9")
    return int(line)


def check(value):
    if value % 13 == 0:
        raise ValueError(f"{value} is unlucky")
    return value


PIPELINE = Pipeline(source=Files(pattern="in.txt", rename="none"), parse=parse, check=check, sinks={"out": Jsonl()})
"""


def thresher(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "actors.cli", *words], cwd=folder, text=True, capture_output=True,
                          check=False, timeout=WATCHDOG_S, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_the_report_says_why_and_where(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(MODULE)
    (tmp_path / "in.txt").write_text("".join(f"{number}\n" for number in range(1, 1001)) + "eleven\n")
    more = ("--set", "parser.workers=1")
    done = thresher(tmp_path, "run", "words.py", "--format", "text", *more)
    assert done.returncode == 4
    assert done.stdout.partition("why, ")[2].startswith(
        "the newest of each (thresher dlq ls words.py --set parser.workers=1 shows more):\n"
        "  check_error  ValueError: 988 is unlucky  (words.py:15)\n"
        "  nine         it ends\\x1b with a 9\n"
        "  parse_error  ValueError: invalid literal for int() with base 10: b'eleven'  (words.py:10)\n")
    causes = json.loads(thresher(tmp_path, "report", "words.py", "--json").stdout)["causes"]
    assert causes["check_error"]["at"] == "words.py:15"
    assert causes["nine"]["at"] == ""
    assert thresher(tmp_path, "dlq", "purge", "words.py", "--yes").returncode == 0
    assert "why, " not in thresher(tmp_path, "report", "words.py").stdout


def test_however_many_letters_there_are_few_rows_are_looked_at(tmp_path: Path) -> None:
    path = tmp_path / "letters.db"
    with closing(sqlite3.connect(path)) as store, store:
        store.execute("CREATE TABLE letters (id INTEGER PRIMARY KEY, status TEXT, reason TEXT, stage TEXT, "
                      "detail TEXT)")
        store.execute("CREATE INDEX letters_by_reason ON letters (status, reason, stage)")
        store.executemany("INSERT INTO letters VALUES (?, 'open', 'bad', ?, ?)", (
            (number, f"stage{number % 3}", f"of {number}") for number in range(100_000)))
        plan = " ".join(row[3] for query in ("min(stage)", "max(id)") for row in store.execute(
            f"EXPLAIN QUERY PLAN SELECT {query} FROM letters WHERE status='open' AND reason='bad' AND stage>='a'"))
    assert "SCAN letters" not in plan
    assert newest_causes(path, ["bad", "none"]) == {"bad": Cause("of 99999", "", 99_999)}


def test_a_store_that_is_not_there_knows_nothing(tmp_path: Path) -> None:
    assert newest_causes(tmp_path / "none.db", ["bad"]) == {}
