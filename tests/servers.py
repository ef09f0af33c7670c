"""Real servers for tests and benchmarks, started and stopped by whoever needs them."""

from __future__ import annotations

import itertools
import os
import shutil
import signal
import socket
import subprocess
import time
from contextlib import closing

import pytest
from pymemcache.client.base import Client

START_S = 10.0
#: Ports from here on, so many for each of so many test processes.
_FIRST_PORT, _PORTS, _PROCESSES = 20000, 700, 16
_given = itertools.count(os.getpid() % _PORTS)


def require_memcached() -> str:
    """The path of memcached; without it a test is skipped on a laptop and fails in CI."""
    path = shutil.which("memcached") or shutil.which("memcached", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if path is None:
        message = "memcached is not installed (apt-get install memcached)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def free_port() -> int:
    """A port that nobody listens on now, and that no other test process is given: a server that a test stops and starts
    again finds its port free. Below the range from which the kernel gives ports to whoever asks for any."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    for _ in range(_PORTS):
        port = _FIRST_PORT + worker % _PROCESSES * _PORTS + next(_given) % _PORTS
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise AssertionError("no port is free")


class Memcached:
    """A memcached on 127.0.0.1; a context manager.

    Args:
        port: where it listens; 0 for any free port.
        megabytes: how much it may hold.
        arguments: more of its options.
    """

    def __init__(self, port: int = 0, megabytes: int = 256, arguments: tuple[str, ...] = ()) -> None:
        self._path = require_memcached()
        self._megabytes = megabytes
        self._arguments = arguments
        self._process: subprocess.Popen[bytes] | None = None
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"

    def __enter__(self) -> Memcached:
        self.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start, and wait until it answers."""
        user = ["-u", "nobody"] if os.getuid() == 0 else []
        self._process = subprocess.Popen(
            [self._path, *user, "-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", str(self._megabytes),
             *self._arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + START_S
        while time.monotonic() < deadline:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return
            except OSError:
                assert self._process.poll() is None, f"memcached ended with {self._process.returncode}"
                time.sleep(0.005)
        raise AssertionError(f"memcached does not answer on port {self.port}")

    def stop(self) -> None:
        """End it, whatever state it is in; what it held is gone."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def pause(self) -> None:
        """Make it deaf: connections stay open and nothing is answered."""
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let it go on."""
        self._signal(signal.SIGCONT)

    def items(self) -> int:
        """How many items it holds."""
        with closing(Client(self.address, timeout=10)) as client:
            return int(client.stats()[b"curr_items"])

    def get_many(self, keys: list[bytes]) -> dict[bytes, bytes]:
        """The values of these keys."""
        found: dict[bytes, bytes] = {}
        with closing(Client(self.address, timeout=10)) as client:
            for start in range(0, len(keys), 1000):
                found |= client.get_many(keys[start:start + 1000])
        return found

    def flush(self) -> None:
        """Forget everything."""
        with closing(Client(self.address, timeout=10)) as client:
            client.flush_all(noreply=False)

    def _signal(self, number: int) -> None:
        assert self._process is not None
        self._process.send_signal(number)
