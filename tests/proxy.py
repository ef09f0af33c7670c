"""A TCP proxy for tests, in front of a real server: it can refuse, delay, cut connections, and put words in its mouth.

One thread carries everything, so what it is told holds from the next byte on.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque

_CHUNK = 64 * 1024
#: Seconds between two looks at what it was told.
_TURN_S = 0.005


class _Pair:
    """A client's connection and the one to the server for it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client, self.server = client, server
        self.sent = 0  # bytes of the client that the server got
        self.replies: deque[tuple[float, bytes]] = deque()  # with the time at which the client may have them


class Proxy:
    """A proxy on 127.0.0.1; a context manager. Attributes may be set at any time.

    Attributes:
        delay_s: replies are held back for so long.
        garbage: what the client gets for each thing it sends, in place of replies; the server gets nothing.
        flood: what the client gets again and again, whatever it does; the server gets nothing.
        cut_after: each connection is closed when the server got so many bytes of it; the client gets no reply.
    """

    def __init__(self, server_port: int) -> None:
        self.delay_s = 0.0
        self.garbage = self.flood = b""
        self.cut_after: int | None = None
        self._server_port = server_port
        self._selector = selectors.DefaultSelector()
        self._listener: socket.socket | None = self._listen(0)
        self.port: int = self._listener.getsockname()[1]
        self.address = f"127.0.0.1:{self.port}"
        self._pairs: list[_Pair] = []
        self._refusing = self._closing = False
        self._thread = threading.Thread(target=self._serve, name="proxy")

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._closing = True
        self._thread.join()

    def refuse(self) -> None:
        """Close everything; nobody listens until ``heal``."""
        self._refusing = True

    def heal(self) -> None:
        """Be a faithful proxy."""
        self._refusing, self.delay_s, self.cut_after = False, 0.0, None
        self.garbage = self.flood = b""

    def _listen(self, port: int) -> socket.socket:
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
        self._selector.register(listener, selectors.EVENT_READ)
        return listener

    def _serve(self) -> None:
        while not self._closing:
            self._open_or_shut()
            for key, _ in self._selector.select(_TURN_S):
                if key.data is None:
                    self._accept()
                elif key.data in self._pairs:
                    self._carry(key.data, key.fileobj is key.data.client)
            for pair in list(self._pairs):
                self._reply(pair)
        for pair in list(self._pairs):
            self._close(pair)
        self._shut()
        self._selector.close()

    def _open_or_shut(self) -> None:
        if self._refusing:
            self._shut()
            for pair in list(self._pairs):
                self._close(pair)
        elif self._listener is None:
            self._listener = self._listen(self.port)

    def _shut(self) -> None:
        if self._listener is not None:
            self._selector.unregister(self._listener)
            self._listener.close()
            self._listener = None

    def _accept(self) -> None:
        if self._listener is None:
            return
        client, _ = self._listener.accept()
        pair = _Pair(client, socket.create_connection(("127.0.0.1", self._server_port)))
        self._selector.register(pair.client, selectors.EVENT_READ, pair)
        self._selector.register(pair.server, selectors.EVENT_READ, pair)
        self._pairs.append(pair)

    def _carry(self, pair: _Pair, from_client: bool) -> None:
        try:
            data = (pair.client if from_client else pair.server).recv(_CHUNK)
            if not data:
                self._close(pair)
            elif not from_client:
                pair.replies.append((time.monotonic() + self.delay_s, data))
            elif self.flood:
                pass
            elif self.garbage:
                pair.replies.append((time.monotonic() + self.delay_s, self.garbage))
            else:
                self._forward(pair, data)
        except OSError:
            self._close(pair)

    def _forward(self, pair: _Pair, data: bytes) -> None:
        if self.cut_after is not None and pair.sent + len(data) >= self.cut_after:
            pair.server.sendall(data[:max(0, self.cut_after - pair.sent)])
            self._close(pair)
            return
        pair.server.sendall(data)
        pair.sent += len(data)

    def _reply(self, pair: _Pair) -> None:
        try:
            if self.flood:
                pair.client.sendall(self.flood)
            while pair.replies and pair.replies[0][0] <= time.monotonic():
                pair.client.sendall(pair.replies.popleft()[1])
        except OSError:
            self._close(pair)

    def _close(self, pair: _Pair) -> None:
        if pair in self._pairs:
            self._pairs.remove(pair)
            for connection in (pair.client, pair.server):
                self._selector.unregister(connection)
                connection.close()
