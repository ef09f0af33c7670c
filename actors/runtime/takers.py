"""Who takes batches on credit, and who gets the next one. Pure."""

from __future__ import annotations

#: More credit than this counts no more: it says that somebody is quick, not that he has too little to do.
_MUCH = 2


class Takers:
    """The workers that take batches on credit.

    The next batch goes to who can take most; of those who can take much, to the one who was given one longest ago. So
    one that has just come gets its share, though others have granted many times as much.
    """

    def __init__(self) -> None:
        #: What each can take.
        self.free: dict[str, int] = {}
        self._held: set[str] = set()
        self._given: dict[str, int] = {}
        self._turns = 0

    def grant(self, worker: str, batches: int) -> None:
        """This worker can take more."""
        self.free[worker] = self.free.get(worker, 0) + batches

    def hold(self, worker: str, on: bool) -> None:
        """Give this worker nothing new, or again."""
        (self._held.add if on else self._held.discard)(worker)

    def lost(self, worker: str) -> None:
        """This worker died, and its credit with it."""
        self.free.pop(worker, None)
        self._given.pop(worker, None)
        self._held.discard(worker)

    def take_back(self) -> list[str]:
        """Nobody has credit any more; return who has ever granted some: what any of them grants now may be lost."""
        self.free = dict.fromkeys(self.free, 0)
        return list(self.free)

    def credit(self) -> int:
        """How many they would take."""
        return sum(free for worker, free in self.free.items() if worker not in self._held)

    def next(self) -> str | None:
        """Who gets the next batch, if anybody takes one."""
        free = (worker for worker, free in self.free.items() if free > 0 and worker not in self._held)
        return max(free, key=self._need, default=None)

    def give(self, worker: str) -> None:
        """This worker was given one."""
        self._turns += 1
        self.free[worker] -= 1
        self._given[worker] = self._turns

    def _need(self, worker: str) -> tuple[int, int]:
        return min(self.free[worker], _MUCH), -self._given.get(worker, 0)
