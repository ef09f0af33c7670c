"""The board: one shared file, one fixed slot per actor, written by the actor, read by anyone at no cost to it.

    header   magic, slots | supervisor's beat, and how far the run is
    slot     name | supervisor's word | actor's word | heartbeat | how long its batches took | its last batches
             each of the last five has one writer, so no lock is needed and no death can leave one held

The actor's word is written by its own loop under a sequence number that is odd while it is being written; a reader
that sees an odd or a changed number reads again. The file outlives a crash: what it says then is what the actor was
doing when it died. All times are CLOCK_MONOTONIC, which is one clock for all processes of a machine.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import time
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from actors.runtime import procfs
from actors.runtime.actions import ABSENT
from actors.runtime.events import BATCH_BOUNDS_S, ActorView, LastWords, RunView
from actors.runtime.marks import NO_MARK, Mark
from actors.runtime.messages import NOTHING, BatchId
from actors.runtime.rundir import take_stack

MAGIC = b"THRESHB8"
_HEADER = struct.Struct("<8sI")
_RUN = struct.Struct("<16sddQ")  # mode, beat, start in seconds since 1970, pid
_RUN_AT = 16
_HEADER_BYTES = 64
_NAME = struct.Struct("<176s")
_SUPERVISOR = struct.Struct("<16sQ")  # state, generation
_ACTOR = struct.Struct("<QQ16s16sdQQQQQQdd160s64sqqQdQQIIddId")
_BEAT = struct.Struct("<d")
_TIMES = struct.Struct(f"<{len(BATCH_BOUNDS_S) + 1}Qd")
_SUPERVISOR_AT = _NAME.size
_ACTOR_AT = _SUPERVISOR_AT + _SUPERVISOR.size
_BEAT_AT = 728
_TIMES_AT = _BEAT_AT + _BEAT.size
_MARK = struct.Struct("<qqq?")  # of what is in hand
_DONE = struct.Struct("<64sqqd")  # a batch, and when it was done
_MARK_AT = 864
_DONE_AT = _MARK_AT + 32
#: So many batches are remembered, and for so long: what an actor did before it died may be what it died of.
_MOST_DONE, LATE_S = 16, 1.0
_SLOT_BYTES = _DONE_AT + _MOST_DONE * _DONE.size
_SEQUENCE = struct.Struct("<Q")
_NOTE_BYTES = 160
#: Seconds between two heartbeats.
HEARTBEAT_S = 0.5
#: Seconds between two signs of progress that are written: who judges looks every half second.
SIGN_S = 0.05
#: Phases in which an actor works, and in which it waits for room downstream.
BUSY, STARVED = frozenset({"WORK", "WRITE"}), "WAIT_CREDIT"

assert _ACTOR_AT + _ACTOR.size <= _BEAT_AT
assert _TIMES_AT + _TIMES.size <= _MARK_AT
assert _MARK.size <= _DONE_AT - _MARK_AT and not _SLOT_BYTES % 8


def create_board(path: Path, names: Sequence[str], absent: Sequence[str] = ()) -> None:
    """Make the board's file with a slot for each actor; ``absent``: those that may come later."""
    present, names = len(names), [*names, *absent]
    data = bytearray(_HEADER_BYTES + _SLOT_BYTES * len(names))
    _HEADER.pack_into(data, 0, MAGIC, len(names))
    for index, name in enumerate(names):
        if len(name.encode()) > _NAME.size:
            raise ValueError(f"an actor's name has at most {_NAME.size} bytes, {name!r} has {len(name.encode())}")
        _NAME.pack_into(data, _HEADER_BYTES + index * _SLOT_BYTES, name.encode())
        if index >= present:
            _SUPERVISOR.pack_into(data, _HEADER_BYTES + index * _SLOT_BYTES + _SUPERVISOR_AT, ABSENT.encode(), 0)
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_bytes(data)
    unfinished.rename(path)  # who finds a board finds a whole one


