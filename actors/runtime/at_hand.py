"""The units that a ledger has in memory: those that are not over, and those that its file does not know yet.

Units are found by number and by name, and those that are closed are known without a look at the others: what one unit
costs does not grow with the number of units.

Pure: no clock, no file.
"""

from __future__ import annotations

from collections.abc import Sequence

from actors.runtime.values import HANDED_OVER, Unit

#: Statuses after which a unit is nobody's concern, but for a later run.
_OVER = ("done", "failed", "abandoned", "broken", HANDED_OVER)


class AtHand:
    """Units by number, in the order in which they were taken up.

    Attributes:
        units: the units.
        partitions: the partition of each.
        stuck: units that the source cannot read on, or put away.
    """

    def __init__(self) -> None:
        self.units: dict[int, Unit] = {}
        self.partitions: dict[int, str] = {}
        self.stuck: set[int] = set()
        self._by_name: dict[str, dict[int, Unit]] = {}
        self._names: dict[int, str] = {}
        #: Units that share a partition and are not closed, in their order; others of which the end is known.
        self._in_turn: dict[int, Unit] = {}
        self._ended: dict[int, Unit] = {}
        self._over: set[int] = set()
        #: Ends of what was issued, of units that were taken up with some of it open.
        self._repeated: dict[int, int] = {}

    def add(self, unit: Unit, partition: str) -> None:
        """Have this unit at hand."""
        self.units[unit.id] = unit
        self.partitions[unit.id] = partition
        self.named(unit)
        self.changed(unit)
        if unit.status == "loaded":  # by an earlier reader: it is to be put away
            self._queue(unit)

    def named(self, unit: Unit) -> None:
        """Find this unit by the name that it has now."""
        before = self._names.get(unit.id)
        if before == unit.name:
            return
        if before is not None:
            self._unname(unit.id, before)
        self._names[unit.id] = unit.name
        self._by_name.setdefault(unit.name, {})[unit.id] = unit

    def of_name(self, name: str) -> list[Unit]:
        """The units of this name, in order."""
        return list(self._by_name.get(name, {}).values())

    def changed(self, unit: Unit) -> None:
        """The status of this unit has changed, or whether its end is known."""
        key = unit.id
        if unit.status in _OVER:
            self._over.add(key)
            self._in_turn.pop(key, None)
            self._ended.pop(key, None)
            return
        self._over.discard(key)
        if unit.status == "reading":
            self._queue(unit)

    def was_issued(self, unit: int, ranges: Sequence[tuple[int, int]]) -> None:
        """These ranges of a unit are given again, one behind the other from its position on."""
        if ranges:
            self._repeated[unit] = ranges[-1][1]

    def is_repeated(self, unit: int, start: int) -> bool:
        """Whether what begins here was issued before the unit was taken up."""
        return start < self._repeated.get(unit, start)

    def take_closed(self) -> list[Unit]:
        """Take out the units all of which is closed, those that share a partition in their order: they may be put away.

        They are not given again, unless something about them changes.
        """
        closed = []
        for unit in self._in_turn.values():
            if not _is_closed(unit):
                break
            closed.append(unit)
        closed += [unit for unit in self._ended.values() if _is_closed(unit)]
        for unit in closed:
            self._in_turn.pop(unit.id, None)
            self._ended.pop(unit.id, None)
        return closed

    def forget_what_is_over(self) -> None:
        """Forget the units that are over: the file remembers them."""
        for key in self._over:
            del self.units[key], self.partitions[key]
            self._unname(key, self._names.pop(key))
            self.stuck.discard(key)
            self._repeated.pop(key, None)
        self._over.clear()

    def _queue(self, unit: Unit) -> None:
        if not is_alone(self.partitions[unit.id]):
            self._in_turn.setdefault(unit.id, unit)
        elif unit.end is not None or unit.status == "loaded":
            self._ended[unit.id] = unit
        else:
            self._ended.pop(unit.id, None)

    def _unname(self, key: int, name: str) -> None:
        alike = self._by_name[name]
        del alike[key]
        if not alike:
            del self._by_name[name]


def is_alone(partition: str) -> bool:
    """Whether a partition is that of one unit; the identity of a run has no slash in it."""
    return "/" in partition


def _is_closed(unit: Unit) -> bool:
    return unit.status == "loaded" or (unit.end is not None and unit.low >= unit.end)
