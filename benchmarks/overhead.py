#!/usr/bin/env python3
"""What it costs to be watched: the main job with nothing to look at, with the board, and with the monitor, in turn.

    python benchmarks/overhead.py [--records 300000] [--copies 4] [--rounds 7] [--json]

    blind    actors write nothing on the board and have no heartbeat; the supervisor looks at nobody
    board    as every run is: the board is written, the supervisor looks at it twice a second
    monitor  the monitor besides, with one dashboard open (an event stream) and a scrape of /metrics each second

Each round runs all three over the same logs (given ``--copies`` times) into four memcacheds, in an order that changes
from round to round. Time runs from *ready* to the end of the run; processor seconds are those of all its processes.
After each run every key of every store is compared with what protobuf's own encoder makes; a difference, or a scrape
that fails, ends with exit code 1. Costs are ratios to ``blind``, round by round.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import gzip  # noqa: E402
import http.client  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
import urllib.request  # noqa: E402
from contextlib import suppress  # noqa: E402
from typing import Any  # noqa: E402

from actors.runtime.rundir import MONITOR_TOKEN, path_for  # noqa: E402
from scripts.make_logs import write_logs  # noqa: E402
from tests.loads import DEVICE_TYPES, Stores, expected_stores  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.servers import Memcached, free_port  # noqa: E402

VARIANTS = ("blind", "board", "monitor")
Figures = dict[str, dict[str, float]]


def main() -> int:
    """Run the benchmark, or one run of it; return the exit code."""
    if sys.argv[1:2] == ["--one"]:
        return _one(sys.argv[2], sys.argv[3:])
    options = _options()
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        logs = Path(folder) / "logs"
        paths = write_logs(logs, files=3, records=options.records, seed=1)
        expected = expected_stores(line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n"))
        for copy in range(1, options.copies):
            for path in paths:
                os.link(path, path.with_name(f"copy-{copy}-{path.name}"))
        servers = {name: Memcached(megabytes=1024) for name in DEVICE_TYPES}
        try:
            for server in servers.values():
                server.start()
            rounds = [_round(Path(folder), number, servers, expected) for number in range(options.rounds)]
        finally:
            for server in servers.values():
                server.stop()
    return _print(rounds, options)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--records", type=int, default=300_000)
    parser.add_argument("--copies", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _one(variant: str, words: list[str]) -> int:
    """One run in this process; actors are forked from it, so what is taken away here is taken away there too."""
    from actors import cli
    from actors.runtime import board, loop

    if variant == "blind":
        instead = [(board.Slot, name, _nothing) for name in ("publish", "phase", "took", "take", "start_heartbeat")]
        for owner, name, function in (*instead, (board.SupervisorBoard, "beat", _nothing),
                                      (loop._Run, "_look", _look_away)):
            setattr(owner, name, function)
    return cli.main(words)


def _nothing(*arguments: Any) -> None:
    """What takes the place of what is written."""


def _look_away(run: Any, now: float) -> None:
    """What takes the place of the supervisor's look: it still wakes up for it, and sees nothing."""
    run._look_at = now + 0.5


def _round(folder: Path, number: int, servers: dict[str, Memcached], expected: Stores) -> Figures:
    turn = number % len(VARIANTS)
    return {variant: _run(folder, variant, servers, expected) for variant in VARIANTS[turn:] + VARIANTS[:turn]}


