"""Every message of the wire protocol. See docs/protocol.md; ``codec.py`` encodes and decodes them.

    link     producer ──▶ consumer   Hello  Batch  Part  Roll
             consumer ──▶ producer   Credit  Ack  Failed  Again
             either                  Bundle: of these
    control  actor ──▶ supervisor    Booted  Ready  Serving  Outage  Lost  LeftOut  Drained  InputDone  Drain
             command ◀─▶ supervisor  Command  Reply
             supervisor ──▶ actor    Start  Roster  Hold  Tap  Suspect  Drain  Stop
"""

from __future__ import annotations

import msgspec

from actors.runtime.counts import Counts
from actors.runtime.marks import NO_MARK, Care, Mark

#: What a batch is known by: partition, start and end position. All that is made from it keeps it.
BatchId = tuple[str, int, int]
#: No batch.
NOTHING: BatchId = ("", 0, 0)
#: How it was judged who is late in a part.
UNSURE, FULLY = "unsure", "fully"


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all messages."""


class Ranged(Message, frozen=True):
    """Base of messages about a batch, or about what was made from it."""

    partition: str
    start: int
    end: int

    @property
    def id(self) -> BatchId:
        """What the batch is known by."""
        return (self.partition, self.start, self.end)


class Late(msgspec.Struct, frozen=True, array_like=True):
    """What a shard says of a batch in which records are late, or may be.

    Attributes:
        shard: its number, from 0.
        before: it has closed what ends there, or before (event time in ms).
        newest: the newest event times before the batch in its partition, so that the batch can be judged as a part of
            it; None: they are not known, for this is a piece of the batch.
    """

    shard: int
    before: int
    newest: tuple[int, ...] | None = None


class Hello(Message, frozen=True, tag="hello"):
    """The first thing a producer says to a consumer; a pool worker answers with ``Credit``."""

    run: str


class Batch(Ranged, frozen=True, tag="batch"):
    """A batch for any one worker of a pool. Payload: the raw lines; between parser and checker also the rows.

    Attributes:
        epoch: the origin's count of deaths among its ordered consumers; answers to older epochs are void.
        low: the origin's lowest open position: everything below it is durable everywhere.
        roster: version of the roster that the origin knew: a fixed destination that is newer must not be given this.
        fault: when not empty, the whole payload is one dead letter with this reason.
        roll: version of ``active``; grows whenever the origin's set of active units changes.
        active: the units whose event times the watermark has to wait for, when they are partitions of their own.
        silences: how often all of them had fallen silent before the batch was issued, in this state.
        anchor: event time in ms that windows are counted from; None as long as nobody knows it.
        late: what is late in it, for each shard that has said so.
        lines: number of newlines in the payload; -1: not counted.
        trace: W3C trace context (``traceparent``) of a batch that is traced; empty: it is not.
        framing: what the payload is made of: lines (empty), or ``records``.
        only: see ``Chunk``.
        spent_s: seconds that the pool before this one has worked on it.
        give_back_s: when a worker has worked on it for so long it may give it back, to be cut; 0: it does all of it.
        seen_ms: see ``Chunk``.
        care: somebody may have died of it; None: work on it as on any other.
    """

    epoch: int
    low: int
    roster: int
    unit: int
    source: str
    offset: int
    line: int
    fault: str = ""
    detail: str = ""
    roll: int = 0
    active: tuple[int, ...] = ()
    anchor: int | None = None
    late: tuple[Late, ...] = ()
    lines: int = -1
    trace: str = ""
    framing: str = ""
    only: str = ""
    spent_s: float = 0.0
    give_back_s: float = 0.0
    seen_ms: int = 0
    care: Care | None = None
    silences: int = 0


class Part(Ranged, frozen=True, tag="part"):
    """What a batch holds for one fixed destination, be it nothing. Payload: the packed items, or none; and whose they
    are, where some are of records that have several outputs.

    Attributes:
        count: number of items in the payload.
        claims: the outcome counts that become true once this part is durable; they come back in the ``Ack``.
        unit: the input unit that the batch is from.
        roll: see ``Batch``.
        active: see ``Batch``.
        silences: see ``Batch``.
        newest: the largest event times in the whole batch, in ms, as many as matter (``newest.py``).
        trace: see ``Batch``.
        judged: who is late was judged by the batch alone, and nothing can be late by that (empty); something can, by
            what was before the batch (``UNSURE``); or by what was before it, too (``FULLY``).
        alone: a consumer has died with it: it is to be applied with no other; see ``singly``.
    """

    epoch: int
    low: int
    count: int
    claims: Counts
    source: str = ""
    unit: int = 0
    roll: int = 0
    active: tuple[int, ...] = ()
    newest: tuple[int, ...] = ()
    trace: str = ""
    judged: str = ""
    alone: bool = False
    silences: int = 0


class Credit(Message, frozen=True, tag="credit"):
    """The consumer can take ``batches`` more from this producer.

    Attributes:
        batches: how many.
        done: so many of this producer's batches have left its hands since it said so last.
        seconds: that it has worked on those.
        records: so many records were worked off, by it or by the pool behind it, which counts what it has sent on.
        spent_s: seconds that all pools together have worked on those.
    """

    batches: int
    done: int = 0
    seconds: float = 0.0
    records: int = 0
    spent_s: float = 0.0


class Ack(Ranged, frozen=True, tag="ack"):
    """Everything made from this range is durable; ``counts`` says what became of its records.

    Attributes:
        failed: from a writer: positions of records one of several outputs of which it has refused for good, each less
            the one before it, the first less ``start``. They are not in ``counts``: see ``outputs.py``.
    """

    epoch: int
    counts: Counts
    failed: tuple[int, ...] = ()


class Failed(Ranged, frozen=True, tag="failed"):
    """Something made from this range was lost with a consumer: the origin has to deliver it again."""

    epoch: int
    cause: str


class Span(msgspec.Struct, frozen=True, array_like=True):
    """Event times of a batch, in ms: of its first record, the least that is not later than that one by more than the
    allowed disorder, the greatest."""

    first: int
    least: int
    greatest: int


#: The span of a batch in which no record has an event time.
NO_TIMES = Span(0, 0, -1)


class Again(Ranged, frozen=True, tag="again"):
    """The batch has to be delivered once more, with more said in its header, or in pieces; nothing was made of it.

    Attributes:
        span: from a worker that was not told what windows are counted from: the event times of the batch. For any
            batch, also for one without: consumers could not apply it, for what is before it is put off.
        late: from an aggregator shard: what is late in it, or may be.
        too_long: from a worker: it takes too long; so many of its records took so many seconds.
    """

    epoch: int
    span: Span | None = None
    late: tuple[Late, ...] = ()
    too_long: tuple[int, float] | None = None


class Roll(Message, frozen=True, tag="roll"):
    """From the reader to every shard: the units that the watermark waits for have changed. See ``Batch``.

    What batches say of it is what counts for a unit that comes, since they cannot overtake themselves. This is for one
    that goes when no batch does: its last is acknowledged, so nothing of it is under way.
    """

    version: int
    active: tuple[int, ...]
    silences: int = 0


#: What one actor says to another.
Linked = Hello | Batch | Part | Credit | Ack | Failed | Again | Roll


class Bundle(Message, frozen=True, tag="bundle"):
    """Small messages to one address, in the order in which they were sent. Payload: theirs, one behind the other.

    Attributes:
        sizes: bytes of each payload frame of each message.
    """

    messages: list[Linked]
    sizes: list[list[int]]


class Booted(Message, frozen=True, tag="booted"):
    """The process runs and has imported what it needs; it waits for ``Start``."""

    pid: int


class Ready(Message, frozen=True, tag="ready"):
    """Resources are open, the socket is bound at ``endpoint``."""

    endpoint: str


class Serving(Message, frozen=True, tag="serving"):
    """The monitor answers at this address."""

    url: str


class Outage(Message, frozen=True, tag="outage"):
    """The writer's sink cannot be used since ``seconds``: ``problem``; empty: it works again."""

    problem: str
    seconds: float


