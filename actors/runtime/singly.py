"""How a consumer with fixed parts (a writer, a shard) goes on after a death: a part at a time, which the board names.

    in peace          groups: nothing is said to be in hand, and a death blames nobody
    after a death     the next parts one by one, each in hand while it is applied: ``MOST`` of them, after one more
                      death twice as many, for the one that kills may lie that far behind the first that is open
    a part alone      (its header says so) nothing else for a second before it, and it stays in hand for a second; what
                      a shard merges it merges with itself first, for it may be what is there already that kills

What runs here is an application's (a sink of its own, the ``merge`` of a fold), and a record can kill it like a worker.
What is applied cannot be tried and thrown away first, as a worker does it. So a batch that a consumer has died with
three times is delivered in pieces, these in smaller ones, until a single record is left; that is applied alone, and
given up when its consumer dies with it (``poison.py`` decides). All is applied in order, as ever.

What does not work: to take the packed items of a part apart (only their sink knows how); to give up what was in hand
when others were applied just before it (a death may come late, by a thread).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable

from actors.runtime.actor import Post
from actors.runtime.examine import LATE_S, pausing
from actors.runtime.marks import NO_MARK, Mark
from actors.runtime.messages import NOTHING, BatchId, Part
from actors.runtime.progress import progress

#: So many parts are taken one by one after a death: as many as are open by default, and at most a group. After several
#: deaths so many at most.
MOST, _MOST_OF_ALL = 256, 4096


class Singly:
    """See above.

    Args:
        post: the consumer's; its slot on the board says what is in hand.
        clock: monotonic seconds.
        pause: waits so many seconds; by default with signs that it does.
    """

    def __init__(self, post: Post, clock: Callable[[], float] = time.monotonic,
                 pause: Callable[[float], None] | None = None) -> None:
        self._post = post
        self._clock = clock
        self._pause = pause or pausing(progress)
        self._left = min(_MOST_OF_ALL, MOST << min(16, post.generation - 2)) if post.generation > 1 else 0
        self._done_at = -math.inf
        self._held: Part | None = None

    @property
    def holds(self) -> bool:
        """Whether a part is in hand."""
        return self._held is not None

    def wants(self, part: Part) -> bool:
        """Whether this part is to be applied with no other."""
        return part.alone or self._left > 0

    def begin(self, part: Part) -> None:
        """Have this part in hand, when its silence is over."""
        if part.alone:
            self._pause(max(0.0, self._done_at + LATE_S - self._clock()))
        self._held = part
        self._post.slot.mark(Mark(part.start, part.start, part.end, part.alone))
        self._post.slot.take(part.id)

    def beside(self) -> None:
        """What is in hand was alone so far; from here on something else is worked on with it, and may be to blame."""
        if self._held is not None and self._held.alone:
            self._pause(LATE_S)
            self._post.slot.mark(Mark(self._held.start, self._held.start, self._held.end))

    def emit(self, entry: BatchId) -> None:
        """What is done from here on is emitted, and no fault of the part that was applied last."""
        if self._post.generation > 1:
            self._post.slot.take(entry)

    def linger(self) -> None:
        """The part in hand is applied: wait for what comes late of it."""
        if self._held is not None:
            self._left = max(0, self._left - 1)
            if self._held.alone:
                self._pause(LATE_S)

    def done(self) -> None:
        """Nothing is in hand any more, and something was done just now."""
        self._done_at = self._clock()
        if self._held is not None or self._post.generation > 1:
            self._held = None
            self._post.slot.take(NOTHING)
            self._post.slot.mark(NO_MARK)
