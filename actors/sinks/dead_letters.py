"""The dead-letter store: records that could not go on, byte for byte, with reason and position. One SQLite file.

    letters   one row a letter. (partition, position, origin, item, output) is where it came from and never changes, so
              a record that is rejected again after a death makes no second row. Stage, reason, raw and envelope are
              those of the last try.
    retries   one row a retry; its key is what the reader's ledger knows it by.
    planned   what a retry has yet to send: a range of positions for each letter, in the order of sending.

The store is a sink like another: a batch is acknowledged only when its dead letters are in it. In a retry ``Returned``
(``returned.py``) takes its place.

Guarantees:

* Numbers of letters are never used twice, also when letters are purged.
* Whatever is delivered again changes nothing: neither a second row nor a second attempt.
* Of one record that several things were made of, each that was rejected is a letter.

What does not work: knowing a letter by SQLite's own rowid (shrinking the file numbers the rows anew); changing the
stage in the key (another letter of the same batch may have that key); a limit on the size of the file (it does not
shrink when rows go, and a writer that waits would never see room).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, ClassVar

import msgspec
from msgspec import Meta

from actors.runtime.database import named, open_database, remove_database, require_database, transaction
from actors.runtime.disk import Place
from actors.runtime.errors import Retryable
from actors.runtime.framing import Record, unwrap
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.runtime.values import DeadLetter, LettersOf, Payload, Refusal

_LEAST_MAX_BYTES = 1 << 20
#: How a store comes about; letters of the first version had no number of their own, those of the second were lines.
STEPS = ("""
CREATE TABLE letters (
    partition TEXT NOT NULL, position INTEGER NOT NULL, stage TEXT NOT NULL, item INTEGER NOT NULL, time TEXT NOT NULL,
    reason TEXT NOT NULL, detail TEXT NOT NULL, source TEXT NOT NULL, "offset" INTEGER NOT NULL, line INTEGER NOT NULL,
    raw BLOB NOT NULL, attempts INTEGER NOT NULL DEFAULT 0, status TEXT NOT NULL DEFAULT 'open',
    PRIMARY KEY (partition, position, stage, item));
CREATE INDEX letters_by_reason ON letters (reason, status);
""", """
DROP INDEX letters_by_reason;
ALTER TABLE letters RENAME TO old_letters;
CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, position INTEGER NOT NULL, origin TEXT NOT NULL, item INTEGER NOT NULL,
    stage TEXT NOT NULL, time TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, source TEXT NOT NULL,
    "offset" INTEGER NOT NULL, line INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT 'open', tried TEXT NOT NULL DEFAULT '', retry INTEGER NOT NULL DEFAULT 0,
    raw BLOB NOT NULL, UNIQUE (partition, position, origin, item));
CREATE INDEX letters_by_reason ON letters (status, reason, stage);
CREATE TABLE retries (id INTEGER PRIMARY KEY AUTOINCREMENT, key TEXT NOT NULL, only_missing INTEGER NOT NULL);
CREATE TABLE planned (
    retry INTEGER NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL, letter INTEGER NOT NULL,
    piece INTEGER NOT NULL, raw BLOB, PRIMARY KEY (retry, start));
CREATE INDEX planned_by_letter ON planned (letter);
INSERT INTO letters SELECT rowid, partition, position, stage, item, stage, time, reason, detail, source, "offset", line,
    attempts, status, '', 0, raw FROM old_letters ORDER BY rowid;
DROP TABLE old_letters;
""", """
DROP INDEX letters_by_reason;
ALTER TABLE letters RENAME TO old_letters;
CREATE TABLE letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    partition TEXT NOT NULL, position INTEGER NOT NULL, origin TEXT NOT NULL, item INTEGER NOT NULL,
    output TEXT NOT NULL DEFAULT '',
    stage TEXT NOT NULL, time TEXT NOT NULL, reason TEXT NOT NULL, detail TEXT NOT NULL, source TEXT NOT NULL,
    "offset" INTEGER NOT NULL, line INTEGER NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    status TEXT NOT NULL DEFAULT 'open', tried TEXT NOT NULL DEFAULT '', retry INTEGER NOT NULL DEFAULT 0,
    envelope BLOB NOT NULL DEFAULT x'', raw BLOB NOT NULL, UNIQUE (partition, position, origin, item, output));
CREATE INDEX letters_by_reason ON letters (status, reason, stage);
INSERT INTO letters (id, partition, position, origin, item, stage, time, reason, detail, source, "offset", line,
    attempts, status, tried, retry, raw) SELECT id, partition, position, origin, item, stage, time, reason, detail,
    source, "offset", line, attempts, status, tried, retry, raw FROM old_letters ORDER BY id;