class Lost(Message, frozen=True, tag="lost"):
    """What the input had is gone before it was read: the bytes, or records, from ``start`` to ``end``.

    Attributes:
        fault: ``file_lost`` or ``source_lost``.
    """

    source: str
    start: int
    end: int
    fault: str = "file_lost"


class LeftOut(Message, frozen=True, tag="left_out"):
    """From an aggregator: windows without records are emitted, but none from this one on (ms): too many in a row."""

    start: int


class Drained(Message, frozen=True, tag="drained"):
    """The worker was told to drain and has nothing in its hands any more."""


class InputDone(Message, frozen=True, tag="input_done"):
    """The reader has nothing under way any more: input is at its end, or it was told to drain, or it gave up.

    Attributes:
        left: whether input is left, for a later run to resume.
        code: exit code of the run when the reader gave up, else 0.
        reason: why it gave up, or why it is done before the end of its input.
    """

    left: bool
    code: int = 0
    reason: str = ""


class Command(Message, frozen=True, tag="command"):
    """A person at a terminal asks for something: ``scale`` (pool, workers), ``reload``, ``stop``, ``tap`` (path)."""

    verb: str
    arguments: tuple[str, ...] = ()


class Reply(Message, frozen=True, tag="reply"):
    """The answer to a command: whether it is carried out, and what is to be said."""

    ok: bool
    text: str


