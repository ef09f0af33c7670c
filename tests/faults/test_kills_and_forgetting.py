"""Files that come, are over, are forgotten by the shards, and grow: killed whenever, each line is counted once."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path

import pytest

from actors.runtime.state import read_state
from tests.loads import Running, living

PIPELINE = '''
from collections import Counter

from thresher import Fold, Pipeline
from thresher.sources import Directory


def partials(values):
    return {(value,): [number] for value, number in Counter(values).items()}


PIPELINE = Pipeline(name="words", source=Directory(paths=["logs"], follow=False), parse=bytes.decode,
                    fold=Fold(partials=partials, keys=("word",), fields=("count",)), sinks={})
'''
SMALL = ("--set", "flow.batch_bytes=512", "--set", "parser.workers=2", "--format", "json")
FILES = 40


def _run(folder: Path) -> Running:
    return Running(folder / "state", "run", str(folder / "words.py"), "--set", f'source.paths=["{folder}/logs"]',
                   *SMALL)


def _killed_after(folder: Path, batches: int, victim: str) -> bool:
    """Kill somebody once the reader has closed so many batches; whether the run had not ended before."""
    with _run(folder) as running:
        try:
            views = running.until(lambda views: views["reader.1"].batches >= batches, f"{batches} batches")
        except AssertionError:
            return False
        pid = running.process.pid if victim == "supervisor" else views[victim].pid
        if not living([pid]):  # it has ended in between
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
        if victim == "supervisor":
            running.process.wait()
            return True
        assert running.wait() == 0, running.output()
        return True


def _remembered(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "state/aggregator.1.db")) as shard:
        (number,) = shard.execute("SELECT count(*) FROM applied").fetchone()
    return int(number)


@pytest.mark.parametrize("seed", [1, 2])
def test_files_that_grow_after_they_were_forgotten_are_counted_once_over_kills(tmp_path: Path, seed: int) -> None:
    (tmp_path / "words.py").write_text(PIPELINE)
    (tmp_path / "logs").mkdir()
    chance, expected, kills = random.Random(seed), Counter[str](), 0
    for turn in range(4):
        for number in range(FILES * turn, FILES * (turn + 1)):
            _append(tmp_path / f"logs/{number:04d}.log", [f"file-{number}"] * 60, expected)
        for number in range(0, FILES * turn, 3):  # of those that are forgotten by now
            _append(tmp_path / f"logs/{number:04d}.log", [f"more-{turn}-{number}"] * 30, expected)
        for victim in ("supervisor", "aggregator.1"):
            kills += _killed_after(tmp_path, chance.randrange(1, 60), victim)
        with _run(tmp_path) as last:
            assert last.wait() == 0, last.output()
        found = {key[0]: numbers[0] for key, numbers in read_state(tmp_path / "state/aggregator.1.db").items()}
        assert found == expected
        assert _remembered(tmp_path) <= FILES + FILES * turn // 3 + 1, "those of the last turn"
    with _run(tmp_path) as nothing_new:
        assert nothing_new.wait() == 0, nothing_new.output()
    assert (_remembered(tmp_path), kills > 0) == (0, True)


def _append(path: Path, words: list[str], expected: Counter[str]) -> None:
    with path.open("a") as file:
        file.writelines(f"{word}\n" for word in words)
    expected.update(words)
