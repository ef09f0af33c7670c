"""Restart decisions, from a history and a time: budgets, delays, exits, pools."""

from __future__ import annotations

import os
import random
import signal

import pytest

from actors.runtime.messages import NOTHING
from actors.runtime.restart import (
    BOOT_RETRY_S,
    HEALTHY_S,
    Backoff,
    Exit,
    KnownSuspects,
    Pool,
    RestartBudget,
    exit_of,
    full_jitter,
    wants_restart,
)
from actors.runtime.sections import RestartOptions


def pool(**options: float) -> Pool:
    return Pool(RestartOptions(**options), random.Random(0))  # type: ignore[arg-type]


def test_a_budget_holds_for_so_many_restarts_and_not_for_one_more() -> None:
    budget = RestartBudget(2, 30.0)
    assert [budget.add(now) for now in (0.0, 1.0, 2.0)] == [True, True, False]


def test_restarts_older_than_the_period_no_longer_count() -> None:
    budget = RestartBudget(2, 30.0)
    assert [budget.add(now) for now in (0.0, 1.0, 30.5, 31.5)] == [True, True, True, True]


def test_a_restart_exactly_one_period_ago_still_counts() -> None:
    budget = RestartBudget(1, 30.0)
    assert [budget.add(now) for now in (0.0, 30.0)] == [True, False]


def test_a_budget_that_was_cleared_begins_anew() -> None:
    budget = RestartBudget(1, 30.0)
    budget.add(0.0)
    budget.clear()
    assert budget.add(1.0)


def test_the_first_restart_is_at_once_and_later_ones_below_a_doubling_bound() -> None:
    backoff = Backoff(0.1, 30.0, random.Random(1))
    delays = [backoff.next(0.0) for _ in range(20)]
    assert delays[0] == 0.0
    assert all(delay <= min(30.0, 0.1 * 2**number) for number, delay in enumerate(delays[1:]))
    assert max(delays) > 5.0


def test_healthy_time_makes_the_backoff_begin_anew() -> None:
    backoff = Backoff(0.1, 30.0, random.Random(1))
    for _ in range(3):
        backoff.next(0.0)
    assert backoff.next(HEALTHY_S) == 0.0


def test_after_a_long_delay_health_must_last_twice_as_long() -> None:
    backoff = Backoff(100.0, 100.0, random.Random(1))
    backoff.next(0.0)
    last = backoff.next(0.0)
    assert last > HEALTHY_S
    assert backoff.next(1.5 * last) > 0.0


def test_the_jitter_has_a_bound_after_any_number_of_failures() -> None:
    rng = random.Random(2)
    assert all(0.0 <= full_jitter(failures, 0.05, 2.0, rng) <= 2.0 for failures in (0, 1, 10, 1_000, 10**6))


@pytest.mark.parametrize(("status", "text"), [
    (0, "exit code 0"), (78, "exit code 78"), (-signal.SIGKILL, "signal SIGKILL"), (-64, "signal SIGRTMAX"),
    (-100, "signal 100"),
])
def test_an_exit_says_how_it_was(status: int, text: str) -> None:
    assert Exit(status).text() == text


def test_an_exit_is_read_from_a_real_process() -> None:
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "exit 78"], {})
    ended = exit_of(os.waitpid(pid, 0)[1])
    assert (ended.status, ended.crashed, ended.permanent) == (78, True, True)
    pid = os.posix_spawn("/bin/sh", ["sh", "-c", "kill -SEGV $$"], {})
    ended = exit_of(os.waitpid(pid, 0)[1])
    assert (ended.text(), ended.crashed, ended.permanent) == ("signal SIGSEGV", True, False)


@pytest.mark.parametrize(("restart", "status", "again"), [
    ("permanent", 0, True), ("permanent", 1, True), ("permanent", -9, True),
    ("transient", 0, False), ("transient", 1, True), ("transient", -9, True),
    ("temporary", 0, False), ("temporary", 1, False), ("temporary", -9, False),
])
def test_the_restart_type_decides_who_is_started_again(restart: str, status: int, again: bool) -> None:
    assert wants_restart(restart, Exit(status)) is again


def test_a_pool_shares_one_budget_and_each_child_has_its_own_backoff() -> None:
    shared = pool(intensity=3, backoff_s=1.0)
    assert [shared.crashed(name, 1.0, 0.0) for name in ("parser.1", "parser.2", "parser.3")] == [0.0, 0.0, 0.0]
    assert shared.crashed("parser.1", 1.0, 0.0) == "parser.1: more than 3 restarts of its pool in 30 s"


def test_a_pool_that_was_restarted_begins_anew() -> None:
    shared = pool(intensity=1)
    shared.crashed("parser.1", 1.0, 0.0)
    assert isinstance(shared.crashed("parser.1", 1.0, 0.0), str)
    shared.restarted()
    assert shared.crashed("parser.1", 1.0, 0.0) == 0.0


def test_deaths_before_ready_are_counted_apart_and_tried_again_slowly() -> None:
    booting = pool(boot_failures=3, intensity=1)
    assert booting.crashed("writer.a", None, 0.0) == BOOT_RETRY_S
    assert booting.crashed("writer.a", None, 1.0) == BOOT_RETRY_S
    assert booting.crashed("writer.a", None, 2.0) == "writer.a died 3 times before it was ready"


def test_boot_failures_of_different_children_do_not_add_up() -> None:
    booting = pool(boot_failures=2)
    assert booting.crashed("parser.1", None, 0.0) == BOOT_RETRY_S
    assert booting.crashed("parser.2", None, 0.0) == BOOT_RETRY_S


def test_having_been_ready_once_makes_boot_failures_begin_anew() -> None:
    booting = pool(boot_failures=2)
    booting.crashed("writer.a", None, 0.0)
    booting.crashed("writer.a", 5.0, 6.0)
    assert booting.crashed("writer.a", None, 7.0) == BOOT_RETRY_S


def test_a_death_just_behind_a_batch_that_is_known_is_put_down_to_it_so_often() -> None:
    suspects = KnownSuspects()
    late = ("p", 0, 100)
    assert not suspects.add(("p", 100, 200), near=(late,))
    assert all(suspects.add(("p", at, at + 100), near=(late,)) for at in range(200, 2200, 100))
    assert not suspects.add(("p", 5000, 5100), near=(late,)), "it is not the fault of one batch for ever"
    assert suspects.add(("p", 5000, 5050))


def test_a_death_with_nothing_in_hand_is_nobodys() -> None:
    suspects = KnownSuspects()
    assert not suspects.add(NOTHING)
    assert not suspects.add(NOTHING)
