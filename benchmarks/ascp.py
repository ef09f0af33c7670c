#!/usr/bin/env python3
"""Lines of ascp logs to typed events: one table-driven pass, and a hundred or so regular expressions, in one run.

    python benchmarks/ascp.py [--bytes 8MB] [--rounds 5] [--end 200MB] [--stream 5MB] [--json]

Makes seeded lines and in each round has each program take apart lines that it has not seen, in turn, in this process:
``table`` is the application's parser; ``regexes`` searches for each expression in each line (``ascp_regexes.py``);
``regexes by kind`` tries only those that a line of its kind may have. They are all given lines as a file has them, and
make typed values. The values must be the same; exit code 1 when they are not. Time is that of the processor, for one;
``at best`` is that of the turn (4,000 lines) of each program that others on the machine have disturbed least.

With ``--end`` also from file to store, as a user would: ``thresher run ascp``, beside a plain loop with the same
parser and the same store, each started as a process. The keys and values must be the same. With ``--stream`` also lines
over TCP into ``ascp-live``, as fast as they are taken, and then so many a second, of which every tenth is waited for
until it is in the store (``ascp_stream.py``). ``--json`` has what each took; ``benchmarks/ascp_proof.py`` draws it.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any  # noqa: E402

from actors.apps.ascp.events import Event  # noqa: E402
from actors.apps.ascp.fields import BYTES  # noqa: E402
from actors.apps.ascp.lines import parse_lines  # noqa: E402
from benchmarks import ascp_regexes, ascp_stream  # noqa: E402
from scripts.make_ascp import START, make_lines  # noqa: E402
from scripts.make_connections import size_of  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: Lines of a slice, as a worker of the application has them.
SLICE = 200
#: Lines that one program has before it is the next one's turn: a worker, too, has the processor's caches for a while.
TURN = 4000
REFERENCE_MS = int(START.timestamp() * 1000) + 30 * 86_400_000

PLAIN = """
import sys
from pathlib import Path
import lmdb
from actors.apps.ascp.events import encode
from actors.apps.ascp.lines import parse_lines
with lmdb.open(sys.argv[2], map_size=1 << 32) as store, open(sys.argv[1], "rb") as file:
    while lines := file.readlines(1 << 19):
        events = parse_lines([line.rstrip(b"\\n") for line in lines], "", int(sys.argv[3]))
        with store.begin(write=True) as transaction, transaction.cursor() as cursor:
            cursor.putmulti(sorted(encode(event) for event in events))
"""


def table(lines: list[bytes]) -> list[Any]:
    """The application's parser."""
    return parse_lines(lines, "", REFERENCE_MS)


def regexes(lines: list[bytes]) -> list[Any]:
    """Each expression, in each line."""
    return [ascp_regexes.every(line.decode("utf-8", "replace"), START.year) for line in lines]


def regexes_by_kind(lines: list[bytes]) -> list[Any]:
    """Those that a line of its kind may have."""
    return [ascp_regexes.by_kind(line.decode("utf-8", "replace"), START.year) for line in lines]


PROGRAMS: dict[str, Callable[[list[bytes]], list[Any]]] = {
    "table": table, "regexes": regexes, "regexes by kind": regexes_by_kind}


def said(event: Event) -> dict[str, Any]:
    """An event as the expressions have it."""
    values: dict[str, Any] = {name: event.group(name) for name in event.groups}
    for name, value, unit in event.fields:
        group, mark, member = name.partition("/")
        if event.kind == "session_statistics" and mark and unit in (0, BYTES):
            values.setdefault(group, {})[member] = value
        elif not (event.kind == "session_statistics" and mark):
            values[name] = round(value, 6) if isinstance(value, float) else value
    if event.pid:
        values |= {"at": event.at, "pid": event.pid} | ({"host": event.host} if event.host else {})
    return values | {"level": event.level, "kind": event.kind} | ({"thread": event.thread} if event.thread else {})


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    source = make_lines(options.seed, is_syslog=not options.plain)
    rounds = []
    same = True
    for _ in range(options.rounds + 1):
        lines = _some(source, options.bytes)
        result: dict[str, float] = {"lines": len(lines), "bytes": sum(map(len, lines)) + len(lines)}
        for start in range(0, len(lines), TURN):
            same = _race(lines[start:start + TURN], bool(start % (2 * TURN)), result) and same
        rounds.append(result)
    del rounds[0]  # it warms everybody up
    found = {"rounds": rounds, "end to end": _end_to_end(options) if options.end else None,
             "stream": _stream(options) if options.stream else None}
    same = same and all(each["same"] for part in ("end to end", "stream") for each in found[part] or ())
    return _print(found, same, options.json)


