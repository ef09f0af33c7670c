"""Signals for the supervisor: they are noted, and wake its loop; handlers do nothing."""

from __future__ import annotations

import contextlib
import signal
import socket
from collections.abc import Iterator
from typing import Self

#: What the supervisor listens to.
SIGNALS = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


class Noted:
    """From its making until it is closed those signals are noted. For the main thread of a process."""

    def __init__(self) -> None:
        self._writer, self._reader = socket.socketpair()
        self._writer.setblocking(False)
        self._reader.setblocking(False)
        self._wakeup_before = signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)
        self._handlers_before = {number: signal.signal(number, _noted) for number in SIGNALS}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        signal.set_wakeup_fd(self._wakeup_before)
        self._writer.close()
        self._reader.close()
        for number, handler in self._handlers_before.items():
            signal.signal(number, handler)

    def fileno(self) -> int:
        """Readable when there is one."""
        return self._reader.fileno()

    def take(self) -> list[signal.Signals]:
        """Return those that have come, in order."""
        return [signal.Signals(number) for number in self._reader.recv(64) if number in SIGNALS]


@contextlib.contextmanager
def held_back() -> Iterator[None]:
    """Let none of those signals be delivered meanwhile."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _noted(number: int, frame: object) -> None:
    """Python wants a handler; the wakeup descriptor does the work."""
