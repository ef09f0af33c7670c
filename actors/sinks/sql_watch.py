"""Hangs up on a server that gives no answer: its own time-outs are of no use when it is the server that hangs."""

from __future__ import annotations

import contextlib
import os
import socket
import threading
from typing import Any


class Watch:
    """Hangs up on a server that gives no answer.

    Args:
        seconds: how long an answer may take.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: threading.Timer | None = None
        self._socket: socket.socket | None = None
        self.has_hung_up = False

    def expect(self, connection: Any) -> None:
        """An answer on this connection is expected from now on."""
        self.end()
        self.has_hung_up = False
        self._socket = socket.socket(fileno=os.dup(connection.fileno()))
        self._timer = threading.Timer(self._seconds, self._hang_up, [self._socket])
        self._timer.daemon = True
        self._timer.start()

    def end(self) -> None:
        """The answer is there."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def _hang_up(self, held: socket.socket) -> None:
        self.has_hung_up = True  # before it is: the other thread looks at once
        with contextlib.suppress(OSError):  # the answer came at the last moment
            held.shutdown(socket.SHUT_RDWR)
