"""A worker of a pool: takes batches on credit, makes outputs, sends them on, keeps no payload.

    Batch ──▶ queue ──work──▶ outputs ──▶ fixed destinations (a Part for each, be it empty)
                                     └──▶ or the next pool: to a worker there with credit (takers.py)

Credit goes back when a batch has left the worker's hands, not when it is acknowledged: credit balances the load, the
acknowledgement says that all is durable. Outputs to fixed destinations need no credit: the origin's window bounds them.

What takes no time is worked off in turns, and more of it may be here: else small files would cost as many messages,
and waits for the disk, as large ones. How long batches take decides, not their size: of ten that take a second each, no
worker may have them all.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from actors.runtime.actor import Post, SlotView
from actors.runtime.copies import end_copy
from actors.runtime.counts import Counts
from actors.runtime.examine import LATE_S, Descriptors, Examination, MakeTrial, pausing
from actors.runtime.marks import CONSUMER, Care
from actors.runtime.messages import (
    NOTHING,
    Ack,
    Again,
    AnyMessage,
    Batch,
    Credit,
    Drained,
    Failed,
    Hello,
    Hold,
    Member,
    Part,
    Span,
    Tap,
)
from actors.runtime.progress import progress
from actors.runtime.relay import Relay
from actors.runtime.rows import Rows
from actors.runtime.takers import Takers
from actors.runtime.tap import Taps
from actors.runtime.too_long import TooLong, within
from actors.runtime.tracing import begin_work

#: Batches are worked off one behind the other for so long before messages are looked at again.
TURN_S = 0.005
#: A producer may have as many batches here as are worked off in this time, but no more than that.
_HAND_S, _MOST = 0.01, 64
#: How much the last batch counts for how long one takes.
_NEWEST = 0.1


class Output(msgspec.Struct, frozen=True):
    """What a batch holds for one destination; ``claims`` come back in its acknowledgement; ``judged``: see ``Part``.
    """

    destination: str
    count: int
    claims: Counts
    frames: list[bytes]
    judged: str = ""


class Made(msgspec.Struct, frozen=True):
    """What a worker made of a batch: parts for every fixed destination, or frames for any worker of the next pool.

    ``counts`` is what the worker itself adds to the acknowledgement (``read``, ``filtered``, ``folded``); ``newest`` is
    the newest event times in the batch. ``again``: nothing can be made of it before it is known what windows are
    counted from; these are its event times (``NO_TIMES`` if it has none). ``records``: how many there are, where the
    next pool is to count them. ``too_long``: nothing was made of it, for it takes too long; see ``Again``. ``dead``:
    positions of records that are rejected, and of which something goes to a sink all the same, so that nobody counts
    them once more.
    """

    counts: Counts
    parts: list[Output] = []
    forward: list[bytes] | None = None
    newest: tuple[int, ...] = ()
    again: Span | None = None
    records: int = 0
    too_long: tuple[int, float] | None = None
    dead: Sequence[int] = ()


class WorkedOff:
    """What was worked off; see ``Credit``."""

    __slots__ = ("done", "records", "seconds", "spent_s")

    def __init__(self) -> None:
        self.done = self.records = 0
        self.seconds = self.spent_s = 0.0


#: The work of a pool: a pure function of a batch.
Work = Callable[[Batch, list[bytes]], Made]
#: What checks: it is given the rows of a batch slice by slice, and may ask for them again.
Checking = Callable[[Batch, Callable[[], Iterable[Rows]]], Made]


class CareTaker(msgspec.Struct, frozen=True):
    """How a pool tries batches that somebody may have died of; see ``examine``.

    Attributes:
        stage: of the pool.
        make_trial: of a batch and its payload.
        in_parts: see ``Examination``.
    """

    stage: str
    make_trial: MakeTrial
    in_parts: bool

    def asked(self, batch: Batch) -> Care | None:
        """What is to be tried of a batch; None: nothing."""
        care = batch.care
        return care if care is not None and care.stage == self.stage and not batch.fault else None

    def examine(self, slot: SlotView, batch: Batch, frames: list[bytes], care: Care) -> None:
        """Try it."""
        Examination(slot, self.make_trial(batch, frames), care, self.in_parts, pausing(progress),
                    Descriptors(slot).look).go()


class PoolWorker:
    """The role of parsers and checkers.

    Args:
        post: the way out.
        make: the work itself, a pure function of a batch.
        credit: batches that each producer may have here at a time, at least.
        make_taps: makes what shows records to whoever wants to see some; None: nothing is shown.
        turn_s: see ``TURN_S``; 0: one batch at a time, and never more credit.
        clock: monotonic seconds.
        care: how a batch is tried that somebody may have died of; None: no batch is.
    """

    wake: int | None = None

    def __init__(
        self, post: Post, make: Work, credit: int, make_taps: Callable[[], Taps] | None = None, turn_s: float = TURN_S,
        clock: Callable[[], float] = time.monotonic, care: CareTaker | None = None,
    ) -> None:
        self._post = post
        self._make = make
        self._credit = credit
        self._turn_s = turn_s
        self._clock = clock
        self._care = care
        #: When it was done with a batch last.
        self._done_at = -math.inf
        self._batch_s = math.inf  # how long one takes
        #: What each producer may have here, and what of that it has to be told.
        self._granted: dict[str, int] = {}
        self._owed: dict[str, int] = {}
        #: What was worked off of what each producer has sent, and it has to be told.
        self._worked: dict[str, WorkedOff] = {}
        self._relay = Relay()
        #: From whom, what, and when it came.
        self._queue: deque[tuple[str, Batch, list[bytes], float]] = deque()
        self._stalled: tuple[str, Batch, Made] | None = None
        self._takers = Takers()
        self._greeted: set[str] = set()
        self._draining = False
        self._make_taps = make_taps
        self._taps: Taps | None = None

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Take a batch, an answer or credit."""
        if isinstance(message, Ack):
            self._pass_up(self._relay.ack(sender, message))
        elif isinstance(message, Batch):
            self._queue.append((sender, message, frames, self._clock()))
        elif isinstance(message, Credit):
            self._takers.grant(sender, message.batches, message.done, message.seconds)
            for producer in self._granted if message.records else ():
                self._post.send(producer, Credit(0, records=message.records, spent_s=message.spent_s))
        elif isinstance(message, Failed | Again):
            self._pass_up(self._relay.given_back(sender, message))
        elif isinstance(message, Hello):
            self._greet(sender, message)
        elif isinstance(message, Hold):
            self._takers.hold(message.address, message.on)
        elif isinstance(message, Tap) and self._make_taps is not None:
            with contextlib.suppress(Exception):  # whatever it is, who looks on is not worth a worker
                self._taps = self._taps or self._make_taps()
                self._taps.tap(message)

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """Forget the dead; say upstream what was lost with them."""
        for member in gone:
            address = member.address
            self._takers.lost(address)
            self._greeted.discard(address)
            self._owed.pop(address, None)
            self._granted.pop(address, None)
            self._worked.pop(address, None)
            self._queue = deque(item for item in self._queue if item[0] != address)
            if self._stalled is not None and self._stalled[0] == address:
                self._stalled = None
            self._pass_up(self._relay.gone(address))

    def work(self, now: float) -> float | None:
        """Make a batch, and more that take no time, or send one that waited for credit."""
        slot = self._post.slot
        if self._stalled is not None:
            if not self._send_on(*self._stalled):
                self._show_what_waits()
                slot.phase("WAIT_CREDIT")
                return None
            self._stalled = None
            self._give_credit()
        if not self._queue:
            self._show_what_waits()
            slot.phase("IDLE")
            if self._draining and not len(self._relay):
                self._draining = False
                self._post.tell(Drained())
            return None
        until = now + self._turn_s
        while not (wait_s := self._silence_s()):
            self._make_one()
            if not self._turn_s or self._stalled is not None or not self._queue or self._clock() >= until:
                break
        if wait_s:
            slot.phase("IDLE")
        self._give_credit()
        return wait_s

    def _silence_s(self) -> float:
        """Seconds to wait before the next batch: one that names what may be to blame is not blamed for another."""
        care = self._care and self._care.asked(self._queue[0][1])
        return max(0.0, self._done_at + LATE_S - self._clock()) if care and care.end else 0.0

    def _make_one(self) -> None:
        slot = self._post.slot
        producer, batch, frames, _ = self._queue.popleft()
        self._show_what_waits()
        slot.phase("WORK")
        slot.take(batch.id)
        span = begin_work(self._post.tracer, self._post.address, batch.trace) if batch.trace else None
        began = self._clock()
        made = self._made_of(batch, frames)
        self._done_at = self._clock()
        took = self._done_at - began
        slot.took(took)
        self._batch_s = took if self._batch_s == math.inf else self._batch_s + _NEWEST * (took - self._batch_s)
        if span is not None:
            span.end(records=made.counts.get("read", 0), parts=len(made.parts))
            batch = msgspec.structs.replace(batch, trace=span.context)  # what is made of it goes on from here
        slot.batches += 1
        slot.records += made.counts.get("read", made.records)
        slot.bytes_done += len(frames[0]) if frames else 0
        slot.open = len(self._relay)
        batch = self._count(producer, batch, made, took)
        if not self._send(producer, batch, made):
            self._stalled = (producer, batch, made)
        slot.take(NOTHING)
        if self._taps is not None and made.again is None and made.too_long is None:
            self._show(self._taps, batch, frames, made)

    def _made_of(self, batch: Batch, frames: list[bytes]) -> Made:
        if self._care is not None and (care := self._care.asked(batch)) is not None:
            self._care.examine(self._post.slot, batch, frames, care)
        try:
            with within(batch.give_back_s):
                return self._make(batch, frames)
        except TooLong as slow:
            return Made({}, too_long=(slow.records, slow.seconds))
        finally:
            end_copy()

    def _count(self, producer: str, batch: Batch, made: Made, took_s: float) -> Batch:
        """Count what a batch has cost, for its producer; return it as it is sent on: the next pool counts its records.

        Lines of which nothing was made are counted, too: they are what a batch is cut by.
        """
        worked = self._worked.setdefault(producer, WorkedOff())
        worked.done += 1
        worked.seconds += took_s
        if made.too_long is not None:  # what that says is with the answer
            return batch
        if made.forward is not None:
            return msgspec.structs.replace(batch, spent_s=batch.spent_s + took_s)
        worked.records += max(1, made.counts.get("read", made.records), 0 if batch.framing else batch.lines)
        worked.spent_s += batch.spent_s + took_s
        return batch

    def drain(self, is_end: bool = False) -> None:
        """Somebody else takes this worker's place: finish what is here, and say so."""
        self._draining = True

    def close(self) -> None:
        """Nothing is held but taps."""
        if self._taps is not None:
            self._taps.close()

    def _show(self, taps: Taps, batch: Batch, frames: list[bytes], made: Made) -> None:
        if not taps.show(batch, frames[0] if frames else b"", {part.destination: part.frames for part in made.parts}):
            self._taps = None

    def _show_what_waits(self) -> None:
        slot, queue = self._post.slot, self._queue
        slot.queued = len(queue)
        slot.waiting_since = queue[0][3] if queue else 0.0
        slot.credit = self._takers.credit()

    def _send(self, producer: str, batch: Batch, made: Made) -> bool:
        if made.forward is not None:
            return self._send_on(producer, batch, made)
        if made.again is not None or made.too_long is not None:
            self._post.send(producer, Again(*batch.id, batch.epoch, made.again, too_long=made.too_long))
            self._done_with(producer)
        else:
            self._send_parts(producer, batch, made)
        return True

    def _send_parts(self, producer: str, batch: Batch, made: Made) -> None:
        members = self._post.members
        missing = [part.destination for part in made.parts
                   if part.destination not in members or members[part.destination].since > batch.roster]
        if missing:
            # Not there, or newer than all that the origin knew when it sent this: see runtime/origin.py.
            self._post.send(producer, Failed(*batch.id, batch.epoch, f"{missing[0]} is not there"))
        else:
            addresses = [members[part.destination].address for part in made.parts]
            self._relay.sent(producer, batch.id, batch.epoch, addresses, made.counts, made.dead)
            alone = batch.care is not None and batch.care.stage == CONSUMER and batch.care.end > 0
            for address, part in zip(addresses, made.parts, strict=True):
                header = Part(*batch.id, batch.epoch, batch.low, part.count, part.claims, batch.source, batch.unit,
                              batch.roll, batch.active, made.newest, batch.trace, part.judged, alone, batch.silences)
                self._post.send(address, header, part.frames)
            if not addresses:  # nothing was made of it: done
                self._post.send(producer, Ack(*batch.id, batch.epoch, made.counts))
        self._done_with(producer)

    def _send_on(self, producer: str, batch: Batch, made: Made) -> bool:
        worker = self._takers.next(1 + len(self._queue))
        if worker is None:
            return False
        self._takers.give(worker)
        self._relay.sent(producer, batch.id, batch.epoch, [worker], made.counts)
        self._post.send(worker, batch, made.forward or ())
        self._done_with(producer)
        return True

    def _done_with(self, producer: str) -> None:
        """A batch has left: its producer may send another, or more, or none if they have come to take long."""
        granted = self._granted.get(producer, self._credit)
        quick = min(_MOST, 2 * granted, int(_HAND_S / max(self._batch_s, 1e-6))) if self._turn_s else 0
        wanted = max(self._credit, quick)
        self._granted[producer] = max(granted - 1, wanted)
        self._owed[producer] = self._owed.get(producer, 0) + 1 + self._granted[producer] - granted

    def _give_credit(self) -> None:
        for producer, batches in self._owed.items():
            worked = self._worked.pop(producer, None)
            if worked is not None:
                self._post.send(producer, Credit(batches, worked.done, worked.seconds, worked.records, worked.spent_s))
            elif batches:
                self._post.send(producer, Credit(batches))
        self._owed.clear()

    def _greet(self, sender: str, hello: Hello) -> None:
        self._owed.pop(sender, None)
        self._granted[sender] = self._credit
        self._post.send(sender, Credit(0 if self._draining else self._credit))
        if sender in self._greeted:  # it has heard nothing for long: perhaps it is our own credit that was lost
            for address in self._takers.take_back():
                self._post.send(address, hello)
        self._greeted.add(sender)

    def _pass_up(self, answers: Sequence[tuple[str, Ack | Failed | Again]]) -> None:
        for producer, answer in answers:
            self._post.send(producer, answer)
