#!/usr/bin/env python3
"""Thresher against a plain asyncio server on the numbers job, in one run, in turn, with the logs checked.

    python benchmarks/numbers.py [--seconds 10] [--clients 5] [--rounds 3] [--kill] [--json]

In each round, for each server: start it, let the clients make their numbers (not timed), let them send for so many
seconds, then send ``terminate`` and wait for the end. The time runs from the first byte to the end of the server's
process, so what is still in the kernel's buffers after those seconds counts with the time that it takes. Then the log
is compared with what the clients have sent: exactly the distinct numbers, each once, and the reports add up. With
``--kill`` an actor is killed every second. Memory is the proportional share (PSS) of all processes of the server,
sampled ten times a second. Exit code 1 when anything is wrong.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import contextlib  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import random  # noqa: E402
import re  # noqa: E402
import signal  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable  # noqa: E402

import numpy as np  # noqa: E402

from actors.runtime.board import read_views  # noqa: E402
from actors.runtime.rundir import BOARD, path_for  # noqa: E402
from benchmarks.numbers_client import numbers_of  # noqa: E402
from tests.loads import members  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

_REPORT = re.compile(r"Received (\d+) unique numbers, (\d+) duplicates\. Unique total: (\d+)")
Result = dict[str, float]
#: States of ``/proc/net/tcp``: listens; closed, and waits for nothing that anybody reads.
_NOT_OPEN = ("0A", "06")


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--clients", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--numbers", type=int, default=12_000_000, help="different ones that each client has")
    parser.add_argument("--kill", action="store_true", help="kill an actor every second")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rounds = [{"thresher": _measure(_thresher, options, seed), "plain": _measure(_plain, options, seed)}
              for seed in range(options.rounds)]
    return _print(rounds, options)


class _Server:
    """A server under test: its process, where it listens, its log, and what it says it has received."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path,
                 received: Callable[[], tuple[int, int]], state: Path | None) -> None:
        self.process = process
        self.port = port
        self.log = log
        self.received = received
        self.state = state


def _thresher(folder: Path) -> _Server:
    state, out = folder / "state", folder / "out"
    with out.open("w") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.cli", "run", "numbers", "--state", str(state), "--set", "source.port=0"],
            cwd=ROOT, stdout=file, stderr=subprocess.DEVNULL, text=True, start_new_session=True)
    address = state / "journal" / "tcp.address"
    while not address.exists():
        time.sleep(0.01)
    port = int(address.read_text().rpartition(":")[2])

    def received() -> tuple[int, int]:
        reports = [(int(m[1]), int(m[2]), int(m[3])) for m in _REPORT.finditer(out.read_text())]
        new = sum(one[0] for one in reports)
        return (new if new == reports[-1][2] else -1), sum(one[1] for one in reports)

    return _Server(process, port, state / "numbers.log", received, state)


def _plain(folder: Path) -> _Server:
    log = folder / "plain.log"
    process = subprocess.Popen([sys.executable, "-P", str(ROOT / "benchmarks/set_server.py"), str(log)], text=True,
                               stdout=subprocess.PIPE, start_new_session=True)
    assert process.stdout is not None
    out = process.stdout
    port = int(out.readline())

    def received() -> tuple[int, int]:
        new, again = out.read().split()
        return int(new), int(again)

    return _Server(process, port, log, received, None)


