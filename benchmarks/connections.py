#!/usr/bin/env python3
"""Who connected to one host in a period, asked of one large file: Thresher, polars, a plain loop, in turn, in one run.

    python benchmarks/connections.py [--bytes 2GB] [--rounds 5] [--unit ms|s] [--crlf] [--file FILE] [--json]

Makes a seeded file (or takes FILE) and in each round asks each program once, started as a process like a user would,
so start-up counts. The answers must be the same, host by host; exit code 1 when they are not. polars
(``pip install 'thresher[bench]'``) is left out where it is not installed; it runs its streaming engine. The file has
just been written, or read by the round before, so it comes from memory as far as there is room.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import importlib.util  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402

from scripts.make_connections import host_names, size_of, write_connections  # noqa: E402
from tests.loads import members  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}
#: Seconds between two looks at the memory.
LOOK_S = 0.1

POLARS = """
import sys
import polars as pl
path, host, first, last, scale = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
lines = pl.scan_csv(path, separator=" ", has_header=False, new_columns=["time", "left", "right"], quote_char=None,
                    schema_overrides=[pl.Int64, pl.String, pl.String])
found = lines.filter((pl.col("right") == host) & pl.col("time").is_between(-(-first // scale), last // scale))
print(*found.select("left").unique().sort("left").collect(engine="streaming")["left"], sep="\\n")
"""
PLAIN = """
import sys
path, host, first, last, scale = sys.argv[1], sys.argv[2], *map(int, sys.argv[3:])
found = set()
with open(path, encoding="utf-8") as file:
    for line in file:
        stamp, left, right = line.split()
        if right == host and first <= int(stamp) * scale <= last:
            found.add(left)
print(*sorted(found), sep="\\n")
"""


class Peak(threading.Thread):
    """The most memory that the processes of a session have together, from looks at the kernel's accounts.

    Args:
        session: its number.

    Attributes:
        pss: pages that several have are counted once, in bytes.
        rss: the same pages counted for each process.
    """

    def __init__(self, session: int) -> None:
        super().__init__(daemon=True)
        self.pss = self.rss = 0
        self.over = threading.Event()
        self._session = session

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(LOOK_S):
            looks = [_memory(pid) for pid in members(self._session)]
            self.pss = max(self.pss, sum(pss for pss, _ in looks))
            self.rss = max(self.rss, sum(rss for _, rss in looks))


def _memory(pid: int) -> tuple[int, int]:
    try:
        words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
        return int(words[words.index("Pss:") + 1]) * 1024, int(words[words.index("Rss:") + 1]) * 1024
    except (OSError, ValueError):  # it has just ended
        return 0, 0


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-", dir=options.dir) as folder:
        path = options.file or Path(folder) / "connections.txt"
        if options.file is None:
            newline = b"\r\n" if options.crlf else b"\n"
            write_connections(path, options.bytes, seed=1, unit=options.unit, newline=newline)
        question = _question(path, options.host)
        programs = _programs(path, question, options.workers)
        rounds = [{name: _timed(command) for name, command in programs.items()} for _ in range(options.rounds)]
        return _print(path, question, rounds, options.json)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=size_of, default=size_of("2GB"), metavar="SIZE")
    parser.add_argument("--unit", choices=("s", "ms"), default="ms")
    parser.add_argument("--crlf", action="store_true")
    parser.add_argument("--file", type=Path, help="ask about this file instead of making one")
    parser.add_argument("--dir", type=Path, help="where the file is made")
    parser.add_argument("--host", help="default: one that is in the file")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _question(path: Path, host: str | None) -> tuple[str, int, int, int]:
    """A host, the middle four fifths of the file's time in ms, and what a timestamp has to be multiplied with."""
    with path.open("rb") as file:
        first = int(file.readline().split()[0])
        file.seek(-4096, os.SEEK_END)
        last = int(file.read().split(b"\n")[-2].split()[0])
    scale = 1 if first >= 100_000_000_000 else 1000
    tenth = (last - first) * scale // 10
    return host or host_names(1000, seed=1)[500], first * scale + tenth, last * scale - tenth, scale


def _programs(path: Path, question: tuple[str, int, int, int], workers: int) -> dict[str, list[str]]:
    host, first, last, _ = question
    words = [str(path), *map(str, question)]
    programs = {"thresher": [
        sys.executable, "-m", "actors.cli", "run", "connections", "--query", str(path), "--host", host, "--from",
        str(first), "--to", str(last), "--quiet", "--set", f"parser.workers={workers}"]}
    if importlib.util.find_spec("polars") is not None:
        programs["polars"] = [sys.executable, "-c", POLARS, *words]
    return programs | {"plain loop": [sys.executable, "-c", PLAIN, *words]}


def _timed(command: list[str]) -> dict[str, float | str]:
    began, before = time.perf_counter(), os.times()
    with subprocess.Popen(command, cwd=ROOT, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          start_new_session=True) as process:
        peak = Peak(process.pid)
        peak.start()
        output, errors = process.communicate()
    seconds, after = time.perf_counter() - began, os.times()
    peak.over.set()
    peak.join()
    if process.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... ended with {process.returncode}:\n{errors}")
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "cpu_s": cpu_s, "pss": peak.pss, "rss": peak.rss, "answer": output}


def _print(
    path: Path, question: tuple[str, int, int, int], rounds: list[dict[str, dict[str, float | str]]], as_json: bool
) -> int:
    answers = {str(done["answer"]) for one in rounds for done in one.values()}
    hosts = len(max(answers).split())
    right = len(answers) == 1 and hosts > 0
    size = path.stat().st_size
    table = {name: {what: _spread([float(one[name][what]) for one in rounds])
                    for what in ("seconds", "cpu_s", "pss", "rss")} for name in rounds[0]}
    if as_json:
        print(json.dumps({"bytes": size, "cores": os.cpu_count(), "python": platform.python_version(), "hosts": hosts,
                          "right": right, "rounds": len(rounds), "programs": table}))
        return 0 if right else 1
    print(f"{size / 1e9:.2f} GB, {os.cpu_count()} cores, Python {platform.python_version()}, {len(rounds)} rounds: "
          f"median (min to max); {hosts} hosts connected to {question[0]}")
    for name, figures in table.items():
        low, middle, high = figures["seconds"]
        print(f"{name:<12}{middle:6.2f} s ({low:.2f} to {high:.2f})  {size / middle / 1e6:6.0f} MB/s"
              f"   CPU {figures['cpu_s'][1]:5.2f} s   memory {figures['pss'][2] / 1e6:4.0f} MB "
              f"(each process for itself: {figures['rss'][2] / 1e6:.0f} MB)")
    if "polars" in table:
        low, middle, high = _spread([float(one["polars"]["seconds"]) / float(one["thresher"]["seconds"])
                                     for one in rounds])
        print(f"polars / thresher: {middle:.2f} ({low:.2f} to {high:.2f}), round by round")
    print("answers: the same" if right else "answers: DIFFERENT")
    return 0 if right else 1


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
