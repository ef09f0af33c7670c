"""A function of the application returns something of the wrong type: a sentence, no death, and nothing is lost."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loads import ROOT, WATCHDOG_S, assert_counts_add_up

MODULE = """
from thresher import Fold, Pipeline, Windows
from thresher.sinks import Jsonl, Lmdb
from thresher.sources import Files


def parse(line):
    return int(line)


PIPELINE = Pipeline(source=Files(pattern="in.txt", rename="none"), parse=parse, {more})
"""
FOLDED = 'sinks={{"out": Jsonl()}}, fold=Fold(partials=lambda values: {}, keys=("key",), fields=("number",))'
WINDOWED = ", windows=Windows(time=lambda value: {time}, key=lambda value: {key}, emit=lambda window, rows: [])"

PATIENT = ("--set", "budget.max_error_rate=1", "--set", "parser.workers=1")


def run(folder: Path, more: str, numbers: range, *words: str) -> subprocess.CompletedProcess[str]:
    (folder / "wrong.py").write_text(MODULE.format(more=more))
    (folder / "in.txt").write_text("".join(f"{number}\n" for number in numbers))
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", "wrong.py", "--format", "text", *words], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False, timeout=WATCHDOG_S,
        env={**os.environ, "PYTHONPATH": str(ROOT)})


@pytest.mark.parametrize(("more", "sentence"), [
    ('sinks={"out": Lmdb()}',
     "sinks.out: encode returns int 0, which lmdb cannot take (TypeError: it takes (key, value), bytes both, or "
     "(key, None) (Expected `array`, got `int` - at `$[0]`)): none of the first 1000"),
    ('sinks={"out": Jsonl()}, encode=lambda value: object()', "sinks.out: encode returns object <object"),
    (FOLDED.format('{("a",): 3}'),
     "fold: partials returns int 3 as the numbers of a key, and it takes a list, as in [1]: "),
    (FOLDED.format('[1]'),
     "fold: partials returns list [1], and it takes {key: numbers}, as in {('some key',): [1]}: "),
    (FOLDED.format('{("a",): [1]}') + WINDOWED.format(time="value", key="value"),
     "windows.key: expected a tuple as key of a window, got 0: none of the first 1000"),
    (FOLDED.format('{("a",): [1]}') + WINDOWED.format(time="value / 2", key="()"),
     "windows.time: expected an event time in ms, a whole number, got 0.0: none of the first 1000"),
])
def test_what_no_sink_and_no_fold_can_take_ends_the_run(tmp_path: Path, more: str, sentence: str) -> None:
    done = run(tmp_path, more, range(1000), "--set", "parser.workers=1", "--set", "flow.batch_s=0")
    assert done.returncode == 78, done.stdout
    assert sentence in done.stdout
    mended = run(tmp_path, 'sinks={"out": Jsonl()}', range(1000))
    assert mended.returncode == 0, mended.stdout
    assert assert_counts_add_up(tmp_path / "var" / "wrong")["written"] == 1000


@pytest.mark.parametrize("more", [
    'sinks={"out": Lmdb()}, encode=lambda value: (b"%d" % value, b"") if value == 7 else value',
    FOLDED.format('{("a",): [1 if value == 7 else object() for value in values]}'),
])
def test_where_one_of_them_can_be_taken_the_others_are_dead_letters(tmp_path: Path, more: str) -> None:
    done = run(tmp_path, more, range(1000), *PATIENT)
    assert done.returncode == 0, done.stdout
    counts = assert_counts_add_up(tmp_path / "var" / "wrong")
    assert (counts["written"], counts["dead_lettered"]) == (1, 999)
    assert "died" not in done.stdout


def test_few_of_a_wrong_type_are_dead_letters(tmp_path: Path) -> None:
    done = run(tmp_path, 'sinks={"out": Lmdb()}', range(40), *PATIENT)
    assert done.returncode == 0, done.stdout
    assert assert_counts_add_up(tmp_path / "var" / "wrong")["dead_lettered"] == 40
    assert "encode_error 40" in done.stdout
