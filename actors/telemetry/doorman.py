"""Who is let in by the monitor, and who is thrown out: connections, whatever is spoken on them.

    places   ┌ held: somebody who has shown the token is being answered      never taken away, ``most`` at a time
             ├ asked: has sent a whole request, and may send another         taken away after those below
             └ silent: has sent no whole request yet                         taken away first, the oldest first
    spare    ``SPARE`` more than can be held

Guarantees:

* Whoever connects is let in, if need be in the place of another one. So strangers who open hundreds of connections, and
  send a byte now and then, take no probe's place: a probe has its answer long before its own turn to go comes.
* A connection on which no whole request has come after ``HEADER_S`` is closed.
* One that takes nothing of what is sent for ``STALL_S`` is closed.

What does not work: to keep some places for probes (what somebody wants is known when the request has come, and slow
ones take these places, too); to close a stalled connection (a transport that has something to send closes when it is
sent: it has to be aborted, also after the server has closed it).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from actors.telemetry.paced import Busy

#: Seconds after which a connection is closed that takes nothing; on which no whole request came; between two looks.
STALL_S, HEADER_S, _SWEEP_S = 15.0, 10.0, 2.5
#: Connections more than can be held.
SPARE = 16


class Connection(Protocol):
    """One that is open."""

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """None when it is closed, or will be once all is sent."""
        ...


class Server(Protocol):
    """Makes the protocol of a connection, and knows those that it has made, the oldest first."""

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are open."""
        ...

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a new one."""
        ...


class _Seen:
    """What is known of a connection: since when, what is still to be sent, and since when that has not become less."""

    def __init__(self, now: float) -> None:
        self.opened = self.since = now
        self.waiting = 0
        self.has_asked = False


class Doorman:
    """Bounds connections in number and in patience.

    Args:
        most: so many connections can be held.
        stall_s: seconds for which a client may take nothing of what is sent.
        header_s: seconds within which a first request has to come.
    """

    def __init__(self, most: int, stall_s: float = STALL_S, header_s: float = HEADER_S) -> None:
        self._server: Server | None = None
        self._most = most
        self._stall_s = stall_s
        self._header_s = header_s
        self._known: dict[asyncio.Transport, _Seen] = {}
        self._held: dict[asyncio.BaseTransport, int] = {}

    def of(self, server: Server) -> Callable[[], asyncio.BaseProtocol]:
        """Stand at the door of this server: what makes the protocol of a new connection."""
        self._server = server

        def let_in() -> asyncio.BaseProtocol:
            return server() if self._has_room() else _Full()

        return let_in

    def asked(self, transport: asyncio.BaseTransport | None) -> None:
        """A whole request has come on a connection."""
        if isinstance(transport, asyncio.Transport):
            self._known.setdefault(transport, _Seen(time.monotonic())).has_asked = True

    @contextmanager
    def hold(self, transport: asyncio.BaseTransport | None) -> Iterator[None]:
        """Keep the place of one who may come in while it is answered.

        Raises:
            Busy: so many are held that a probe would find no place.
        """
        if transport is None:  # it has gone
            yield
            return
        if len(self._held) >= self._most:
            raise Busy
        self._held[transport] = self._held.get(transport, 0) + 1
        try:
            yield
        finally:
            self._held[transport] -= 1
            if not self._held[transport]:
                del self._held[transport]

    async def sweep(self) -> None:
        """Throw out who is stalled, and who does not ask, until cancelled."""
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._stall_s / 3))
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look at every connection."""
        for transport, seen in self._meet(now).items():
            before, seen.waiting = seen.waiting, transport.get_write_buffer_size()
            if not seen.waiting or seen.waiting < before:
                seen.since = now
            is_silent = not seen.has_asked and now - seen.opened >= self._header_s
            if is_silent or now - seen.since >= self._stall_s:
                transport.abort()

    def throw_out(self) -> None:
        """End every connection now."""
        for transport in self._meet(time.monotonic()):
            transport.abort()

    def _has_room(self) -> bool:
        """Whether one more may come; if need be another one goes."""
        here = self._meet(time.monotonic())
        if len(here) < self._most + SPARE:
            return True
        free = [transport for transport in here if transport not in self._held]
        silent = (transport for transport in free if transport.is_closing() or not here[transport].has_asked)
        leaves = next(silent, free[0] if free else None)
        if leaves is not None:
            leaves.abort()
        return leaves is not None

    def _meet(self, now: float) -> dict[asyncio.Transport, _Seen]:
        """Those who are here, the oldest first; from now on they are known, until they have gone."""
        for connection in () if self._server is None else self._server.connections:
            if isinstance(connection.transport, asyncio.Transport):
                self._known.setdefault(connection.transport, _Seen(now))
        self._known = {transport: seen for transport, seen in self._known.items()
                       if transport.get_write_buffer_size() or not transport.is_closing()}
        return self._known


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close."""
        assert isinstance(transport, asyncio.WriteTransport)
        text = b"too many connections: try again later\n"
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        transport.close()
