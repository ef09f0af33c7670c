"""What of earlier loads is settled: those that were loaded again, and those that failed and have no open letter left.

    ledger: B in the place of A, B is over ──▶ letters of A go ──▶ A is ``replaced``
    ledger: A has failed, no letter is open ──────────────────▶ A is ``settled``: it is no cause for exit code 4
    ledger: A goes on, its source had lost some, no letter is open ──▶ that is no cause for exit code 4 any more

Each step can be repeated, and the ledger is changed last: whoever is killed in between, the next call does the rest.
Called when a run begins and ends, and by the ``dlq`` verbs.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from actors.runtime.at_hand import is_alone
from actors.runtime.database import open_database, open_for_reading, transaction
from actors.runtime.manifest import Manifest
from actors.runtime.units import LEDGER, STEPS
from actors.runtime.values import HANDED_OVER, MISSED, LettersOf

#: Numbers and what letters are known by, of units ``u`` (and what took their place, ``r``).
_REPLACED = """
SELECT u.id, u.partition, r.start, u."end", u.name, r.same FROM replaced r JOIN units u ON u.id = r.unit
JOIN units b ON b.id = r."by" WHERE b.status IN ('loaded', 'done', 'failed', 'settled', 'replaced') ORDER BY u.id
"""
_FAILED = """
SELECT id, partition, base, "end", name, 1 FROM units
WHERE status = 'failed' AND id NOT IN (SELECT unit FROM replaced) ORDER BY id
"""
_MISSED = " OR ".join(f"counts LIKE '%\"rejected.{fault}\"%'" for fault in MISSED)
#: Units that go on, or have gone to others, and whose source had lost some of them unread.
_LOST = f"""
SELECT id, partition, base, NULL, name, 1 FROM units WHERE damage <> '' AND status IN ('reading', '{HANDED_OVER}')
AND ({_MISSED}) ORDER BY id
"""


def settle(manifest: Manifest) -> None:
    """Settle what can be settled now. What cannot be done (a disk is full) is left to the next call."""
    state = Path(manifest.state)
    if manifest.dry or not _is_ours(state / LEDGER):
        return
    letters = manifest.dead_letters.load()
    try:
        with closing(open_database(state / LEDGER, STEPS)) as ledger:
            replaced = ledger.execute(_REPLACED).fetchall()
            if replaced:
                letters.let_go(state, _loads(replaced))
                _mark(ledger, "status = 'replaced'", (row[0] for row in replaced))
            for query, change in ((_FAILED, "status = 'settled'"), (_LOST, "damage = ''")):
                failed = ledger.execute(query).fetchall()
                are_open = letters.has_open(state, _loads(failed)) if failed else None
                if are_open is not None:
                    over = (row[0] for row, is_open in zip(failed, are_open, strict=True) if not is_open)
                    _mark(ledger, change, over)
    except sqlite3.OperationalError:
        return


def failed_before(ledger: sqlite3.Connection, run: str) -> list[str]:
    """Names of the units that other runs have failed and that are not settled, in order."""
    return [name for (name,) in ledger.execute(
        "SELECT name FROM units WHERE status = 'failed' AND run <> ? ORDER BY id", (run,))]


def _mark(ledger: sqlite3.Connection, change: str, units: Iterable[int]) -> None:
    keys = [(key,) for key in units]
    with transaction(ledger) as connection:
        connection.executemany(f"UPDATE units SET {change} WHERE id = ?", keys)
        connection.executemany("DELETE FROM replaced WHERE unit = ?", keys)


def _loads(rows: Iterable[tuple[int, str, int, int | None, str, int]]) -> list[LettersOf]:
    return [LettersOf(partition, start, end, None if is_alone(partition) else name, bool(same))
            for _, partition, start, end, name, same in rows]


def _is_ours(ledger: Path) -> bool:
    """Whether there is a ledger that this version has opened: an older one is brought forward by a run, and then."""
    if not ledger.exists():
        return False
    try:
        with closing(open_for_reading(ledger, STEPS)) as connection:
            return bool(connection.execute("PRAGMA user_version").fetchone()[0])
    except sqlite3.Error:
        return False
