"""What a program makes of the wrong type ends the run in a sentence; what is wrong in the data is a dead letter."""

from __future__ import annotations

from typing import Any

import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.fitness import ENOUGH, FOLD, KEY, TIME, Fitness, Unfit
from actors.runtime.folding import Folding
from actors.runtime.pipeline import Fold
from actors.sinks.lmdb import Lmdb


def never(place: str) -> bool:
    return False


def test_a_hundred_of_one_type_of_which_none_was_ever_taken_are_the_program() -> None:
    fitness = Fitness(never)
    for number in range(ENOUGH):
        fitness.judge()
        fitness.refused("sinks.out", "int", f"encode returns int {number}")
    with pytest.raises(ConfigError, match=r"^sinks\.out: encode returns int 0: none of the first 100 that were made"):
        fitness.judge()


def test_where_one_was_taken_before_or_after_it_is_data() -> None:
    before, after, earlier = Fitness(never), Fitness(never), Fitness(lambda place: place == "sinks.out")
    before.took("sinks.out")
    for fitness in (before, after, earlier):
        for _ in range(3 * ENOUGH):
            fitness.refused("sinks.out", "int", "so")
    after.took("sinks.out")
    for fitness in (before, after, earlier):
        fitness.judge()


def test_what_time_and_key_of_windows_return_is_told_when_a_batch_is_made() -> None:
    fitness = Fitness(never)
    fitness.judge([Unfit(TIME, "noon", "time", "got 'noon'")] * ENOUGH, [TIME])
    few = [Unfit(KEY, number, "key", f"got {number}") for number in range(ENOUGH - 1)]
    fitness.judge(few)
    with pytest.raises(ConfigError, match=r"^windows\.key: got 0: none of the first 100 that were made could be taken"):
        fitness.judge(few[:1])


def test_where_they_are_of_several_types_it_is_data() -> None:
    fitness = Fitness(never)
    for number in range(3 * ENOUGH):
        fitness.refused(FOLD, "int" if number % 7 else "str", "so")
    fitness.judge()


@pytest.mark.parametrize(("returned", "text"), [
    ([1], "partials returns list [1], and it takes {key: numbers}, as in {('some kind', 'some word'): [1]}"),
    ({"ab": [1]}, "partials returns str 'ab' as a key, and keys are tuples of kind, word, as in ('some kind', "),
    ({("a",): [1]}, "partials returns tuple ('a',) as a key, and keys are tuples of kind, word, as in"),
    ({("a", "b"): 1}, "partials returns int 1 as the numbers of a key, and it takes a list, as in [1]"),
])
def test_what_are_no_partial_aggregates_is_said(returned: object, text: str) -> None:
    def partials(values: object) -> Any:
        return returned

    folding = Folding(Fold(partials=partials, keys=("kind", "word"), fields=("n",)), None, "")
    with pytest.raises(Unfit) as error:
        folding([1], [], 0)
    assert error.value.detail.startswith(text)


@pytest.mark.parametrize("item", [
    3, "ab", (b"key",), ("key", b"value"), (b"key", "dmFsdWU="), (b"a", b"b", b"c"), b"ab", {b"key": b"value"}])
def test_what_is_no_pair_of_bytes_is_refused_where_it_is_packed(item: object) -> None:
    with pytest.raises(TypeError, match=r"it takes \(key, value\), bytes both, or \(key, None\)"):
        Lmdb().pack([(b"good", b"one"), item])  # type: ignore[list-item]


def test_bytes_of_any_kind_are_pairs() -> None:
    items = [(b"a", b"1"), (b"b", None), (bytearray(b"c"), memoryview(b"2"))]
    assert Lmdb().unpack(Lmdb().pack(items)) == [(b"a", b"1"), (b"b", None), (b"c", b"2")]  # type: ignore[arg-type]
