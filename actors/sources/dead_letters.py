"""The source of a retry: the letters that the dead-letter store has planned for it, each a chunk of its own.

    planned (start, end, letter) ──▶ chunk "dead letter 17": the bytes that were rejected, with their line and offset

All letters of a retry are one unit. Their ranges were fixed when the retry was planned, so a retry that is taken up
again, by a new reader or by another run, goes on where the ledger says, in the partition that it began in, and no
consumer applies anything twice. One chunk for each letter, because a refusal by a sink names its batch and no record;
only a letter of several lines that killed its workers goes on in the ranges that it was split in.

A letter that was purged in the meantime leaves an empty chunk: ranges have no holes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

from actors.runtime.database import open_for_reading
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Unit

_NEXT = """
SELECT p.start, p."end", p.letter, p.piece, coalesce(p.raw, l.raw), l."offset", l.line
FROM planned p LEFT JOIN letters l ON l.id = p.letter
WHERE p.retry = ?1 AND p.start = (SELECT max(start) FROM planned WHERE retry = ?1 AND start <= ?2)
"""


class PlannedLetters(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The letters of one retry; made by ``thresher dlq retry``, not by people.

    Attributes:
        path: the dead-letter store.
        retry: number of the retry.
        key: what the ledger knows the retry by.
        total: positions that were planned.
    """

    guarantee: ClassVar[str] = "resumes at the last committed position; a letter stays open until all of it is durable"

    path: str
    retry: int
    key: str
    total: int

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> LettersSource:
        """Open the store."""
        return LettersSource(self, ledger)

    def describe(self) -> str:
        """Say where this reads."""
        return f"dead letters, retry {self.retry}"


class LettersSource(Source):
    """The opened source.

    Args:
        options: which letters.
        ledger: how far an earlier reader came.
    """

    def __init__(self, options: PlannedLetters, ledger: UnitLedger) -> None:
        self._options = options
        self._ledger = ledger
        self._connection: sqlite3.Connection | None = None
        self._unit: Unit | None = None
        self._at = 0
        #: Ends of the ranges that were on their way, by start: a letter that was split never travels whole again.
        self._recorded: dict[int, int] = {}
        self.exhausted = False

    def read(self) -> Chunk | None:
        """Return the next letter, or None when all are read.

        Raises:
            sqlite3.Error: the store cannot be read.
        """
        unit = self._unit or self._begin()
        if self.exhausted:
            return None
        if self._connection is None:
            self._connection = open_for_reading(Path(self._options.path))
        at = self._at
        start, end, letter, piece, raw, offset, line = self._connection.execute(
            _NEXT, (self._options.retry, at)).fetchone()
        data = b"" if raw is None else raw if piece else raw + b"\n"
        before = data[:at - start]
        end = self._at = self._recorded.get(at, end)
        self.exhausted = end >= self._options.total
        return Chunk(
            unit.id, f"dead letter {letter}", unit.base + at, unit.base + end, (offset or 0) + at - start,
            (line or 0) + before.count(b"\n"), data[at - start:end - start])

    def finished(self, unit: Unit) -> None:
        """Nothing to put away: the ledger knows, and the store asks it."""

    def stop(self) -> None:
        """Read no further: the other letters stay open."""
        self.exhausted = True

    def progress(self) -> tuple[int, int]:
        """Bytes read, and in all."""
        return self._at, self._options.total

    def close(self) -> None:
        """Close the store."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _begin(self) -> Unit:
        unit = self._unit = self._ledger.begin(self._options.describe(), self._options.key)
        self._ledger.end(unit, unit.base + self._options.total)  # known beforehand
        self._at = unit.low - unit.base
        self._recorded = {start - unit.base: end - unit.base for start, end in self._ledger.boundaries(unit)}
        self.exhausted = self._at >= self._options.total
        return unit
