"""The newest event times of a partition: a few of them say how far its watermark is, and no wrong clock alone moves it.

    times so far   … 17:02  17:05  17:03        +1 year              17:06 …
                     └── newest = 17:05 ──┘     ├─ a jump: more than ``jump_s`` ahead ─┐
                                                └─ believed when ``jump_confirm`` more are there, or beyond

The records of a partition are believed up to a time: the largest from which a way leads down to the
(``jump_confirm`` + 1)th newest of all in steps of at most ``jump_s`` (or the disorder, if that is more). So of what
has come only the ``jump_confirm`` + 1 newest times matter; they are what a batch says, and what is kept.

Guarantees:

* It is a function of which times have come, in whatever order, and however they are cut into batches: the newest of
  two sets together are the newest of both.
* The more has come the further it is, so whoever knows a part only (a worker knows its own batch) never believes what
  is not believed of all of it. ``may_reach`` says what it could be of all: only where the two differ for a record is
  the batch judged once more, by who is told what was before.
* As long as a partition has had no more than ``jump_confirm`` records nothing is believed of it, so nothing is closed;
  who is late among these is judged by the oldest of them.

What does not work: the newest record alone (one line with a wrong year closes everybody's windows, and all that
comes behind it is late); a limit by this machine's clock alone (an old log is of long ago, so a wrong line of it is not
in the future); a jump that counts when nothing older comes for a while (by a clock, or by what is in the same batch).
What it cannot tell: a clock that is wrong in every line of a file, and so many wrong lines in one.

Pure.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence

from actors.runtime.sections import WindowOptions

#: Before all time.
NEVER = -(1 << 62)
#: The newest times of some records, the largest first: as many as matter, or all.
Times = tuple[int, ...]


class Newest:
    """What to make of newest times. All in ms.

    Args:
        options: how much disorder there is, and what a jump is.

    Attributes:
        count: so many times matter.
    """

    def __init__(self, options: WindowOptions) -> None:
        self.count = options.jump_confirm + 1
        self._step = round(1000 * max(options.jump_s, options.disorder_s))

    def of(self, times: Sequence[int]) -> Times:
        """The newest of these, in any order; or others of which the same can be told, together with whatever."""
        if len(times) < self.count:
            return tuple(sorted(times, reverse=True))
        return self.of_range(min(times), max(times), len(times)) or tuple(heapq.nlargest(self.count, times))

    def of_range(self, oldest: int, newest: int, number: int) -> Times:
        """The same, of so many times between two of them; empty: it depends on what the others are.

        Where a step leads from the oldest to the newest, it is of no account where between them the others are.
        """
        if number < self.count or (newest - oldest > self._step and self.count > 1):
            return ()
        return (newest, *[oldest] * (self.count - 1))

    def both(self, some: Times, others: Times) -> Times:
        """The newest of all of these."""
        if not (some and others):
            return some or others
        return tuple(sorted(some + others, reverse=True)[:self.count])

    def believed(self, times: Times) -> int:
        """Up to where records are believed; ``NEVER``: there are too few."""
        return self._from(times, self.count - 1) if len(times) >= self.count else NEVER

    def judging(self, times: Times) -> int:
        """The newest time that what comes next is judged by: what is believed, or, of few, what the oldest leads to."""
        return self._from(times, min(self.count, len(times)) - 1) if times else NEVER

    def may_reach(self, before: Times, batch: Times) -> int:
        """No record of a batch is judged by more than this, or by the newest time in the batch before it.

        Args:
            before: the newest times before the batch.
            batch: the newest times in it.
        """
        if len(before) < self.count:
            return before[0] if before else NEVER
        known = self.believed(before)
        if known == before[0]:
            return known
        after = self.believed(self.both(before, batch))
        return known if after < min(at for at in before if at > known) else after

    def _from(self, times: Times, index: int) -> int:
        while index and times[index - 1] - times[index] <= self._step:
            index -= 1
        return times[index]
