"""A tracer that keeps its spans, for tests within one process."""

from __future__ import annotations

from actors.runtime.tracing import Fact, Span


class Kept:
    """A span that was begun.

    Attributes:
        trace: number of its trace.
        parent: its parent, or None.
        link: what it comes from, or None.
        ended: how often it was ended.
    """

    def __init__(self, name: str, number: int, parent: Kept | None, link: Kept | None, facts: dict[str, Fact]) -> None:
        self.name = name
        self.parent = parent
        self.link = link
        self.trace: int = number if parent is None else parent.trace
        self.context = f"00-{self.trace:032x}-{number:016x}-01"
        self.facts = facts
        self.events: list[tuple[str, dict[str, Fact]]] = []
        self.error = ""
        self.ended = 0

    def event(self, name: str, **facts: Fact) -> None:
        """Keep it."""
        assert not self.ended, f"{name} after the end of {self.name}"
        self.events.append((name, facts))

    def end(self, error: str = "", **facts: Fact) -> None:
        """Keep how it ended."""
        self.ended += 1
        self.error = error
        self.facts |= facts

    def said(self, name: str) -> list[dict[str, Fact]]:
        """The facts of its events of this name."""
        return [facts for event, facts in self.events if event == name]


class Keeper:
    """The tracer.

    Args:
        every: one in so many traces is sampled.

    Attributes:
        spans: all that were begun, in order.
    """

    is_on = True

    def __init__(self, every: int = 1) -> None:
        self.spans: list[Kept] = []
        self._every = every
        self._traces = 0
        self._by_context: dict[str, Kept] = {}

    def now_ns(self) -> int:
        """Time does not matter."""
        return 0

    def begin(self, name: str, parent: str = "", link: str = "", since_ns: int | None = None,
              **facts: Fact) -> Span | None:
        """Begin a span. Whose parent, or link, is no span that was begun, is an error."""
        if not parent:
            self._traces += 1
            if self._traces % self._every:
                return None
        span = Kept(name, len(self.spans) + 1, self._by_context[parent] if parent else None,
                    self._by_context[link] if link else None, facts)
        self.spans.append(span)
        self._by_context[span.context] = span
        return span

    def close(self) -> None:
        """Nothing is held."""

    def named(self, *names: str) -> list[Kept]:
        """The spans with these names."""
        return [span for span in self.spans if span.name in names]
