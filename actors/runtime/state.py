"""The durable state of one aggregator shard: folded numbers by key, and the positions applied, in one transaction.

    part ──as it came──▶ increments, committed with the positions
         └──merge──▶ in memory ──when that is large, and at the end──▶ folded, in the order of the keys

A commit writes what has come since the last one, as it is. What has gathered in memory is merged into the table when
it is large, in the order of the keys, so that each page of the table is read and written once for many of them; what
was merged are increments no longer. A restart merges the increments again. So memory is bounded, however many keys
there are, and a commit costs what has come.

What does not work: a look-up for each key of each batch (three times the time, with keys that come once); all keys in
memory (250 bytes for each).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.messages import Part
from actors.runtime.outbox import Entry, Outbox
from actors.runtime.pipeline import Fold
from actors.runtime.progress import progress
from actors.runtime.shard import APPLIED_SCHEMA, ShardFile

STEPS = (APPLIED_SCHEMA + """
CREATE TABLE folded (key BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID;
""", """
CREATE TABLE increments (partials BLOB NOT NULL);
""")
#: What is in memory is merged into the table when it is so many keys, or the increments are so many bytes.
MOST_KEYS, MOST_BYTES = 200_000, 32 * 1024 * 1024
#: Pages in memory while the table is merged into: with too few they are written several times in one transaction.
_CACHE_KIB = 16 * 1024
#: A sign of progress is given with so many rows.
_SIGN_ROWS = 4096
_MERGE = """
INSERT INTO folded VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET numbers = merged(numbers, excluded.numbers)
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


def merge_into(total: dict[Key, Numbers], more: Iterable[tuple[Key, Numbers]], merge: Merge) -> None:
    """Merge the numbers of each key into a total."""
    for key, numbers in more:
        known = total.get(key)
        total[key] = numbers if known is None else merge(known, numbers)


#: Keys as they are packed: what is equal is packed alike.
_numbers = msgspec.msgpack.Decoder(list[Any])
_entries = msgspec.msgpack.Decoder(list[tuple[msgspec.Raw, msgspec.Raw]])
#: By packed key: packed numbers as they came, for most keys may come once (and bytes cost the garbage collector
#: nothing), or the sum of several.
_Fresh = dict[bytes, bytes | Numbers]


class FoldState:
    """Folded state, of which only what is not in the table yet is in memory.

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
        self._file.connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
        self._file.connection.create_function("merged", 2, self._merged, deterministic=True)
        self._failure: Exception | None = None  # of the application's merge, within SQLite
        self._fresh: _Fresh = {}
        self._news: list[bytes] = []
        self._size = 0
        self._is_ending = False
        for (packed,) in self._file.connection.execute("SELECT partials FROM increments ORDER BY rowid"):
            self._size += len(packed)
            _add(self._fresh, packed, merge)

    @property
    def is_large(self) -> bool:
        """Whether what has gathered in memory should go to the table."""
        return len(self._fresh) >= MOST_KEYS or self._size >= MOST_BYTES

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return self._file.applied()

    def accept(self, part: Part, frames: Sequence[bytes]) -> int | None:
        """Fold a part."""
        if frames:
            self._take(bytes(frames[0]))
        return None

    def fold(self, partials: Iterable[tuple[Key, Numbers]]) -> None:
        """Merge partial aggregates; durable with the next ``commit``."""
        self._take(msgspec.msgpack.encode(list(partials)))

    def commit(self, positions: dict[str, int]) -> list[Entry]:
        """Make everything folded so far durable, together with the positions up to which it is folded.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        is_large = self._is_ending or self.is_large
        with self._file.transaction(positions) as connection:
            if is_large:
                self._into_the_table(connection)
            else:
                connection.executemany("INSERT INTO increments VALUES (?)", [(packed,) for packed in self._news])
        if is_large:
            self._fresh, self._size = {}, 0
        self._news.clear()
        return []

    def roll(self, version: int, active: tuple[int, ...]) -> None:
        """Nothing is done by the time."""

    def tick(self, now: float) -> float | None:
        """Nothing is done by the clock."""
        return None

    def end(self, is_end: bool) -> None:
        """What is folded stays; from here on all of it is in the table, where who reads it need not merge it."""
        self._is_ending = True
        if self._fresh and not self._news:
            with contextlib.suppress(sqlite3.OperationalError):  # a full disk: as increments it is durable, too
                self.commit({})

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._file.close()

    def _take(self, packed: bytes) -> None:
        _add(self._fresh, packed, self._merge)
        self._news.append(packed)
        self._size += len(packed)

    def _into_the_table(self, connection: sqlite3.Connection) -> None:
        self._failure = None
        try:
            connection.executemany(_MERGE, self._rows())
        except sqlite3.OperationalError:
            if self._failure is not None:
                raise self._failure from None
            raise
        connection.execute("DELETE FROM increments")

    def _rows(self) -> Iterator[tuple[bytes, bytes]]:
        encode = msgspec.msgpack.Encoder().encode
        for number, key in enumerate(sorted(self._fresh)):
            if number % _SIGN_ROWS == 0:
                progress()
            numbers = self._fresh[key]
            yield key, numbers if isinstance(numbers, bytes) else encode(numbers)

    def _merged(self, known: bytes, more: bytes) -> bytes:
        try:
            return msgspec.msgpack.encode(self._merge(msgspec.msgpack.decode(known), msgspec.msgpack.decode(more)))
        except Exception as error:
            self._failure = error
            raise


def _add(total: _Fresh, packed: bytes, merge: Merge) -> None:
    decode = _numbers.decode
    for raw, numbers in _entries.decode(packed):
        key = bytes(raw)
        known = total.get(key)
        if known is None:
            total[key] = bytes(numbers)
        else:
            total[key] = merge(_unpacked(known), decode(numbers))


def packed_rows(path: Path, merge: Merge = add_each) -> Iterator[tuple[bytes, Numbers]]:
    """Give everything folded in one shard's file, each key once and packed, also while its aggregator runs.

    In memory is no more than the increments, which are bounded; after a run that has ended there are none.
    """
    if not path.exists():
        return
    decode = _numbers.decode
    with closing(open_for_reading(path, STEPS, oldest=1)) as connection:
        connection.execute("BEGIN")  # increments and table of one commit
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        if "folded" not in tables:  # its aggregator is making it
            return
        fresh: _Fresh = {}
        if "increments" in tables:  # of an older version it has none
            for (packed,) in connection.execute("SELECT partials FROM increments ORDER BY rowid"):
                _add(fresh, packed, merge)
        for key, packed in connection.execute("SELECT key, numbers FROM folded"):
            more = fresh.pop(key, None) if fresh else None
            yield key, decode(packed) if more is None else merge(decode(packed), _unpacked(more))
        for key, numbers in fresh.items():
            yield key, _unpacked(numbers)


def _unpacked(numbers: bytes | Numbers) -> Numbers:
    return _numbers.decode(numbers) if isinstance(numbers, bytes) else numbers


def rows_of_state(path: Path, merge: Merge = add_each) -> Iterator[tuple[Key, Numbers]]:
    """The same, with the keys as they were given."""
    for key, numbers in packed_rows(path, merge):
        yield tuple(msgspec.msgpack.decode(key)), numbers


def read_state(path: Path, merge: Merge = add_each) -> dict[Key, Numbers]:
    """Return everything folded in one shard's file, also while its aggregator runs; empty when there is none."""
    return dict(rows_of_state(path, merge))
