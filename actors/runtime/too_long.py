"""A batch that takes too long is given back in the middle of it: its records are slower than those before them were.

The worker says how long it may take (``within``), and whoever goes through its records asks between two of them
(``Pace.check``). What was made of it by then is thrown away, so nothing that can be seen depends on a clock. A single
record is never given back, however long it takes.

``TooLong`` is no ``Exception``: what rejects a record for any exception of an application's function lets it through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: The pace of late is that of so many seconds, or up to twice as many.
_RECENT_S = 0.2

_until = math.inf


class TooLong(BaseException):
    """The batch takes too long: so many of its records took so many seconds of late, in the stage that it is in."""

    def __init__(self, records: int, seconds: float) -> None:
        super().__init__(records, seconds)
        self.records = records
        self.seconds = seconds


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """What is done in here may take so long; 0: as long as it takes."""
    global _until
    _until = time.monotonic() + seconds if seconds else math.inf
    try:
        yield
    finally:
        _until = math.inf


class Pace:
    """How quickly one goes through records, of late: where they have become slow, those before say nothing."""

    __slots__ = ("_before", "_mark")

    def __init__(self) -> None:
        self._before = self._mark = (0, time.monotonic())

    def check(self, records: int, now: float) -> None:
        """So many records are done by now, and others are to come.

        Raises:
            TooLong: these will not be waited for.
        """
        if now > _until:
            raise TooLong(records - self._before[0], now - self._before[1])
        if now - self._mark[1] > _RECENT_S:
            self._before, self._mark = self._mark, (records, now)
