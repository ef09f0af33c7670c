"""Metrics of a run for Prometheus: one collector over the last look; the only module that knows its client library.

Counters go on over deaths of actors (``sums``), and what is counted in records is counted in the ledger, so it goes on
over runs. A monitor that is started again begins with what its actors have done since their last start, which
Prometheus takes for what it is: a counter that was reset.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

import actors
from actors.runtime.counts import OUTCOMES
from actors.runtime.events import BATCH_BOUNDS_S
from actors.runtime.lag import MOST
from actors.telemetry.looks import Look
from actors.telemetry.model import ActorStatus, Happening, Lag, Status
from actors.telemetry.sums import Counters, Sums

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_MODES = ("starting", "running", "draining", "stopping", "ended")
_STATES = ("STARTING", "READY", "BUSY", "SUSPECT", "DRAINING", "BACKOFF", "FATAL", "STOPPED")
_UP = ("READY", "BUSY")
#: Of each actor now: name, help, what of its status.
_GAUGES: tuple[tuple[str, str, Callable[[ActorStatus], float]], ...] = (
    ("up", "Whether it is ready for work.", lambda actor: actor.view.state in _UP),
    ("resident_memory_bytes", "Resident memory.", lambda actor: actor.view.rss_bytes),
    ("queue_batches", "Batches that wait here.", lambda actor: actor.view.queued),
    ("queue_age_seconds", "How long the oldest of them has waited.", lambda actor: actor.view.waiting_s),
    ("credit_batches", "Batches that the pool it gives work to would still take.", lambda actor: actor.view.credit),
    ("down_seconds", "How long what it needs outside cannot be used; 0: it can.", lambda actor: actor.view.down_s),
    ("open_batches", "Batches open (reader), waiting for answers (worker), or held.", lambda actor: actor.view.open),
)
#: Of each actor over all its generations: name, help, what of its sums.
_COUNTERS: tuple[tuple[str, str, Callable[[Sums], float]], ...] = (
    ("batches", "Batches finished.", lambda sums: sums.batches),
    ("records", "Records finished; one that is delivered again is counted again.", lambda sums: sums.records),
    ("bytes", "Payload bytes handled.", lambda sums: sums.bytes_done),
    ("busy_seconds", "Time spent working.", lambda sums: sums.busy_s),
    ("credit_starved_seconds", "Time spent waiting for room downstream.", lambda sums: sums.starved_s),
    ("cpu_seconds", "Processor time, user and system.", lambda sums: sums.cpu_s),
    ("garbage_frames", "Frames received that were no messages, dropped.", lambda sums: sums.garbage),
    ("refused_connections", "Connections of strangers, refused.", lambda sums: sums.refused),
)
_WHO = ("actor", "stage")


class Metrics(Collector):
    """What Prometheus is told. ``text`` is made once for each look.

    Args:
        sinks: where records are written to; each has a series from the beginning.
    """

    def __init__(self, sinks: Sequence[str] = ()) -> None:
        self._sinks = sinks
        self._counters = Counters()
        self._restarts: Counter[tuple[str, str]] = Counter()
        self._status: Status | None = None
        self._text = b""
        self._registry = CollectorRegistry()
        self._registry.register(self)

    def take(self, look: Look) -> None:
        """Go by this look from here on."""
        self._status, self._text = look.status, b""
        self._counters.take(look.status.snapshot.actors)
        self._restarts.update(restarts(happening for _, happening in look.news))

    def text(self) -> bytes:
        """Return all metrics in Prometheus' text format; empty before the first look."""
        if not self._text and self._status is not None:
            self._text = generate_latest(self._registry)
        return self._text

    def describe(self) -> list[Metric]:
        """Nothing is known beforehand."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield every family."""
        if self._status is None:
            return
        yield from self._of_run(self._status)
        yield from _of_records(self._status, self._sinks)
        yield from _of_lag(self._status.snapshot.lag)
        yield from self._of_actors(self._status.snapshot.actors)

    def _of_run(self, status: Status) -> Iterator[Metric]:
        seen = status.snapshot
        info = GaugeMetricFamily("thresher_run_info", "The run.", labels=("pipeline", "run", "version"))
        info.add_metric((seen.name, seen.run, actors.__version__), 1)
        yield info
        yield _states("thresher_run_mode", "How far the run is.", "mode", _MODES, [((), (), seen.mode)])
        for name, text, value in (
                ("run_start_time_seconds", "When the run began, in seconds since 1970.", seen.started),
                ("ready", "Whether the run gets on.", not seen.not_ready),
                ("record_work_seconds", "What the reader has learnt of the work in a record, of all stages together.",
                 max((actor.view.record_s for actor in seen.actors), default=0.0)),
                ("batch_most_records", "Records that the reader puts into a batch for that, at most; 0: any number.",
                 max((actor.view.batch_records for actor in seen.actors), default=0)),
                ("supervisor_silence_seconds", "Seconds since the supervisor's loop last went round.", seen.beat_s),
                ("look_timestamp_seconds", "When these figures were taken, in seconds since 1970.", seen.at)):
            yield GaugeMetricFamily(f"thresher_{name}", text, value=float(value))

    def _of_actors(self, members: Sequence[ActorStatus]) -> Iterator[Metric]:
        for name, text, value in _GAUGES:
            gauge = GaugeMetricFamily(f"thresher_actor_{name}", text, labels=_WHO)
            for actor in members:
                gauge.add_metric((actor.view.actor, actor.stage), float(value(actor)))
            yield gauge
        yield _states("thresher_actor_state", "State as the supervisor sees it.", "state", _STATES,
                      [(_WHO, (actor.view.actor, actor.stage), actor.view.state) for actor in members])
        sums = [((actor.view.actor, actor.stage), found) for actor in members
                if (found := self._counters.of(actor.view.actor)) is not None]
        for name, text, count in _COUNTERS:
            counter = CounterMetricFamily(f"thresher_actor_{name}", text, labels=_WHO)
            for who, found in sums:
                if name != "bytes" or who[1] != "reader":  # where a reader is in its input is no sum over its starts
                    counter.add_metric(who, count(found))
            yield counter
        yield _batch_times(sums)
        died = CounterMetricFamily("thresher_actor_restarts", "Starts after a death that nobody asked for, by cause.",
                                   labels=("actor", "cause"))
        for who, number in sorted(self._restarts.items()):
            died.add_metric(who, number)
        yield died


