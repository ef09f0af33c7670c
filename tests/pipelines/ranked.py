"""Ratings counted by the minute: the first five go to a sink, which a panel is drawn from. For tests of the monitor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple

from thresher import Bars, Fold, Panel, Pipeline, Window, WindowOptions, Windows, drop
from thresher.sinks import DeadLetters, Jsonl
from thresher.sources import Directory

PLACES = 5


class Rating(NamedTuple):
    """When, of what, and how good."""

    at: int
    asin: str
    overall: float


def parse(line: bytes) -> Rating:
    """``1531652640000 B004LLIL5A 5.0``."""
    at, asin, overall = line.decode().split()
    return Rating(int(at), asin, float(overall))


def partials(ratings: Sequence[Rating]) -> dict[tuple[Any, ...], list[Any]]:
    """How many, and their sum, by product."""
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for rating in ratings:
        found = sums.setdefault((rating.asin,), [0, 0.0])
        found[0] += 1
        found[1] += rating.overall
    return sums


def emit(window: Window, rows: list[tuple[tuple[Any, ...], list[Any]]]) -> list[tuple[str, Any]]:
    """The first ones."""
    ranked = sorted((-count, -total / count, asin) for (asin,), (count, total) in rows)[:PLACES]
    return [("top", {"minute": window.start, "revision": window.revision,
                     "top": [[asin, -count, -mean] for count, mean, asin in ranked]})]


def draw(minutes: Sequence[dict[str, Any]]) -> list[Bars]:
    """Bars for each minute."""
    return [Bars(
        bars=[(str(place), count, f"{mean:.1f}") for place, (_, count, mean) in enumerate(each["top"], 1)],
        above=[asin for asin, *_ in each["top"]], label=label_of(each["minute"]), unit="ratings", x_title="place",
        y_title="number of ratings") for each in minutes]


def draw_first(minutes: Sequence[dict[str, Any]]) -> Bars:
    """The one in the first place, of the newest minute."""
    (asin, count, _), *_ = minutes[-1]["top"]
    return Bars(bars=[(asin, count, "")], label=label_of(minutes[-1]["minute"]))


def label_of(minute: int) -> str:
    """As it is shown."""
    return f"{datetime.fromtimestamp(minute / 1000, UTC):%Y-%m-%d %H:%M} UTC"


PIPELINE = Pipeline(
    name="ranked", source=Directory(), parse=parse, route=drop,
    fold=Fold(partials=partials, keys=("asin",), fields=("count", "total")),
    windows=Windows(time=lambda rating: rating.at, emit=emit),
    window=WindowOptions(size_s=60, lateness_s=3600, jump_confirm=0),
    sinks={"top": Jsonl()}, emit_sinks=("top",), dead_letters=DeadLetters(),
    panel=Panel(title="Most ranked products", draw=draw, sink="top"),
    feeds={"first": Panel(title="The first place", draw=draw_first, sink="top")})
