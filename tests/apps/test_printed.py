"""What functions print and log goes to standard error with the name of who says it; standard output is the run's."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.loads import ROOT, WATCHDOG_S

MODULE = """
import logging

from thresher import Pipeline
from thresher.sinks import Jsonl
from thresher.sources import Files

log = logging.getLogger("mine")


def parse(line):
    print("hello", line.decode(), end="\\n\\n", flush=True)
    log.warning("careful")
    log.info("fine")
    return line.decode()


PIPELINE = Pipeline(source=Files(pattern="in.txt", rename="none"), parse=parse, sinks={"out": Jsonl()})
"""


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "words.py").write_text(MODULE)
    (folder / "in.txt").write_text("one\n")
    done = subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "words.py", "--workers", "1", *words], cwd=folder, text=True,
        capture_output=True, check=False, timeout=WATCHDOG_S, env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def test_what_functions_say_is_named_and_stands_beside_the_lines_of_the_run(tmp_path: Path) -> None:
    done = run(tmp_path)
    assert [json.loads(line)["event"] for line in done.stdout.splitlines()][-2:] == ["ended", "report"]
    assert done.stderr == "parser.1: hello one\nparser.1: \nparser.1: WARNING mine: careful\n"
    again = run(tmp_path, "--fresh", "--set", "run.log_level=info")
    assert again.stderr.endswith("parser.1: INFO mine: fine\n")


def test_data_on_standard_output_is_data_alone(tmp_path: Path) -> None:
    done = run(tmp_path, "--set", "sinks.out.type=stdout")
    assert done.stdout == "one\n"
    assert "parser.1: hello one\n" in done.stderr
