"""Positions as records of a compacted topic: who reads all of them, or the last of each key, knows what was written."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.kafka import applied
from actors.kafka.applied import Applied, Row, owner_of
from actors.runtime.errors import ConfigError
from actors.runtime.values import Payload, Refusal

OWNER = owner_of("0a1b", "words", "numbers")
_STEPS = st.lists(st.tuples(
    st.sampled_from(["run/1", "run/2", "ü \"x\"", "a b"]), st.integers(1, 50), st.lists(st.integers(0, 9), max_size=2),
), max_size=30)


def written(steps: list[tuple[str, int, list[int]]]) -> tuple[Applied, list[Row]]:
    """What a sink knows, and the records that it has made, one batch in each transaction."""
    known, rows, low = Applied(OWNER), list[Row](), dict[str, int]()
    for partition, size, items in steps:
        start = low.get(partition, 0)
        low[partition] = start + size
        refusals = [Refusal(0, item, "too_large", "why", b"raw") for item in items]
        rows += known.rows_of([Payload(partition, start, start + size, 10, b"")],
                              {(partition, start): refusals} if refusals else {})
    return known, rows


def compacted(rows: list[Row]) -> list[Row]:
    """The last of each key, where it stood."""
    last = {key: at for at, (key, _) in enumerate(rows)}
    return [row for at, row in enumerate(rows) if last[row[0]] == at]


@given(_STEPS)
def test_what_is_read_back_is_what_was_written_compacted_or_not(steps: list[tuple[str, int, list[int]]]) -> None:
    known, rows = written(steps)
    for found in (rows, compacted(rows)):
        again = Applied(OWNER)
        for row in found:
            again.take(*row)
        assert (again.positions, again.refused) == (known.positions, known.refused)


def test_a_batch_is_there_when_it_ends_at_or_below_the_position_of_its_partition() -> None:
    known, _ = written([("run/1", 5, []), ("run/1", 5, [])])
    assert known.has(Payload("run/1", 5, 10, 1, b""))
    assert not known.has(Payload("run/1", 10, 11, 1, b""))
    assert not known.has(Payload("run/2", 0, 1, 1, b""))


def test_positions_of_others_are_passed_over() -> None:
    known = Applied(OWNER)
    for owner in (owner_of("0a1b", "words", "others"), owner_of("0a1b", "word", "numbers"), "x"):
        for row in Applied(owner).rows_of([Payload("run/1", 0, 9, 1, b"")], {}):
            known.take(*row)
        known.take(*Applied(owner).row_of_holder("another"))
    assert (known.positions, known.holder) == ({}, "")


def test_so_many_partitions_are_kept_and_those_that_changed_longest_ago_are_taken_away(
    monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(applied, "MOST", 2)
    known, rows = written([("a", 1, [1]), ("b", 1, [1]), ("a", 1, []), ("c", 1, [1])])
    assert list(known.positions) == ["a", "c"]
    assert list(known.refused) == [("b", 0), ("c", 0)]
    assert {key: value for key, value in rows if value is None} == {
        json.dumps(["applied", OWNER, "b"]): None, json.dumps(["refused", OWNER, "a", 0]): None}


@pytest.mark.parametrize(("key", "value"), [("", "1"), ("x", "1"), ("[]", "1"), ("1", "1"), (
    json.dumps(["applied", OWNER]), "1"), (json.dumps(["applied", OWNER, "p"]), "x")])
def test_what_is_no_position_is_refused(key: str, value: str) -> None:
    with pytest.raises(ConfigError, match="is it a topic of something else"):
        Applied(OWNER).take(key, value)
