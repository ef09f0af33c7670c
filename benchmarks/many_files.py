#!/usr/bin/env python3
"""What a file costs when there are many: the same records in one file, and in ever more; read once, or followed.

    python benchmarks/many_files.py [--records 30000] [--files 1,1000,10000] [--rounds 3] [--follow] [--json]

Each round loads the records from so many files of the source ``files``, then ``directory`` (``--follow``: followed,
until every line has arrived, and then a line that is appended), into a file of lines, in turn. Time is that of the
whole command; processor seconds are those of all its processes. After each run the file must have every line once; a
difference ends with exit code 1. That cost grows with the number of files and not with its square is tested by counts
(``tests/unit/test_many_units.py``, ``test_many_files.py``); here is how much it is.
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
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from tests.processes import with_all_it_starts  # noqa: E402

_PIPELINE = '''
from thresher import Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Directory, Files

PIPELINE = Pipeline(
    name="many", source=SOURCE, parse=lambda line: line.rstrip(b"\\n"), encode=lambda record: record,
    sinks={"out": Lines(sync=False)}, dead_letters=DeadLetters())
'''
_SOURCES = {
    "files": 'Files(pattern="logs/*", rename="none")', "directory": 'Directory(paths=["logs"], follow=False)',
    "followed": 'Directory(paths=["logs"])'}
#: Nothing takes longer; what is not there by then never comes.
_WATCHDOG_S = 600.0
Figures = dict[str, Any]


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    numbers = [int(number) for number in options.files.split(",")]
    sources = ["followed"] if options.follow else ["files", "directory"]
    rounds = [
        {f"{source} {files}": _run(source, files, max(options.records, files)) for files in numbers
         for source in sources} for _ in range(options.rounds)]
    right = all(one["right"] for each in rounds for one in each.values())
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "right": right, "rounds": rounds}))
        return 0 if right else 1
    print(f"{options.records:,} records, {os.cpu_count()} cores, {len(rounds)} rounds: median (min to max)")
    for name in rounds[0]:
        some = [each[name] for each in rounds]
        print(f"{name:<20}{_spread(some, 'seconds')} s, processors {_spread(some, 'cpu_s')} s" + (
            f", first line {_spread(some, 'first_s')} s, appended {_spread(some, 'appended_s')} s"
            if options.follow else ""))
    print("contents: every line once" if right else "contents: WRONG")
    return 0 if right else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=30_000)
    parser.add_argument("--files", default="1,1000,10000", help="how many files, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--follow", action="store_true", help="follow the files, and append a line to one of them")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _run(source: str, files: int, records: int) -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="thresher-bench-"))
    try:
        (folder / "logs").mkdir()
        (folder / "many.py").write_text(_PIPELINE.replace("SOURCE", _SOURCES[source]))
        lines = [f"record {number:09d}\n" for number in range(records)]
        for number in range(files):
            (folder / f"logs/{number:07d}.log").write_text("".join(lines[number::files]))
        used, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "thresher", "run", "many.py", "--format", "none"], cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        figures = _follow(folder, process, lines, began) if source == "followed" else {}
        code = process.wait(_WATCHDOG_S)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        found = (folder / "var/many/out.log").read_text().splitlines(keepends=True)
        return {"seconds": time.monotonic() - began,
                "cpu_s": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
                "right": code == 0 and sorted(found) == sorted(lines), **figures}
    finally:
        shutil.rmtree(folder)


def _follow(folder: Path, process: subprocess.Popen[bytes], lines: list[str], began: float) -> Figures:
    """Wait for all lines, append one, and stop the run; ``lines`` has it too then."""
    out = folder / "var/many/out.log"
    try:
        first = _wait_for(out, 1)
        loaded = _wait_for(out, sum(map(len, lines)))
        lines.append("record appended\n")
        with (folder / "logs/0000000.log").open("a") as file:
            file.write(lines[-1])
        appended = _wait_for(out, sum(map(len, lines)))
    finally:
        process.send_signal(signal.SIGTERM)
    return {"first_s": first - began, "seconds": loaded - began, "appended_s": appended - loaded}


def _wait_for(path: Path, size: int) -> float:
    until = time.monotonic() + _WATCHDOG_S
    while not path.exists() or path.stat().st_size < size:
        if time.monotonic() > until:
            raise SystemExit(f"{path}: expected {size} bytes within {_WATCHDOG_S:g} s")
        time.sleep(0.005)
    return time.monotonic()


def _spread(some: list[Figures], name: str) -> str:
    values = sorted(one[name] for one in some)
    return f"{statistics.median(values):6.2f} ({values[0]:.2f} to {values[-1]:.2f})"


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
