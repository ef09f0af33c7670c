"""What a key costs a shard does not grow with the number of keys, nor does its memory; by count, not by the clock."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.aggregator import Aggregator
from actors.runtime import runs
from actors.runtime import state as states
from actors.runtime.messages import Part
from actors.runtime.state import FoldState, Key, Numbers, add_each, read_state, rows_of_state
from tests.growth import Work, watched
from tests.outbox import Outbox


def partials(number: int, keys: int) -> list[tuple[Key, Numbers]]:
    """Keys that come once, in no order: the neighbours in the table are far apart in time."""
    return [((f"user-{(number * keys + at) * 7919 % 1_000_003:07d}",), [1, number]) for at in range(keys)]


def folded(path: Path, commits: int, keys: int) -> Work:
    with watched() as work:
        state = FoldState(path, 1, add_each)
        for number in range(commits):
            state.fold(partials(number, keys))
            state.commit({"p": number + 1})
        state.end(True)
        state.close()
    return work


def test_a_commit_costs_a_statement_for_what_has_come_and_none_for_each_key(tmp_path: Path) -> None:
    small, large = folded(tmp_path / "small.db", 20, 10), folded(tmp_path / "large.db", 20, 1000)
    per_key = (large.statements - small.statements) / (20 * 990)
    assert per_key < 1.1, "each key is written once, and never looked up"


def test_what_is_in_memory_is_bounded_and_what_was_folded_is_all_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(states, "MOST_KEYS", 500)
    state = FoldState(tmp_path / "a.db", 1, add_each)
    expected: dict[Key, Numbers] = {}
    for number in range(40):
        some = partials(number % 25, 100)
        states.merge_into(expected, some, add_each)
        state.fold(some)
        state.commit({"p": number + 1})
        assert len(state._fresh) < 500
    state.close()  # as a kill does: increments are left
    assert read_state(tmp_path / "a.db") == expected
    again = FoldState(tmp_path / "a.db", 1, add_each)
    assert (again.applied(), len(again._fresh) < 500) == ({"p": 40}, True)
    again.end(True)
    again.close()
    assert read_state(tmp_path / "a.db") == expected
    assert sum(1 for _ in rows_of_state(tmp_path / "a.db")) == len(expected)


def test_a_merge_that_raises_is_no_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "FAN", 2)
    state = FoldState(tmp_path / "a.db", 1, add_each)
    state.fold([(("a",), [1])])
    state.commit({})
    state.end(True)
    state.fold([(("a",), [1, 2])])
    with pytest.raises(ValueError, match="zip"):
        state.commit({"p": 1})
    assert state.applied() == {}
    state.close()


def test_no_more_is_folded_than_fits_until_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(states, "MOST_KEYS", 150)
    state = FoldState(tmp_path / "a.db", 1, add_each)
    shard = Aggregator(Outbox("aggregator.1"), 0, state)
    for number in range(10):
        part = Part("p", number, number + 1, 1, 0, 1, {}, "a.log")
        shard.message("parser.1#1", part, [msgspec.msgpack.encode(partials(number, 100))])
    at = 0
    while shard.work(0.0) == 0.0:
        before, at = at, state.applied()["p"]
        assert at - before <= 2, "two parts are more than 150 keys"
    assert state.applied() == {"p": 10}
    shard.close()
    assert len(read_state(tmp_path / "a.db")) == 1000


def test_what_a_death_has_left_in_increments_is_merged_before_more_is_folded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = FoldState(tmp_path / "a.db", 1, add_each)
    before.fold(partials(0, 400))
    before.commit({"p": 1})
    before.close()
    monkeypatch.setattr(states, "MOST_KEYS", 150)
    state = FoldState(tmp_path / "a.db", 1, add_each)
    shard = Aggregator(Outbox("aggregator.1"), 0, state)
    while shard.work(0.0) == 0.0:
        pass
    assert not state._fresh
    shard.close()
    assert len(read_state(tmp_path / "a.db")) == 400


def test_a_shard_that_is_stopped_leaves_nothing_that_who_reads_it_has_to_merge_in_memory(tmp_path: Path) -> None:
    shard = Aggregator(Outbox("aggregator.1"), 0, FoldState(tmp_path / "a.db", 1, add_each))
    for number in range(3):
        part = Part("p", number, number + 1, 1, 0, 1, {}, "a.log")
        shard.message("parser.1#1", part, [msgspec.msgpack.encode(partials(number, 100))])
        while shard.work(0.0) == 0.0:
            pass
    shard.close()
    with closing(sqlite3.connect(tmp_path / "a.db")) as connection:
        assert connection.execute("SELECT count(*) FROM increments").fetchone() == (0,)
    assert len(read_state(tmp_path / "a.db")) == 300