def _race(lines: list[bytes], backwards: bool, result: dict[str, float]) -> bool:
    """Give lines to each program, slice by slice, and add up what they take; return whether they say the same."""
    slices = [lines[start:start + SLICE] for start in range(0, len(lines), SLICE)]
    for name in sorted(PROGRAMS, reverse=backwards):
        began = time.process_time()
        for some in slices:
            PROGRAMS[name](some)
        took = time.process_time() - began
        result[name] = result.get(name, 0.0) + took
        if len(lines) == TURN:
            result[f"{name}, least"] = min(result.get(f"{name}, least", took / TURN), took / TURN)
    return [said(event) for event in table(lines)] == regexes(lines) == regexes_by_kind(lines)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bytes", type=size_of, default=size_of("8MB"), metavar="SIZE",
                        help="of a round, at least 2MB; default: 8MB")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--plain", action="store_true", help="lines with the prefix that has a date")
    parser.add_argument("--end", type=size_of, default=0, metavar="SIZE", help="also from file to store, so many bytes")
    parser.add_argument("--stream", type=size_of, default=0, metavar="SIZE", help="also over TCP, so many bytes")
    parser.add_argument("--rate", type=float, default=1000, help="lines a second then; default: 1000")
    parser.add_argument("--seconds", type=float, default=10, help="for so long; default: 10")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _some(source: Iterator[bytes], size: int) -> list[bytes]:
    lines: list[bytes] = []
    while size > 0:
        lines += [line[:-1] for line in islice(source, 1000)]
        size -= sum(map(len, lines[-1000:]))
    return lines


def _end_to_end(options: argparse.Namespace) -> list[dict[str, float]]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    rounds = []
    with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        log, state, store = Path(folder, "ascp.log"), Path(folder, "state"), Path(folder, "plain.lmdb")
        lines = _some(make_lines(options.seed), options.end)
        log.write_bytes(b"".join(line + b"\n" for line in lines))
        count = len(lines)
        del lines
        programs = {
            "thresher": [sys.executable, "-m", "actors.cli", "run", "ascp", str(log), "--reference",
                         "2018-11-01T00:00:00Z", "--state", str(state), "--quiet", "--set",
                         f"parser.workers={options.workers}"],
            "plain loop": [sys.executable, "-c", PLAIN, str(log), str(store), str(REFERENCE_MS)]}
        for number in range(options.rounds):
            result: dict[str, float] = {"bytes": log.stat().st_size, "lines": count}
            for path in (state, store):
                shutil.rmtree(path, ignore_errors=True)
            for name in sorted(programs, reverse=bool(number % 2)):
                began = time.perf_counter()
                subprocess.run(programs[name], env=environment, check=True, stdout=subprocess.DEVNULL)
                result[name] = time.perf_counter() - began
            result["same"] = _stored(state / "events.lmdb") == _stored(store)
            rounds.append(result)
    return rounds


def _stream(options: argparse.Namespace) -> list[dict[str, Any]]:
    source = make_lines(options.seed)
    flood = _some(source, options.stream)
    paced = list(islice((line[:-1] for line in source), round(options.seconds * options.rate)))
    return [ascp_stream.measured(flood, paced, options.rate, options.workers) for _ in range(options.rounds)]


def _stored(path: Path) -> int:
    from actors.sinks.lmdb import read_lmdb

    return hash(tuple(read_lmdb(path)))


def _print(found: dict[str, Any], same: bool, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"machine": platform.platform(), "python": platform.python_version(), "same": same,
                          "expressions": ascp_regexes.COUNT, **found}))
        return 0 if same else 1
    rounds = found["rounds"]
    print(f"{ascp_regexes.COUNT} expressions; the values are {'the same' if same else 'NOT THE SAME'}\n")
    print(f"{'program':18}{'lines/s':>12}{'MB/s':>8}{'us a line':>11}{'at best':>9}   "
          "times the regexes (median, least to most); at best")
    best = {name: min(each[f"{name}, least"] for each in rounds) for name in PROGRAMS}
    for name in PROGRAMS:
        seconds = statistics.median(each[name] / each["lines"] for each in rounds)
        size = statistics.median(each["bytes"] / each[name] for each in rounds)
        ratios = [each["regexes"] / each[name] for each in rounds]
        print(f"{name:18}{1 / seconds:12,.0f}{size / 1e6:8.1f}{seconds * 1e6:11.2f}"
              f"{best[name] * 1e6:9.2f}   {statistics.median(ratios):.1f} ({min(ratios):.1f} to {max(ratios):.1f}); "
              f"{best['regexes'] / best[name]:.1f}")
    _print_ways(found["end to end"] or [], found["stream"] or [])
    return 0 if same else 1


def _print_ways(end: list[dict[str, Any]], stream: list[dict[str, Any]]) -> None:
    """From file to store, and from a client to the store."""
    times = {name: [each[name] for each in end] for name in ("thresher", "plain loop") if end}
    if stream:
        times["ascp-live over TCP"] = [each["seconds"] for each in stream]
    for name, took in times.items():
        of = stream if name.startswith("ascp-live") else end
        print(f"\n{name:18}{statistics.median(took):12.2f} s{of[0]['lines'] / statistics.median(took):12,.0f} lines/s"
              f"{of[0]['bytes'] / statistics.median(took) / 1e6:8.1f} MB/s   ({min(took):.2f} to {max(took):.2f} s)",
              end="")
    if stream:
        waits = sorted(wait for each in stream for wait in each["waits"])
        print(f"\nat {stream[0]['rate']:g} lines/s one is in the store after "
              f"{statistics.median(waits):.3f} s (median; 99 % within {waits[len(waits) * 99 // 100]:.3f}, most "
              f"{waits[-1]:.3f})", end="")
    print()


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
