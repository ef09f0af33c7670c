"""Which rows go to a server together, by what was refused of late. Pure."""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from actors.sinks.sql_rows import CHUNK_ROWS, Refused, Row

#: Rows after which what was seen before counts half.
_SEEN_ROWS = 4000
#: Of so many rows one is refused: from there on each has a savepoint.
_MANY = 1 / 12
#: What a savepoint costs, in rows: of a segment that fails half is sent again.
_SAVEPOINT_ROWS = 2.0


class Seen(msgspec.Struct):
    """How many rows were refused of late, of how many."""

    rows: float = 0.0
    refused: float = 0.0

    def learn(self, rows: int, refused: int) -> None:
        """So many were seen."""
        self.rows += rows
        self.refused += refused
        if self.rows > _SEEN_ROWS:
            self.rows, self.refused = self.rows / 2, self.refused / 2

    @property
    def are_many(self) -> bool:
        """So many that each row is to have a savepoint."""
        return self.refused > self.rows * _MANY

    @property
    def segment_rows(self) -> int:
        """Where a savepoint more costs what it saves: in a segment that fails half of it is sent again."""
        if not self.refused:
            return CHUNK_ROWS
        return max(1, min(CHUNK_ROWS, round(math.sqrt(2 * _SAVEPOINT_ROWS * self.rows / self.refused))))


class Work:
    """Which rows are next, and which were refused.

    Args:
        rows: all of them.
        most: with so many refusals it is over, and spoilt.
    """

    def __init__(self, rows: Sequence[Row], most: int = 0) -> None:
        self.rows = rows
        self.refused: Refused = {}
        self._most = most
        self._at = 0
        self._again = range(0)

    @property
    def is_spoilt(self) -> bool:
        """Whether as many were refused as may be."""
        return 0 < self._most <= len(self.refused)

    @property
    def is_over(self) -> bool:
        """Whether nothing is left to send."""
        return self.is_spoilt or (not self._again and self._at >= len(self.rows))

    def take(self, most: int) -> range:
        """The next segment."""
        if self._again:
            part, self._again = self._again, range(0)
            return part
        part = range(self._at, min(self._at + most, len(self.rows)))
        self._at = part.stop
        return part

    def refuse(self, at: int, why: str) -> None:
        """This one is refused."""
        self.refused[at] = why

    def go_back(self, start: int, at: int) -> None:
        """Of the segment from ``start`` on all before ``at`` is to be sent once more, then what is behind it."""
        self._again = range(start, at)
        self._at = at + 1
