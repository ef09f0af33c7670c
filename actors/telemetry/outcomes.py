"""What has become of the records so far, read from the reader's ledger beside it, at a bounded cost.

The file is opened for each look and closed again: a connection that is kept to the end of the run would be the last
one, and as it may only read it would leave the ledger's write-ahead log behind. A look costs about 1 µs for each unit;
so after it nothing is read for fifty times the processor time that it took, nor before the file has changed.
"""

from __future__ import annotations

import sqlite3
import time
from contextlib import closing
from pathlib import Path

import msgspec

from actors.runtime.counts import BEFORE, Counts, merge
from actors.runtime.database import open_for_reading

#: Part of the time that may go into reading.
SHARE = 0.02
#: Two changes within so many seconds may look like one by the time of the file.
_UNSURE_S = 1.0
_counts = msgspec.json.Decoder(dict[str, int])


class Outcomes:
    """The outcome counts of all runs on a state directory.

    Args:
        path: of the ledger; it may not be there yet.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._counts: Counts = {}
        self._seen: list[tuple[int, int]] = []
        self._sure = False
        self._not_before = 0.0

    def now(self) -> Counts:
        """Return the counts of now, or, where they would cost too much, those of the last look."""
        began = time.thread_time()  # a reader that steps back behind the run is slow by the clock, and costs nothing
        seen = self._signs()
        if time.monotonic() < self._not_before or (seen == self._seen and self._sure):
            return self._counts
        try:
            self._counts = _read(self._path)
        except (sqlite3.Error, msgspec.MsgspecError):  # it is not there yet, or is just being made
            return self._counts
        self._seen, self._sure = seen, all(time.time() - at / 1e9 > _UNSURE_S for at, _ in seen)
        self._not_before = time.monotonic() + (time.thread_time() - began) / SHARE
        return self._counts

    def _signs(self) -> list[tuple[int, int]]:
        """When the file and its log were written last, in ns since 1970, and their sizes."""
        found = []
        for path in (self._path, Path(f"{self._path}-wal")):
            try:
                status = path.stat()
            except OSError:
                continue
            found.append((status.st_mtime_ns, status.st_size))
        return found


def _read(path: Path) -> Counts:
    total: Counts = {}
    with closing(open_for_reading(path)) as ledger:
        for (text,) in ledger.execute("SELECT counts FROM units"):
            merge(total, _counts.decode(text))
    total.pop(BEFORE, None)  # they are among those that are read
    return total
