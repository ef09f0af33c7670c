#!/usr/bin/env python3
"""The sink of Kafka beside a plain producer with the same settings: the same messages, in turn, and checked.

    python benchmarks/kafka_sink.py [--messages 200000] [--bytes 100] [--partitions 2] [--batch 2000] [--rounds 3]
                                    [--broker HOST:PORT] [--json]

Each round writes the same messages, a key and a value each, to topics of their own:

    plain          a loop that produces each message, with acks, idempotence, zstd and a header, and flushes at the end
    sink           the sink, groups of eight batches, each of them acknowledged before the next
    transactions   the same with transactions = true

A broker is started (scripts/kafka), unless one is named. What a worker does (pack) is not in the sink's rate, and shown
apart. What is in the topics is read back and compared: all messages, those of a key in order, each once. Exit code 1
when anything differs.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import resource  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Iterator, Sequence  # noqa: E402
from contextlib import ExitStack, closing  # noqa: E402

from actors.runtime.values import Payload  # noqa: E402
from actors.sinks.kafka import Kafka  # noqa: E402
from actors.sinks.kafka_messages import RECORD_ID  # noqa: E402
from tests.kafka import Kafka as Server  # noqa: E402
from tests.kafka import Topics  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

#: Batches in a group.
GROUP = 8
Message = tuple[bytes, bytes]
Result = dict[str, float]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=100, help="of a value")
    parser.add_argument("--partitions", type=int, default=2)
    parser.add_argument("--batch", type=int, default=2000, help="messages of a batch")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", default="", help="HOST:PORT of one that runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    batches = list(_batches(options))
    found: dict[str, list[Result]] = {"plain": [], "sink": [], "transactions": []}
    with ExitStack() as stack:
        address = options.broker or stack.enter_context(Server(heap_mb=512)).address
        topics = Topics(address)
        for _ in range(options.rounds):
            for kind, results in found.items():
                name = topics.make(partitions=options.partitions)
                took = _plain(topics, name, batches) if kind == "plain" else _sink(
                    address, name, batches, kind == "transactions")
                results.append({**took, "wrong": _wrong(topics, name, batches)})
                topics.delete(name)
    return _print(found, options)


def _batches(options: argparse.Namespace) -> Iterator[list[Message]]:
    filler = b"x" * max(0, options.bytes - 12)
    for start in range(0, options.messages, options.batch):
        yield [(b"B%06d" % (number * 7919 % 10_007), b"%012d" % number + filler)
               for number in range(start, min(start + options.batch, options.messages))]


def _plain(topics: Topics, name: str, batches: Sequence[Sequence[Message]]) -> Result:
    failed: list[object] = []
    producer = topics.producer(**{
        "enable.idempotence": True, "acks": "all", "linger.ms": 5, "compression.type": "zstd",
        "partitioner": "murmur2_random", "delivery.report.only.error": True})

    def reported(error: object, message: object) -> None:
        if error is not None:
            failed.append(error)

    began, cpu = time.perf_counter(), _cpu()
    for at, batch in enumerate(batches):
        for item, (key, value) in enumerate(batch):
            while True:
                try:
                    producer.produce(name, value, key, headers=[(RECORD_ID, f"run:{at}-{at + 1}:{item}")],
                                     on_delivery=reported)
                    break
                except BufferError:
                    producer.poll(0.1)
    left = producer.flush(120)
    return {"write_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "pack_s": 0.0,
            "failed": float(len(failed) + left)}


def _sink(address: str, name: str, batches: Sequence[Sequence[Message]], transactions: bool) -> Result:
    options = Kafka(topic=f"kafka://{address}/{name}", transactions=transactions)
    began = time.perf_counter()
    packed = [options.pack(batch) for batch in batches]
    pack_s = time.perf_counter() - began
    with tempfile.TemporaryDirectory() as folder, closing(options.open("out", Path(folder))) as sink:
        began, cpu = time.perf_counter(), _cpu()
        refused = 0
        for start in range(0, len(packed), GROUP):
            refused += len(sink.write([Payload("run", at, at + 1, len(batches[at]), packed[at])
                                       for at in range(start, min(start + GROUP, len(packed)))]))
        return {"write_s": time.perf_counter() - began, "cpu_s": _cpu() - cpu, "pack_s": pack_s,
                "failed": float(refused)}


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _wrong(topics: Topics, name: str, batches: Sequence[Sequence[Message]]) -> float:
    """How many keys have not just the values that were written, in order."""
    of: dict[bytes, list[bytes]] = {}
    for message in topics.read(name):
        of.setdefault(message.key() or b"", []).append(message.value() or b"")
    wanted: dict[bytes, list[bytes]] = {}
    for batch in batches:
        for key, value in batch:
            wanted.setdefault(key, []).append(value)
    return float(sum(of.get(key) != wanted.get(key) for key in of.keys() | wanted.keys()))


def _print(found: dict[str, list[Result]], options: argparse.Namespace) -> int:
    wrong = int(sum(one["wrong"] + one["failed"] for rounds in found.values() for one in rounds))
    rows = {kind: {name: statistics.median(one[name] for one in rounds) for name in rounds[0]}
            for kind, rounds in found.items()}
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "medians": rows, "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.messages:,} messages of {options.bytes} bytes, {options.partitions} partitions, median of "
          f"{options.rounds}\n")
    print(f"{'':14}{'messages/s':>14}{'of plain':>10}{'CPU µs each':>14}{'pack µs each':>14}")
    for kind, row in rows.items():
        print(f"{kind:14}{options.messages / row['write_s']:14,.0f}{rows['plain']['write_s'] / row['write_s']:10.0%}"
              f"{1e6 * row['cpu_s'] / options.messages:14.2f}{1e6 * row['pack_s'] / options.messages:14.2f}")
    print("\n" + (f"{wrong:,} keys or messages are wrong" if wrong else "every message is there, once, and in order"))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
