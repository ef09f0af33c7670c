"""The partitions that are read, and whose turn it is."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable

from actors.runtime.values import Chunk
from actors.sources.kafka_partitions import Key, Partition


class Roster:
    """Partitions by topic and number; those that have something to hand out wait for their turn.

    Attributes:
        by_key: the partitions.
        units: the ids of all units that this reader has had.
    """

    def __init__(self) -> None:
        self.by_key: dict[Key, Partition] = {}
        self.units: set[int] = set()
        self._is_stopped = False
        self._turns: deque[Partition] = deque()

    def add(self, partition: Partition) -> None:
        """Read this one, too."""
        self.by_key[partition.key] = partition
        self.units.add(partition.unit.id)
        self.queue((partition,))

    def drop(self, key: Key) -> Partition | None:
        """Read this one no more; what is held of it is unread."""
        partition = self.by_key.pop(key, None)
        if partition is not None:
            partition.is_leaving = True
        return partition

    def hold(self, keys: Iterable[Key]) -> None:
        """These are taken away: nothing more of them is handed out, unless they are gone altogether."""
        for key in keys:
            if key in self.by_key:
                self.by_key[key].is_leaving = True

    def take_leave(self, partition: Partition) -> None:
        """Nothing more comes of this one: what is held of it is handed out, and another may have its place."""
        partition.is_gone, partition.is_leaving = True, False
        self.units.add(partition.unit.id)
        if self.by_key.get(partition.key) is partition:
            del self.by_key[partition.key]
        self.queue((partition,))

    def queue(self, partitions: Iterable[Partition]) -> None:
        """These may have something to hand out."""
        for partition in partitions:
            if not partition.queued and not partition.is_leaving and (partition.is_gone or not self._is_stopped):
                partition.queued = True
                self._turns.append(partition)

    def stop(self, why: str) -> None:
        """What is held stays for a later run. What has gone since cannot: that it is lost is all that is handed out."""
        self._is_stopped = True
        waiting, self._turns = self._turns, deque()
        for partition in waiting:
            partition.queued = False
            if partition.is_gone:
                partition.drop(why)
        self.queue(waiting)

    def held_bytes(self) -> int:
        """What is held and not handed out, about."""
        return sum(partition.size for partition in self._turns)

    def next(self, batch_bytes: int, is_all: bool, now: float, drained: Callable[[Partition], None]) -> Chunk | None:
        """Return the next chunk, of the partition whose turn it is; None: none has one now.

        Args:
            batch_bytes: size of a chunk, about.
            is_all: nothing more is at hand.
            now: monotonic seconds.
            drained: told of each that has nothing left for now.
        """
        for _ in range(len(self._turns)):
            partition = self._turns.popleft()
            partition.queued = False
            if partition.is_leaving:
                continue
            chunk = partition.next(batch_bytes, is_all, now)
            if chunk is not None or partition.has_more():
                self.queue((partition,))
            else:
                drained(partition)
            if chunk is not None:
                return chunk
        return None

    def is_waiting(self) -> bool:
        """Whether any has something to hand out."""
        return bool(self._turns)
