"""The monitor: probes, metrics and the dashboard, from a process of its own that only looks at the run.

    actor's loop     waits for Stop, and for a word of the thread that it has failed
    thread           an asyncio loop of its own: the HTTP server
    its helpers      a thread each looks at the run, reads dead letters, draws, asks the supervisor

It steps back behind every other actor: it is scheduled when a processor is idle (``SCHED_IDLE``), so whoever asks
however often takes only what the pipeline leaves. It is no part of the pipeline: nobody waits for it, and when it dies
the run goes on and it is started again. ``close`` ends everything at once, whatever clients do, so it holds up no end
of a run.

What does not work: ``nice 19`` (actors are batch processes, and those do not push a process of the normal class off the
processor when they wake up, however nice it is: each hop of a batch may then wait for the end of a time slice; an idle
process is pushed off at once); to step back before importing (the modules take a third of a second of processor time,
which with idle processors only may be longer than an actor has to get ready).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
import threading
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from urllib.parse import urlsplit

from actors.runtime.actor import Post
from actors.runtime.errors import ConfigError, Retryable, ThresherError
from actors.runtime.manifest import Manifest
from actors.runtime.messages import AnyMessage, Member, Serving
from actors.runtime.rundir import MONITOR_URL, path_for
from actors.telemetry.http import serve

#: Longest time to begin, and to end.
_BEGIN_S, _END_S = 20.0, 2.0
#: Seconds after which its own slot is written anew: how much memory it has.
_SLOT_S = 2.0
_ANY = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Monitor:
    """The role of the monitor.

    Args:
        post: the way out.
        manifest: of the run that it looks at.

    Raises:
        Retryable: the port is in use.
        ConfigError: this user may not use it.
    """

    def __init__(self, post: Post, manifest: Manifest) -> None:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))  # this thread, and all that it starts
        self._post = post
        self._url_file = path_for(Path(manifest.state)) / MONITOR_URL
        listening = _listen(manifest.monitor.host, manifest.monitor.port, self._url_file)
        self._thread = _Thread(manifest, listening)
        self.wake: int | None = self._thread.wake
        url = url_of(listening, manifest.monitor.host)
        _write(self._url_file, url)
        post.tell(Serving(url))

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Nobody sends it anything that it needs."""

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        """It knows who lives from the board."""

    def work(self, now: float) -> float | None:
        """Everything is done in the thread; raise what has ended it."""
        self._post.slot.phase("IDLE")
        self._thread.check()
        return _SLOT_S

    def drain(self, is_end: bool = False) -> None:
        """It goes on until it is told to stop."""

    def close(self) -> None:
        """End every connection, and the thread."""
        self._thread.stop()
        self._url_file.unlink(missing_ok=True)


class _Thread:
    """The thread of the HTTP server.

    Args:
        manifest: of the run.
        listening: a bound socket.
    """

    def __init__(self, manifest: Manifest, listening: socket.socket) -> None:
        self.wake, self._failing = os.pipe()
        self._error: BaseException | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop = asyncio.Event()
        self._up: Future[None] = Future()
        self._thread = threading.Thread(target=self._run, args=(manifest, listening), name="http", daemon=True)
        self._thread.start()
        self._up.result(_BEGIN_S)

    def check(self) -> None:
        """Raise what has ended the thread, if it has ended."""
        if self._error is not None:
            raise self._error

    def stop(self) -> None:
        """End it."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # it has ended by itself
                self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(_END_S)

    def _run(self, manifest: Manifest, listening: socket.socket) -> None:
        try:
            asyncio.run(self._serve(manifest, listening))
        except BaseException as error:
            self._error = error
            if not self._up.done():
                self._up.set_exception(error)
            os.write(self._failing, b"!")

    async def _serve(self, manifest: Manifest, listening: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        await serve(manifest, listening, self._stop, lambda: self._up.set_result(None))


def bind(host: str, port: int) -> socket.socket:
    """Return a socket that is bound there, ready to listen; port 0: any that is free.

    Raises:
        Retryable: the port is in use, or the address is not (yet) one of this machine.
        ConfigError: this user may not use the port.
    """
    where = f"port {port} of {host}"
    bound: socket.socket | None = None
    try:
        family, kind, _, _, address = socket.getaddrinfo(host.strip("[]"), port, type=socket.SOCK_STREAM)[0]
        bound = socket.socket(family, kind)
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind(address)
        bound.listen()
    except OSError as error:
        if bound is not None:
            bound.close()
        if error.errno == errno.EADDRINUSE:
            raise Retryable(f"{where} is in use, by another run or program: set monitor.port to another port, or to 0 "
                            "for any that is free; the run goes on without the monitor meanwhile") from error
        if error.errno == errno.EACCES:
            raise ConfigError(f"{where}: this user may not use it: set monitor.port to 1024 or more") from error
        raise Retryable(f"{where}: {(error.strerror or str(error)).lower()}: expected an address of this machine "
                        "(monitor.host); the run goes on without the monitor meanwhile") from error
    return bound


def url_of(bound: socket.socket, host: str) -> str:
    """Where a browser on this machine finds it."""
    shown = _ANY.get(host.strip("[]"), host.strip("[]"))
    return f"http://{f'[{shown}]' if ':' in shown else shown}:{bound.getsockname()[1]}/"


def _listen(host: str, port: int, url_file: Path) -> socket.socket:
    """Bind the port that is wanted; when any will do the one of the generation before, so that open pages find it."""
    if not port:
        with contextlib.suppress(OSError, ValueError, ThresherError):
            return bind(host, urlsplit(url_file.read_text()).port or 0)
    return bind(host, port)


def _write(path: Path, url: str) -> None:
    """Write the address for whoever looks for it; who finds the file finds all of it."""
    unfinished = path.with_suffix(".new")
    unfinished.touch(mode=0o600)
    unfinished.write_text(url)
    unfinished.rename(path)
