"""Event streams: what each client is still to be sent. A client that does not read costs nothing.

    look ──show──▶ [ newest status ]  ◀── one place: a newer one replaces it
    news ──tell──▶ [ happenings … ]   ◀── the last few; a client that missed some asks by ``Last-Event-ID``

Nothing is queued behind a client that is slow: when it can take more, it is given what is newest then. Messages are
the same bytes for all. Who writes to a client notices only then that it has gone: whoever counts the streams asks.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from actors.telemetry.looks import Look

#: Happenings that are remembered for clients that come again, and for one that is slow.
REMEMBERED = 200
#: Most digits of the number of a happening.
_DIGITS = 18
#: Seconds between two comments that keep the connection alive where nothing else is sent.
BEAT_S = 15.0
#: After so many ms a page that has lost us tries again.
HEAD = b"retry: 2000\n\n"
BEAT, _END = b": still here\n\n", b"event: end\ndata: {}\n\n"


class Stream:
    """One client's.

    Args:
        is_gone: whether the client has hung up.
    """

    def __init__(self, is_gone: Callable[[], bool]) -> None:
        self.is_gone = is_gone
        self._status = b""
        self._told: deque[bytes] = deque(maxlen=REMEMBERED)
        self._wake = asyncio.Event()
        self.has_ended = False

    def show(self, status: bytes) -> None:
        """Send this status instead of any that is still to be sent."""
        self._status = status
        self._wake.set()

    def tell(self, message: bytes) -> None:
        """Send this as well."""
        self._told.append(message)
        self._wake.set()

    def end(self) -> None:
        """Send what there is, and no more."""
        self.tell(_END)
        self.has_ended = True

    @property
    def is_over(self) -> bool:
        """Whether all is sent, and no more will come."""
        return self.has_ended and not self._told

    async def next(self) -> bytes:
        """Wait until there is something to send; return it."""
        await self._wake.wait()
        self._wake.clear()
        status, self._status = self._status, b""
        if not self._told:
            return status
        told = b"".join(self._told)
        self._told.clear()
        return told + status


def here(streams: Collection[Stream]) -> int:
    """How many of these have a client. The others are ended: what is sent to nobody waits for nothing."""
    gone = [stream for stream in streams if stream.is_gone()]
    for stream in gone:
        stream.end()
    return sum(not stream.has_ended for stream in streams)


class Streams:
    """All open streams."""

    def __init__(self) -> None:
        self._open: set[Stream] = set()
        self._remembered: deque[tuple[int, bytes]] = deque(maxlen=REMEMBERED)
        self._last: Look | None = None

    def here(self) -> int:
        """How many of them have a client."""
        return here(self._open)

    @property
    def are_open(self) -> bool:
        """Whether anybody is still written to."""
        return bool(self._open)

    @contextmanager
    def open(self, last_id: str, is_gone: Callable[[], bool] = lambda: False) -> Iterator[Stream]:
        """A stream for a client that has seen what has happened up to this number; empty: it needs the status only."""
        stream = Stream(is_gone)
        if last_id.isdecimal() and len(last_id) <= _DIGITS:
            for number, message in self._remembered:
                if number > int(last_id):
                    stream.tell(message)
        if self._last is not None:
            stream.show(self._last.message)
        self._open.add(stream)
        try:
            yield stream
        finally:
            self._open.discard(stream)

    def take(self, look: Look) -> None:
        """Send a look to everybody."""
        self._last = look
        self._remembered.extend(look.told)
        for stream in self._open:
            stream.show(look.message)
            for _, message in look.told:
                stream.tell(message)

    async def beat(self) -> None:
        """Send a sign of life to everybody now and then, until cancelled."""
        while True:
            await asyncio.sleep(BEAT_S)
            for stream in self._open:
                stream.tell(BEAT)

    def end(self) -> None:
        """Tell everybody that this is the end."""
        for stream in self._open:
            stream.end()
