"""A clock that stands still until a test moves it."""

from __future__ import annotations


class FakeClock:
    """Monotonic and wall time in seconds; both move together, and only by ``advance``.

    Args:
        monotonic: where the monotonic clock begins.
        wall: where the wall clock begins, in seconds since 1970; by default on 2020-01-01 UTC.

    Example::

        clock = FakeClock(monotonic=10.0)
        assert clock.advance(2.5) == 12.5
    """

    def __init__(self, monotonic: float = 0.0, wall: float = 1_577_836_800.0) -> None:
        self._monotonic = monotonic
        self._wall = wall

    def monotonic(self) -> float:
        """What ``time.monotonic`` would say."""
        return self._monotonic

    def wall(self) -> float:
        """What ``time.time`` would say."""
        return self._wall

    def advance(self, seconds: float) -> float:
        """Let time pass; return the monotonic time then.

        Raises:
            ValueError: time does not run backwards.
        """
        if not seconds >= 0:
            raise ValueError(f"advance by {seconds!r} s: expected 0 or more, time does not run backwards")
        self._monotonic += seconds
        self._wall += seconds
        return self._monotonic

    def __repr__(self) -> str:
        return f"FakeClock(monotonic={self._monotonic:g}, wall={self._wall:g})"
