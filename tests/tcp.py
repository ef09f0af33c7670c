"""A tcp source with its ledger, read as its reader reads it; clients that talk to it. For tests."""

from __future__ import annotations

import select
import shutil
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.ledger import Ledger
from actors.runtime.values import Chunk
from actors.sources.tcp import ADDRESS, Tcp, TcpSource

#: Seconds that nothing here takes.
WATCHDOG_S = 240.0
NINE: dict[str, Any] = {"line": "[0-9]{9}|terminate", "max_line_bytes": 10}


def address_of(state: Path) -> tuple[str, int]:
    """Where the source listens whose journal is in this directory."""
    host, _, port = (state / "journal" / ADDRESS).read_text().strip().rpartition(":")
    return host.strip("[]"), int(port)


class Reading:
    """An opened source, and what it has handed out.

    Attributes:
        chunks: all of it, in order.
    """

    def __init__(self, state: Path, batch_bytes: int = 64 * 1024, run: str = "run", **options: Any) -> None:
        self.state = state
        self.chunks: list[Chunk] = []
        self.ledger = Ledger(state / "positions.db", run)
        try:
            options = {"port": 0, **options}
            self.source: TcpSource = msgspec.convert(options, Tcp).open(self.ledger, batch_bytes, state)
        except BaseException:
            self.ledger.close_file()
            raise
        self._poll = select.poll()
        assert self.source.wake is not None
        self._poll.register(self.source.wake, select.POLLIN)

    @property
    def data(self) -> bytes:
        """All that was handed out."""
        return b"".join(chunk.data for chunk in self.chunks)

    @property
    def segments(self) -> list[Path]:
        """The files of the journal."""
        return sorted((self.state / "journal").glob("*.log"))

    def read(self) -> Chunk | None:
        """Read once, and record what was read."""
        chunk = self.source.read()
        if chunk is not None:
            self.chunks.append(chunk)
            self.ledger.issue(chunk)
            self.ledger.flush()
        return chunk

    def read_all(self) -> None:
        """Read until there is nothing now."""
        while self.read() is not None:
            pass

    def until(self, is_so: Callable[[], bool]) -> None:
        """Read, whenever the source wakes its reader, until something is so."""
        end = time.monotonic() + WATCHDOG_S
        while not is_so():
            left = end - time.monotonic()
            assert left > 0, f"not within {WATCHDOG_S} s; {len(self.data)} bytes were handed out"
            if self.read() is None and not is_so():
                self._poll.poll(min(left, 0.05) * 1000)

    def until_data(self, size: int) -> bytes:
        """Read until so many bytes were handed out, and return all."""
        self.until(lambda: len(self.data) >= size)
        return self.data

    def until_closed(self, client: socket.socket) -> None:
        """Read until the other end of this connection is closed."""
        self.until(lambda: is_closed(client))

    def connect(self) -> socket.socket:
        """A new client, which the source has let in or turned away."""
        client = socket.create_connection(address_of(self.state), timeout=WATCHDOG_S)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.until_quiet()
        return client

    def until_quiet(self) -> None:
        """Read until the source has nothing to do."""
        while self._poll.poll(0):
            self.read()

    def commit(self, *chunks: Chunk) -> None:
        """These were acknowledged; units that are finished are put away."""
        for chunk in chunks:
            self.ledger.close(chunk, {"read": chunk.data.count(b"\n")})
        self.ledger.commit()
        for unit in self.ledger.taken_up():
            if unit.end is not None and unit.low >= unit.end:
                self.ledger.settle(unit, "loaded")
                self.source.finished(unit)
                self.ledger.settle(unit, "done")

    def as_after_a_kill(self, state: Path, **options: Any) -> Reading:
        """The next generation, on what the disk has now; this one lives on and writes elsewhere."""
        shutil.copytree(self.state, state)
        return Reading(state, **options)

    def close(self) -> None:
        """Close the source and its ledger."""
        self.source.close()
        self.ledger.close_file()


@contextmanager
def reading(state: Path, batch_bytes: int = 64 * 1024, run: str = "run", **options: Any) -> Iterator[Reading]:
    """A source that is closed in the end."""
    opened = Reading(state, batch_bytes, run, **options)
    try:
        yield opened
    finally:
        opened.close()


def is_closed(client: socket.socket) -> bool:
    """Whether the other end of this connection is closed."""
    if not select.select([client], [], [], 0)[0]:
        return False
    try:
        return client.recv(1) == b""
    except OSError:
        return True
