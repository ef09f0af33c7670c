"""Who watches a run: a progress bar for a terminal, JSON lines for everything else.

When a sink writes to standard output all of it goes to standard error; and there is no bar that would be drawn into the
sink's lines when they may come to the same screen, be it through a pipe.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO
from urllib.parse import quote

from actors.runtime.events import ActorView, Event, MonitorReady, RunEnded, RunReady
from actors.runtime.manifest import Manifest
from actors.runtime.printable import in_lines, one_line
from actors.runtime.whole_lines import as_is

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


def shares_output(manifest: Manifest) -> bool:
    """Whether a sink writes to the standard output of the run."""
    return any(component.kind().console for component in manifest.sinks.values())


def is_off_screen(descriptor: int) -> bool:
    """Whether what is written there certainly does not come to a screen: a file, or a device that is no terminal."""
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return True
    return stat.S_ISREG(mode) or (stat.S_ISCHR(mode) and not os.isatty(descriptor))


def _said(event: Event, is_terminal: bool) -> str:
    """An event in words, that any terminal can be given; who sits at one is shown the monitor's token, a log is not."""
    if isinstance(event, MonitorReady) and is_terminal:
        with contextlib.suppress(OSError):
            return f"dashboard: {event.url}?token={quote(Path(event.token_file).read_text(), safe='')}"
    return in_lines(event.text())


class Rates:
    """Records per second and the time left, from what the readers show on the board."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._seen: dict[tuple[str, int], int] = {}
        self.bytes_done = 0
        self.bytes_total = 0

    def update(self, actors: Sequence[ActorView]) -> None:
        """Take the figures of now."""
        readers = [view for view in actors if view.actor.startswith("reader.")]
        for view in readers:
            if view.pid:  # else the figures are those of the generation before
                self._seen[view.actor, view.generation] = view.records
        self.bytes_done = sum(view.bytes_done for view in readers)
        self.bytes_total = sum(view.bytes_total for view in readers)

    @property
    def records(self) -> int:
        """Records so far, by all generations of the readers."""
        return sum(self._seen.values())

    def restart(self) -> None:
        """All actors are ready: time runs from here."""
        self._began = time.monotonic()

    @property
    def per_second(self) -> float:
        """Records per second since the start."""
        seconds = time.monotonic() - self._began
        return self.records / seconds if seconds > 0 else 0.0

    @property
    def eta_s(self) -> float | None:
        """Seconds left, None when nobody can know."""
        if not self.bytes_done or not self.bytes_total:
            return None
        seconds = time.monotonic() - self._began
        return seconds * max(0.0, self.bytes_total / self.bytes_done - 1.0)


class JsonObserver:
    """One JSON object a line: every event, and the progress once a second."""

    refresh_s = 1.0

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = sys.stdout if out is None else out
        self._rates = Rates()

    def event(self, event: Event) -> None:
        """Print an event."""
        if isinstance(event, RunReady):
            self._rates.restart()
        self._print(event.fields())

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Print the progress."""
        rates = self._rates
        rates.update(actors)
        eta = rates.eta_s
        waits = {view.actor: view.note for view in actors if view.note}
        self._print({
            "event": "progress", "records": rates.records, "records_per_s": round(rates.per_second),
            "bytes": rates.bytes_done, "bytes_total": rates.bytes_total,
            "eta_s": None if eta is None else round(eta, 1), **({"waiting": waits} if waits else {})})

    def close(self) -> None:
        """Nothing is held."""

    def _print(self, fields: dict[str, Any]) -> None:
        print(json.dumps(fields), file=self._out, flush=True)


class TextObserver:
    """Events as plain lines on standard error; for text output that is not a terminal."""

    refresh_s = 0.0

    def event(self, event: Event) -> None:
        """Print an event."""
        if not isinstance(event, RunEnded):
            print(_said(event, sys.stderr.isatty()), file=sys.stderr, flush=True)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing is held."""


class QuietObserver(TextObserver):
    """Says nothing."""

    def event(self, event: Event) -> None:
        """Say nothing."""


class TerminalObserver:
    """A progress bar, with the events as lines above it."""

    refresh_s = 0.25

    def __init__(self) -> None:
        from rich.console import Console

        self._console = Console(file=as_is(sys.stderr))
        self._rates = Rates()
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def event(self, event: Event) -> None:
        """Print an event above the bar."""
        if isinstance(event, RunEnded):
            self.close()
            return
        if isinstance(event, RunReady):
            self._rates.restart()
            self._start()
        # Soft: an address that is broken into two lines is none.
        self._console.print(_said(event, self._console.is_terminal), highlight=False, markup=False, soft_wrap=True)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Move the bar."""
        if self._progress is None or self._task is None:
            return
        from rich.markup import escape

        self._rates.update(actors)
        waits = next((f"{view.actor} waits: {view.note}" for view in actors if view.note), "")
        self._progress.update(
            self._task, completed=self._rates.bytes_done, total=self._rates.bytes_total or None,
            rate=f"{self._rates.per_second:,.0f} records/s", waits=escape(one_line(waits)))
        self._progress.refresh()

    def close(self) -> None:
        """Take the bar away."""
        if self._progress is not None:
            self._progress.stop()
            self._progress = None

    def _start(self) -> None:
        from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

        # No refresh thread: the supervisor's loop says when to draw.
        self._progress = Progress(
            BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[rate]}"), TextColumn("ETA"),
            TimeRemainingColumn(), TextColumn("[yellow]{task.fields[waits]}"), console=self._console,
            auto_refresh=False, transient=True)
        self._task = self._progress.add_task("load", total=None, rate="", waits="")
        self._progress.start()
