#!/usr/bin/env python3
"""What tracing costs: the main job on embedded stores with tracing off, of 1 % and of all batches, in turn, checked.

    python benchmarks/tracing.py [--records 300000] [--rounds 7] [--workers 2] [--batch-bytes N] [--json]

Makes seeded logs and loads them in each round once for each setting, in processes as a user would start them; the first
round, which only warms up, does not count. The collector is in this process, and only keeps what it is sent. After each
load the contents of the stores are compared with those of the first, and what was received with what was loaded: with
all batches traced, the roots must be all bytes and all records, each once, and the spans below them whole traces; with
a sample, whole traces of some. Time is wall time with start-up; CPU seconds are those of all processes of the load.
Exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import contextlib  # noqa: E402
import gzip  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

import msgspec  # noqa: E402

from scripts.make_logs import write_logs  # noqa: E402
from tests.loads import Stores, lmdb_stores  # noqa: E402
from tests.otlp import Collector, Received, settings  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: Part of the batches that are traced, by setting; None: tracing is off.
RATIOS: dict[str, float | None] = {"off": None, "1 %": 0.01, "100 %": 1.0}


class Load(msgspec.Struct, frozen=True):
    """One load: wall and CPU seconds, spans and traces received, and what is wrong with it, if anything."""

    wall_s: float
    cpu_s: float
    spans: int
    traces: int
    problem: str


class Input(msgspec.Struct):
    """What is loaded, and what must be in the stores afterwards; they are empty before the first load."""

    folder: Path
    records: int
    size: int
    workers: int
    batch_bytes: int
    stores: Stores = {}


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        paths = write_logs(Path(folder) / "logs", files=3, records=options.records, seed=1)
        size = sum(len(gzip.decompress(path.read_bytes())) for path in paths)
        given = Input(Path(folder), options.records, size, options.workers, options.batch_bytes)
        rounds = [{name: _load(given, ratio) for name, ratio in RATIOS.items()} for _ in range(options.rounds + 1)]
    return _print(rounds, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--batch-bytes", type=int, default=0, help="default: the application's")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _load(given: Input, ratio: float | None) -> Load:
    state = given.folder / "state"
    sets = [f"source.pattern={given.folder}/logs/*.tsv.gz", "source.rename=none", f"parser.workers={given.workers}"]
    sets += [f"flow.batch_bytes={given.batch_bytes}"] if given.batch_bytes else []
    with Collector() if ratio is not None else contextlib.nullcontext() as collector:
        sets += settings(collector, ratio) if collector is not None and ratio is not None else []
        wall_s, cpu_s = _timed([
            sys.executable, "-m", "actors.cli", "run", "appsinstalled", "--format", "json", "--state", str(state),
            *(word for text in sets for word in ("--set", text))])
    stores = lmdb_stores(state)
    given.stores = given.stores or stores
    shutil.rmtree(state)
    problem = "" if stores == given.stores else "the stores hold something else"
    spans = [] if collector is None else collector.spans
    if ratio is not None:
        problem = problem or _problem(spans, given, ratio)
    return Load(wall_s, cpu_s, len(spans), len({span.trace for span in spans}), problem)


def _timed(command: list[str]) -> tuple[float, float]:
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True,
                          text=True, check=False)
    wall_s, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode or done.stderr:
        raise SystemExit(f"{' '.join(command[:5])} ... ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return wall_s, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _problem(spans: list[Received], given: Input, ratio: float) -> str:
    """What is wrong with the traces of a load, or nothing."""
    roots = {span.trace: span for span in spans if span.name == "batch"}
    made = Counter(span.trace for span in spans if span.name == "parse")
    if made != dict.fromkeys(roots, 1) or not {span.trace for span in spans} <= roots.keys():
        return "not every trace is whole"
    if ratio == 1 and (sum(root.facts["bytes"] for root in roots.values()) != given.size
                       or sum(root.facts["records"] for root in roots.values()) != given.records):
        return "the roots are not all that was loaded"
    return ""


def _print(rounds: list[dict[str, Load]], options: argparse.Namespace) -> int:
    problems = [f"{name}: {load.problem}" for one in rounds for name, load in one.items() if load.problem]
    rounds = rounds[1:]
    figures: dict[str, dict[str, Any]] = {name: {
        "wall_s": _spread([one[name].wall_s for one in rounds]), "cpu_s": _spread([one[name].cpu_s for one in rounds]),
        "wall_ratio": _spread([one[name].wall_s / one["off"].wall_s for one in rounds]),
        "cpu_ratio": _spread([one[name].cpu_s / one["off"].cpu_s for one in rounds]),
        "traces": statistics.median(one[name].traces for one in rounds),
        "spans": statistics.median(one[name].spans for one in rounds)} for name in RATIOS}
    if options.json:
        print(json.dumps({"records": options.records, "workers": options.workers, "cores": os.cpu_count(),
                          "python": platform.python_version(), "batch_bytes": options.batch_bytes,
                          "rounds": len(rounds), "problems": problems, "figures": figures}))
        return 1 if problems else 0
    print(f"{options.records:,} records, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"{options.workers} workers, {len(rounds)} rounds: median (min to max); ratios to off, pair by pair")
    for name, one in figures.items():
        print(f"{name:<6} {_told(one['wall_s'])} s   ratio {_told(one['wall_ratio'])}   CPU {_told(one['cpu_s'])} s   "
              f"ratio {_told(one['cpu_ratio'])}   {one['traces']:,.0f} traces, {one['spans']:,.0f} spans")
    print("\n".join(problems) or "checked: the stores, and every trace that was received")
    return 1 if problems else 0


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


def _told(spread: tuple[float, float, float]) -> str:
    low, middle, high = spread
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
