"""The writer: one sink; parts in source order, written in groups, retried through outages, acknowledged when durable.

While one group is being written the next ones gather, so groups grow with the load by themselves: no timer decides.
A sink that is down blocks its writer and, through the window, the pipeline; its data stays where it is. Items that the
sink refuses for good go to the dead-letter store from here; the part is acknowledged when they are stored.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence

import msgspec

from actors.runtime.actor import Post
from actors.runtime.counts import Counts
from actors.runtime.errors import Finish, Retryable
from actors.runtime.messages import Ack, AnyMessage, BatchId, Drained, Member, Part
from actors.runtime.outputs import gaps_of, owners_in, places_in
from actors.runtime.ports import GatheringSink, Sink, SinkOptions
from actors.runtime.sequencer import Held, Sequencer
from actors.runtime.singly import Singly
from actors.runtime.topology import DEAD_LETTERS, writer_name
from actors.runtime.tracing import Group
from actors.runtime.trouble import Trouble
from actors.runtime.values import DeadLetter, Payload, Refusal, rejections

#: Parts in a group: what is written in one call before messages are looked at again. Of small parts more, up to so many
#: and so many bytes.
GROUP_PARTS, _MOST_PARTS, _SMALL_BYTES = 32, 256, 256 * 1024


class _Parked(msgspec.Struct, frozen=True):
    """A written part whose refused items are on their way to the dead-letter store.

    ``failed``: positions of their records, of those that have several outputs.
    """

    held: Held
    part: Part
    frame: bytes
    counts: Counts
    failed: frozenset[int]


class Writer:
    """The role of a writer.

    Args:
        post: the way out.
        name: the sink's name.
        sink: the opened sink.
        ordered: apply parts in source order; else as they come.
        dead_letters: options of the dead-letter store, to pack refused items with.
        contiguous: the sink is given parts without items, too.
    """

    wake: int | None = None

    def __init__(self, post: Post, name: str, sink: Sink, ordered: bool, dead_letters: SinkOptions,
                 contiguous: bool = False) -> None:
        self._post = post
        self._name = name
        self._sink = sink
        self._gathering = sink if isinstance(sink, GatheringSink) else None
        self._ordered = ordered
        self._contiguous = contiguous
        self._dead_letters = dead_letters
        self._sequencer = Sequencer()
        self._ready: deque[Held] = deque()
        self._group: list[Held] = []
        self._parked: dict[BatchId, _Parked] = {}
        self._trouble = Trouble(post)
        self._singly = Singly(post)
        self._ending: bool | None = None  # told to come to an end; True: the input has ended

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Take a part, or the dead-letter store's acknowledgement."""
        if isinstance(message, Part):
            self._offer(sender, message, frames)
        elif isinstance(message, Ack) and (parked := self._parked.pop(message.id, None)) is not None:
            self._answer(parked.held, {**parked.counts, **message.counts}, parked.failed)

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """A new dead-letter store gets what the old one had not acknowledged."""
        for member in come:
            if member.name != writer_name(DEAD_LETTERS):
                continue
            for parked in self._parked.values():
                self._post.send(member.address, parked.part, [parked.frame])

    def work(self, now: float) -> float | None:
        """Write one group."""
        if wait_s := self._trouble.wait_s(now):
            return wait_s
        if not self._group:
            self._ready.extend(self._sequencer.ready())
            self._group = self._next_group()
        slot = self._post.slot
        slot.open = len(self._sequencer) + len(self._ready)
        self._show_what_waits()
        if not self._group:
            return self._rest(now)
        slot.phase("WRITE")
        written = [held for held in self._group if self._is_written(held.part)]
        refusals: list[Refusal] = []
        more: Counts = {}
        began = time.monotonic()
        if written and self._singly.wants(written[0].part):
            self._singly.begin(written[0].part)
        try:
            with Group(self._post.tracer, "write", written):
                refusals = self._sink.write([_payload(held) for held in written]) if written else []
        except Retryable as error:
            self._singly.done()
            return self._trouble.met(str(error), now)
        except Finish:
            more = {"finish": 1}
        self._trouble.over(now)
        if written:
            self._singly.linger()
            self._singly.done()
            slot.took(time.monotonic() - began)
        self._settle(written, refusals, more)
        return 0.0

    def _rest(self, now: float) -> float | None:
        """There is nothing to write: let a sink that gathers do what is due by time, or at the end."""
        next_s = None
        if self._gathering is not None:
            self._post.slot.phase("WRITE")
            try:
                if self._ending:
                    self._gathering.end()
                next_s = self._gathering.tick()
            except Retryable as error:
                return self._trouble.met(str(error), now)
            self._trouble.over(now)
        if self._ending is not None:
            self._ending = None
            self._post.tell(Drained())
        self._post.slot.phase("IDLE")
        return next_s

    def _next_group(self) -> list[Held]:
        group: list[Held] = []
        size = 0
        while self._ready and len(group) < (GROUP_PARTS if size > _SMALL_BYTES else _MOST_PARTS):
            part = self._ready[0].part
            is_single = self._is_written(part) and self._singly.wants(part)
            if is_single and any(self._is_written(held.part) for held in group):
                break
            group.append(self._ready.popleft())
            size += sum(map(len, group[-1].frames))
            if is_single:
                break
        return group

    def _is_written(self, part: Part) -> bool:
        return bool(part.count) or self._contiguous

    def drain(self, is_end: bool = False) -> None:
        """No input comes any more: bring what the sink has gathered to its end, when the input has ended; say so."""
        self._ending = is_end

    def close(self) -> None:
        """Close the sink."""
        self._sink.close()

    def _show_what_waits(self) -> None:
        """What is held and not written yet, what is being written included."""
        slot = self._post.slot
        if self._ordered:
            slot.queued = len(self._sequencer) - len(self._parked)
            slot.waiting_since = self._sequencer.since()
            return
        slot.queued = len(self._group) + len(self._ready)
        slot.waiting_since = self._group[0].since if self._group else 0.0

    def _offer(self, sender: str, part: Part, frames: list[bytes]) -> None:
        if part.id in self._parked:  # delivered again: what is parked here may be what was lost
            self._send_parked(self._parked[part.id])
        if self._ordered:
            ack = self._sequencer.offer(sender, part, frames, time.monotonic())
            if ack is not None:
                self._post.send(sender, ack)
            return
        held = Held(part, frames, time.monotonic())
        held.add_sender(sender, part)
        self._ready.append(held)

    def _settle(self, written: list[Held], refusals: list[Refusal], more: Counts) -> None:
        slot = self._post.slot
        refused: dict[int, list[Refusal]] = {}
        for refusal in refusals:
            refused.setdefault(id(written[refusal.payload]), []).append(refusal)
        for held in self._group:
            slot.batches += 1
            slot.records += held.part.count
            slot.bytes_done += len(held.frames[0]) if held.frames else 0
            if id(held) in refused:
                self._park(held, refused[id(held)])
            else:
                self._answer(held, {**held.part.claims, **more} if more else held.part.claims)
        self._group = []

    def _answer(self, held: Held, counts: Counts, failed: frozenset[int] = frozenset()) -> None:
        if self._ordered:
            for sender, ack in self._sequencer.durable(held, counts, failed):
                self._post.send(sender, ack)
            return
        for (sender, _, _), part in held.senders.items():
            self._post.send(sender, Ack(*part.id, part.epoch, counts, failed=gaps_of(failed, part.start, part.end)))

    def _park(self, held: Held, refusals: list[Refusal]) -> None:
        part = held.part
        owners = owners_in(held.frames)
        letters = [
            DeadLetter(writer_name(self._name), refusal.reason, refusal.detail, part.source, part.partition,
                       part.start, -1, -1, refusal.raw, refusal.item, output=owners.get(refusal.item, (0, ""))[1])
            for refusal in refusals
        ]
        alone = sum(refusal.item not in owners for refusal in refusals)  # the others are counted by who waits for all
        counts = dict(part.claims)
        for name, refused in (("written", alone), (f"written.{self._name}", len(letters))):
            counts[name] = counts.get(name, 0) - refused
        claims = {**rejections(letters), "dead_lettered": alone}
        header = Part(*part.id, part.epoch, part.low, len(letters), claims, part.source, trace=part.trace)
        frame = self._dead_letters.pack(letters)
        failed = frozenset(owners[refusal.item][0] for refusal in refusals if refusal.item in owners)
        parked = self._parked[part.id] = _Parked(held, header, frame, counts, failed)
        self._send_parked(parked)

    def _send_parked(self, parked: _Parked) -> None:
        store = self._post.members.get(writer_name(DEAD_LETTERS))
        if store is not None:
            self._post.send(store.address, parked.part, [parked.frame])


def _payload(held: Held) -> Payload:
    part = held.part
    data = held.frames[0] if part.count else b""
    return Payload(part.partition, part.start, part.end, part.count, data, places_in(held.frames))
