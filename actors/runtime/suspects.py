"""Batches that workers died with in hand: marked, split in two, or given up, and the run when there are too many."""

from __future__ import annotations

from collections.abc import Callable

from actors.runtime import poison
from actors.runtime.events import FAILED
from actors.runtime.ledger import Ledger
from actors.runtime.messages import Suspect
from actors.runtime.origin import Origin

#: So many records may kill their workers, or make them hang, whatever the error rate.
FEW_RECORDS = 10


class Suspects:
    """See above.

    Args:
        ledger: records what is delivered in the place of a batch.
        origin: the open batches.
        max_error_rate: so many of all records may be given up.
        is_void: whether what comes of the batches of a unit is of no account.
        stop: ends the run, with an exit code and a reason.
    """

    def __init__(
        self, ledger: Ledger, origin: Origin, max_error_rate: float, is_void: Callable[[int], bool],
        stop: Callable[[int, str], None]
    ) -> None:
        self._ledger = ledger
        self._origin = origin
        self._max_error_rate = max_error_rate
        self._is_void = is_void
        self._stop = stop
        self._given_up = 0

    def blame(self, death: Suspect, records: int) -> None:
        """A worker died with a batch in hand: mark it, split it, or give its one record up. ``records``: how many were
        finished so far."""
        suspect = self._origin.suspect(death.id)
        if suspect is None or self._is_void(suspect[0].unit):
            return
        chunk, before = suspect
        instead = poison.blame(chunk, before, death.reason, death.detail)
        if poison.is_hopeless(*instead[0]):
            self._stop(FAILED, f"a dead letter of {chunk.source} (line {chunk.line}) killed its worker, "
                       f"{instead[0][1].marks} deaths in all; the last: {death.detail.splitlines()[0]}")
        self._ledger.blamed(instead)  # durable with the flush before the next delivery
        self._origin.replace(death.id, instead)
        if instead[0][0].fault and not chunk.fault:
            self._given_up += 1
            if self._given_up > max(FEW_RECORDS, self._max_error_rate * records):
                self._stop(FAILED, f"{self._given_up} records killed their workers or made them hang, of "
                           f"{records} that were finished; the last: {death.detail.splitlines()[0]}")
