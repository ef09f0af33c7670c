"""When input was seen first, to the hour: a fact in the ledger, for a ``parse`` that has to know about when a line was.

    chunk ──Dates──▶ chunk with ``seen_ms`` ──▶ batch ──▶ parse(…, unit=InputUnit(number, name, seen_ms))

A line that says no year is dated by when it was seen. Were that a clock's word in the worker, a batch that is delivered
once more an hour later could say something else. So the reader decides it, before the batch goes out, and it is durable
with the range: what is read again, by whichever reader, has the date that it had. A unit that grows for years is not
dated by its beginning: another date is kept whenever an hour has passed, with the position from which on it holds.

Pure, but for the clock that it is given. Only pipelines that ask are dated: nobody else pays for it.
"""

from __future__ import annotations

import time
from bisect import bisect_right
from collections.abc import Callable
from typing import Protocol

import msgspec

from actors.runtime.values import Chunk

#: A date holds for so long.
HOLDS_MS = 3_600_000
#: So many dates of a unit are kept: what is open of it lies within the last few of them.
_MOST = 1024

_dates = msgspec.json.Decoder(list[tuple[int, int]])


class Facts(Protocol):
    """What is asked of the ledger."""

    def fact(self, name: str) -> str | None:
        """What was kept under this name."""
        ...

    def keep(self, name: str, value: str) -> None:
        """Keep it; durable before the next batch goes out."""
        ...


class Dates:
    """The dates of a reader's input.

    Args:
        facts: the ledger.
        clock: ms since 1970.
    """

    def __init__(self, facts: Facts, clock: Callable[[], int] = lambda: time.time_ns() // 1_000_000) -> None:
        self._facts = facts
        self._clock = clock
        self._known: dict[int, list[tuple[int, int]]] = {}

    def __call__(self, chunk: Chunk) -> Chunk:
        """Return the chunk with its date."""
        if chunk.unit not in self._known:
            self._known = {chunk.unit: self._kept(chunk.unit)}  # units come one behind the other, mostly
        dates, now = self._known[chunk.unit], self._clock()
        at = bisect_right(dates, (chunk.start, 1 << 62)) - 1
        is_new = at == len(dates) - 1
        if at < 0 or (is_new and now - dates[at][1] >= HOLDS_MS and dates[at][0] < chunk.start):
            dates.insert(at + 1, (chunk.start, now))
            at += 1
            del dates[:-_MOST]
            at = min(at, len(dates) - 1)
            self._facts.keep(_name(chunk.unit), msgspec.json.encode(dates).decode())
        return msgspec.structs.replace(chunk, seen_ms=dates[at][1])

    def _kept(self, unit: int) -> list[tuple[int, int]]:
        kept = self._facts.fact(_name(unit))
        return [] if kept is None else _dates.decode(kept)


def _name(unit: int) -> str:
    return f"seen {unit}"
