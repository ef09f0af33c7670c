"""Distinct numbers: each goes on once, whatever is restarted when, and however large the bitmap is."""

from __future__ import annotations

import random
import sqlite3
import sys
from pathlib import Path
from typing import Any

import pytest

from actors.runtime import distinct as module
from actors.runtime.distinct import DistinctState
from actors.runtime.emitter import Emitter
from actors.runtime.errors import ConfigError
from actors.runtime.messages import Part
from actors.runtime.pipeline import Distinct, Totals
from actors.testing import MemorySink, UnorderedMemorySink

np = pytest.importorskip("numpy")
msgpack = pytest.importorskip("msgspec").msgpack


def state_at(path: Path, size: int = 1000, report_s: float = 0.0) -> DistinctState:
    emitter = Emitter("aggregator.1", {"log": MemorySink(), "report": MemorySink()}, UnorderedMemorySink(),
                      {"": "writer.dead_letters", "log": "writer.log", "report": "writer.report"})
    functions = Distinct(
        limit=size, emit=lambda numbers: [("log", int(number)) for number in numbers],
        report=lambda totals: [("report", (totals.new, totals.duplicates, totals.total))])
    return DistinctState(path, 1, functions, report_s, emitter)


def part_of(numbers: list[int], start: int) -> tuple[Part, list[bytes]]:
    packed = np.array(numbers, "<u4").tobytes()
    return Part("p", start, start + 1, 0, 0, 1, {}), [msgpack.encode([(("n",), [packed])])]


def rows(entries: list[Any], writer: str) -> list[Any]:
    return [row for entry in entries if writer in entry.body
            for row in msgpack.decode(entry.body[writer][1])]


def test_each_number_is_emitted_once_and_every_one_is_counted(tmp_path: Path) -> None:
    state = state_at(tmp_path / "d.db")
    state.accept(*part_of([5, 3, 5, 999], 0))
    state.accept(*part_of([3, 0], 1))
    entries = state.commit({"p": 2})
    assert sorted(rows(entries, "writer.log")) == [0, 3, 5, 999]
    state.end(True)
    assert rows(state.commit({"p": 2}), "writer.report") == [[4, 2, 4]]
    state.close()


@pytest.mark.parametrize("seed", range(20))
def test_whenever_it_is_restarted_it_knows_what_was_committed_and_nothing_else(
    tmp_path: Path, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(module, "PAGE_BYTES", 16)
    size = 2000
    seen: set[int] = set()
    state = state_at(tmp_path / "d.db", size)
    uncommitted: set[int] = set()
    for step in range(300):
        numbers = [rng.randrange(size) for _ in range(rng.randrange(20))]
        state.accept(*part_of(numbers, step))
        uncommitted |= set(numbers)
        if rng.random() < 0.5:
            entries = state.commit({"p": step + 1})
            assert set(rows(entries, "writer.log")) == uncommitted - seen
            for entry in entries:
                for writer in list(entry.waits):
                    assert state.outbox is not None
                    state.outbox.acked(writer, (state.outbox.partition, entry.seq, entry.seq + 1))
            seen |= uncommitted
            uncommitted = set()
        if rng.random() < 0.1:
            state.close()  # as a kill: what was not committed is gone
            state = state_at(tmp_path / "d.db", size)
            uncommitted = set()
    state.close()
    connection = sqlite3.connect(tmp_path / "d.db")
    (written,) = connection.execute("SELECT coalesce(sum(length(numbers)), 0) FROM increments").fetchone()
    connection.close()
    assert written <= 2 * 2000 // 8 + 10 * 40  # the pages take over what the increments say


def test_a_report_is_due_by_the_clock_and_counts_since_the_last_one(tmp_path: Path) -> None:
    state = state_at(tmp_path / "d.db", report_s=10)
    assert state.tick(100.0) == 10.0
    state.accept(*part_of([1, 2, 2], 0))
    assert state.tick(105.0) == 5.0
    state.tick(110.0)
    assert rows(state.commit({"p": 1}), "writer.report") == [[2, 1, 2]]
    state.accept(*part_of([1, 7], 1))
    state.tick(120.5)
    assert rows(state.commit({"p": 2}), "writer.report") == [[1, 1, 3]]
    state.close()


def test_counts_since_the_last_report_survive_a_restart(tmp_path: Path) -> None:
    state = state_at(tmp_path / "d.db")
    state.accept(*part_of([1, 2, 2], 0))
    state.commit({"p": 1})
    state.close()
    state = state_at(tmp_path / "d.db")
    assert state._totals == Totals(2, 1, 2)
    assert state.applied() == {"p": 1}
    state.close()


def test_another_size_is_refused(tmp_path: Path) -> None:
    state_at(tmp_path / "d.db").close()
    with pytest.raises(ConfigError, match="made for numbers below 1000, now 2000"):
        state_at(tmp_path / "d.db", 2000)


def test_without_numpy_the_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "numpy", None)
    with pytest.raises(ConfigError, match=r"^distinct numbers need numpy: pip install 'numpy>=1.26'$"):
        state_at(tmp_path / "d.db")
