#!/usr/bin/env python3
"""Send random nine-digit numbers, one a line, to a TCP server as fast as it takes them.

    scripts/send_numbers.py 127.0.0.1:4000 --count 20000000 --file sent.txt --terminate
"""

from __future__ import annotations

import argparse
import contextlib
import random
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

#: Numbers in a block: what is made, and given to a connection, at a time.
BLOCK = 20_000
#: Numbers that are made before the clock starts, at most; making more takes as long as sending them.
READY_MADE = 5_000_000
#: Seconds that a server is waited for which does not answer.
PATIENCE_S = 30.0
DIGITS = 9
#: Random bytes become digits, all equally likely: ten digits for 250 of the bytes, the others are left out.
_DIGIT = bytes(ord("0") + byte % 10 for byte in range(256))
_LEFT_OUT = bytes(range(250, 256))


def lines(rng: random.Random, count: int) -> bytes:
    """Return ``count`` lines of nine random digits."""
    digits = b""
    while len(digits) < DIGITS * count:
        digits += rng.randbytes(DIGITS * count + DIGITS * count // 32 + 64).translate(_DIGIT, _LEFT_OUT)
    block = bytearray(b"\n") * ((DIGITS + 1) * count)
    for column in range(DIGITS):
        block[column::DIGITS + 1] = digits[column:DIGITS * count:DIGITS]
    return bytes(block)


def supply(rng: random.Random, count: int | None) -> Iterator[bytes]:
    """Return blocks of lines, ``count`` lines in all, or without end; the first of them are ready-made."""
    ready = [lines(rng, BLOCK) for _ in range(min(READY_MADE, READY_MADE if count is None else count) // BLOCK)]

    def blocks() -> Iterator[bytes]:
        yield from ready
        left = None if count is None else count - BLOCK * len(ready)
        while left is None or left > 0:
            size = BLOCK if left is None else min(BLOCK, left)
            yield lines(rng, size)
            left = None if left is None else left - size

    return blocks()


def send(clients: list[socket.socket], blocks: Iterator[bytes], until: float | None, file: BinaryIO | None) -> int:
    """Send blocks over all connections until there are no more, or it is time; return how many bytes went out.

    Raises:
        OSError: the server has closed a connection.
    """
    sent = 0
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.setblocking(False)
            selector.register(client, selectors.EVENT_WRITE, memoryview(b""))
        while selector.get_map():
            for key, _ in selector.select():
                assert isinstance(key.fileobj, socket.socket)
                rest: memoryview = key.data
                if not rest:
                    is_over = until is not None and time.monotonic() >= until
                    rest = memoryview(b"" if is_over else next(blocks, b""))
                    if not rest:
                        selector.unregister(key.fileobj)
                        key.fileobj.shutdown(socket.SHUT_WR)
                        continue
                    if file is not None:
                        file.write(rest)
                count = key.fileobj.send(rest)
                sent += count
                selector.modify(key.fileobj, selectors.EVENT_WRITE, rest[count:])
    return sent


def wait_until_closed(clients: list[socket.socket]) -> None:
    """Wait until the server has read all and closed the connections.

    Raises:
        TimeoutError: it does not.
        ConnectionError: it has closed one before it had read all.
    """
    for client in clients:
        client.settimeout(PATIENCE_S)
        client.recv(1)


def connect(address: tuple[str, int], stack: contextlib.ExitStack) -> socket.socket:
    """Return a connection that the stack closes."""
    return stack.enter_context(socket.create_connection(address, timeout=PATIENCE_S))


def run(options: argparse.Namespace) -> str:
    """Send as the options say, and say what was sent.

    Raises:
        OSError: nobody listens, or not all could be sent.
    """
    with contextlib.ExitStack() as stack:
        clients = [connect(options.address, stack) for _ in range(options.clients)]
        count = options.count if options.count is not None or options.seconds else 1_000_000
        blocks = supply(random.Random(options.seed), count)
        file = None if options.file is None else stack.enter_context(options.file.open("wb"))
        began = time.monotonic()
        sent = send(clients, blocks, began + options.seconds if options.seconds else None, file)
        wait_until_closed(clients)
        took = time.monotonic() - began
        if options.terminate:
            last = connect(options.address, stack)
            last.sendall(b"terminate\n")
            with contextlib.suppress(ConnectionError):  # it has other things to do than to close politely
                wait_until_closed([last])
    numbers = sent // (DIGITS + 1)
    return (f"sent {numbers:,} numbers over {options.clients} connections in {took:.2f} s: "
            f"{numbers / took:,.0f} numbers/s, {sent / took / 1e6:.0f} MB/s")


def address(text: str) -> tuple[str, int]:
    """Return host and port of ``HOST:PORT``.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    host, _, port = text.rpartition(":")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise argparse.ArgumentTypeError(f"expected HOST:PORT, e.g. 127.0.0.1:4000, got {text!r}")
    return host.strip("[]"), int(port)


def main() -> int:
    """Send as the command line says."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("address", type=address, metavar="HOST:PORT", help="where the server listens")
    parser.add_argument("--count", type=int, help="numbers to send (default: 1,000,000, or what --seconds allow)")
    parser.add_argument("--seconds", type=float, help="stop sending after so long")
    parser.add_argument("--clients", type=int, default=5, help="connections to send over (default: %(default)s)")
    parser.add_argument("--seed", type=int, help="the same seed sends the same numbers")
    parser.add_argument("--file", type=Path, metavar="OUT", help="write what is sent to this file")
    parser.add_argument("--terminate", action="store_true", help="send `terminate` when all was read")
    options = parser.parse_args()
    where = f"{options.address[0]}:{options.address[1]}"
    try:
        print(run(options))
    except ConnectionRefusedError:
        print(f"{where}: nobody listens there: start the server first, or give its address", file=sys.stderr)
    except TimeoutError:
        print(f"{where}: the server does not answer, or does not read: is it this one?", file=sys.stderr)
    except ConnectionError:
        print(f"{where}: the server has closed a connection before it had read all: it takes fewer clients "
              "(--clients), expects other lines, or was stopped", file=sys.stderr)
    except OSError as error:
        print(f"{error.filename or where}: {error.strerror or error}", file=sys.stderr)
    else:
        return 0
    return 1


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        sys.exit(main())
    sys.exit(130)
