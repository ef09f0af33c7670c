"""An application's own panels: drawn from what the aggregators keep, or from what one of its sinks was given.

    aggregator.N.db  windows.N.db  distinct.N.db ──read──▶ Aggregates ─┐
                                                                        ├─Panel.draw──▶ Bars or Curves
    what a sink has written ──SinkOptions.follow──▶ the last items ────┘

The files of aggregators are opened for reading, for each look anew: writers are not held up, and see nothing of it.
What is drawn is what is committed, at most a group of batches behind. Of a sink only what is new is read; its last
items are kept, and all of them are drawn when one has come, so that a revision finds what it revises. ``draw`` is the
application's: whatever it raises is shown in the place of the drawing, and ends nothing.
"""

from __future__ import annotations

import sqlite3
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.emitter import sorted_items
from actors.runtime.following import Follower
from actors.runtime.lift import bind
from actors.runtime.manifest import Manifest, application
from actors.runtime.panel import MAIN, Bars, Curves, Panel
from actors.runtime.pipeline import Aggregates, Pipeline, Totals, Window
from actors.runtime.state import Key, Merge, Numbers, merge_into, merge_of, rows_of_state

#: Most keys that a panel is drawn from, of what is folded without windows; most items of a sink.
MOST_DRAWN, MOST_ITEMS = 100_000, 300
#: By start, end and key.
_Windows = dict[tuple[int, int, Key], tuple[Window, dict[Key, Numbers]]]


