"""Clients of a listening socket whose records are no lines: what they have sent, as a block for the journal.

    clients ──▶ what A has sent, from a border on ──▶ scanner of A ──▶ whole records ─┐
                what B has sent …                 ──▶ scanner of B ──▶ whole records ─┴▶ one block, each with its length

Each connection is a content of its own: it begins with the bracket of an array, or with a header that is skipped. A
fault of the framing is what a bad line is elsewhere: that client is closed at once, what it sent before counts. What a
connection ends in the middle of is no record; of ``multiline`` the lines that are whole are one, at the end as well as
when nothing comes for ``idle_timeout_s``.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

from actors.sources.framings.journalled import packed
from actors.sources.framings.scanner import End, Scanner
from actors.sources.intake import TURN_BYTES, Client, Intake
from actors.sources.lineform import LineForm


class RecordIntake(Intake):
    """The listening socket and its clients.

    Args:
        listener: bound, listening; it is closed with the rest.
        scanner: makes one of the framing.
        max_clients: one more is closed at once.
        read_timeout_s: a client that sends nothing for so long is closed; 0: never.
        round_bytes: size of a block, about.
        idle_timeout_s: a record that may go on is whole when nothing has come for so long.
    """

    def __init__(
        self, listener: socket.socket, scanner: Callable[[], Scanner], max_clients: int, read_timeout_s: float,
        round_bytes: int, idle_timeout_s: float,
    ) -> None:
        super().__init__(listener, LineForm("", "lf", 1), max_clients, read_timeout_s, round_bytes)
        self._make = scanner
        self._scanners: dict[Client, Scanner] = {}
        self._idle_timeout_s = idle_timeout_s
        self._values: list[bytes] = []

    def stop(self) -> bytes:
        """As of lines; what is whole because nothing follows is returned."""
        super().stop()
        return self._block()

    def _block(self) -> bytes:
        values, self._values = self._values, []
        return packed(values)

    def _receive(self, client: Client) -> bool:
        try:
            data = client.connection.recv(TURN_BYTES)
        except BlockingIOError:
            return False
        except OSError:  # reset, timed out: it is gone
            data = b""
        client.heard = self._now
        client.tail += data
        if data and not self._take(client, End.MORE):
            del self._scanners[client]  # nothing more is taken of what it has sent
            data = b""
        if not data:
            self._close(client)
            return False
        if client.tail and self._scanners[client].ends_when_idle:
            self._alarm.ring_by(self._now + self._idle_timeout_s)
        return len(data) == TURN_BYTES or client.is_leaving

    def _take(self, client: Client, end: End) -> bool:
        """Take the records of a client that are whole; return False when what follows is none."""
        tail = client.tail
        if client not in self._scanners:
            self._scanners[client] = self._make()
            self._scanners[client].begin(True)
        scanner = self._scanners[client]
        while True:
            if scanner.looked:
                item = scanner.look(tail, scanner.looked, len(tail), end)
                if item is None or item.reason:
                    return item is None and not scanner.is_long and not scanner.is_broken
                if item.at >= 0:
                    self._add(scanner.value(bytes(tail[item.begin:item.stop])))
                del tail[:item.size]
                scanner.begin(False)
            run = scanner.run(tail, 0, len(tail), end, 0, 0)
            for record in run.records:
                self._add(record.value or b"")
            del tail[:run.size]
            if run.fault is not None:
                return False
            if not scanner.looked:
                return True

    def _add(self, value: bytes) -> None:
        self._values.append(value)
        self._filled += len(value)

    def _close(self, client: Client) -> None:
        if client in self._scanners:
            self._take(client, End.IDLE)
            del self._scanners[client]
        super()._close(client)

    def _on_alarm(self) -> None:
        super()._on_alarm()
        for client, scanner in list(self._scanners.items()):
            if client.tail and scanner.ends_when_idle:
                silent_at = client.heard + self._idle_timeout_s
                if silent_at <= self._now:
                    self._take(client, End.IDLE)
                else:
                    self._alarm.ring_by(silent_at)
