"""What the broker is told of positions: what the ledger has committed, with the id of the state directory.

Lag tools look there, and in a group the next owner of a partition begins there. A commit that fails is said again with
the next one: nothing of ours depends on it but what is done twice.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from actors.kafka.clients import Said
from actors.runtime.values import Unit
from actors.sources.kafka_inflow import Inflow
from actors.sources.kafka_partitions import Key

#: Seconds between two commits.
COMMIT_S = 1.0
#: Seconds that the last commit may take.
_LAST_S = 5.0
#: This user may not commit: it is not tried again.
_REFUSED = ("GROUP_AUTHORIZATION_FAILED", "TOPIC_AUTHORIZATION_FAILED")


class Told:
    """See above.

    Args:
        state_id: of the state directory.

    Attributes:
        refused: why nothing can be told; None: it can.
    """

    def __init__(self, state_id: str) -> None:
        self.refused: Said | None = None
        self._state_id = state_id
        self._units: dict[Key, Unit] = {}
        #: What was told, or is being told.
        self._told: dict[Key, int] = {}
        self._under_way = 0
        self._tell_at = 0.0

    def take_note(self, units: Mapping[Key, Unit]) -> None:
        """These have positions that the ledger has committed; also those of which no record was read yet."""
        self._units.update(units)

    def forget(self, keys: Iterable[Key]) -> None:
        """These are somebody else's: nothing is said of them any more."""
        for key in keys:
            self._units.pop(key, None)
            self._told.pop(key, None)

    def tell(self, inflow: Inflow, now: float, at_once: bool = False) -> None:
        """Tell what is new, when it is time."""
        if self.refused is not None or not (at_once or (now >= self._tell_at and not self._under_way)):
            return
        new = {key: unit for key, unit in self._units.items() if self._told.get(key) != unit.low}
        if new:
            self._tell_at = now + COMMIT_S
            self._under_way += 1
            self._told.update({key: unit.low for key, unit in new.items()})
            inflow.commit(new, self._state_id)

    def heard(self, error: Said | None, places: Sequence[Any]) -> None:
        """A commit was answered; called from within a poll of the client."""
        self._under_way = max(0, self._under_way - 1)
        for place in places:
            failed = place.error or error
            if failed is not None:
                self._told.pop((place.topic, place.partition), None)  # said again
                if failed.name() in _REFUSED:
                    self.refused = failed

    def tell_the_last(self, inflow: Inflow) -> None:
        """Tell what is new, and wait for the answer, but not long."""
        from confluent_kafka import KafkaException

        end = time.monotonic() + _LAST_S
        with contextlib.suppress(KafkaException):
            self.tell(inflow, 0.0, at_once=True)
            while self._under_way and time.monotonic() < end:
                inflow.client.poll(0.05)
