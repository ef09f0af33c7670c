"""Content that is given again after it was finished: what a ledger knows of it, and what has become of it in this run.

A unit that is begun in the place of earlier ones is written down with them, in the transaction in which it begins. When
it is over, their letters go (``actors.runtime.settling``): in between both have them, so that whoever dies, whenever,
no letter is lost and none stays twice.

A run that was not brought to its end is gone on with by the next: what it has finished is not given again then, though
its files are still under their names. So each run that came to its end keeps how many units there were.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import msgspec

from actors.runtime.units import COLUMNS, unit_of
from actors.runtime.values import Unit

#: What the ledger calls what was skipped and refused in a run, and the last unit of the last run that came to its end.
GIVEN, COMPLETE = "given again", "complete"
#: Names of files that are kept, of each kind; the others are counted.
NAMED = 3
#: What the note of a unit begins with that was loaded before.
AGAIN = "loaded again"


class Some(msgspec.Struct, frozen=True):
    """So many files, and the names of the first."""

    count: int = 0
    names: list[str] = []

    def plus(self, name: str) -> Some:
        """Count one more."""
        return Some(self.count + 1, [*self.names, name] if len(self.names) < NAMED else self.names)


class Told(msgspec.Struct):
    """What became, in one run, of content that was given again and not loaded."""

    run: str
    skipped: Some = Some()
    refused: Some = Some()
    why: str = ""


class Given:
    """What a source may ask about content that is given again. A part of the reader's ledger.

    Args:
        connection: the ledger's.
        run: identity of this run.
        doubles: why content counts twice that is loaded twice; empty: it does not.
        keep: keeps a fact.
    """

    def __init__(
        self, connection: sqlite3.Connection, run: str, doubles: str, keep: Callable[[str, str], None]
    ) -> None:
        self.doubles = doubles
        self._connection = connection
        self._keep = keep
        self._run = run
        self._told = Told(run)
        self._seen: set[str] = set()
        self._instead: list[tuple[int, int, int, bool]] = []
        self._complete = _complete(connection)
        self._has_earlier = connection.execute("SELECT 1 FROM units WHERE run<>?", (run,)).fetchone() is not None

    def known_as(self, names: Sequence[str]) -> str:
        """Which of these names, all of one piece of input, there is a unit of; the first, when there is none."""
        row = self._connection.execute(
            f"SELECT name FROM units WHERE name IN ({', '.join('?' * len(names))}) "
            "AND status NOT IN ('broken', 'abandoned') ORDER BY id DESC LIMIT 1", names).fetchone() \
            if self._has_earlier else None
        return names[0] if row is None else str(row[0])

    def earlier(self, name: str, fingerprint: str) -> list[Unit]:
        """Units of this name that earlier runs have finished, the last one first; none when ``begin`` goes on with
        one that is not finished, or that this very run has finished."""
        if not self._has_earlier:
            return []
        going_on = self._connection.execute(
            "SELECT 1 FROM units WHERE name=? AND fingerprint=? AND (status IN ('reading', 'loaded') OR run=?)",
            (name, fingerprint, self._run)).fetchone()
        rows = () if going_on else self._connection.execute(
            f"SELECT {COLUMNS} FROM units WHERE name=? AND run<>? "
            "AND status IN ('done', 'failed', 'settled', 'replaced') ORDER BY id DESC", (name, self._run))
        return [unit_of(row) for row in rows]

    def is_of_earlier(self, unit: Unit) -> bool:
        """Whether an earlier run has finished this unit."""
        (run,) = self._connection.execute("SELECT run FROM units WHERE id=?", (unit.id,)).fetchone() or (self._run,)
        return bool(run != self._run)

    def is_gone_on_with(self, unit: Unit) -> bool:
        """Whether this unit was finished by a run that did not come to its end, and that this run goes on with."""
        return unit.id > self._complete

    def begun(self, unit: Unit, instead_of: Sequence[tuple[Unit, bool]], after: int) -> Unit:
        """A unit begins in the place of others, of which it has the content from ``after`` on, if it is the same."""
        self._instead += [(old.id, unit.id, old.base + after * is_same, is_same) for old, is_same in instead_of]
        return unit

    def skip(self, name: str) -> None:
        """This was finished before, and is not loaded again: the report says so."""
        if self._is_new(name):
            self._told.skipped = self._told.skipped.plus(name)
            self._tell()

    def refuse(self, name: str, why: str) -> None:
        """This would count twice: the report says so, and the exit code is 4."""
        if self._is_new(name):
            self._told.refused = self._told.refused.plus(name)
            self._told.why = self._told.why or why
            self._tell()

    def write(self, connection: sqlite3.Connection) -> None:
        """Write down what takes the place of what, in the caller's transaction."""
        connection.executemany('INSERT OR REPLACE INTO replaced (unit, "by", start, same) VALUES (?, ?, ?, ?)',
                               self._instead)

    def written(self) -> None:
        """That transaction is on the disk."""
        self._instead.clear()

    def came_to_its_end(self) -> None:
        """All that was given to this run is over: the next one goes on with nothing of it."""
        (last,) = self._connection.execute("SELECT coalesce(max(id), 0) FROM units").fetchone()
        if last != self._complete:
            self._complete = last
            self._keep(COMPLETE, str(last))

    def _is_new(self, name: str) -> bool:
        is_new = name not in self._seen
        self._seen.add(name)
        return is_new

    def _tell(self) -> None:
        self._keep(GIVEN, msgspec.json.encode(self._told).decode())


def _complete(connection: sqlite3.Connection) -> int:
    """The last unit of a run that came to its end. A ledger that does not say: all, unless something is unfinished."""
    row = connection.execute("SELECT value FROM facts WHERE name=?", (COMPLETE,)).fetchone()
    if row is not None:
        return int(row[0])
    last, unfinished = connection.execute(
        "SELECT coalesce(max(id), 0), coalesce(sum(status IN ('reading', 'loaded')), 0) FROM units").fetchone()
    return 0 if unfinished else int(last)


def told_of(connection: sqlite3.Connection, run: str) -> Told:
    """What a ledger says of a run; nothing, also in one of an older version."""
    try:
        row = connection.execute("SELECT value FROM facts WHERE name=?", (GIVEN,)).fetchone()
    except sqlite3.OperationalError:
        return Told(run)
    told = Told(run) if row is None else msgspec.json.decode(row[0], type=Told)
    return told if told.run == run else Told(run)
