"""What has happened in a run that goes on, for whoever looks at it: a file of JSON lines in the run directory.

The supervisor alone writes it, readers follow it. It begins anew when it has grown long, which a reader sees by its
being shorter than what it has read. Events are rare (starts, deaths, outages), so that is far away.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.runtime import events
from actors.runtime.events import ActorView, Event, Observer

FILE = "events.jsonl"
_MAX_BYTES = 4 * 1024 * 1024

AnyEvent = (
    events.RunStarted | events.RunReady | events.MonitorReady | events.ActorDied | events.ActorSuspect
    | events.ActorHung | events.Recycled | events.Scaled | events.Reloaded | events.OutageBegan | events.OutageEnded
    | events.FileLost | events.SourceLost | events.EmptyLeftOut | events.Draining | events.RunEnded
)


class Happened(msgspec.Struct, frozen=True):
    """An event, and when: seconds since 1970."""

    at: float
    event: AnyEvent


_decoder = msgspec.json.Decoder(Happened)


class Log:
    """An observer that writes every event down, and tells another one.

    Args:
        run_dir: the run directory.
        observer: the other one.
    """

    def __init__(self, run_dir: Path, observer: Observer) -> None:
        self.refresh_s = observer.refresh_s
        self._path = run_dir / FILE
        self._observer = observer

    def event(self, event: Event) -> None:
        """Write it down. What cannot be written (disk full, a path that is no text) is given up: the observer is told
        all the same."""
        with contextlib.suppress(OSError, ValueError):
            line = msgspec.json.encode({"at": time.time(), "event": event}) + b"\n"
            with open(self._path, "ab", opener=_private) as file:
                if file.tell() >= _MAX_BYTES:
                    file.truncate(0)
                elif file.tell() and not _ends_in_a_line(self._path):
                    line = b"\n" + line  # the one before was cut off
                file.write(line)
        self._observer.event(event)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Pass it on."""
        self._observer.refresh(actors)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _ends_in_a_line(path: Path) -> bool:
    with path.open("rb") as file:
        file.seek(-1, 2)
        return file.read() == b"\n"


class Follower:
    """Reads what is new in the log of a run.

    Args:
        run_dir: the run directory.
    """

    def __init__(self, run_dir: Path) -> None:
        self._path = run_dir / FILE
        self._at = 0

    def new(self) -> list[Happened]:
        """Return what has happened since the last call; a line that is still being written comes with the next."""
        try:
            with self._path.open("rb") as file:
                if file.seek(0, 2) < self._at:
                    self._at = 0
                file.seek(self._at)
                data = file.read()
        except OSError:  # no run any more, or nothing has happened yet
            return []
        whole = data[:data.rfind(b"\n") + 1]
        self._at += len(whole)
        found = []
        for line in whole.splitlines():
            with contextlib.suppress(msgspec.MsgspecError):
                found.append(_decoder.decode(line))
        return found
