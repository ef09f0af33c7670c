"""The error budget over a window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.budget import ErrorWindow
from actors.runtime.sections import BudgetOptions

OPTIONS = BudgetOptions(window_s=10, max_window_error_rate=0.1, window_records=100)


def test_a_window_with_too_few_records_is_not_judged() -> None:
    window = ErrorWindow(OPTIONS)
    assert window.add(50, 50, 0.0) == ""
    assert window.add(0, 50, 1.0).startswith("50 of the last 100 records were rejected within 10 s: 50.0%, at most 10")


def test_what_is_older_than_the_window_is_forgotten() -> None:
    window = ErrorWindow(OPTIONS)
    window.add(9, 90, 0.0)
    assert window.add(0, 200, 10.5) == ""
    assert window.add(40, 200, 11.0) == ""
    assert window.add(1, 1, 12.0) != ""


def test_without_a_window_nothing_is_counted() -> None:
    assert ErrorWindow(BudgetOptions()).add(1000, 1000, 0.0) == ""


@given(st.lists(st.tuples(st.integers(0, 8), st.integers(0, 50), st.integers(0, 50)), max_size=60))
def test_the_budget_is_exceeded_exactly_when_the_window_says_so(history: list[tuple[int, int, int]]) -> None:
    window, now, entries = ErrorWindow(OPTIONS), 0, list[tuple[int, int, int]]()
    for delay, errors, good in history:
        now += delay
        entries.append((now, errors, errors + good))
        recent = [(bad, records) for at, bad, records in entries if now - at <= 10]
        bad, records = (sum(column) for column in zip(*recent, strict=True))
        assert bool(window.add(errors, errors + good, now)) == (records >= 100 and bad / records > 0.1)
