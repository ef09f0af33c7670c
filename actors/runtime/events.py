"""What happens in a run, as values: a sentence for people, a map for machines."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import msgspec

from actors.runtime.marks import NO_MARK, Mark
from actors.runtime.messages import BatchId


def describe_batch(batch: tuple[str, int, int]) -> str:
    """Say for people which batch it is: the bytes of its partition."""
    return f"bytes {batch[1]}-{batch[2]}"


class LastWords(msgspec.Struct, frozen=True):
    """What the board and the run directory still say of an actor that has ended.

    ``mark``: what of the batch in hand it had in hand. ``near``: the batches that it had done within the second before,
    the last first.
    """

    phase: str = ""
    hand: tuple[str, int, int] = ("", 0, 0)
    stack: str = ""
    rss_bytes: int = 0
    batches: int = 0
    mark: Mark = NO_MARK
    near: tuple[BatchId, ...] = ()


class Event(msgspec.Struct, frozen=True, tag=True):
    """Base of all events."""

    def text(self) -> str:
        """Say it in one sentence, for people."""
        raise NotImplementedError

    def fields(self) -> dict[str, Any]:
        """Say it as a map, for machines; the key ``event`` names the kind."""
        data: dict[str, Any] = msgspec.to_builtins(self)
        return {"event": data.pop("type"), **data}


class RunStarted(Event, frozen=True, tag="started"):
    """The supervisor has begun to start actors."""

    run: str
    name: str
    state: str
    actors: int

    def text(self) -> str:
        return f"{self.name}: starting {self.actors} actors, state in {self.state}"


class RunReady(Event, frozen=True, tag="ready"):
    """All actors are ready; ``seconds`` after the start."""

    actors: int
    seconds: float

    def text(self) -> str:
        return f"{self.actors} actors ready after {self.seconds:.2f} s"


class MonitorReady(Event, frozen=True, tag="monitor"):
    """The monitor answers at this address; also once more after it was started again.

    The token is in a file, which this user alone can read: events are printed into logs and pipes.
    """

    url: str
    token_file: str = ""

    def text(self) -> str:
        return f"dashboard: {self.url} with the token in {self.token_file}"


class ActorDied(Event, frozen=True, tag="died"):
    """An actor ended and nobody had asked it to.

    Attributes:
        actor: name, e.g. ``parser.1``.
        generation: how many times an actor of this name was started.
        how: e.g. ``signal SIGKILL`` or ``exit code 1``; for a hang what the supervisor saw.
        phase: what it was doing.
        restart_s: the delay before it is started again, None when it is not.
        cause: ``worker_died``, or ``timeout`` for a hang.
        hand: the batch it worked on: partition, start, end.
        stack: the last stack of each of its threads; empty when it died without a word.
        rss_bytes: resident memory at the last look.
        uptime_s: seconds since it was started.
    """

    actor: str
    generation: int
    how: str
    phase: str
    restart_s: float | None
    cause: str = "worker_died"
    hand: tuple[str, int, int] = ("", 0, 0)
    stack: str = ""
    rss_bytes: int = 0
    uptime_s: float = 0.0

    def text(self) -> str:
        then = "not restarted" if self.restart_s is None else (
            "restarting now" if self.restart_s == 0 else f"restarting in {self.restart_s:.1f} s")
        batch = f" with {describe_batch(self.hand)} in hand" if self.hand[2] else ""
        return f"{self.actor} died ({self.how}) while {self.phase.lower() or 'starting'}{batch}: {then}"


class ActorSuspect(Event, frozen=True, tag="suspect"):
    """An actor gives no sign of progress: nothing new is given to it. It is killed when its budget is used up."""

    actor: str
    generation: int
    reason: str

    def text(self) -> str:
        return f"{self.actor} is suspect: {self.reason}; nothing new is given to it"


class ActorHung(Event, frozen=True, tag="hung"):
    """An actor is taken for hung: its stack is written down, then it is killed and started again."""

    actor: str
    generation: int
    reason: str

    def text(self) -> str:
        return f"{self.actor} hangs: {self.reason}; it is killed"


class Recycled(Event, frozen=True, tag="recycled"):
    """A worker is replaced by a fresh one, after it has finished what it has."""

    actor: str
    generation: int
    reason: str

    def text(self) -> str:
        return f"{self.actor} is replaced by a fresh one: {self.reason}"


class Scaled(Event, frozen=True, tag="scaled"):
    """A pool gets more or fewer workers."""

    pool: str
    before: int
    workers: int

    def text(self) -> str:
        return f"{self.pool}: {self.before} worker{'' if self.before == 1 else 's'} before, {self.workers} from now on"


class Reloaded(Event, frozen=True, tag="reloaded"):
    """Somebody asked for the configuration to be read again: what came of it."""

    who: str
    ok: bool
    outcome: str

    def text(self) -> str:
        return f"configuration read again ({self.who}): {self.outcome}"


class OutageBegan(Event, frozen=True, tag="outage"):
    """A sink or the source cannot be used; its actor retries, the pipeline waits. ``max_outage_s``: 0: for ever."""

    actor: str
    problem: str
    max_outage_s: float

    def text(self) -> str:
        most = f"for at most {self.max_outage_s:.0f} s" if self.max_outage_s else "for as long as it takes"
        return f"{self.actor} waits: {self.problem} ({most})"


class OutageEnded(Event, frozen=True, tag="recovered"):
    """The sink or the source answers again, after ``seconds``."""

    actor: str
    seconds: float

    def text(self) -> str:
        return f"{self.actor} works again after {self.seconds:.1f} s"


class FileLost(Event, frozen=True, tag="file_lost"):
    """Bytes of a file were there, and are gone before they were read; the run goes on without them."""

    source: str
    start: int
    end: int

    def text(self) -> str:
        return f"{self.source}: the bytes {self.start} to {self.end} are gone before they were read"


class SourceLost(Event, frozen=True, tag="source_lost"):
    """Records of a source were there, and are gone before they were read: retention or compaction took them."""

    source: str
    start: int
    end: int

    def text(self) -> str:
        return f"{self.source}: what it had from {self.start} to {self.end} is gone before it was read"


class EmptyLeftOut(Event, frozen=True, tag="empty_left_out"):
    """Windows without records are emitted, but not so many in a row: none from ``start`` (ms since 1970) on, until one
    has records again."""

    actor: str
    start: int

    def text(self) -> str:
        return (f"{self.actor}: too many windows in a row are empty: from {self.start} ms since 1970 on none is "
                "emitted before one has records")


class Draining(Event, frozen=True, tag="draining"):
    """No new input is taken; what is under way is finished."""

    reason: str

    def text(self) -> str:
        return f"draining: {self.reason}"


class RunEnded(Event, frozen=True, tag="ended"):
    """Every process of the run has ended."""

    code: int
    reason: str
    seconds: float

    def text(self) -> str:
        return f"ended with exit code {self.code} after {self.seconds:.1f} s: {self.reason}"


#: Upper bounds of the histogram of batch times, in seconds; what took longer is counted in one more.
BATCH_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class RunView(msgspec.Struct, frozen=True):
    """The run as a whole, as the board shows it.

    Attributes:
        mode: starting, running, draining, stopping or ended; empty before the first beat.
        pid: of the supervisor.
        started: seconds since 1970.
        beat_s: seconds since its loop last went round.
    """

    mode: str
    pid: int
    started: float
    beat_s: float


class ActorView(msgspec.Struct, frozen=True):
    """One actor as the board shows it.

    Attributes:
        actor: name, e.g. ``parser.1``.
        state: STARTING, READY, BUSY, SUSPECT, DRAINING, BACKOFF, FATAL or STOPPED.
        phase: BOOT, IDLE, RECV, WORK, WAIT_CREDIT, WRITE, RETRY or DRAINED.
        phase_s: seconds since the phase began.
        batches: batches finished by this generation.
        records: records finished by this generation.
        bytes_done: for a reader: bytes of input read, as they lie on disk; else payload bytes handled.
        bytes_total: for a reader: bytes of input in all, 0 when not known.
        open: batches open (reader), waiting for acks (worker), or held (writer, aggregator).
        rss_bytes: resident memory at the last look.
        busy_s: seconds spent working.
        starved_s: seconds spent waiting for credit.
        heartbeat_s: age of the last heartbeat.
        note: what it waits for, for a person; may be empty.
        hand: the batch it works on: partition, start, end.
        signs: counter of progress within a batch.
        extended_s: seconds for which it has asked not to be taken for hung.
        garbage: frames received that were no messages, dropped.
        refused: connections of strangers, refused.
        queued: batches that wait here: to be worked on (worker), written or folded, or given to a worker (reader).
        credit: batches that the pool it gives work to would still take.
        waiting_s: how long the oldest of the queued has waited here; for a reader, how long its oldest batch is open.
        batch_times: number of batches that took at most each of ``BATCH_BOUNDS_S``, and longer: not cumulated. For a
            reader from being issued to being closed; for a writer each call of its sink, for an aggregator each commit.
        batch_times_s: seconds that all of them took.
        record_s: for a reader: seconds of work in a record, of all stages together; 0 as long as that is not known.
        batch_records: for a reader: records in a batch, at most; 0: as many as come.
        down_s: how long what ``note`` names cannot be used; 0: it can.
    """

    actor: str
    generation: int
    pid: int
    state: str
    phase: str
    phase_s: float
    batches: int
    records: int
    bytes_done: int
    bytes_total: int
    open: int
    rss_bytes: int
    busy_s: float
    starved_s: float
    heartbeat_s: float
    note: str
    hand: tuple[str, int, int] = ("", 0, 0)
    signs: int = 0
    extended_s: float = 0.0
    garbage: int = 0
    refused: int = 0
    queued: int = 0
    credit: int = 0
    waiting_s: float = 0.0
    batch_times: tuple[int, ...] = ()
    batch_times_s: float = 0.0
    record_s: float = 0.0
    batch_records: int = 0
    down_s: float = 0.0


class Observer(Protocol):
    """Who is told what happens: the console, a log, a test."""

    #: Seconds between two calls of ``refresh``; 0 for never (the supervisor then never wakes for it).
    refresh_s: float

    def event(self, event: Event) -> None:
        """Something happened."""
        ...

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """The board, now."""
        ...


class RunResult(msgspec.Struct, frozen=True):
    """How a run ended: the exit code (DONE, FAILED, RESUMABLE), why, and how long it took.

    ``outages`` are the problems of the sinks that were still down at the end, by writer.
    """

    code: int
    reason: str
    seconds: float
    ready_s: float
    outages: dict[str, str]


#: Exit codes of ``thresher run``.
DONE, FAILED, USAGE, RESUMABLE, OVER_BUDGET, BAD_CONFIG = 0, 1, 2, 3, 4, 78
