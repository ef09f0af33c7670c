"""Which sinks are down, since when, and what of it lasts too long. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator

from actors.runtime.events import Event, OutageBegan, OutageEnded


class Outages:
    """The sinks that cannot be used, by the writer that says so."""

    def __init__(self) -> None:
        self._since: dict[str, tuple[str, float]] = {}

    def heard(self, name: str, problem: str, seconds: float, max_s: float, now: float) -> Iterator[Event]:
        """A writer cannot use its sink for so many seconds already (``problem``), or can again (empty). ``max_s``: how
        long it may last; infinite: for ever."""
        if problem:
            _, since = self._since.get(name, ("", now - seconds))
            if name not in self._since:
                yield outage_began(name, problem, max_s)
            self._since[name] = (problem, since)
        elif self._since.pop(name, None) is not None:
            yield OutageEnded(name, seconds)

    def forget(self, name: str) -> None:
        """The writer is gone: its next generation says for itself."""
        self._since.pop(name, None)

    def problems(self) -> dict[str, str]:
        """What keeps each writer from its sink."""
        return {name: problem for name, (problem, _) in self._since.items()}

    def ends(self, max_s: float) -> list[float]:
        """When each outage will have lasted too long."""
        return [] if max_s == math.inf else [since + max_s for _, since in self._since.values()]

    def overdue(self, max_s: float, now: float) -> str:
        """Which outage has lasted too long, or nothing."""
        return next((f"{name}: {problem}, for more than {max_s:g} s" for name, (problem, since) in self._since.items()
                     if now - since >= max_s), "")


def outage_began(name: str, problem: str, max_s: float) -> OutageBegan:
    """What is said of an outage that may last so long; infinite: for ever."""
    return OutageBegan(name, problem, 0.0 if max_s == math.inf else max_s)
