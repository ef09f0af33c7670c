"""How the last run on a state directory went: ``last-run.json``, written when a run starts and again when it has ended.

A record without an end, of a run that holds the lock no more, is that of a run whose supervisor was killed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.runtime.errors import plain_reason
from actors.runtime.events import ActorView, Event, Observer, RunResult, RunStarted
from actors.runtime.units import LEDGER

FILE = "last-run.json"


class Record(msgspec.Struct):
    """What is remembered of a run.

    Attributes:
        run: its identity.
        pid: its supervisor.
        started: when, in UTC.
        result: how it ended; None until then.
    """

    run: str
    pid: int
    started: str
    result: RunResult | None = None


def read_record(state: Path) -> Record | None:
    """Return the record of the last run, or None when there is none that can be read."""
    try:
        return msgspec.json.decode((state / FILE).read_bytes(), type=Record)
    except (OSError, msgspec.MsgspecError):
        return None


def why_no_record(state: Path) -> str:
    """Say why nothing is known of the last run: its record is damaged, or nothing has run; empty: something is known.

    It is for who finds no record: a ledger without one is that of a run whose record could not be written.
    """
    path = state / FILE
    try:
        msgspec.json.decode(path.read_bytes(), type=Record)
    except FileNotFoundError:
        return "" if (state / LEDGER).exists() else f"nothing has run with the state directory {state}"
    except OSError as error:
        return f"{path}: {plain_reason(error)}: how the last run went cannot be told"
    except msgspec.MsgspecError as error:
        return f"{path} is damaged ({error}): how the last run went cannot be told; the next run writes it anew"
    return ""


class Recorder:
    """An observer that keeps the record and passes everything on.

    Args:
        state: the state directory.
        observer: who is told besides.
    """

    def __init__(self, state: Path, observer: Observer) -> None:
        self.refresh_s = observer.refresh_s
        self._state = state
        self._observer = observer
        self._record: Record | None = None

    def event(self, event: Event) -> None:
        """Remember the start."""
        if isinstance(event, RunStarted):
            self._record = Record(event.run, os.getpid(), _now())
            self._save()
        self._observer.event(event)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """Pass it on."""
        self._observer.refresh(actors)

    def ended(self, result: RunResult) -> None:
        """Remember how the run ended, unless another has begun."""
        last = read_record(self._state)
        if self._record is not None and last is not None and last.run == self._record.run:
            self._record.result = result
            self._save()

    def _save(self) -> None:
        unfinished = self._state / f"{FILE}.new"
        try:
            unfinished.write_bytes(msgspec.json.encode(self._record))
            unfinished.rename(self._state / FILE)
        except OSError:  # a full disk: the run goes on without its record
            unfinished.unlink(missing_ok=True)


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
