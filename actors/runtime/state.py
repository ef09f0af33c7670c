"""The durable state of one aggregator shard: folded numbers by key, and the positions applied, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.database import open_database, open_for_reading
from actors.runtime.errors import ConfigError
from actors.runtime.pipeline import Fold

VERSION = 1
SCHEMA = """
CREATE TABLE folded (key BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE applied (partition TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE layout (shards INTEGER NOT NULL);
"""

Key = tuple[Any, ...]
Numbers = list[Any]
Merge = Callable[[Numbers, Numbers], Numbers]


def add_each(left: Numbers, right: Numbers) -> Numbers:
    """The usual merge: the sum of each number."""
    return [a + b for a, b in zip(left, right, strict=True)]


def merge_of(fold: Fold | None) -> Merge:
    """The merge of a fold: its own, or the usual one."""
    return add_each if fold is None or fold.merge is None else fold.merge


class FoldState:
    """Folded state, written through: what ``commit`` has not made durable is in memory only.

    Args:
        path: the database file.
        shards: number of shards that the keys are spread over.
        merge: associative merge of two lists of numbers.

    Raises:
        ConfigError: the file was made with another number of shards.
    """

    def __init__(self, path: Path, shards: int, merge: Merge) -> None:
        self._merge = merge
        self._connection = open_database(path, SCHEMA, VERSION)
        row = self._connection.execute("SELECT shards FROM layout").fetchone()
        if row is None:
            self._connection.execute("INSERT INTO layout VALUES (?)", (shards,))
        elif row[0] != shards:
            raise ConfigError(
                f"{path}: state made with aggregator.shards = {row[0]}, now {shards}: "
                f"set it back to {row[0]}, or give another --state")
        self._changed: dict[bytes, Numbers] = {}

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return dict(self._connection.execute("SELECT partition, position FROM applied"))

    def fold(self, partials: Iterable[tuple[Key, Numbers]]) -> None:
        """Merge partial aggregates; durable with the next ``commit``."""
        for key, numbers in partials:
            packed = msgspec.msgpack.encode(key)
            before = self._changed.get(packed)
            if before is None:
                row = self._connection.execute("SELECT numbers FROM folded WHERE key=?", (packed,)).fetchone()
                before = None if row is None else msgspec.msgpack.decode(row[0])
            self._changed[packed] = list(numbers) if before is None else self._merge(before, list(numbers))

    def commit(self, positions: dict[str, int]) -> None:
        """Make everything folded so far durable, together with the positions up to which it is folded.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(
                "INSERT OR REPLACE INTO folded VALUES (?, ?)",
                [(key, msgspec.msgpack.encode(numbers)) for key, numbers in self._changed.items()])
            self._connection.executemany("INSERT OR REPLACE INTO applied VALUES (?, ?)", positions.items())
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise
        self._changed.clear()

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._connection.close()


def read_state(path: Path) -> dict[Key, Numbers]:
    """Return everything folded in one shard's file, also while its aggregator runs; empty when there is none."""
    if not path.exists():
        return {}
    connection = open_for_reading(path)
    try:
        rows = connection.execute("SELECT key, numbers FROM folded").fetchall()
    finally:
        connection.close()
    return {tuple(msgspec.msgpack.decode(key)): msgspec.msgpack.decode(numbers) for key, numbers in rows}