class Panels:
    """Draws the panels of a run, if its application has some.

    Args:
        manifest: of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._loaded: tuple[Pipeline, msgspec.Struct | None] | None = None
        self._written: dict[str, _Written] = {}

    def names(self) -> list[str]:
        """The panel of the dashboard, if there is one, and the feeds; also of an application that cannot be imported:
        that is shown as the problem of the first."""
        try:
            return list(self._panels())
        except Exception:
            return [MAIN]

    def drawing(self, name: str = MAIN) -> dict[str, Any] | None:
        """Return ``{"title", "drawing": Bars or Curves as builtins, "problem": ""}``; None without such a panel.

        ``drawing`` is None as long as there is nothing to draw, and when there is a problem. One that is drawn from a
        sink has ``drawings`` besides: all of its last ones, oldest first. May block: call it from a thread.
        """
        try:
            panel = self._panels().get(name)
            _, options = self._application()
        except Exception as error:  # the application's module is no monitor's business
            return _problem("", error)
        if panel is None:
            return None
        try:
            return {"title": panel.title, **self._drawn(name, panel, options), "problem": ""}
        except sqlite3.Error:  # a file is just being made, or moved away
            return {"title": panel.title, "drawing": None, "problem": ""}
        except Exception as error:
            return _problem(panel.title, error)

    def _drawn(self, name: str, panel: Panel, options: msgspec.Struct | None) -> dict[str, Any]:
        draw: Callable[[Any], Any] = bind(panel.draw, options)
        if panel.sink:
            drawings = self._of_sink(name, panel.sink).drawings(draw)
            return {"drawing": drawings[-1] if drawings else None, "drawings": drawings}
        aggregates = read_aggregates(self._manifest, self._application()[0])
        if aggregates is None:
            return {"drawing": None}
        drawn = draw(aggregates)
        if not isinstance(drawn, Bars | Curves):
            raise TypeError(f"expected draw to return Bars or Curves, got {type(drawn).__name__}")
        return {"drawing": msgspec.to_builtins(drawn)}

    def _of_sink(self, name: str, sink: str) -> _Written:
        if name not in self._written:
            self._written[name] = _Written(_followed(self._manifest, sink))
        return self._written[name]

    def _panels(self) -> dict[str, Panel]:
        pipeline, _ = self._application()
        return {**({} if pipeline.panel is None else {MAIN: pipeline.panel}), **pipeline.feeds}

    def _application(self) -> tuple[Pipeline, msgspec.Struct | None]:
        if self._loaded is None:
            self._loaded = application(self._manifest)
        return self._loaded


class _Written:
    """The last items of a sink, and what was drawn of them.

    Args:
        follower: reads them.
    """

    def __init__(self, follower: Follower) -> None:
        self._follower = follower
        self._items: deque[Any] = deque(maxlen=MOST_ITEMS)
        self._is_drawn = True
        self._drawings: list[Any] = []

    def drawings(self, draw: Callable[[Any], Any]) -> list[Any]:
        """What is to be shown, oldest first, as builtins."""
        if new := self._follower.new():
            self._items.extend(new)
            self._is_drawn = False
        if not self._is_drawn:  # also when it has failed: it is tried again
            drawn = draw(list(self._items))
            bars = [drawn] if isinstance(drawn, Bars) else drawn
            if not isinstance(bars, Sequence) or not all(isinstance(one, Bars) for one in bars):
                raise TypeError(f"expected draw to return Bars or a list of them, got {type(drawn).__name__}")
            if not all(one.label for one in bars):
                raise ValueError("expected Bars with a label (what they are of), got some without")
            self._drawings, self._is_drawn = [msgspec.to_builtins(one) for one in bars], True
        return self._drawings


def _followed(manifest: Manifest, sink: str) -> Follower:
    """Read back a sink.

    Raises:
        LookupError: nothing can.
    """
    if sink not in manifest.sinks:
        raise LookupError(f"Panel.sink: expected one of the sinks {', '.join(manifest.sinks)}, got {sink!r}")
    options = manifest.sinks[sink].load()
    follower = options.follow(sink, Path(manifest.state), MOST_ITEMS)
    if follower is None:
        raise LookupError(f"Panel.sink: what is written to {sink} ({options.describe()}) cannot be read back: draw "
                          "from a sink that can, e.g. jsonl or topic")
    return follower


def read_aggregates(manifest: Manifest, pipeline: Pipeline) -> Aggregates | None:
    """Return what all shards keep now; None when there is nothing yet.

    Raises:
        sqlite3.Error: a file is no database of this kind, or not yet.
        ValueError: there are too many keys to have them all in memory, for each look anew.
    """
    state, merge = Path(manifest.state), merge_of(pipeline.fold)
    shards = range(1, 1 + manifest.aggregator.shards)
    if manifest.emit_sinks and pipeline.distinct is not None:
        from actors.runtime.distinct import read_totals

        totals = [found for shard in shards if (found := read_totals(state / f"distinct.{shard}.db")) is not None]
        return Aggregates(windows=[], totals=_sum(totals)) if totals else None
    windows: _Windows = {}
    for shard in shards:
        if manifest.emit_sinks:
            from actors.runtime.panes import read_panes

            _add(windows, read_panes(state / f"windows.{shard}.db", merge), merge)
        elif folded := dict(islice(rows_of_state(state / f"aggregator.{shard}.db", merge), MOST_DRAWN + 1)):
            _add(windows, {Window(0, 0): folded}, merge)
            if len(windows[0, 0, ()][1]) > MOST_DRAWN:
                raise ValueError(f"more than {MOST_DRAWN:,} keys: too many for a panel")
    if not windows:
        return None
    ordered = sorted(windows.values(), key=lambda each: (each[0].start, each[0].end, repr(each[0].key)))
    return Aggregates(windows=[(window, sorted_items(rows)) for window, rows in ordered])


def _add(windows: _Windows, more: Mapping[Window, dict[Key, Numbers]], merge: Merge) -> None:
    """Add what one shard has; a window that several have has the greatest of their revisions."""
    for window, rows in more.items():
        known, total = windows.get((window.start, window.end, window.key), (window, {}))
        merge_into(total, rows.items(), merge)
        newest = max(known, window, key=lambda each: each.revision)
        windows[window.start, window.end, window.key] = (newest, total)


def _sum(totals: list[Totals]) -> Totals:
    return Totals(sum(each.new for each in totals), sum(each.duplicates for each in totals),
                  sum(each.total for each in totals))


def _problem(title: str, error: Exception) -> dict[str, Any]:
    return {"title": title, "drawing": None, "problem": f"{type(error).__name__}: {error}"}
