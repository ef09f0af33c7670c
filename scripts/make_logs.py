#!/usr/bin/env python3
"""Make sample tracker logs of the real shape: gzipped, tab-separated, 1 to 100 app ids a record, seeded."""

from __future__ import annotations

import argparse
import gzip
import random
from collections.abc import Iterator
from pathlib import Path

DEVICE_TYPES = (b"idfa", b"gaid", b"adid", b"dvid")
BAD_LINES = (
    b"idfa\tshort line", b"idfa\t\t1.0\t2.0\t1,2", b"phone\tabc\t1.0\t2.0\t1,2", b"gaid\tabc\tnorth\t2.0\t1,2",
    b"adid\tabc\t1.0\tnan\t1,2", b"dvid\ta b\t1.0\t2.0\t1,2",
)


def make_lines(records: int, seed: int, bad_rate: float = 0.0, keys: int = 0) -> Iterator[bytes]:
    """Yield lines without newlines.

    Args:
        records: how many.
        seed: the same seed gives the same lines.
        bad_rate: share of lines that must be rejected.
        keys: draw device ids from so many; 0 for ids that never come twice.
    """
    rng = random.Random(seed)
    ids = [b"%d" % number for number in range(10_000)]
    pool = random.Random(keys)  # the same ids whatever the seed: keys come again in other files too
    devices = [b"%032x" % pool.getrandbits(128) for _ in range(keys)]
    for _ in range(records):
        if bad_rate and rng.random() < bad_rate:
            yield rng.choice(BAD_LINES)
            continue
        device = rng.choice(devices) if keys else b"%032x" % rng.getrandbits(128)
        yield b"%b\t%b\t%.10f\t%.10f\t%b" % (
            rng.choice(DEVICE_TYPES), device, rng.uniform(-180, 180), rng.uniform(-180, 180),
            b",".join(rng.choices(ids, k=rng.randint(1, 100))))


def write_logs(
    folder: Path, files: int = 3, records: int = 30_000, seed: int = 0, bad_rate: float = 0.0, keys: int = 0
) -> list[Path]:
    """Write ``records`` records in all to gzip files named as the exports are; return their paths, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    paths: list[Path] = []
    for index in range(files):
        count = records // files + (index < records % files)
        path = folder / f"20170929{index:06d}.tsv.gz"
        lines = make_lines(count, seed * 1000 + index, bad_rate, keys)
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(b"".join(line + b"\n" for line in lines))
        paths.append(path)
    return paths


def main() -> None:
    """Make logs as the command line says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--out", type=Path, default=Path("data/appsinstalled"), metavar="DIR", help="default: %(default)s")
    parser.add_argument("--files", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--records", type=int, default=30_000, help="in all files together; default: %(default)s")
    parser.add_argument(
        "--bad", type=float, default=0.0, metavar="RATE", help="share of bad lines; default: %(default)s")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    options = parser.parse_args()
    for path in write_logs(options.out, options.files, options.records, options.seed, options.bad):
        print(path)


if __name__ == "__main__":
    main()
