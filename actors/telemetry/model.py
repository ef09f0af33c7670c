"""What is shown of a run, wherever it is shown: ``status``, ``top``, ``/api/status``, ``/metrics``, the dashboard.

    board, ledger, event log, kernel ──Watcher──▶ Snapshot ──two of them──▶ Flow (rates, edges, the bottleneck)

One model, so that no two places disagree. All of it can be sent as JSON (``msgspec.to_builtins``).
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.runtime.counts import Counts
from actors.runtime.events import ActorView


class ActorStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One actor: what the board says, and the kernel.

    Attributes:
        view: its slot of the board.
        stage: ``reader``, ``parser``, ``checker``, ``aggregator``, ``writer``, ``dead_letters`` or ``monitor``.
        cpu_s: processor time of this process so far, user and system; 0 when it has none.
        restarts: how often it was started again in this run.
    """

    view: ActorView
    stage: str
    cpu_s: float
    restarts: int


class PartitionLag(msgspec.Struct, frozen=True):
    """How many records a partition of the source (a unit of the run, by its name) is ahead of the run."""

    name: str
    records: int


class Lag(msgspec.Struct, frozen=True, kw_only=True):
    """How far the run is behind its source, as far as the source knew.

    Attributes:
        records: in all partitions together, that are there and not durable in the run.
        partitions: how many partitions these are.
        worst: the partitions, those that are furthest behind first; at most ``actors.runtime.lag.MOST``.
        age_s: how long ago the source knew it: much more than a second when it cannot be asked now.
    """

    records: int
    partitions: int
    worst: list[PartitionLag]
    age_s: float


class Happening(msgspec.Struct, frozen=True, kw_only=True):
    """An event, ready to be shown: when (seconds since 1970), its kind, a sentence, and all its fields."""

    at: float
    kind: str
    text: str
    fields: dict[str, Any]


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """A run at one moment.

    Attributes:
        name: the pipeline's.
        run: its identity.
        state: path of the state directory.
        mode: starting, running, draining, stopping or ended.
        started: seconds since 1970.
        at: when this was looked at, in seconds since 1970.
        clock: the same on the monotonic clock: what rates are computed with.
        beat_s: seconds since the supervisor's loop last went round.
        actors: in the order of start.
        outcomes: what has become of the records of all runs on this state directory: ``read``, ``written``,
            ``written.SINK``, ``folded``, ``filtered``, ``dead_lettered``, ``handed_over``,
            ``rejected.REASON``.
        deaths: deaths of actors in this run that nobody had asked for, by cause: ``signal SIGKILL``, ``exit code 1``,
            ``timeout``.
        happenings: the last events of this run, the oldest first.
        not_ready: why the run does not get on; empty when it does.
        lag: how far it is behind its source; None: the source does not know, or has nothing of the kind.
    """

    name: str
    run: str
    state: str
    mode: str
    started: float
    at: float
    clock: float
    beat_s: float
    actors: list[ActorStatus]
    outcomes: Counts
    deaths: dict[str, int]
    happenings: list[Happening]
    not_ready: list[str]
    lag: Lag | None = None


class StageFlow(msgspec.Struct, frozen=True, kw_only=True):
    """The members of a pool together, between two snapshots.

    Attributes:
        stage: as in ``ActorStatus``; a writer or shard is a stage of its own by its name.
        actors: names of the members.
        records_per_s: records that they finished.
        batches_per_s: batches that they finished.
        bytes_per_s: payload bytes (a reader: bytes of input) that they handled.
        busy: part of the time that they worked, 0 to 1, mean of the members.
        starved: part of the time that they waited for credit, 0 to 1, mean of the members.
        cpu: processors in use, in sum: 1.0 is one core.
        rss_bytes: resident memory, in sum.
        queued: batches that wait there now.
        waiting_s: age of the oldest of them.
        batch_p50_s: half of the batches took no longer; None without any. Bound of a bucket of the histogram.
        batch_p99_s: the same for all but one in a hundred.
    """

    stage: str
    actors: list[str]
    records_per_s: float
    batches_per_s: float
    bytes_per_s: float
    busy: float
    starved: float
    cpu: float
    rss_bytes: int
    queued: int
    waiting_s: float
    batch_p50_s: float | None
    batch_p99_s: float | None


class EdgeFlow(msgspec.Struct, frozen=True, kw_only=True):
    """What goes from one stage to the next, between two snapshots.

    Attributes:
        source: stage that sends.
        target: stage that receives.
        records_per_s: records that the target finished, those from this source as far as that is known.
        batches_per_s: the same in batches.
        backlog: batches that wait at the target.
        credit: batches that the target would still take from the source; None for a fixed destination: parts to it
            need no credit, the window bounds them.
    """

    source: str
    target: str
    records_per_s: float
    batches_per_s: float
    backlog: int
    credit: int | None


class Bottleneck(msgspec.Struct, frozen=True, kw_only=True):
    """What keeps the run from being faster: the stage (empty when it is the input that is slow), and a sentence."""

    stage: str
    text: str


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """A run between two snapshots.

    Attributes:
        seconds: between them.
        records_per_s: records whose outcome has become durable.
        outcomes_per_s: the same by outcome, as in ``Snapshot.outcomes``.
        stages: in the order in which data flows.
        edges: from the source to the sinks.
        bottleneck: see there.
        progress: part of the input that is read, 0 to 1; None when nobody knows how much there is.
        eta_s: seconds until all of it is; None likewise.
    """

    seconds: float
    records_per_s: float
    outcomes_per_s: dict[str, float]
    stages: list[StageFlow]
    edges: list[EdgeFlow]
    bottleneck: Bottleneck
    progress: float | None
    eta_s: float | None


class Status(msgspec.Struct, frozen=True, kw_only=True):
    """What ``/api/status``, each message of the event stream and ``top --json`` hold."""

    snapshot: Snapshot
    flow: Flow
