"""Who is let in by the monitor, and who is thrown out: connections, whatever is spoken on them.

A transport that has something to send closes only when it is sent, so a client that does not read keeps its connection
for as long as it likes, also after the server has closed it. The doorman therefore remembers every transport, and
aborts those whose buffer has not become smaller for a while.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Protocol

#: Seconds after which a connection is closed that takes nothing; between two such looks.
STALL_S, _SWEEP_S = 15.0, 5.0


class Connection(Protocol):
    """One that is open."""

    @property
    def transport(self) -> asyncio.BaseTransport | None:
        """None when it is closed, or will be once all is sent."""
        ...


class Server(Protocol):
    """Makes the protocol of a connection, and knows those that it has made."""

    @property
    def connections(self) -> Sequence[Connection]:
        """Those that are open."""
        ...

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a new one."""
        ...


class Doorman:
    """Bounds connections in number and in patience.

    Args:
        server: makes the protocol of a connection.
        most: so many connections.
        stall_s: seconds for which a client may take nothing of what is sent.
    """

    def __init__(self, server: Server, most: int, stall_s: float = STALL_S) -> None:
        self._server = server
        self._most = most
        self._stall_s = stall_s
        #: What is still to be sent, and since when that has not become less.
        self._known: dict[asyncio.Transport, tuple[int, float]] = {}

    def let_in(self) -> asyncio.BaseProtocol:
        """The protocol of a new connection."""
        return self._server() if len(self._server.connections) < self._most else _Full()

    async def sweep(self) -> None:
        """Throw out who is stalled, until cancelled."""
        while True:
            await asyncio.sleep(min(_SWEEP_S, self._stall_s / 3))
            self.look(time.monotonic())

    def look(self, now: float) -> None:
        """Look at every connection."""
        self._meet(now)
        for transport, (before, since) in list(self._known.items()):
            waiting = transport.get_write_buffer_size()
            if not waiting and transport.is_closing():
                del self._known[transport]
            elif not waiting or waiting < before:
                self._known[transport] = (waiting, now)
            elif now - since >= self._stall_s:
                transport.abort()
                del self._known[transport]
            else:
                self._known[transport] = (waiting, since)

    def throw_out(self) -> None:
        """End every connection now."""
        self._meet(time.monotonic())
        for transport in self._known:
            transport.abort()

    def _meet(self, now: float) -> None:
        for connection in self._server.connections:
            if isinstance(connection.transport, asyncio.Transport):
                self._known.setdefault(connection.transport, (0, now))


class _Full(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close."""
        assert isinstance(transport, asyncio.WriteTransport)
        text = b"too many connections: try again later\n"
        transport.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain\r\nConnection: close\r\n"
                        b"Content-Length: %d\r\n\r\n%s" % (len(text), text))
        transport.close()
