#!/usr/bin/env python3
"""What a disk costs whose every flush takes longer, job by job, with and without in turn.

    python benchmarks/flushes.py [--flush-ms 5] [--rounds 5] [--job main|numbers|connections] [--json]

The flushes of all processes take so long besides by a library that is preloaded (tests/powercut/record.c, which needs a
C compiler), also those of LMDB's writes that wait. ``main`` loads 300,000 records into four LMDB stores, ``numbers``
takes 3,000,000 numbers from five clients, ``connections`` reports the hours of a file of 200 MB. Exit code 1 when a run
ends with another code than 0.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import random  # noqa: E402
import shutil  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

from scripts.make_connections import write_connections  # noqa: E402
from scripts.make_logs import write_logs  # noqa: E402
from tests.powercut.recording import build, slowed  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.tcp import address_of  # noqa: E402

CLIENTS, NUMBERS = 5, 600_000
Environment = dict[str, str]


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--flush-ms", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--job", choices=list(JOBS), action="append", help="only this one")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="thresher-flushes-", dir="/var/tmp") as folder:
        library = build(Path(folder))
        if library is None:
            parser.error("no C compiler is installed (apt-get install gcc libc6-dev)")
        for name in options.job or JOBS:
            place = Path(folder) / name
            place.mkdir()
            run = JOBS[name](place)
            pairs = [[run(slowed(library, Path(folder), ms)) for ms in (0, options.flush_ms)]
                     for _ in range(options.rounds)]
            results[name] = _summary(pairs)
            if not options.json:
                print(f"{name:<12}{results[name]['without_s']:6.2f} s without, {results[name]['with_s']:6.2f} s with "
                      f"{options.flush_ms} ms a flush: {results[name]['ratio']:.2f} pair by pair", flush=True)
    if options.json:
        print(json.dumps(results))
    return 0


def _summary(pairs: list[list[float]]) -> dict[str, float]:
    return {"without_s": statistics.median(pair[0] for pair in pairs),
            "with_s": statistics.median(pair[1] for pair in pairs),
            "ratio": statistics.median(pair[1] / pair[0] for pair in pairs)}


def _command(state: Path, *words: str) -> list[str]:
    shutil.rmtree(state, ignore_errors=True)
    return [sys.executable, "-m", "actors.cli", "run", *words, "--state", str(state), "--format", "json"]


def _timed(command: list[str], environment: Environment) -> float:
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(command[3:6])} ... ended with {done.returncode}:\n{done.stdout[-2000:]}")
    return time.perf_counter() - began


def _main_job(place: Path) -> Callable[[Environment], float]:
    paths = write_logs(place / "logs", files=3, records=300_000, seed=1)

    def run(environment: Environment) -> float:
        seconds = _timed(_command(place / "state", "appsinstalled", "--set", f"source.pattern={place}/logs/*.tsv.gz"),
                         environment)
        for path in paths:
            path.with_name(f".{path.name}").rename(path)
        return seconds

    return run


def _connections(place: Path) -> Callable[[Environment], float]:
    write_connections(place / "log", 200_000_000, seed=1)
    return lambda environment: _timed(
        _command(place / "state", "connections", str(place / "log"), "--once"), environment)


def _numbers(place: Path) -> Callable[[Environment], float]:
    chance = random.Random(1)
    sent = [b"".join(b"%09d\n" % chance.randrange(10**9) for _ in range(NUMBERS)) for _ in range(CLIENTS)]

    def run(environment: Environment) -> float:
        state = place / "state"
        command = _command(state, "numbers", "--set", "source.port=0")
        with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            while not (state / "journal" / "tcp.address").exists():
                time.sleep(0.01)
            clients = [socket.create_connection(address_of(state)) for _ in sent]
            began = time.perf_counter()
            threads = [threading.Thread(target=client.sendall, args=[data])
                       for client, data in zip(clients, sent, strict=True)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            clients[0].sendall(b"terminate\n")
            if process.wait():
                raise SystemExit(f"numbers ended with {process.returncode}")
            for client in clients:
                client.close()
            return time.perf_counter() - began

    return run


JOBS: dict[str, Callable[[Path], Callable[[Environment], float]]] = {
    "main": _main_job, "numbers": _numbers, "connections": _connections}


if __name__ == "__main__":
    os.environ["PYTHONPATH"] = str(ROOT)
    sys.exit(with_all_it_starts(main))