def _measure(start: Callable[[Path], _Server], options: argparse.Namespace, seed: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        server = start(Path(folder))
        kill = options.kill and server.state is not None
        clients = [subprocess.Popen(
            [sys.executable, "-P", str(ROOT / "benchmarks/numbers_client.py"), f"127.0.0.1:{server.port}",
             str(100 * seed + number), str(options.seconds), str(options.numbers)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for number in range(options.clients)]
        for client in clients:
            assert client.stdout is not None
            client.stdout.readline()
        began = time.perf_counter()
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        peak, kills = _watch(server, clients, kill, random.Random(seed))
        sent = [int(client.communicate()[0]) for client in clients]
        _terminate(server)
        seconds = time.perf_counter() - began
        new, again = server.received()
        right = _check(server.log, [100 * seed + n for n in range(options.clients)], sent, options.numbers)
        total = sum(sent)
        return {"sent": total, "seconds": seconds, "per_s": total / seconds, "memory_mb": peak / 1e6, "kills": kills,
                "right": right and new + again == total and server.process.returncode == 0}


def _terminate(server: _Server) -> None:
    """Send the word, when all that the clients sent is read: it ends the service for everybody, whatever they still
    have in the kernel's buffers. Again if need be: one client more than are allowed is closed at once."""
    while server.process.poll() is None:
        if not _connections(server.port):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port)) as connection:
                connection.sendall(b"terminate\n")
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(0.02)


def _connections(port: int) -> int:
    """How many connections the server at this port has not read to their end."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(int(row[1].rpartition(":")[2], 16) == port and row[3] not in _NOT_OPEN for row in rows)


def _watch(server: _Server, clients: list[subprocess.Popen[str]], kill: bool, rng: random.Random) -> tuple[int, int]:
    """Sample memory, and kill, until the clients are done."""
    peak = kills = 0
    kill_at = time.monotonic() + 1.0
    while any(client.poll() is None for client in clients):
        peak = max(peak, sum(map(_pss, members(server.process.pid))))
        if kill and time.monotonic() >= kill_at and server.state is not None:
            kill_at += 1.0
            views = [view for view in read_views(path_for(server.state) / BOARD)
                     if view.pid and not view.actor.startswith("reader")]  # it is the one that clients hang on
            os.kill(rng.choice(views).pid, signal.SIGKILL)
            kills += 1
        time.sleep(0.1)
    return peak, kills


def _pss(pid: int) -> int:
    """Proportional share of memory, in bytes."""
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    match = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return 1024 * int(match[1]) if match else 0


def _check(log: Path, seeds: list[int], sent: list[int], count: int) -> bool:
    """Whether the log holds exactly the distinct numbers that were sent."""
    expected = np.zeros(10**9, bool)
    for seed, number in zip(seeds, sent, strict=True):
        expected[numbers_of(seed, count)[:number]] = True
    data = np.fromfile(log, np.uint8)
    if len(data) % 10:
        return False
    lines = data.reshape(-1, 10)
    if (lines[:, 9] != 0x0A).any() or ((lines[:, :9] < 0x30) | (lines[:, :9] > 0x39)).any():
        return False
    logged = np.zeros(len(lines), np.int64)
    for column in range(9):
        logged = 10 * logged + (lines[:, column] - 0x30)
    if len(logged) != int(np.count_nonzero(expected)):
        return False
    expected[logged] = False  # as many lines as numbers: if each was logged none is left, and none is there twice
    return not expected.any()


def _print(rounds: list[dict[str, Result]], options: argparse.Namespace) -> int:
    right = all(one["right"] for round_ in rounds for one in round_.values())
    if options.json:
        print(json.dumps({"rounds": rounds, "right": right, "cores": os.cpu_count()}))
        return 0 if right else 1
    print(f"{options.clients} clients for {options.seconds:g} s, {os.cpu_count()} cores, Python "
          f"{platform.python_version()}, {len(rounds)} rounds: median (min to max)")
    for name, title in (("thresher", "thresher"), ("plain", "asyncio and a set")):
        for key, form in (("per_s", "{:,.0f} numbers/s"), ("memory_mb", "{:,.0f} MB")):
            values = [round_[name][key] for round_ in rounds]
            low, middle, high = (form.format(f(values)) for f in (min, statistics.median, max))
            print(f"{title:<20}{middle} ({low} to {high})")
    ratios = [round_["thresher"]["per_s"] / round_["plain"]["per_s"] for round_ in rounds]
    print(f"{'ratio':<20}{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f}), pair by pair")
    if options.kill:
        print(f"{'kills':<20}{sum(int(round_['thresher']['kills']) for round_ in rounds)}")
    print("logs: exactly what was sent, each number once; the reports add up" if right else "logs: WRONG")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
