#!/usr/bin/env python3
"""What a key costs when there are many: records that are counted by key, or stored by it, with ever more keys.

    python benchmarks/many_keys.py [--keys 10000,1000000] [--rounds 3] [--lmdb] [--json]

Each key comes once, in no order; with fewer keys than a million they come again until there are a million records.
They are counted (``fold``), or stored in an LMDB (``--lmdb``). Time and processor seconds are those of the whole
command; memory is the most that the supervisor, and the largest of its actors, have of their own at a time. In turn
with it the same is done by a plain loop: a dictionary, and one ``executemany`` of a row for each key in their order (or
one transaction of LMDB). After each run every key must have its number; a difference ends with exit code 1. That memory
is bounded is tested by counts (``tests/unit/test_many_keys.py``, ``tests/unit/test_runs.py``).
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import re  # noqa: E402
import resource  # noqa: E402
import shutil  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from typing import Any  # noqa: E402

from tests.processes import with_all_it_starts  # noqa: E402

_PIPELINE = '''
from collections import Counter

from thresher import Fold, Pipeline
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import Files

def partials(values):
    return {(key,): [number] for key, number in Counter(values).items()}

PIPELINE = Pipeline(name="many", source=Files(paths=["keys"], rename="none"), parse=bytes.strip, MORE)
'''
_FOLD = 'check=bytes.decode, fold=Fold(partials=partials, keys=("key",), fields=("count",)), sinks={}'
_LMDB = 'encode=lambda key: (key, key), sinks={"store": Lmdb(sync=False)}'
_PLAIN_FOLD = '''
import sqlite3
from collections import Counter

import msgspec

with open("keys", "rb") as file:
    counts = Counter(line.strip().decode() for line in file)
pack = msgspec.msgpack.Encoder().encode
store = sqlite3.connect("plain.db", isolation_level=None)
store.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL;"
                    "CREATE TABLE folded (key BLOB PRIMARY KEY, numbers BLOB NOT NULL) WITHOUT ROWID; BEGIN")
store.executemany("INSERT INTO folded VALUES (?, ?)", ((pack((key,)), pack([counts[key]])) for key in sorted(counts)))
store.execute("COMMIT")
store.close()
'''
_PLAIN_LMDB = '''
import lmdb

with open("keys", "rb") as file, lmdb.open("plain.lmdb", map_size=1 << 36, sync=False) as store:
    with store.begin(write=True) as transaction:
        transaction.cursor().putmulti((line.strip(), line.strip()) for line in file)
'''
_RECORDS = 1_000_000
#: Has no divisor in common with a round number: so many times a number, modulo that, are all numbers in no order.
_STRIDE = 7_368_787
Figures = dict[str, Any]


def main() -> int:
    """Run the benchmark; return the exit code."""
    options = _options()
    numbers = [int(number) for number in options.keys.split(",")]
    rounds = [{str(keys): _run(keys, options.lmdb) for keys in numbers} for _ in range(options.rounds)]
    right = all(one["right"] for each in rounds for one in each.values())
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "right": right, "rounds": rounds}))
        return 0 if right else 1
    print(f"{os.cpu_count()} cores, {len(rounds)} rounds: median (min to max)")
    for name in rounds[0]:
        some = [each[name] for each in rounds]
        print(f"{int(name):>12,} keys {_spread(some, 'seconds')} s, CPU {_spread(some, 'cpu')} s, supervisor "
              f"{_spread(some, 'supervisor_mb')} MB, largest actor {_spread(some, 'actor_mb')} MB; plain loop "
              f"CPU {_spread(some, 'plain_cpu')} s, ratio {_spread(some, 'ratio')}")
    print("contents: every key has its number" if right else "contents: WRONG")
    return 0 if right else 1


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--keys", default="10000,1000000", help="how many keys, separated by commas")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--lmdb", action="store_true", help="store them instead of counting them")
    parser.add_argument("--json", action="store_true", help="one JSON object instead of the table")
    return parser.parse_args()


def _run(keys: int, is_lmdb: bool) -> Figures:
    folder = Path(tempfile.mkdtemp(prefix="thresher-bench-"))
    records = max(_RECORDS, keys)
    try:
        (folder / "many.py").write_text(_PIPELINE.replace("MORE", _LMDB if is_lmdb else _FOLD))
        with (folder / "keys").open("w") as file:
            file.writelines(f"key-{number * _STRIDE % keys:09d}\n" for number in range(records))
        began, before = time.monotonic(), _cpu()
        process = subprocess.Popen(
            [sys.executable, "-m", "thresher", "run", "many.py", "--format", "none"], cwd=folder,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        memory = _watch(process)
        seconds = time.monotonic() - began
        cpu, before = _cpu() - before, _cpu()
        right = process.returncode == 0 and _is_right(folder / "var/many", keys, records, is_lmdb)
        plain = _PLAIN_LMDB if is_lmdb else _PLAIN_FOLD
        subprocess.run([sys.executable, "-c", plain], cwd=folder, check=True)
        plain_cpu = _cpu() - before
        return {"seconds": seconds, "cpu": cpu, "plain_cpu": plain_cpu, "ratio": cpu / plain_cpu, "right": right,
                **memory}
    finally:
        shutil.rmtree(folder)


def _watch(process: subprocess.Popen[bytes]) -> Figures:
    """Wait for the end; return the most memory that was seen, in MB."""
    supervisor = actor = 0.0
    while process.poll() is None:
        supervisor = max(supervisor, _own_mb(process.pid))
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            pids = children.read_text().split()
        except OSError:
            break
        actor = max([actor, *(_own_mb(int(pid)) for pid in pids)])
        time.sleep(0.05)
    process.wait()
    return {"supervisor_mb": supervisor, "actor_mb": actor}


def _cpu() -> float:
    """Processor seconds of all commands so far, and of what they have started."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _own_mb(pid: int) -> float:
    try:
        found = re.search(r"RssAnon:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0.0
    return int(found[1]) / 1024 if found else 0.0


def _is_right(state: Path, keys: int, records: int, is_lmdb: bool) -> bool:
    """Whether every key has its number, looked at one by one."""
    count = 0
    if is_lmdb:
        from actors.sinks.lmdb import read_lmdb

        for stored, value in read_lmdb(state / "store.lmdb"):
            count += stored == value
        return count == keys
    from actors.runtime.state import rows_of_state

    total = 0
    for (_, ), (number, ) in rows_of_state(state / "aggregator.1.db"):
        count, total = count + 1, total + number
        if number not in (records // keys, records // keys + 1):
            return False
    return (count, total) == (keys, records)


def _spread(some: list[Figures], name: str) -> str:
    values = sorted(one[name] for one in some)
    return f"{statistics.median(values):6.2f} ({values[0]:.2f} to {values[-1]:.2f})"


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
