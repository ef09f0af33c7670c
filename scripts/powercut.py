#!/usr/bin/env python3
"""Power cuts: runs whose files are recorded, cut at random moments, resumed, and compared with a run in peace.

    scripts/powercut [--cuts 200] [--seed 0] [--job everywhere|hours|numbers] [--flush-ms 0]

What a cut leaves is worked out from a record of every change and every flush (tests/powercut): what was flushed is
there; of what was not, none, all, or any pages in any order. After each the same command runs to its end, and all of
its stores must hold what they hold after a run in peace. Needs a C compiler. Exit code 0 when all that holds.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.powercut.cuts import JOBS, cuts  # noqa: E402
from tests.powercut.recording import require_recorder  # noqa: E402


def main() -> int:
    """Cut, compare, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=200, help="cuts of each job (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first cut (%(default)s)")
    parser.add_argument("--job", choices=list(JOBS), action="append", help="only this one")
    parser.add_argument("--flush-ms", type=int, default=0, help="how long each flush takes besides (%(default)s)")
    options = parser.parse_args()
    return max(_cut(job, options.cuts, options.seed, options.flush_ms) for job in options.job or JOBS)


def _cut(name: str, number: int, seed: int, flush_ms: int) -> int:
    began, wrong = time.monotonic(), 0
    with tempfile.TemporaryDirectory(prefix="powercut-", dir="/var/tmp") as folder:
        place = Path(folder)
        found = cuts(JOBS[name], place / "run", require_recorder(place), range(seed, seed + number), flush_ms)
        in_peace = next(found)
        for cut in found:
            if cut.code or cut.found != in_peace:
                wrong += 1
                print(f"{name}, seed {cut.seed}: exit code {cut.code}, differs; it printed:\n{cut.output[-2000:]}")
            shutil.rmtree(place / "run" / f"cut-{cut.seed}")
    print(f"{name}: {number} cuts (seeds {seed} to {seed + number - 1}), {wrong} wrong, "
          f"{time.monotonic() - began:.0f} s", flush=True)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main())
