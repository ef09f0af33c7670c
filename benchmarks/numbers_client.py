#!/usr/bin/env python3
"""One client of the numbers benchmark: makes its numbers first, says so, and at a word sends as fast as it can.

    python -P benchmarks/numbers_client.py HOST:PORT SEED SECONDS COUNT     # -P: beside it lies a numbers.py

What it sends is a prefix of ``numbers_of(SEED, COUNT)``, again from the start when that is used up; it prints how many
lines it has sent whole.
"""

from __future__ import annotations

import socket
import sys
import time

import numpy as np
from numpy.typing import NDArray

_LINE_BYTES = 10
_WRITE_BYTES = 6_500 * _LINE_BYTES


def numbers_of(seed: int, count: int) -> NDArray[np.uint32]:
    """The numbers that a client sends."""
    return np.random.default_rng(seed).integers(0, 10**9, count, dtype=np.uint32)


def lines_of(numbers: NDArray[np.uint32]) -> bytes:
    """Nine digits and a newline each."""
    lines = np.full((len(numbers), _LINE_BYTES), 0x0A, np.uint8)
    rest = numbers
    for column in range(_LINE_BYTES - 2, -1, -1):
        rest, digit = np.divmod(rest, np.uint32(10))
        lines[:, column] = digit + np.uint32(0x30)
    return lines.tobytes()


def main() -> None:
    """Send for so many seconds."""
    host, _, port = sys.argv[1].rpartition(":")
    seed, seconds, count = int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    data = memoryview(lines_of(numbers_of(seed, count)))
    with socket.create_connection((host, int(port))) as connection:
        print("ready", flush=True)
        sys.stdin.readline()
        sent = at = 0
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            some = data[at:at + _WRITE_BYTES]
            connection.sendall(some)
            sent += len(some)
            at = 0 if at + len(some) >= len(data) else at + len(some)
    print(sent // _LINE_BYTES, flush=True)


if __name__ == "__main__":
    main()
