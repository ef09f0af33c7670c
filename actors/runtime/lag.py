"""How far a run is behind its source: asked of the source once a second, left where who looks at the run finds it.

    source.lag() ──by unit──▶ their names, the furthest behind first ──rename──▶ RUN_DIR/lag.json ──▶ Watcher

It is a file beside the board, since a slot of the board has a fixed size and a topic any number of partitions. Of very
many the worst are named, all are counted.

The reader is the one that knows: it asks only when the source can be read, and what it has left is not touched when it
cannot, or when the reader is gone. So what is shown has its age, and old figures are never taken for those of now.
"""

from __future__ import annotations

import contextlib
import heapq
from collections.abc import Callable, Sequence
from operator import itemgetter
from pathlib import Path

import msgspec

from actors.runtime.errors import Retryable
from actors.runtime.ports import Source
from actors.runtime.rundir import path_for
from actors.runtime.values import Unit

#: The file in the run directory.
LAG = "lag.json"
#: Most partitions that are named.
MOST = 1000
#: Seconds between two questions.
EVERY_S = 1.0


class Behind(msgspec.Struct, frozen=True):
    """What is in the file.

    Attributes:
        at: when the source knew it (monotonic seconds).
        records: how many, of all partitions together.
        partitions: how many these are.
        worst: name and records of those that are furthest behind, these first.
    """

    at: float
    records: int
    partitions: int
    worst: list[tuple[str, int]]


class Lagging:
    """Asks, and writes it down.

    Args:
        source: the opened source.
        units: the units that are read now.
        state: the state directory of the run.
    """

    def __init__(self, source: Source, units: Callable[[], Sequence[Unit]], state: Path) -> None:
        self._source = source
        self._units = units
        self._state = state
        self._path: Path | None = None
        self._ask_at = 0.0

    def look(self, now: float) -> None:
        """Ask, when it is time to. Call only while the source can be read."""
        if now < self._ask_at:
            return
        self._ask_at = now + EVERY_S
        with contextlib.suppress(Retryable):  # what it knew last stays, and grows old
            found = self._source.lag()
            if found or self._path is not None:
                self._leave(found, now)

    def sooner(self, wait_s: float | None, now: float) -> float | None:
        """How long the reader may wait, when it would wait so long for everything else."""
        if self._path is None:  # the source has nothing of the kind
            return wait_s
        until_s = max(0.0, self._ask_at - now)
        return until_s if wait_s is None else min(wait_s, until_s)

    def _leave(self, found: dict[int, int], now: float) -> None:
        if self._path is None:
            self._path = path_for(self._state) / LAG
        behind: dict[str, int] = {}
        for unit in self._units():
            if unit.id in found:
                behind[unit.name] = behind.get(unit.name, 0) + max(0, found[unit.id])
        data = msgspec.json.encode(Behind(now, sum(behind.values()), len(behind),
                                          heapq.nlargest(MOST, behind.items(), key=itemgetter(1))))
        with contextlib.suppress(OSError):  # a full disk, or no run: nothing hangs on it
            begun = self._path.with_suffix(".new")
            begun.write_bytes(data)
            begun.replace(self._path)


def read_lag(run_dir: Path) -> Behind | None:
    """What a run has left; None: its source has nothing of the kind."""
    try:
        found = msgspec.json.decode((run_dir / LAG).read_bytes(), type=Behind)
    except (OSError, msgspec.MsgspecError):
        return None
    return found if found.partitions else None
