"""A member of a consumer group: which partitions it has, which are asked back, which are lost.

    assign ──▶ given ──looked up, begun──▶ fetched
    revoke ──▶ asked_back ──drained, committed──▶ let_go ──▶ the next owner
    lost   ──▶ lost: somebody else's already

The library wants the answer to a rebalance within its callback, and the callback runs in the reader's only thread,
which has to go on so that anything drains. So the callback says "add nothing", which the library takes for an answer,
and what it has asked for follows from a later turn: partitions are added when it is known where they begin, and given
up when they are drained. Until then the group waits for this member, for ``drain_s`` at most; all others go on reading.

A member's name is that of its state directory, so one that is started again within the session timeout has its
partitions back, and nobody else notices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from actors.sources.kafka_inflow import Inflow
from actors.sources.kafka_partitions import Key


class Membership:
    """See above.

    Args:
        inflow: the client.

    Attributes:
        given: the partitions that this member has, those that are asked back not among them.
        asked_back: those that it is to give up.
        lost: those that were taken from it, since this was looked at last.
        is_told: it was told what it has, be it nothing.
    """

    def __init__(self, inflow: Inflow) -> None:
        self._inflow = inflow
        self.given: set[Key] = set()
        self.asked_back: set[Key] = set()
        self.lost: list[Key] = []
        self.is_told = False
        self._is_closing = False

    def join(self, topics: Iterable[str]) -> None:
        """Become a member."""
        self._inflow.client.subscribe(list(topics), on_assign=self._on_assign, on_revoke=self._on_revoke,
                                      on_lost=self._on_lost)

    def let_go(self) -> None:
        """What was asked back is drained and committed."""
        keys, self.asked_back = self.asked_back, set()
        self._answer(keys)

    def leave(self) -> None:
        """From here on everything that is asked for is given at once."""
        self._is_closing = True
        if self.asked_back:
            self.let_go()

    def _on_assign(self, client: Any, places: Sequence[Any]) -> None:
        client.incremental_assign([])  # see above
        self.given |= _keys(places)
        self.is_told = True

    def _on_revoke(self, client: Any, places: Sequence[Any]) -> None:
        keys = _keys(places)
        self.given -= keys
        if self._is_closing:
            self._answer(keys)
            return
        client.incremental_assign([])  # see above
        self.asked_back |= keys
        fetched = [place for place in places if (place.topic, place.partition) in self._inflow.assigned]
        if fetched:
            client.pause(fetched)

    def _on_lost(self, client: Any, places: Sequence[Any]) -> None:
        keys = _keys(places)
        self.given -= keys
        self.asked_back -= keys
        self.lost += sorted(keys)
        self._answer(keys)

    def _answer(self, keys: set[Key]) -> None:
        """Give these up, those that are fetched; the library waits for this word also when there are none."""
        fetched = keys & self._inflow.assigned
        if fetched:
            self._inflow.unassign(fetched)
        else:
            self._inflow.client.incremental_unassign([])


def _keys(places: Sequence[Any]) -> set[Key]:
    return {(place.topic, place.partition) for place in places}