class BoardFile:
    """The mapped file."""

    def __init__(self, path: Path, writable: bool) -> None:
        with path.open("r+b" if writable else "rb") as file:
            self.map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
        magic, count = _HEADER.unpack_from(self.map, 0) if len(self.map) >= _HEADER_BYTES else (b"", 0)
        if magic != MAGIC or len(self.map) != _HEADER_BYTES + count * _SLOT_BYTES:
            self.map.close()
            raise ValueError(f"{path}: not a board")
        self.offsets = {
            _NAME.unpack_from(self.map, at)[0].rstrip(b"\0").decode(): at
            for at in range(_HEADER_BYTES, _HEADER_BYTES + count * _SLOT_BYTES, _SLOT_BYTES)
        }

    def close(self) -> None:
        """Unmap."""
        self.map.close()


class SupervisorBoard:
    """The supervisor's side: its word on each actor, and everybody's view."""

    def __init__(self, path: Path) -> None:
        self._file = BoardFile(path, writable=True)

    def say(self, name: str, state: str, generation: int) -> None:
        """Set what the supervisor knows of an actor: STARTING, READY, DRAINING, BACKOFF, FATAL or STOPPED."""
        _SUPERVISOR.pack_into(self._file.map, self._file.offsets[name] + _SUPERVISOR_AT, state.encode(), generation)

    def beat(self, mode: str, started: float) -> None:
        """Show that the supervisor's loop goes round, and how far the run is; ``started``: seconds since 1970."""
        _RUN.pack_into(self._file.map, _RUN_AT, mode.encode(), time.monotonic(), started, os.getpid())

    def views(self) -> list[ActorView]:
        """Every slot, now."""
        return _views(self._file)

    def marks(self, name: str) -> tuple[Mark, tuple[BatchId, ...]]:
        """What of its batch an actor that has just ended had in hand, and what it had done within the second before,
        the last first."""
        board, at, now = self._file.map, self._file.offsets[name], time.monotonic()
        done = [_DONE.unpack_from(board, at + _DONE_AT + index * _DONE.size) for index in range(_MOST_DONE)]
        late = sorted((entry for entry in done if now - entry[3] <= LATE_S), key=lambda entry: -entry[3])
        return Mark(*_MARK.unpack_from(board, at + _MARK_AT)), tuple(
            dict.fromkeys((_text(partition), start, end) for partition, start, end, _ in late))

    def last_words(self, run_dir: Path, name: str) -> LastWords:
        """What an actor has left that has just ended, here and in the run directory. What the generation before it has
        left is not its own: it may have died before it came to its slot."""
        view = next((view for view in self.views() if view.actor == name), None)
        if view is None:
            return LastWords()
        said = take_stack(run_dir, name, view.generation)
        if not view.pid:
            return LastWords(stack=said)
        return LastWords(view.phase, view.hand, said or view.note, view.rss_bytes, view.batches, *self.marks(name))

    def close(self) -> None:
        """Unmap."""
        self._file.close()


class BoardReader:
    """A board that is looked at again and again.

    Raises:
        OSError: there is no such file.
        ValueError: it is not a board.
    """

    def __init__(self, path: Path) -> None:
        self._file = BoardFile(path, writable=False)

    def run(self) -> RunView:
        """What the supervisor says of the run as a whole."""
        mode, beat, started, pid = _RUN.unpack_from(self._file.map, _RUN_AT)
        return RunView(_text(mode), pid, started, max(0.0, time.monotonic() - beat) if beat else 0.0)

    def views(self) -> list[ActorView]:
        """Every slot, now."""
        return _views(self._file)

    def close(self) -> None:
        """Unmap."""
        self._file.close()


