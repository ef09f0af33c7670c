"""What a run tells systemd: that it is ready, what it does, that it is alive, that it stops.

    RunStarted ──▶ STATUS            all ready ──▶ READY, MAINPID       SIGHUP ──▶ RELOADING … READY
    the loop goes round ──▶ WATCHDOG, STATUS, EXTEND_TIMEOUT            drains, stops ──▶ STOPPING

Everything is sent from the supervisor's loop, so a loop that stands still says nothing and the watchdog bites. A thread
that sends WATCHDOG would say only that there is a thread. That an actor hangs is the supervisor's business, and no
reason to have the whole killed: WATCHDOG goes on.

EXTEND_TIMEOUT is sent while the run starts, drains or stops. Each of these ends by the run's own limits
(``restart.ready_s``, ``run.drain_s``, ``run.stop_s``), which systemd does not know; a loop that hangs meanwhile gets no
more than what was last granted.

Nothing here can hold the run up: the socket does not block, and what nobody receives is dropped. Only what is said once
(READY, STOPPING, the end of a reload) is kept until there is room for it.

The variables are taken out of the environment. The actors are not the service: a library of an application, or a
program that it starts, must not find them and speak in its name.

Without ``NOTIFY_SOCKET`` this is nothing but the other observer.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import TypeVar

from actors.console.progress import Rates
from actors.runtime.board import BoardReader
from actors.runtime.events import ActorView, Draining, Event, Observer, Reloaded, RunEnded, RunReady, RunStarted
from actors.runtime.rundir import BOARD, path_for

T = TypeVar("T")
#: Seconds between two STATUS.
STATUS_S = 5.0
#: Seconds between two looks at how far the run is, and what is asked for each time: several times that.
_LOOK_S, _EXTEND_S = 1.0, 15.0
#: Longest time between two calls of ``refresh``; so late at most is what is due.
_REFRESH_S = 0.25
#: So many sentences at most of what the run waits for.
_WAITS = 3


class Channel:
    """The way to the service manager: datagrams to ``NOTIFY_SOCKET``.

    Args:
        environ: the environment; what was meant for this process alone is taken out of it.
    """

    def __init__(self, environ: MutableMapping[str, str]) -> None:
        path = environ.pop("NOTIFY_SOCKET", "")
        usec, pid = environ.pop("WATCHDOG_USEC", ""), environ.pop("WATCHDOG_PID", "")
        self.exists = path[:1] in ("/", "@") and len(path) > 1
        is_for_us = self.exists and pid in ("", str(os.getpid()))
        #: Seconds between two WATCHDOG: half of what is allowed; 0: none is wanted.
        self.watchdog_s = int(usec) / 2e6 if is_for_us and usec.isascii() and usec.isdecimal() else 0.0
        # "@" stands for the null byte that an abstract address begins with.
        self._address = "\0" + path[1:] if path.startswith("@") else path
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) if self.exists else None
        self._kept: list[str] = []

    def say(self, *lines: str, once: bool = False) -> None:
        """Send lines as one message; ``once``: it will not be said again, so it is kept when there is no room."""
        if self._socket is None:
            return
        text = "\n".join(lines)
        self._kept = [kept for kept in self._kept if not self._sent(kept)]
        if not (self._sent(text) if not self._kept else False) and once:
            self._kept.append(text)

    def close(self) -> None:
        """Close the socket."""
        if self._socket is not None:
            self._socket.close()

    def _sent(self, text: str) -> bool:
        """Whether it has gone, or never will."""
        assert self._socket is not None
        try:
            self._socket.sendto(text.encode(errors="replace"), socket.MSG_DONTWAIT, self._address)
        except BlockingIOError:
            return False
        except OSError:  # nobody is there
            pass
        return True


class Notifier:
    """An observer that tells the service manager, and another observer.

    Args:
        observer: the other one.
        environ: the environment of a service, see ``Channel``.
    """

    def __init__(self, observer: Observer, environ: MutableMapping[str, str]) -> None:
        self._channel = Channel(environ)
        self._observer = observer
        self._other_s = self.refresh_s = observer.refresh_s
        if self._channel.exists:
            wanted = [s for s in (observer.refresh_s, _REFRESH_S, self._channel.watchdog_s / 2) if s]
            self.refresh_s = min(wanted)
        self._withheld: Sequence[ActorView] = ()  # from the other observer, as it wants to be called less often
        self._due = {"other": 0.0, "look": 0.0, "status": 0.0, "watchdog": 0.0}
        self._board: BoardReader | None = None
        self._status = Sentence()
        self._is_ready = self._is_stopping = self._reloads = False

    def event(self, event: Event) -> None:
        """Say what the service manager waits for."""
        self._say(event)
        if isinstance(event, RunEnded) and self._withheld:
            self._observer.refresh(self._withheld)
        self._observer.event(event)

    def refresh(self, actors: Sequence[ActorView]) -> None:
        """The loop has gone round."""
        now = time.monotonic()
        if self._channel.watchdog_s and self._is_due("watchdog", self._channel.watchdog_s, now):
            self._channel.say("WATCHDOG=1")
        if self._channel.exists and self._is_due("look", _LOOK_S, now):
            self._look(actors, now)
        self._withheld = actors if self._other_s else ()
        if self._other_s and (not self._channel.exists or self._is_due("other", self._other_s, now)):
            self._withheld = ()
            self._observer.refresh(actors)

    def reloading(self, reload: Callable[[], T]) -> Callable[[], T]:
        """Say before ``reload`` that the configuration is being read again; that it was is an event."""
        def told() -> T:
            if self._is_ready and not self._is_stopping:
                self._reloads = True
                self._channel.say("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}", once=True)
            return reload()

        return told

    def close(self) -> None:
        """Let go of socket and board."""
        self._channel.close()
        if self._board is not None:
            self._board.close()
            self._board = None

    def _say(self, event: Event) -> None:
        match event:
            case RunStarted():
                with contextlib.suppress(OSError, ValueError):
                    self._board = BoardReader(path_for(Path(event.state)) / BOARD)
                self._channel.say(f"STATUS={event.text()}")
            case RunReady():
                self._is_ready = True
                self._status.restart()
                self._channel.say("READY=1", f"MAINPID={os.getpid()}", f"STATUS={event.text()}", once=True)
            case Reloaded() if self._reloads:
                self._reloads = False
                self._channel.say("READY=1", f"STATUS={_line(event.text())}", once=True)
            case Draining() | RunEnded():
                self._stopping(event.text())

    def _look(self, actors: Sequence[ActorView], now: float) -> None:
        mode = "" if self._board is None else self._board.run().mode
        if mode == "stopping":
            self._stopping("stopping")
        if not self._is_ready or self._is_stopping:
            self._channel.say(f"EXTEND_TIMEOUT_USEC={_EXTEND_S * 1e6:.0f}")
        if self._is_due("status", STATUS_S, now):
            self._channel.say(f"STATUS={self._status.of(mode, actors, now)}")

    def _stopping(self, text: str) -> None:
        words = [] if self._is_stopping else ["STOPPING=1"]
        self._is_stopping = True
        self._channel.say(*words, f"STATUS={_line(text)}", once=True)

    def _is_due(self, what: str, every_s: float, now: float) -> bool:
        if now < self._due[what] - every_s / 100:
            return False
        self._due[what] = now + every_s
        return True


class Sentence:
    """What the run does now, for a person: where it is, how fast, how far, what it waits for."""

    def __init__(self) -> None:
        self._rates = Rates()
        self._before = (0.0, 0)

    def restart(self) -> None:
        """Time runs from here."""
        self._rates.restart()
        self._before = (time.monotonic(), 0)

    def of(self, mode: str, actors: Sequence[ActorView], now: float) -> str:
        """Say it in one line. The rate is that since the last time."""
        rates = self._rates
        rates.update(actors)
        (then, records), self._before = self._before, (now, rates.records)
        said = [f"{mode or 'starting'}: {max(0, rates.records - records) / max(now - then, 1e-3):,.0f} records/s"]
        if rates.bytes_total:
            said.append(f"{100 * rates.bytes_done / rates.bytes_total:.0f} % of the input")
        waits = [f"{view.actor} waits: {view.note}" for view in actors if view.note]
        return _line("; ".join([", ".join(said), *waits[:_WAITS]]))


def _line(text: str) -> str:
    return " ".join(text.split())
