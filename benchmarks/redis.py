#!/usr/bin/env python3
"""The sink of Redis beside redis-py, with and without hiredis: the same keys and values, in turn, and checked.

    python benchmarks/redis.py [--items 50000] [--bytes 190] [--batch 1500] [--rounds 5] [--fsync everysec]
                               [--server HOST:PORT] [--json]

Each round empties the server and writes the same keys:

    plain          redis-py: a pipeline of a batch at a time, without a transaction and without positions
    transactions   redis-py: a pipeline of eight batches in a MULTI, with the position in it
    hiredis        the same, with hiredis to read the replies
    sink           this sink, groups of eight batches: MULTI, position, WATCH
    index          the same with an entry in one of a hundred sorted sets for each key (a script for each)
    packed         what the sink sends, sent by a socket and nothing read apart: what the server can take

A server is started (redis-server), unless one is named, which is emptied. What a worker does (pack) is not in the rate
of the sink, and shown apart; what redis-py packs is in its rate, for it does that where it writes. All values are read
back and compared. Exit code 1 when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, in which this file is called like the library

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import socket  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Sequence  # noqa: E402
from contextlib import ExitStack, closing  # noqa: E402
from typing import Any  # noqa: E402

from redis import Redis as Client  # noqa: E402
from redis.utils import HIREDIS_AVAILABLE  # noqa: E402

from actors.runtime.values import Payload  # noqa: E402
from actors.sinks.redis import Indexed, Redis  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.redis import Redis as Server  # noqa: E402

#: Batches in a group.
GROUP = 8
Item = tuple[bytes, bytes]
Batches = Sequence[list[Item]]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=50_000)
    parser.add_argument("--bytes", type=int, default=190, help="of a value")
    parser.add_argument("--batch", type=int, default=1500, help="items of a batch")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--fsync", default="everysec", help="appendfsync of the server that is started; off: no file")
    parser.add_argument("--server", default="", help="HOST:PORT of one that runs; it is emptied")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    batches = [[(b"idfa:%032d" % (number * 7919), b"%012d" % number + b"x" * max(0, options.bytes - 12))
                for number in range(start, min(start + options.batch, options.items))]
               for start in range(0, options.items, options.batch)]
    found: dict[str, list[Result]] = {}
    with ExitStack() as stack:
        settings = {"appendonly": "no"} if options.fsync == "off" else {"appendfsync": options.fsync}
        address = options.server or f"127.0.0.1:{stack.enter_context(Server(settings)).port}"
        for _ in range(options.rounds):
            for kind, write in _kinds(address).items():
                with _client(address) as client:
                    client.flushall()
                found.setdefault(kind, []).append({**write(batches), "wrong": _wrong(address, batches)})
    return _print(found, options)


def _kinds(address: str) -> dict[str, Callable[[Batches], Result]]:
    kinds: dict[str, Callable[[Batches], Result]] = {
        "plain": lambda batches: _pipelines(address, batches, 1, False, False),
        "transactions": lambda batches: _pipelines(address, batches, GROUP, True, False)}
    if HIREDIS_AVAILABLE:
        kinds["hiredis"] = lambda batches: _pipelines(address, batches, GROUP, True, True)
    return {**kinds, "sink": lambda batches: _sink(address, batches, ""),
            "index": lambda batches: _sink(address, batches, "by-"),
            "packed": lambda batches: _packed(address, batches)}


def _client(address: str, hiredis: bool = True) -> Client:
    host, _, port = address.rpartition(":")
    client = Client(host=host, port=int(port), socket_timeout=60)
    if not hiredis:
        from redis._parsers import _RESP2Parser

        client.connection_pool.connection_kwargs["parser_class"] = _RESP2Parser
    return client


def _pipelines(address: str, batches: Batches, group: int, transaction: bool, hiredis: bool) -> Result:
    with _client(address, hiredis) as client:
        client.ping()
        began, cpu = time.perf_counter(), _cpu()
        for start in range(0, len(batches), group):
            pipeline: Any = client.pipeline(transaction=transaction)
            for batch in batches[start:start + group]:
                for key, value in batch:
                    pipeline.set(key, value)
            if transaction:
                pipeline.hset("applied", "run", start + group)
            pipeline.execute()
        return {"write_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "pack_s": 0.0}


def _sink(address: str, batches: Batches, index: str) -> Result:
    options = Redis(url=f"redis://{address}/0", index=index, sync=False)
    items: list[list[Any]] = [
        [Indexed(key, value, number, (b"%d" % (number % 100),)) for number, (key, value) in enumerate(batch)]
        for batch in batches] if index else list(batches)
    cpu = _cpu()
    packed = [options.pack(batch) for batch in items]
    pack_s = _cpu() - cpu
    with tempfile.TemporaryDirectory() as folder, closing(options.open("out", Path(folder))) as sink:
        began, cpu = time.perf_counter(), _cpu()
        for start in range(0, len(packed), GROUP):
            refused = sink.write([Payload("run", at, at + 1, len(batches[at]), packed[at])
                                  for at in range(start, min(start + GROUP, len(packed)))])
            assert not refused, refused
        return {"write_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "pack_s": pack_s}


def _packed(address: str, batches: Batches) -> Result:
    options = Redis(url=f"redis://{address}/0")
    packed = [b"".join(map(options.pack, batches[start:start + GROUP])) for start in range(0, len(batches), GROUP)]
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 60) as connection:
        began, cpu = time.perf_counter(), _cpu()
        for number, data in enumerate(packed):
            connection.sendall(data)
            left = 5 * sum(map(len, batches[number * GROUP:(number + 1) * GROUP]))
            while left:
                left -= len(connection.recv(1 << 20))
        return {"write_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "pack_s": 0.0}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _wrong(address: str, batches: Batches) -> float:
    """How many values are not what was written."""
    wrong = 0
    with _client(address) as client:
        for batch in batches:
            found: Any = client.mget([key for key, _ in batch])
            wrong += sum(value != given for value, (_, given) in zip(found, batch, strict=True))
    return float(wrong)


def _print(found: dict[str, list[Result]], options: argparse.Namespace) -> int:
    wrong = int(sum(one["wrong"] for rounds in found.values() for one in rounds))
    rows = {kind: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for kind, rounds in found.items()}
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "medians": rows, "rounds": found,
                          "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.items:,} values of {options.bytes} bytes, appendfsync {options.fsync}, median of {options.rounds} "
          "(least to most)\n")
    print(f"{'':14}{'items/s':>12}{'':24}{'of plain':>10}{'CPU µs each':>14}{'pack CPU µs':>14}")
    for kind, row in rows.items():
        times = [one["write_s"] for one in found[kind]]
        spread = f"({options.items / max(times):,.0f} to {options.items / min(times):,.0f})"
        of_plain = rows["plain"]["write_s"] / row["write_s"]
        print(f"{kind:14}{options.items / row['write_s']:12,.0f} {spread:23}{of_plain:10.1f}"
              f"{1e6 * row['cpu_s'] / options.items:14.2f}{1e6 * row['pack_s'] / options.items:14.2f}")
    print("\n" + (f"{wrong:,} values are wrong" if wrong else "every value is there"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
