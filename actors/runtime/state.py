"""The durable state of one aggregator shard: folded numbers by key, and the positions applied, in one transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.messages import Part
from actors.runtime.outbox import Entry, Outbox
from actors.runtime.pipeline import Fold
from actors.runtime.shard import APPLIED_SCHEMA, ShardFile

STEPS = (APPLIED_SCHEMA + """
CREATE TABLE folded (key BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID;
""",)

Key = tuple[Any, ...]
Numbers = list[Any]
Merge = Callable[[Numbers, Numbers], Numbers]


def add_each(left: Numbers, right: Numbers) -> Numbers:
    """The usual merge: the sum of each number."""
    return [a + b for a, b in zip(left, right, strict=True)]


def merge_of(fold: Fold | None) -> Merge:
    """The merge of a fold: its own, or the usual one."""
    return add_each if fold is None or fold.merge is None else fold.merge


def merge_into(total: dict[Key, Numbers], more: Iterable[tuple[Key, Numbers]], merge: Merge) -> None:
    """Merge the numbers of each key into a total."""
    for key, numbers in more:
        known = total.get(key)
        total[key] = numbers if known is None else merge(known, numbers)


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
        #: Nothing is emitted: what is folded is read from the file.
        self.outbox: Outbox | None = None
        self._merge = merge
        self._file = ShardFile(path, STEPS, shards)
        self._changed: dict[bytes, Numbers] = {}

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return self._file.applied()

    def accept(self, part: Part, frames: Sequence[bytes]) -> int | None:
        """Fold a part."""
        if frames:
            self.fold((tuple(key), numbers) for key, numbers in msgspec.msgpack.decode(frames[0]))
        return None

    def fold(self, partials: Iterable[tuple[Key, Numbers]]) -> None:
        """Merge partial aggregates; durable with the next ``commit``."""
        for key, numbers in partials:
            packed = msgspec.msgpack.encode(key)
            before = self._changed.get(packed)
            if before is None:
                row = self._file.connection.execute("SELECT numbers FROM folded WHERE key=?", (packed,)).fetchone()
                before = None if row is None else msgspec.msgpack.decode(row[0])
            self._changed[packed] = list(numbers) if before is None else self._merge(before, list(numbers))

    def commit(self, positions: dict[str, int]) -> list[Entry]:
        """Make everything folded so far durable, together with the positions up to which it is folded.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        with self._file.transaction(positions) as connection:
            connection.executemany(
                "INSERT OR REPLACE INTO folded VALUES (?, ?)",
                [(key, msgspec.msgpack.encode(numbers)) for key, numbers in self._changed.items()])
        self._changed.clear()
        return []

    def roll(self, version: int, active: tuple[int, ...]) -> None:
        """Nothing is done by the time."""

    def tick(self, now: float) -> float | None:
        """Nothing is done by the clock."""
        return None

    def end(self, is_end: bool) -> None:
        """What is folded stays."""

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._file.close()


def read_state(path: Path) -> dict[Key, Numbers]:
    """Return everything folded in one shard's file, also while its aggregator runs; empty when there is none."""
    if not path.exists():
        return {}
    connection = open_for_reading(path, STEPS)
    try:
        rows = connection.execute("SELECT key, numbers FROM folded").fetchall()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):  # its aggregator is making it
            return {}
        raise
    finally:
        connection.close()
    return {tuple(msgspec.msgpack.decode(key)): msgspec.msgpack.decode(numbers) for key, numbers in rows}
