"""The pace of a source: so many records a second, and so many in all, whatever the source is.

    source ──chunk──▶ cut behind what is due ──▶ reader
                 └── the rest waits here

The schedule is that of the input, not of what becomes of it: a record is due so long after the one before it, also
when nobody had room for it. So workers that cannot keep up show as a backlog (batches under way, then records that are
due and not read), and when they have caught up the input is where it would have been without them. Only where there was
nothing to read the schedule begins anew: a source that was silent may not make up for it with a burst.

Guarantees:

* A record travels when it is due, not when a batch is full. At high rates records go in pieces of 20 ms.
* What an earlier reader has handed out is handed out again as it was cut, at once, and is not counted again: which
  records are the first so many is decided once, with the record of their ranges, over all restarts and runs.
* What waits here is unread: it stays for the next run, when this one ends.

What does not work: to sleep in the source (the reader answers nobody meanwhile); to give each record so much time from
when the last one was taken (every delay adds up: 30 records at 5 Hz take longer than 6 s); to count what was read
instead of what was issued (after a crash in between some records would be missing from the first so many).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.runtime.issued import Decided
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest
from actors.runtime.pieces import Pieces, record_count
from actors.runtime.ports import Source
from actors.runtime.values import Chunk, Revoked, Unit

#: How many records were taken so far, in the ledger.
TAKEN = "taken"
#: Seconds of records that go in one piece, when there are several.
_PIECE_S = 0.02
#: What a paced source reads at a time: about a second's records, within these bounds.
_LEAST_BYTES, _RECORD_BYTES = 16 * 1024, 512


class Schedule:
    """When records are due. A pure function of what was said to it, and when.

    Args:
        rate_hz: records a second.
    """

    def __init__(self, rate_hz: float) -> None:
        self.piece = max(1, int(rate_hz * _PIECE_S))
        self._rate_hz = rate_hz
        self._since: float | None = None
        self._given = 0

    def is_due(self, now: float) -> bool:
        """Whether a piece may go now; the first record of all is due at once."""
        if self._since is None:
            self._since, self._given = now, 0
        return now >= self.next(now)

    def next(self, now: float) -> float:
        """When the next piece is due: when its last record is."""
        return now if self._since is None else self._since + (self._given + self.piece - 1) / self._rate_hz

    def due_at(self) -> float | None:
        """When the next piece is due; None: nothing has gone since there was nothing to give."""
        return None if self._since is None else self.next(self._since)

    def gave(self, records: int) -> None:
        """So many have gone."""
        self._given += records

    def pause(self) -> None:
        """There was nothing to give: what comes next is due at once."""
        self._since = None


class CountingLedger(Ledger):
    """A ledger that knows how many records were given out in all, and which ranges have to be given out once more.

    Attributes:
        taken: records of all runs, each once.
        outstanding: ranges that were on their way before, and were not issued yet.
    """

    def __init__(self, path: Path, run: str, doubles: str = "") -> None:
        super().__init__(path, run, doubles)
        self.taken = int(self.fact(TAKEN) or 0)
        self.outstanding: set[tuple[int, int]] = set()

    def boundaries(self, unit: Unit) -> list[tuple[int, int]]:
        """Ranges issued beyond ``unit.low`` and not committed, in order."""
        found = super().boundaries(unit)
        self.outstanding.update((unit.id, start) for start, _ in found)
        return found

    def issue(self, chunk: Chunk) -> Decided:
        """Record the range of a chunk, and count its records with it."""
        self.outstanding = {one for one in self.outstanding
                            if one[0] != chunk.unit or not chunk.start <= one[1] < chunk.end}
        if not self.is_repeated(chunk):
            self.taken += record_count(chunk)
            self.keep(TAKEN, str(self.taken))
        return super().issue(chunk)


class Paced(Source):
    """A source that is read no faster than it is meant to be, and no further.

    Args:
        source: the source itself.
        ledger: the reader's.
        rate_hz: records a second; 0: as fast as possible.
        max_records: records in all; 0: all that there are.
        clock: monotonic seconds.
    """

    def __init__(
        self, source: Source, ledger: CountingLedger, rate_hz: float, max_records: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._ledger = ledger
        self._schedule = Schedule(rate_hz) if rate_hz else None
        self._max_records = max_records
        self._clock = clock
        self._rest: Pieces | None = None
        #: Records that were taken before, and handed out here: some of them may not be issued yet.
        self._taken = ledger.taken
        self._has_looked = self._is_over = False
        self._follow()

    def read(self) -> Chunk | None:
        """Return what is due of the next chunk; None: nothing is, or there is nothing."""
        found = self._read()
        self._follow()
        return found

    def stop(self) -> None:
        """Take no more from outside; of a source that hands out the rest, that is handed out at once."""
        self._source.stop()
        self._schedule = None
        if not self._source.endless:
            self._rest = None
        self._follow()

    def judged(self, unit: Unit) -> None:
        """As the source itself."""
        self._source.judged(unit)

    def finished(self, unit: Unit) -> None:
        """As the source itself."""
        self._source.finished(unit)

    def settle(self) -> None:
        """As the source itself."""
        self._source.settle()

    def failed(self, unit: Unit) -> None:
        """As the source itself."""
        self._source.failed(unit)

    def active(self) -> tuple[int, ...]:
        """As the source itself; a unit of which something waits here goes on."""
        found = self._source.active()
        if self._rest is None or self._rest.unit in found or not self._ledger.is_alone(self._rest.unit):
            return found
        return tuple(sorted((*found, self._rest.unit)))

    def first_look(self) -> Sequence[int]:
        """As the source itself."""
        return self._source.first_look()

    def glance(self, unit: int, most_bytes: int) -> tuple[Chunk | None, bool]:
        """As the source itself."""
        return self._source.glance(unit, most_bytes)

    def tick(self, now: float) -> float | None:
        """As the source itself; and the reader is to come when the next record is due."""
        wanted = self._source.tick(now)
        due = None if self._schedule is None else self._schedule.due_at()
        if due is not None and due <= now:  # it is read in this turn or, when the window is full, after an answer
            due = None
        return min((at for at in (wanted, due) if at is not None), default=None)

    def revoked(self) -> Sequence[Revoked]:
        """As the source itself; what waits here of such a unit is somebody else's to read."""
        found = self._source.revoked()
        if self._rest is not None and self._rest.unit in {unit.id for one in found for unit in one.units}:
            self._rest = None
            self._follow()
        return found

    def released(self, units: Sequence[Unit]) -> None:
        """As the source itself."""
        self._source.released(units)

    def committed(self, units: Sequence[Unit]) -> None:
        """As the source itself."""
        self._source.committed(units)

    def lag(self) -> dict[int, int]:
        """As the source itself."""
        return self._source.lag()

    def progress(self) -> tuple[int, int]:
        """As the source itself, less what waits here."""
        done, total = self._source.progress()
        return max(0, done - (self._rest.size if self._rest is not None else 0)), total

    def close(self) -> None:
        """As the source itself."""
        self._source.close()

    def _read(self) -> Chunk | None:
        while True:
            if self._is_full() and self._has_looked and not self._ledger.outstanding and not self._is_over:
                self._is_over = True
                self._source.stop()
                self._rest = None
            if self._rest is None:
                if self._source.exhausted:
                    return None
                chunk = self._source.read()
                self._has_looked = True
                if chunk is None:
                    if self._schedule is not None:
                        self._schedule.pause()
                    return None
                if self._ledger.is_repeated(chunk):
                    return chunk
                self._rest = Pieces(chunk)
            if not self._is_full():
                return self._due()
            self._rest = None  # it stays unread; what an earlier reader has handed out may still come

    def _is_full(self) -> bool:
        return 0 < self._max_records <= self._taken

    def _due(self) -> Chunk | None:
        """What may go of what waits here."""
        assert self._rest is not None
        if self._schedule is not None and not self._schedule.is_due(self._clock()):
            return None
        most = math.inf if self._schedule is None else self._schedule.piece
        if self._max_records:
            most = min(most, self._max_records - self._taken)
        count = self._rest.left if self._rest.left <= most else int(most)
        piece = self._rest.take(count)
        if not self._rest.left:
            self._rest = None
        self._taken += count
        if self._schedule is not None:
            self._schedule.gave(count)
        return piece

    def _follow(self) -> None:
        """Be what the source is, as far as nothing waits here."""
        self.exhausted = self._rest is None and self._source.exhausted
        # A source that was to be read up to here leaves no work behind.
        self.endless = self._is_over or self._source.endless
        self.wake = None if self._rest is not None else self._source.wake
        self.has_looked = self._source.has_looked


def is_paced(manifest: Manifest) -> bool:
    """Whether the source of a run has a pace, or an end, of its own; letters that go in again have none."""
    return bool(manifest.flow.rate_hz or manifest.flow.max_records) and not manifest.is_retry


def open_paced(
    manifest: Manifest, path: Path, opens: Callable[[CountingLedger, int], Source]
) -> tuple[CountingLedger, Paced]:
    """Open the ledger and the source of a run that has a pace.

    Args:
        manifest: of the run.
        path: of the ledger.
        opens: opens the source itself, given the ledger and how many bytes are to be read at a time.
    """
    flow = manifest.flow
    ledger = CountingLedger(path, manifest.run, manifest.doubles)
    size = max(_LEAST_BYTES, int(flow.rate_hz * _RECORD_BYTES)) if flow.rate_hz else flow.batch_bytes
    return ledger, Paced(opens(ledger, min(flow.batch_bytes, size)), ledger, flow.rate_hz, flow.max_records)
