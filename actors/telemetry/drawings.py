"""The drawings of an application's panels: the one of now, and the last ones to look back at.

A drawing with a label (an hour that is over) takes the place of the one before with the same label; of those without,
each is kept. So looking back is possible whoever was looking at the time. Those of a panel that is drawn from a sink
come with all that the sink has, so they are there after a restart, too.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from actors.runtime.manifest import Manifest
from actors.runtime.panel import MAIN
from actors.telemetry.panels import Panels

#: So many drawings are kept, with a label and without: those are points of a curve.
KEPT, POINTS = 60, 300
#: By label, or when it was drawn: the drawing, and when.
_Past = dict[str | float, dict[str, Any]]


class Drawings:
    """Draws and remembers; used by one thread.

    Args:
        manifest: of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._panels: Panels | None = None
        self._past: dict[str, _Past] = {}
        #: Whether the application has a panel or a feed, as far as is known.
        self.has_panel = True

    def draw_all(self) -> dict[str, dict[str, Any]]:
        """Return ``{"panel": {"title", "drawing", "problem"}, "past": [{"at", "drawing"}, …]}`` of each panel, by name.

        ``at`` is in seconds since 1970; the oldest of the past comes first, the one of now last.
        """
        try:
            names = self._drawn_by().names()
        except Exception:  # of the application: its own panel says which
            names = [MAIN]
        self.has_panel = bool(names)
        return {name: self._draw(name) for name in names}

    def _draw(self, name: str) -> dict[str, Any]:
        past = self._past.setdefault(name, {})
        try:
            panels = self._drawn_by()
            panel = panels.drawing(name)
            msgspec.json.encode(panel)
        except Exception as error:  # of an application's own function, of its import, or of what cannot be sent
            problem = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            panel = {"title": self._manifest.name, "drawing": None, "problem": problem}
        if panel is not None:
            drawings = panel.pop("drawings", None)
            past = self._past[name] = (_remembered(past, panel["drawing"]) if drawings is None
                                       else _written(past, drawings))
        return {"panel": panel, "past": list(past.values())}

    def _drawn_by(self) -> Panels:
        if self._panels is None:
            self._panels = Panels(self._manifest)
        return self._panels


def _remembered(past: _Past, drawing: dict[str, Any] | None) -> _Past:
    """The last drawings, with this one, which may be none."""
    if drawing:
        at = round(time.time(), 3)
        known = past.get(drawing.get("label") or at)
        if known is None or known["drawing"] != drawing:
            past[drawing.get("label") or at] = {"at": at, "drawing": drawing}
        while len(past) > (KEPT if drawing.get("label") else POINTS):
            del past[next(iter(past))]
    return past


def _written(past: _Past, drawings: list[dict[str, Any]]) -> _Past:
    """The last of these drawings; of two with one label the later one in the place of the earlier."""
    at = round(time.time(), 3)
    found: _Past = {}
    for label, drawing in list({one["label"]: one for one in drawings}.items())[-KEPT:]:
        known = past.get(label)
        found[label] = known if known is not None and known["drawing"] == drawing else {"at": at, "drawing": drawing}
    return found
