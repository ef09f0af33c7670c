"""Where partitions end, asked for while nothing, or not enough, is fetched of them.

What the client says of an end is what came with its last fetch. One that is paused, or whose queue is full because the
pipeline is slow or a sink is down, fetches nothing: an operator would see a lag that stands still while it grows.

Only for people: a partition is asked for by its name, under which another may lie by now. What is told as lost rests on
what was fetched.
"""

from __future__ import annotations

from collections.abc import Iterable

from actors.sources.kafka_lookups import LATEST, Lookups, Question
from actors.sources.kafka_partitions import Key, Partition

#: Seconds between two questions, and for how long an answer counts: that of a partition that is fetched again is older
#: than what comes with its records.
ASK_S, GOOD_S = 3.0, 8.0


class Ends:
    """See above.

    Args:
        lookups: asks, and does not wait.
    """

    def __init__(self, lookups: Lookups) -> None:
        self._lookups = lookups
        self._question: Question[Key, int | None] | None = None
        self._asked: dict[Key, Partition] = {}
        self._ends: dict[int, int] = {}  # by unit: one that is made anew under the same name is another
        self._ask_at = self._good_until = 0.0

    def turn(self, partitions: Iterable[Partition], is_behind: bool, now: float) -> None:
        """Hear what was answered; ask anew when it is time.

        Args:
            partitions: that are read.
            is_behind: what the client knows of their ends may be old.
            now: monotonic seconds.
        """
        if self._question is not None and self._question.is_answered():
            found, _ = self._question.answers()
            self._ends = {self._asked[key].unit.id: end for key, end in found.items() if end is not None}
            self._question, self._good_until = None, now + GOOD_S
        if is_behind and self._question is None and now >= self._ask_at:
            self._ask_at = now + ASK_S
            self._asked = {one.key: one for one in partitions if not one.is_over}
            self._question = self._lookups.offsets(dict.fromkeys(self._asked, LATEST))

    def of(self, partition: Partition, now: float) -> int:
        """Where a partition ended a moment ago; 0: nobody has asked."""
        return self._ends.get(partition.unit.id, 0) if now < self._good_until else 0
