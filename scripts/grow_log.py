#!/usr/bin/env python3
"""Append connection lines to a log, as a program that writes it would, until Ctrl-C: something to follow.

    scripts/grow_log.py access.log &
    thresher run connections access.log --into-host Bofiza

Event time runs faster than the clock (``--speed``), so an hour's report comes every few seconds. Now and then a line is
written in two pieces. With ``--rotate-lines`` the log is rotated as ``logrotate`` does it; what is followed waits for a
rotated file for ``source.idle_timeout_s`` of the clock's time, so ``--set source.idle_timeout_s=1`` goes well with it.
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from scripts.make_connections import make_blocks

#: Seconds between two pieces.
_BEAT_S = 0.05
_ENDLESS = 10**9


class Log:
    """The log, open for appending.

    Args:
        path: where it is.
        how: ``rename`` (and a new file in its place) or ``copytruncate``.
    """

    def __init__(self, path: Path, how: str) -> None:
        self._path = path
        self._how = how
        self._numbers = count(1)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("ab", buffering=0)

    def write(self, data: bytes) -> None:
        """Append."""
        self._file.write(data)

    def rotate(self) -> None:
        """Put away what there is."""
        free = (self._path.with_name(f"{self._path.name}.{number}") for number in self._numbers)
        old = next(path for path in free if not path.exists())
        if self._how == "copytruncate":
            shutil.copyfile(self._path, old)
            os.truncate(self._path, 0)
        else:
            self._path.rename(old)
            self._file.close()
            self._file = self._path.open("ab", buffering=0)

    def close(self) -> None:
        """Close it."""
        self._file.close()


def endless_lines(rate: float, speed: float, hosts: int, seed: int) -> Iterator[bytes]:
    """Yield lines, each with its newline; ``speed`` is event time in seconds for each second of ``rate`` lines."""
    for block in make_blocks(_ENDLESS, hosts, seed, span_s=_ENDLESS / rate * speed, disorder_s=min(300.0, speed)):
        yield from block.splitlines(keepends=True)


def main() -> None:
    """Append as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("log", type=Path, metavar="FILE")
    parser.add_argument("--rate", type=float, default=1000.0, metavar="N", help="lines a second; default: %(default)g")
    parser.add_argument("--speed", type=float, default=600.0, metavar="S",
                        help="seconds of event time in a second; default: %(default)g, an hour in six seconds")
    parser.add_argument("--lines", type=int, default=_ENDLESS, metavar="N", help="stop after so many")
    parser.add_argument("--hosts", type=int, default=100, metavar="N", help="default: %(default)s")
    parser.add_argument("--rotate-lines", type=int, default=0, metavar="N", help="rotate after so many; default: never")
    parser.add_argument("--rotate", choices=("rename", "copytruncate"), default="rename")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = endless_lines(options.rate, options.speed, options.hosts, options.seed)
    log, began, done = Log(options.log, options.rotate), time.monotonic(), 0
    try:
        while done < options.lines:
            due = min(options.lines, int((time.monotonic() - began) * options.rate) + 1)
            for _ in range(due - done):
                line = next(lines)
                done += 1
                middle = len(line) // 2 if done % 10 == 0 else len(line)  # now and then in two pieces
                log.write(line[:middle])
                if middle < len(line):
                    log.write(line[middle:])
                if options.rotate_lines and done % options.rotate_lines == 0:
                    log.rotate()
            time.sleep(_BEAT_S)
    except KeyboardInterrupt:
        pass
    finally:
        log.close()
    print(f"{options.log}: {done:,} lines appended")


if __name__ == "__main__":
    main()
