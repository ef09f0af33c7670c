#!/usr/bin/env python3
"""Clients of a monitor, many at once, for ``benchmarks/monitor.py``; and a server that answers them at no cost.

    python -P benchmarks/scrapers.py URL_FILE --scrapes 200 --streams 50    # -P: beside it lies a numbers.py
    python -P benchmarks/scrapers.py URL_FILE --serve 20000                 # answers with so many bytes

The token of the monitor lies beside that file.

The clients wait until there is a file with the server's address, go on until they are told to stop (SIGTERM), and
print what they have seen, as JSON. They run when a processor is idle, and look at as little as they can of what they
get: every answer at its status and length; a few are kept, to be parsed after the end.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import time
from pathlib import Path
from urllib.parse import urlsplit

from prometheus_client.parser import text_string_to_metric_families

KEPT = 20


class Seen:
    """What all clients together have seen."""

    def __init__(self) -> None:
        self.scrapes = self.bad = self.messages = self.scraped_bytes = 0
        self.scrape_s: list[float] = []
        self.probe_s: list[float] = []
        self.kept: list[bytes] = []

    def fields(self, seconds: float) -> dict[str, float]:
        """As figures; parses what was kept."""
        for body in self.kept:
            self.bad += not list(text_string_to_metric_families(body.decode()))
        times = os.times()
        return {"seconds": seconds, "scrapes": self.scrapes, "bad": self.bad, "messages": self.messages,
                "scrape_bytes": self.scraped_bytes / max(1, self.scrapes), "cpu_s": times.user + times.system,
                **_percentiles("scrape", self.scrape_s), **_percentiles("probe", self.probe_s)}


class Scraper(asyncio.Protocol):
    """Asks for the metrics again and again, over one connection.

    Args:
        seen: what is counted.
        every_s: seconds between two questions; 0: the next one follows the answer.
        headers: what is said besides, each with its end.
    """

    def __init__(self, seen: Seen, every_s: float, headers: bytes) -> None:
        self._seen = seen
        self._headers = headers
        self._every_s = every_s
        self._parts: list[bytes] = []
        self._missing = -1

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._ask()

    def data_received(self, data: bytes) -> None:
        """Count an answer when all of it is there, and ask again."""
        self._parts.append(data)
        if self._missing < 0:
            head, end, body = b"".join(self._parts).partition(b"\r\n\r\n")
            if not end:
                return
            length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self._size = int(length.partition(b":")[2])
            self._missing, self._is_good = self._size - len(body), head.startswith(b"HTTP/1.1 200")
        else:
            self._missing -= len(data)
        if self._missing <= 0:
            self._answered()

    def _answered(self) -> None:
        seen = self._seen
        seen.scrapes += 1
        seen.bad += not self._is_good or self._missing < 0
        seen.scraped_bytes += self._size
        seen.scrape_s.append(time.perf_counter() - self._asked)
        if seen.scrapes % 50 == 1 and len(seen.kept) < KEPT:
            seen.kept.append(b"".join(self._parts).partition(b"\r\n\r\n")[2])
        if self._every_s:
            asyncio.get_running_loop().call_at(
                max(self._next, asyncio.get_running_loop().time()), self._ask)
        else:
            self._ask()

    def _ask(self) -> None:
        self._parts, self._missing, self._asked = [], -1, time.perf_counter()
        self._next = asyncio.get_running_loop().time() + self._every_s
        self._transport.write(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % self._headers)


class Listener(asyncio.Protocol):
    """Reads an event stream, or asks for one and never reads."""

    def __init__(self, seen: Seen, is_stalled: bool, headers: bytes) -> None:
        self._seen = seen
        self._headers = headers
        self._is_stalled = is_stalled

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        assert isinstance(transport, asyncio.Transport)
        transport.write(b"GET /api/events HTTP/1.1\r\nHost: localhost\r\n%s\r\n" % self._headers)
        if self._is_stalled:
            transport.pause_reading()

    def data_received(self, data: bytes) -> None:
        """Count the messages."""
        self._seen.messages += data.count(b"event: status")


class Trivial(asyncio.Protocol):
    """Answers every question with the same bytes, and an event stream with some of them each second."""

    def __init__(self, body: bytes) -> None:
        self._answer = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
        self._message = b"event: status\ndata: %s\n\n" % body.replace(b"\n", b" ")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer."""
        if b"/api/events" in data:
            self._transport.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
            self._send()
        else:
            self._transport.write(self._answer)

    def _send(self) -> None:
        if self._transport.is_closing():
            return
        if not self._transport.get_write_buffer_size():
            self._transport.write(self._message)
        asyncio.get_running_loop().call_later(1.0, self._send)


