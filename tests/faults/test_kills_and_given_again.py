"""Who is killed while a load takes the place of another, and whenever: no letter is lost, none is there twice."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from pathlib import Path

import pytest

from actors.sinks.dead_letters import read_letters
from tests.apps.test_given_again import WORDS
from tests.loads import Running

SMALL = ("--set", "flow.batch_bytes=4096", "--set", "parser.workers=2", "--format", "json")


def _run(folder: Path, pipeline: str, *words: str) -> Running:
    return Running(folder / "state", "run", f"{folder}/words.py:{pipeline}", *words, *SMALL)


def _is_killed_after(running: Running, batches: int) -> bool:
    """Kill the supervisor once the reader has closed so many batches; whether it had not ended before."""
    try:
        running.until(lambda views: views["reader.1"].batches >= batches, f"{batches} batches")
    except AssertionError:
        return False
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait()
    return True


def _lost_and_doubled(folder: Path, expected: Counter[bytes]) -> tuple[int, int]:
    """How many letters are not there, and how many more than once."""
    letters = Counter(letter.raw for letter in read_letters(folder / "state/dead-letters.db"))
    return (expected - letters).total(), (letters - expected).total()


@pytest.mark.parametrize("seed", [1, 2])
def test_a_load_that_failed_is_loaded_again_over_kills_with_each_letter_once(tmp_path: Path, seed: int) -> None:
    (tmp_path / "words.py").write_text(WORDS)
    bad = [b"w%05d bad" % number for number in range(0, 40_000, 20)]
    lines = [b"w%05d 1" % number for number in range(40_000)]
    lines[::20] = bad
    path = tmp_path / "in.txt"
    path.write_bytes(b"\n".join(lines) + b"\n")
    expected = Counter(bad)
    with _run(tmp_path, "KEYED", str(path)) as first:
        assert first.wait() == 4, first.output()
    assert _lost_and_doubled(tmp_path, expected) == (0, 0)
    chance, kills = random.Random(seed), 0
    for _ in range(4):
        with _run(tmp_path, "KEYED", str(path)) as again:
            kills += _is_killed_after(again, chance.randrange(1, 60))
        assert _lost_and_doubled(tmp_path, expected)[0] == 0
    assert kills
    with _run(tmp_path, "KEYED", str(path)) as last:
        assert last.wait() == 4, last.output()
    assert _lost_and_doubled(tmp_path, expected) == (0, 0)


def test_a_killed_run_is_gone_on_with_though_finished_files_keep_their_names(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(WORDS)
    names = [tmp_path / f"{number}.txt" for number in range(3)]
    for path in names:
        path.write_bytes(b"".join(b"k%d 1\n" % (number % 100) for number in range(30_000)))
    kills = 0
    for batches in (12, 9, 6):
        with _run(tmp_path, "FOLDED", *map(str, names)) as running:
            if not _is_killed_after(running, batches):  # the run was quicker
                assert running.wait() == 0, running.output()
                break
            kills += 1
    else:
        with _run(tmp_path, "FOLDED", *map(str, names)) as last:
            assert last.wait() == 0, last.output()
    assert kills
    with Running(tmp_path / "state", "report", f"{tmp_path}/words.py:FOLDED", "--groups") as report:
        report.process.wait()
        groups = [json.loads(line) for line in report.output().splitlines()]
    assert {group["keys"]["word"]: group["numbers"]["total"] for group in groups} == {
        f"k{number}": 900 for number in range(100)}
