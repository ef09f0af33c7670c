"""In-memory stand-ins for the runtime's ports, as faithful as the tests that use them need."""

from __future__ import annotations

import copy
from collections.abc import Sequence

from actors.runtime.values import Chunk, Unit


class NothingGiven:
    """Nothing is given again: it is all one run."""

    doubles = ""

    def known_as(self, names: Sequence[str]) -> str:
        """The first: nothing was known before."""
        return names[0]

    def earlier(self, name: str, fingerprint: str) -> list[Unit]:
        """Units of earlier runs."""
        return []

    def is_of_earlier(self, unit: Unit) -> bool:
        """Whether an earlier run has finished it."""
        return False

    def is_gone_on_with(self, unit: Unit) -> bool:
        """Whether an interrupted run has finished it."""
        return False

    def skip(self, name: str) -> None:
        """It is left alone."""

    def refuse(self, name: str, why: str) -> None:
        """It is refused."""


class MemoryLedger:
    """The reader's ledger in one run, without a disk: what was closed is committed at once.

    Attributes:
        units: all units, in the order in which they began.
        problems: what was reported as broken, by name.
    """

    def __init__(self) -> None:
        self.given = NothingGiven()
        self.state_id = "memory"
        self.units: list[Unit] = []
        self.problems: dict[str, str] = {}
        self._issued: dict[int, list[tuple[int, int]]] = {}

    def begin(self, name: str, fingerprint: str, alone: bool = False, after: tuple[int, int] = (0, 0),
              instead_of: Sequence[tuple[Unit, bool]] = ()) -> Unit:
        """Return the unit of this name and content, finished or not (it is all one run), or a new one."""
        for unit in reversed(self.units):
            if (unit.name, unit.fingerprint) == (name, fingerprint):
                return unit
        tip = max((unit.low if unit.end is None else unit.end for unit in self.units), default=0)
        low = after[0] if alone else tip
        unit = Unit(len(self.units) + 1, name, fingerprint, low - after[0], low, after[1], None, "reading", {})
        self.units.append(unit)
        return unit

    def damaged(self, unit: Unit, why: str, prefix: str) -> None:
        """This unit is not whole."""
        unit.damage, unit.prefix = why, prefix

    def noted(self, unit: Unit, text: str) -> None:
        """The report says this."""
        unit.note = text

    def not_whole(self, name: str) -> Unit | None:
        """The last unit of this name, if it was not whole."""
        unit = next((unit for unit in reversed(self.units) if unit.name == name), None)
        return unit if unit is not None and unit.damage else None

    def boundaries(self, unit: Unit) -> list[tuple[int, int]]:
        """Ranges issued beyond ``unit.low``, in order."""
        return sorted(range_ for range_ in self._issued.get(unit.id, []) if range_[0] >= unit.low)

    def known(self, kind: str) -> list[Unit]:
        """All units whose fingerprint begins with ``kind``."""
        return [unit for unit in self.units if unit.fingerprint.startswith(kind)]

    def unfinished(self, folder: str) -> list[Unit]:
        """Units that are being read, and whose name begins with ``folder``."""
        return [unit for unit in self.units if unit.status == "reading" and unit.name.startswith(folder)]

    def resume(self, unit: Unit, name: str, fingerprint: str) -> None:
        """Read on a unit, finished or not."""
        unit.status, unit.end = "reading", None
        self.renamed(unit, name, fingerprint)

    def renamed(self, unit: Unit, name: str, fingerprint: str) -> None:
        """A unit has another name and fingerprint from here on."""
        unit.name, unit.fingerprint = name, fingerprint

    def end(self, unit: Unit, position: int) -> None:
        """The unit was read to its end."""
        unit.end = position

    def broken(self, name: str, problem: str) -> None:
        """This unit cannot be read or put away."""
        self.problems[name] = problem

    def issue(self, chunk: Chunk) -> None:
        """Record the range of a chunk, once."""
        ranges = self._issued.setdefault(chunk.unit, [])
        if (chunk.start, chunk.end) not in ranges:
            ranges.append((chunk.start, chunk.end))

    def close(self, chunk: Chunk, counts: dict[str, int]) -> None:
        """All up to the end of this chunk is durable; these are its outcomes."""
        unit = self.units[chunk.unit - 1]
        unit.low = chunk.end
        unit.prefix = chunk.prefix or unit.prefix
        unit.lines += chunk.data.count(b"\n") if chunk.lines < 0 else chunk.lines
        for name, count in counts.items():
            unit.counts[name] = unit.counts.get(name, 0) + count

    def reopened(self) -> MemoryLedger:
        """What the reader's next generation finds: a copy, with the reports of the last one gone."""
        ledger = copy.deepcopy(self)
        ledger.problems = {}
        return ledger


class Signs:
    """Counts the signs of progress, and remembers the times that were asked for."""

    def __init__(self) -> None:
        self.given = 0
        self.asked: list[float] = []

    def progress(self) -> None:
        """Work goes on."""
        self.given += 1

    def extend(self, seconds: float) -> None:
        """It may take so long until the next sign."""
        self.asked.append(seconds)
