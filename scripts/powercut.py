#!/usr/bin/env python3
"""Power cuts: runs whose power is cut at random moments, resumed, and compared with a run in peace.

    scripts/powercut [--cuts 200] [--seed 0] [--job everywhere|hours|numbers|given] [--flush-ms 0] [--loop]
        [--folder DIR]

What a cut leaves is worked out from a record of every change and every flush (tests/powercut): what was flushed is
there; of what was not, none, all, or any pages in any order. That needs a C compiler. With --loop the runs are on an
ext4 of their own, in a file on a loop device, whose power is really cut; that needs root. After each cut the same
command runs to its end, and all of its stores must hold what they hold after a run in peace. Exit code 0 when all that
holds, 2 when something that it needs is missing.
"""

from __future__ import annotations

import argparse
import contextlib
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.powercut.cuts import JOBS, cuts  # noqa: E402
from tests.powercut.loop import cuts_on_loop, what_is_missing  # noqa: E402
from tests.powercut.recording import require_recorder  # noqa: E402


def main() -> int:
    """Cut, compare, and say what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cuts", type=int, default=200, help="cuts of each job (%(default)s)")
    parser.add_argument("--seed", type=int, default=0, help="of the first cut (%(default)s)")
    parser.add_argument("--job", choices=list(JOBS), action="append", help="only this one")
    parser.add_argument("--flush-ms", type=int, default=0, help="how long each flush takes besides (%(default)s)")
    parser.add_argument("--loop", action="store_true", help="on a real file system, on a loop device (root)")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where it keeps its files (%(default)s)")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what is mounted is unmounted
    try:
        with tempfile.TemporaryDirectory(prefix="powercut-", dir=options.folder) as folder:
            if options.loop and (missing := what_is_missing(Path(folder))):
                print(missing, file=sys.stderr)
                return 2
            return max([_cut(job, Path(folder) / job, options) for job in options.job or JOBS])
    except KeyboardInterrupt:
        print("stopped; nothing is left behind", file=sys.stderr)
        return 130


def _cut(name: str, place: Path, options: argparse.Namespace) -> int:
    began, wrong = time.monotonic(), 0
    seeds = range(options.seed, options.seed + options.cuts)
    with contextlib.closing(_cuts(name, place, seeds, options)) as found:
        in_peace = next(found)
        for cut in found:
            if cut.code or cut.found != in_peace:
                wrong += 1
                print(f"{name}, seed {cut.seed}: exit code {cut.code}, differs; it printed:\n{cut.output[-2000:]}")
            shutil.rmtree(place / "run" / f"cut-{cut.seed}", ignore_errors=True)
    print(f"{name}{' on a loop device' * options.loop}: {options.cuts} cuts (seeds {seeds[0]} to {seeds[-1]}), "
          f"{wrong} wrong, {time.monotonic() - began:.0f} s", flush=True)
    return int(wrong > 0)


def _cuts(name: str, place: Path, seeds: range, options: argparse.Namespace) -> Generator[Any, None, None]:
    if options.loop:
        return cuts_on_loop(JOBS[name], place, seeds)
    place.mkdir()
    return cuts(JOBS[name], place / "run", require_recorder(place), seeds, options.flush_ms)


if __name__ == "__main__":
    sys.exit(main())
