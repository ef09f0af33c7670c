"""Before a run: what shards remember of partitions that are over is forgotten, so that it does not grow with the input.

    ledger: N or N+1 times ──▶ each shard: positions of partitions that are over go, N+1 times ──▶ ledger: N+1 times

A shard remembers the position of each partition, for its next generation: what is delivered once more below it is a
repetition. Of a partition that is over, and committed up to there, nothing is ever delivered again to a generation
that begins later; should it go on after all (a file that has grown), it begins where it ended. Before a run nothing is
under way, so what is over is forgotten then, and at no other time.

Both sides keep how often that was done. So it is still known whether they belong together: a shard that has done so
more or less often than its ledger says is of another moment (``agreement``).

What does not work: to forget while a run goes on (what a slow worker has of it may come still, and would be new); to
keep the last so many (a file that is silent, and not over, would be forgotten).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import msgspec

from actors.runtime.database import open_database, open_for_reading, transaction
from actors.runtime.shard import FORGOTTEN
from actors.runtime.units import LEDGER, STEPS

#: What the ledger calls it.
FACT = "forgotten"


class Forgotten(NamedTuple):
    """How often shards have forgotten, by the ledger's word: for certain, and at most."""

    least: int = 0
    most: int = 0


class UpTo(NamedTuple):
    """How often a shard has forgotten, and up to which unit."""

    times: int = 0
    unit: int = 0


def forgotten_in_ledger(ledger: sqlite3.Connection) -> Forgotten:
    """How often the shards have forgotten, by the ledger's word."""
    try:
        row = ledger.execute("SELECT value FROM facts WHERE name=?", (FACT,)).fetchone()
    except sqlite3.OperationalError:  # a ledger of an older version has no such table
        return Forgotten()
    return Forgotten() if row is None else Forgotten(*msgspec.json.decode(row[0]))


def forgotten_in_shard(shard: sqlite3.Connection) -> UpTo:
    """How often a shard has forgotten."""
    try:
        row = shard.execute(f"SELECT times, unit FROM {FORGOTTEN}").fetchone()
    except sqlite3.OperationalError:  # a shard of an older version has no such table
        return UpTo()
    return UpTo() if row is None else UpTo(*row)


def forget_what_is_over(state: Path, shards: list[Path]) -> None:
    """Forget in these shards what is over by the ledger. What cannot be done is left to the next run."""
    try:
        if not all(_can_forget(shard) for shard in shards) or not _can_forget(state / LEDGER, "facts"):
            return
        with closing(open_database(state / LEDGER, STEPS)) as ledger:
            over, before = _over(ledger), forgotten_in_ledger(ledger)
            if any(_known_of(shard, over) for shard in shards) or before.least < before.most:
                (last,) = ledger.execute("SELECT max(id) FROM units").fetchone()
                next_ = UpTo(before.least + 1, last)
                _keep(ledger, Forgotten(before.least, next_.times))
                for shard in shards:
                    _forget(shard, _known_of(shard, over), next_)
                _keep(ledger, Forgotten(next_.times, next_.times))
    except sqlite3.Error:  # a full disk; or who opens it says what is wrong with it
        return


def _over(ledger: sqlite3.Connection) -> Mapping[str, int]:
    """The partitions that are over, and up to where they are committed."""
    return dict(ledger.execute(
        "SELECT partition, max(low) FROM units GROUP BY partition HAVING sum(status = 'reading') = 0"))


def _keep(ledger: sqlite3.Connection, forgotten: Forgotten) -> None:
    with transaction(ledger) as connection:
        connection.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)",
                           (FACT, msgspec.json.encode(list(forgotten)).decode()))


def _known_of(shard: Path, over: Mapping[str, int]) -> list[str]:
    """The partitions that a shard knows, and that are over as far as it knows them."""
    with closing(open_for_reading(shard)) as connection:
        return [name for name, position in connection.execute("SELECT partition, position FROM applied")
                if position <= over.get(name, -1)]


def _forget(shard: Path, partitions: list[str], up_to: UpTo) -> None:
    with closing(sqlite3.connect(shard, timeout=5.0, isolation_level=None)) as connection:
        connection.execute("PRAGMA synchronous=FULL")
        with transaction(connection):
            connection.executemany("DELETE FROM applied WHERE partition=?", [(name,) for name in partitions])
            connection.execute(f"DELETE FROM {FORGOTTEN}")
            connection.execute(f"INSERT INTO {FORGOTTEN} VALUES (?, ?)", up_to)


def _can_forget(path: Path, table: str = FORGOTTEN) -> bool:
    """Whether this version has opened the file: an older one is brought forward by its owner first."""
    with closing(open_for_reading(path)) as connection:
        return connection.execute("SELECT 1 FROM sqlite_master WHERE name=?", (table,)).fetchone() is not None
