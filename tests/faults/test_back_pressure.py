"""A slow sink holds the clients back by TCP, and the memory of the run stays what it is."""

from __future__ import annotations

import socket
import time
from pathlib import Path

from tests.loads import WATCHDOG_S, Running, living

LINE = b"x" * 99 + b"\n"
#: What the kernel keeps for one connection at most, on both sides, is far below this; the window is 1 MiB.
MOST_ACCEPTED = 32 * 1024 * 1024


def resident_bytes(running: Running) -> int:
    """The memory of all actors."""
    total = 0
    for view in running.views().values():
        if view.pid and living([view.pid]):
            total += 4096 * int(Path(f"/proc/{view.pid}/statm").read_text().split()[1])
    return total


def test_a_slow_sink_holds_the_clients_back_and_memory_stays_flat(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Running(state, "run", "tests.pipelines.dripping", "--format", "json") as running:
        address = state / "journal" / "tcp.address"
        running.until(lambda views: address.exists(), "an address")
        host, _, port = address.read_text().strip().rpartition(":")
        sent = 0
        with socket.create_connection((host, int(port)), timeout=1.0) as client:
            deadline = time.monotonic() + WATCHDOG_S
            held_back = 0
            memory: list[int] = []
            while held_back < 3:  # three times in a row nothing at all could be sent for a second
                assert time.monotonic() < deadline
                assert sent < MOST_ACCEPTED, "nobody holds the client back"
                try:
                    sent += client.send(LINE * 1000)
                    held_back = 0
                except TimeoutError:
                    held_back += 1
                    memory.append(resident_bytes(running))
        journal = sum(path.stat().st_size for path in (state / "journal").glob("0*"))
        assert 0 < journal < 4 * 1024 * 1024  # the window, and what it takes to notice that it is full
        assert max(memory) - min(memory) < 8 * 1024 * 1024
        running.process.kill()
