"""The monitor: probes, metrics and the dashboard, from a process of its own that only looks at the run."""

from __future__ import annotations

from collections.abc import Sequence

from actors.runtime.actor import Post
from actors.runtime.manifest import Manifest
from actors.runtime.messages import AnyMessage, Member


class Monitor:
    """The role of the monitor.

    Args:
        post: the way out.
        manifest: of the run that it looks at.
    """

    def __init__(self, post: Post, manifest: Manifest) -> None:
        self._post = post
        self._manifest = manifest

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Nobody sends it anything that it needs."""

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """It knows who lives from the board."""

    def work(self, now: float) -> float | None:
        """Everything is done elsewhere."""
        self._post.slot.phase("IDLE")
        return None

    def drain(self, is_end: bool = False) -> None:
        """It goes on until it is told to stop."""

    def close(self) -> None:
        """Nothing is held."""
