"""Metrics of runs that never were: names and labels, and counters that never go back."""

from __future__ import annotations

import shutil
import subprocess
from typing import Any

import pytest

from actors.telemetry.looks import Look
from actors.telemetry.metrics import Metrics, restarts
from actors.telemetry.model import ActorStatus, Bottleneck, Flow, Happening, Lag, PartitionLag, Status
from actors.telemetry.sums import Counters
from tests.looks import actor, look, took
from tests.monitors import Series, series, value

WRITER = {"actor": "writer.a", "stage": "writer"}


def seen(*actors: ActorStatus, news: tuple[Happening, ...] = (), **values: Any) -> Look:
    flow = Flow(seconds=0.0, records_per_s=0.0, outcomes_per_s={}, stages=[], edges=[],
                bottleneck=Bottleneck(stage="", text=""), progress=None, eta_s=None)
    return Look(Status(snapshot=look(1.0, *actors, **values), flow=flow), list(enumerate(news, 1)))


def scraped(metrics: Metrics, *looks: Look) -> Series:
    for each in looks:
        metrics.take(each)
    return series(metrics.text().decode())


def happening(kind: str, **fields: Any) -> Happening:
    return Happening(at=1.0, kind=kind, text="", fields={"event": kind, **fields})


FULL = seen(
    actor("reader.1", records=10, bytes_done=500, bytes_total=1000, open=3, credit=4, waiting_s=0.5,
          record_s=0.02, batch_records=10),
    actor("writer.a", batches=7, records=70, batch_times=took(1, 2, 4), batch_times_s=0.025, cpu_s=1.5, busy_s=0.75,
          starved_s=0.25, queued=2, rss_bytes=5000, note="it is down", down_s=12.5),
    news=(happening("died", actor="writer.a", restart_s=0.0, cause="worker_died", how="signal SIGKILL"),),
    outcomes={"read": 30, "written": 20, "written.a": 20, "filtered": 4, "dead_lettered": 6, "rejected.form": 5,
              'rejected.od"d\n': 1},
    not_ready=["writer.a waits: it is down"])


def test_every_figure_is_there_under_its_name() -> None:
    found = scraped(Metrics(["a", "b"]), FULL)
    assert value(found, "thresher_records_read_total") == 30
    assert {labels: number for (name, labels), number in found.items() if name == "thresher_records_total"} == {
        frozenset({("outcome", outcome), ("sink", sink)}): number for outcome, sink, number in (
            ("written", "a", 20), ("written", "b", 0), ("folded", "", 0), ("filtered", "", 4),
            ("dead_lettered", "", 6), ("handed_over", "", 0))}
    assert value(found, "thresher_dead_letters_total", reason='od"d\n') == 1
    assert (value(found, "thresher_input_bytes"), value(found, "thresher_input_read_bytes")) == (1000, 500)
    assert value(found, "thresher_ready") == 0
    assert value(found, "thresher_record_work_seconds") == 0.02
    assert value(found, "thresher_batch_most_records") == 10
    assert value(found, "thresher_run_mode", mode="running") == 1
    assert value(found, "thresher_actor_cpu_seconds_total", **WRITER) == 1.5
    assert value(found, "thresher_actor_busy_seconds_total", **WRITER) == 0.75
    assert value(found, "thresher_actor_credit_starved_seconds_total", **WRITER) == 0.25
    assert value(found, "thresher_actor_queue_batches", **WRITER) == 2
    assert value(found, "thresher_actor_queue_age_seconds", actor="reader.1", stage="reader") == 0.5
    assert value(found, "thresher_actor_credit_batches", actor="reader.1", stage="reader") == 4
    assert value(found, "thresher_actor_down_seconds", **WRITER) == 12.5
    assert value(found, "thresher_actor_down_seconds", actor="reader.1", stage="reader") == 0
    assert value(found, "thresher_actor_state", state="READY", **WRITER) == 1
    assert value(found, "thresher_actor_state", state="BACKOFF", **WRITER) == 0
    assert value(found, "thresher_actor_restarts_total", actor="writer.a", cause="signal SIGKILL") == 1


