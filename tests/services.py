"""A service manager's end of the line: a real socket that notes what comes in, and when."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple, Self

from tests.loads import WATCHDOG_S


class Notice(NamedTuple):
    """One message: when it came (monotonic), and its lines."""

    at: float
    fields: dict[str, str]


class ServiceManager:
    """Listens where ``NOTIFY_SOCKET`` says; a context manager.

    Args:
        address: a path, or a name in the abstract namespace that begins with ``@``.
    """

    def __init__(self, address: str | Path) -> None:
        self.address = str(address)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + self.address[1:] if self.address.startswith("@") else self.address)
        self._come = threading.Condition()
        self._notices: list[Notice] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._socket.shutdown(socket.SHUT_RD)
        self._thread.join(WATCHDOG_S)
        self._socket.close()

    @property
    def notices(self) -> list[Notice]:
        """All so far."""
        with self._come:
            return list(self._notices)

    def of(self, key: str) -> list[Notice]:
        """All so far that have this key."""
        return [notice for notice in self.notices if key in notice.fields]

    def until(self, condition: Callable[[list[Notice]], bool], what: str) -> list[Notice]:
        """Wait until the messages so far are such; fail under a watchdog."""
        with self._come:
            assert self._come.wait_for(lambda: condition(self._notices), WATCHDOG_S), f"no {what}: {self._notices}"
            return list(self._notices)

    def comes(self, key: str, more_than: int, within_s: float) -> bool:
        """Whether more than so many messages with this key have come by then."""
        with self._come:
            return self._come.wait_for(
                lambda: sum(key in notice.fields for notice in self._notices) > more_than, within_s)

    def _listen(self) -> None:
        while data := self._socket.recv(65536):
            fields = dict(line.split("=", 1) for line in data.decode().splitlines())
            with self._come:
                self._notices.append(Notice(time.monotonic(), fields))
                self._come.notify_all()
