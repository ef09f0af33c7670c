"""The throughput of the last ten minutes, so that a page that is loaded anew has the past.

Kept by column, as it is drawn: the times, and for each outcome its rate at each of them.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from actors.telemetry.model import Snapshot

#: Seconds that are kept, and seconds between two points at least.
KEPT_S, STEP_S = 600.0, 1.0


class History:
    """A ring of rates.

    Args:
        kept_s: how far back it goes.
        step_s: seconds between two points, at least: looks in between are part of the next point.
    """

    def __init__(self, kept_s: float = KEPT_S, step_s: float = STEP_S) -> None:
        self._kept_s = kept_s
        self._step_s = step_s
        self._before: Snapshot | None = None
        self._points: deque[tuple[float, float, dict[str, float]]] = deque()

    def take(self, look: Snapshot) -> None:
        """Take the figures of a look; of another state of affairs (counts that went back) a rate is 0."""
        before = self._before
        if before is not None and look.clock - before.clock < self._step_s:
            return
        self._before = look
        if before is None:
            return
        seconds = look.clock - before.clock
        rates = {name: max(0.0, (number - before.outcomes.get(name, 0)) / seconds)
                 for name, number in look.outcomes.items()}
        self._points.append((look.clock, look.at, rates))
        while self._points[0][0] < look.clock - self._kept_s:
            self._points.popleft()

    def columns(self) -> dict[str, Any]:
        """Return ``{"at": [seconds since 1970, …], "per_s": {outcome: [records per second, …], …}}``, oldest first.

        Outcomes are those of ``Snapshot.outcomes``; all lists are equally long.
        """
        names = dict.fromkeys(name for _, _, rates in self._points for name in rates)
        return {"at": [round(at, 3) for _, at, _ in self._points],
                "per_s": {name: [round(rates.get(name, 0.0), 1) for _, _, rates in self._points] for name in names}}
