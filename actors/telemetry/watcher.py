"""Looks at a run that goes on, from outside."""

from __future__ import annotations

from pathlib import Path

from actors.telemetry.model import Status


class Watcher:
    """Looks at a run again and again; each look also says what has gone on since the one before.

    Args:
        run_dir: its run directory.

    Raises:
        OSError: there is no run (any more).
        ValueError: its board is none.
    """

    def __init__(self, run_dir: Path) -> None:
        self._run_dir = run_dir

    def status(self) -> Status:
        """Look. Raises as above."""
        raise NotImplementedError

    def close(self) -> None:
        """Nothing is held."""
