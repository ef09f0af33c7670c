"""Who takes batches on credit, and who gets the next one. Pure."""

from __future__ import annotations

from collections.abc import Iterator

#: More credit than this counts no more: it says that somebody is quick, not that he has too little to do.
_MUCH = 2
#: Batches that take longer, in seconds, are slow: one more is no longer worth having in hand while it is waited for.
SLOW_S = 0.01
#: How much the last answer counts for how long a batch takes.
_NEWEST = 0.3


class Takers:
    """The workers that take batches on credit.

    The next batch goes to who can take most; of those who can take much, to the one who was given one longest ago. So
    one that has just come gets its share, though others have granted many times as much.

    Of slow batches a worker has one more in hand than the one that it works on, whatever it has granted; and those that
    are left when no more wait than there are workers go to workers that have nothing in hand: a second one there would
    wait for the first, and soon another worker has nothing to do.

    ``through_one``: what they do takes no time, but the pool behind them is slow. Then one of them is given all that it
    takes: it knows who in that pool has something in hand from it, and not from another one.
    """

    def __init__(self) -> None:
        self.through_one = False
        #: What each can take.
        self.free: dict[str, int] = {}
        self._held: set[str] = set()
        self._given: dict[str, int] = {}
        self._in_hand: dict[str, int] = {}
        self._batch_s = 0.0  # how long one takes
        self._turns = 0

    def grant(self, worker: str, batches: int, done: int = 0, seconds: float = 0.0) -> None:
        """This worker can take more; it has worked off so many (``done``), in so many seconds together."""
        self.free[worker] = self.free.get(worker, 0) + batches
        if done > 0:
            self._in_hand[worker] = max(0, self._in_hand.get(worker, 0) - done)
            self._batch_s += _NEWEST * (seconds / done - self._batch_s)

    def hold(self, worker: str, on: bool) -> None:
        """Give this worker nothing new, or again."""
        (self._held.add if on else self._held.discard)(worker)

    def lost(self, worker: str) -> None:
        """This worker died, and its credit with it."""
        self.free.pop(worker, None)
        self._given.pop(worker, None)
        self._in_hand.pop(worker, None)
        self._held.discard(worker)

    def take_back(self) -> list[str]:
        """Nobody has credit any more; return who has ever granted some: what any of them grants now may be lost."""
        self.free = dict.fromkeys(self.free, 0)
        self._in_hand.clear()
        return list(self.free)

    def credit(self) -> int:
        """How many they would take."""
        return sum(free for worker, free in self.free.items() if worker not in self._held)

    def idle(self) -> int:
        """How many have nothing in hand and would take a batch."""
        return sum(not self._in_hand.get(worker) for worker in self._free())

    def next(self, waiting: int = 1) -> str | None:
        """Who gets the next batch, if anybody takes one; ``waiting``: so many wait, with that one."""
        worker = max(self._free(), key=self._need, default=None)
        if worker is not None and self._slow_ones(worker) >= (1 if waiting <= len(self.free) else 2):
            return None
        return worker

    def give(self, worker: str) -> None:
        """This worker was given one."""
        self._turns += 1
        self.free[worker] -= 1
        self._in_hand[worker] = self._in_hand.get(worker, 0) + 1
        self._given[worker] = self._turns

    def _free(self) -> Iterator[str]:
        return (worker for worker, free in self.free.items() if free > 0 and worker not in self._held)

    def _slow_ones(self, worker: str) -> int:
        return self._in_hand.get(worker, 0) if self._batch_s >= SLOW_S else 0

    def _need(self, worker: str) -> tuple[int, int, int]:
        if self.through_one and self._batch_s < SLOW_S:
            return 0, 0, self._given.get(worker, 0)
        return -self._slow_ones(worker), min(self.free[worker], _MUCH), -self._given.get(worker, 0)
