"""How a unit leaves: all of it is closed ──▶ its verdict ──commit──▶ put away (renamed) ──settle──▶ done ──commit──▶.

All units that are closed when it is looked get their verdicts in one transaction, and are put away only after it. They
are done when the disk has their new names, which is asked for once for all of them: a power cut could else undo the
rename of a file that the ledger knows as done, and it would be loaded again. What does not work: two transactions for
each unit (with many small files nearly all of the reader's time); to keep something of a unit once its verdict is
committed (who is killed in between never does).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from actors.runtime.ledger import Ledger
from actors.runtime.ports import Source
from actors.runtime.values import Unit


class Leaving:
    """The units that are closed and not put away.

    Args:
        ledger: positions and counts.
        source: puts away.
        max_error_rate: a unit with more errors has failed.
        dry: nothing is put away.
        commit: makes positions and verdicts durable.
    """

    def __init__(
        self, ledger: Ledger, source: Source, max_error_rate: float, dry: bool, commit: Callable[[], None]
    ) -> None:
        self._ledger = ledger
        self._source = source
        self._max_error_rate = max_error_rate
        self._dry = dry
        self._commit = commit
        self._units: deque[Unit] = deque()

    def go_on_from_before(self) -> None:
        """An earlier run, or reader of this run, ended between the commit of a unit and its being put away."""
        away = []
        for unit in [] if self._dry else self._ledger.loaded_before():
            self._source.finished(unit)
            if not self._ledger.is_broken(unit.name):
                away.append(unit)
        self._source.settle()
        self._ledger.put_away(away)
        self._ledger.recall_loaded()

    def finish(self) -> None:
        """Give the units all of which is closed their verdicts, commit, and then put them away."""
        self._units += self._ledger.take_closed()
        if not self._units:
            return
        for unit in self._units:
            if unit.status == "reading" and unit.end is not None:
                self._ledger.settle(unit, self._verdict(unit))
                if not self._dry:
                    self._source.judged(unit)
        self._commit()  # when it fails they are still here, and nothing is put away
        if not self._dry:
            for unit in self._units:
                self._put_away(unit)
            self._source.settle()
        for unit in self._units:
            if unit.status == "loaded" and not self._ledger.is_stuck(unit):
                self._ledger.settle(unit, "done")
        self._units.clear()
        self._commit()

    def _verdict(self, unit: Unit) -> str:
        if unit.damage:
            return "failed"
        errors = unit.counts.get("dead_lettered", 0)
        records = errors + sum(unit.counts.get(name, 0) for name in ("written", "folded", "filtered"))
        return "failed" if records and errors / records > self._max_error_rate else "loaded"

    def _put_away(self, unit: Unit) -> None:
        if unit.status == "failed":
            self._source.failed(unit)
        if unit.status == "loaded" and not self._ledger.is_stuck(unit):
            self._source.finished(unit)
