"""Spans by OpenTelemetry: the one module that imports it, and only actors that trace import this one.

    role ──end──▶ queue (bounded, the oldest is dropped) ──thread──▶ OTLP over HTTP ──▶ collector

Guarantees: to begin or end a span waits for nothing, whatever the collector does. An actor that stops waits for its
last spans for ``tracing.flush_s`` at most, and not at all when the collector is known to be down. In all of a run one
line at most is said about it. A process that is killed takes along what it had not sent: a second's worth.

The provider is made in the actor's own process: a thread does not outlive a fork. Of OpenTelemetry's environment the
headers, certificates and compression of the exporter hold (``OTEL_EXPORTER_OTLP_HEADERS`` may carry a token), and
resource attributes; what Thresher has options for is set here.

What does not work: to let the SDK shut itself down (it waits for 30 s); its own log (a line for each failed attempt).
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

import actors
from actors.runtime.sections import TracingOptions
from actors.runtime.tracing import Fact, Span, Tracer

#: Most spans that wait to be sent (of the largest kind some 7 kB each); most in one request.
QUEUE_SPANS, REQUEST_SPANS = 2048, 512
#: Seconds between two requests, when there are few spans.
DELAY_S = 1.0
#: Longest time for one request, with its repetitions, unless an actor that stops waits longer.
REQUEST_S = 2.0
#: Whoever makes this file in the run directory may say that the collector is in trouble; it is said once in a run.
TOLD = "tracing.told"
#: What is said of a collector that takes connections and does nothing.
SILENT = "has not answered in time"
_PATH = "/v1/traces"
#: A trace context of the version that there is, sampled.
_CONTEXT = re.compile(r"00-([0-9a-f]{32})-([0-9a-f]{16})-01")
_REASON_CHARS = 100
#: What the system says, in the middle of what libraries say about it.
_REASONS = [re.compile(r"\[Errno -?\d+\] ([\w ]+)"), re.compile("Transient error (.+) encountered"),
            re.compile("reason: (.+)")]


def open_tracer(options: TracingOptions, pipeline: str, name: str, generation: int, run_dir: Path) -> Tracer:
    """Return the tracer of an actor, with its thread; call in the actor's own process.

    Args:
        options: where to, and how much.
        pipeline: the pipeline's name.
        name: of the actor.
        generation: see ``name``.
        run_dir: the run directory.
    """
    resource = Resource.create({
        "service.name": options.service or f"thresher.{pipeline}",
        "service.version": actors.__version__,
        "service.instance.id": f"{name}#{generation}",
        "process.pid": os.getpid(),
    })
    return OtelTracer(options, resource, name, generation, Notice(run_dir / TOLD, options.endpoint))


class Notice:
    """What is said to people of a collector in trouble: one line, by one actor of a run.

    Args:
        mark: a file that is there when it was said.
        endpoint: of the collector.
    """

    def __init__(self, mark: Path, endpoint: str) -> None:
        self._mark = mark
        parts = urlsplit(endpoint)
        self._where = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"  # no password

    def is_given(self) -> bool:
        """Whether somebody has said it."""
        return self._mark.exists()

    def give(self, problem: str) -> None:
        """Say it, unless somebody has."""
        try:
            self._mark.touch(0o600, exist_ok=False)
        except OSError:
            return
        print(f"tracing: {self._where} {problem}: spans are dropped, nothing else is", file=sys.stderr, flush=True)


class _Exporter(SpanExporter):
    """OTLP over HTTP. Hears from the SDK's log what is wrong, which is printed nowhere.

    Attributes:
        taken: how many spans the collector has taken.
        problem: why it does not take them now; empty: it does.
        is_over: set when there is nothing to wait for: all is sent, or there is a problem.
    """

    def __init__(self, endpoint: str, notice: Notice, request_s: float) -> None:
        self._inner = OTLPSpanExporter(f"{endpoint.rstrip('/').removesuffix(_PATH)}{_PATH}", timeout=request_s)
        self._notice = notice
        self.taken = 0
        self.problem = ""
        self.is_over = threading.Event()
        _listen(self._hear)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        result = self._inner.export(spans)
        if result is SpanExportResult.SUCCESS:
            self.taken += len(spans)
            self.problem = ""
            self.is_over.clear()
        else:
            self._notice.give(self.problem or "takes no spans")
        return result

    def shutdown(self) -> None:
        self._inner.shutdown()  # type: ignore[no-untyped-call]

    def _hear(self, text: str) -> None:
        found = [match[1] for form in _REASONS if (match := form.search(text))]
        if "timed out" in text or "due to timeout" in text:  # that is also how the SDK ends what had another reason
            self.problem = self.problem or SILENT
        else:
            self.problem = f"takes no spans ({[*found, text][0][:_REASON_CHARS]})"
        self.is_over.set()


class OtelTracer:
    """The tracer of one actor.

    Args:
        options: where to, and how much.
        resource: who this process is.
        name: of the actor.
        generation: see ``name``.
        notice: what is said when spans are dropped.
    """

    is_on = True

    def __init__(self, options: TracingOptions, resource: Resource, name: str, generation: int,
                 notice: Notice) -> None:
        self._notice = notice
        self._flush_s = options.flush_s
        request_s = max(REQUEST_S, options.flush_s)
        self._exporter = _Exporter(options.endpoint, notice, request_s)
        self._processor = BatchSpanProcessor(
            self._exporter, max_queue_size=QUEUE_SPANS, schedule_delay_millis=1000 * DELAY_S,
            max_export_batch_size=REQUEST_SPANS, export_timeout_millis=1000 * request_s)
        provider = TracerProvider(
            sampler=ParentBased(TraceIdRatioBased(options.sample_ratio)), resource=resource, shutdown_on_exit=False)
        provider.add_span_processor(self._processor)
        self._tracer = provider.get_tracer("thresher", actors.__version__)
        self._who: dict[str, Fact] = {
            "thresher.stage": name.partition(".")[0], "thresher.actor": name, "thresher.generation": generation}
        self._open: set[_Span] = set()
        self._ended = 0

    def now_ns(self) -> int:
        """The time by which spans are measured: ns since 1970."""
        return time.time_ns()

    def begin(self, name: str, parent: str = "", link: str = "", since_ns: int | None = None,
              **facts: Fact) -> Span | None:
        """Begin a span; None: it is not traced. See ``actors.runtime.tracing.Tracer``."""
        above, linked = _context_of(parent), _context_of(link)
        if parent and above is None:
            return None
        context = Context() if above is None else trace.set_span_in_context(trace.NonRecordingSpan(above), Context())
        span = self._tracer.start_span(
            name, context, attributes=self._who | _attributes(facts), start_time=since_ns,
            links=None if linked is None else [trace.Link(linked)])
        if not span.is_recording():
            return None
        begun = _Span(span, self._over)
        self._open.add(begun)
        return begun

    def close(self) -> None:
        """Send what can be sent within ``flush_s``; spans that are still open end here, as failed."""
        for span in list(self._open):
            span.end("the actor has stopped before")
        exporter = self._exporter
        is_hopeless = not exporter.taken and self._notice.is_given()
        if not self._ended or is_hopeless:
            return
        sending = threading.Thread(target=self._send_the_rest, daemon=True)  # it goes with the process
        if not exporter.is_over.is_set():
            sending.start()
            exporter.is_over.wait(self._flush_s)
        if exporter.problem or sending.is_alive():
            self._notice.give(exporter.problem or SILENT)
        elif exporter.taken < self._ended:
            self._notice.give(f"was too slow for {self._ended - exporter.taken} of {self._ended} spans")

    def _send_the_rest(self) -> None:
        self._processor.shutdown()  # type: ignore[no-untyped-call]
        self._exporter.is_over.set()

    def _over(self, span: _Span) -> None:
        self._open.discard(span)
        self._ended += 1


class _Span:
    """One span of OpenTelemetry's that is recorded."""

    __slots__ = ("_over", "_span", "context")

    def __init__(self, span: trace.Span, over: Callable[[_Span], None]) -> None:
        self._span = span
        self._over = over
        known = span.get_span_context()
        self.context = f"00-{known.trace_id:032x}-{known.span_id:016x}-01"

    def event(self, name: str, **facts: Fact) -> None:
        """Something happened now."""
        self._span.add_event(name, _attributes(facts))

    def end(self, error: str = "", **facts: Fact) -> None:
        """It is over; with an error it has failed."""
        if facts:
            self._span.set_attributes(_attributes(facts))
        if error:
            self._span.set_status(trace.StatusCode.ERROR, error)
        self._span.end()
        self._over(self)


def _attributes(facts: dict[str, Fact]) -> dict[str, Fact]:
    return {f"thresher.{name}": fact for name, fact in facts.items() if fact != ""}


def _context_of(text: str) -> trace.SpanContext | None:
    """The trace context of a text; None: there is none."""
    found = _CONTEXT.fullmatch(text) if text else None
    if found is None:
        return None
    return trace.SpanContext(int(found[1], 16), int(found[2], 16), True, trace.TraceFlags(trace.TraceFlags.SAMPLED))


class _Listener(logging.Handler):
    """Hands on what is logged of exports."""

    def __init__(self, hear: Callable[[str], None]) -> None:
        super().__init__(logging.WARNING)
        self._hear = hear

    def emit(self, record: logging.LogRecord) -> None:
        if record.name.startswith("opentelemetry.exporter"):
            self._hear(" ".join(record.getMessage().split()))


def _listen(hear: Callable[[str], None]) -> None:
    """Nothing that the SDK logs is printed; that its queue is full it need not even log, span for span."""
    log = logging.getLogger("opentelemetry")
    log.handlers, log.propagate = [_Listener(hear)], False
    logging.getLogger("opentelemetry.sdk._shared_internal").setLevel(logging.ERROR)
