"""The tables of the reader's ledger, and a unit as a row of them."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.counts import BEFORE
from actors.runtime.database import open_for_reading
from actors.runtime.values import Unit

ANY_RUN = "*"

#: The file of the ledger, in the state directory.
LEDGER = "positions.db"
STEPS = ("""
CREATE TABLE units (
    id INTEGER PRIMARY KEY, run TEXT NOT NULL, partition TEXT NOT NULL, name TEXT NOT NULL, fingerprint TEXT NOT NULL,
    base INTEGER NOT NULL, low INTEGER NOT NULL, lines INTEGER NOT NULL, "end" INTEGER, status TEXT NOT NULL,
    counts TEXT NOT NULL, problem TEXT NOT NULL);
CREATE INDEX units_by_name ON units (name, fingerprint, status);
CREATE TABLE issued (unit INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    marks INTEGER NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, PRIMARY KEY (unit, start)) WITHOUT ROWID;
""", """
ALTER TABLE units ADD COLUMN damage TEXT NOT NULL DEFAULT '';
ALTER TABLE units ADD COLUMN note TEXT NOT NULL DEFAULT '';
ALTER TABLE units ADD COLUMN prefix TEXT NOT NULL DEFAULT '';
""", """
ALTER TABLE units ADD COLUMN content TEXT NOT NULL DEFAULT '';
CREATE INDEX units_failed ON units (id) WHERE status='failed';
CREATE TABLE replaced (unit INTEGER PRIMARY KEY, "by" INTEGER NOT NULL, start INTEGER NOT NULL, same INTEGER NOT NULL);
""", """
ALTER TABLE issued ADD COLUMN seen_ms INTEGER NOT NULL DEFAULT 0;
""", """
CREATE TABLE IF NOT EXISTS late (unit INTEGER, start INTEGER, "end" INTEGER, shard INTEGER, before INTEGER,
    PRIMARY KEY (unit, start, "end", shard)) WITHOUT ROWID;
ALTER TABLE late ADD COLUMN newest TEXT NOT NULL DEFAULT 'null';
""", """
ALTER TABLE issued ADD COLUMN blame BLOB NOT NULL DEFAULT x'';
""")
#: What is known besides, by name; a ledger of the same version may be without it.
FACTS = "CREATE TABLE IF NOT EXISTS facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"
COLUMNS = 'id, name, fingerprint, base, low, lines, "end", status, counts, problem, damage, note, prefix, content'
#: What a unit had ``read`` when another run went on with it stays in its counts, as ``before``.
_COUNTED = f"""CASE
    WHEN run<>excluded.run AND json_extract(counts, '$.read')>0
        THEN json_set(excluded.counts, '$.{BEFORE}', json_extract(counts, '$.read'))
    WHEN json_extract(counts, '$.{BEFORE}')>0
        THEN json_set(excluded.counts, '$.{BEFORE}', json_extract(counts, '$.{BEFORE}'))
    ELSE excluded.counts END"""
SAVE = f"""
INSERT INTO units (run, partition, {COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET run=excluded.run, name=excluded.name, fingerprint=excluded.fingerprint,
    low=excluded.low, lines=excluded.lines, "end"=excluded."end", status=excluded.status, counts={_COUNTED},
    problem=excluded.problem, damage=excluded.damage, note=excluded.note, prefix=excluded.prefix,
    content=excluded.content
"""
#: The number of the next unit, and the positions behind all of a run's partition that was read, and that was issued.
_LAST_USED = """
SELECT (SELECT coalesce(max(id), 0) + 1 FROM units),
    (SELECT coalesce(max(coalesce("end", low)), 0) FROM units WHERE partition=:run),
    (SELECT coalesce(max(issued."end"), 0) FROM issued JOIN units ON units.id=unit WHERE partition=:run)
"""


def unit_of(row: tuple[object, ...]) -> Unit:
    """Return the unit of a row of ``COLUMNS``."""
    values: dict[str, Any] = dict(zip(Unit.__struct_fields__, row, strict=False))  # ``before`` is among the counts
    counts = values["counts"] = msgspec.json.decode(str(values["counts"]))
    return Unit(**values, before=counts.pop(BEFORE, 0))


def units_where(connection: sqlite3.Connection, condition: str, *values: object) -> list[Unit]:
    """Return the units for which this is true, in order."""
    return [unit_of(row) for row in connection.execute(
        f"SELECT {COLUMNS} FROM units WHERE {condition} ORDER BY id", values).fetchall()]


def last_used(connection: sqlite3.Connection, run: str) -> tuple[int, int]:
    """The number of the next unit, and the position behind all of a run's own partition that anybody has seen."""
    number, ended, issued = connection.execute(_LAST_USED, {"run": run}).fetchone()
    return number, max(ended, issued)


def row_of(run: str, partition: str, unit: Unit) -> tuple[object, ...]:
    """Return what ``SAVE`` writes of a unit."""
    counts = msgspec.json.encode(unit.counts).decode()
    return (run, partition, unit.id, unit.name, unit.fingerprint, unit.base, unit.low, unit.lines, unit.end,
            unit.status, counts, unit.problem, unit.damage, unit.note, unit.prefix, unit.content)


def read_fact(path: Path, name: str) -> str | None:
    """What the ledger at this path has kept under this name; None: nothing, or there is no ledger that can be read."""
    if not path.exists():
        return None
    try:
        with closing(open_for_reading(path, STEPS, oldest=1)) as connection:
            row = connection.execute("SELECT value FROM facts WHERE name=?", (name,)).fetchone()
    except sqlite3.Error:
        return None
    return None if row is None else str(row[0])


def under_way(path: Path, run: str) -> dict[int, int]:
    """How many batches of each unit of a run were read, and are not finished; empty: none, or that cannot be known."""
    try:
        with closing(open_for_reading(path, STEPS, oldest=1)) as connection:
            return dict(connection.execute('SELECT unit, count(*) FROM issued JOIN units ON id=unit '
                                           'WHERE run=? AND issued."end">low GROUP BY unit', (run,)).fetchall())
    except sqlite3.Error:
        return {}


def columns_in(connection: sqlite3.Connection) -> str:
    """``COLUMNS``, also of a ledger of an older version, which nobody has brought forward yet."""
    known = {name for _, name, *_ in connection.execute("PRAGMA table_info(units)")}
    return ", ".join(name if name.strip('"') in known else "''" for name in COLUMNS.split(", "))


def read_units(path: Path, run: str | None = None) -> list[Unit]:
    """Return the units touched by a run (by default the last one; or by any), in the order of input.

    Raises:
        sqlite3.Error: there is no ledger at this path, or one of another version (then it is a ConfigError, too).
    """
    connection = open_for_reading(path, STEPS, oldest=1)
    try:
        if run is None:
            row = connection.execute(
                "SELECT run FROM units WHERE run NOT LIKE 'retry-%' ORDER BY id DESC LIMIT 1").fetchone()
            if row is None:
                return []
            (run,) = row
        rows = connection.execute(
            f"SELECT {columns_in(connection)} FROM units WHERE run=? OR ?='{ANY_RUN}' ORDER BY id", (run, run))
        return [unit_of(row) for row in rows.fetchall()]
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return []
        raise
    finally:
        connection.close()
