"""Traces of real runs, received by a real collector; and collectors that are down, refuse, or stay silent."""

from __future__ import annotations

import time
from collections import Counter
from pathlib import Path

import pytest

from scripts.make_logs import write_logs
from tests.loads import Load, assert_counts_add_up, lmdb_stores
from tests.otlp import Collector, Received, settings
from tests.servers import free_port

RECORDS = 12_000
#: Batches of some hundred records.
USUAL = ("source.rename=none", "budget.max_error_rate=1", "flow.batch_bytes=32768")
#: A run whose collector is in trouble may take so much longer than one without: a busy machine, and one last wait.
BOUND_S = 3.0
#: What may be the parent of what, when one process parses and checks.
FUSED = {"half": {"batch"}, "delivery": {"batch", "half"}, "parse": {"batch", "half"}, "write": {"parse"},
         "commit": {"parse"}}
UNFUSED = {**FUSED, "check": {"parse"}, "write": {"check"}, "commit": {"check"}}


def _run(folder: Path, name: str, *sets: str, records: int = RECORDS) -> Load:
    logs = folder / "logs"
    if not logs.exists():
        write_logs(logs, records=records, bad_rate=0.01)
    with Load(logs / "*.tsv.gz", folder / name, *USUAL, *sets) as running:
        assert running.wait() == 0, running.output()
    return running


def _assert_nested(spans: list[Received], parents: dict[str, set[str]], dead: str = "") -> None:
    """Every span but a root has its parent, of a kind that may be.

    Args:
        spans: all that were received.
        parents: which kinds may be above each.
        dead: the worker that was killed, e.g. ``parser.1#1``. What it had made of other batches, and not told the
            collector yet, went with it: what others did with that has a parent that nobody knows.
    """
    by_id = {span.id: span for span in spans}
    assert len(by_id) == len(spans)
    had_by_the_dead = {root.trace for root in spans if dead in {facts["worker"] for facts in root.of("delivered")}}
    for span in spans:
        assert (span.parent == "") == (span.name == "batch")
        if span.parent not in by_id and span.trace in had_by_the_dead:
            assert span.name == "batch" or "parse" in parents[span.name], f"{span.name} below nothing"
        elif span.parent:
            parent = by_id[span.parent]
            assert parent.name in parents[span.name], f"{span.name} below {parent.name}"
            assert parent.trace == span.trace
            assert parent.start_ns <= span.start_ns <= span.end_ns


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_every_batch_is_one_trace_whose_spans_nest_by_stage(tmp_path: Path, fused: bool) -> None:
    with Collector() as collector:
        running = _run(tmp_path, "state", *settings(collector), f"parser.fused={str(fused).lower()}")
    counts = assert_counts_add_up(running.state)
    _assert_nested(collector.spans, FUSED if fused else UNFUSED)
    roots = collector.named("batch")
    assert len({root.trace for root in roots}) == len(roots)
    assert {span.trace for span in collector.spans} == {root.trace for root in roots}
    assert sum(root.facts["records"] for root in roots) == counts["read"] == RECORDS
    for outcome in ("written", "dead_lettered"):
        assert sum(root.facts.get(f"outcome.{outcome}", 0) for root in roots) == counts[outcome]
    made = ("parse",) if fused else ("parse", "check")
    assert all(Counter(span.trace for span in collector.named(name)) == {root.trace: 1 for root in roots}
               for name in (*made, "commit"))
    writes = collector.named("write")
    assert sum(span.facts["items"] for span in writes) == counts["written"] + counts["dead_lettered"]
    assert all(span.facts["group"] >= 1 and not span.error for span in writes)
    assert {span.facts["actor"] for span in collector.named("parse")} <= {"parser.1", "parser.2"}
    assert {span.resource["service.name"] for span in collector.spans} == {"thresher.appsinstalled"}
    assert collector.paths == {"/v1/traces"}


@pytest.mark.parametrize("workers", [1, 2])
def test_a_worker_that_dies_leaves_two_deliveries_in_one_trace(tmp_path: Path, workers: int) -> None:
    (tmp_path / "logs").mkdir()
    lines = [f"k{number} {'once-kill' if number == 2000 else 'value'}" for number in range(4000)]
    (tmp_path / "logs" / "a.txt").write_text("\n".join(lines) + "\n")
    with Collector() as collector, Load(
            tmp_path / "logs/*.txt", tmp_path / "state", f"options.marks={tmp_path}", f"parser.workers={workers}",
            *settings(collector), target="tests.pipelines.treacherous") as running:
        assert running.wait() == 0, running.output()
    assert len(running.of("died")) == 1
    (root,) = [root for root in collector.named("batch") if root.of("suspect")]
    assert [facts["delivery"] for facts in root.of("delivered")] == [1, 2]
    assert [facts["deaths"] for facts in root.of("suspect")] == [1]
    of_it = [span for span in collector.spans if span.trace == root.trace]
    (failed,) = [span for span in of_it if span.error]
    assert (failed.name, failed.parent, failed.facts["delivery"]) == ("delivery", root.id, 1)
    assert [facts["reason"] for facts in root.of("suspect")] == ["worker_died"]
    dead = root.of("delivered")[0]["worker"]  # that it is gone is known by its link, or from the supervisor
    assert failed.error in ("worker_died", f"{dead} died")
    (made,) = [span for span in of_it if span.name == "parse"]
    assert f"{made.facts['actor']}#{made.facts['generation']}" == root.of("delivered")[1]["worker"]
    _assert_nested(collector.spans, FUSED, dead=dead)
    _assert_nested(of_it, FUSED)  # of this batch the dead one had made nothing: all of it is there
    assert sum(root.facts["records"] for root in collector.named("batch")) == 4000


