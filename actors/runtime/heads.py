"""How the files begin that are there when a source looks first: windows are counted from the oldest of them.

    file ──4 KiB──▶ worker ──▶ span: its first record, the least within the disorder, the greatest
           ◀── more of those in which an older one may follow ──┘

Logs that were rotated before the first look, and the same lines in one file, have the same windows. So nothing is read
before it is known; a worker is asked what times a piece has, and nothing is made of the piece.

Guarantees:

* The result is a function of what the files have, whatever their number, names and sizes, whatever is read when.
* In memory are a few numbers for each file, and the pieces that are under way. Most files are asked once. More is asked
  only of those that the oldest record may be in: whose first is not older than that by more than the disorder, and of
  which no record is known that is so much younger than the first that what follows would be late.

What does not work: the first that is read (which file that is says its name, or who was fast); to hold a batch of each
file until all have answered (with some thousands of files so many are open that consumers no longer know what is a
repetition); the first records alone (one file that is shuffled within the disorder has another first record).

Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable

from actors.runtime.messages import NO_TIMES, Span

#: So many bytes are looked at first, and so many times as many if that is not enough.
FIRST_BYTES, GROWTH = 4096, 8


class Heads:
    """See above.

    Args:
        units: the files.
        disorder_ms: how much older than one before it a record may be.
        most_bytes: of no file more is looked at than this.
    """

    def __init__(self, units: Iterable[int], disorder_ms: int, most_bytes: int) -> None:
        self._disorder_ms = disorder_ms
        self._most_bytes = most_bytes
        self._bytes = min(FIRST_BYTES, most_bytes)
        self._spans: dict[int, Span] = {}
        self._all: set[int] = set()
        self._wanted = deque(units)
        self._asked: set[int] = set()

    def next(self) -> tuple[int, int] | None:
        """The file to ask about, and how many bytes of it, from its beginning; None: others have to answer first, or
        nothing more is wanted."""
        if not self._wanted and not self._asked:
            self._look_further()
        if not self._wanted:
            return None
        self._asked.add(self._wanted[0])
        return self._wanted.popleft(), self._bytes

    def saw(self, unit: int, span: Span, is_all: bool) -> None:
        """A file begins so; ``is_all``: more of it is not there."""
        self._asked.discard(unit)
        self._spans[unit] = span
        if is_all:
            self._all.add(unit)

    @property
    def is_done(self) -> bool:
        """Whether nothing is wanted, or under way."""
        if not self._wanted and not self._asked:
            self._look_further()
        return not self._wanted and not self._asked

    @property
    def least(self) -> int | None:
        """The oldest event time that is not late in its file; None: there is none."""
        return min((span.least for span in self._spans.values() if span != NO_TIMES), default=None)

    def may_get_older(self) -> bool:
        """Whether a file that goes on may yet bring a record that is older than all, and not late in it. One without
        any has no part in it: what it may bring is not of now."""
        least = self.least
        return any(self._may_bring(span, least) for span in self._spans.values() if span != NO_TIMES)

    def _may_bring(self, span: Span, least: int | None) -> bool:
        if span == NO_TIMES or least is None:
            return True
        return span.first - self._disorder_ms < least and span.greatest < span.first + self._disorder_ms

    def _look_further(self) -> None:
        if self._bytes >= self._most_bytes:
            return
        least = self.least
        self._wanted.extend(unit for unit, span in self._spans.items()
                            if unit not in self._all and self._may_bring(span, least))
        if self._wanted:
            self._bytes = min(GROWTH * self._bytes, self._most_bytes)
