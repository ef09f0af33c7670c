"""A batch that takes too long is given back in the middle of it: its records are slower than those before them were.

The worker says how long it may take (``within``), and whoever goes through its records asks between two of them
(``check``). What was made of it by then is thrown away, so nothing that can be seen depends on a clock. A single record
is never given back, however long it takes.

``TooLong`` is no ``Exception``: what rejects a record for any exception of an application's function lets it through.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager

_until = math.inf


class TooLong(BaseException):
    """The batch takes too long: so many of its records have taken so many seconds, in the stage that it was in."""

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


def check(records: int, since: float, now: float) -> None:
    """So many records took from then till now, and others are to come.

    Raises:
        TooLong: these will not be waited for.
    """
    if now > _until:
        raise TooLong(records, now - since)
