"""How long the segments of rows are that go to a server together, by what was refused of late. Pure."""

from __future__ import annotations

import math

import msgspec

from actors.sinks.sql_rows import CHUNK_ROWS

#: Rows after which what was seen before counts half.
_SEEN_ROWS = 4000
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
    def are_some(self) -> bool:
        """Whether it is likely that some are refused."""
        return self.refused >= 1.0

    @property
    def segment_rows(self) -> int:
        """Where a savepoint more costs what it saves: in a segment that fails half of it is sent again."""
        if not self.refused:
            return CHUNK_ROWS
        return max(1, min(CHUNK_ROWS, round(math.sqrt(2 * _SAVEPOINT_ROWS * self.rows / self.refused))))
