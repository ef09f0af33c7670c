"""An outside system, or a disk, that cannot be used now: said on the board and to the supervisor, tried again."""

from __future__ import annotations

import random

from actors.runtime.actor import Post
from actors.runtime.errors import storable
from actors.runtime.messages import Outage
from actors.runtime.restart import full_jitter

#: Bounds of the delay before the next try, full jitter between them.
BASE_S, MAX_S = 0.05, 2.0


class Trouble:
    """What one actor waits for.

    Args:
        post: where it is said.
    """

    def __init__(self, post: Post) -> None:
        self._post = post
        self.random = random.Random()
        self._failures = 0
        self._since = 0.0
        self._retry_at = 0.0

    def wait_s(self, now: float) -> float:
        """Seconds until the next try; 0 when it is due, or there is no trouble."""
        return max(0.0, self._retry_at - now)

    def met(self, problem: str, now: float) -> float:
        """It failed (again); return the seconds until the next try."""
        slot, problem = self._post.slot, storable(problem)  # it travels, and may quote what it was given
        if not self._failures:
            self._since = slot.down_since = now
        if slot.note != problem:
            self._post.tell(Outage(problem, now - self._since))
        slot.note = problem
        slot.phase("RETRY")
        delay = full_jitter(self._failures, BASE_S, MAX_S, self.random)
        self._failures += 1
        self._retry_at = now + delay
        return delay

    def give_up(self) -> None:
        """It need not work again: what was said of it stays."""
        self._failures, self._retry_at = 0, 0.0

    def over(self, now: float) -> None:
        """It worked."""
        if self._failures:
            self._failures = 0
            self._post.slot.note, self._post.slot.down_since = "", 0.0
            self._post.tell(Outage("", now - self._since))
