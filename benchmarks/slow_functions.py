#!/usr/bin/env python3
"""How well workers are used by functions that take long: by sleeping ones, so that many workers fit on few cores.

    python benchmarks/slow_functions.py [--costs 0.000001,0.001,0.02,0.5] [--workers 1,2,4,16] [--seconds 4]
                                        [--layout fused|apart [--parsers 1]] [--mixed] [--batch-s 0.2]
                                        [--rounds 1] [--json]

Each record notes when its ``check`` began and ended, and in which process, and is written to a file of lines. From
that: ``used`` is the part of the time, from the first beginning to the last end, that the workers were in ``check``:
1.0 is the ideal. Start-up is not in it. There are as many records as keep the workers busy for so many seconds.
``--mixed``: nine records in ten take next to nothing, and those that take long stand together. ``apart``: parsers and
checkers are processes of their own.

A function of a microsecond or so is given no note, which would cost more than it does. It is run as it is and, in turn,
with ``flow.batch_s=0``; ``used`` is the ratio of the processor seconds: what it pays for the others. After each run
every record must be there once; a difference ends with exit code 1. That all workers have some, and in which batches,
is tested by counts (``tests/unit/test_sizing.py``, ``tests/apps/test_slow_functions.py``); here is what comes of it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from tests.processes import with_all_it_starts  # noqa: E402

_PIPELINE = '''
import os
import time

from thresher import Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def check(line):
    number = int(line)
    cost = COST(number)
    if NOTED:
        began = time.monotonic()
        if cost:
            time.sleep(cost)
        return b"%d %d %.6f %.6f" % (number, os.getpid(), began, time.monotonic())
    until = time.perf_counter() + cost
    while time.perf_counter() < until:
        pass
    return b"%d" % number


PIPELINE = Pipeline(
    name="slow", source=Files(pattern="in.log", rename="none"), parse=lambda line: line, check=check,
    encode=lambda line: line, sinks={"out": Lines(sync=False)}, dead_letters=DeadLetters())
'''
#: A function that takes less is measured by what a run costs, not by when each of its calls began.
_LEAST_NOTED_S = 1e-4
#: Records of one that takes less.
_QUICK_RECORDS = 300_000
_WATCHDOG_S = 900.0
Figures = dict[str, Any]


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    results: list[Figures] = []
    for cost_s in map(float, options.costs.split(",")):
        for workers in map(int, options.workers.split(",")):
            rounds = [_measure(cost_s, workers, options) for _ in range(options.rounds)]
            used = sorted(one["used"] for one in rounds)
            results.append({"cost_s": cost_s, "workers": workers, "used": statistics.median(used), "least": used[0],
                            "most": used[-1], "rounds": rounds})
            if not options.json:
                some = " ".join(str(one["busy"]) for one in rounds)
                print(f"{cost_s:>10g} s, {workers:>2} workers: {statistics.median(used):.3f} ({used[0]:.3f} to "
                      f"{used[-1]:.3f}), {rounds[0]['records']:,} records, {some} of them had some", flush=True)
    right = all(one["right"] for result in results for one in result["rounds"])
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "right": right, "layout": options.layout, "mixed": options.mixed,
                          "batch_s": options.batch_s, "results": results}))
    else:
        print("contents: every record once" if right else "contents: WRONG")
    return 0 if right else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--costs", default="0.000001,0.001,0.02,0.5", help="seconds a record, separated by commas")
    parser.add_argument("--workers", default="1,2,4,16", help="numbers of workers, separated by commas")
    parser.add_argument("--seconds", type=float, default=4.0, help="how long the workers are to be busy")
    parser.add_argument("--records", type=int, default=0, help="so many records instead")
    parser.add_argument("--layout", choices=("fused", "apart"), default="fused")
    parser.add_argument("--parsers", type=int, default=1, help="with --layout apart")
    parser.add_argument("--mixed", action="store_true", help="nine records in ten are quick, the others stand together")
    parser.add_argument("--batch-s", type=float, default=0.2, help="flow.batch_s")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _measure(cost_s: float, workers: int, options: argparse.Namespace) -> Figures:
    if cost_s >= _LEAST_NOTED_S:
        records = options.records or max(workers, round(workers * options.seconds / cost_s))
        return _run(cost_s, workers, records, options.batch_s, options)
    records = options.records or _QUICK_RECORDS
    cut, whole = (_run(cost_s, workers, records, batch_s, options) for batch_s in (options.batch_s, 0.0))
    return {**cut, "used": whole["cpu_s"] / cut["cpu_s"], "right": cut["right"] and whole["right"],
            "seconds_whole": whole["seconds"], "cpu_s_whole": whole["cpu_s"]}


def _run(cost_s: float, workers: int, records: int, batch_s: float, options: argparse.Namespace) -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="thresher-bench-"))
    is_noted, total = cost_s >= _LEAST_NOTED_S, records
    cost = f"(lambda number: {cost_s!r})"
    if options.mixed:
        total = 10 * records
        cost = f"(lambda number: {cost_s!r} if {total // 2} <= number < {total // 2 + records} else 0)"
    pool = [f"parser.workers={workers}"]
    if options.layout == "apart":
        pool = ["parser.fused=false", f"parser.workers={options.parsers}", f"checker.workers={workers}"]
    sets = [word for each in (*pool, f"flow.batch_s={batch_s}") for word in ("--set", each)]
    try:
        (folder / "slow.py").write_text(_PIPELINE.replace("COST", cost).replace("NOTED", repr(is_noted)))
        (folder / "in.log").write_text("".join(f"{number:09d}\n" for number in range(total)))
        used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        code = subprocess.run(
            [sys.executable, "-m", "thresher", "run", "slow.py", "--format", "none", *sets], cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)}, timeout=_WATCHDOG_S, check=False).returncode
        seconds, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
        rows = [line.split() for line in (folder / "var/slow/out.log").read_text().splitlines()]
    finally:
        shutil.rmtree(folder)
    figures: Figures = {
        "records": total, "seconds": seconds, "busy": 0,
        "cpu_s": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "right": code == 0 and sorted(int(row[0]) for row in rows) == list(range(total))}
    return {**figures, **_used(rows, workers)} if is_noted and rows else figures


def _used(rows: list[list[str]], workers: int) -> Figures:
    """The part of the time that the workers were at work, and how many of them had any."""
    times = [(float(began), float(ended)) for _, _, began, ended in rows]
    span_s = max(ended for _, ended in times) - min(began for began, _ in times)
    return {"span_s": span_s, "used": sum(ended - began for began, ended in times) / (workers * span_s),
            "busy": len({row[1] for row in rows})}


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
