"""What a ledger keeps of units that another run goes on with: ranges that consumers of this one may still wait for.

    handed over ──▶ its ranges are delivered empty ──all answered──▶ forgotten
                         └── the reader dies ──▶ the next one delivers them empty

A range that was issued is recorded until it is committed. One that was handed over never is; it is kept until it is
passed over by everybody, for consumers hold what came to them behind it (see ``assigned``). Consumers live no longer
than a run, so what another run has left is forgotten.
"""

from __future__ import annotations

import sqlite3
from itertools import groupby

from actors.runtime.units import COLUMNS, unit_of
from actors.runtime.values import HANDED_OVER, Unit

Ranges = list[tuple[int, int]]


class HandedOver:
    """A part of the reader's ledger.

    Args:
        connection: the ledger's.
        run: identity of this run.
    """

    def __init__(self, connection: sqlite3.Connection, run: str) -> None:
        self._connection = connection
        self._run = run
        self._over: set[int] = set()

    def left(self) -> list[tuple[Unit, str, Ranges]]:
        """Units that an earlier reader of this run has handed over, with their partitions, and the ranges that may be
        waited for, in order."""
        columns = ", ".join(f"units.{name}" for name in COLUMNS.split(", "))
        rows = self._connection.execute(
            f'SELECT run, partition, start, issued."end", {columns} FROM units JOIN issued ON issued.unit=units.id '
            f"WHERE status='{HANDED_OVER}' ORDER BY units.id, start")
        found: list[tuple[Unit, str, Ranges]] = []
        for (run, partition), group in groupby(rows.fetchall(), lambda row: row[:2]):
            unit, ranges = None, []
            for row in group:
                unit = unit_of(row[4:])
                ranges.append((row[2], row[3]))
            assert unit is not None
            if run == self._run:
                found.append((unit, partition, ranges))
            else:
                self.forget(unit.id)
        return found

    def undo(self, unit: Unit) -> int:
        """Take back what was said of a unit since the last commit; return how many records that were."""
        row = self._connection.execute(f"SELECT {COLUMNS} FROM units WHERE id=?", (unit.id,)).fetchone()
        if row is None:
            return 0
        known, read = unit_of(row), unit.counts.get("read", 0)
        unit.low, unit.lines, unit.counts, unit.prefix = known.low, known.lines, known.counts, known.prefix
        unit.problem, unit.damage = known.problem, known.damage
        return read - known.counts.get("read", 0)

    def forget(self, unit: int) -> None:
        """Nobody waits for ranges of this unit."""
        self._over.add(unit)

    def write(self, connection: sqlite3.Connection) -> None:
        """Forget them, in the caller's transaction."""
        connection.executemany("DELETE FROM issued WHERE unit=?", [(unit,) for unit in self._over])

    def written(self) -> None:
        """That transaction is on the disk."""
        self._over.clear()
