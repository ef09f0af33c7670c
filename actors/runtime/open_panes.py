"""The windows of one shard that are in memory: found by what they are, by what they touch, and by when they are due.

What is looked at is what is due, or touched, never all of them: a commit costs the same however many are open.

Pure: no file, no clock.
"""

from __future__ import annotations

import heapq
from bisect import bisect_left
from collections.abc import Iterator
from typing import Any

from actors.runtime.windows import Layout, WindowId


class Pane:
    """One window of one key, in memory.

    Attributes:
        revision: how often its rows were emitted.
        is_changed: whether anything has come since.
        base: bytes that it was written anew with; size: bytes of all its increments since.
        into: the pane that it has become a part of.
        kept_bytes: what it took while it was closed, if it was, and is open again since the last commit.
    """

    __slots__ = ("base", "end", "id", "into", "is_changed", "kept_bytes", "key", "numbers", "revision", "size", "start")

    def __init__(self, number: int, start: int, end: int, key: tuple[Any, ...], revision: int = 0) -> None:
        self.id = number
        self.start = start
        self.end = end
        self.key = key
        self.revision = revision
        self.is_changed = False
        self.numbers: dict[tuple[Any, ...], list[Any]] = {}
        self.base = self.size = self.kept_bytes = 0
        self.into: Pane | None = None

    @property
    def window(self) -> WindowId:
        """What it is known by."""
        return (self.start, self.end, self.key)

    def now(self) -> Pane:
        """The pane that it is by now: itself, or what it has become a part of."""
        pane = self
        while pane.into is not None:
            pane = pane.into
        if pane is not self:
            self.into = pane
        return pane


class OpenPanes:
    """The panes that take more, or were not emitted as they are.

    Args:
        layout: of the windows.
    """

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._panes: dict[WindowId, Pane] = {}
        self._by_id: dict[int, Pane] = {}
        #: Sessions of one key are apart from one another: in the order of their starts, and of their ends.
        self._by_key: dict[tuple[Any, ...], list[Pane]] = {}
        #: (end, number) of those that were not found complete yet, and of those that are kept for what is late.
        self._ends: list[tuple[int, int]] = []
        self._kept: list[tuple[int, int]] = []

    def __len__(self) -> int:
        return len(self._panes)

    def __iter__(self) -> Iterator[Pane]:
        return iter(self._panes.values())

    def get(self, window: WindowId) -> Pane | None:
        """The pane of a window."""
        return self._panes.get(window)

    def touching(self, start: int, end: int, key: tuple[Any, ...]) -> list[Pane]:
        """Sessions of this key that a session would overlap, in order."""
        some = self._by_key.get(key)
        if not some:
            return []
        found = []
        at = bisect_left(some, start, key=_start)
        if at and some[at - 1].end > start:
            at -= 1
        while at < len(some) and some[at].start < end:
            found.append(some[at])
            at += 1
        return found

    def add(self, pane: Pane) -> Pane:
        """Keep this pane; its window changes by ``grow`` only, as long as it is here."""
        self._panes[pane.window] = pane
        self._by_id[pane.id] = pane
        heapq.heappush(self._ends, (pane.end, pane.id))
        if self._layout.kind == "session":
            some = self._by_key.setdefault(pane.key, [])
            some.insert(bisect_left(some, pane.start, key=_start), pane)
        return pane

    def grow(self, pane: Pane, start: int, end: int) -> None:
        """A session that is here becomes longer; it touches no other, so it keeps its place among them."""
        if start >= pane.start and end <= pane.end:
            return
        del self._panes[pane.window]
        pane.start = min(pane.start, start)
        if end > pane.end:
            pane.end = end
            heapq.heappush(self._ends, (end, pane.id))
        self._panes[pane.window] = pane

    def forget(self, pane: Pane) -> None:
        """Take this pane out."""
        del self._panes[pane.window], self._by_id[pane.id]
        if self._layout.kind == "session":
            some = self._by_key[pane.key]
            del some[bisect_left(some, pane.start, key=_start)]
            if not some:
                del self._by_key[pane.key]

    def completed(self, complete: int) -> list[Pane]:
        """The panes that end there, or before, and were not given before; and those that are over by now."""
        found: dict[int, Pane] = {}
        while self._ends and self._ends[0][0] <= complete:
            entry = heapq.heappop(self._ends)
            if self._is_there(entry):
                found[entry[1]] = self._by_id[entry[1]]
                heapq.heappush(self._kept, entry)
        while self._kept and self._layout.is_over(self._kept[0][0], complete):
            entry = heapq.heappop(self._kept)
            if self._is_there(entry):
                found[entry[1]] = self._by_id[entry[1]]
        return list(found.values())

    def _is_there(self, entry: tuple[int, int]) -> bool:
        """Whether the pane is still here, with this end: a session may have grown."""
        pane = self._by_id.get(entry[1])
        return pane is not None and pane.end == entry[0]


def _start(pane: Pane) -> int:
    return pane.start
