#!/usr/bin/env python3
"""Thresher against the plain loop on the main job, in one run, in turn, with the contents of the stores checked.

    python benchmarks/appsinstalled.py [--records 300000] [--rounds 5] [--workers 2] [--json]

Makes seeded logs (50 app ids a record on average, three gz files), starts four memcacheds, and in each round loads the
logs once with each program, started as a process like a user would, so start-up counts. After each load every key of
every store is compared with what protobuf's own encoder makes. Exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import gzip  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402

from scripts.make_logs import write_logs  # noqa: E402
from tests.loads import DEVICE_TYPES, Stores, expected_stores  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.servers import Memcached  # noqa: E402

Servers = dict[str, Memcached]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        logs = Path(folder) / "logs"
        paths = write_logs(logs, files=3, records=options.records, seed=1)
        expected = expected_stores(line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n"))
        servers = {name: Memcached(megabytes=1024) for name in DEVICE_TYPES}
        try:
            for server in servers.values():
                server.start()
            rounds = [_round(Path(folder), paths, servers, expected, options.workers) for _ in range(options.rounds)]
        finally:
            for server in servers.values():
                server.stop()
    return _print(rounds, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _round(folder: Path, paths: list[Path], servers: Servers, expected: Stores, workers: int) -> dict[str, float]:
    plain_s = _timed([sys.executable, "-P", str(ROOT / "benchmarks/plain_loop.py"),
                      *(servers[name].address for name in DEVICE_TYPES), *map(str, paths)])[0]
    right = _check(servers, expected)
    state = folder / f"state-{time.monotonic_ns()}"
    sets = [word for name in DEVICE_TYPES for word in ("--set", f"sinks.{name}.server={servers[name].address}")]
    thresher_s, output = _timed([
        sys.executable, "-m", "actors.cli", "run", str(ROOT / "config/appsinstalled-memcached.toml"),
        "--format", "json", "--state", str(state), "--set", f"source.pattern={paths[0].parent}/*.tsv.gz", "--set",
        f"parser.workers={workers}", *sets])
    right = _check(servers, expected) and right
    for path in paths:
        path.with_name(f".{path.name}").rename(path)
    ready_s = next(event["seconds"] for event in map(json.loads, output.splitlines()) if event["event"] == "ready")
    return {"plain_s": plain_s, "thresher_s": thresher_s, "ready_s": ready_s, "right": right}


def _timed(command: list[str]) -> tuple[float, str]:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - began
    if done.returncode:
        raise SystemExit(f"{' '.join(command[:4])} ... ended with {done.returncode}:\n{done.stdout}\n{done.stderr}")
    return seconds, done.stdout


def _check(servers: Servers, expected: Stores) -> bool:
    """Compare every key of every store, then empty the stores."""
    right = True
    for name, items in expected.items():
        right = right and servers[name].items() == len(items) and servers[name].get_many(list(items)) == items
        servers[name].flush()
    return right


def _print(rounds: list[dict[str, float]], options: argparse.Namespace) -> int:
    right = all(one["right"] for one in rounds)
    ratios = [one["plain_s"] / one["thresher_s"] for one in rounds]
    result = {
        "records": options.records, "workers": options.workers, "cores": os.cpu_count(),
        "python": platform.python_version(), "contents_right": right, "rounds": rounds, "ratio": _spread(ratios),
        **{name: _spread([one[name] for one in rounds]) for name in ("plain_s", "thresher_s", "ready_s")},
    }
    if options.json:
        print(json.dumps(result))
        return 0 if right else 1
    print(f"{options.records:,} records, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"{options.workers} workers, {len(rounds)} rounds: median (min to max)")
    for name, title in (("plain_s", "plain loop"), ("thresher_s", "thresher")):
        low, middle, high = _spread([one[name] for one in rounds])
        print(f"{title:<12}{middle:6.2f} s ({low:.2f} to {high:.2f})   {options.records / middle:10,.0f} records/s")
    low, middle, high = _spread(ratios)
    print(f"{'ratio':<12}{middle:6.2f}   ({low:.2f} to {high:.2f}), pair by pair")
    low, middle, high = _spread([one["ready_s"] for one in rounds])
    print(f"{'ready':<12}{middle:6.2f} s ({low:.2f} to {high:.2f})")
    print("contents: every key and value as protobuf encodes it" if right else "contents: WRONG")
    return 0 if right else 1


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
