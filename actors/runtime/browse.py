"""A page of an application's own: what there is in a period, to choose one, and the charts of the one that is chosen.

    a sink's store ──Reader──▶ Browse.items(store, look) ─▶ Items    a dot and a row for each
                          └──▶ Browse.charts(store, id) ──▶ Charts   lines over time ──thinned──▶ what a page can show

Both are pure functions of what is stored, so a page shows the same while a run goes on and long after. What an answer
costs is up to them: ``items`` is told how many it may return, and says how to go on. What is sent is bounded here: of a
chart with more points than a screen has room for, each stretch of time keeps its first and last one, the least and the
greatest of each line, and whether there was a gap.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.stored import Need

#: Values of a line; None: nothing is known there.
Values = list[float | None]
#: Stretches that a chart's time is cut into.
STRETCHES = 160


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Which items a page asks for.

    Attributes:
        first: those of this time or later, ms since 1970; None: however early.
        last: those of this time or earlier, ms since 1970; None: however late.
        within: only those within this (``Browse.within`` says what that is); empty: all.
        after: what ``Items.next`` of the answer before has said; empty: from the beginning.
        most: about so many, not more.

    Example::

        Look(first=1565647200000, last=1565733600000, within="src-3", most=200)
    """

    first: int | None = None
    last: int | None = None
    within: str = ""
    after: str = ""
    most: int = 200


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One of the items of a period: a dot, and a row of a table.

    Attributes:
        id: what ``Browse.charts`` knows it by.
        at: where its dot is, ms since 1970.
        height: how high its dot is; None: that is not known, it has none.
        tone: ``ok``, ``open`` (more is to come) or ``bad``.
        cells: a value for each of the columns.

    Example::

        Item(id="a/1", at=1565647200000, height=3.5e6, cells=["a", 4096])
    """

    id: str
    at: int
    height: float | None = None
    tone: str = "ok"
    cells: list[Any] = []


class Items(msgspec.Struct, frozen=True, kw_only=True):
    """What there is in a period.

    Attributes:
        columns: name and unit of each: ``bit/s``, ``bytes``, ``s``, ``ratio``, ``ms`` (a time, since 1970), or nothing.
        items: the newest ones first.
        y_title: what the heights are.
        unit: of the heights.
        older: there are more, and their times are at most this one, ms since 1970; None: there are none.
        next: what was not looked at yet lies behind this (``Look.after``); empty: everything was looked at.
        note: a sentence about what was not looked at; may be empty.

    Example::

        Items(columns=[("host", ""), ("size", "bytes")], items=[Item(id="a/1", at=1565647200000, cells=["a", 4096])])
    """

    columns: list[tuple[str, str]]
    items: list[Item]
    y_title: str = ""
    unit: str = ""
    older: int | None = None
    next: str = ""
    note: str = ""


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
        """Refuse lines that are not as long as the times."""
        for name, values in self.lines.items():
            if len(values) != len(self.at):
                raise ValueError(f"lines[{name!r}]: expected a value for each of {len(self.at)} times, "
                                 f"got {len(values)}")


class Charts(msgspec.Struct, frozen=True, kw_only=True):
    """All about one item.

    Attributes:
        title: above it.
        facts: name, value and unit of each; those without a value are not shown.
        charts: one below the other.
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
    """A page of an application's own: ``thresher browse APP``, and ``/browse`` of a run's monitor.

    Attributes:
        title: of the page.
        needs: the sinks that are read, each with what it has to answer, as of a ``Question``: ``{"events": "range"}``.
        items: ``(store, look) -> Items``: what there is; ``store`` has a ``Reader`` of each of the sinks by its name.
        charts: ``(store, id) -> Charts``; None: there is no such item.
            Both are given ``options`` and ``window`` besides, if they have parameters of these names.
        noun: what the items are, in the plural.
        times: what the time of an item is, for who chooses a period: ``ended``.
        within: what ``Look.within`` names, for who chooses: ``host``; empty: nothing can be named.

    Example::

        def days(store, look):
            rows = [row for row in store["days"].rows()
                    if (look.first or 0) <= row["at"] and (look.last is None or row["at"] <= look.last)][::-1]
            return Items(
                columns=[("day", ""), ("words", "")], older=rows[look.most]["at"] if len(rows) > look.most else None,
                items=[Item(id=row["day"], at=row["at"], height=row["total"], cells=[row["day"], row["total"]])
                       for row in rows[:look.most]])

        def hours(store, id):
            row = next((row for row in store["days"].rows() if row["day"] == id), None)
            return row and Charts(title=id, charts=[
                Chart(title="Words", at=row["hours"], lines={"words": row["each"]})])

        Browse(title="Words by day", noun="days", needs={"days": "rows"}, items=days, charts=hours)
    """

    title: str
    needs: dict[str, Need]
    items: Callable[..., Items]
    charts: Callable[..., Charts | None]
    noun: str = "items"
    times: str = ""
    within: str = ""


def require_browse(browse: Browse | None, sinks: Iterable[str]) -> None:
    """Make sure that a page is made from sinks that there are, whatever the configuration.

    Raises:
        ConfigError: it needs another one, or none; or it has no title.
    """
    if browse is None:
        return
    sinks = list(sinks)
    if not browse.title:
        raise ConfigError("browse.title: expected what the page shows, got an empty text")
    if not browse.needs or not set(browse.needs) <= set(sinks):
        raise ConfigError(f"browse.needs: expected sinks of the pipeline ({', '.join(sinks)}), got "
                          f"{', '.join(browse.needs) or 'none'}")


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
            kept += sorted(_kept(chart.lines, start, end))
        start = end
    return msgspec.structs.replace(chart, at=[at[index] for index in kept], lines={
        name: [values[index] for index in kept] for name, values in chart.lines.items()})


def _kept(lines: Mapping[str, Values], start: int, end: int) -> set[int]:
    """What is kept of a stretch."""
    kept = {start, end - 1}
    for values in lines.values():
        known = [(value, index) for index in range(start, end) if (value := values[index]) is not None]
        kept |= {min(known)[1], max(known)[1]} if known else {start}
    gap = next((index for index in range(start, end) if all(values[index] is None for values in lines.values())), None)
    return kept if gap is None else {*kept, gap}
