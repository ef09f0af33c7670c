"""Distinct numbers: the first of each goes on, later ones are counted. A bitmap, durable by increments.

    part ──▶ numbers ──▶ [bitmap: seen?] ──no──▶ set, emitted, and written as an increment
                                └──yes──▶ counted

A commit writes the numbers that are new, four bytes each, never the bitmap: with 10^9 possible numbers that is 125 MB.
For every megabyte of increments one page (1 MiB) of the bitmap is written as well, in turn; when all pages have been,
the increments from before the first of them say nothing that the pages do not. So the file has at most the bitmap and
twice its size of increments, a commit costs twice what is new, and none ever stops to write it all.

A restart reads the pages and sets the bits of the increments again: to set a bit twice is harmless.

What does not work: a row for each number (30 bytes and 2 µs each); a Python set (60 bytes each); writing the pages that
have changed (random numbers change all of them).
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from actors.runtime.database import open_for_reading
from actors.runtime.errors import ConfigError, DecodeError
from actors.runtime.extras import how_to_install
from actors.runtime.messages import Message, Part
from actors.runtime.outbox import SCHEMA as OUTBOX_SCHEMA
from actors.runtime.outbox import Entry, Outbox
from actors.runtime.pipeline import Distinct, Totals
from actors.runtime.shard import APPLIED_SCHEMA, FORGOTTEN_SCHEMA, Closed, ShardFile

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from actors.runtime.emitter import Emitter

    Numbers = NDArray[np.uint32]

STEPS = (APPLIED_SCHEMA + OUTBOX_SCHEMA + """
CREATE TABLE pages (page INTEGER PRIMARY KEY, bits BLOB NOT NULL);
CREATE TABLE increments (seq INTEGER PRIMARY KEY, numbers BLOB NOT NULL);
CREATE TABLE totals (size INTEGER NOT NULL, new INTEGER NOT NULL, again INTEGER NOT NULL, total INTEGER NOT NULL,
    next_page INTEGER NOT NULL, round_began INTEGER NOT NULL);