def test_how_far_the_run_is_behind_its_source_is_there_by_partition() -> None:
    found = scraped(Metrics(), seen(lag=Lag(records=70, partitions=1200, age_s=0.5, worst=[
        PartitionLag("orders/3", 50), PartitionLag('a "b"/0', 20), PartitionLag("orders/1", 0)])))
    assert {dict(labels)["partition"]: number for (name, labels), number in found.items()
            if name == "thresher_partition_lag_records"} == {"orders/3": 50, 'a "b"/0': 20, "orders/1": 0}
    figures = [value(found, f"thresher_lag_{name}") for name in ("records", "partitions", "age_seconds")]
    assert figures == [70, 1200, 0.5]


def test_a_source_that_knows_of_no_lag_has_none_not_0() -> None:
    assert not [name for name, _ in scraped(Metrics(), FULL) if "lag" in name]


def test_batch_times_are_cumulated_with_sum_and_count() -> None:
    found = scraped(Metrics(), FULL)
    for bound, number in (("0.001", 1), ("0.0025", 3), ("0.005", 7), ("10.0", 7), ("+Inf", 7)):
        assert value(found, "thresher_actor_batch_seconds_bucket", le=bound, **WRITER) == number
    assert value(found, "thresher_actor_batch_seconds_count", **WRITER) == 7
    assert value(found, "thresher_actor_batch_seconds_sum", **WRITER) == 0.025


def test_counters_go_on_where_the_generation_before_had_come_to() -> None:
    metrics = Metrics()
    first = scraped(metrics, FULL)
    # The supervisor has begun to start the next one: the slot still has the figures of the old one.
    starting = scraped(metrics, seen(actor("writer.a", generation=2, pid=0, state="STARTING", records=70)))
    second = scraped(metrics, seen(actor("writer.a", generation=2, records=5, batch_times=took(1), cpu_s=0.1)))
    for later, records in ((starting, 70), (second, 75)):
        assert value(later, "thresher_actor_records_total", **WRITER) == records
        assert all(later[key] >= number for key, number in first.items()
                   if key in later and key[0].endswith(("_total", "_bucket", "_count", "_sum"))
                   and key[0].startswith("thresher_actor"))
    assert value(second, "thresher_actor_batch_seconds_count", **WRITER) == 8


def test_a_figure_that_could_not_be_read_takes_nothing_away() -> None:
    counters = Counters()
    counters.take([actor("writer.a", cpu_s=1.5, batch_times=took())])
    counters.take([actor("writer.a", cpu_s=0.0, batch_times=took())])
    kept = counters.of("writer.a")
    assert kept is not None
    assert kept.cpu_s == 1.5
    assert counters.of("nobody") is None


@pytest.mark.parametrize(("one", "causes"), [
    (happening("died", actor="a", restart_s=1.0, cause="timeout", how="no progress for 15 s; signal SIGKILL"),
     [("a", "timeout")]),
    (happening("died", actor="a", restart_s=None, cause="worker_died", how="exit code 78"), []),
    (happening("recycled", actor="a"), [("a", "recycled")]), (happening("ready"), []),
])
def test_a_restart_is_counted_by_what_caused_it(one: Happening, causes: list[tuple[str, str]]) -> None:
    assert list(restarts([one])) == causes


def test_a_text_is_made_once_for_each_look() -> None:
    metrics = Metrics()
    assert metrics.text() == b""
    metrics.take(FULL)
    assert metrics.text() is metrics.text()


def test_promtool_finds_nothing_to_complain_of() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.skip("promtool is not installed (apt-get install prometheus)")
    metrics = Metrics(["a"])
    metrics.take(seen(*FULL.status.snapshot.actors, lag=Lag(records=1, partitions=1, age_s=0.0, worst=[
        PartitionLag("orders/3", 1)])))
    done = subprocess.run([promtool, "check", "metrics"], input=metrics.text(), capture_output=True, timeout=240,
                          check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, b"")