class Start(Message, frozen=True, tag="start"):
    """All consumers downstream are ready: open your resources and say ``Ready``."""


class Member(msgspec.Struct, frozen=True, array_like=True):
    """A living, ready actor: its address is ``name#generation``. ``since``: the first roster that it was on."""

    name: str
    generation: int
    stage: str
    endpoint: str
    ordered: bool
    since: int = 0

    @property
    def address(self) -> str:
        """What it is called on the wire; an old generation's address is never used again."""
        return f"{self.name}#{self.generation}"


class Roster(Message, frozen=True, tag="roster"):
    """Who is ready now. A member that is missing, or has another generation, has died."""

    version: int
    members: tuple[Member, ...]


class Hold(Message, frozen=True, tag="hold"):
    """Give this worker nothing new for now (``on``), or again: it may hang, or is being replaced."""

    address: str
    on: bool


class Tap(Message, frozen=True, tag="tap"):
    """Show some records to whoever listens at this datagram socket, for so many seconds; or as long as it is said."""

    path: str
    seconds: float


class Suspect(Ranged, frozen=True, tag="suspect"):
    """A worker died with this range in hand, or had nothing in hand and had done this last, less than a second before;
    and nobody had asked it to.

    Attributes:
        reason: ``worker_died`` or ``timeout``.
        detail: how it ended, and its last stack.
        mark: what of the range it had in hand.
        stage: of the worker.
        near: the batches that it had done within the second before.
    """

    reason: str
    detail: str
    mark: Mark = NO_MARK
    stage: str = ""
    near: tuple[BatchId, ...] = ()


class Drain(Message, frozen=True, tag="drain"):
    """Take no new input; finish what is under way; then say ``InputDone`` (a reader) or ``Drained`` (any other).

    Attributes:
        end: the input has ended: an aggregator closes every window (else it emits only what is closed), a writer brings
            what its sink has gathered to its end (else that stays gathered).

    From an aggregator to the supervisor: nobody takes what it emits any more, so the run may stop, as by a signal.
    """

    end: bool = False


class Stop(Message, frozen=True, tag="stop"):
    """Nothing is under way any more: close your resources and end."""


AnyMessage = (
    Linked | Bundle
    | Booted | Ready | Serving | Outage | Lost | LeftOut | Drained | InputDone | Command | Reply | Start | Roster | Hold
    | Tap
    | Suspect | Drain | Stop
)
