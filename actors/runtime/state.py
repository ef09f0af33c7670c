"""The durable state of one aggregator shard: folded numbers by key, and the positions applied, in one transaction.

    part ──as it came──▶ increments, committed with the positions
         └──merge──▶ in memory ──when that is large, and at the end──▶ a sorted run (``runs``)

A commit writes what has come since the last one, as it is. What has gathered in memory becomes a run when it is large;
what is in a run are increments no longer. A restart merges the increments again. So memory is bounded, however many
keys there are, and a commit costs what has come.

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
from actors.runtime.messages import Message, Part
from actors.runtime.outbox import Entry, Outbox
from actors.runtime.pipeline import Fold
from actors.runtime.runs import (
    BLOCK_KEYS,
    SCHEMA,
    Block,
    PackedMerge,
    Runs,
    merged,
    read_runs,
    write_run,
)
from actors.runtime.shard import APPLIED_SCHEMA, FORGOTTEN_SCHEMA, Closed, ShardFile


def _rows_become_a_run(connection: sqlite3.Connection) -> None:
    """A row for each key, as there was before."""
    write_run(connection, _blocks_of_rows(connection))


STEPS = (APPLIED_SCHEMA + """
CREATE TABLE folded (key BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID;
""", """
CREATE TABLE increments (partials BLOB NOT NULL);
""", SCHEMA, _rows_become_a_run, "DROP TABLE folded", FORGOTTEN_SCHEMA)
#: What is in memory becomes a run when it is so many keys, or the increments are so many bytes.
MOST_KEYS, MOST_BYTES = 200_000, 32 * 1024 * 1024

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
    """Folded state, of which only what is in no run yet is in memory.

    Args:
        path: the database file.
        shards: number of shards that the keys are spread over.
        merge: associative merge of two lists of numbers.

    Raises:
        ConfigError: the file was made with another number of shards.
    """

    closes = False

    def __init__(self, path: Path, shards: int, merge: Merge) -> None:
        #: Nothing is emitted: what is folded is read from the file.
        self.outbox: Outbox | None = None
        self._merge = merge
        self._file = ShardFile(path, STEPS, shards)
        self._runs = Runs(self._file.connection, packed_merge(merge))
        self._fresh: _Fresh = {}
        self._news: list[bytes] = []
        self._size = 0
        self._is_ending = False
        for (packed,) in self._file.connection.execute("SELECT partials FROM increments ORDER BY rowid"):
            self._size += len(packed)
            _add(self._fresh, packed, merge)

    @property
    def is_large(self) -> bool:
        """Whether what has gathered in memory should become a run."""
        return len(self._fresh) >= MOST_KEYS or self._size >= MOST_BYTES

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return self._file.applied()

    def accept(self, part: Part, frames: Sequence[bytes]) -> Closed | None:
        """Fold a part."""
        if frames:
            self._take(bytes(frames[0]))
        return None

    def rehearse(self, frames: Sequence[bytes]) -> bool:
        """Merge what is in a part with itself, and throw that away."""
        for _, numbers in _entries.decode(frames[0]) if frames else ():
            self._merge(_unpacked(bytes(numbers)), _unpacked(bytes(numbers)))
        return True

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
                self._runs.add(self._blocks())
                connection.execute("DELETE FROM increments")
            else:
                connection.executemany("INSERT INTO increments VALUES (?)", [(packed,) for packed in self._news])
        if is_large:
            self._fresh, self._size = {}, 0
        self._news.clear()
        return []

    def roll(self, version: int, active: tuple[int, ...], silences: int) -> None:
        """Nothing is done by the time."""

    def notices(self) -> Sequence[Message]:
        """There is nothing to tell."""
        return ()

    def tick(self, now: float) -> float | None:
        """Nothing is done by the clock."""
        return None

    def end(self, is_end: bool) -> None:
        """What is folded stays; from here on all of it is in runs, which are read block by block."""
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

    def _blocks(self) -> Iterator[Block]:
        return _blocks_of(self._fresh)


def packed_merge(merge: Merge) -> PackedMerge:
    """The same merge, of packed numbers."""
    decode, encode = _numbers.decode, msgspec.msgpack.Encoder().encode
    return lambda left, right: encode(merge(decode(left), decode(right)))


def _blocks_of(fresh: _Fresh) -> Iterator[Block]:
    encode, keys = msgspec.msgpack.Encoder().encode, sorted(fresh)
    for start in range(0, len(keys), BLOCK_KEYS):
        some = keys[start:start + BLOCK_KEYS]
        yield some, [numbers if isinstance(numbers, bytes) else encode(numbers)
                     for numbers in map(fresh.__getitem__, some)]


def _blocks_of_rows(connection: sqlite3.Connection) -> Iterator[Block]:
    """The rows of a file of an older version."""
    rows = connection.execute("SELECT key, numbers FROM folded ORDER BY key")
    while some := rows.fetchmany(BLOCK_KEYS):
        yield [key for key, _ in some], [numbers for _, numbers in some]


def _add(total: _Fresh, packed: bytes, merge: Merge) -> None:
    decode = _numbers.decode
    for raw, numbers in _entries.decode(packed):
        key = bytes(raw)
        known = total.get(key)
        if known is None:
            total[key] = bytes(numbers)
        else:
            total[key] = merge(_unpacked(known), decode(numbers))


def packed_blocks(path: Path, merge: Merge = add_each) -> Iterator[Block]:
    """Give everything folded in one shard's file, each key once and in order, also while its aggregator runs.

    In memory are no more than a block of each run, and the increments, which are bounded; after a run that has ended
    there are none.
    """
    if not path.exists():
        return
    with closing(open_for_reading(path, STEPS, oldest=1)) as connection:
        connection.execute("BEGIN")  # increments and runs of one commit
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
        fresh: _Fresh = {}
        if "increments" in tables:  # of an older version it has none; nor if its aggregator is making it
            for (packed,) in connection.execute("SELECT partials FROM increments ORDER BY rowid"):
                _add(fresh, packed, merge)
        more = [_blocks_of(fresh), *([_blocks_of_rows(connection)] if "folded" in tables else [])]
        yield from merged([*(read_runs(connection) if "runs" in tables else ()), *more], packed_merge(merge))


def _unpacked(numbers: bytes | Numbers) -> Numbers:
    return _numbers.decode(numbers) if isinstance(numbers, bytes) else numbers


def rows_of_state(path: Path, merge: Merge = add_each) -> Iterator[tuple[Key, Numbers]]:
    """The same, row by row and with keys and numbers as they were given."""
    decode, decode_numbers = msgspec.msgpack.decode, _numbers.decode
    for keys, some in packed_blocks(path, merge):
        for key, numbers in zip(keys, some, strict=True):
            yield tuple(decode(key)), decode_numbers(numbers)


def read_state(path: Path, merge: Merge = add_each) -> dict[Key, Numbers]:
    """Return everything folded in one shard's file, also while its aggregator runs; empty when there is none."""
    return dict(rows_of_state(path, merge))
