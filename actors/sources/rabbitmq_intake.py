"""The opened rabbitmq source: what is delivered goes to the journal, is acknowledged, and handed out in that order."""

from __future__ import annotations

import os
import time
from collections import defaultdict, deque
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from actors.rabbitmq.connection import Server
from actors.runtime.errors import Retryable
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, Unit
from actors.sources.framings.enveloped import Message, packed
from actors.sources.journal import MESSAGES, Journal
from actors.sources.rabbitmq_care import Care
from actors.sources.rabbitmq_consumer import Wanted
from actors.sources.rabbitmq_consumers import Consumers
from actors.sources.rabbitmq_messages import message_of
from actors.sources.rabbitmq_place import Place, Verdict
from actors.sources.rabbitmq_queue import Queue
from actors.sources.rabbitmq_seen import FILE, Known, Seen, known_by

#: What was delivered is journalled by ``tick`` when nobody has read for so long.
STALE_S = 1.0
#: Seconds between two questions how many messages wait: of a source that is followed, and of one that ends.
ASK_S, ASK_OFTEN_S = 5.0, 0.2
#: A turn is due at the latest after so long.
TURN_S = 0.5
#: A source that ends says that messages wait and none is delivered when it has been so for so long.
NOT_GIVEN_S = 10.0


class Limits(NamedTuple):
    """How much is taken.

    Attributes:
        batch_bytes: size of a chunk, about.
        prefetch: most messages that are un-acknowledged, of a queue.
        prefetch_bytes: most bytes that are un-acknowledged, of a queue, about.
        journal_bytes: most bytes that are journalled and not handed out.
    """

    batch_bytes: int
    prefetch: int
    prefetch_bytes: int
    journal_bytes: int


class Shape(NamedTuple):
    """What a source is.

    Attributes:
        queues: what is read: a server and a queue of it, each.
        follow: go on when they are empty.
        key: of the records; see ``message_of``.
        unique_ids: a message with an id that was seen is a repeat, whoever published it.
        journal: the folder of the journal, relative to the state directory.
        segment_bytes: size at which a segment of it is full.
        sync: wait for the disk.
    """

    queues: Sequence[tuple[Server, Wanted]]
    follow: bool
    key: str
    unique_ids: bool
    journal: str
    segment_bytes: int
    sync: bool


