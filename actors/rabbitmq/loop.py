"""The loop that the client's connections run on when their owner must never wait: a turn takes what is there.

    owner ──turn──▶ callbacks ──▶ timers that are due ──▶ sockets that are ready ──▶ owner
      ▲ waits for ``fileno`` and everything else it has, until ``next_at``

The client's own loop waits in its poll, and its descriptor is not to be had. This one offers what the client asks of a
loop (``add_handler``, ``call_later``, ``add_callback`` and so on), and its descriptor, which is readable when a turn
would find something.
"""

from __future__ import annotations

import heapq
import os
import select
import time
from collections import deque
from collections.abc import Callable
from itertools import count

Handler = Callable[[int, int], None]
#: What a socket that has failed is: whoever waits for any of it finds out.
_FAILED = select.EPOLLERR | select.EPOLLHUP


class Timer:
    """Something to be called at a time, unless it is called off.

    Args:
        at: monotonic seconds.
        callback: what is called.
    """

    __slots__ = ("at", "callback")

    def __init__(self, at: float, callback: Callable[[], object]) -> None:
        self.at = at
        self.callback: Callable[[], object] | None = callback


class Loop:
    """See above. Only ``add_callback`` may be called from another thread (the client resolves names in one)."""

    READ: int = select.EPOLLIN
    WRITE: int = select.EPOLLOUT
    ERROR: int = select.EPOLLERR

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._bell = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._bell, select.EPOLLIN)
        self._handlers: dict[int, tuple[Handler, int]] = {}
        self._timers: list[tuple[float, int, Timer]] = []
        self._order = count()
        self._callbacks: deque[Callable[[], object]] = deque()

    def fileno(self) -> int:
        """A descriptor that is readable when ``turn`` would find something."""
        return self._epoll.fileno()

    def next_at(self) -> float | None:
        """When the next timer is due; None: there is none."""
        while self._timers and self._timers[0][2].callback is None:
            heapq.heappop(self._timers)
        return self._timers[0][0] if self._timers else None

    def turn(self, wait_s: float = 0.0, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Do what is due and take what is there, until there is no more, or this is true.

        Args:
            wait_s: so long nothing may be there before the turn ends.
            is_enough: asked before each look.
        """
        self._call_back()
        while not is_enough():
            found = self._epoll.poll(wait_s, 64)
            for descriptor, events in found:
                self._handle(descriptor, events)
            self._call_back()
            if not found:
                return
            wait_s = 0.0

    def _handle(self, descriptor: int, events: int) -> None:
        if descriptor == self._bell:
            os.eventfd_read(self._bell)
        elif descriptor in self._handlers:
            handler, wanted = self._handlers[descriptor]
            handler(descriptor, wanted if events & _FAILED else events & wanted)

    def _call_back(self) -> None:
        for _ in range(len(self._callbacks)):
            self._callbacks.popleft()()
        now = time.monotonic()
        while (at := self.next_at()) is not None and at <= now:
            callback = heapq.heappop(self._timers)[2].callback
            assert callback is not None
            callback()

    # What the client calls -------------------------------------------------------------------------------------------

    def call_later(self, delay: float, callback: Callable[[], object]) -> Timer:
        """Call this after so many seconds."""
        timer = Timer(time.monotonic() + delay, callback)
        heapq.heappush(self._timers, (timer.at, next(self._order), timer))
        return timer

    def remove_timeout(self, timeout_handle: Timer) -> None:
        """Call that off."""
        timeout_handle.callback = None

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Call this in the next turn."""
        self._callbacks.append(callback)
        os.eventfd_write(self._bell, 1)

    def add_handler(self, fd: int, handler: Handler, events: int) -> None:
        """Watch a descriptor."""
        self._handlers[fd] = handler, events
        self._epoll.register(fd, events)

    def update_handler(self, fd: int, events: int) -> None:
        """Watch it for these events."""
        self._handlers[fd] = self._handlers[fd][0], events
        self._epoll.modify(fd, events)

    def remove_handler(self, fd: int) -> None:
        """Watch it no more."""
        if self._handlers.pop(fd, None) is not None:
            self._epoll.unregister(fd)

    def start(self) -> None:
        """The client never has to: its owner turns."""
        raise NotImplementedError("this loop is turned")

    def stop(self) -> None:
        """As ``start``."""
        raise NotImplementedError("this loop is turned")

    def close(self) -> None:
        """Give the descriptors back."""
        if not self._epoll.closed:
            self._epoll.close()
            os.close(self._bell)