def _run(folder: Path, variant: str, servers: dict[str, Memcached], expected: Stores) -> dict[str, float]:
    state = folder / f"state-{time.monotonic_ns()}"
    words = ["run", str(ROOT / "config/appsinstalled-memcached.toml"), "--format", "json", "--state", str(state),
             "--set", f"source.pattern={folder}/logs/*.tsv.gz", "--set", "source.rename=none"]
    for name in DEVICE_TYPES:
        words += ["--set", f"sinks.{name}.server={servers[name].address}"]
    port = free_port()
    if variant == "monitor":
        words += ["--monitor", "--set", f"monitor.port={port}"]
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    process = subprocess.Popen(
        [sys.executable, "-P", __file__, "--one", variant, *words], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    visitor = _Visitor(port, state) if variant == "monitor" else None
    assert process.stdout is not None
    events = [json.loads(line) for line in process.stdout]
    if process.wait():
        raise SystemExit(f"{variant}: ended with {process.returncode}: {events[-1:]}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    said = {event["event"]: event for event in events if "event" in event}
    return {
        "seconds": said["ended"]["seconds"] - said["ready"]["seconds"],
        "cpu_s": after.ru_utime + after.ru_stime - used.ru_utime - used.ru_stime,
        "scrapes": visitor.finish() if visitor is not None else 0,
        "right": _check(servers, expected)}


class _Visitor:
    """One dashboard that stays open, and a Prometheus that scrapes each second; in threads of this process."""

    def __init__(self, port: int, state: Path) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._token = path_for(state) / MONITOR_TOKEN
        self._over = threading.Event()
        self._scrapes = 0
        self._threads = [threading.Thread(target=work) for work in (self._scrape, self._watch)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> int:
        """Wait for the end; return how many scrapes there were."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if not self._scrapes:
            raise SystemExit("no scrape was answered: the run is too short, or the monitor was not there")
        return self._scrapes

    def _scrape(self) -> None:
        while not self._over.wait(1.0):
            with suppress(OSError), self._ask("/metrics") as answer:
                self._scrapes += b"thresher_" in answer.read()

    def _watch(self) -> None:
        while not self._over.wait(0.2):
            with suppress(OSError), self._ask("/api/events") as stream:
                while stream.readline():
                    pass

    def _ask(self, path: str) -> http.client.HTTPResponse:
        headers = {"Authorization": f"Bearer {self._token.read_text()}"}
        request = urllib.request.Request(self._url + path, headers=headers)
        answer: http.client.HTTPResponse = urllib.request.urlopen(request, timeout=5)
        return answer


def _check(servers: dict[str, Memcached], expected: Stores) -> bool:
    right = True
    for name, items in expected.items():
        right = right and servers[name].items() == len(items) and servers[name].get_many(list(items)) == items
        servers[name].flush()
    return right


def _print(rounds: list[Figures], options: argparse.Namespace) -> int:
    right = all(one[variant]["right"] for one in rounds for variant in VARIANTS)
    costs = {
        measure: {variant: _spread([100 * (one[variant][measure] / one["blind"][measure] - 1) for one in rounds])
                  for variant in VARIANTS[1:]}
        for measure in ("seconds", "cpu_s")}
    result: dict[str, Any] = {
        "records": options.records * options.copies, "cores": os.cpu_count(), "python": platform.python_version(),
        "contents_right": right, "cost_percent": costs, "rounds": rounds}
    if options.json:
        print(json.dumps(result))
        return 0 if right else 1
    print(f"{options.records * options.copies:,} records, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"{len(rounds)} rounds: median (min to max)")
    for variant in VARIANTS:
        low, middle, high = _spread([one[variant]["seconds"] for one in rounds])
        cpu = _spread([one[variant]["cpu_s"] for one in rounds])
        print(f"{variant:<10}{middle:6.2f} s ({low:.2f} to {high:.2f})   processors {cpu[1]:6.2f} s "
              f"({cpu[0]:.2f} to {cpu[2]:.2f})")
    for variant in VARIANTS[1:]:
        of_time, of_cpu = (
            f"{middle:+5.1f} % of the {what} ({low:+.1f} to {high:+.1f})"
            for what, (low, middle, high) in zip(
                ("time", "processors"), (of_one[variant] for of_one in costs.values()), strict=True))
        print(f"{variant:<10}costs {of_time}, {of_cpu}, round by round")
    print("contents: every key and value as protobuf encodes it" if right else "contents: WRONG")
    return 0 if right else 1


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
