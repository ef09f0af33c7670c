"""Restart budgets and backoff against any history of deaths."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.restart import HEALTHY_S, Backoff, Pool, RestartBudget, full_jitter
from actors.runtime.sections import RestartOptions

#: Times of deaths, in order, in halves of a second: sums of them are exact.
TIMES = st.lists(st.integers(0, 200), max_size=60).map(lambda halves: [half / 2 for half in sorted(halves)])
INTENSITIES = st.integers(1, 8)
PERIODS = st.integers(1, 120).map(lambda halves: halves / 2)
SEEDS = st.integers(0, 2**32)


def recent(times: list[float], index: int, period_s: float) -> int:
    """How many of the deaths up to this one lie within the period before it, itself included."""
    return sum(times[index] - time <= period_s for time in times[:index + 1])


@given(TIMES, INTENSITIES, PERIODS)
def test_a_budget_is_spent_exactly_when_more_than_its_intensity_lie_within_the_period(
    times: list[float], intensity: int, period_s: float
) -> None:
    budget = RestartBudget(intensity, period_s)
    for index, time in enumerate(times):
        assert budget.add(time) == (recent(times, index, period_s) <= intensity)


@given(TIMES, INTENSITIES, PERIODS, st.integers(-(10**6), 10**6))
def test_only_differences_of_times_matter(
    times: list[float], intensity: int, period_s: float, shift: int
) -> None:
    budget, shifted = RestartBudget(intensity, period_s), RestartBudget(intensity, period_s)
    assert [budget.add(time) for time in times] == [shifted.add(time + shift) for time in times]


@given(TIMES, INTENSITIES, PERIODS)
def test_a_larger_budget_never_gives_up_earlier(times: list[float], intensity: int, period_s: float) -> None:
    small, large = RestartBudget(intensity, period_s), RestartBudget(intensity + 1, period_s)
    for time in times:
        held = small.add(time)
        assert large.add(time) or not held


@given(st.integers(0, 10_000), st.floats(0, 100), st.floats(0, 100), SEEDS)
def test_a_delay_is_never_negative_and_never_beyond_its_bounds(
    failures: int, base_s: float, max_s: float, seed: int
) -> None:
    delay = full_jitter(failures, base_s, max_s, random.Random(seed))
    assert 0.0 <= delay <= max_s
    assert delay <= base_s * 2.0 ** min(failures, 32)


@given(st.lists(st.floats(0, 100), min_size=1, max_size=40), SEEDS)
def test_the_first_restart_and_the_one_after_long_health_are_at_once(healthy: list[float], seed: int) -> None:
    backoff = Backoff(0.1, 30.0, random.Random(seed))
    last = 0.0
    for number, healthy_s in enumerate(healthy):
        delay = backoff.next(healthy_s)
        if number == 0 or healthy_s >= max(HEALTHY_S, 2 * last):
            assert delay == 0.0
        assert delay <= 30.0
        last = delay


DEATHS = st.lists(st.tuples(
    st.integers(0, 60),  # halves of a second since the one before
    st.sampled_from(["parser.1", "parser.2", "parser.3"]),
    st.one_of(st.none(), st.integers(0, 60).map(float))), max_size=40)


@given(DEATHS, INTENSITIES, st.integers(1, 4), SEEDS)
def test_a_pool_gives_up_for_its_intensity_or_for_a_child_that_never_gets_ready_and_for_nothing_else(
    deaths: list[tuple[int, str, float | None]], intensity: int, boot_failures: int, seed: int
) -> None:
    options = RestartOptions(intensity=intensity, period_s=30.0, boot_failures=boot_failures)
    pool = Pool(options, random.Random(seed))
    now, counted, in_a_row = 0.0, list[float](), dict[str, int]()
    for halves, name, ready_for in deaths:
        now += halves / 2
        decision = pool.crashed(name, ready_for, now)
        if ready_for is None:
            in_a_row[name] = in_a_row.get(name, 0) + 1
            expected = in_a_row[name] >= boot_failures
        else:
            in_a_row[name] = 0
            counted.append(now)
            expected = recent(counted, len(counted) - 1, 30.0) > intensity
        assert isinstance(decision, str) is expected
        if isinstance(decision, str):
            assert name in decision
            pool.restarted()
            counted, in_a_row = [], {}
        else:
            assert 0.0 <= decision <= options.max_backoff_s
