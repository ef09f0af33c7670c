#!/usr/bin/env python3
"""The source of Kafka beside a plain loop of the same client: the same topic, functions and sink, in turn, and checked.

    python benchmarks/kafka.py [--messages 200000] [--bytes 300] [--partitions 4] [--workers 2] [--rounds 3]
                               [--broker HOST:PORT] [--json]

    loop    one process (benchmarks/kafka_loop.py): consumes, works on each message, stores and commits each second
    run     `thresher run --once` with so many workers: reader, workers, writer, ledger, letters, all as ever

Each round reads the same topic twice, into LMDB stores of their own. Time runs from *ready* to the end of the process;
the ratio is loop / run, round by round (the goal is 0.70 or more). Every key of both stores is compared with what the
functions make of what was published; exit code 1 when anything differs. A broker is started (scripts/kafka), unless one
is named.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from contextlib import ExitStack  # noqa: E402

from actors.sinks.lmdb import read_lmdb  # noqa: E402
from benchmarks.kafka_loop import encode, parse  # noqa: E402
from tests.kafka import WATCHDOG_S, Topics  # noqa: E402
from tests.kafka import Kafka as Server  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

LOOP = ROOT / "benchmarks" / "kafka_loop.py"


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=200_000)
    parser.add_argument("--bytes", type=int, default=300, help="of a message, about")
    parser.add_argument("--partitions", type=int, default=4)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", default="", help="HOST:PORT of one that runs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found: dict[str, list[float]] = {"loop": [], "run": []}
    wrong = 0
    with ExitStack() as stack:
        servers = options.broker or stack.enter_context(Server(heap_mb=512)).address
        topics = Topics(servers)
        for _ in range(options.rounds):
            topic = topics.make(partitions=options.partitions)
            expected = _publish(topics, topic, options)
            for kind, seconds in found.items():
                with tempfile.TemporaryDirectory(prefix="thresher-kafka-bench-") as folder:
                    seconds.append(_timed(_command(kind, servers, topic, Path(folder), options)))
                    stored = dict(read_lmdb(Path(folder) / "reviews.lmdb"))
                    wrong += sum(stored.get(key) != value for key, value in expected.items())
                    wrong += len(stored.keys() - expected.keys())
            topics.delete(topic)
    return _print(found, wrong, options)


def _publish(topics: Topics, topic: str, options: argparse.Namespace) -> dict[bytes, bytes]:
    """Publish reviews; return what has to be stored of them."""
    producer = topics.producer(**{"linger.ms": 20, "compression.type": "lz4"})
    words = "x" * 7
    expected: dict[bytes, bytes] = {}
    for number in range(options.messages):
        value = json.dumps({
            "number": number, "asin": f"B{number * 7919 % 10_007:06d}", "overall": 1.0 + number % 5,
            "reviewText": f"{words} " * max(1, (options.bytes - 80) // 8), "unixReviewTime": 1_400_000_000}).encode()
        while True:
            try:
                producer.produce(topic, value, key=b"%d" % (number % 1000), partition=number % options.partitions)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
        key, kept = encode(parse(value))
        expected[key] = kept
    assert producer.flush(WATCHDOG_S) == 0
    return expected


def _command(kind: str, servers: str, topic: str, folder: Path, options: argparse.Namespace) -> list[str]:
    if kind == "loop":
        return [sys.executable, str(LOOP), servers, topic, str(folder), str(options.messages)]
    sets = (f'source.topics=["kafka://{servers}/{topic}"]', f"parser.workers={options.workers}")
    return [sys.executable, "-m", "actors.cli", "run", str(LOOP), "--once", "--format", "json", "--state", str(folder),
            *(word for item in sets for word in ("--set", item))]


def _timed(command: list[str]) -> float:
    """Seconds from *ready* to the end."""
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        assert process.stdout is not None
        lines, began = list[str](), 0.0
        for line in process.stdout:
            lines.append(line)
            if not began and "ready" in line:
                began = time.perf_counter()
        code = process.wait()
        took = time.perf_counter() - began
    if code or not began:
        raise SystemExit(f"{' '.join(command)} ended with {code}:\n{''.join(lines)}")
    return took


def _print(found: dict[str, list[float]], wrong: int, options: argparse.Namespace) -> int:
    ratios = [loop / run for loop, run in zip(found["loop"], found["run"], strict=True)]
    medians = {kind: statistics.median(seconds) for kind, seconds in found.items()}
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "seconds": found, "ratios": ratios,
                          "ratio": statistics.median(ratios), "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.messages:,} messages of {options.bytes} bytes, {options.partitions} partitions, "
          f"{options.workers} workers, {options.rounds} rounds\n")
    for kind, took in medians.items():
        spread = f"{min(found[kind]):.2f} to {max(found[kind]):.2f}"
        print(f"{kind:6}{took:8.2f} s ({spread}){options.messages / took:12,.0f} messages/s")
    print(f"\nratio loop / run: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("every message is stored, as the functions make it" if not wrong else f"{wrong:,} stored values are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
