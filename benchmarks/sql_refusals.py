#!/usr/bin/env python3
"""The sink `sql` on a real PostgreSQL, or SQLite, whose database refuses rows: what it costs, in turn, and checked.

    python benchmarks/sql_refusals.py [--rows 100000] [--refused 0,1,25,100] [--batch 2000] [--rounds 3] [--key]
                                      [--sqlite | --without-block] [--json]

Each round writes the same rows for each share that is refused (in percent) to a database of its own, whose table has a
constraint that the sink does not know; groups are eight batches, one transaction each. Which rows are refused is drawn
by a seed. With ``--without-block`` the databases have no PL/pgSQL, so that refused rows are found by savepoints from
here, not by a block on the server. Memory is the most that the writing process had beyond what it began with, and the
most that the server's process for it had. What is in the table, and what was handed back as refused, is compared with
what was written: exit code 1 when anything differs. A server is started for it, which needs PostgreSQL on this machine;
it does not wait for the disk.
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
import random  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from contextlib import ExitStack, closing  # noqa: E402

from actors.runtime.values import Payload  # noqa: E402
from actors.sinks.sql import Sql  # noqa: E402
from tests.databases import COLUMNS, Place, postgres_place, sqlite_place  # noqa: E402
from tests.postgres import Postgres  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: Batches in a group.
GROUP = 8
Item = tuple[int, str]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--refused", default="0,1,25,100", help="percent, separated by commas")
    parser.add_argument("--batch", type=int, default=2000, help="rows of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--key", action="store_true", help="the table has a primary key")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--sqlite", action="store_true", help="a file in place of a server")
    where.add_argument("--without-block", action="store_true", help="the databases have no PL/pgSQL")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--write", help=argparse.SUPPRESS)  # what the process does that is measured
    options = parser.parse_args()
    if options.write:
        print(json.dumps(_write(*json.loads(options.write))))
        return 0
    found: dict[float, list[Result]] = {float(share): [] for share in options.refused.split(",")}
    with ExitStack() as stack:
        server = None if options.sqlite else stack.enter_context(Postgres())
        for number in range(options.rounds):
            for share, results in found.items():
                with tempfile.TemporaryDirectory() as folder:
                    place = sqlite_place(Path(folder)) if server is None else postgres_place(Path(folder), server)
                    results.append(_measured(place, options, share, number))
    return _print(found, options)


def _items(rows: int, share: float, seed: int) -> list[Item]:
    chance = random.Random(seed)
    return [(number, "bad" if chance.random() * 100 < share else "a word or two") for number in range(rows)]


def _measured(place: Place, options: argparse.Namespace, share: float, seed: int) -> Result:
    key = " PRIMARY KEY" if options.key else ""
    if options.without_block:
        place.ask("DROP EXTENSION plpgsql")
    place.ask(f"CREATE TABLE rows (id bigint NOT NULL{key}, name text NOT NULL CHECK (name <> 'bad'))")
    what = [place.url, str(place.folder), ["id"] if options.key else [], options.rows, share, seed, options.batch]
    done = subprocess.run([sys.executable, __file__, "--write", json.dumps(what)], capture_output=True, check=True)
    result, refused = json.loads(done.stdout)
    items = _items(options.rows, share, seed)
    there = place.ask("SELECT id, name FROM rows ORDER BY id")
    wrong = (refused != [number for number, name in items if name == "bad"]) + (
        there != [item for item in items if item[1] != "bad"])
    return {**result, "wrong": float(wrong)}


def _write(
    url: str, folder: str, key: list[str], rows: int, share: float, seed: int, batch: int
) -> tuple[Result, list[int]]:
    """Write the rows; return what it took, and the numbers of those that were refused."""
    sink = Sql(url=url, table="rows", columns=COLUMNS, key=key)
    items = _items(rows, share, seed)
    batches = [items[start:start + batch] for start in range(0, len(items), batch)]
    packed = [sink.pack(each) for each in batches]
    Path("/proc/self/clear_refs").write_text("5")  # the most that it had begins anew
    before = _peak()
    refused: list[int] = []
    with closing(sink.open("out", Path(folder))) as opened:
        began, cpu = time.perf_counter(), time.process_time()
        for start in range(0, len(packed), GROUP):
            group = range(start, min(start + GROUP, len(packed)))
            for one in opened.write([Payload("run", at, at + 1, len(batches[at]), packed[at]) for at in group]):
                refused.append(batches[group[one.payload]][one.item][0])
        took, cpu = time.perf_counter() - began, time.process_time() - cpu
        server = _server(sink)
    return {"write_s": took, "cpu_s": cpu, "peak_mb": _peak() - before, **server}, refused


def _peak(process: Path = Path("/proc/self")) -> float:
    """The most memory that a process had, in MB."""
    lines = (process / "status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def _server(sink: Sql) -> Result:
    """What the server's process for this sink has used: CPU, and the most memory, that which is shared included."""
    if not sink.url:
        return {"server_cpu_s": 0.0, "server_mb": 0.0}
    import sqlalchemy

    engine = sqlalchemy.create_engine(sink.url)
    with engine.connect() as connection:
        process = Path("/proc") / str(connection.execute(sqlalchemy.text(
            "SELECT pid FROM pg_stat_activity WHERE application_name = 'thresher out'")).scalar_one())
    engine.dispose()
    used = (process / "stat").read_text().rpartition(")")[2].split()
    return {"server_cpu_s": (int(used[11]) + int(used[12])) / os.sysconf("SC_CLK_TCK"),
            "server_mb": _peak(process)}


def _print(found: dict[float, list[Result]], options: argparse.Namespace) -> int:
    wrong = int(sum(one["wrong"] for rounds in found.values() for one in rounds))
    rows = {share: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for share, rounds in found.items()}
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "rounds": found, "wrong": wrong}))
        return 1 if wrong else 0
    where = "SQLite" if options.sqlite else f"PostgreSQL{' without PL/pgSQL' * options.without_block}"
    print(f"{options.rows:,} rows to {where}, median of {options.rounds} (least to most)\n")
    print(f"{'refused':>8}{'seconds':>24}{'rows/s':>10}{'of none':>9}{'CPU s, server':>17}{'of none':>9}"
          f"{'memory MB, server':>20}")
    none = next(iter(rows.values()))
    for share, row in rows.items():
        times = [one["write_s"] for one in found[share]]
        print(f"{share:7g}%{row['write_s']:8.2f} ({min(times):.2f} to {max(times):.2f})".ljust(32)
              + f"{options.rows / row['write_s']:10,.0f}{row['write_s'] / none['write_s']:9.2f}"
              f"{row['cpu_s']:10.2f}{row['server_cpu_s']:7.2f}{_cpu(row) / _cpu(none):9.2f}"
              f"{row['peak_mb']:13.1f}{row['server_mb']:7.1f}")
    print("\n" + (f"{wrong} runs are wrong" if wrong else "every row is there, or was handed back, once"))
    return 1 if wrong else 0


def _cpu(row: Result) -> float:
    return row["cpu_s"] + row["server_cpu_s"]


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
