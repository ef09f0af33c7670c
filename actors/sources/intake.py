"""Clients of a listening socket: who may connect, whose turn it is, and the whole lines that they have sent.

    listener ──accept──▶ clients ──recv, at most 256 KiB each in turn──▶ [good lines of A][of B][of A]… one block
                            │                                            └─ what follows the last newline: A's tail
                            └─ a line that is not of the form, silence, one too many: closed at once, without comment

One thread, one epoll, nothing blocks. The block of a round is one buffer: each client's bytes are received behind the
good lines of the one before, with room for its tail in front, so that lines are looked at where they lie and copied
once. What is kept for a client is its tail, which the longest line bounds.

Nothing is received unless ``receive`` is called: TCP holds the clients back, and no memory grows. Nor is anybody let in
then, or closed for silence: bytes that wait in the kernel are no silence.

Who has gone has no seat. Whoever connects after that finds it free, also if what the other has sent is not received
yet, or if nobody has looked since: before anybody is turned away it is asked who has gone by now. A newcomer whose seat
depends on what there is no room for in this round is let in, or turned away, in the next.
"""

from __future__ import annotations

import ctypes
import errno
import os
import select
import socket
import struct
import time
from collections import deque

from actors.sources.lineform import LineForm

#: Most bytes taken from a client before it is the next one's turn.
TURN_BYTES = 256 * 1024
#: Bytes that a turn is worth taking for, when the round is nearly full.
_LEAST_BYTES = 16 * 1024
#: Most clients let in in one round.
_MOST_WELCOMED = 256
#: Seconds until the next try when no connection can be accepted for want of descriptors or memory.
_PAUSE_S = 0.5
_LEAVING = select.EPOLLRDHUP | select.EPOLLHUP | select.EPOLLERR
_NO_ROOM = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


class Client:
    """One connection. ``tail`` is what it has sent behind its last newline; ``heard`` when it last sent something."""

    __slots__ = ("connection", "has_turn", "heard", "is_leaving", "tail")

    def __init__(self, connection: socket.socket, now: float) -> None:
        self.connection = connection
        self.tail = bytearray()
        self.heard = now
        self.has_turn = True
        self.is_leaving = False  # its end is behind what it has sent


