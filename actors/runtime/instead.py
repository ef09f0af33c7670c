"""What is delivered in the place of an open batch: somebody has died with it, or it takes too long.

    a worker died with it ──▶ its records are tried one by one; after the third death one is given up (poison.py)
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
from actors.runtime.marks import CONSUMER
from actors.runtime.messages import Again, BatchId, Suspect
from actors.runtime.origin import Origin
from actors.runtime.pieces import Pieces, record_count
from actors.runtime.poison import Blame
from actors.runtime.sizing import Sizing
from actors.runtime.values import Chunk

#: So many records may kill their workers, or make them hang, whatever the error rate; and at a consumer, one behind the
#: other, no more, whatever the error rate: that is a sink that does not work, and does not say so.
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
        #: Records that were given up, and those before them that have been tried and are not finished yet, perhaps.
        self._given_up = self._survived = 0
        #: How many of those were one behind the other, and where the last of them ends.
        self._in_a_row, self._tail = 0, ("", 0)

    def of_dead(self, death: Suspect) -> None:
        """A worker died with a batch in hand: mark it, split it, or give its one record up. What the same worker had
        done just before is marked, too."""
        suspect = self._found(death.id)
        for key in death.near:
            if key != death.id and (near := self._found(key)) is not None:
                self._replace(key, [(near[0], poison.was_near(*near, death))])
        if suspect is None:
            return
        chunk, before = suspect
        instead = poison.blame(chunk, before, death)
        last = death.detail.partition("\n")[0]
        if poison.is_hopeless(*instead[0]):
            what = "a dead letter" if chunk.fault else "a record, or what is folded already or follows,"
            self._stop(FAILED, f"{what} of {chunk.source} (line {chunk.line}) killed its worker, "
                       f"{instead[0][1].marks} deaths in all; the last: {last}")
        self._replace(death.id, instead)
        if not chunk.fault:
            for piece in (piece for piece, _ in instead if piece.fault):
                self._count(death, piece, sum(record_count(other) for other, blamed in instead if not blamed.marks))

    def _count(self, death: Suspect, given_up: Chunk, survived: int) -> None:
        """One record more is given up, and so many of its batch are not; give up all when it is not the records."""
        self._given_up += 1
        self._survived += survived
        partition, last = death.id[0], death.detail.partition("\n")[0]
        self._in_a_row = self._in_a_row + 1 if self._tail == (partition, given_up.start) else 1
        self._tail = (partition, given_up.end)
        records = max(self._post.slot.records, self._survived)
        if self._given_up > max(FEW_RECORDS, self._max_error_rate * records):
            self._stop(FAILED, f"{self._given_up} records killed their workers or made them hang, of "
                       f"{records} that were tried; the last: {last}")
        elif self._in_a_row > FEW_RECORDS and death.stage == CONSUMER:
            self._stop(FAILED, f"{self._in_a_row} records killed their writer or shard, one behind the other: whatever "
                       f"comes next may do so, too; the last: {last}")

    def _found(self, key: BatchId) -> tuple[Chunk, Blame] | None:
        suspect = self._origin.suspect(key)
        return suspect if suspect is not None and (suspect[0].data or suspect[0].fault) else None  # else it is empty

    def _replace(self, key: BatchId, instead: list[tuple[Chunk, Blame]]) -> None:
        self._ledger.issued.blamed(instead)  # durable with the flush before the next delivery
        self._origin.replace(key, instead)

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
        self._replace(message.id, instead)
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