def main() -> None:
    """Be what the command line says, until SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url_file", type=Path)
    parser.add_argument("--scrapes", type=int, default=0, help="connections that ask for /metrics")
    parser.add_argument("--rate", type=float, default=0.0, help="scrapes per second in all; default: closed loops")
    parser.add_argument("--streams", type=int, default=0)
    parser.add_argument("--stalled", type=int, default=0)
    parser.add_argument("--serve", type=int, default=0, metavar="BYTES")
    options = parser.parse_args()
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    asyncio.run(_serve(options) if options.serve else _ask(options))


async def _ask(options: argparse.Namespace) -> None:
    seen, loop, stop = Seen(), asyncio.get_running_loop(), asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    while not options.url_file.exists():
        await asyncio.sleep(0.01)
    url = urlsplit(options.url_file.read_text())
    began = time.perf_counter()
    probing = asyncio.create_task(_probe(seen, url.hostname, url.port))
    try:
        await _connect(seen, options, url.hostname or "", url.port or 0)
    except OSError:
        seen.bad += 1
    connected = time.perf_counter()
    await stop.wait()
    probing.cancel()
    fields = seen.fields(time.perf_counter() - began)
    print(json.dumps({**fields, "connect_s": connected - began}), flush=True)


async def _connect(seen: Seen, options: argparse.Namespace, host: str, port: int) -> None:
    loop = asyncio.get_running_loop()
    every_s = options.scrapes / options.rate if options.rate else 0.0
    token = options.url_file.with_name("monitor.token")
    headers = b"Authorization: Bearer %s\r\n" % token.read_bytes() if token.exists() else b""
    for _ in range(options.stalled):
        connection = socket.socket()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.connect((host, port))
        connection.setblocking(False)
        await loop.create_connection(lambda: Listener(seen, True, headers), sock=connection)
    for _ in range(options.streams):
        await loop.create_connection(lambda: Listener(seen, False, headers), host, port)
    for _ in range(options.scrapes):
        await loop.create_connection(lambda: Scraper(seen, every_s, headers), host, port)


async def _probe(seen: Seen, host: str | None, port: int | None) -> None:
    """Ask whether the run is live, once a second, over a new connection each time."""
    while True:
        await asyncio.sleep(1.0)
        began = time.perf_counter()
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(b"GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            await reader.read()
            seen.probe_s.append(time.perf_counter() - began)
            writer.close()


async def _serve(options: argparse.Namespace) -> None:
    body = b"# HELP x It is there.\n# TYPE x gauge\n" + b"x 1\n" * (options.serve // 4)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    server = await asyncio.get_running_loop().create_server(lambda: Trivial(body), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    options.url_file.with_suffix(".part").write_text(f"http://127.0.0.1:{port}/")
    options.url_file.with_suffix(".part").rename(options.url_file)
    await stop.wait()
    times = os.times()
    print(json.dumps({"cpu_s": times.user + times.system}), flush=True)
    sys.stdout.flush()
    os._exit(0)


def _percentiles(name: str, seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {f"{name}_p{part}_s": ordered[min(len(ordered) - 1, len(ordered) * part // 100)] if ordered else 0.0
            for part in (50, 99)}


if __name__ == "__main__":
    main()