def test_a_record_that_always_kills_its_worker_is_cut_out_within_one_trace(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    lines = [f"k{number} {'kill' if number == 20 else 'value'}" for number in range(40)]
    (tmp_path / "logs" / "a.txt").write_text("\n".join(lines) + "\n")
    with Collector() as collector, Load(
            tmp_path / "logs/*.txt", tmp_path / "state", "budget.max_error_rate=1", "flow.batch_bytes=100000",
            "flow.batch_s=0", *settings(collector), target="tests.pipelines.treacherous") as running:
        assert running.wait() == 0, running.output()
    (root,) = collector.named("batch")
    halves = collector.named("half")
    assert root.of("split") == [{"halves": 3}]  # what is before it, the record, what is behind it
    assert len(halves) == 3
    assert {half.parent for half in halves} == {root.id}
    assert {link for half in halves for link in half.links} < {root.id} | {half.id for half in halves}
    assert all(len(half.links) == 1 for half in halves)
    assert root.facts["records"] == 40
    assert root.facts["outcome.dead_lettered"] == 1
    assert root.end_ns >= max(half.end_ns for half in halves)


@pytest.mark.parametrize("victim", ["reader.1", "parser.1", "writer.idfa", "aggregator.1"])
def test_whoever_is_killed_what_is_received_are_whole_traces_but_for_what_died_unsent(
    tmp_path: Path, victim: str
) -> None:
    write_logs(tmp_path / "logs", records=60_000)
    with Collector() as collector, Load(
            tmp_path / "logs/*.tsv.gz", tmp_path / "state", *USUAL, *settings(collector)) as running:
        running.kill(victim, after_batches=20)
        assert running.wait() == 0, running.output()
    assert assert_counts_add_up(running.state)["read"] == 60_000
    known = {span.id: span for span in collector.spans}
    for span in collector.spans:
        assert span.parent not in known or known[span.parent].trace == span.trace
    roots = collector.named("batch")
    assert len({root.trace for root in roots}) == len(roots)
    if victim != "reader.1":  # whose own spans are lost, and begun anew
        assert sum(root.facts["records"] for root in roots) == 60_000


@pytest.mark.parametrize("trouble", ["down", "refuses", "silent"])
def test_a_collector_in_trouble_changes_neither_results_nor_time_and_is_told_in_one_line(
    tmp_path: Path, trouble: str
) -> None:
    began = time.monotonic()
    usual = _run(tmp_path, "off")
    usual_s = time.monotonic() - began
    with Collector(status=503 if trouble == "refuses" else 200, silent=trouble == "silent") as collector:
        target = f"http://127.0.0.1:{free_port()}" if trouble == "down" else collector.endpoint
        began = time.monotonic()
        troubled = _run(tmp_path, "on", *settings(target))
        troubled_s = time.monotonic() - began
        assert bool(collector.requests) == (trouble != "down")
    assert lmdb_stores(troubled.state) == lmdb_stores(usual.state)
    assert assert_counts_add_up(troubled.state) == assert_counts_add_up(usual.state)
    assert troubled_s < usual_s + BOUND_S
    (line,) = [line for line in troubled.output().splitlines() if not line.startswith("{")]
    assert line.startswith("tracing: http://127.0.0.1:")
    assert {"down": "(Connection refused)", "refuses": "(Service Unavailable)", "silent": "has not answered in time"}[
        trouble] in line


def test_of_the_batches_as_many_are_traced_as_is_asked_for_and_the_others_cost_nothing(tmp_path: Path) -> None:
    with Collector() as collector:
        _run(tmp_path, "state", *settings(collector, ratio=0.1), "flow.batch_bytes=3000")
    with Collector() as all_of_them:
        _run(tmp_path, "all", *settings(all_of_them), "flow.batch_bytes=3000")
    roots = collector.named("batch")
    assert 0.05 < len(roots) / len(all_of_them.named("batch")) < 0.15
    assert {span.trace for span in collector.spans} == {root.trace for root in roots}
    _assert_nested(collector.spans, FUSED)


def test_without_tracing_no_process_imports_opentelemetry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPROFILEIMPORTTIME", "1")  # every import of every process of the run is a line
    off = _run(tmp_path, "off").output()
    assert "actors.runtime.tracing" in off
    assert "opentelemetry" not in off and "actors.telemetry.spans" not in off
    with Collector() as collector:
        assert "opentelemetry.sdk.trace" in _run(tmp_path, "on", *settings(collector)).output()
