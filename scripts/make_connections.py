#!/usr/bin/env python3
"""Make connection logs: ``<unix_timestamp> <hostname> <hostname>``, roughly sorted by time, seeded.

Fast enough for files of many GB, with the standard library alone: times, left and right hosts are drawn once, into
tables, and each block of lines takes a slice of each table at random places.
"""

from __future__ import annotations

import argparse
import random
import re
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

#: 2019-08-12 22:00:04.351 UTC, in ms.
START_MS = 1565647204351
#: Lines of a block.
BLOCK = 32_768
_TABLES = 8
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}
_CONSONANTS, _VOWELS = "bdfghjklmnprstvz", "aeiou"


def host_names(number: int, seed: int = 0) -> list[str]:
    """Return so many different names, of six letters as long as they suffice."""
    rng = random.Random(seed)
    names: dict[str, None] = {}
    length = 3
    while len(names) < number:
        if len(names) * 2 > 80**length:
            length += 1
        name = "".join(rng.choice(_CONSONANTS) + rng.choice(_VOWELS) for _ in range(length))
        names[name.capitalize()] = None
    return list(names)


def make_blocks(
    lines: int, hosts: int, seed: int = 0, *, span_s: float = 86_400, disorder_s: float = 300, unit: str = "ms",
    newline: bytes = b"\n",
) -> Iterator[bytes]:
    """Yield blocks of whole lines.

    Args:
        lines: how many in all.
        hosts: number of different hosts; some are on many more lines than others.
        seed: the same seed gives the same lines.
        span_s: event time from the first line to the last, about.
        disorder_s: no line is more than this older than any line before it.
        unit: of the timestamps, ``s`` or ``ms``.
        newline: what ends a line.
    """
    rng = random.Random(seed)
    per_s = 1000 if unit == "ms" else 1
    start = START_MS * per_s // 1000
    step = span_s * per_s / max(1, lines)
    jitter = int(disorder_s * per_s * 0.99)
    offsets = [[int(i * step) + rng.randint(0, jitter) for i in range(BLOCK)] for _ in range(_TABLES)]
    names = [name.encode() for name in host_names(hosts, seed)]
    weights = [1 / (10 + rank) ** 0.5 for rank in range(hosts)]
    lefts = [b" %b " % name for name in rng.choices(names, weights, k=4 * BLOCK)]
    rights = [b"%b%b" % (name, newline) for name in rng.choices(names, weights, k=4 * BLOCK)]
    done = 0
    while done < lines:
        count = min(BLOCK, lines - done)
        base = start + int(done * step)
        stamps = [b"%d" % (base + offset) for offset in offsets[rng.randrange(_TABLES)][:count]]
        left, right = rng.randrange(3 * BLOCK), rng.randrange(3 * BLOCK)
        yield b"".join(chain.from_iterable(zip(
            stamps, lefts[left:left + count], rights[right:right + count], strict=True)))
        done += count


def write_connections(
    path: Path, size: int, hosts: int = 7_000, seed: int = 0, *, span_s: float = 86_400, disorder_s: float = 300,
    unit: str = "ms", newline: bytes = b"\n",
) -> int:
    """Write a file of about ``size`` bytes; return how many lines it has. The other arguments: see ``make_blocks``."""
    line_bytes = (14 if unit == "ms" else 11) + 2 * 6 + 1 + len(newline)
    lines = max(1, size // line_bytes)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb", buffering=0) as file:
        for block in make_blocks(lines, hosts, seed, span_s=span_s, disorder_s=disorder_s, unit=unit, newline=newline):
            file.write(block)
    return lines


def size_of(text: str) -> int:
    """The bytes that ``2GB``, ``500M`` or ``1000`` say."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([KMG]?)B?", text, re.IGNORECASE)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size like 2GB or 500M, got {text!r}")
    return int(float(match[1]) * _UNITS[match[2].upper()])


def main() -> None:
    """Make a log as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("data/connections/connections.txt"), metavar="FILE",
                        help="default: %(default)s")
    parser.add_argument("--bytes", type=size_of, default=size_of("100M"), metavar="SIZE", help="about; default: 100M")
    parser.add_argument("--hosts", type=int, default=7_000, metavar="N", help="default: %(default)s")
    parser.add_argument("--span-s", type=float, default=86_400, metavar="S",
                        help="event time from the first line to the last; default: a day")
    parser.add_argument("--disorder-s", type=float, default=300, metavar="S",
                        help="how much older than one before it a line may be; default: %(default)s")
    parser.add_argument("--unit", choices=("s", "ms"), default="ms", help="of the timestamps; default: %(default)s")
    parser.add_argument("--crlf", action="store_true", help="lines end in CR LF")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    lines = write_connections(options.out, options.bytes, options.hosts, options.seed, span_s=options.span_s,
                              disorder_s=options.disorder_s, unit=options.unit,
                              newline=b"\r\n" if options.crlf else b"\n")
    print(f"{options.out}: {lines:,} lines")


if __name__ == "__main__":
    main()
