"""What a killed broker has marked of a transaction, in some partitions or none: all of it is there once, or nothing."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("confluent_kafka")

from hypothesis import given
from hypothesis import strategies as st

from actors.kafka.applied import Applied
from actors.sinks.kafka_halves import Halves, Kept, is_of
from actors.sinks.kafka_messages import RECORD_ID
from actors.topics.record_ids import place_of

OWNER = "id/out topic"


def message(partition: int, name: str) -> Kept:
    return Kept(partition, b"v", b"k", 1, (("h", b"x"), (RECORD_ID, name.encode())))


@st.composite
def transactions(draw: st.DrawFn) -> tuple[dict[str, tuple[int, int]], list[Kept], frozenset[int], bool, bool]:
    """By partition of the input where a group begins and ends; its messages in three partitions of the topic; those of
    them that are marked; whether its positions are; whether the broker has answered."""
    names = draw(st.lists(st.sampled_from(["run/1", "run/2", "a:b"]), min_size=1, unique=True))
    ranges = {name: (start := draw(st.integers(0, 3)), start + draw(st.integers(1, 4))) for name in names}
    messages = [message(draw(st.integers(0, 2)), f"{name}:{place}:{index}" if draw(st.booleans())
                        else f"{name}:{place}-{place + 1}:{index}")
                for name, (start, end) in ranges.items() for place in range(start, end)
                for index in range(draw(st.integers(0, 2)))]
    return ranges, messages, frozenset(draw(st.sets(st.integers(0, 2)))), draw(st.booleans()), draw(st.booleans())


@given(transactions())
def test_of_a_transaction_all_is_there_once_or_nothing_and_all_of_what_was_answered_for(
    given_: tuple[dict[str, tuple[int, int]], list[Kept], frozenset[int], bool, bool]
) -> None:
    ranges, messages, marked, is_marked, is_answered = given_
    before = {name: start for name, (start, _) in ranges.items() if start}
    after = {name: end for name, (_, end) in ranges.items()}
    committed = [one for one in messages if one.partition in marked]
    left_open = [one for one in messages if one.partition not in marked]
    rows: list[tuple[str, str | None]] = [
        (json.dumps(["applied", OWNER, name]), json.dumps(end)) for name, end in after.items()]
    halves = Halves(Applied(OWNER, {**before, **(after if is_marked else {})}), after if is_answered else before,
                    [] if is_marked else rows, left_open)
    again_rows, again, _ = halves.left(committed)
    positions = Applied(OWNER, dict(halves.applied.positions))
    for row in again_rows:
        positions.take(*row)
    if is_marked or is_answered or committed:
        assert positions.positions == {**before, **after}
        assert sorted([*committed, *again], key=repr) == sorted(messages, key=repr)
    else:
        assert (again_rows, again, positions.positions) == ([], [], before)


def test_who_holds_the_sink_is_written_again_where_this_process_has_said_so() -> None:
    row = json.dumps(["holder", OWNER]), json.dumps("mine")
    assert Halves(Applied(OWNER), {}, [row], token="mine").left() == ([row], [], {})
    assert Halves(Applied(OWNER), {}, [row], token="another").left() == ([], [], {})
    assert Halves(Applied(OWNER), {}, [row]).left() == ([], [], {})


def test_what_was_refused_of_a_batch_is_written_again_with_its_position() -> None:
    rows: list[tuple[str, str | None]] = [
        (json.dumps(["applied", OWNER, "run/1"]), "2"), (json.dumps(["refused", OWNER, "run/1", 1]), "[]"),
        (json.dumps(["refused", OWNER, "run/1", 7]), "[]"), (json.dumps(["applied", OWNER, "old"]), None)]
    assert Halves(Applied(OWNER), {"run/1": 2}, rows).left() == (rows[:2], [], {"run/1": 2})


@pytest.mark.parametrize(("key", "is_ours"), [
    (json.dumps(["applied", OWNER, "run/1"]), True), (json.dumps(["applied", "other", "run/1"]), False),
    ("no json", False), ("[]", False), ("7", False)])
def test_a_record_of_positions_is_of_the_sink_that_it_names(key: str, is_ours: bool) -> None:
    assert is_of((key, "1"), OWNER) is is_ours


@pytest.mark.parametrize(("name", "place"), [
    ("run/1:4:1", ("run/1", 4, 5)), ("a:b:4-9:0", ("a:b", 4, 9)), ("", None), ("x", None), ("x:y", None),
    ("run:x:0", None), (":4:0", None)])
def test_the_place_of_a_record_is_read_from_its_id(name: str, place: object) -> None:
    assert place_of(name) == place
