"""The drawings of an application's panel: the one of now, and the last ones to look back at.

A drawing with a label (an hour that is over) takes the place of the one before with the same label; of those without,
each is kept. So looking back is possible whoever was looking at the time.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec

from actors.runtime.manifest import Manifest
from actors.telemetry.panels import Panels

#: So many drawings are kept, with a label and without: those are points of a curve.
KEPT, POINTS = 60, 300


class Drawings:
    """Draws and remembers; used by one thread.

    Args:
        manifest: of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest
        self._panels: Panels | None = None
        self._past: dict[str | float, dict[str, Any]] = {}
        #: Whether the application has a panel, as far as is known.
        self.has_panel = True

    def draw(self) -> dict[str, Any]:
        """Return ``{"panel": {"title", "drawing", "problem"} or None, "past": [{"at", "drawing"}, …]}``.

        ``at`` is in seconds since 1970; the oldest of the past comes first, the one of now last.
        """
        try:
            if self._panels is None:
                self._panels = Panels(self._manifest)
            panel = self._panels.drawing()
            msgspec.json.encode(panel)
        except Exception as error:  # of an application's own function, of its import, or of what cannot be sent
            problem = f"{type(error).__name__}: {error}".encode(errors="backslashreplace").decode()
            panel = {"title": self._manifest.name, "drawing": None, "problem": problem}
        self.has_panel = panel is not None
        drawing = panel and panel.get("drawing")
        if drawing:
            at = round(time.time(), 3)
            self._past[drawing.get("label") or at] = {"at": at, "drawing": drawing}
            while len(self._past) > (KEPT if drawing.get("label") else POINTS):
                del self._past[next(iter(self._past))]
        return {"panel": panel, "past": list(self._past.values())}
