"""How far the records of a partition are believed, from the newest of their times."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.newest import NEVER, Newest
from actors.runtime.sections import WindowOptions

YEAR = 365 * 86_400_000
RULE = Newest(WindowOptions(disorder_s=0.005, jump_s=0.010))
TIMES = st.lists(st.integers(0, 80), max_size=14)


def believed(*times: int) -> int:
    return RULE.believed(RULE.of(times))


def test_one_wrong_clock_and_two_and_three_are_not_believed_and_four_are() -> None:
    usual = [1, 2, 3, 4, 9, 8]
    assert believed(*usual) == 9
    for wrong in range(1, 4):
        assert believed(*usual, *[YEAR + at for at in range(wrong)]) == 9
    assert believed(*usual, *[YEAR + at for at in range(4)]) == YEAR + 3


def test_a_log_that_goes_on_after_a_while_goes_on_with_its_fourth_record() -> None:
    assert believed(1, 2, 3, 4, 1000, 1001, 1002) == 4
    assert believed(1, 2, 3, 4, 1000, 1001, 1002, 1003) == 1003


def test_steps_of_a_jump_at_most_lead_on_and_the_disorder_is_no_jump() -> None:
    assert believed(0, 0, 0, 10, 20, 30) == 30
    assert believed(0, 0, 0, 0, 10, 20, 31) == 20
    wide = Newest(WindowOptions(disorder_s=0.020, jump_s=0.010))
    assert wide.believed(wide.of([0, 0, 0, 0, 20])) == 20


def test_of_too_few_records_nothing_is_believed_and_the_oldest_judges() -> None:
    assert [believed(*range(number)) for number in range(5)] == [NEVER, NEVER, NEVER, NEVER, 3]
    assert [RULE.judging(RULE.of(times)) for times in ([], [YEAR], [YEAR, 1], [YEAR, 1, 7])] == [NEVER, YEAR, 1, 7]


def test_without_confirmation_the_newest_is_believed() -> None:
    plain = Newest(WindowOptions(jump_confirm=0))
    assert plain.of([3, YEAR, 1]) == (YEAR,)
    assert plain.believed(plain.of([3, YEAR, 1])) == plain.judging((YEAR,)) == YEAR


@given(TIMES, st.randoms(use_true_random=False), st.integers(0, 4))
def test_it_does_not_depend_on_the_order_nor_on_how_it_is_cut(
    times: list[int], rng: random.Random, confirm: int
) -> None:
    rule = Newest(WindowOptions(disorder_s=0.005, jump_s=0.010, jump_confirm=confirm))
    exact = tuple(sorted(times, reverse=True)[:confirm + 1])
    found: tuple[int, ...] = ()
    rng.shuffle(times)
    at = 0
    while at < len(times):
        end = rng.randint(at + 1, len(times))
        found = rule.both(found, rule.of(times[at:end]))
        at = end
    assert (rule.believed(found), rule.judging(found)) == (rule.believed(exact), rule.judging(exact))


@given(TIMES, TIMES, st.integers(0, 4))
def test_more_records_are_never_believed_less_far_and_nothing_is_judged_by_more_than_it_may(
    before: list[int], batch: list[int], confirm: int
) -> None:
    rule = Newest(WindowOptions(disorder_s=0.005, jump_s=0.010, jump_confirm=confirm))
    most = rule.may_reach(rule.of(before), rule.of(batch))
    for end in range(len(batch) + 1):
        both = rule.of(before + batch[:end])
        assert rule.believed(both) >= max(rule.believed(rule.of(batch[:end])), rule.believed(rule.of(before)))
        assert rule.judging(both) <= max(most, max(batch[:end], default=NEVER))


@pytest.mark.parametrize(("oldest", "newest", "number", "found"), [
    (5, 15, 4, (15, 5, 5, 5)), (5, 16, 100, ()), (5, 6, 3, ())])
def test_of_a_range_that_one_step_spans_its_ends_are_enough(
    oldest: int, newest: int, number: int, found: tuple[int, ...]
) -> None:
    assert RULE.of_range(oldest, newest, number) == found
