"""How many bytes are read of how many, over units of which there may be very many: kept up as they change."""

from __future__ import annotations

from actors.sources.tail import Tail


class Amounts:
    """Bytes of the units that a run reads."""

    def __init__(self) -> None:
        self._of: dict[int, tuple[int, int]] = {}
        self._read = self._all = 0

    def __call__(self) -> tuple[int, int]:
        """Bytes read, and in all."""
        return self._read, self._all

    def note(self, tail: Tail) -> None:
        """A unit that is read has grown, or is read further."""
        self._put(tail.unit.id, (tail.position, max(tail.size, tail.position)))

    def ended(self, tail: Tail) -> None:
        """A unit is read to its end: there is no more of it."""
        self._put(tail.unit.id, (tail.position, tail.position))

    def forget(self, tail: Tail) -> None:
        """A unit is read no further, and does not count."""
        self._put(tail.unit.id, (0, 0))
        del self._of[tail.unit.id]

    def _put(self, unit: int, amounts: tuple[int, int]) -> None:
        read, known = self._of.get(unit, (0, 0))
        self._of[unit] = amounts
        self._read += amounts[0] - read
        self._all += amounts[1] - known
