"""What a ledger keeps of ranges that are issued and not committed: everything that was decided about them, once.

    issue ──▶ (start, end), seen_ms  ──▶ issued        by the reader's clock, when the range was issued first
    death ──▶ marks, reason, detail  ──▶ issued        who died with it in hand, and in which pieces it goes on
    shard ──▶ shard, before, newest  ──▶ late          what a shard has said to be late in it, or may be

A batch may be delivered many times, by several readers, and some of its consumers may have taken what was made of an
earlier delivery. So whatever decides what is made of it is decided once, is durable before the delivery that goes by
it, and travels in the header: whoever makes it once more makes the same. That holds for the time, too: the reader looks
at its clock once for each range. A worker never looks at one: of two deliveries of one record the first could find it
in the future, a dead letter, and the second, a minute later, fold it.

What does not work: a clock in the worker (as said); one time for a whole unit (one that grows for years would have the
time of its beginning); facts by position (a range that is delivered again is known by its boundaries in any case).
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import NamedTuple, TypeVar

import msgspec

from actors.runtime.errors import storable
from actors.runtime.late import of_piece, take_note
from actors.runtime.messages import Late
from actors.runtime.poison import Blame, recalled
from actors.runtime.values import Chunk, Unit

#: The first half of a split range takes the place of the whole.
RECORD = """
INSERT INTO issued (unit, start, "end", marks, reason, detail, blame, seen_ms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET "end"=excluded."end", marks=excluded.marks, reason=excluded.reason, detail=excluded.detail,
    blame=excluded.blame, seen_ms=excluded.seen_ms
"""
#: Unit, start, end.
_Range = tuple[int, int, int]
_T = TypeVar("_T")
_newest = msgspec.json.Decoder(tuple[int, ...] | None)


class Decided(NamedTuple):
    """What is decided about a range.

    Attributes:
        chunk: with the time at which it was issued first (``seen_ms``).
        blame: who died with it in hand.
        late: what is late in it, by shard.
    """

    chunk: Chunk
    blame: Blame
    late: dict[int, Late]


class Issued:
    """A part of the reader's ledger; its changes are durable with the ledger's next ``flush`` or ``commit``.

    Args:
        connection: the ledger's.
        clock: ms since 1970; an attribute, too.
    """

    def __init__(self, connection: sqlite3.Connection, clock: Callable[[], int]) -> None:
        self._connection = connection
        self.clock = clock
        self._new: list[tuple[int, int, int, int, str, str, bytes, int]] = []
        self._refused: list[tuple[int, int, int, int, int, str]] = []
        self._blamed: dict[_Range, Blame] = {}
        self._late: dict[_Range, dict[int, Late]] = {}
        #: When ranges were issued first that an earlier reader, or run, has issued.
        self._first: dict[_Range, int] = {}

    @property
    def has_changes(self) -> bool:
        """Whether anything waits to be written."""
        return bool(self._new or self._refused)

    def issue(self, chunk: Chunk) -> Decided:
        """Record the range of a chunk; return what is decided about it: by earlier readers, and now."""
        key = (chunk.unit, chunk.start, chunk.end)
        blame, seen_ms = self._blamed.get(key, Blame()), self._first.get(key) or self.clock()
        chunk = msgspec.structs.replace(chunk, seen_ms=seen_ms, detail=storable(chunk.detail))
        self._record(chunk, blame)
        return Decided(chunk, blame, self._late_in(chunk))

    def blamed(self, instead: Sequence[tuple[Chunk, Blame]]) -> None:
        """Record what is delivered in the place of a range that somebody died with, or that takes too long."""
        for chunk, blame in instead:
            self._blamed[chunk.unit, chunk.start, chunk.end] = blame
            self._record(chunk, blame)

    def refused(self, chunk: Chunk, late: Mapping[int, Late]) -> None:
        """Record what is late in a batch, by shard: it stays late, for what was made of it then may have been taken."""
        self._late[chunk.unit, chunk.start, chunk.end] = dict(late)
        self._refused += [
            (chunk.unit, chunk.start, chunk.end, shard, said.before, msgspec.json.encode(said.newest).decode())
            for shard, said in late.items()]

    def recall(self, unit: Unit) -> None:
        """Read what earlier readers have decided about ranges of this unit."""
        for start, end, seen_ms, marks, *said in self._connection.execute(
                'SELECT start, "end", seen_ms, marks, reason, detail, blame FROM issued WHERE unit=?', (unit.id,)):
            if marks:
                self._blamed[unit.id, start, end] = recalled(marks, *said)
            self._first[unit.id, start, end] = seen_ms
        for start, end, shard, before, newest in self._connection.execute(
                'SELECT start, "end", shard, before, newest FROM late WHERE unit=?', (unit.id,)):
            self._late.setdefault((unit.id, start, end), {})[shard] = Late(shard, before, _newest.decode(newest))

    def write(self, connection: sqlite3.Connection, changed: Iterable[Unit]) -> None:
        """Write what is new; what these units have committed goes."""
        passed = [(unit.id, unit.low) for unit in changed]
        connection.executemany(RECORD, self._new)
        connection.executemany('DELETE FROM issued WHERE unit=? AND "end"<=?', passed)
        connection.executemany("INSERT OR REPLACE INTO late VALUES (?, ?, ?, ?, ?, ?)", self._refused)
        connection.executemany('DELETE FROM late WHERE unit=? AND "end"<=?', passed)

    def written(self) -> None:
        """It is durable."""
        self._new.clear()
        self._refused.clear()

    def forget_what_is_committed(self, units: Mapping[int, Unit]) -> None:
        """Forget what lies below the positions of these units, and what is of others."""
        self._late, self._blamed, self._first = (
            _open(self._late, units), _open(self._blamed, units), _open(self._first, units))

    def _late_in(self, chunk: Chunk) -> dict[int, Late]:
        """What was said to be late in a batch, or in the one that it is a part of."""
        found: dict[int, Late] = {}
        for (unit, start, end), late in self._late.items():
            if unit == chunk.unit and start <= chunk.start and chunk.end <= end:
                take_note(found, of_piece(late, start == chunk.start).values())
        return found

    def _record(self, chunk: Chunk, blame: Blame) -> None:
        self._new.append((chunk.unit, chunk.start, chunk.end, blame.marks, blame.reason, blame.detail, blame.rest(),
                          chunk.seen_ms))


def _open(known: dict[_Range, _T], units: Mapping[int, Unit]) -> dict[_Range, _T]:
    if not known:
        return known
    return {key: value for key, value in known.items() if key[0] in units and key[2] > units[key[0]].low}


def wall_ms() -> int:
    """What this machine's clock says, in ms since 1970."""
    return time.time_ns() // 1_000_000
