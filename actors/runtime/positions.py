"""Positions by partition, small: eight bytes for each input unit that is a partition of its own.

A consumer remembers up to where it has applied each partition as long as it lives: what a slow worker has of one that
is over may come still, and must be known for a repetition. Of very many files that is much by name. Units are numbered
one after the other, and such a partition is called ``RUN/NUMBER``; so their positions are in an array for each run.

Pure: no clock, no file.
"""

from __future__ import annotations

from array import array
from collections.abc import Mapping

#: No position.
_NONE = -1
#: Most numbers that an array is made longer by at a time: what is farther off is kept by name.
_MOST_GAP = 65_536


class Positions:
    """The position of each partition.

    Args:
        some: what is known to begin with.
    """

    def __init__(self, some: Mapping[str, int] | None = None) -> None:
        self._named: dict[str, int] = {}
        #: By run: the first number, and a position, or none, for each number from there on.
        self._numbered: dict[str, tuple[int, array[int]]] = {}
        for name, position in (some or {}).items():
            self.put(name, position)

    def get(self, name: str) -> int | None:
        """The position of a partition; None when it is not known."""
        if name in self._named:
            return self._named[name]
        run, number = _number_of(name)
        first, known = self._numbered.get(run, (0, None))
        if known is None or not 0 <= number - first < len(known):
            return None
        position = known[number - first]
        return None if position == _NONE else position

    def put(self, name: str, position: int) -> None:
        """Remember this."""
        run, number = _number_of(name)
        if number < 0:
            self._named[name] = position
            return
        first, known = self._numbered.setdefault(run, (number, array("q")))
        at = number - first
        if name in self._named or not 0 <= at < len(known) + _MOST_GAP:
            self._named[name] = position
            return
        if at >= len(known):
            known.extend([_NONE] * (at + 1 - len(known)))
        known[at] = position


def _number_of(name: str) -> tuple[str, int]:
    """The run and the number of a unit that is a partition of its own; no number of any other."""
    run, slash, number = name.rpartition("/")
    if not slash or not (number.isascii() and number.isdigit()) or str(int(number)) != number:
        return name, -1
    return run, int(number)