class Slot:
    """An actor's own slot. Counters are plain attributes; ``phase`` and ``publish`` write them down."""

    def __init__(self, path: Path, name: str, generation: int) -> None:
        self._file = BoardFile(path, writable=True)
        self._at = self._file.offsets[name] + _ACTOR_AT
        self._beat_at = self._file.offsets[name] + _BEAT_AT
        self._times_at = self._file.offsets[name] + _TIMES_AT
        self._mark_at = self._file.offsets[name] + _MARK_AT
        self._done_at = self._file.offsets[name] + _DONE_AT
        self._done = 0
        self._generation = generation
        self._pid = os.getpid()
        self._sequence = 0
        self._phase = "BOOT"
        self._since = time.monotonic()
        self._rss_bytes = 0
        self._rss_next = 0.0
        self.batches = 0
        self.records = 0
        self.bytes_done = 0
        self.bytes_total = 0
        self.open = 0
        self.busy_s = 0.0
        self.starved_s = 0.0
        #: What it waits for outside, and since when that cannot be used (monotonic seconds; 0: it can).
        self.note = ""
        self.down_since = 0.0
        #: The batch it works on: partition, start, end. What is here when it dies is suspect.
        self.hand: BatchId = NOTHING
        #: Signs of progress within a batch.
        self.signs = 0
        self._sign_next = 0.0
        self.extended_until = 0.0
        #: Frames that were no messages, and connections of strangers.
        self.garbage = self.refused = 0
        #: Batches that lie here and wait, those that consumers would still take, and since when the oldest waits.
        self.queued = self.credit = 0
        self.waiting_since = 0.0
        #: Of a reader: seconds of work in a record, as far as is known, and how many a batch has; 0: as many as come.
        self.record_s = 0.0
        self.batch_records = 0
        self._times = [0] * (len(BATCH_BOUNDS_S) + 1)
        self._times_s = 0.0
        self.took()
        self.mark(NO_MARK)
        self._file.map[self._done_at:self._done_at + _MOST_DONE * _DONE.size] = bytes(_MOST_DONE * _DONE.size)
        self.publish()

    def start_heartbeat(self) -> None:
        """Beat from a thread of its own, which shows that the process can run Python at all, and no more than that."""
        threading.Thread(target=self._beat, name="heartbeat", daemon=True).start()

    @contextmanager
    def working(self, phase: str) -> Iterator[None]:
        """Show a phase for the length of a block, then what was shown before."""
        before = self._phase
        self.phase(phase)
        try:
            yield
        finally:
            self.phase(before)

    def take(self, batch: BatchId) -> None:
        """Have a batch in hand, or ``NOTHING``: the one before is done."""
        if self.hand[2]:
            at = self._done_at + self._done * _DONE.size
            _DONE.pack_into(self._file.map, at, self.hand[0].encode(), self.hand[1], self.hand[2], time.monotonic())
            self._done = (self._done + 1) % _MOST_DONE
        self.hand = batch
        self.publish()

    def mark(self, mark: Mark) -> None:
        """Have this of the batch in hand."""
        _MARK.pack_into(self._file.map, self._mark_at, mark.since, mark.start, mark.end, mark.alone)

    def took(self, *seconds: float) -> None:
        """Count how long batches took, each."""
        for each in seconds:
            self._times[bisect_left(BATCH_BOUNDS_S, each)] += 1
            self._times_s += each
        _TIMES.pack_into(self._file.map, self._times_at, *self._times, self._times_s)

    def progress(self) -> None:
        """Show that work goes on, within a batch. There may be a sign for each record: few are written down."""
        self.signs += 1
        now = time.monotonic()
        if now >= self._sign_next:
            self._sign_next = now + SIGN_S
            self.publish()

    def extend(self, seconds: float) -> None:
        """Ask not to be taken for hung for so long, whatever the signs."""
        self.extended_until = time.monotonic() + seconds
        self.publish()

    def phase(self, phase: str) -> None:
        """Enter a phase, or stay in it, and write the slot: who is never idle must be seen to get on all the same."""
        now = time.monotonic()
        if phase != self._phase:
            if self._phase in BUSY:
                self.busy_s += now - self._since
            elif self._phase == STARVED:
                self.starved_s += now - self._since
            self._phase, self._since = phase, now
        if now >= self._rss_next:
            self._rss_bytes, self._rss_next = procfs.resident_bytes("self"), now + HEARTBEAT_S
        self.publish()

    def publish(self) -> None:
        """Write the slot."""
        state = "STARTING" if self._phase == "BOOT" else "BUSY" if self._phase in BUSY else "READY"
        board, at = self._file.map, self._at
        self._sequence += 1
        _SEQUENCE.pack_into(board, at, self._sequence)
        _ACTOR.pack_into(
            board, at, self._sequence, self._pid, state.encode(), self._phase.encode(), self._since, self._generation,
            self.batches, self.records, self.bytes_done, self.bytes_total, self.open << 40 | self._rss_bytes >> 10,
            self.busy_s, self.starved_s, self.note.encode(errors="backslashreplace")[:_NOTE_BYTES],
            self.hand[0].encode(), self.hand[1], self.hand[2], self.signs, self.extended_until,
            self.garbage, self.refused, self.queued, self.credit, self.waiting_since, self.record_s,
            self.batch_records, self.down_since)
        self._sequence += 1
        _SEQUENCE.pack_into(board, at, self._sequence)

    def _beat(self) -> None:
        while True:
            _BEAT.pack_into(self._file.map, self._beat_at, time.monotonic())
            time.sleep(HEARTBEAT_S)


