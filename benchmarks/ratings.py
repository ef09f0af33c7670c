#!/usr/bin/env python3
"""The ratings job, both pipelines and what lies between them, with what was counted checked: one table for all brokers.

    python benchmarks/ratings.py [--reviews 300000] [--rounds 3] [--broker topic|kafka|rabbitmq]
                                 [--format protobuf|json] [--workers 2] [--skip-paced] [--json]

A topic on this disk, Kafka and RabbitMQ, each server started for this, in protobuf and in JSON; a server that is not on
this machine is skipped, by name. *Fast*: no check, no pace; ratings-trends follows while ratings-feed publishes, with
Kafka in transactions, with RabbitMQ by unique ids: each rating once, whoever would be killed. Beside it a plain loop in
one process with the same client (`benchmarks/ratings_loops.py`), which is not so careful. *Paced*: 30 reviews at 5 Hz,
each checked for half a second of CPU; the floor is what the input or the cores allow: ``max(n / hz, n * check /
cores)``.

Set-up is from the start of a command to its reader being ready; CPU is of each stage (and of the supervisor, not of the
server), sampled twenty times a second; memory is the most that a process of it had (PSS). Exit code 1 when not every
rating is counted once, by product.
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
import signal  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections import Counter  # noqa: E402
from collections.abc import Callable  # noqa: E402
from contextlib import ExitStack  # noqa: E402
from typing import Any  # noqa: E402

from benchmarks.ratings_table import Key, tables  # noqa: E402
from benchmarks.ratings_watch import Watch  # noqa: E402
from scripts.make_reviews import write_reviews  # noqa: E402
from tests.loads import Running  # noqa: E402
from tests.processes import with_all_it_starts  # noqa: E402
from tests.ratings_brokers import BROKERS, Place, missing, options, placed_in, servers, sets  # noqa: E402

WATCHDOG_S = 600.0
HZ, PACED, CHECK_S = 5.0, 30, 0.5
FORMATS = ("protobuf", "json")
Found = dict[str, Any]


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--broker", choices=BROKERS, action="append", help="only this one")
    parser.add_argument("--format", choices=FORMATS, action="append", help="only this one")
    parser.add_argument("--workers", type=int, default=2, help="of each pool, in the fast runs; default: %(default)s")
    parser.add_argument("--skip-paced", action="store_true")
    parser.add_argument("--json", action="store_true")
    said = parser.parse_args()
    brokers = [name for name in said.broker or BROKERS if not _skipped(name)]
    forms = said.format or FORMATS
    rounds = []
    with ExitStack() as stack:
        started = {name: stack.enter_context(servers(name)) for name in brokers}
        for _ in range(said.rounds):
            with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
                rounds.append(_round(Path(folder), started, forms, said))
    return _print(rounds, brokers, forms, said)


def _skipped(name: str) -> bool:
    if why := missing(name):
        print(f"{name} is skipped: {why}", file=sys.stderr)
    return bool(why)


def _round(folder: Path, started: dict[str, Any], forms: Any, said: argparse.Namespace) -> dict[Key, Found]:
    """Everything once; brokers in turn, so that what the machine does meanwhile is in all columns."""
    file = folder / "reviews.json"
    write_reviews(file, said.reviews)
    found: dict[Key, Found] = {}
    for form in forms:
        for broker, server in started.items():
            for kind in ("ours", "plain", *([] if said.skip_paced or form != forms[0] else ["paced"])):
                place = folder / f"{kind}-{broker}-{form}"
                place.mkdir()
                measure: Callable[..., Found] = {"ours": _fast, "plain": _loop, "paced": _paced}[kind]
                found[kind, broker, form] = measure(
                    place, file, placed_in(server, place, audited=kind == "paced"), form, said)
                print(f"{kind}, {broker}, {form}: done", file=sys.stderr)
    return found


def _until(running: Running, condition: Callable[[Any], bool], what: str) -> float:
    """Wait for something on the board; return when it was there."""
    deadline = time.perf_counter() + WATCHDOG_S
    while time.perf_counter() < deadline:
        views = running.views()
        if views and condition(views):
            return time.perf_counter()
        if running.process.poll() is not None:
            break
        time.sleep(0.005)
    raise SystemExit(f"no {what}:\n{running.output()}")


def _is_ready(views: Any) -> bool:
    return "reader.1" in views and views["reader.1"].state in ("READY", "BUSY")


def _paced(folder: Path, _: Path, place: Place, form: str, said: argparse.Namespace) -> Found:
    file = folder / "reviews.json"
    write_reviews(file, PACED)
    began = time.perf_counter()
    with Running(folder / "feed", "run", "ratings-feed", str(file), "--format", "json", "--hz", str(HZ),
                 "--check-cost", str(CHECK_S), *options(place, "feed"), *sets(f"options.format={form}")) as running:
        ready = _until(running, _is_ready, "reader")
        code = running.wait()
        seconds = time.perf_counter() - ready
    floor = max(PACED / HZ, PACED * CHECK_S / (os.cpu_count() or 1))
    published = len(place.records()) if code == 0 else 0
    return {"setup_s": ready - began, "seconds": seconds, "floor_s": floor, "of_floor": seconds / floor,
            "right": published == PACED}


def _fast(folder: Path, file: Path, place: Place, form: str, said: argparse.Namespace) -> Found:
    common = ("--format", "json", *sets(f"options.format={form}", f"parser.workers={said.workers}"))
    follow = ("run", "ratings-trends", *common, *options(place, "trends"))
    began = time.perf_counter()
    with Running(folder / "trends", *follow) as counting:
        costs = Watch(counting)
        ready = _until(counting, _is_ready, "reader")
        start = time.perf_counter()
        with Running(folder / "feed", "run", "ratings-feed", str(file), "--hz", "0", "--check-cost", "0", *common,
                     *options(place, "feed"), *sets("source.rename=none")) as feeding:
            watch = Watch(feeding)
            feed_ready = _until(feeding, _is_ready, "reader")
            code = feeding.wait()
            fed = time.perf_counter()
            watch.end()
        counted = _until(counting, lambda views: views["reader.1"].records >= said.reviews, "all ratings")
        costs.end()
        counting.process.send_signal(signal.SIGTERM)
        code = code or counting.wait()
    with Running(folder / "trends", *follow, "--once") as closing:
        code = code or closing.wait()
    return {
        "reviews": said.reviews, "setup_s": ready - began, "feed_setup_s": feed_ready - start,
        "seconds": counted - feed_ready, "messages_per_s": said.reviews / (counted - feed_ready),
        "feed_us": 1e6 * (fed - feed_ready) / said.reviews, "both_us": 1e6 * (counted - feed_ready) / said.reviews,
        "feed_cpu_us": 1e6 * sum(watch.cpu_s.values()) / said.reviews,
        "trends_cpu_us": 1e6 * sum(costs.cpu_s.values()) / said.reviews,
        "cpu_s": _named("feed", watch.cpu_s) | _named("trends", costs.cpu_s),
        "pss": _named("feed", watch.pss) | _named("trends", costs.pss),
        "right": code == 0 and _counted(folder / "trends") == _reviewed(file)}


def _named(pipeline: str, figures: dict[str, Any]) -> dict[str, Any]:
    return {f"{pipeline} {name}": figure for name, figure in figures.items()}


def _reviewed(file: Path) -> Counter[str]:
    """How often each product is in the input."""
    with file.open() as lines:
        return Counter(json.loads(line)["asin"] for line in lines)


def _counted(state: Path) -> Counter[str]:
    """How often each product was counted, in all minutes together; the last revision of each."""
    with (state / "averages.jsonl").open() as lines:
        rows = {(row["minute"], row["asin"]): row["count"] for row in map(json.loads, lines)}
    counted: Counter[str] = Counter()
    for (_, asin), count in rows.items():
        counted[asin] += count
    return counted


def _loop(folder: Path, file: Path, place: Place, form: str, said: argparse.Namespace) -> Found:
    before = os.times()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/ratings_loops.py"), str(file), place.published_to, form],
        stdout=subprocess.PIPE, text=True, check=True, cwd=folder)
    told, after = json.loads(done.stdout), os.times()
    seconds = (told["feed_us"] + told["trends_us"]) * said.reviews / 1e6  # without its start, as that of the others
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "messages_per_s": said.reviews / seconds, "cpu_s": {"all": cpu_s},
            "feed_us": told["feed_us"], "trends_us": told["trends_us"], "right": told["counted"] == said.reviews}


def _print(rounds: list[dict[Key, Found]], brokers: list[str], forms: Any, said: argparse.Namespace) -> int:
    wrong = sorted({", ".join(key) for each in rounds for key, one in each.items() if not one["right"]})
    if said.json:
        print(json.dumps({
            "cores": os.cpu_count(), "python": platform.python_version(), "reviews": said.reviews, "wrong": wrong,
            "rounds": [{", ".join(key): one for key, one in each.items()} for each in rounds]}))
        return 1 if wrong else 0
    print(f"{said.reviews:,} reviews, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"{len(rounds)} rounds: median (least to most)")
    print("\n".join(tables(rounds, brokers, forms)))
    print(f"\nNOT every rating is published and counted once: {'; '.join(wrong)}" if wrong else
          "\nevery rating published and counted once")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(with_all_it_starts(main))
