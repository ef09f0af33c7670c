"""The durable state of an aggregator shard: folded numbers and positions, committed together."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.state import FoldState, add_each, read_state


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "aggregator.1.db"


def test_numbers_of_one_key_are_added_within_and_across_commits(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.fold([(("a",), [1, 2]), (("b",), [5, 5]), (("a",), [10, 20])])
    state.commit({"p": 10})
    state.fold([(("a",), [100, 200])])
    state.commit({"p": 20})
    assert read_state(path) == {("a",): [111, 222], ("b",): [5, 5]}
    assert state.applied() == {"p": 20}
    state.close()


def test_what_is_not_committed_is_forgotten_by_a_death_together_with_its_position(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.fold([(("a",), [1])])
    state.commit({"p": 10})
    state.fold([(("a",), [1]), (("b",), [1])])
    state.close()
    again = FoldState(path, 1, add_each)
    assert again.applied() == {"p": 10}
    again.close()
    assert read_state(path) == {("a",): [1]}


def test_a_file_that_is_only_being_made_holds_nothing(path: Path) -> None:
    path.touch()
    assert read_state(path) == {}


def test_what_is_folded_is_not_seen_by_others_before_the_commit(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.fold([(("a",), [1])])
    assert read_state(path) == {}
    state.commit({})
    assert read_state(path) == {("a",): [1]}
    state.close()


def test_keys_keep_their_types(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.fold([((1, "a"), [1]), (("1", "a"), [2]), ((), [3])])
    state.commit({})
    assert read_state(path) == {(1, "a"): [1], ("1", "a"): [2], (): [3]}
    state.close()


def test_a_merge_of_the_applications_own_is_used(path: Path) -> None:
    def greatest(left: list[int], right: list[int]) -> list[int]:
        return [max(left[0], right[0])]

    state = FoldState(path, 1, greatest)
    state.fold([(("a",), [3]), (("a",), [9]), (("a",), [5])])
    state.commit({})
    state.fold([(("a",), [4])])
    state.commit({})
    assert read_state(path, greatest) == {("a",): [9]}
    state.end(True)
    assert read_state(path) == {("a",): [9]}, "it is merged"
    state.close()


def test_numbers_that_were_given_are_not_changed(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    numbers = [1]
    state.fold([(("a",), numbers), (("a",), numbers)])
    assert numbers == [1]
    state.close()


def test_a_partition_that_is_not_in_a_commit_keeps_its_position(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.commit({"p": 10})
    state.commit({"q": 5})
    assert state.applied() == {"p": 10, "q": 5}
    state.close()


def test_state_made_with_another_number_of_shards_is_refused_with_advice(path: Path) -> None:
    FoldState(path, 1, add_each).close()
    with pytest.raises(ConfigError, match=r"shards = 1, now 3: set it back to 1, or give another --state"):
        FoldState(path, 3, add_each)


def test_a_commit_that_fails_on_a_full_disk_changes_nothing_and_can_be_called_again(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    state.fold([(("a",), [1])])
    state.commit({"p": 10})
    state.fold([(("a",), [1]), (("b",), [7])])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, limits[1]))
    try:
        with pytest.raises(sqlite3.OperationalError):
            state.commit({"p": 20})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert read_state(path) == {("a",): [1]}
    assert state.applied() == {"p": 10}
    state.commit({"p": 20})
    assert read_state(path) == {("a",): [2], ("b",): [7]}
    assert state.applied() == {"p": 20}
    state.close()


def test_a_commit_waits_for_no_reader(path: Path) -> None:
    state = FoldState(path, 1, add_each)
    reader = sqlite3.connect(path)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM blocks").fetchall()
    state.fold([(("a",), [1])])
    state.commit({})
    reader.close()
    assert read_state(path) == {("a",): [1]}
    state.close()


def test_a_shard_that_never_ran_has_no_state(path: Path) -> None:
    assert read_state(path) == {}
    assert not path.exists()


def test_lists_of_different_lengths_are_never_added() -> None:
    with pytest.raises(ValueError):
        add_each([1, 2], [1])
