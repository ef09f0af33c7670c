"""Windows without records, between those that have some: which of them are emitted, with ``window.empty = "emit"``.

    records:   first ████ ░░░░ ░░░░ ████ ░░░░ … ░░░░ ████
    emitted:        ✓    ✓    ✓    ✓    ✓  10,000 in a row, then one event, and none until there are records again

A window is empty when it is closed and nothing was folded into it. None is before the first that has records, nor
behind the last when the input has ended. Pure: what is emitted is a function of which windows have records, and of how
far they are closed.
"""

from __future__ import annotations

from collections.abc import Iterable

#: So many windows in a row are emitted at most; a gap that is longer may be a wrong clock.
MOST_IN_A_ROW = 10_000


class EmptyWindows:
    """See above. All times in ms.

    Args:
        every: from the beginning of a window to that of the next.
        size: of a window.
        known: starts of the first and the last window with records, and of the next that nobody has looked at; None: no
            window has been closed.

    Attributes:
        known: the same, to be kept.
        left_out: starts of windows from which on none is emitted: they are to be told, and taken out.
    """

    def __init__(self, every: int, size: int, known: tuple[int, int, int] | None) -> None:
        self._every = every
        self._size = size
        self.known = known
        self.left_out: list[int] = []

    def before(self, start: int) -> Iterable[int]:
        """The starts of the empty windows before this one, which is closed, and has records."""
        if self.known is None:
            self.known = (start, start, start + self._every)
            return ()
        first, last, then = self.known
        if start < then:  # what was late for it has come
            return ()
        found = self._some(last, then, start)
        self.known = (first, start, start + self._every)
        return found

    def up_to(self, complete: int) -> Iterable[int]:
        """The starts of the empty windows that end there, or before."""
        if self.known is None:
            return ()
        first, last, then = self.known
        end = last + ((complete - self._size - last) // self._every + 1) * self._every
        if end <= then:
            return ()
        self.known = (first, last, end)
        return self._some(last, then, end)

    def has(self, start: int) -> bool:
        """Whether this window was emitted, if it has had no records."""
        return self.known is not None and self.known[0] < start < self.known[2]

    def _some(self, last: int, then: int, end: int) -> Iterable[int]:
        most = last + (MOST_IN_A_ROW + 1) * self._every
        if then <= most < end:
            self.left_out.append(most)
        return range(then, min(end, most), self._every)
