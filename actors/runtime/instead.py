"""What is delivered in the place of an open batch: somebody has died with it, or it takes too long.

    a worker died with it ──▶ marked; after its third death split; its one record given up (poison.py)
    a worker gives it back ──▶ cut into batches of what is known by now: its records are slower than those before them

A batch may be given back once, from its first delivery. What was delivered before may have been applied by some
consumers and not by others, and a sink that refuses a record of it again, in a piece, makes a second letter of it.

All of it is in the ledger before it is delivered. Batches that are cut so nest in the one they are cut from, and that
one never travels whole again (origin.py, sequencer.py).
"""

from __future__ import annotations

import math
from collections.abc import Callable

from actors.runtime import poison
from actors.runtime.actor import Post
from actors.runtime.events import FAILED
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest
from actors.runtime.messages import Again, Suspect
from actors.runtime.origin import Origin
from actors.runtime.pieces import Pieces
from actors.runtime.poison import Blame
from actors.runtime.sizing import Sizing
from actors.runtime.values import Chunk

#: So many records may kill their workers, or make them hang, whatever the error rate.
FEW_RECORDS = 10
#: A worker gives a batch back that takes so many times as long as it was meant to take.
GIVE_BACK = 5


class Instead:
    """See above.

    Args:
        post: the way out.
        manifest: how many records may be given up, but for a few; how many batches may be open.
        ledger: marks and boundaries.
        origin: the open batches.
        sizing: what records cost.
        stop: gives up, with an exit code and the reason.
    """

    def __init__(self, post: Post, manifest: Manifest, ledger: Ledger, origin: Origin, sizing: Sizing,
                 stop: Callable[[int, str], None]) -> None:
        self._post = post
        self._max_error_rate = manifest.budget.max_error_rate
        self._window_batches = manifest.flow.window_batches
        self._ledger = ledger
        self._origin = origin
        self._sizing = sizing
        self._stop = stop
        self._given_up = 0

    def of_dead(self, death: Suspect) -> None:
        """A worker died with a batch in hand: mark it, split it, or give its one record up."""
        suspect = self._origin.suspect(death.id)
        if suspect is None or not (suspect[0].data or suspect[0].fault):  # what is handed over is empty
            return
        chunk, before = suspect
        instead = poison.blame(chunk, before, death.reason, death.detail)
        if poison.is_hopeless(*instead[0]):
            self._stop(FAILED, f"a dead letter of {chunk.source} (line {chunk.line}) killed its worker, "
                       f"{instead[0][1].marks} deaths in all; the last: {death.detail.splitlines()[0]}")
        self._ledger.issued.blamed(instead)  # durable with the flush before the next delivery
        self._origin.replace(death.id, instead)
        if instead[0][0].fault and not chunk.fault:
            self._given_up += 1
            if self._given_up > max(FEW_RECORDS, self._max_error_rate * self._post.slot.records):
                self._stop(FAILED, f"{self._given_up} records killed their workers or made them hang, of "
                           f"{self._post.slot.records} that were finished; the last: {death.detail.splitlines()[0]}")

    def of_too_long(self, sender: str, message: Again, workers: int) -> bool:
        """A worker gives a batch back, for it takes too long: cut it; return whether that was news."""
        assert message.too_long is not None
        self._sizing.learn(*message.too_long, is_certain=True)
        chunk = self._origin.returned(message.id, message.epoch, sender)
        if chunk is None:
            return False
        pieces = cut(chunk, self._sizing, workers, self._window_batches - len(self._origin))
        if len(pieces) == 1:  # nobody gives a single record back, but who knows who has sent this
            return self._origin.failed(message.id, message.epoch, sender, "it cannot be cut")
        instead = [(piece, Blame()) for piece in pieces]
        self._ledger.issued.blamed(instead)
        self._origin.replace(message.id, instead)
        return True


def cut(chunk: Chunk, sizing: Sizing, workers: int, room: int) -> list[Chunk]:
    """Return the pieces that a chunk which takes too long is delivered in; one, when it is a single record.

    Not more than there is ``room`` for in the window, but two: pieces may be given back in their turn.
    """
    rest = Pieces(chunk)
    size = min(sizing.count(rest.left, workers, False), math.ceil(rest.left / 2))
    size = max(size, math.ceil(rest.left / max(2, room)))
    pieces = []
    while rest.left:
        pieces.append(rest.take(max(1, size)))
    return pieces
