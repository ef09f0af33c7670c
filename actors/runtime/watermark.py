"""The watermark of one shard: up to where all of its windows are closed.

Per partition it is the newest event time that is believed (``newest.py``), less the disorder; that of a shard is the
least over the active partitions, and never goes back. A partition that was announced and has brought nothing yet holds
it; one that has ended, or is silent, is not waited for. When none is active it is the largest of theirs.

That none is active is the reader's word, by a clock, and each such moment has a number. Nothing is under way then, so
every shard knows the same times; each part says how many such moments there were before it. A shard that was not told
of the last one, for it was dead, takes note of it before the part, and one that has taken note of it does not again.

Pure.
"""

from __future__ import annotations

from actors.runtime.messages import FULLY, UNSURE, Part
from actors.runtime.newest import NEVER, Newest, Times

#: After all time.
FOREVER = 1 << 62


class Watermark:
    """See above.

    Args:
        disorder: what a record may be older than the newest before it, in ms.
        newest: what to make of newest times.
        times: the newest event times of each partition, from the durable state.
        units: the partition of each unit that was seen.
        reached: what it had reached.
        silences: how many moments without active partitions it has taken note of.
    """

    def __init__(
        self, disorder: int, newest: Newest, times: dict[str, Times], units: dict[int, str], reached: int,
        silences: int = 0
    ) -> None:
        self._disorder = disorder
        self._newest = newest
        self.times = times
        self.units = units
        self.unit_of = {partition: unit for unit, partition in units.items()}
        self.reached = reached
        self.silences = silences
        #: Partitions whose times or unit have changed, or which were forgotten, since somebody has emptied this.
        self.changed: set[str] = set()
        self._believed = {partition: newest.believed(some) for partition, some in times.items()}
        self._roll = -1
        self._active: tuple[int, ...] = ()

    @property
    def kept(self) -> tuple[int, int]:
        """What is kept of it, besides the times."""
        return self.reached, self.silences

    def of(self, partition: str) -> int:
        """The watermark of one partition."""
        believed = self._believed.get(partition, NEVER)
        return NEVER if believed == NEVER else believed - self._disorder

    def closed_for(self, part: Part) -> int:
        """What of a part ends there, or before, is late, or may be."""
        if part.judged == FULLY:
            return self.reached
        if part.judged == UNSURE:
            return FOREVER
        most = self._newest.may_reach(self.times.get(part.partition, ()), part.newest)
        return max(self.reached, most if most == NEVER else most - self._disorder)

    def advance(self, partition: str, unit: int, newest: Times, roll: int, active: tuple[int, ...]) -> int:
        """A part of this partition was applied; return what the watermark has reached."""
        before = self.times.get(partition, ())
        after = self._newest.both(before, newest)
        if after != before:
            self.times[partition], self._believed[partition] = after, self._newest.believed(after)
            self.changed.add(partition)
        if self.units.get(unit) != partition:
            self.units[unit], self.unit_of[partition] = partition, unit
            self.changed.add(partition)
        if roll > self._roll:
            self._note(roll, active, partition)
        waited = {self.units.get(each, "") for each in self._active} | {partition}
        self.reached = max(self.reached, min(map(self.of, waited)))
        return self.reached

    def roll(self, version: int, active: tuple[int, ...], silences: int = 0) -> int:
        """Others are to be waited for, and nothing has come; return what the watermark has reached."""
        self.silent(silences)
        if version > self._roll:
            self._note(version, active)
            if active:
                self.reached = max(self.reached, min(self.of(self.units.get(each, "")) for each in active))
        return self.reached

    def silent(self, silences: int) -> None:
        """So often none was active by now: then nobody is waited for, and the newest of all counts."""
        if silences > self.silences:
            self.silences = silences
            self.reached = max([self.reached, *map(self.of, self.times)])

    def _note(self, version: int, active: tuple[int, ...], partition: str = "") -> None:
        self._roll, self._active = version, active
        # Others are over, or silent: should one come back, its records have to fit in as they are.
        known = {self.units.get(each) for each in active} | {partition}
        if active or partition:
            self.changed.update(name for name in self.times if name not in known)
            self.times = {name: some for name, some in self.times.items() if name in known}
            self._believed = {name: at for name, at in self._believed.items() if name in known}
            self.units = {unit: name for unit, name in self.units.items() if name in known}
            self.unit_of = {name: unit for unit, name in self.units.items()}

    def end(self) -> None:
        """The input has ended: everything is closed."""
        self.reached = FOREVER