""", FORGOTTEN_SCHEMA)
PAGE_BYTES = 1 << 20
_partials = msgspec.msgpack.Decoder(list[tuple[tuple[Any, ...], list[bytes]]])


class DistinctState:
    """The numbers that one shard has seen.

    Args:
        path: the database file.
        shards: number of shards that the keys are spread over.
        distinct: the application's functions, their options bound.
        report_s: seconds between two reports; 0: only one at the end.
        emitter: packs what is emitted.

    Raises:
        ConfigError: the file was made with another number of shards, or for other numbers; or numpy is missing.
    """

    is_large = closes = False

    def __init__(self, path: Path, shards: int, distinct: Distinct, report_s: float, emitter: Emitter) -> None:
        try:
            import numpy
        except ImportError as error:
            raise ConfigError(f"distinct numbers need numpy: {how_to_install('numbers')}") from error
        self._np = numpy
        self._file = ShardFile(path, STEPS, shards)
        self.outbox: Outbox | None = Outbox(self._file.connection, emitter.name, emitter.ordered)
        self._distinct = distinct
        self._report_s = report_s
        self._emitter = emitter
        self._report_at: float | None = None
        self._has_ended = False
        self._bits = numpy.zeros(-(-distinct.limit // 8), numpy.uint8)
        self._fresh: list[Numbers] = []  # not committed
        self._pending: list[Numbers] = []  # emitted, and not committed
        self._owed = 0  # bytes of increments for which no page was written yet
        self._totals, self._next_page, self._round_began = self._load_totals(path)
        self._next_seq = self._load_bits()

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return self._file.applied()

    def accept(self, part: Part, frames: Sequence[bytes]) -> Closed | None:
        """Take the numbers of a part."""
        for _, packed in _partials.decode(frames[0]) if frames else ():
            for numbers in packed:
                self._take(numbers)
        return None

    def rehearse(self, frames: Sequence[bytes]) -> bool:
        """Nothing is merged."""
        return False

    def commit(self, positions: dict[str, int]) -> list[Entry]:
        """Make everything durable; return the entries to send now.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        outbox = self.outbox
        assert outbox is not None
        fresh = self._fresh
        if fresh:  # emitted once, also when the commit has to be tried again
            numbers = fresh[0] if len(fresh) == 1 else self._np.concatenate(fresh)
            self._fresh = []
            self._pending.append(numbers)
            outbox.add(self._emitter.packed(self._distinct.emit(numbers), outbox.next_id))
        owed = self._owed + sum(4 * len(numbers) for numbers in self._pending)
        pages, next_page, began = self._pages_due(owed)
        with self._file.transaction(positions) as connection:
            connection.executemany("INSERT INTO increments VALUES (?, ?)", [
                (self._next_seq + index, numbers.tobytes()) for index, numbers in enumerate(self._pending)])
            connection.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?)", [
                (page, self._page(page).tobytes()) for page in pages])
            if began != self._round_began:  # a round is done
                connection.execute("DELETE FROM increments WHERE seq < ?", (self._round_began,))
            connection.execute("UPDATE totals SET new=?, again=?, total=?, next_page=?, round_began=?",
                               (*msgspec.structs.astuple(self._totals), next_page, began))
            outbox.write(connection)
        self._next_seq += len(self._pending)
        self._pending.clear()
        self._owed = owed - PAGE_BYTES * len(pages)
        self._next_page, self._round_began = next_page, began
        return outbox.committed()

    def roll(self, version: int, active: tuple[int, ...], silences: int) -> None:
        """Nothing is done by the time."""

    def notices(self) -> Sequence[Message]:
        """There is nothing to tell."""
        return ()

    def tick(self, now: float) -> float | None:
        """Report when it is time."""
        if not self._report_s or self._distinct.report is None or self._has_ended:
            return None
        if self._report_at is None:
            self._report_at = now + self._report_s
        elif now >= self._report_at:
            self._report_at = max(now, self._report_at + self._report_s)
            self._report()
        return max(0.0, self._report_at - now)

    def end(self, is_end: bool) -> None:
        """No more comes: the last report closes the counts."""
        if not self._has_ended and self._distinct.report is not None:
            self._report()
        self._has_ended = True

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._file.close()

    @property
    def _page_count(self) -> int:
        return -(-len(self._bits) // PAGE_BYTES)

    def _page(self, page: int) -> NDArray[np.uint8]:
        return self._bits[page * PAGE_BYTES:(page + 1) * PAGE_BYTES]

    def _pages_due(self, owed: int) -> tuple[list[int], int, int]:
        """The pages to write now, the one after them, and the first increment that the round knows nothing of."""
        count = min(owed // PAGE_BYTES, self._page_count - self._next_page)
        pages = list(range(self._next_page, self._next_page + count))
        if pages and pages[-1] == self._page_count - 1:
            return pages, 0, self._next_seq + len(self._pending)
        return pages, self._next_page + count, self._round_began

    def _take(self, packed: bytes) -> None:
        np, bits = self._np, self._bits
        numbers = np.frombuffer(packed, np.dtype("<u4"))
        if not len(numbers):
            return
        if int(numbers.max()) >= self._distinct.limit:
            raise DecodeError(f"expected numbers below {self._distinct.limit}, got {int(numbers.max())}")
        new = self._once(np.sort(numbers[bits[numbers >> np.uint32(3)] & self._masks(numbers) == 0]))
        self._set(new)
        self._fresh.append(new)
        self._totals = Totals(self._totals.new + len(new), self._totals.duplicates + len(numbers) - len(new),
                              self._totals.total + len(new))

    def _once(self, ordered: Numbers) -> Numbers:
        """Each of these once. (numpy's own ``unique`` takes a hundred times as long.)"""
        is_new = self._np.ones(len(ordered), bool)
        self._np.not_equal(ordered[1:], ordered[:-1], out=is_new[1:])
        return ordered[is_new]

    def _masks(self, numbers: Numbers) -> NDArray[np.uint8]:
        """The bit of each in its byte."""
        np = self._np
        masks: NDArray[Any] = np.left_shift(np.uint8(1), (numbers & np.uint32(7)).astype(np.uint8))
        return masks

    def _set(self, ordered: Numbers) -> None:
        """Set the bits of these, each of which is there once."""
        if not len(ordered):
            return
        np = self._np
        at = ordered >> np.uint32(3)
        first = np.flatnonzero(np.concatenate(([True], at[1:] != at[:-1])))  # of those in the same byte
        self._bits[at[first]] |= np.add.reduceat(self._masks(ordered), first)  # different bits: a sum is all of them

    def _report(self) -> None:
        assert self.outbox is not None and self._distinct.report is not None
        self.outbox.add(self._emitter.packed(self._distinct.report(self._totals), self.outbox.next_id))
        self._totals = Totals(0, 0, self._totals.total)

    def _load_totals(self, path: Path) -> tuple[Totals, int, int]:
        connection = self._file.connection
        row = connection.execute("SELECT * FROM totals").fetchone()
        if row is None:
            row = (self._distinct.limit, 0, 0, 0, 0, 0)
            connection.execute("INSERT INTO totals VALUES (?, ?, ?, ?, ?, ?)", row)
        if row[0] != self._distinct.limit:
            raise ConfigError(
                f"{path}: made for numbers below {row[0]}, now {self._distinct.limit}: give another --state")
        return Totals(*row[1:4]), row[4], row[5]

    def _load_bits(self) -> int:
        """Read what is durable; return the number of the next increment."""
        np, connection, next_seq = self._np, self._file.connection, 0
        for page, bits in connection.execute("SELECT page, bits FROM pages"):
            self._page(page)[:] = np.frombuffer(bits, np.uint8)
        for seq, numbers in connection.execute("SELECT seq, numbers FROM increments ORDER BY seq"):
            self._set(self._once(np.sort(np.frombuffer(numbers, np.dtype("<u4")))))
            next_seq = seq + 1
        return next_seq


def read_totals(path: Path) -> Totals | None:
    """Return how many numbers one shard's file knows, also while its aggregator runs; None when there is none.

    Raises:
        sqlite3.Error: it is no such database, or not yet.
    """
    if not path.exists():
        return None
    with closing(open_for_reading(path, STEPS)) as connection:
        row = connection.execute("SELECT new, again, total FROM totals").fetchone()
    return None if row is None else Totals(*row)
