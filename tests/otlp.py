"""A collector for tests: takes spans by OTLP over HTTP, and can refuse, or stay silent."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

import msgspec
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from tests.servers import free_port


class Event(msgspec.Struct, frozen=True):
    """An event of a span, its attributes without their prefix."""

    name: str
    facts: dict[str, Any]


class Received(msgspec.Struct, frozen=True):
    """A span that was received; ids in hexadecimal, ``parent`` is empty for a root, facts without their prefix."""

    name: str
    trace: str
    id: str
    parent: str
    start_ns: int
    end_ns: int
    facts: dict[str, Any]
    events: list[Event]
    links: list[str]
    error: str
    resource: dict[str, Any]

    def of(self, event: str) -> list[dict[str, Any]]:
        """The facts of its events of one name."""
        return [one.facts for one in self.events if one.name == event]


class Collector:
    """A real HTTP server on 127.0.0.1; a context manager.

    Args:
        status: what it answers.
        silent: it takes connections and answers nothing.

    Attributes:
        requests: how many requests came.
        paths: where to.
    """

    def __init__(self, status: int = 200, silent: bool = False) -> None:
        self.status = status
        self.requests = 0
        self._bodies: list[bytes] = []
        self._spans: list[Received] = []
        self.paths: set[str] = set()
        self._go_on = threading.Event()
        if not silent:
            self._go_on.set()
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, body)
                self.send_response(collector.status)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Nothing is logged."""

        self._server = ThreadingHTTPServer(("127.0.0.1", free_port()), Handler)
        self._server.daemon_threads = True
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._go_on.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def take(self, path: str, body: bytes) -> None:
        """A request has come."""
        self.requests += 1
        self.paths.add(path)
        self._go_on.wait()
        if self.status == 200:
            self._bodies.append(body)  # looked at later: a benchmark has only two cores

    @property
    def spans(self) -> list[Received]:
        """What it was sent, and has not refused."""
        while self._bodies:
            self._spans += _received(ExportTraceServiceRequest.FromString(self._bodies.pop(0)))
        return self._spans

    def named(self, *names: str) -> list[Received]:
        """The spans with these names, in order of their beginning."""
        return sorted((span for span in self.spans if span.name in names), key=lambda span: span.start_ns)


def settings(collector: Collector | str, ratio: float = 1.0) -> tuple[str, ...]:
    """``--set`` texts for a run that tells this collector, and one of ours all that there is to tell."""
    patient = () if isinstance(collector, str) else ("tracing.flush_s=4",)
    endpoint = collector if isinstance(collector, str) else collector.endpoint
    return ("tracing.enabled=true", f"tracing.endpoint={endpoint}", f"tracing.sample_ratio={ratio}", *patient)


def _received(request: ExportTraceServiceRequest) -> Iterable[Received]:
    for group in request.resource_spans:
        resource = _plain(group.resource.attributes)
        for scope in group.scope_spans:
            for span in scope.spans:
                failed = span.status.code == trace_pb2.Status.STATUS_CODE_ERROR
                yield Received(
                    span.name, span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex(),
                    span.start_time_unix_nano, span.end_time_unix_nano, _plain(span.attributes),
                    [Event(event.name, _plain(event.attributes)) for event in span.events],
                    [link.span_id.hex() for link in span.links], span.status.message if failed else "", resource)


def _plain(attributes: Iterable[KeyValue]) -> dict[str, Any]:
    return {one.key.removeprefix("thresher."): getattr(one.value, str(one.value.WhichOneof("value")))
            for one in attributes}
