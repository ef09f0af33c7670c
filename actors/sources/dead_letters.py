"""The source of a retry: the letters that the dead-letter store has planned for it, each a chunk of its own.

    planned (start, end, letter) ──▶ chunk "dead letter 17": the bytes that were rejected, with their line and offset
                                     of a record: the record as it came, with its key, headers and time

All letters of a retry are one unit. Their ranges were fixed when the retry was planned, so a retry that is taken up
again, by a new reader or by another run, goes on where the ledger says, in the partition that it began in, and no
consumer applies anything twice. One chunk for each letter, because a refusal by a sink names its batch and no record;
only a letter of several lines that killed its workers goes on in the ranges that it was split in. Of a letter that is
about one output of its record only that output is made again (``only``).

A letter that was purged in the meantime leaves an empty chunk: ranges have no holes.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import ClassVar

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.framing import RECORDS, pack_records, unwrap
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Unit

_NEXT = """
SELECT p.start, p."end", p.letter, p.piece, coalesce(p.raw, l.raw), p.envelope, p.output, l."offset", l.line
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


class _Planned(msgspec.Struct, frozen=True):
    """A row of the plan, with what is sent for it; ``raw`` is None for a letter that was purged."""

    start: int
    end: int
    letter: int
    is_piece: int
    raw: bytes | None
    envelope: bytes
    output: str
    offset: int | None
    line: int | None


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
        planned = _Planned(*self._connection.execute(_NEXT, (self._options.retry, at)).fetchone())
        end = self._at = self._recorded.get(at, planned.end)
        self.exhausted = end >= self._options.total
        if planned.envelope and planned.raw is not None:
            return self._record(unit, planned)
        return self._lines(unit, planned, at, end)

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

    def _lines(self, unit: Unit, planned: _Planned, at: int, end: int) -> Chunk:
        """A letter of one line, or a part of one of several, from this range on."""
        raw = planned.raw
        data = b"" if raw is None else raw if planned.is_piece else raw + b"\n"
        done = at - planned.start
        return Chunk(
            unit.id, f"dead letter {planned.letter}", unit.base + at, unit.base + end, (planned.offset or 0) + done,
            (planned.line or 0) + data[:done].count(b"\n"), data[done:end - planned.start], only=planned.output)

    def _record(self, unit: Unit, planned: _Planned) -> Chunk:
        """A letter that was a record. It is one, so it is never split."""
        offset, line = planned.offset or 0, planned.line or 0
        record = unwrap(planned.envelope, planned.raw or b"", offset, line)
        return Chunk(
            unit.id, f"dead letter {planned.letter}", unit.base + planned.start, unit.base + planned.end, offset, line,
            pack_records([record]), lines=0, framing=RECORDS, only=planned.output)

    def _begin(self) -> Unit:
        unit = self._unit = self._ledger.begin(self._options.describe(), self._options.key)
        self._ledger.end(unit, unit.base + self._options.total)  # known beforehand
        self._at = unit.low - unit.base
        self._recorded = {start - unit.base: end - unit.base for start, end in self._ledger.boundaries(unit)}
        self.exhausted = self._at >= self._options.total
        return unit
