#!/usr/bin/env python3
"""Simulate the protocol under many seeds: actors die and stall, messages lag, overtake, repeat and (if asked) get lost.
Of four seeds two run over lines, and two over records.

Every run must come to exactly what its input says. Ends with 1 at the first seed that does not, and prints its faults.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from actors.testing import Faults  # noqa: E402
from tests.properties.record_worlds import RecordWorld  # noqa: E402
from tests.properties.simulator import World, make_units, simulate  # noqa: E402


def main(argv: Sequence[str] | None = None) -> int:
    """Simulate as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1000, metavar="N", help="default: %(default)s")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="default: %(default)s")
    parser.add_argument("--drops", type=float, default=0.0, metavar="RATE", help="of lost messages; default: 0")
    options = parser.parse_args(argv)
    began = time.monotonic()
    for seed in range(options.first, options.first + options.seeds):
        faults, units = _faults(seed, options.drops)
        with tempfile.TemporaryDirectory(prefix="thresher-simulate-") as folder:
            try:
                simulate((World, RecordWorld)[seed // 2 % 2](faults, Path(folder), units, bool(seed % 2)))
            except AssertionError as error:
                print(f"seed {seed}: {str(error) or 'the results are not those of a run without faults'}\n  {faults}")
                return 1
    seconds = time.monotonic() - began
    print(f"{options.seeds:,} seeds from {options.first}, {seconds:.0f} s: nothing lost, nothing twice")
    return 0


def _faults(seed: int, drops: float) -> tuple[Faults, list[tuple[str, bytes]]]:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 150))
    return Faults(seed, kills=rng.randint(0, 40), stops=rng.randint(0, 10), delays=rng.randint(0, 60),
                  duplicates=0.02, drops=drops, outages=0.1), units


if __name__ == "__main__":
    sys.exit(main())
