#!/usr/bin/env python3
"""How long it takes to find records that kill their workers, or never let them go, and whether all else is right.

    python benchmarks/poison.py [--lines 100000] [--bad 60] [--seed 1] [--apart] [--batch-bytes 20000] [--json]

The bad ones are at random places, of six kinds in turn: exit, SIGKILL, a segmentation fault, the stack of C used up,
descriptors of the worker closed, an endless loop (0.7 s of CPU time until it is killed). ``--apart``: parsers and
checkers are processes of their own. Every other line must be stored with its value and counted once, every bad one be
one dead letter with its bytes; a difference ends with exit code 1, and so does a run that does not end with 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import random  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

from actors.runtime.ledger import read_units  # noqa: E402
from actors.runtime.units import LEDGER  # noqa: E402
from actors.sinks.dead_letters import read_letters  # noqa: E402
from actors.sinks.lmdb import read_lmdb  # noqa: E402
from tests.loads import Load  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

KINDS = ("exit", "kill", "segfault", "overflow", "closes", "loop")
#: So that an endless loop is noticed soon.
EAGER = ("watch.suspect_s=0.3", "watch.hard_cpu_s=0.7", "watch.hard_block_s=5", "watch.term_s=0.2")
WATCHDOG_S = 1800.0


def main() -> int:
    """Run it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lines", type=int, default=100_000)
    parser.add_argument("--bad", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--apart", action="store_true", help="parsers and checkers in processes of their own")
    parser.add_argument("--batch-bytes", type=int, default=20_000)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        found = measure(Path(folder), options)
    if options.json:
        print(json.dumps(found))
    else:
        print(f"{options.bad} bad records of {options.lines:,}: {found['deaths']} deaths, {found['seconds']:.0f} s")
        print("\n".join(found["wrong"]) or "contents: every line once, every bad one a dead letter")
    return 1 if found["wrong"] else 0


def measure(folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Make the input, load it, compare; return the figures, and what is wrong."""
    places = random.Random(options.seed).sample(range(options.lines), options.bad)
    bad = {place: KINDS[index % len(KINDS)] for index, place in enumerate(places)}
    lines = [f"k{number} {bad.get(number, f'value {number}')}".encode() for number in range(options.lines)]
    (folder / "a.txt").write_bytes(b"\n".join(lines) + b"\n")
    state = folder / "state"
    began = time.monotonic()
    with Load(folder / "a.txt", state, f"parser.fused={str(not options.apart).lower()}", *EAGER,
              f"flow.batch_bytes={options.batch_bytes}", f"options.marks={folder}",
              target="tests.pipelines.treacherous") as running:
        running.process.wait(WATCHDOG_S)
        running.wait()
    seconds = time.monotonic() - began
    wrong = [] if running.process.returncode == 0 else [f"exit code {running.process.returncode}", running.output()]
    wrong += _wrong_in(state, lines, [lines[place] for place in bad])
    hows = Counter(event["how"].rpartition("; ")[2] for event in running.of("died"))
    return {"deaths": sum(hows.values()), "seconds": round(seconds, 1), "hows": dict(hows), "wrong": wrong}


def _wrong_in(state: Path, lines: list[bytes], bad: list[bytes]) -> list[str]:
    expected = dict(line.split(b" ", 1) for line in set(lines) - set(bad))
    stored, letters = dict(read_lmdb(state / "store.lmdb")), [each.raw for each in read_letters(
        state / "dead-letters.db")]
    counts: Counter[str] = Counter()
    for unit in read_units(state / LEDGER):
        counts.update(unit.counts)
    wanted = {"read": len(lines), "written": len(expected), "dead_lettered": len(bad)}
    wrong = [f"{name}: {counts[name]}, expected {number}" for name, number in wanted.items() if counts[name] != number]
    if stored != expected:
        differ = len(stored.items() ^ expected.items())
        wrong.append(f"stored: {len(stored)}, expected {len(expected)}, {differ} differ")
    if sorted(letters) != sorted(bad):
        wrong.append(f"dead letters: {len(letters)}, expected {len(bad)}")
    return wrong


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
