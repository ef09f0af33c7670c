"""What a shard emits, on its way to the sinks: numbered, durable before it is sent, kept until every sink has it.

    state ──add──▶ entry 7 {sink: rows} ──commit, with state and positions──▶ sent to each writer ──acks──▶ forgotten

The shard is an origin for what it emits, so an entry's id is for ever the same: the partition is this outbox, the
position its number. (It has an identity of its own: a state that is begun anew would number its entries like the one
before, and sinks that remember positions would take them for repetitions.) Each ordered writer gets a part of each
entry, be it empty, and applies them in order; a writer that comes new gets all that was not acknowledged
under its name, and is told where that begins (not where it begins for all: were another writer behind, it would wait
for what it is not sent).

What does not work: to send first and commit then (rows of a state that a crash takes back); to make the rows again
after a crash (the code that makes them may have changed, or the state gone on).

Pure, but for the two methods that are given a connection.
"""

from __future__ import annotations

import sqlite3
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from actors.runtime.messages import BatchId

SCHEMA = """
CREATE TABLE outbox (seq INTEGER PRIMARY KEY, body BLOB NOT NULL);
CREATE TABLE outbox_meta (identity TEXT NOT NULL, next INTEGER NOT NULL);
"""

#: Rows packed for each destination: how many, and the bytes.
Body = dict[str, tuple[int, bytes]]
_body = msgspec.msgpack.Decoder(Body)


class Entry:
    """One entry: what it holds for whom, and who has not acknowledged it yet."""

    __slots__ = ("body", "is_durable", "seq", "size", "waits")

    def __init__(self, seq: int, body: Body, waits: Iterable[str], is_durable: bool) -> None:
        self.seq = seq
        self.body = body
        self.waits = set(waits)
        self.is_durable = is_durable
        self.size = sum(len(data) for _, data in body.values())


def partition_of(shard: str, identity: str) -> str:
    """What the entries of an outbox are known as."""
    return f"{shard}@{identity}"


class Outbox:
    """The open entries of one shard.

    Args:
        connection: the shard's file.
        name: the shard, for the name of the partition.
        ordered: destinations that get a part of every entry.
    """

    def __init__(self, connection: sqlite3.Connection, name: str, ordered: Sequence[str]) -> None:
        row = connection.execute("SELECT identity, next FROM outbox_meta").fetchone()
        if row is None:
            row = (uuid.uuid4().hex[:12], 0)
            connection.execute("INSERT INTO outbox_meta VALUES (?, ?)", row)
        self.partition = partition_of(name, row[0])
        self._ordered = tuple(ordered)
        self._next: int = row[1]
        self._open: dict[int, Entry] = {}
        self._done: list[int] = []
        self.size = 0
        for seq, packed in connection.execute("SELECT seq, body FROM outbox ORDER BY seq"):
            self._keep(seq, _body.decode(packed), is_durable=True)

    def __len__(self) -> int:
        return len(self._open)

    @property
    def low(self) -> int:
        """All entries below this number have arrived."""
        return next(iter(self._open), self._next)

    def low_for(self, destination: str) -> int:
        """All entries below this number have arrived there: a new writer is not sent them, nor may wait for them."""
        return next((seq for seq, entry in self._open.items() if destination in entry.waits), self._next)

    @property
    def has_changes(self) -> bool:
        """Whether anything waits for a commit."""
        return bool(self._done) or any(not entry.is_durable for entry in self._open.values())

    @property
    def next_id(self) -> BatchId:
        """What the next entry will be known by."""
        return (self.partition, self._next, self._next + 1)

    def add(self, body: Body) -> None:
        """Emit this, when the state it comes from is committed."""
        self._keep(self._next, body, is_durable=False)
        self._next += 1

    def write(self, connection: sqlite3.Connection) -> None:
        """Write what is new, forget what has arrived: within the transaction of the state."""
        connection.executemany("INSERT OR REPLACE INTO outbox VALUES (?, ?)", [
            (entry.seq, msgspec.msgpack.encode(entry.body)) for entry in self._open.values() if not entry.is_durable])
        connection.executemany("DELETE FROM outbox WHERE seq=?", [(seq,) for seq in self._done])
        connection.execute("UPDATE outbox_meta SET next=?", (self._next,))

    def committed(self) -> list[Entry]:
        """The transaction is durable; return the entries that may be sent now."""
        self._done.clear()
        fresh = [entry for entry in self._open.values() if not entry.is_durable]
        for entry in fresh:
            entry.is_durable = True
        return fresh

    def acked(self, destination: str, key: BatchId) -> None:
        """A destination has what it is due of an entry."""
        entry = self._open.get(key[1]) if key[0] == self.partition else None
        if entry is not None:
            entry.waits.discard(destination)
            if not entry.waits:
                del self._open[entry.seq]
                self._done.append(entry.seq)
                self.size -= entry.size

    def due(self, destination: str) -> Iterator[Entry]:
        """The entries that were sent to a destination and have not been acknowledged: a new one needs them again."""
        return (entry for entry in self._open.values() if entry.is_durable and destination in entry.waits)

    def _keep(self, seq: int, body: Body, is_durable: bool) -> None:
        entry = self._open[seq] = Entry(seq, body, {*self._ordered, *body}, is_durable)
        self.size += entry.size


def rows_of(entry: Entry, destination: str) -> tuple[int, Sequence[bytes]]:
    """How many rows of an entry are for this destination, and the frames that they are in."""
    count, data = entry.body.get(destination, (0, b""))
    return count, [data] if count else []


def without_empty(body: Mapping[str, tuple[int, bytes]]) -> Body:
    """A body without what is for nobody."""
    return {name: rows for name, rows in body.items() if rows[0]}