DELETE FROM sqlite_sequence WHERE name='letters';
UPDATE sqlite_sequence SET name='letters' WHERE name='old_letters';
DROP TABLE old_letters;
ALTER TABLE planned ADD COLUMN envelope BLOB NOT NULL DEFAULT x'';
ALTER TABLE planned ADD COLUMN output TEXT NOT NULL DEFAULT '';
ALTER TABLE planned ADD COLUMN taken TEXT NOT NULL DEFAULT '';
""")
#: Puts a letter into the store, once: one that comes again has the reason and the bytes of now.
INSERT = """
INSERT INTO letters (partition, position, origin, item, output, stage, time, reason, detail, source, "offset", line,
    retry, envelope, raw)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET reason=excluded.reason, detail=excluded.detail, envelope=excluded.envelope, raw=excluded.raw
WHERE attempts=0 AND status='open'
"""
_COLUMNS = ('id, partition, position, origin, item, stage, time, reason, detail, source, "offset", line, attempts, '
            "status, tried, raw, envelope, output")


class DeadLetters(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The dead-letter store.

    Attributes:
        path: the file, relative to the state directory.
        max_bytes: how much it may hold, at least 1 MiB; 0 for any amount. When so much is in it the pipeline waits
            until ``thresher dlq purge`` has made room. A group of batches is taken whole, so there may be more by one.

    Example::

        DeadLetters(max_bytes=100 * 1024 * 1024)  # then the pipeline waits
    """

    ordered: ClassVar[bool] = False
    guarantee: ClassVar[str] = "keyed by position: exactly once"
    takes: ClassVar[tuple[str, ...]] = ("letters",)

    path: str = "dead-letters.db"
    max_bytes: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 1 << 30

    def __post_init__(self) -> None:
        """Refuse a limit that an empty store would reach."""
        if 0 < self.max_bytes < _LEAST_MAX_BYTES:
            raise ValueError(f"max_bytes: expected 0 or at least {_LEAST_MAX_BYTES}, got {self.max_bytes}")

    def pack(self, items: Sequence[DeadLetter]) -> bytes:
        """Return the letters as one payload."""
        return msgspec.msgpack.encode(items)

    def unpack(self, data: bytes) -> list[DeadLetter]:
        """Return the letters that ``pack`` made this of."""
        return msgspec.msgpack.decode(data, type=list[DeadLetter])

    def open(self, name: str, state: Path) -> Sink:
        """Open the store; it is made with the first letter.

        Raises:
            ConfigError: it was made by a newer version.
        """
        return LetterStore(state / self.path, self.max_bytes)

    def clear(self, name: str, state: Path) -> bool:
        """Remove the store if it lies in the state directory; one that lies elsewhere may be others' too."""
        path = state / self.path
        if path.resolve().is_relative_to(state.resolve()):
            require_database(path, "letters")
            remove_database(path)
        return True

    def let_go(self, state: Path, loads: Sequence[LettersOf]) -> None:
        """Delete letters that come again; those of another content are ``replaced``, and stay until they are purged.

        Raises:
            sqlite3.Error: the store cannot be used now; call again.
        """
        path = state / self.path
        if loads and path.exists():
            with closing(open_letters(path)) as connection, transaction(connection):
                for load in loads:
                    where, values = _of(load)
                    connection.execute(
                        f"DELETE FROM letters WHERE {where}" if load.is_same else
                        f"UPDATE letters SET status='replaced' WHERE status='open' AND {where}", values)

    def has_open(self, state: Path, loads: Sequence[LettersOf]) -> list[bool]:
        """Whether there are open letters of each of these."""
        path = state / self.path
        if not path.exists():
            return [False] * len(loads)
        with closing(open_letters(path)) as connection:
            return [connection.execute(f"SELECT 1 FROM letters WHERE status='open' AND {where} LIMIT 1", values)
                    .fetchone() is not None for where, values in map(_of, loads)]

    def place(self, name: str, state: Path) -> Path:
        """The file."""
        return state / self.path

    def repeated(self) -> Repeated:
        """A letter is known by its position."""
        return "skipped"

    def describe(self) -> str:
        """Say where this writes."""
        return f"dead letters {self.path}"


OPTIONS = DeadLetters


