"""An application's own panel on the dashboard: drawn from what the aggregators keep, read from their files.

    aggregator.N.db  windows.N.db  distinct.N.db ──read──▶ Aggregates ──Panel.draw──▶ Bars or Curves

The files are opened for reading, for each look anew: writers are not held up, and see nothing of it. What is drawn is
what is committed, at most a group of batches behind. ``draw`` is the application's: whatever it raises is shown in the
place of the drawing, and ends nothing.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.emitter import sorted_items
from actors.runtime.lift import bind
from actors.runtime.manifest import Manifest, application
from actors.runtime.pipeline import Aggregates, Bars, Curves, Panel, Pipeline, Totals, Window
from actors.runtime.state import Key, Merge, Numbers, merge_into, merge_of, rows_of_state

#: Most keys that a panel is drawn from, of what is folded without windows.
MOST_DRAWN = 100_000
#: By start, end and key.
_Windows = dict[tuple[int, int, Key], tuple[Window, dict[Key, Numbers]]]


class Panels:
    """Draws the panel of a run, if its application has one.

    Args:
        manifest: of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._loaded: tuple[Pipeline, msgspec.Struct | None] | None = None

    def drawing(self) -> dict[str, Any] | None:
        """Return ``{"title", "drawing": Bars or Curves as builtins, "problem": ""}``; None without a panel.

        ``drawing`` is None as long as nothing is aggregated, and when there is a problem. May block: call it from a
        thread.
        """
        try:
            pipeline, options = self._application()
        except Exception as error:  # the application's module is no monitor's business
            return _problem("", error)
        if pipeline.panel is None:
            return None
        try:
            return self._drawn(pipeline, pipeline.panel, options)
        except sqlite3.Error:  # a file is just being made, or moved away
            return {"title": pipeline.panel.title, "drawing": None, "problem": ""}
        except Exception as error:
            return _problem(pipeline.panel.title, error)

    def _drawn(self, pipeline: Pipeline, panel: Panel, options: msgspec.Struct | None) -> dict[str, Any]:
        aggregates = read_aggregates(self._manifest, pipeline)
        if aggregates is None:
            return {"title": panel.title, "drawing": None, "problem": ""}
        draw: Callable[[Aggregates], Bars | Curves] = bind(panel.draw, options)
        drawn = draw(aggregates)
        if not isinstance(drawn, Bars | Curves):
            raise TypeError(f"expected draw to return Bars or Curves, got {type(drawn).__name__}")
        return {"title": panel.title, "drawing": msgspec.to_builtins(drawn), "problem": ""}

    def _application(self) -> tuple[Pipeline, msgspec.Struct | None]:
        if self._loaded is None:
            self._loaded = application(self._manifest)
        return self._loaded


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
