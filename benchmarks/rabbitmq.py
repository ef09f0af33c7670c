#!/usr/bin/env python3
"""A queue of RabbitMQ read by a run, beside a plain consumer that runs the same functions; what was stored is compared.

    python benchmarks/rabbitmq.py [--messages 30000] [--bytes 1000] [--rounds 3] [--queue-type quorum] [--json]

Each round fills a queue of a server that is started for it with the same messages for each, which empties it, in turn:

    plain    one process, the client's blocking connection, prefetch 1000; each message is parsed, encoded and written
             to a file of lines, which is flushed to the disk before each ``ack multiple`` of 1000
    ours     ``thresher run tests.pipelines.queued`` with the sink ``lines``: journal flushed before ``ack multiple``
    no sync  the same without waiting for the disk, in the journal and in the sink

The time is from the first message that was taken to the last that is stored, letters included; CPU is of all processes
of a side, the server's not. Exit code 1 when a message is missing, there twice, or anything else than it should be.
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
import resource  # noqa: E402
import signal  # noqa: E402
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from typing import Any  # noqa: E402

from tests.loads import Running  # noqa: E402
from tests.pipelines import queued  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402

PREFETCH = 1000
#: One message in so many is a dead letter.
BAD_EVERY = 1000
WATCHDOG_S = 900.0
LOOK_S = 0.005
Result = dict[str, Any]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--messages", type=int, default=30_000)
    parser.add_argument("--bytes", type=int, default=1000, help="of a message")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue-type", choices=["quorum", "classic"], default="quorum")
    parser.add_argument("--workers", type=int, default=1, help="of our run; default: %(default)s")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plain", nargs=3, metavar=("URL", "QUEUE", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        url, queue, path = options.plain
        return _consume(url, queue, path, options.messages)
    rounds = [_round(options) for _ in range(options.rounds)]
    return _print(rounds, options)


def _values(options: argparse.Namespace) -> list[bytes]:
    """Numbers with zeros before them, so long as they are to be."""
    return [b"%0*d" % (options.bytes, number) for number in range(1, options.messages + 1)]


def _round(options: argparse.Namespace) -> dict[str, Result]:
    from tests.queues import declare, publish
    from tests.rabbitmq import RabbitMQ

    found: dict[str, Result] = {}
    with RabbitMQ() as server, tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
        for kind in ("plain", "ours", "no sync"):
            queue = server.new_name()
            declare(server.url(), queue, options.queue_type)
            publish(server.url(), queue, _values(options))
            place = Path(folder) / kind.replace(" ", "-")
            place.mkdir()
            if kind == "plain":
                found[kind] = _plain(server.url(), queue, place, options)
            else:
                found[kind] = _ours(server.url(f"?queue={queue}"), place, options, kind == "ours")
    return found


def _plain(url: str, queue: str, folder: Path, options: argparse.Namespace) -> Result:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        [sys.executable, __file__, "--messages", str(options.messages), "--plain", url, queue, str(folder / "lines")],
        capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 0, done.stderr
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = Counter(map(int, (folder / "lines").read_text().split()))
    letters = Counter(map(int, (folder / "lines.bad").read_text().split()))
    return {"s": float(done.stdout), "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "wrong": _wrong(lines, letters, options.messages)}


def _consume(url: str, queue: str, path: str, count: int) -> int:
    """The plain consumer; prints how long it took."""
    import pika

    from thresher import Record, Reject

    options = queued.Options(bad_every=BAD_EVERY)
    connection = pika.BlockingConnection(pika.URLParameters(url))
    client = connection.channel()
    client.basic_qos(prefetch_count=PREFETCH)
    began, taken = 0.0, 0
    with open(path, "wb", buffering=1 << 20) as file, open(f"{path}.bad", "wb") as letters:
        for method, _, body in client.consume(queue):
            began = began or time.perf_counter()
            taken += 1
            try:
                value = queued.parse(body, Record(taken, body, key=method.routing_key.encode()), options)
                file.write(queued.encode(value).encode() + b"\n")
            except Reject:
                letters.write(body + b"\n")
            if taken % PREFETCH == 0 or taken == count:
                for each in (file, letters):
                    each.flush()
                    os.fdatasync(each.fileno())
                client.basic_ack(method.delivery_tag, multiple=True)
            if taken == count:
                break
        print(time.perf_counter() - began)
    connection.close()
    return 0


def _ours(address: str, folder: Path, options: argparse.Namespace, sync: bool) -> Result:
    from actors.sinks.dead_letters import read_letters

    flag = str(sync).lower()
    sets = (f"source.topics={json.dumps([address])}", "source.declare=false", "budget.max_error_rate=1",
            f"options.bad_every={BAD_EVERY}",
            f"parser.workers={options.workers}", f"source.sync={flag}", f"sinks.lined.sync={flag}")
    words = (word for item in sets for word in ("--set", item))
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with Running(folder / "state", "run", "tests.pipelines.queued", "--format", "json", *words) as running:
        began = _until(running, lambda views: views["reader.1"].batches or views["parser.1"].records)
        ended = _until(running, lambda views: (
            views["writer.lined"].records + views["writer.dead_letters"].records >= options.messages))
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = Counter(map(int, (folder / "state" / "lined.log").read_text().split()))
    letters = Counter(int(letter.raw) for letter in read_letters(folder / "state" / "dead-letters.db"))
    return {"s": ended - began, "cpu_s": after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
            "wrong": _wrong(lines, letters, options.messages)}


def _until(running: Running, condition: Any) -> float:
    """Wait for something on the board; return when it was there."""
    deadline = time.perf_counter() + WATCHDOG_S
    while time.perf_counter() < deadline:
        views = running.views()
        if views and condition(views):
            return time.perf_counter()
        assert running.process.poll() is None, running.output()
        time.sleep(LOOK_S)
    raise AssertionError(f"not within {WATCHDOG_S} s:\n{running.output()}")


def _wrong(lines: Counter[int], letters: Counter[int], count: int) -> int:
    """How many messages are not where they should be, once."""
    numbers = range(1, count + 1)
    good = Counter(number for number in numbers if number % BAD_EVERY)
    bad = Counter(number for number in numbers if number % BAD_EVERY == 0)
    return sum(((good - lines) + (lines - good) + (bad - letters) + (letters - bad)).values())


def _print(rounds: list[dict[str, Result]], options: argparse.Namespace) -> int:
    wrong = sum(one["wrong"] for each in rounds for one in each.values())
    rows = {kind: {name: statistics.median(each[kind][name] for each in rounds) for name in ("s", "cpu_s")}
            for kind in rounds[0]}
    ratios = sorted(each["plain"]["s"] / each["ours"]["s"] for each in rounds)
    if options.json:
        print(json.dumps({"machine": platform.platform(), "options": vars(options), "medians": rows, "ratios": ratios,
                          "wrong": wrong}))
        return 1 if wrong else 0
    print(f"{options.messages:,} messages of {options.bytes} bytes, a {options.queue_type} queue, median of "
          f"{options.rounds}\n")
    print(f"{'':10}{'messages/s':>12}{'CPU µs each':>14}{'of plain':>10}")
    for kind, row in rows.items():
        print(f"{kind:10}{options.messages / row['s']:12,.0f}{row['cpu_s'] / options.messages * 1e6:14.1f}"
              f"{rows['plain']['s'] / row['s']:10.2f}")
    print(f"\nours of plain, by round: {', '.join(f'{ratio:.2f}' for ratio in ratios)}")
    print("every message is stored, once" if not wrong else f"{wrong:,} messages are wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
