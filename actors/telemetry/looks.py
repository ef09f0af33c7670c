"""One look at the run per interval, for everybody: clients cost an answer each, never a look.

    Watcher, in a thread ──▶ Look ──▶ history, metrics, every open stream
                              └─ JSON and stream message are made when the first client wants them, once
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from functools import cached_property
from pathlib import Path

import msgspec

from actors.runtime.eventlog import Follower
from actors.telemetry.model import Happening, Status
from actors.telemetry.watcher import Watcher

#: What may go wrong with a look: the run has ended, or its files are not what they should be.
_PROBLEMS = (OSError, ValueError)


class Look:
    """A look, encoded at most once.

    Args:
        status: what was seen.
        news: what has happened since the look before, each with its number in the run.
    """

    def __init__(self, status: Status, news: Sequence[tuple[int, Happening]]) -> None:
        self.status = status
        self.news = news

    @cached_property
    def json(self) -> bytes:
        """The status as JSON."""
        return msgspec.json.encode(self.status)

    @cached_property
    def message(self) -> bytes:
        """The status as a message of the event stream."""
        return b"event: status\ndata: " + self.json + b"\n\n"

    @cached_property
    def told(self) -> list[tuple[int, bytes]]:
        """The news as messages of the event stream; each has an id, so that a page can say which it has."""
        return [(number, b"id: %d\nevent: happening\ndata: %s\n\n" % (number, msgspec.json.encode(one)))
                for number, one in self.news]


class Looks:
    """Looks again and again.

    Args:
        run_dir: the run directory.
        interval_s: seconds between two looks.
        executor: whose one thread looks.
        takers: who is given every look, in the event loop.
    """

    def __init__(self, run_dir: Path, interval_s: float, executor: Executor,
                 takers: Sequence[Callable[[Look], None]]) -> None:
        self._run_dir = run_dir
        self._interval_s = interval_s
        self._executor = executor
        self._takers = takers
        self._watcher: Watcher | None = None
        self._log = Follower(run_dir)
        self._number = 0
        self._begun = asyncio.Event()
        #: The last look, and why there is no newer one.
        self.last: Look | None = None
        self.problem = "the first look is not over yet"

    async def run(self) -> None:
        """Look at every interval, until cancelled."""
        while True:
            began = time.monotonic()
            await self.once()
            await asyncio.sleep(max(0.05, began + self._interval_s - time.monotonic()))

    async def once(self) -> None:
        """Look, and give it to everybody."""
        try:
            look = await asyncio.get_running_loop().run_in_executor(self._executor, self._look)
        except _PROBLEMS as error:
            self.problem = str(error)
        else:
            self.problem, self.last = "", look
            for take in self._takers:
                take(look)
        self._begun.set()

    async def first(self) -> Look | None:
        """Return the last look; wait for the first one. None: there is none, see ``problem``."""
        await self._begun.wait()
        return self.last

    def _look(self) -> Look:
        if self._watcher is None:
            self._watcher = Watcher(self._run_dir)
        news = []
        for happened in self._log.new():
            self._number += 1
            fields = happened.event.fields()
            news.append((self._number, Happening(
                at=happened.at, kind=fields["event"], text=happened.event.text(), fields=fields)))
        return Look(self._watcher.status(), news)
