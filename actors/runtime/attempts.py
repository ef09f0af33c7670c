"""Windows whose rows kill their shard when they are made: found by three deaths, and given up alone.

    in peace           emit is called for one window after the other, and nothing is written down of that
    after a death      each window is written down before its call, and crossed out behind it
    died twice of it   it is not tried again: a letter has what was folded

What a window holds is nobody's input any more, so no origin can deliver it in pieces (``poison.py``): the shard counts
for itself, in its file, because its process is what dies. That waits for no disk: what a power cut takes of it is
counted anew.

What does not work: to keep the count on the board (of two such windows in one commit each makes the other forgotten).
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from actors.runtime.pipeline import Window

ATTEMPTS_SCHEMA = """
CREATE TABLE attempts (start INTEGER, "end" INTEGER, key BLOB, deaths INTEGER NOT NULL,
    PRIMARY KEY (start, "end", key)) WITHOUT ROWID;
"""
#: Deaths with a window in hand, behind one that has named none.
ALLOWED = 2


class Attempts:
    """See above.

    Args:
        connection: the shard's file.
    """

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        #: Whether a generation has died before this one.
        self.is_on = False
        self._given_up: set[tuple[int, int, bytes]] = set()

    def deaths(self, window: Window) -> int:
        """How often somebody has died of this window, if it is not to be tried again; else 0."""
        if not self.is_on:
            return 0
        row = self._connection.execute('SELECT deaths FROM attempts WHERE start=? AND "end"=? AND key=?',
                                       _id(window)).fetchone()
        if row is None or row[0] < ALLOWED:
            return 0
        self._given_up.add(_id(window))
        return int(row[0])

    @contextmanager
    def at(self, window: Window) -> Iterator[None]:
        """Within it the rows of a window are made: whoever does not come out of it has died of it."""
        if self.is_on:
            self._write("INSERT INTO attempts VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET deaths=deaths+1", window)
        yield
        if self.is_on:
            self._write('UPDATE attempts SET deaths=deaths-1 WHERE start=? AND "end"=? AND key=?', window)

    def write(self, connection: sqlite3.Connection) -> None:
        """What was given up is in a letter, and what has survived is emitted: within the transaction of the state."""
        if self.is_on:
            connection.executemany('DELETE FROM attempts WHERE start=? AND "end"=? AND key=?', self._given_up)
            connection.execute("DELETE FROM attempts WHERE deaths=0")

    def written(self) -> None:
        """That transaction is on the disk."""
        self._given_up.clear()

    def _write(self, statement: str, window: Window) -> None:
        with contextlib.suppress(sqlite3.OperationalError):  # a full disk: the commit that follows says so
            self._connection.execute("PRAGMA synchronous=NORMAL")
            try:
                self._connection.execute(statement, _id(window))
            finally:
                self._connection.execute("PRAGMA synchronous=FULL")


def _id(window: Window) -> tuple[int, int, bytes]:
    return window.start, window.end, msgspec.msgpack.encode(window.key)
