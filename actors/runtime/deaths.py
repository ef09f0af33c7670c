"""Death records: how each actor died that nobody had asked to, kept in the state directory for a later look.

One JSON object a line in ``deaths.jsonl``, written by the supervisor alone; the file is halved when it grows long. A
record is for people: one that cannot be written (disk full) is given up, it is in the run's output as well.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.runtime.events import ActorDied, ActorView, Event, Observer
from actors.runtime.manifest import Manifest

FILE = "deaths.jsonl"
_MAX_BYTES = 1024 * 1024


class Death(msgspec.Struct, frozen=True):
    """One death: when (UTC), in which run, and what was known of it."""

    time: str
    run: str
    died: ActorDied


class Recorder:
    """An observer that records every death, and tells another one, which may fail.

    Args:
        manifest: of the run.
        observer: the other one.
    """

    def __init__(self, manifest: Manifest, observer: Observer) -> None:
        self.refresh_s = observer.refresh_s
        self._state, self._run = Path(manifest.state), manifest.run
        self._observer = observer

    def event(self, event: Event) -> None:
        """Something happened."""
        if isinstance(event, ActorDied):
            record(self._state, Death(time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()), self._run, event))
        with contextlib.suppress(OSError):  # nobody reads any more, or the disk is full: no reason to stop a run
            self._observer.event(event)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """The board, now."""
        with contextlib.suppress(OSError):
            self._observer.refresh(actors)


def record(state: Path, death: Death) -> None:
    """Append a record."""
    path = state / FILE
    with contextlib.suppress(OSError):
        path.touch(mode=0o600)
        if path.stat().st_size > _MAX_BYTES:
            lines = path.read_bytes().splitlines(keepends=True)
            path.write_bytes(b"".join(lines[len(lines) // 2:]))
        with path.open("ab") as file:
            file.write(msgspec.json.encode(death) + b"\n")


def last(state: Path, count: int) -> list[Death]:
    """Return the newest records, the newest last; none when there is no file. A line cut short is passed over."""
    try:
        lines = (state / FILE).read_bytes().splitlines()[-count:]
    except OSError:
        return []
    found: list[Death] = []
    for line in lines:
        with contextlib.suppress(msgspec.DecodeError):
            found.append(msgspec.json.decode(line, type=Death))
    return found
