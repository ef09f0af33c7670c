"""A page of an application's own: the items of a period to choose one of, and the charts of the one that is chosen.

    a sink's store ──Reader──▶ Browse.items(store, first, last, most) ─▶ Items    a dot and a row for each
                          └──▶ Browse.charts(store, id) ───────────────▶ Charts   lines over time
                                                                            └─thinned─▶ what a page can show

Both are pure functions of what is stored, so a page shows the same while a run goes on and long after. What an answer
costs is the application's: ``items`` is told how many it may return, and says how many there are at least besides.
What is sent is bounded here: of a chart that has more points than a screen has room for, each stretch keeps its first and
last ones, the least and greatest of each line, and whether there was a gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from typing import Any

import msgspec

from actors.runtime.stored import Need

#: Values of a line; None: nothing is known there.
Values = list[float | None]
#: Stretches that a chart's time is cut into.
STRETCHES = 160


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """What there is in a period, to choose one of: each is a dot, and a row of a table.

    Attributes:
        columns: name and unit of each: ``bit/s``, ``bytes``, ``s``, ``ratio``, ``ms`` (a time, since 1970), or nothing.
        rows: id, ms since 1970, height (None: it is not known), tone (``ok``, ``bad``, ``open``), a cell per column.
        y_title: what the heights are.
        unit: of the heights.
        more: so many more there are at least in this period.
        span: the period that was looked at, in ms since 1970; None: there is nothing.

    Example::

        Items(columns=[("host", ""), ("size", "bytes")], rows=[("a/1", 1565647200000, 3.5e6, "ok", ["a", 4096])],
              y_title="rate", unit="bit/s", span=(1565647200000, 1565647260000))
    """

    columns: list[tuple[str, str]]
    rows: list[tuple[str, int, float | None, str, list[Any]]]
    y_title: str = ""
    unit: str = ""
    more: int = 0
    span: tuple[int, int] | None = None


class Chart(msgspec.Struct, frozen=True, kw_only=True):
    """Lines over time, with one unit.

    Attributes:
        title: above it.
        unit: as in ``Items``, or any text.
        at: ms since 1970, in order.
        lines: by name, a value for each of these; None: nothing is known, the line has a gap.

    Example::

        Chart(title="Rate", unit="bit/s", at=[1565647200000, 1565647201000], lines={"rate": [3.5e6, None]})
    """

    title: str
    unit: str = ""
    at: list[int] = []
    lines: dict[str, Values] = {}

    def __post_init__(self) -> None:
        for name, values in self.lines.items():
            if len(values) != len(self.at):
                raise ValueError(f"lines[{name!r}]: expected a value for each of {len(self.at)} times, "
                                 f"got {len(values)}")


class Charts(msgspec.Struct, frozen=True, kw_only=True):
    """All about one item.

    Attributes:
        title: above it.
        facts: name, value and unit of each.
        charts: one below the other, with one axis of time.
        notes: what has to be known about them, each a sentence.
        is_open: whether more is to come.

    Example::

        Charts(title="a/1", facts=[("bytes", 4096, "bytes")], charts=[Chart(title="Rate")])
    """

    title: str
    facts: list[tuple[str, Any, str]] = []
    charts: list[Chart] = []
    notes: list[str] = []
    is_open: bool = False


class Browse(msgspec.Struct, frozen=True, kw_only=True):
    """A page of an application's own, ``/browse`` of the monitor.

    Attributes:
        title: of the page.
        noun: what the items are, in the plural.
        needs: the sinks that are read, each with what it has to answer: ``{"events": "range"}``.
        items: ``(store, first, last, most) -> Items``: those with something in the period from ``first`` to ``last``
            (ms since 1970; None: however early, or late), the newest ones, at most so many. ``store`` has a reader for
            each of the sinks.
        charts: ``(store, id) -> Charts``; None: there is no such item.

    Example::

        Browse(title="Transfers", noun="transfers", needs={"events": "range"}, items=transfers, charts=charts)
    """

    title: str
    noun: str = "items"
    needs: dict[str, Need]
    items: Callable[..., Items]
    charts: Callable[..., Charts | None]


def thinned(chart: Chart, stretches: int = STRETCHES) -> Chart:
    """The same with as many points as a picture needs: of each stretch of time the first and the last one, the least
    and the greatest of each line, and a gap."""
    at = chart.at
    if len(at) <= stretches * (2 + 2 * len(chart.lines)):
        return chart
    length = at[-1] - at[0] + 1
    kept: list[int] = []
    start = 0
    for number in range(1, stretches + 1):
        end = bisect_left(at, at[0] + -(-number * length // stretches), start)
        if end > start:
            kept += sorted(_kept(list(chart.lines.values()), start, end))
        start = end
    return msgspec.structs.replace(chart, at=[at[index] for index in kept], lines={
        name: [values[index] for index in kept] for name, values in chart.lines.items()})


def _kept(lines: list[Values], start: int, end: int) -> set[int]:
    """What is kept of a stretch."""
    kept = {start, end - 1}
    for values in lines:
        known = [(value, index) for index in range(start, end) if (value := values[index]) is not None]
        kept |= {min(known)[1], max(known)[1]} if known else set()
    gap = next((index for index in range(start, end) if all(values[index] is None for values in lines)), None)
    return kept if gap is None else {*kept, gap}