def _views(file: BoardFile) -> list[ActorView]:
    now = time.monotonic()
    views = (_view(file.map, name, at, now) for name, at in file.offsets.items())
    return [view for view in views if view.state != ABSENT]


def _view(board: mmap.mmap, name: str, at: int, now: float) -> ActorView:
    said, said_generation = _SUPERVISOR.unpack_from(board, at + _SUPERVISOR_AT)
    (_, pid, state, phase, since, generation, batches, records, done, total, packed, busy, starved, note,
     partition, start, end, signs, extended, garbage, refused, queued, credit, waiting, record_s,
     batch_records, down) = _stable(board, at + _ACTOR_AT)
    (beat,) = _BEAT.unpack_from(board, at + _BEAT_AT)
    *times, times_s = _TIMES.unpack_from(board, at + _TIMES_AT)
    word = _text(said)
    alive = generation == said_generation and word == "READY"
    return ActorView(
        actor=name, generation=said_generation, pid=pid if generation == said_generation else 0,
        state=_text(state) if alive else word, phase=_text(phase), phase_s=max(0.0, now - since) if since else 0.0,
        batches=batches, records=records, bytes_done=done, bytes_total=total, open=packed >> 40,
        rss_bytes=(packed & (1 << 40) - 1) << 10, busy_s=busy, starved_s=starved,
        heartbeat_s=max(0.0, now - beat) if beat else 0.0, note=_text(note),
        hand=(_text(partition), start, end) if end > start and generation == said_generation else NOTHING, signs=signs,
        extended_s=max(0.0, extended - now), garbage=garbage, refused=refused, queued=queued, credit=credit,
        waiting_s=max(0.0, now - waiting) if waiting else 0.0, batch_times=tuple(times), batch_times_s=times_s,
        record_s=record_s, batch_records=batch_records, down_s=max(0.0, now - down) if down else 0.0)


def _stable(board: mmap.mmap, at: int) -> tuple[Any, ...]:
    # An actor killed in the middle of a write leaves an odd number for good: after a few tries, take what is there.
    for _ in range(100):
        values = _ACTOR.unpack_from(board, at)
        (after,) = _SEQUENCE.unpack_from(board, at)
        if values[0] == after and not after & 1:
            break
    return values


def _text(raw: bytes) -> str:
    return raw.rstrip(b"\0").decode(errors="replace")


def read_views(path: Path) -> list[ActorView]:
    """Return every actor's view from a board's file, of a run that is going on or has crashed.

    Raises:
        OSError: there is no such file.
        ValueError: it is not a board.
    """
    board = BoardReader(path)
    try:
        return board.views()
    finally:
        board.close()
