"""What a reader shows of itself: on the board, and how far it is behind its source."""

from __future__ import annotations

from pathlib import Path

from actors.runtime.actor import Post
from actors.runtime.durations import Ages
from actors.runtime.lag import Lagging
from actors.runtime.ledger import Ledger
from actors.runtime.origin import Origin
from actors.runtime.ports import Source
from actors.runtime.sizing import Sizing


class Shown:
    """See above.

    Args:
        post: of the reader.
        source: the opened source.
        origin: the open batches.
        sizing: how many records a batch has.
        ages: how long they are open.
        ledger: positions and counts.
        state: the state directory.
    """

    def __init__(
        self, post: Post, source: Source, origin: Origin, sizing: Sizing, ages: Ages, ledger: Ledger, state: str
    ) -> None:
        self._post = post
        self._source = source
        self._origin = origin
        self._sizing = sizing
        self._ages = ages
        self._lagging = Lagging(source, ledger.taken_up, Path(state))

    def show(self, now: float) -> None:
        """Show it as it is now, when the source can be read."""
        slot, origin = self._post.slot, self._origin
        slot.open, slot.queued, slot.credit = len(origin), origin.queued(), origin.credit()
        slot.waiting_since = self._ages.oldest()
        slot.record_s, slot.batch_records = self._sizing.shown()
        slot.bytes_done, slot.bytes_total = self._source.progress()
        self._lagging.look(now)

    def sooner(self, wait_s: float | None, now: float) -> float | None:
        """How long the reader may wait, when it would wait so long for everything else."""
        return self._lagging.sooner(wait_s, now)
