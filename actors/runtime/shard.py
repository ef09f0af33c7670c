"""The durable side of an aggregator shard: one SQLite file, in which everything changes in one transaction.

What each kind of state keeps in memory and writes as increments is its own (``state``, ``panes``, ``distinct``); what
they have in common is here: the positions applied, the number of shards it was made for, and the outbox.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

from actors.runtime.database import Step, open_database, transaction
from actors.runtime.errors import ConfigError
from actors.runtime.messages import Message, Part
from actors.runtime.outbox import Entry, Outbox

#: The tables of every shard: how the first step of each kind of state begins.
APPLIED_SCHEMA = """
CREATE TABLE applied (partition TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE layout (shards INTEGER NOT NULL);
"""
#: How often, and up to which unit, positions of partitions that are over were forgotten: a later step of each kind.
FORGOTTEN = "forgotten"
FORGOTTEN_SCHEMA = f"CREATE TABLE {FORGOTTEN} (times INTEGER NOT NULL, unit INTEGER NOT NULL)"


#: What is emitted passes through the file. Checkpoints wait for the disk: one for every 64 MiB, not for every 4.
_CHECKPOINT_PAGES = 16384


class Closed(NamedTuple):
    """What a shard says with a refusal.

    Attributes:
        reached: what ends there, or before, is closed; event time in ms.
        newest: the newest event times in the partition before the part that it refuses.
    """

    reached: int
    newest: tuple[int, ...]


class ShardState(Protocol):
    """What an aggregator needs of its state, whatever it folds."""

    #: What the state emits; None: nothing ever.
    outbox: Outbox | None
    #: Whether it is windows: what they emit when they close is of all parts that they were made of.
    closes: bool

    @property
    def is_large(self) -> bool:
        """Whether so much has gathered in memory that it has to be committed before more is folded."""
        ...

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        ...

    def accept(self, part: Part, frames: Sequence[bytes]) -> Closed | None:
        """Fold a part: None. Or refuse it whole, for some of it is late, or may be."""
        ...

    def rehearse(self, frames: Sequence[bytes]) -> bool:
        """Merge what is in a part with itself, and throw that away: who dies here dies of nothing else that is folded.
        False: nothing would ever be merged."""
        ...

    def commit(self, positions: dict[str, int]) -> list[Entry]:
        """Make all that was folded durable, with the positions up to which it is; return the entries to send now.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        ...

    def roll(self, version: int, active: tuple[int, ...], silences: int) -> None:
        """The units that the watermark waits for have changed, and nothing may come to say so."""
        ...

    def notices(self) -> Sequence[Message]:
        """What people are to be told of what was committed, each once."""
        return ()

    def tick(self, now: float) -> float | None:
        """Time has passed: emit what is due; return the seconds until something else is, None for never."""
        ...

    def end(self, is_end: bool) -> None:
        """No more comes in this run; ``is_end``: nor ever, so all that is left is emitted. Said repeatedly."""
        ...

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        ...


class ShardFile:
    """One shard's file.

    Args:
        path: the database file.
        steps: how the file of this kind of state comes about; see ``open_database``.
        shards: number of shards that the keys are spread over.

    Raises:
        ConfigError: the file was made with another number of shards.
    """

    def __init__(self, path: Path, steps: Sequence[Step], shards: int) -> None:
        self.connection = open_database(path, steps, f"INSERT INTO layout VALUES ({shards})")
        self.connection.execute(f"PRAGMA wal_autocheckpoint={_CHECKPOINT_PAGES}")
        row = self.connection.execute("SELECT shards FROM layout").fetchone()
        if row is None:
            self.connection.execute("INSERT INTO layout VALUES (?)", (shards,))
        elif row[0] != shards:
            raise ConfigError(
                f"{path}: state made with aggregator.shards = {row[0]}, now {shards}: "
                f"set it back to {row[0]}, or give another --state")

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return dict(self.connection.execute("SELECT partition, position FROM applied"))

    @contextmanager
    def transaction(self, positions: dict[str, int]) -> Iterator[sqlite3.Connection]:
        """Within it the state is written; at its end it is durable together with these positions, or not at all."""
        with transaction(self.connection) as connection:
            yield connection
            connection.executemany("INSERT OR REPLACE INTO applied VALUES (?, ?)", positions.items())

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self.connection.close()