class RabbitMQSource(Source):
    """The opened source.

    Args:
        shape: what it is.
        limits: how much is taken.
        ledger: what is known about the journal.
        state: the state directory.

    Raises:
        ConfigError: the journal cannot be written to.
    """

    def __init__(self, shape: Shape, limits: Limits, ledger: UnitLedger, state: Path) -> None:
        self.exhausted = False
        self.endless = shape.follow
        self._shape = shape
        self._limits = limits
        self._intake = Intake(shape, limits, ledger, state)
        self.wake = self._intake.consumers.fileno()
        self._is_left = True  # the journal may have what an earlier reader has left
        self._is_stopping = self._is_held = False
        self._accepted = 0
        self._ledger = ledger
        self._given_at = time.monotonic()

    def read(self) -> Chunk | None:
        """Return what was left before, then what was delivered by now; None when there is nothing.

        Raises:
            Retryable: the journal cannot be written; nothing is lost, call again.
        """
        chunk = self._next()
        if chunk is not None:
            self._accepted += len(chunk.data)
            self._given_at = time.monotonic()
        elif not self._is_left:
            self._go_on_or_end()
        return chunk

    def tick(self, now: float) -> float | None:
        """Keep the connections alive, and journal what has waited for long.

        Raises:
            Retryable: no server can be reached, and there is nothing to hand out; or the journal cannot be written; or
                (not followed) messages wait, and none is delivered.
            ConfigError: a server does not let this user in, or a queue is another one.
        """
        if self._is_left:  # the turn that finds no more of it has asked already, and must not sleep without end
            return now + TURN_S
        intake, consumers = self._intake, self._intake.consumers
        consumers.turn(opens=not self._is_stopping)
        if consumers.waiting and time.monotonic() - consumers.since >= STALE_S:
            while consumers.waiting:  # no more than the prefetch, also while the consumers are to be cancelled
                intake.journal_one()
            if intake.ready_bytes >= self._limits.journal_bytes and not self._is_held:
                self._is_held = True
                consumers.hold()
        intake.look()
        consumers.ask(ASK_S if self._shape.follow else ASK_OFTEN_S)
        if consumers.waiting or intake.ready or self._is_stopping:
            self._given_at = now
        else:
            consumers.require_reached()
            self._require_to_be_given(now)
        at = consumers.next_at(opens=not self._is_stopping)
        return now + TURN_S if at is None else min(at, now + TURN_S)

    def lag(self) -> dict[int, int]:
        """Messages that wait in the queues, behind the unit that is written; nothing before there is one.

        Raises:
            Retryable: no queue can be asked now.
        """
        if not self._intake.unit:
            return {}
        self._intake.consumers.require_asked()
        return {self._intake.unit: self._intake.consumers.ready()}

    def finished(self, unit: Unit) -> None:
        """Delete the segment; what was in it is known first. Tell how many messages came again until then."""
        seen = self._intake.seen
        seen.keep()
        if seen.repeats:
            are = "message was" if seen.repeats == 1 else "messages were"
            self._ledger.noted(unit, f"{seen.repeats} {are} delivered again, and known: not read twice")
            seen.repeats = 0
        self._intake.journal.put_away(unit)

    def failed(self, unit: Unit) -> None:
        """Delete the segment: what is wrong in it is in the dead letters."""
        self.finished(unit)

    def settle(self) -> None:
        """What was deleted stays deleted."""
        self._intake.journal.settle()

    def stop(self) -> None:
        """Have nothing more delivered. What was is journalled, acknowledged and handed out."""
        self._is_stopping = True
        self._intake.consumers.hold()

    def progress(self) -> tuple[int, int]:
        """Bytes handed out by this generation; nobody knows how many there will be."""
        return self._accepted, 0

    def close(self) -> None:
        """Say farewell to the servers. What is not durable elsewhere stays in the journal."""
        self._intake.consumers.close()
        self._intake.care.close()
        self._intake.journal.close()

    def _next(self) -> Chunk | None:
        intake = self._intake
        if self._is_left:
            chunk = intake.journal.left()
            self._is_left = chunk is not None
            return chunk
        if not intake.ready and not intake.consumers.waiting:
            intake.consumers.turn(opens=not self._is_stopping)
        while intake.consumers.waiting and not intake.ready:  # all of a chunk may be known already
            intake.journal_one()
        return intake.take() if intake.ready else None

    def _require_to_be_given(self, now: float) -> None:
        """Whoever waits for the end of a run has to know that it waits for somebody else."""
        wait = self._intake.consumers.ready()
        if self._shape.follow or not wait:
            self._given_at = now
        elif now - self._given_at >= NOT_GIVEN_S:
            server, wanted = self._shape.queues[0]
            which = f"queue {wanted.name}" if len(self._shape.queues) == 1 else "its queues"
            raise Retryable(f"rabbitmq {server.address.shown}: {wait} messages wait in {which}, and none is delivered "
                            "to this run: another consumer is the active one (single active consumer): end that one, "
                            "or wait for it")

    def _go_on_or_end(self) -> None:
        """Nothing is left to hand out: have more delivered, or end."""
        consumers = self._intake.consumers
        if self._is_held and not self._is_stopping:
            self._is_held = False
            consumers.resume()
        if not self._shape.follow and not self._is_stopping and consumers.are_empty():
            self.stop()
        if self._is_stopping and consumers.are_held() and not consumers.waiting:
            self._intake.journal.end()
            self.exhausted = True


