"""The windows of one shard: folded in memory, durable as increments, emitted when the watermark has closed them.

    part ──▶ (start, end, key, partials) ──merge──▶ pane in memory
                                   └──as it came──▶ increments, committed with the positions
    watermark past the end ──▶ rows ──▶ outbox; the pane goes in the same transaction (or after ``lateness``)

    over ──▶ closed, on the disk for late letters that are retried (closed_panes.py)

A commit writes what has come since the last one, never a whole pane: partial aggregates arrive encoded, and go to disk
as they are. When the increments of a pane have grown to twice what it was, it is written anew as one. A restart merges
them again. So the cost of a commit is that of the input, however large the state; memory is bounded by the keys of the
open windows.

What does not work: a row for each key of a window (a look-up and a rewrite for each key of each batch: a tenth of the
speed); the whole window at each commit (a day's window would be written a thousand times).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.attempts import ATTEMPTS_SCHEMA, Attempts
from actors.runtime.closed_panes import CLOSED, CLOSED_SCHEMA, OPEN, REOPENED, ClosedPanes
from actors.runtime.database import open_for_reading
from actors.runtime.emitter import Emit, Emitter
from actors.runtime.empty_windows import EmptyWindows
from actors.runtime.messages import LeftOut, Message, Part
from actors.runtime.newest import Newest, Times
from actors.runtime.open_panes import OpenPanes, Pane
from actors.runtime.outbox import SCHEMA as OUTBOX_SCHEMA
from actors.runtime.outbox import Entry, Outbox
from actors.runtime.pipeline import Window
from actors.runtime.sections import WindowOptions
from actors.runtime.shape import SHAPE_SCHEMA, require_shape
from actors.runtime.shard import APPLIED_SCHEMA, FORGOTTEN_SCHEMA, Closed, ShardFile
from actors.runtime.state import Key, Merge, Numbers, merge_into
from actors.runtime.watermark import Watermark
from actors.runtime.windows import FOREVER, NEVER, Layout, WindowId

STEPS = (APPLIED_SCHEMA + OUTBOX_SCHEMA + """
CREATE TABLE panes (id INTEGER PRIMARY KEY, start INTEGER NOT NULL, "end" INTEGER NOT NULL, key BLOB NOT NULL,
    revision INTEGER NOT NULL);
