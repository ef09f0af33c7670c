"""Drawings for pages of one's own: as JSON, and as streams of what has become new.

    Drawings.draw_all ──▶ Feed for each panel ──▶ /api/panels/NAME            the last ones
                              └─ what has changed ──▶ /api/panels/NAME/events   each open stream

A drawing is known by its label: one of the same label takes its place. So a client that has lost the connection needs
no number of the last event that it saw: it is sent the last drawings again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import msgspec

from actors.telemetry.drawings import KEPT
from actors.telemetry.streams import BEAT, Stream, here

#: By label, or by when it was drawn: a drawing as JSON.
Encoded = dict[str, bytes]


class Feed(msgspec.Struct, frozen=True):
    """One panel now: its name, its title, what is wrong with it, and its last drawings, oldest first."""

    name: str
    title: str
    problem: str
    drawings: Encoded

    def json(self, last: int = KEPT) -> bytes:
        """As a page is given it, with so many of the drawings."""
        drawings = [msgspec.Raw(each) for each in list(self.drawings.values())[-last:]]
        return msgspec.json.encode(
            {"name": self.name, "title": self.title, "problem": self.problem, "drawings": drawings})


def feeds_of(drawn: Mapping[str, Mapping[str, Any]]) -> dict[str, Feed]:
    """What ``Drawings.draw_all`` has returned, as pages are given it; without what is no panel."""
    return {name: Feed(name, shown["panel"]["title"], shown["panel"]["problem"],
                       {drawing["label"] or str(at): msgspec.json.encode(drawing) for at, drawing in (
                           (one["at"], for_pages(one)) for one in shown["past"])})
            for name, shown in drawn.items() if shown["panel"] is not None}


def for_pages(one: Mapping[str, Any]) -> dict[str, Any]:
    """A drawing in words: the contract of ``/api/panels``, see docs/operations.md."""
    drawing = one["drawing"]
    common = {"at": one["at"], "label": drawing.get("label", ""), "unit": drawing["unit"]}
    if drawing["type"] == "curves":
        return {**common, "values": drawing["values"]}
    above = drawing["above"] or [""] * len(drawing["bars"])
    return {**common, "x_title": drawing["x_title"], "y_title": drawing["y_title"],
            "bars": [{"label": label, "height": height, "inside": inside, "above": over}
                     for (label, height, inside), over in zip(drawing["bars"], above, strict=True)]}


def message(drawing: bytes) -> bytes:
    """A drawing as a message of an event stream."""
    return b"event: drawing\ndata: " + drawing + b"\n\n"


class FeedStreams:
    """All open streams of drawings."""

    def __init__(self) -> None:
        self._open: dict[Stream, str] = {}
        self._feeds: Mapping[str, Feed] = {}

    def here(self) -> int:
        """How many of them have a client."""
        return here(self._open)

    @property
    def are_open(self) -> bool:
        """Whether anybody is still written to."""
        return bool(self._open)

    @contextmanager
    def open(self, name: str, last: int, is_gone: Callable[[], bool] = lambda: False) -> Iterator[Stream]:
        """A stream for a client that is first sent so many of the last drawings of a panel."""
        stream = Stream(is_gone)
        feed = self._feeds.get(name)
        for drawing in list(feed.drawings.values())[-last:] if feed is not None else ():
            stream.tell(message(drawing))
        self._open[stream] = name
        try:
            yield stream
        finally:
            del self._open[stream]

    def take(self, feeds: Mapping[str, Feed]) -> None:
        """Send what has changed to everybody who follows it."""
        news = {name: _news(self._feeds.get(name), feed) for name, feed in feeds.items()}
        self._feeds = feeds
        for stream, name in self._open.items():
            for drawing in news.get(name, ()):
                stream.tell(message(drawing))

    def beat(self) -> None:
        """Send a sign of life to everybody."""
        for stream in self._open:
            stream.tell(BEAT)

    def end(self) -> None:
        """Tell everybody that this is the end."""
        for stream in self._open:
            stream.end()


def _news(before: Feed | None, now: Feed) -> list[bytes]:
    known = {} if before is None else before.drawings
    return [drawing for label, drawing in now.drawings.items() if known.get(label) != drawing]
