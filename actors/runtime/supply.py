"""What the reader issues next: the chunks of its source as they come, or pieces of one whose records take long.

    source ──chunk──▶ few records, or quick ones ──────────────────────────────▶ issued, as far ahead as the window goes
                  └─▶ many, and each takes long ──▶ piece by piece (sizing.py) ─▶ issued when workers can soon take it

A chunk is cut late: whoever has it cut into pieces long before anybody can take them has cut it by what was known then.
As long as little is known a piece is cut for a worker that has nothing in hand; later two for each worker wait, so that
their boundaries are recorded in one transaction, and a worker that has done its piece does not wait for the disk.
While pieces wait the source is read on, up to a bound: what clients send is received, and they do not wait for workers.

Never cut: a fault (it is one record), what an earlier reader had issued (its consumers know it by that range), and what
is to be one output of one record.

What does not work: to let the sources cut (each would have to know what records cost); to cut what is issued already
(consumers apply ranges in order, so a range that a worker has in hand is not ours any more).
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from actors.runtime.pieces import Pieces, record_count
from actors.runtime.ports import Source
from actors.runtime.sizing import Sizing
from actors.runtime.values import Chunk

#: While pieces wait for workers so much is read ahead, and no more.
AHEAD_BYTES = 8 * 1024 * 1024


class Supply:
    """See above.

    Args:
        source: the opened source.
        sizing: how many records a batch has.
        is_repeated: whether a chunk is one that an earlier reader had issued.

    Attributes:
        reads: so many chunks may still be taken from the source.
    """

    def __init__(self, source: Source, sizing: Sizing, is_repeated: Callable[[Chunk], bool]) -> None:
        self._source = source
        self._sizing = sizing
        self._is_repeated = is_repeated
        self._next: Chunk | None = None
        self._rest: Pieces | None = None
        self._ahead: deque[Chunk] = deque()
        self._ahead_bytes = 0
        self._is_filling = False
        self.reads = math.inf

    def may_read(self) -> bool:
        """Whether the source may have more, and may be asked."""
        return self.reads > 0 and not self._source.exhausted

    def is_empty(self) -> bool:
        """Whether all that was read is issued."""
        return self._next is None and self._rest is None and not self._ahead

    def units(self) -> set[int]:
        """The units of which something was read that is not issued yet."""
        held = (self._next, self._rest, *self._ahead)
        return {each.unit for each in held if each is not None}

    def is_bounded(self) -> bool:
        """Whether no more than so many chunks may be taken from the source: a signal has asked for the end."""
        return self.reads < math.inf

    def may_wait(self) -> bool:
        """Whether more would be taken from the source, had it any."""
        return self._next is None and self._ahead_bytes < AHEAD_BYTES and self.may_read()

    def give_up(self) -> None:
        """Read no more; what was read and not issued is unread."""
        self.reads = 0
        self._next = self._rest = None
        self._ahead.clear()
        self._ahead_bytes = 0

    def unread(self, is_gone: Callable[[int], bool]) -> None:
        """What was read and not issued of a unit that is taken away is unread."""
        held = self._next or self._rest
        if held is not None and is_gone(held.unit):
            self._next = self._rest = None
        self._ahead = deque(chunk for chunk in self._ahead if not is_gone(chunk.unit))
        self._ahead_bytes = sum(len(chunk.data) for chunk in self._ahead)

    def next(self, waiting: int, idle: int, workers: int, is_whole: bool = False) -> Chunk | None:
        """Return what is to be issued next, the same until it ``was_issued``; None: there is none now, or it is not
        time yet to cut it.

        Args:
            waiting: batches that are issued and wait for a worker.
            idle: workers that have nothing in hand, and would take a batch.
            workers: all workers.
            is_whole: cut nothing now.

        Raises:
            Retryable: the source cannot be read now.
        """
        if self._next is None and (self._rest is not None or self._has_read()):
            self._next = self._whole_or_piece(waiting, idle, workers, is_whole)
        if self._next is None and self._rest is not None and self._ahead_bytes < AHEAD_BYTES:
            self._read_ahead()
        return self._next

    def was_issued(self) -> None:
        """What was returned last is issued."""
        self._next = None

    def _has_read(self) -> bool:
        if not self._ahead:
            self._read_ahead()
        if not self._ahead:
            return False
        chunk = self._next = self._ahead.popleft()
        self._ahead_bytes -= len(chunk.data)
        if self._may_cut(chunk):
            self._next, self._rest = None, Pieces(chunk)
        return self._rest is not None

    def _read_ahead(self) -> None:
        chunk = self._source.read() if self.may_read() else None
        if chunk is not None:
            self.reads -= not chunk.fault  # one that tells of what is lost has to be told
            self._ahead.append(chunk)
            self._ahead_bytes += len(chunk.data)

    def _may_cut(self, chunk: Chunk) -> bool:
        if not self._sizing.is_on or chunk.fault or chunk.only or self._is_repeated(chunk):
            return False
        # No record is shorter than a byte, so a small chunk need not be counted.
        return len(chunk.data) > self._sizing.most() and record_count(chunk) > 1

    def _whole_or_piece(self, waiting: int, idle: int, workers: int, is_whole: bool) -> Chunk | None:
        rest = self._rest
        assert rest is not None
        count = rest.left if is_whole else self._sizing.count(rest.left, workers, self._is_last())
        if count < rest.left and not self._is_time(waiting, idle, workers):
            return None
        piece = rest.take(count)
        if not rest.left:
            self._rest = None
        return piece

    def _is_last(self) -> bool:
        done, total = self._source.progress()
        return done >= total  # nobody knows: what there is now may be all

    def _is_time(self, waiting: int, idle: int, workers: int) -> bool:
        if self._sizing.is_learning:
            return waiting < idle
        self._is_filling = waiting < (2 * workers if self._is_filling else workers)
        return self._is_filling