class StoredLetter(msgspec.Struct, frozen=True):
    """A row of the store.

    Attributes:
        id: its number, for people.
        origin: the stage that rejected it first; with partition, position, item and output, where it came from.
        item: for a writer: index of the item in its batch.
        stage: the stage that rejected it last.
        time: when it was first rejected, UTC.
        offset: byte in the (uncompressed) source, or number of the record there; -1 when not known.
        line: line in the source, -1 when not known, or when there are none.
        attempts: how many retries it has had.
        status: ``open``, ``retried``, or ``replaced`` (another content was loaded under that name).
        tried: when the last retry of it ended, or empty.
        raw: the input of the stage that rejected it last, byte for byte; for a writer: the packed item.
        envelope: what a record that is no line has besides its value; empty: it is a line, or a packed item.
        output: which of the things that were made of the record it is about; empty: all of it.
    """

    id: int
    partition: str
    position: int
    origin: str
    item: int
    stage: str
    time: str
    reason: str
    detail: str
    source: str
    offset: int
    line: int
    attempts: int
    status: str
    tried: str
    raw: bytes
    envelope: bytes = b""
    output: str = ""

    @property
    def record(self) -> Record | None:
        """The record that it was made of; None: it was a line, or is a packed item."""
        return unwrap(self.envelope, self.raw, self.offset, self.line) if self.envelope else None


def open_letters(path: Path) -> sqlite3.Connection:
    """Open (or make) a store, in autocommit; one of an older version is upgraded in place.

    Raises:
        ConfigError: it was made by a newer version.
        sqlite3.Error: it cannot be opened or is no database.
    """
    return open_database(path, STEPS)


def read_letters(path: Path) -> Iterator[StoredLetter]:
    """Yield every letter, in order of partition and position, also while the store is written to.

    Raises:
        sqlite3.Error: there is no store at this path.
    """
    if not path.exists():
        raise sqlite3.OperationalError(f"{path}: there is no such file")
    with closing(open_letters(path)) as connection:
        yield from select_letters(connection, "true ORDER BY partition, position, origin, item, output")


def select_letters(
    connection: sqlite3.Connection, where: str, values: Sequence[str | int] = ()
) -> Iterator[StoredLetter]:
    """Yield the letters that an SQL condition on their columns (and ORDER BY, and LIMIT) selects."""
    for row in connection.execute(f"SELECT {_COLUMNS} FROM letters WHERE {where}", values):
        yield StoredLetter(*row)


def _of(load: LettersOf) -> tuple[str, tuple[str | int, ...]]:
    """The SQL condition for the letters of a load, and the values of its placeholders."""
    where, values = "partition=? AND position>=?", (load.partition, load.start)
    bounds: tuple[tuple[str, str | int | None], ...] = (("position<?", load.end), ("source=?", load.source))
    given = [(condition, value) for condition, value in bounds if value is not None]
    return " AND ".join([where, *(condition for condition, _ in given)]), (*values, *(value for _, value in given))


def used_bytes(connection: sqlite3.Connection) -> int:
    """How much a store holds; pages that are free to be used again do not count."""
    pages, free, size = (
        connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size"))
    return int((pages - free) * size)


def now() -> str:
    """The time as letters have it."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


class LetterStore(Sink):
    """The opened store."""

    def __init__(self, path: Path, max_bytes: int) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._decoder = msgspec.msgpack.Decoder(list[DeadLetter])
        self._connection: sqlite3.Connection | None = None
        self._place: Place | None = None
        if path.exists():
            _bring_forward(path)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Store all letters in one transaction."""
        letters = [letter for payload in payloads for letter in self._decoder.decode(payload.data)]
        try:
            if self._connection is None:
                if self._place is not None:
                    self._place.require()
                self._connection = open_letters(self._path)
                self._place = Place(self._path)
            if self._max_bytes and used_bytes(self._connection) >= self._max_bytes:
                raise Retryable(  # `status` shows no more of it than the first 160 bytes
                    f"dead letters are full (dead_letters.max_bytes = {self._max_bytes}): export and purge them "
                    f"(`thresher dlq`), or stop and raise dead_letters.max_bytes: {self._path}")
            self._connection.execute("BEGIN IMMEDIATE")
            self.put(self._connection, letters)
            self._connection.execute("COMMIT")
            if self._place is not None:
                self._place.require()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise Retryable(f"dead letters {named(self._path, error)}") from error
        return []

    def close(self) -> None:
        """Close the file; a transaction that did not end is rolled back."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def put(self, connection: sqlite3.Connection, letters: Sequence[DeadLetter]) -> None:
        """Put letters into the store, within a transaction."""
        time_now = now()
        connection.executemany(INSERT, [
            (x.partition, x.position, x.stage, x.index, x.output, x.stage, time_now, x.reason, x.detail, x.source,
             x.offset, x.line, 0, x.envelope, x.raw) for x in letters])


def _bring_forward(path: Path) -> None:
    """Say at once that a newer version has made a store, for the first letter may be long in coming; bring an older one
    forward, for who only looks at it cannot. Any other problem may have gone by then."""
    try:
        with closing(sqlite3.connect(path, timeout=0.5)) as connection:
            (found,) = connection.execute("PRAGMA user_version").fetchone()
        if found and found != len(STEPS):
            open_database(path, STEPS).close()
    except sqlite3.Error:
        return
