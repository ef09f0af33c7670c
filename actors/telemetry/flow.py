"""What goes on between two looks at a run: rates, edges, how far it is, what holds it up. Pure.

    Snapshot ─┐                     ┌─ stages: each pool together; a writer or shard is a stage of its own
              ├─ what was gained ───┼─ edges: reader ─▶ parser [─▶ checker] ─▶ writers, shards ─▶ what they emit to
    Snapshot ─┘                     └─ progress, time left, the bottleneck

An actor's figures begin anew with each generation, and its slot keeps those of the dead one until the next has booted.
So what was gained is the difference only where the same process is seen twice; a new process has gained all that it
shows; and where there is none, what its slot says is taken for its last words. No rate is ever negative. What an actor
did between the first look and its death may be missing from one interval: outcomes, which are counted in the ledger,
are never affected.

What does not work: to subtract the sums of a pool (a worker that is born again makes them fall); to keep totals over
generations in the watcher (two watchers would disagree).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from actors.runtime.board import BUSY, STARVED
from actors.runtime.events import BATCH_BOUNDS_S, ActorView
from actors.runtime.manifest import Manifest
from actors.runtime.topology import DEAD_LETTERS, MONITOR, aggregator_names, writer_name
from actors.telemetry.diagnosis import bottleneck
from actors.telemetry.model import ActorStatus, EdgeFlow, Flow, Snapshot, StageFlow

_POOLS = ("parser", "checker")


def flow_between(
    before: Snapshot, after: Snapshot, manifest: Manifest, cores: int, earlier: Snapshot | None = None
) -> Flow:
    """Return what has gone on between two snapshots of one run; all rates are 0 when they are the same.

    Args:
        before: the first.
        after: the second.
        manifest: of the run.
        cores: processors of the machine that the run may use.
        earlier: one that is older still: the time left is that at the rate since then. By default ``before``.
    """
    seconds = max(0.0, after.clock - before.clock)
    stages = _stages(before, after, seconds)
    progress, eta_s = _how_far(earlier or before, after)
    return Flow(
        seconds=seconds, records_per_s=sum(stage.records_per_s for stage in stages if stage.stage == "reader"),
        outcomes_per_s=_outcomes_per_s(before, after, seconds), stages=stages, edges=_edges(stages, after, manifest),
        bottleneck=bottleneck(after, stages, seconds, manifest.flow, cores), progress=progress, eta_s=eta_s)


def _stages(before: Snapshot, after: Snapshot, seconds: float) -> list[StageFlow]:
    """The stages in the order of flow: actors are in the order of start, which is the other way round."""
    known = {status.view.actor: status for status in before.actors}
    pools: dict[str, list[ActorStatus]] = {}
    for status in after.actors:
        if status.stage != MONITOR:
            pools.setdefault(_stage_name(status), []).append(status)
    names = [name for name in ("reader", *_POOLS) if name in pools]
    shards = [name for name in pools if name.startswith("aggregator.")]
    letters = writer_name(DEAD_LETTERS)
    writers = [name for name in pools if name not in (*names, *shards, letters)]
    ordered = [*names, *shards, *writers, *([letters] if letters in pools else [])]
    return [_stage(name, pools[name], known, seconds) for name in ordered]


def _stage_name(status: ActorStatus) -> str:
    return status.stage if status.stage in ("reader", *_POOLS) else status.view.actor


def _stage(name: str, members: Sequence[ActorStatus], known: dict[str, ActorStatus], seconds: float) -> StageFlow:
    def gained(figure: Callable[[ActorStatus], float], longest: float = float("inf")) -> float:
        return sum(min(longest, _gained(known.get(each.view.actor), each, figure)) for each in members)

    rate = 1.0 / seconds if seconds else 0.0
    share = rate / len(members)
    times = [gained(_took(bucket)) for bucket in range(1 + len(BATCH_BOUNDS_S))]
    return StageFlow(
        stage=name, actors=[each.view.actor for each in members],
        records_per_s=rate * gained(lambda each: each.view.records),
        batches_per_s=rate * gained(lambda each: each.view.batches),
        bytes_per_s=rate * (_bytes_read(known, members) if name == "reader" else
                            gained(lambda each: each.view.bytes_done)),
        busy=share * gained(_busy_s, seconds), starved=share * gained(_starved_s, seconds),
        cpu=rate * gained(lambda each: each.cpu_s), rss_bytes=sum(each.view.rss_bytes for each in members),
        queued=sum(each.view.queued for each in members if each.view.pid),
        waiting_s=max(each.view.waiting_s if each.view.pid else 0.0 for each in members),
        batch_p50_s=_quantile(times, 0.5), batch_p99_s=_quantile(times, 0.99))


def _gained(before: ActorStatus | None, after: ActorStatus, figure: Callable[[ActorStatus], float]) -> float:
    """What a figure has grown by, be it that of another generation."""
    if after.view.pid == 0:  # nobody is there: these are the last words of the one before
        return max(0.0, figure(after) - figure(before)) if before is not None else 0.0
    return max(0.0, figure(after) - figure(before)) if before is not None and _is_same(before, after) else figure(after)


def _is_same(before: ActorStatus, after: ActorStatus) -> bool:
    return (before.view.pid, before.view.generation) == (after.view.pid, after.view.generation)


def _busy_s(status: ActorStatus) -> float:
    view = status.view
    return view.busy_s + (view.phase_s if view.pid and view.phase in BUSY else 0.0)


def _starved_s(status: ActorStatus) -> float:
    view = status.view
    return view.starved_s + (view.phase_s if view.pid and view.phase == STARVED else 0.0)


def _took(bucket: int) -> Callable[[ActorStatus], float]:
    return lambda status: status.view.batch_times[bucket] if status.view.batch_times else 0


def _bytes_read(known: dict[str, ActorStatus], readers: Sequence[ActorStatus]) -> float:
    """A reader that has just begun shows all that was read before it: that is no rate."""
    total = 0.0
    for after in readers:
        before = known.get(after.view.actor)
        if before is not None and _is_same(before, after) and before.view.bytes_done:
            total += max(0, after.view.bytes_done - before.view.bytes_done)
    return total


def _quantile(times: Sequence[float], part: float) -> float | None:
    """The upper bound of the bucket that this part of the batches is in; what is beyond the last bound counts as it."""
    wanted = part * sum(times)
    if not wanted:
        return None
    seen = 0.0
    for bound, number in zip(BATCH_BOUNDS_S, times, strict=False):
        seen += number
        if seen >= wanted:
            return bound
    return BATCH_BOUNDS_S[-1]


def _outcomes_per_s(before: Snapshot, after: Snapshot, seconds: float) -> dict[str, float]:
    if not seconds:
        return dict.fromkeys(after.outcomes, 0.0)
    return {name: max(0, number - before.outcomes.get(name, 0)) / seconds for name, number in after.outcomes.items()}


def _edges(stages: Sequence[StageFlow], after: Snapshot, manifest: Manifest) -> list[EdgeFlow]:
    by_name = {stage.stage: stage for stage in stages}
    credit: dict[str, int] = {}
    for status in after.actors:
        if status.view.pid:
            name = _stage_name(status)
            credit[name] = credit.get(name, 0) + status.view.credit

    edges: list[EdgeFlow] = []

    def add(source: str, target: str, is_pool: bool, part: float = 1.0) -> None:
        if source in by_name and target in by_name:
            to = by_name[target]
            edges.append(EdgeFlow(
                source=source, target=target, records_per_s=part * to.records_per_s,
                batches_per_s=part * to.batches_per_s, backlog=to.queued,
                credit=credit.get(source, 0) if is_pool else None))

    add("reader", "parser", True)
    last = "parser"
    if not manifest.parser.fused:
        add("parser", "checker", True)
        last = "checker"
    shards = aggregator_names(manifest)
    for target in [*shards, *(writer_name(sink) for sink in manifest.sinks if sink not in manifest.emit_sinks)]:
        add(last, target, False)
    add(last, writer_name(DEAD_LETTERS), False)
    for shard in shards:  # nobody counts which shard a writer's records are from: an equal part each
        for sink in manifest.emit_sinks:
            add(shard, writer_name(sink), False, 1.0 / len(shards))
    return edges


def _how_far(before: Snapshot, after: Snapshot) -> tuple[float | None, float | None]:
    """Return the part of the input that is read, and the seconds left at the rate since ``before``."""
    views = [status.view for status in after.actors if status.stage == "reader" and status.view.pid]
    done, total = _sum(views, lambda view: view.bytes_done), _sum(views, lambda view: view.bytes_total)
    if not total:
        return None, None
    if done >= total:
        return 1.0, 0.0
    known = {status.view.actor: status for status in before.actors}
    gained = _bytes_read(known, [status for status in after.actors if status.stage == "reader"])
    seconds = after.clock - before.clock
    return done / total, seconds * (total - done) / gained if gained and seconds else None


def _sum(views: Sequence[ActorView], figure: Callable[[ActorView], int]) -> int:
    return sum(map(figure, views))