CREATE TABLE increments (pane INTEGER NOT NULL, partials BLOB NOT NULL);
CREATE INDEX increments_by_pane ON increments (pane);
CREATE TABLE times (partition TEXT PRIMARY KEY, newest INTEGER NOT NULL, unit INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE watermark (reached INTEGER NOT NULL);
""", FORGOTTEN_SCHEMA, SHAPE_SCHEMA, "ALTER TABLE times ADD COLUMN matter TEXT NOT NULL DEFAULT ''",
    CLOSED_SCHEMA, "CREATE TABLE empties (first INTEGER NOT NULL, last INTEGER NOT NULL, next INTEGER NOT NULL)",
    "ALTER TABLE watermark ADD COLUMN silences INTEGER NOT NULL DEFAULT 0", ATTEMPTS_SCHEMA)
#: A pane is written anew when its increments are this large at least, and twice what it was then.
_COMPACT_BYTES = 256 * 1024
#: Rows of so many windows are emitted in one entry at most.
_WINDOWS_PER_ENTRY = 256
_CLOSED_IDS = f"SELECT id FROM panes WHERE state={CLOSED}"

_Entries = list[tuple[int, int, tuple[Any, ...], bytes]]
_entries = msgspec.msgpack.Decoder(_Entries)
_partials = msgspec.msgpack.Decoder(list[tuple[tuple[Any, ...], list[Any]]])


class WindowState:
    """The state of one shard of windows.

    Args:
        path: the database file.
        shards: number of shards that the windows are spread over.
        options: kind, sizes, disorder.
        merge: associative merge of two lists of numbers.
        emit: makes the rows of a closed window.
        emitter: packs them.

    Raises:
        ConfigError: the file was made with another number of shards, or for other windows.
    """

    is_large = False
    closes = True

    def __init__(
        self, path: Path, shards: int, options: WindowOptions, merge: Merge, emit: Emit, emitter: Emitter
    ) -> None:
        self._file = ShardFile(path, STEPS, shards)
        connection = self._file.connection
        require_shape(connection, path, options, shards)
        self.outbox: Outbox | None = Outbox(connection, emitter.name, emitter.ordered)
        self._layout = Layout(options)
        self._merge = merge
        self._emit = emit
        self._emitter = emitter
        self._attempts = Attempts(connection)
        reached, silences = connection.execute("SELECT max(reached), max(silences) FROM watermark").fetchone()
        self._watermark = Watermark(
            self._layout.disorder, Newest(options), _times_of(connection, options.jump_confirm + 1),
            dict(connection.execute("SELECT unit, partition FROM times")), NEVER if reached is None else reached,
            silences or 0)
        self._panes = OpenPanes(self._layout)
        self._closed = ClosedPanes(connection, options, self._watermark.reached)
        self._empty = _empty_windows(connection, self._layout, options)
        self._over: list[Pane] = []
        self._new: list[tuple[Pane, bytes]] = []
        self._merged: list[tuple[int, int]] = []
        self._dropped: set[int] = set()
        self._changed: set[Pane] = set()
        self._next_id = 1
        self._is_still = False
        self._load()

    def stand_still(self) -> None:
        """Close nothing: letters that go in again are of any time, and what is behind them is still to come."""
        self._is_still = True

    def take_care(self) -> None:
        """Somebody has died before: it may have been a window that did it."""
        self._attempts.is_on = True

    def applied(self) -> dict[str, int]:
        """The committed position of each partition."""
        return self._file.applied()

    def accept(self, part: Part, frames: Sequence[bytes]) -> Closed | None:
        """Fold a part, or refuse it whole, because some of it is late, or may be."""
        if not self._is_still:
            self._watermark.silent(part.silences)  # before the part: who is late in it goes by what that has closed
        entries = _entries.decode(frames[0]) if frames else []
        if entries:
            least = min(self._layout.oldest_end(start, end) for start, end, _, _ in entries)
            gone = self._closed.gone
            if least <= gone or self._layout.is_over(least, self._watermark.closed_for(part)):
                reached = max(self._watermark.reached, gone + self._layout.lateness)
                return Closed(reached, self._watermark.times.get(part.partition, ()))
        for start, end, key, packed in entries:
            pane = self._pane(start, end, key)
            self._add(pane, packed)
            self._new.append((pane, packed))
            pane.is_changed = True
        if not self._is_still:
            self._watermark.advance(part.partition, part.unit, part.newest, part.roll, part.active)
        return None

    def rehearse(self, frames: Sequence[bytes]) -> bool:
        """Merge what is in a part with itself, and throw that away."""
        for _, _, _, packed in _entries.decode(frames[0]) if frames else ():
            for (_, left), (_, right) in zip(_partials.decode(packed), _partials.decode(packed), strict=True):
                self._merge(left, right)
        return True

    def commit(self, positions: dict[str, int]) -> list[Entry]:
        """Close what the watermark has passed; make everything durable; return the entries to send now.

        Raises:
            sqlite3.OperationalError: the disk is full, or the file locked; nothing is changed, call again.
        """
        assert self.outbox is not None
        if not self._is_still:
            self._close_windows()
        with self._file.transaction(positions) as connection:
            connection.executemany("UPDATE increments SET pane=? WHERE pane=?", self._merged)
            gone = [(pane,) for pane in self._dropped]
            connection.executemany("DELETE FROM increments WHERE pane=?", gone)
            connection.executemany("DELETE FROM panes WHERE id=?", gone)
            connection.executemany("INSERT OR REPLACE INTO panes VALUES (?, ?, ?, ?, ?, ?, 0)", [
                (pane.id, pane.start, pane.end, msgspec.msgpack.encode(pane.key), pane.revision,
                 REOPENED if self._is_still and pane.is_changed else OPEN) for pane in self._changed])
            connection.executemany("INSERT INTO increments VALUES (?, ?)", [
                (pane.id, packed) for pane, packed in ((pane.now(), packed) for pane, packed in self._new)
                if pane.id not in self._dropped])
            compacted = [pane for pane in self._changed if pane.size > max(_COMPACT_BYTES, 2 * pane.base)]
            for pane in compacted:
                connection.execute("DELETE FROM increments WHERE pane=?", (pane.id,))
                connection.execute("INSERT INTO increments VALUES (?, ?)",
                                   (pane.id, msgspec.msgpack.encode(list(pane.numbers.items()))))
            again = [pane for pane in (*self._changed, *self._over) if pane.kept_bytes]
            self._closed.write(connection, self._over, again)
            self._write_times(connection)
            _write_empty(connection, self._empty)
            connection.execute("DELETE FROM watermark")
            connection.execute("INSERT INTO watermark VALUES (?, ?)", self._watermark.kept)
            self._attempts.write(connection)
            self.outbox.write(connection)
        self._closed.written()
        for pane in again:
            pane.kept_bytes = 0
        for pane in compacted:
            pane.base, pane.size = pane.size, 0
        self._over.clear()
        self._new.clear()
        self._merged.clear()
        self._dropped.clear()
        self._changed.clear()
        self._watermark.changed.clear()
        self._attempts.written()
        return self.outbox.committed()

    def roll(self, version: int, active: tuple[int, ...], silences: int) -> None:
        """Other units are to be waited for: close with the next commit what this closes."""
        if not self._is_still:
            self._watermark.roll(version, active, silences)
            self._close_windows()

    def notices(self) -> Sequence[Message]:
        """Gaps that are too long to emit all of them."""
        left_out = [] if self._empty is None else self._empty.left_out
        found = [LeftOut(start) for start in left_out]
        left_out.clear()
        return found

    def tick(self, now: float) -> float | None:
        """Nothing is done by the clock."""
        return None

    def end(self, is_end: bool) -> None:
        """The input has ended: close every window with the next commit; of letters: emit those that are open again."""
        if is_end:
            self._close_windows(ended=not self._is_still)

    def close(self) -> None:
        """Close the file; what was not committed is forgotten."""
        self._file.close()

    def _write_times(self, connection: sqlite3.Connection) -> None:
        """Write those that have changed: a run over many files has a time for each that goes on."""
        times, changed = self._watermark.times, self._watermark.changed
        if not changed:
            return
        connection.executemany("DELETE FROM times WHERE partition=?", [(name,) for name in changed])
        connection.executemany("INSERT INTO times VALUES (?, ?, ?, ?)", [
            (name, times[name][0], self._watermark.unit_of.get(name, 0), msgspec.json.encode(times[name]).decode())
            for name in changed if name in times])

    def _load(self) -> None:
        panes: dict[int, Pane] = {}
        connection = self._file.connection
        (last,) = connection.execute("SELECT coalesce(max(id), 0) FROM panes").fetchone()
        self._next_id = last + 1
        for number, start, end, key, revision, state in connection.execute(
                f'SELECT id, start, "end", key, revision, state FROM panes WHERE state<>{CLOSED}'):
            pane = panes[number] = self._panes.add(
                Pane(number, start, end, tuple(msgspec.msgpack.decode(key)), revision))
            # It was emitted when it was complete; so it has grown since.
            pane.is_changed = state == REOPENED or (
                revision > 0 and end > self._layout.complete_up_to(self._watermark.reached))
        for number, packed in connection.execute(
                f"SELECT pane, partials FROM increments WHERE pane NOT IN ({_CLOSED_IDS}) ORDER BY rowid"):
            self._add(panes[number], packed)

    def _pane(self, start: int, end: int, key: tuple[Any, ...]) -> Pane:
        """The pane that this belongs to; sessions that it touches become one with it."""
        pane = self._panes.get((start, end, key))
        if pane is None:
            touched = self._panes.touching(start, end, key)
            if touched:
                pane = touched[0]
                if touched[1:]:
                    pane = self._joined(touched)
                self._panes.grow(pane, start, end)
            else:
                pane = self._panes.add(self._open_again((start, end, key)) or self._made(start, end, key))
        self._changed.add(pane)
        return pane

    def _made(self, start: int, end: int, key: tuple[Any, ...]) -> Pane:
        number, self._next_id = self._next_id, self._next_id + 1
        return Pane(number, start, end, key, int(self._empty is not None and self._empty.has(start)))

    def _open_again(self, window: WindowId) -> Pane | None:
        """The pane of a window that was closed, and is kept on the disk; what comes for it is not late any more."""
        if window[1] > self._watermark.reached:
            return None
        found = self._closed.find(window)
        if found is None:
            return None
        pane, packed = found
        for each in packed:
            self._add(pane, each)
        return pane

    def _joined(self, touched: list[Pane]) -> Pane:
        """Make one of several: the one that holds most stays, so what is moved is at most half of all there is."""
        at = max(range(len(touched)), key=lambda index: touched[index].size + touched[index].base)
        kept, before = touched[at], touched[:at]
        for other in (*reversed(before), *touched[at + 1:]):  # merged in the order of their times
            self._panes.forget(other)
            is_earlier = other.start < kept.start
            for key, numbers in other.numbers.items():
                known = kept.numbers.get(key)
                pair = (numbers, known) if is_earlier else (known, numbers)
                kept.numbers[key] = numbers if known is None else self._merge(*pair)
            kept.size += other.size + other.base
            kept.revision = max(kept.revision, other.revision)
            self._merged.append((kept.id, other.id))
            other.into = kept
            self._changed.discard(other)
            self._dropped.add(other.id)
        self._panes.grow(kept, touched[0].start, touched[-1].end)
        return kept

    def _add(self, pane: Pane, packed: bytes) -> None:
        merge_into(pane.numbers, _partials.decode(packed), self._merge)
        pane.size += len(packed)

    def _close_windows(self, ended: bool = False) -> None:
        """Emit the rows of windows that are closed and were not emitted as they are; drop those that are over."""
        reached = self._watermark.reached
        complete = self._layout.complete_up_to(reached)
        due = self._panes if ended else {
            *self._panes.completed(complete),
            *(pane for pane in self._changed if pane.is_changed and pane.end <= complete)}
        closed = sorted(due, key=lambda pane: (pane.end, pane.start, repr(pane.key)))
        self._emit_rows([pane for pane in closed if pane.revision == 0 or pane.is_changed], None if ended else complete)
        if ended:  # what comes in a later run for one of them is late
            reached = max([reached, *(self._layout.closed_at(pane.end) for pane in closed if pane.end < FOREVER)])
            self._watermark.reached = reached
            complete = self._layout.complete_up_to(reached)
        for pane in closed:
            if pane.end == FOREVER or self._layout.is_over(pane.end, complete):
                self._panes.forget(pane)
                self._changed.discard(pane)
                self._dropped.add(pane.id)
                self._over.append(pane)

    def _emit_rows(self, fresh: list[Pane], complete: int | None) -> None:
        """Emit the rows of these windows, and of empty ones before them, or up to there."""
        assert self.outbox is not None
        rows: list[tuple[Window, dict[Key, Numbers]]] = []
        for pane in fresh:
            if self._empty is not None:
                rows += [(self._window_at(start), {}) for start in self._empty.before(pane.start)]
            pane.revision += 1
            pane.is_changed = False
            self._changed.add(pane)
            rows.append((Window(pane.start, pane.end, pane.key, pane.revision), pane.numbers))
        if self._empty is not None and complete is not None:
            rows += [(self._window_at(start), {}) for start in self._empty.up_to(complete)]
        for first in range(0, len(rows), _WINDOWS_PER_ENTRY):
            some = rows[first:first + _WINDOWS_PER_ENTRY]
            self.outbox.add(self._emitter.body(self._emit, some, self.outbox.next_id, self._attempts))

    def _window_at(self, start: int) -> Window:
        return Window(start, start + self._layout.size, (), 1)


def _empty_windows(connection: sqlite3.Connection, layout: Layout, options: WindowOptions) -> EmptyWindows | None:
    if options.empty == "skip":
        connection.execute("DELETE FROM empties")  # windows with records go by unnoticed from here on
        return None
    row = connection.execute("SELECT first, last, next FROM empties").fetchone()
    return EmptyWindows(layout.every if options.kind == "hopping" else layout.size, layout.size, row)


def _write_empty(connection: sqlite3.Connection, empty: EmptyWindows | None) -> None:
    if empty is not None and empty.known is not None:
        connection.execute("DELETE FROM empties")
        connection.execute("INSERT INTO empties VALUES (?, ?, ?)", empty.known)


def _times_of(connection: sqlite3.Connection, count: int) -> dict[str, Times]:
    """The newest times of each partition; a file of an older version says the newest only, which was believed."""
    return {partition: tuple(msgspec.json.decode(matter)[:count]) if matter else (newest,) * count
            for partition, newest, matter in connection.execute("SELECT partition, newest, matter FROM times")}


def read_panes(path: Path, merge: Merge) -> dict[Window, dict[tuple[Any, ...], Numbers]]:
    """Return what one shard's file holds of each window, also while its aggregator runs; empty when there is none.

    Raises:
        sqlite3.Error: it is no such database, or not yet.
    """
    if not path.exists():
        return {}
    with closing(open_for_reading(path, STEPS)) as connection:
        connection.execute("BEGIN")  # panes and increments of one commit
        windows = {number: Window(start, end, tuple(msgspec.msgpack.decode(key)), revision)
                   for number, start, end, key, revision in connection.execute(
                       f'SELECT id, start, "end", key, revision FROM panes WHERE state<>{CLOSED}')}
        found: dict[Window, dict[tuple[Any, ...], Numbers]] = {window: {} for window in windows.values()}
        for number, packed in connection.execute(
                f"SELECT pane, partials FROM increments WHERE pane NOT IN ({_CLOSED_IDS}) ORDER BY rowid"):
            merge_into(found[windows[number]], _partials.decode(packed), merge)
    return found
