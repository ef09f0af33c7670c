"""A panel of an application's own: what it is drawn from, and what a drawing is."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

#: What the panel of the dashboard is called beside an application's feeds.
MAIN = "main"


class Bars(msgspec.Struct, frozen=True, kw_only=True, tag="bars"):
    """Bars side by side, e.g. the top five.

    Attributes:
        bars: label, height, and what is written inside (may be empty), of each.
        label: what they are of, e.g. ``11:00 to 12:00``. The dashboard keeps the last ones to look back at, by label.
        unit: what the heights are.
        above: what is written above each bar; empty: nothing.
        x_title: title of the axis below, e.g. ``place``.
        y_title: title of the axis of the heights.

    Example::

        Bars(bars=[("Tracy", 41, "41 in 12"), ("Omar", 17, "17 in 9")], label="11:00 to 12:00", unit="connections")
        Bars(bars=[("1", 41, "4.5"), ("2", 17, "3.9")], above=["B004LLIL5A", "B004LLIKVU"], x_title="place",
             y_title="number of ratings", label="11:04")
    """

    bars: list[tuple[str, float, str]]
    label: str = ""
    unit: str = ""
    above: list[str] = []
    x_title: str = ""
    y_title: str = ""

    def __post_init__(self) -> None:
        if self.above and len(self.above) != len(self.bars):
            raise ValueError(f"above: expected a text for each of the {len(self.bars)} bars, got {len(self.above)}")


class Curves(msgspec.Struct, frozen=True, kw_only=True, tag="curves"):
    """Figures of now; the dashboard draws each over time.

    Attributes:
        values: by the name of the curve.
        unit: what they are.

    Example::

        Curves(values={"new": 1200.0, "known": 31.0}, unit="numbers")
    """

    values: dict[str, float]
    unit: str = ""


class Panel(msgspec.Struct, frozen=True, kw_only=True):
    """A panel of an application's own on the dashboard.

    Attributes:
        title: above it.
        draw: a pure function; it is called in the monitor, so it can slow down nobody else. Without ``sink`` it is
            given what the aggregators keep now, open windows and all (``Aggregates``). With it, what was written there
            last, oldest first, as that sink reads it back; it returns ``Bars``, or a list of them, oldest first.
        sink: a sink of the pipeline whose items it is drawn from: what is closed and durable, also of runs before.

    Example::

        def draw(aggregates):
            groups = aggregates.windows[-1][1] if aggregates.windows else []
            return Bars(bars=[(key[0], numbers[0], "") for key, numbers in groups])

        Panel(title="Connections by host", draw=draw)

        def draw_reports(reports):  # of a sink of JSON lines, one for each hour that is over
            return [Bars(bars=[(each["host"], each["number"], "")], label=each["hour"]) for each in reports]

        Panel(title="The busiest host", draw=draw_reports, sink="reports")
    """

    title: str
    draw: Callable[..., Bars | Curves | Sequence[Bars]]
    sink: str = ""
