"""The port to whoever traces batches: spans with a beginning, an end, facts and events. Knows no tracing system.

    reader      batch ────────────────────────────────────────────────▶ closed
    parser        └─ parse ──▶                                            the header of a batch, and of each part made
    checker             └─ check ──▶                                      from it, names the span that is the parent of
    writer                   └─ write ──▶                                 what the next one does with it

Whether a batch is traced is decided once, when its root span begins, and said in its header: ``trace`` is the W3C
``traceparent`` of the span to go on from, or empty. So who gets a batch that is not traced looks at one attribute, and
does nothing. A tracer never blocks and never raises: what cannot be sent is dropped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import TracebackType
from typing import Protocol

from actors.runtime.errors import Finish, storable
from actors.runtime.messages import Part

#: What is known of a span, by name.
Fact = str | int
#: The span of a worker's work, by its stage.
_WORK = {"parser": "parse", "checker": "check"}


class Span(Protocol):
    """One span that has begun."""

    #: Its W3C trace context: what goes into a header, for those whose parent it is.
    context: str

    def event(self, name: str, **facts: Fact) -> None:
        """Something happened now."""
        ...

    def end(self, error: str = "", **facts: Fact) -> None:
        """It is over; with an error it has failed. Once."""
        ...


class Tracer(Protocol):
    """Begins spans.

    Attributes:
        is_on: whether it ever begins one.
    """

    is_on: bool

    def now_ns(self) -> int:
        """The time by which spans are measured: ns since 1970."""
        ...

    def begin(self, name: str, parent: str = "", link: str = "", since_ns: int | None = None,
              **facts: Fact) -> Span | None:
        """Begin a span; None: it is not traced.

        Args:
            name: what is done.
            parent: trace context of the span that it is part of; without one it begins a trace, if that is sampled.
            link: trace context of a span that it comes from, without being part of it.
            since_ns: when it began, if not now.
            facts: what is known of it.
        """
        ...

    def close(self) -> None:
        """Send what can be sent within a second, and let the rest go."""
        ...


class _Off:
    """Traces nothing."""

    is_on = False

    def now_ns(self) -> int:
        return 0

    def begin(self, name: str, parent: str = "", link: str = "", since_ns: int | None = None,
              **facts: Fact) -> Span | None:
        return None

    def close(self) -> None:
        """Nothing is held."""


#: The tracer of who is not told to trace.
OFF: Tracer = _Off()


def begin_work(tracer: Tracer, address: str, parent: str) -> Span | None:
    """Begin the span of what the worker at this address makes of a batch: ``parse`` or ``check``."""
    return tracer.begin(_WORK.get(address.partition(".")[0], "work"), parent)


class HasPart(Protocol):
    """Something that holds a part."""

    part: Part


class Group:
    """The spans of parts that are written, or committed, together: one for each that is traced, while in the block.

    Args:
        tracer: whom they are told to.
        name: what is done.
        group: all that it is done with.
    """

    def __init__(self, tracer: Tracer, name: str, group: Sequence[HasPart]) -> None:
        traced: Iterable[Part] = [held.part for held in group if held.part.trace]
        spans = (tracer.begin(name, part.trace, start=part.start, end=part.end, items=part.count, group=len(group))
                 for part in traced)
        self._spans = [span for span in spans if span is not None]

    def __enter__(self) -> None:
        """They have begun."""

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """They are over; failed, if an error goes through."""
        for span in self._spans:
            span.end("" if error is None or isinstance(error, Finish) else storable(error) or type(error).__name__)