class Intake:
    """The listening socket and its clients.

    Args:
        listener: bound, listening; it is closed with the rest.
        form: what a line may be; the client that sends another is closed.
        max_clients: one more is closed at once.
        read_timeout_s: a client that sends nothing for so long is closed; 0: never.
        round_bytes: size of a block, about.
    """

    def __init__(
        self, listener: socket.socket, form: LineForm, max_clients: int, read_timeout_s: float, round_bytes: int
    ) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._form = form
        self._max_clients = max_clients
        self._timeout_s = read_timeout_s
        self._round_bytes = round_bytes
        self._buffer = bytearray(round_bytes + form.longest_tail + TURN_BYTES)
        self._view = memoryview(self._buffer)
        self._filled = 0
        self._clients: dict[int, Client] = {}
        self._turns: deque[Client] = deque()
        self._newcomer: socket.socket | None = None  # accepted, and it is not known yet whether there is a seat
        self._alarm = _Alarm()
        self._is_accepting = True
        self._now = time.monotonic()
        self._epoll = select.epoll()
        self._epoll.register(listener, select.EPOLLIN)
        self._epoll.register(self._alarm.descriptor, select.EPOLLIN)

    def fileno(self) -> int:
        """The descriptor that becomes readable when ``receive`` has something to do."""
        return self._epoll.fileno()

    def __len__(self) -> int:
        return len(self._clients)

    def receive(self) -> bytes:
        """Return the good lines that have come, about ``round_bytes`` of them; empty when there are none now."""
        self._now = time.monotonic()
        self._filled = 0
        others = self._look()
        self._serve()
        if self._alarm.descriptor in others:
            self._on_alarm()
        if self._newcomer is not None or others - {self._alarm.descriptor}:  # after those who are leaving have left
            self._welcome()
            self._serve()
        return self._block()

    def stop(self) -> bytes:
        """Let nobody in any more and close all clients. What they sent and nobody has received is not taken; return
        what was received and is whole only because nothing follows."""
        for client in list(self._clients.values()):
            self._close(client)
        self._turns.clear()
        if self._newcomer is not None:
            self._newcomer.close()
            self._newcomer = None
        self._listener.close()
        return b""

    def close(self) -> None:
        """Close everything."""
        self.stop()
        self._alarm.close()
        self._epoll.close()

    def _block(self) -> bytes:
        """What has come in this round."""
        return bytes(self._view[:self._filled])

    def _look(self) -> set[int]:
        """Give a turn to those who have sent something or are leaving; return the other descriptors that are ready."""
        others = set()
        for descriptor, events in self._epoll.poll(0, len(self._clients) + 2):
            if descriptor not in self._clients:
                others.add(descriptor)
                continue
            client = self._clients[descriptor]
            client.is_leaving = bool(events & _LEAVING)
            if not client.has_turn:
                client.has_turn = True
                self._turns.append(client)
        return others

    def _serve(self) -> None:
        """Receive from those whose turn it is, one after the other, until the round is full."""
        while self._turns and self._filled < self._round_bytes:
            client = self._turns.popleft()
            client.has_turn = self._receive(client)
            if client.has_turn:
                self._turns.append(client)

    def _receive(self, client: Client) -> bool:
        """Take one turn's bytes from a client; return whether it may have more."""
        start, tail = self._filled, client.tail
        at = start + len(tail)
        room = min(TURN_BYTES, max(self._round_bytes - start, min(self._round_bytes, _LEAST_BYTES)))
        try:
            count = client.connection.recv_into(self._view[at:at + room])
        except BlockingIOError:
            return False
        except OSError:  # reset, timed out: it is gone
            count = 0
        if not count:
            self._close(client)
            return False
        client.heard = self._now
        end = self._buffer.rfind(b"\n", at, at + count) + 1
        is_good = True
        if end:
            self._view[start:at] = tail
            tail[:] = self._view[end:at + count]
            self._filled, is_good = self._form.sift(self._buffer, start, end)
        else:
            tail += self._view[at:at + count]
        if not is_good or len(tail) > self._form.longest_tail:
            self._close(client)
            return False
        return count == room or client.is_leaving

    def _welcome(self) -> None:
        for _ in range(_MOST_WELCOMED):
            try:
                connection = self._newcomer or self._listener.accept()[0]
            except OSError as error:
                if error.errno in _NO_ROOM:
                    self._pause()
                return  # nobody (any more); the next round knows
            self._newcomer = None
            if len(self._clients) >= self._max_clients:
                self._look()
                self._serve()
            if len(self._clients) < self._max_clients:
                self._let_in(connection)
            elif any(client.is_leaving for client in self._clients.values()):
                self._newcomer = connection
                return
            else:
                connection.close()

    def _let_in(self, connection: socket.socket) -> None:
        connection.setblocking(False)
        client = self._clients[connection.fileno()] = Client(connection, self._now)
        self._epoll.register(connection, select.EPOLLIN | select.EPOLLRDHUP)
        self._turns.append(client)
        if self._timeout_s:
            self._alarm.ring_by(self._now + self._timeout_s)

    def _close(self, client: Client) -> None:
        del self._clients[client.connection.fileno()]
        client.connection.close()

    def _pause(self) -> None:
        """Accept nobody for a moment: who waits to be let in would wake us up again and again."""
        self._epoll.unregister(self._listener)
        self._is_accepting = False
        self._alarm.ring_by(self._now + _PAUSE_S)

    def _on_alarm(self) -> None:
        """Go on accepting; close who is silent; know when to look again."""
        self._alarm.silence()
        if not self._is_accepting:
            self._epoll.register(self._listener, select.EPOLLIN)
            self._is_accepting = True
        if not self._timeout_s:
            return
        for client in list(self._clients.values()):
            if client.has_turn:
                client.heard = self._now  # it waits for us, not we for it
            elif client.heard + self._timeout_s <= self._now:
                self._close(client)
        if self._clients:
            self._alarm.ring_by(min(client.heard for client in self._clients.values()) + self._timeout_s)


class _Alarm:
    """A descriptor that becomes readable at a time: who sleeps on an epoll need not know when to wake up."""

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self.descriptor: int = self._libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        self._at = 0.0

    def ring_by(self, when: float) -> None:
        """Ring at this time (``time.monotonic``), or earlier if that was asked for."""
        if self._at and self._at <= when:
            return
        self._at = when
        seconds, rest = divmod(when, 1.0)
        spec = struct.pack("@llll", 0, 0, int(seconds), int(rest * 1e9) + 1)  # no interval; at; never 0, which is off
        self._libc.timerfd_settime(self.descriptor, 1, spec, None)  # 1: the time is absolute

    def silence(self) -> None:
        """It was heard."""
        self._at = 0.0
        os.read(self.descriptor, 8)

    def close(self) -> None:
        """Give the descriptor back, once: its number may be another's by now."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1