class Intake:
    """From what was delivered to chunks: journalled, acknowledged, and ready to be handed out.

    Args:
        shape: what the source is.
        limits: how much is taken.
        ledger: what is known about the journal.
        state: the state directory.

    Attributes:
        journal: what was accepted.
        seen: what of it may come again.
        care: which queues are taken one message at a time.
        consumers: of the queues.
        ready: what is journalled and not handed out.
        ready_bytes: of it.
        unit: the ledger's number of the segment that is written; 0: there is none yet.
    """

    def __init__(self, shape: Shape, limits: Limits, ledger: UnitLedger, state: Path) -> None:
        self.journal = Journal(
            state, shape.journal, ledger, limits.batch_bytes, shape.segment_bytes, shape.sync, MESSAGES)
        self.seen = Seen(self.journal.folder, shape.sync)
        self.care = Care(self.journal.folder)
        if self.seen.problem:
            ledger.broken(os.path.join(shape.journal, FILE), self.seen.problem)
        self.consumers = Consumers(
            shape.queues, limits.prefetch, limits.prefetch_bytes, self._stream_at, self.care)
        self.ready: deque[Chunk] = deque()
        self.ready_bytes = self.unit = 0
        self._shape = shape
        self._batch_bytes = limits.batch_bytes
        self._ledger = ledger
        self._joined: dict[str, tuple[int, int]] = {}
        self._places: defaultdict[str, Place] = defaultdict(Place)

    def take(self) -> Chunk:
        """Return the next chunk that is ready."""
        chunk = self.ready.popleft()
        self.ready_bytes -= len(chunk.data)
        return chunk

    def journal_one(self) -> None:
        """Write about a chunk of what was delivered, and acknowledge it.

        Raises:
            Retryable: the disk is full, or has failed; nothing was written.
        """
        count = size = 0
        for one in self.consumers.waiting:
            if count and size + len(one.body) > self._batch_bytes:
                break
            count += 1
            size += len(one.body)
        left: dict[Queue, Verdict] = {}
        messages, known, passed = self._fresh(count, left)
        if messages:
            chunk = self.journal.append(packed(messages))
            self.seen.add(known)
            self.ready.append(chunk)
            self.ready_bytes += len(chunk.data)
            self.unit = chunk.unit
        self.seen.repeats += count - len(messages) - passed
        self.consumers.acknowledge(count)
        for queue, verdict in left.items():
            self._leave(queue, verdict)

    def look(self) -> None:
        """See whether the streams are still those that were read."""
        now = time.monotonic()
        for queue in self.consumers.streams():
            is_consuming = queue.is_consuming and not self.consumers.waiting
            verdict = self._places[queue.known_as].look(is_consuming, now)
            if verdict in (Verdict.AGAIN, Verdict.ANOTHER):
                self._leave(queue, verdict)

    def _stream_at(self, name: str) -> int | str | None:
        """From where on a stream is consumed."""
        seen = self.seen
        return self._places[name].begins(seen.streams.get(name), seen.marks.get(name, b""), time.monotonic())

    def _leave(self, queue: Queue, verdict: Verdict) -> None:
        """Have a stream delivered anew; when it is another one than it was, from its beginning."""
        name = queue.known_as
        if verdict is Verdict.ANOTHER:
            expected = self.seen.streams[name]
            self._ledger.broken(f"stream {name} up to {expected}", (
                f"what was read of it, up to offset {expected - 1}, is not there any more: it was deleted and made "
                "anew, or has lost its end. Whether all of it was read before is not known; what is there now is read "
                "from its beginning"))
            self.seen.begin_again(name)
        queue.begin_again()

    def _fresh(
        self, count: int, left: dict[Queue, Verdict]
    ) -> tuple[list[Message], list[tuple[Known, int]], int]:
        """Those of the first so many that were not journalled before; what each is known by, and its session; and how
        many of a stream were passed over. ``left``: is told which streams are to be consumed anew."""
        messages: list[Message] = []
        found: list[tuple[Known, int]] = []
        passed = 0
        here: set[bytes] = set()
        for _, one in zip(range(count), self.consumers.waiting, strict=False):
            queue = one.queue
            message = message_of(one, queue.known_as.encode(), queue.wanted.is_stream, self._shape.key)
            known = known_by(message)
            if known.place is not None and not self._is_next(queue, known, left):
                passed += 1
                continue
            session = self.consumers.session_of(one)
            is_due = one.is_redelivered or self._shape.unique_ids
            if self.seen.is_repeat(known, session, is_due) or (is_due and known.identity in here):
                continue
            if known.identity is not None:
                here.add(known.identity)
            self._tell_a_gap(queue, known)
            messages.append(message)
            found.append((known, session))
        return messages, found, passed

    def _is_next(self, queue: Queue, known: Known, left: dict[Queue, Verdict]) -> bool:
        """Whether a message of a stream is one to be read."""
        if queue in left or known.place is None:
            return False
        verdict = self._places[queue.known_as].takes(known.place[1], known.mark, time.monotonic())
        if verdict in (Verdict.AGAIN, Verdict.ANOTHER):
            left[queue] = verdict
        return verdict is Verdict.TAKE

    def _tell_a_gap(self, queue: Queue, known: Known) -> None:
        """A stream that is read on behind the place that was asked for has lost what was between."""
        joins = (queue.session, 0 if queue.consumer is None else queue.consumer.joins)
        if known.place is None or self._joined.get(known.place[0]) == joins:
            return
        name, offset = known.place
        self._joined[name] = joins
        expected = self.seen.streams.get(name)
        if expected is not None and offset > expected:
            self._ledger.broken(f"stream {name} from {expected}", (
                f"offsets {expected} to {offset - 1} are not there any more: retention has let them go before they "
                "were read (raise max-age or max-length-bytes of the stream)"))
