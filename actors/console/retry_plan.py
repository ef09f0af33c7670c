"""The plan of a retry in the dead-letter store: which letters go in, in what order, and what has become of them.

What became of a letter is in two places that are durable already: the reader's ledger (all below ``low`` is done) and
the store (what was rejected again). ``settle`` brings the two together. Whoever is killed, and whenever, the next
``settle`` comes to the same result; letters above ``low`` are still planned.

What does not work: marking letters as their effects come (between the effect and the mark somebody dies, and a fold
counts twice); joining new letters to an interrupted retry (one that it has rejected already could be in it twice).
"""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.units import LEDGER
from actors.runtime.units import STEPS as LEDGER_STEPS
from actors.sinks.dead_letters import now

_IN_SOURCE_ORDER = """
SELECT l.id, length(l.raw), l.envelope = x'' AND (l.stage = 'reader' OR instr(l.raw, x'0a') > 0) FROM letters l
JOIN (SELECT partition, min(id) AS first FROM letters GROUP BY partition) p ON p.partition = l.partition
WHERE l.id IN (SELECT value FROM json_each(?)) AND l.status = 'open' AND l.stage {}
ORDER BY p.first, l.position, l.item, l.origin, length(l.output), l.output
"""
_PLAN = """
INSERT INTO planned (retry, start, "end", letter, piece, envelope, output)
SELECT ?, ?, ?, id, ?, envelope, output FROM letters WHERE id = ?
"""
_SETTLE = """
UPDATE letters SET status='retried', attempts=attempts + 1, tried=?1, retry=?2
WHERE status='open' AND retry != ?2 AND id IN (SELECT letter FROM planned WHERE retry=?2 AND "end" <= ?3)
"""


class Plan(msgspec.Struct, frozen=True):
    """A retry through the pipeline.

    Attributes:
        retry: its number.
        key: what the ledger knows it by.
        only_missing: keys that are there already are left alone.
        total: positions in all.
        left: letters of it that are not settled.
    """

    retry: int
    key: str
    only_missing: bool
    total: int
    left: int


def in_source_order(
    connection: sqlite3.Connection, numbers: Sequence[int], only_missing: bool, stage: str = "NOT GLOB 'writer.*'"
) -> list[tuple[int, int, int]]:
    """Return (number, bytes, 1 for a piece of input) of those of these letters that are open and of a stage.

    A record is never a piece, whatever bytes it has.

    The order is that of their sources, so that of two letters for one key the later stands; when what is there is to
    be kept, the other way round, to the same end. ``stage`` is an SQL condition.
    """
    rows = connection.execute(_IN_SOURCE_ORDER.format(stage), (json.dumps(list(numbers)),)).fetchall()
    return rows[::-1] if only_missing else rows


def make_plan(connection: sqlite3.Connection, numbers: Sequence[int], only_missing: bool) -> Plan | None:
    """Plan these letters, less those of writers; None when there are none."""
    connection.execute("BEGIN IMMEDIATE")
    rows = in_source_order(connection, numbers, only_missing)
    key, at = uuid.uuid4().hex, 0
    retry = connection.execute(
        "INSERT INTO retries (key, only_missing) VALUES (?, ?)", (key, only_missing)).lastrowid or 0
    for letter, size, is_piece in rows:
        end = at + max(1, size + (not is_piece))  # a newline is added to a line
        connection.execute(_PLAN, (retry, at, end, is_piece, letter))
        at = end
    connection.execute("COMMIT" if rows else "ROLLBACK")
    return Plan(retry, key, only_missing, at, len(rows)) if rows else None


def unfinished(connection: sqlite3.Connection) -> Plan | None:
    """The retry that was interrupted, if there is one."""
    row = connection.execute(
        'SELECT r.id, r.key, r.only_missing, max(p."end"), count(*) FROM retries r JOIN planned p ON p.retry = r.id '
        "GROUP BY r.id").fetchone()
    return None if row is None else Plan(row[0], row[1], bool(row[2]), row[3], row[4])


def settle(connection: sqlite3.Connection, state: Path) -> None:
    """Mark the letters of which the ledger says that they are done; those that were rejected again stay open.

    Raises:
        sqlite3.Error: the store or the ledger cannot be used now; nothing is changed.
    """
    plan = unfinished(connection)
    low = None if plan is None else _low(state / LEDGER, plan.key)
    if plan is None or low is None:
        return
    connection.execute("BEGIN IMMEDIATE")
    connection.execute(_SETTLE, (now(), plan.retry, low))
    connection.execute('DELETE FROM planned WHERE retry=? AND "end" <= ?', (plan.retry, low))
    connection.execute("COMMIT")


def _low(ledger: Path, key: str) -> int | None:
    """How far the ledger is with this retry; None when it does not know it."""
    if not ledger.exists():
        return None
    with closing(open_for_reading(ledger, LEDGER_STEPS, oldest=1)) as connection:
        row = connection.execute(
            "SELECT low - base FROM units WHERE fingerprint=? ORDER BY id DESC LIMIT 1", (key,)).fetchone()
    return None if row is None else int(row[0])
