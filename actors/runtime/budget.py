"""The error budget over a window of time: for input without an end, and for files that go wrong half-way. Pure."""

from __future__ import annotations

from collections import deque

from actors.runtime.sections import BudgetOptions


class ErrorWindow:
    """Errors and records of the last ``window_s`` seconds.

    Args:
        options: the budget.
    """

    def __init__(self, options: BudgetOptions) -> None:
        self._options = options
        self._entries: deque[tuple[float, int, int]] = deque()
        self._errors = self._records = 0

    def add(self, errors: int, records: int, now: float) -> str:
        """Count what was finished; return why the budget is exceeded, or nothing."""
        if not self._options.window_s:
            return ""
        self._entries.append((now, errors, records))
        self._errors += errors
        self._records += records
        while now - self._entries[0][0] > self._options.window_s:
            _, old_errors, old_records = self._entries.popleft()
            self._errors -= old_errors
            self._records -= old_records
        rate = self._errors / self._records if self._records else 0.0
        if self._records < self._options.window_records or rate <= self._options.max_window_error_rate:
            return ""
        return (f"{self._errors} of the last {self._records} records were rejected within "
                f"{self._options.window_s:g} s: {rate:.1%}, at most {self._options.max_window_error_rate:.1%} "
                "(budget.max_window_error_rate)")
