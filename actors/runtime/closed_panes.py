"""Windows that are closed and emitted, and stay on the disk for a while: so that late letters can go in again.

    over ──▶ panes (state 1), numbers as one row ──the oldest go first, beyond ``window.keep_bytes``──▶ gone
              └── a late record, retried with a larger ``lateness_s`` ──▶ open again, emitted with its next revision

What ends at ``gone``, or before, may have been dropped: whatever comes for it stays late, for its rows would be of the
late records alone. Windows are kept by bytes and not by event time: one wrong clock that closes a year must not take
all the others away.

Sessions are not kept: what comes late for one may join several.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

import msgspec

from actors.runtime.open_panes import Pane
from actors.runtime.sections import WindowOptions
from actors.runtime.windows import FOREVER, NEVER, WindowId

#: ``state`` of a pane: 1: closed, and in no memory; 2: open again, and not emitted with what has come.
CLOSED_SCHEMA = """
ALTER TABLE panes ADD COLUMN state INTEGER NOT NULL DEFAULT 0;
ALTER TABLE panes ADD COLUMN bytes INTEGER NOT NULL DEFAULT 0;
CREATE INDEX closed_panes ON panes ("end") WHERE state=1;
CREATE TABLE kept (bytes INTEGER NOT NULL, gone INTEGER NOT NULL);
"""
OPEN, CLOSED, REOPENED = 0, 1, 2
#: What a window counts besides its numbers: who looks at open ones passes these by, so they are not very many.
_ROW_BYTES = 512
#: So many are dropped at a time.
_SOME = 256
_INSERT = 'INSERT OR REPLACE INTO panes (id, start, "end", key, revision, state, bytes) VALUES (?, ?, ?, ?, ?, ?, ?)'
_FIND = 'SELECT id, revision, bytes FROM panes WHERE state=1 AND "end"=? AND start=? AND key=?'


class ClosedPanes:
    """Those of one shard.

    Args:
        connection: the shard's file.
        options: how many bytes are kept.
        reached: the watermark of a file that an older version made.

    Attributes:
        gone: the latest end of a window that was dropped; event time in ms.
    """

    def __init__(self, connection: sqlite3.Connection, options: WindowOptions, reached: int) -> None:
        self._connection = connection
        self._most = options.keep_bytes if options.kind in ("tumbling", "hopping") else 0
        row = connection.execute("SELECT bytes, gone FROM kept").fetchone()
        before = reached - round(1000 * options.lateness_s) if reached > NEVER else NEVER
        kept: tuple[int, int] = row or (0, before)
        self._bytes, self.gone = self._next = kept

    def write(self, connection: sqlite3.Connection, over: Sequence[Pane], open_again: Sequence[Pane]) -> None:
        """Keep those that are over, and drop what is too much: within the transaction of the state."""
        size, gone = self._bytes - sum(pane.kept_bytes for pane in open_again), self.gone
        if not self._most:
            gone = max([gone, *(pane.end for pane in over if pane.end < FOREVER)])
        else:
            rows = [(pane, msgspec.msgpack.encode(list(pane.numbers.items()))) for pane in over]
            connection.executemany(_INSERT, [
                (pane.id, pane.start, pane.end, msgspec.msgpack.encode(pane.key), pane.revision, CLOSED,
                 len(packed) + _ROW_BYTES) for pane, packed in rows])
            connection.executemany("INSERT INTO increments VALUES (?, ?)", [(pane.id, packed) for pane, packed in rows])
            size += sum(len(packed) + _ROW_BYTES for _, packed in rows)
        while size > self._most:
            oldest = connection.execute(
                f'SELECT id, "end", bytes FROM panes WHERE state=1 ORDER BY "end" LIMIT {_SOME}').fetchall()
            dropped = []
            for number, end, some in oldest:
                if size <= self._most:
                    break
                dropped.append((number,))
                size, gone = size - some, max(gone, end)
            connection.executemany("DELETE FROM increments WHERE pane=?", dropped)
            connection.executemany("DELETE FROM panes WHERE id=?", dropped)
            if not dropped:
                size = 0
        self._next = (size, gone)
        connection.execute("DELETE FROM kept")
        connection.execute("INSERT INTO kept VALUES (?, ?)", self._next)

    def written(self) -> None:
        """It is durable."""
        self._bytes, self.gone = self._next

    def find(self, window: WindowId) -> tuple[Pane, list[bytes]] | None:
        """A window that is kept, with its packed numbers; None: it is not, or never was."""
        start, end, key = window
        row = self._connection.execute(_FIND, (end, start, msgspec.msgpack.encode(key))).fetchone()
        if row is None:
            return None
        pane = Pane(row[0], start, end, key, row[1])
        pane.kept_bytes = row[2]
        packed = self._connection.execute("SELECT partials FROM increments WHERE pane=? ORDER BY rowid", (pane.id,))
        return pane, [each for (each,) in packed]
