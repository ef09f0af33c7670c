"""The table that says up to where the ranges of each partition are in a table of rows; read without SQLAlchemy."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from actors.runtime.database import open_for_reading
from actors.runtime.errors import Retryable
from actors.sinks.sql_witness import MARK

APPLIED, REFUSED = "thresher_applied", "thresher_refused"
#: What no table of a user's can be called.
OWN_TABLES = (APPLIED, REFUSED)


def owner_of(name: str, table: str) -> str:
    """What the positions of the sink called ``name`` and its table (empty: called so, too) are known by."""
    return f"{name} {table or name}"


def applied_in(path: Path, owner: str) -> dict[str, int]:
    """The positions in a file of SQLite, by partition; none when there is no such file or table.

    Raises:
        Retryable: it cannot be read now.
    """
    if not path.exists():
        return {}
    try:
        with closing(open_for_reading(path)) as connection:
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name=?", (APPLIED,)).fetchone():
                return {}
            return {partition: position for partition, position in connection.execute(
                f"SELECT partition, position FROM {APPLIED} WHERE sink=?", (owner,)) if not partition.startswith(MARK)}
    except sqlite3.Error as error:
        raise Retryable(f"sql {path}: {error}") from error
