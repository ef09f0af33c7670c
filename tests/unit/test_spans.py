"""The tracer of one actor: what it sends, what it drops, and how long anybody waits for it."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from actors.runtime.sections import TracingOptions
from actors.runtime.tracing import Tracer
from actors.telemetry.spans import QUEUE_SPANS, REQUEST_S, open_tracer
from tests.otlp import Collector
from tests.servers import free_port


def tracer_of(
    endpoint: str, folder: Path, ratio: float = 1.0, name: str = "parser.1", flush_s: float = 0.8
) -> Tracer:
    options = TracingOptions(enabled=True, endpoint=endpoint, sample_ratio=ratio, flush_s=flush_s)
    return open_tracer(options, "p", name, 3, folder)


def test_a_span_arrives_with_its_parent_its_link_its_facts_and_who_made_it(tmp_path: Path) -> None:
    with Collector() as collector:
        tracer = tracer_of(collector.endpoint, tmp_path)
        root = tracer.begin("batch", source="in.log", unit=7, fault="")
        assert root is not None
        half = tracer.begin("half", root.context, root.context)
        assert half is not None
        half.event("delivered", worker="parser.1#3")
        half.end("it failed", records=2)
        root.end()
        tracer.close()
    (first,), (second,) = collector.named("batch"), collector.named("half")
    assert (second.trace, second.parent, second.links) == (first.trace, first.id, [first.id])
    assert root.context == f"00-{first.trace}-{first.id}-01"
    who = {"stage": "parser", "actor": "parser.1", "generation": 3}
    assert first.facts == {**who, "source": "in.log", "unit": 7}, "what is empty is left out"
    assert second.facts == {**who, "records": 2}
    assert (first.error, second.error) == ("", "it failed")
    assert second.of("delivered") == [{"worker": "parser.1#3"}]
    assert second.resource["service.name"] == "thresher.p"
    assert second.resource["service.instance.id"] == "parser.1#3"


def test_what_is_open_when_its_actor_stops_ends_as_failed(tmp_path: Path) -> None:
    with Collector() as collector:
        tracer = tracer_of(collector.endpoint, tmp_path)
        assert tracer.begin("batch") is not None
        tracer.close()
    assert [span.error for span in collector.named("batch")] == ["the actor has stopped before"]


def test_the_root_decides_and_what_is_below_it_follows(tmp_path: Path) -> None:
    with Collector() as collector:
        never = tracer_of(collector.endpoint, tmp_path, ratio=0.0)
        assert [span for span in (never.begin("batch") for _ in range(100)) if span is not None] == []
        always = tracer_of(collector.endpoint, tmp_path)
        root = always.begin("batch")
        assert root is not None
        below = never.begin("parse", root.context)
        assert below is not None
        below.end()
        root.end()
        always.close()
        never.close()
    assert {span.trace for span in collector.spans} == {root.context.split("-")[1]}
    assert len(collector.spans) == 2


@pytest.mark.parametrize("context", ["garbage", "00-0-0-01", "01-" + "a" * 32 + "-" + "b" * 16 + "-01",
                                     "00-" + "a" * 32 + "-" + "b" * 16 + "-00"])
def test_what_is_no_trace_context_or_not_sampled_is_not_traced(tmp_path: Path, context: str) -> None:
    tracer = tracer_of("http://127.0.0.1:9", tmp_path)
    assert tracer.begin("parse", context) is None
    tracer.close()


def test_with_a_silent_collector_spans_are_dropped_and_nobody_waits(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with Collector(silent=True) as collector:
        tracer = tracer_of(collector.endpoint, tmp_path)
        longest_s = 0.0
        for _ in range(2 * QUEUE_SPANS):
            began = time.perf_counter()
            span = tracer.begin("batch")
            assert span is not None
            span.end()
            longest_s = max(longest_s, time.perf_counter() - began)
        began = time.monotonic()
        tracer.close()
        assert time.monotonic() - began < 20, "not for as long as one that is never answered would take"
        began = time.monotonic()
        other = tracer_of(collector.endpoint, tmp_path, name="writer.a", flush_s=60)
        span = other.begin("batch")
        assert span is not None
        span.end()
        other.close()
        assert time.monotonic() - began < 30, "it knows from the other that nothing is waited for"
    assert longest_s < REQUEST_S, "no span waits for a request"
    assert capfd.readouterr().err == (
        f"tracing: {collector.endpoint} has not answered in time: spans are dropped, nothing else is\n")


def test_a_password_in_the_endpoint_is_not_shown(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    tracer = tracer_of(f"http://user:hunter2@127.0.0.1:{port}", tmp_path)
    span = tracer.begin("batch")
    assert span is not None
    span.end()
    tracer.close()
    assert capfd.readouterr().err == (
        f"tracing: http://127.0.0.1:{port} takes no spans (Connection refused): spans are dropped, nothing else is\n")
