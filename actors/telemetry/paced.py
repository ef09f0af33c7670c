"""Work for whoever asks, that never takes more than a part of the time: some answers are kept for a while, and those
who ask too often take turns.

    ask ──kept and fresh?──▶ the answer that is there
     └──────────no─────────▶ rest of the last work over? ──▶ work, in a thread ──▶ keep it for 20 times what it took

All answers of one pace share the rest, so that asking for many different things costs no more than asking for one.
What counts is processor time: a monitor that steps back behind a busy pipeline is slow by the clock and harms nobody.

Turns bound what all answers together cost, also where stepping back is no help: in a container with a quota of
processor time whatever the monitor uses is missing in the pipeline, however idle the machine is.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")

#: So many times as long as work took, nothing more is done, unless something else is said.
REST = 20.0
_KEPT, _WAITING = 32, 16


class Turns:
    """At most so many a second; who comes too soon waits, in the order of coming. Used by one event loop.

    Args:
        per_s: how many a second.
        burst: so many after a quiet time need not wait.
    """

    def __init__(self, per_s: float, burst: int) -> None:
        self._every_s = 1.0 / per_s
        self._burst_s = burst / per_s
        self._next = 0.0

    async def take(self) -> None:
        """Wait for one's turn."""
        now = time.monotonic()
        self._next = max(self._next, now - self._burst_s) + self._every_s
        if self._next > now:
            await asyncio.sleep(self._next - now)


class Busy(Exception):
    """Too many wait for an answer already."""


class Paced(Generic[T]):
    """Work at a pace; used by one event loop.

    Args:
        executor: whose thread works.
        least_s: seconds that an answer is kept at least.
        rest: so many times as long as work took, nothing more is done.
    """

    def __init__(self, executor: Executor, least_s: float = 0.5, rest: float = REST) -> None:
        self._executor = executor
        self._least_s = least_s
        self._rest = rest
        self._answers: OrderedDict[Hashable, tuple[float, T]] = OrderedDict()
        self._lock = asyncio.Lock()
        self._waiting = 0
        self._rest_until = 0.0

    async def answer(self, key: Hashable, work: Callable[[], T]) -> T:
        """Return what ``work`` returns, or what it returned a moment ago for this key.

        Raises:
            Busy: try again later.
        """
        found = self._fresh(key)
        if found is None and self._waiting >= _WAITING:
            raise Busy
        if found is None:
            self._waiting += 1
            try:
                async with self._lock:
                    found = self._fresh(key) or await self._do(key, work)
            finally:
                self._waiting -= 1
        return found[0]

    def _fresh(self, key: Hashable) -> tuple[T] | None:
        until, answer = self._answers.get(key, (0.0, None))
        return None if time.monotonic() >= until else (answer,)  # type: ignore[return-value]

    async def _do(self, key: Hashable, work: Callable[[], T]) -> tuple[T]:
        await asyncio.sleep(max(0.0, self._rest_until - time.monotonic()))
        answer, took_s = await asyncio.get_running_loop().run_in_executor(self._executor, _timed, work)
        now = time.monotonic()
        self._rest_until = now + self._rest * took_s
        self._answers[key] = (now + max(self._least_s, self._rest * took_s), answer)
        self._answers.move_to_end(key)
        while len(self._answers) > _KEPT:
            self._answers.popitem(last=False)
        return (answer,)


def _timed(work: Callable[[], T]) -> tuple[T, float]:
    began = time.thread_time()
    return work(), time.thread_time() - began
