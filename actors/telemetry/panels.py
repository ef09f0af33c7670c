"""An application's own panel on the dashboard: drawn from what the aggregators keep, read from their files."""

from __future__ import annotations

from typing import Any

from actors.runtime.manifest import Manifest


class Panels:
    """Draws the panel of a run, if its application has one.

    Args:
        manifest: of the run.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._manifest = manifest

    def drawing(self) -> dict[str, Any] | None:
        """Return ``{"title", "drawing": Bars or Curves as builtins, "problem": ""}``; None without a panel.

        May block: call it from a thread.
        """
        return None

    def close(self) -> None:
        """Nothing is held."""