def restarts(happenings: Iterable[Happening]) -> Iterator[tuple[str, str]]:
    """Yield actor and cause of every restart: ``signal SIGKILL``, ``exit code 1``, ``timeout``, ``recycled``."""
    for happening in happenings:
        fields = happening.fields
        if happening.kind == "recycled":
            yield fields["actor"], "recycled"
        elif happening.kind == "died" and fields["restart_s"] is not None:
            yield fields["actor"], fields["cause"] if fields["cause"] == "timeout" else fields["how"]


def _of_records(status: Status, sinks: Sequence[str]) -> Iterator[Metric]:
    outcomes = status.snapshot.outcomes
    yield CounterMetricFamily("thresher_records_read", "Records read, whose outcome is durable.",
                              value=outcomes.get("read", 0))
    records = CounterMetricFamily("thresher_records", "Records by what became of them; written: what each sink has.",
                                  labels=("outcome", "sink"))
    written = {name.partition(".")[2]: number for name, number in outcomes.items() if name.startswith("written.")}
    for sink, number in {**dict.fromkeys(sinks, 0), **written}.items():
        records.add_metric(("written", sink), number)
    for outcome in OUTCOMES[1:]:
        records.add_metric((outcome, ""), outcomes.get(outcome, 0))
    yield records
    letters = CounterMetricFamily("thresher_dead_letters", "Records rejected, by reason.", labels=("reason",))
    for name, number in outcomes.items():
        if name.startswith("rejected."):
            letters.add_metric((name.partition(".")[2],), number)
    yield letters
    readers = [actor.view for actor in status.snapshot.actors if actor.stage == "reader"]
    yield GaugeMetricFamily("thresher_input_bytes", "Bytes of input in all; 0 when nobody knows.",
                            value=sum(view.bytes_total for view in readers))
    yield GaugeMetricFamily("thresher_input_read_bytes", "Bytes of input that are read or need no reading.",
                            value=sum(view.bytes_done for view in readers))


def _of_lag(lag: Lag | None) -> Iterator[Metric]:
    """Nothing where the source knows of none: 0 would say that all is done."""
    if lag is None:
        return
    for name, text, value in (
            ("lag_records", "Records of the source that are not durable here yet.", lag.records),
            ("lag_partitions", "Partitions that these are counted in.", lag.partitions),
            ("lag_age_seconds", "How long ago the source knew it.", lag.age_s)):
        yield GaugeMetricFamily(f"thresher_{name}", text, value=float(value))
    each = GaugeMetricFamily("thresher_partition_lag_records",
                             f"The same by partition, of the {MOST:,} that are furthest behind.", labels=("partition",))
    for partition in lag.worst:
        each.add_metric((partition.name,), partition.records)
    yield each


def _batch_times(sums: Sequence[tuple[tuple[str, str], Sums]]) -> Metric:
    family = HistogramMetricFamily("thresher_actor_batch_seconds", "How long batches took.", labels=_WHO)
    for who, found in sums:
        if not any(found.batch_times):
            continue
        buckets, so_far = [], 0
        for bound, number in zip((*map(str, BATCH_BOUNDS_S), "+Inf"), found.batch_times, strict=True):
            so_far += number
            buckets.append((bound, float(so_far)))
        family.add_metric(who, buckets, found.batch_times_s)
    return family


def _states(
    name: str, text: str, label: str, states: Sequence[str],
    members: Sequence[tuple[Sequence[str], Sequence[str], str]],
) -> Metric:
    """One series for each state that there is; 1 for the one that it is in."""
    family = GaugeMetricFamily(name, text, labels=(*(members[0][0] if members else ()), label))
    for _, who, now in members:
        for state in states:
            family.add_metric((*who, state), float(state == now))
    return family
