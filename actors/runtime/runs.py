"""Sorted runs of packed keys and numbers in blocks: how a shard keeps what it has folded, however many keys there are.

    in memory ──sorted──▶ run of level 0 ──sixteen of a level──▶ one of the next level ──▶ …

A run is written once, block behind block, and never changed; nothing is looked up. When there are ``FAN`` runs of a
level they are merged into one of the next, so a key is written again once for each level, and the levels grow with the
logarithm of their number. Who reads takes one block of each run at a time and merges them as they come.

What does not work: a table with a row for each key (keys in no order touch each page of it in each round: four
microseconds a key, and more of them the larger it is); one run, merged anew each time (each round costs all that was
before it).

Everything happens within the transaction of the caller.
"""

from __future__ import annotations

import sqlite3
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec

from actors.runtime.progress import progress

SCHEMA = """
CREATE TABLE runs (id INTEGER PRIMARY KEY, level INTEGER NOT NULL, "first" INTEGER NOT NULL, "last" INTEGER NOT NULL);
CREATE TABLE blocks (id INTEGER PRIMARY KEY, entries BLOB NOT NULL);
"""
#: So many runs of one level become one of the next.
FAN = 16
#: Most keys in a block, and most bytes of keys and numbers, unless they are those of one key.
BLOCK_KEYS, BLOCK_BYTES = 1024, 128 * 1024

#: Packed keys in ascending order, each once, and the packed numbers of each.
Block = tuple[list[bytes], list[bytes]]
#: Of two packed lists of numbers that of both.
PackedMerge = Callable[[bytes, bytes], bytes]
_block = msgspec.msgpack.Decoder(Block)


class Runs:
    """The runs in one file.

    Args:
        connection: the file, which has the tables of ``SCHEMA``; nobody else writes to them.
        merge: of the numbers of a key that is in several runs.
    """

    def __init__(self, connection: sqlite3.Connection, merge: PackedMerge) -> None:
        self._connection = connection
        self._merge = merge

    def add(self, blocks: Iterable[Block]) -> None:
        """Write a run, and merge those that are due: within a transaction."""
        write_run(self._connection, blocks)
        level = 0
        while len(due := runs_in(self._connection, level)) >= FAN:
            write_run(self._connection, merged([_blocks_of(self._connection, *run) for run in due], self._merge),
                      level + 1)
            for first, last in due:
                self._connection.execute("DELETE FROM blocks WHERE id BETWEEN ? AND ?", (first, last))
            self._connection.execute("DELETE FROM runs WHERE level = ?", (level,))
            level += 1


def write_run(connection: sqlite3.Connection, blocks: Iterable[Block], level: int = 0) -> None:
    """Write a run; nothing, when it has no blocks."""
    (before,) = connection.execute("SELECT coalesce(max(id), 0) FROM blocks").fetchone()
    last = before
    for block in blocks:
        progress()
        for entries in _packed(block):
            last += 1
            connection.execute("INSERT INTO blocks VALUES (?, ?)", (last, entries))
    if last > before:
        connection.execute('INSERT INTO runs (level, "first", "last") VALUES (?, ?, ?)', (level, before + 1, last))


def runs_in(connection: sqlite3.Connection, level: int | None = None) -> list[tuple[int, int]]:
    """The numbers of the first and the last block of each run (of a level), oldest first."""
    return connection.execute('SELECT "first", "last" FROM runs WHERE level = ? OR ? IS NULL ORDER BY id',
                              (level, level)).fetchall()


def read_runs(connection: sqlite3.Connection) -> list[Iterator[Block]]:
    """The blocks of each run."""
    return [_blocks_of(connection, *run) for run in runs_in(connection)]


def in_blocks(keys: list[bytes], numbers: list[bytes]) -> Iterator[Block]:
    """Give sorted keys, and the numbers of each, in blocks."""
    for start in range(0, len(keys), BLOCK_KEYS):
        yield keys[start:start + BLOCK_KEYS], numbers[start:start + BLOCK_KEYS]


def merged(streams: Sequence[Iterator[Block]], merge: PackedMerge) -> Iterator[Block]:
    """Merge streams of blocks, each in order and with each key once, into one such stream.

    One block of each is in memory. In each round that is taken which is complete: all up to the least of their ends.
    """
    heads = [_Head(stream) for stream in streams]
    heads = [head for head in heads if head.refill()]
    while len(heads) > 1:
        bound = min(head.keys[-1] for head in heads)
        total: dict[bytes, bytes] = {}
        for head in heads:
            _add_all(total, head.take(bound), merge)
        keys = sorted(total)
        yield keys, list(map(total.__getitem__, keys))
        heads = [head for head in heads if head.refill()]
    for head in heads:
        yield head.keys, head.numbers
        yield from head.stream


class _Head:
    """What is left of the block that a stream is at."""

    __slots__ = ("keys", "numbers", "stream")

    def __init__(self, stream: Iterator[Block]) -> None:
        self.stream = stream
        self.keys: list[bytes] = []
        self.numbers: list[bytes] = []

    def refill(self) -> bool:
        """Go on to the next block when this one is used up; return whether there was one."""
        while not self.keys:
            block = next(self.stream, None)
            if block is None:
                return False
            self.keys, self.numbers = block
        return True

    def take(self, bound: bytes) -> dict[bytes, bytes]:
        """Take out all up to this key."""
        end = bisect_right(self.keys, bound)
        some = dict(zip(self.keys[:end], self.numbers[:end], strict=True))
        del self.keys[:end], self.numbers[:end]
        return some


def _add_all(total: dict[bytes, bytes], more: dict[bytes, bytes], merge: PackedMerge) -> None:
    if total.keys().isdisjoint(more):
        total |= more
        return
    for key, numbers in more.items():
        known = total.get(key)
        total[key] = numbers if known is None else merge(known, numbers)


def _blocks_of(connection: sqlite3.Connection, first: int, last: int) -> Iterator[Block]:
    for number in range(first, last + 1):
        (packed,) = connection.execute("SELECT entries FROM blocks WHERE id = ?", (number,)).fetchone()
        yield _block.decode(packed)


def _packed(block: Block) -> Iterator[bytes]:
    """A block packed, in pieces when it is large."""
    for some in in_blocks(block[0], block[1]):
        yield from _small(some)


def _small(block: Block) -> Iterator[bytes]:
    packed, half = msgspec.msgpack.encode(block), len(block[0]) // 2
    if not half or len(packed) <= BLOCK_BYTES:
        yield packed
        return
    for at in (slice(None, half), slice(half, None)):
        yield from _small((block[0][at], block[1][at]))
