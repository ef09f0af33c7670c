"""``ranked`` with a topic in the place of its file of JSON lines. For tests of the monitor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgspec

from tests.pipelines import ranked
from thresher import Bars, Panel, Record, Window, Windows
from thresher.sinks import Topic


def emit(window: Window, rows: list[tuple[tuple[Any, ...], list[Any]]]) -> list[tuple[str, Any]]:
    """The first ones, as a message of the minute."""
    return [(sink, (b"%d" % window.start, json.dumps(item).encode())) for sink, item in ranked.emit(window, rows)]


def draw(records: Sequence[Record]) -> list[Bars]:
    """Bars for each minute."""
    return ranked.draw([json.loads(record.value or b"") for record in records])


PIPELINE = msgspec.structs.replace(
    ranked.PIPELINE, name="ranked-topic", windows=Windows(time=lambda rating: rating.at, emit=emit),
    sinks={"top": Topic(topic="topic:../topics/top")}, panel=Panel(title="Most ranked products", draw=draw, sink="top"),
    feeds={})
