"""The dead-letter store: records that could not go on, byte for byte, with reason and position. One SQLite file.

A letter is known by where it came from, so a record that is rejected again after a death makes no second row. The
store is a sink like another: a batch is acknowledged only when its dead letters are in it.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from actors.runtime.database import open_database, open_for_reading
from actors.runtime.errors import Retryable
from actors.runtime.ports import DeadLetter, Payload, Refusal, Sink

VERSION = 1
SCHEMA = """
CREATE TABLE letters (
    partition TEXT NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL, item INTEGER NOT NULL,
    time TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, source TEXT NOT NULL,
    "offset" INTEGER NOT NULL, line INTEGER NOT NULL, raw BLOB NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'open',
    PRIMARY KEY (partition, position, stage, item));
CREATE INDEX letters_by_reason ON letters (reason, status);
"""
_INSERT = """
INSERT INTO letters (partition, position, stage, item, time, reason, detail, source, "offset", line, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET reason=excluded.reason, detail=excluded.detail, raw=excluded.raw
"""


class DeadLetters(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dead-letter store.

    Attributes:
        path: the file, relative to the state directory.
    """

    ordered: ClassVar[bool] = False
    guarantee: ClassVar[str] = "keyed by position: exactly once"
    takes: ClassVar[tuple[str, ...]] = ("letters",)

    path: str = "dead-letters.db"

    def pack(self, items: Sequence[DeadLetter]) -> bytes:
        """Return the letters as one payload."""
        return msgspec.msgpack.encode(items)

    def open(self, name: str, state: Path) -> Sink:
        """Open the store, made when it is missing."""
        return _Store(state / self.path)

    def describe(self) -> str:
        """Say where this writes."""
        return f"dead letters {self.path}"


OPTIONS = DeadLetters


class _Store:
    """The opened store."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._decoder = msgspec.msgpack.Decoder(list[DeadLetter])
        self._connection: sqlite3.Connection | None = None

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Store all letters in one transaction."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        rows = [
            (x.partition, x.position, x.stage, x.index, now, x.reason, x.detail, x.source, x.offset, x.line, x.raw)
            for payload in payloads for x in self._decoder.decode(payload.data)
        ]
        try:
            if self._connection is None:
                self._connection = open_database(self._path, SCHEMA, VERSION)
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany(_INSERT, rows)
            self._connection.execute("COMMIT")
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise Retryable(f"dead letters {self._path}: {error}") from error
        return []

    def close(self) -> None:
        """Close the file; a transaction that did not end is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


class StoredLetter(msgspec.Struct, frozen=True):
    """A row of the store."""

    partition: str
    position: int
    stage: str
    item: int
    time: str
    reason: str
    detail: str
    source: str
    offset: int
    line: int
    raw: bytes
    attempts: int
    status: str


def read_letters(path: Path) -> Iterator[StoredLetter]:
    """Yield every letter, in order of partition and position, also while the store is written to.

    Raises:
        sqlite3.Error: there is no store at this path.
    """
    connection = open_for_reading(path)
    try:
        for row in connection.execute(
                'SELECT partition, position, stage, item, time, reason, detail, source, "offset", line, raw, '
                "attempts, status FROM letters ORDER BY partition, position, stage, item"):
            yield StoredLetter(*row)
    finally:
        connection.close()
