#!/usr/bin/env python3
"""The ratings job, both pipelines and the topic between them, with what was counted checked.

    python benchmarks/ratings.py [--reviews 300000] [--rounds 3] [--skip-paced] [--json]

*Paced*: 30 reviews at 5 Hz, each checked for half a second of CPU; the floor is what the input or the cores allow,
``max(n / hz, n * check / cores)``. *Fast*: no check, no pace; ratings-trends follows the topic while ratings-feed fills
it, in protobuf and in JSON, beside a plain loop in one process with the same client of the same topic: it reads,
publishes, reads back and counts by minute and product. Set-up is from the start of a command to its reader being ready;
CPU is of each stage (and of the supervisor), sampled twenty times a second; memory is the most that an actor had (PSS).
Exit code 1 when not every rating is published and counted once.
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
import statistics  # noqa: E402
import subprocess  # noqa: E402
import tempfile  # noqa: E402
import threading  # noqa: E402
import time  # noqa: E402
from collections import Counter, defaultdict  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any  # noqa: E402

from actors.apps.ratings import feed, trends  # noqa: E402
from actors.apps.ratings.messages import Format, Rating, decoder, encoder  # noqa: E402
from actors.runtime.values import Payload  # noqa: E402
from actors.topics.reading import read_topic  # noqa: E402
from scripts.make_reviews import write_reviews  # noqa: E402
from tests.loads import Running  # noqa: E402
from thresher import sinks  # noqa: E402

LOOK_S = 0.05
WATCHDOG_S = 600.0
HZ, PACED, CHECK_S = 5.0, 30, 0.5
FORMATS: tuple[Format, ...] = ("protobuf", "json")
#: Messages that the plain loop publishes at a time.
BATCH = 1000
_TICKS = os.sysconf("SC_CLK_TCK")
_MINUTE_MS = 60_000


class Watch(threading.Thread):
    """What the processes of a run cost.

    Args:
        running: the run.

    Attributes:
        cpu_s: of each actor, all generations together, by name; the supervisor is one of them.
        pss: the most that each had, in bytes.
    """

    def __init__(self, running: Running) -> None:
        super().__init__(daemon=True)
        self.pss: dict[str, int] = {}
        self.over = threading.Event()
        self._running = running
        self._cpu: dict[tuple[str, int], float] = {}
        self.start()

    @property
    def cpu_s(self) -> dict[str, float]:
        """By actor."""
        found: dict[str, float] = defaultdict(float)
        for (name, _), seconds in self._cpu.items():
            found[name] += seconds
        return dict(found)

    def run(self) -> None:
        """Look until it is over."""
        while not self.over.wait(LOOK_S):
            pids = {"supervisor": self._running.process.pid}
            pids |= {name: view.pid for name, view in self._running.views().items() if view.pid}
            for name, pid in pids.items():
                try:
                    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                    words = Path(f"/proc/{pid}/smaps_rollup").read_text().split()
                except OSError:  # it has just ended
                    continue
                self._cpu[name, pid] = (int(fields[11]) + int(fields[12])) / _TICKS
                if "Pss:" in words:
                    self.pss[name] = max(self.pss.get(name, 0), int(words[words.index("Pss:") + 1]) * 1024)

    def end(self) -> None:
        """Look no more."""
        self.over.set()
        self.join()


def main() -> int:
    """Run the benchmark; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=300_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=2, help="of each pool, in the fast runs; default: %(default)s")
    parser.add_argument("--skip-paced", action="store_true")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--plain", nargs=3, metavar=("FILE", "TOPIC", "FORMAT"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.plain:
        return _plain(*options.plain)
    rounds = []
    for _ in range(options.rounds):
        with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
            rounds.append(_round(Path(folder), options))
    return _print(rounds, options)


def _round(folder: Path, options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    file = folder / "reviews.json"
    write_reviews(file, options.reviews)
    found: dict[str, dict[str, Any]] = {}
    if not options.skip_paced:
        found["paced"] = _paced(folder / "paced")
    for form in FORMATS:
        found[f"fast, {form}"] = _fast(folder / form, file, form, options)
        found[f"plain loop, {form}"] = _loop(folder / form, file, form, options.reviews)
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


def _paced(folder: Path) -> dict[str, Any]:
    folder.mkdir()
    file = folder / "reviews.json"
    write_reviews(file, PACED)
    began = time.perf_counter()
    with Running(folder / "feed", "run", "ratings-feed", str(file), "--format", "json", "--hz", str(HZ),
                 "--check-cost", str(CHECK_S)) as running:
        watch = Watch(running)
        ready = _until(running, _is_ready, "reader")
        code = running.wait()
        seconds = time.perf_counter() - ready
        watch.end()
    floor = max(PACED / HZ, PACED * CHECK_S / (os.cpu_count() or 1))
    published = sum(1 for _ in read_topic(folder / "topics/live_ratings")) if code == 0 else 0
    return {"setup_s": ready - began, "seconds": seconds, "floor_s": floor, "of_floor": seconds / floor,
            "cpu_s": watch.cpu_s, "pss": watch.pss, "right": published == PACED}


def _fast(folder: Path, file: Path, form: Format, options: argparse.Namespace) -> dict[str, Any]:
    folder.mkdir()
    common = ("--format", "json", "--set", f"options.format={form}", "--set", f"parser.workers={options.workers}")
    began = time.perf_counter()
    with Running(folder / "trends", "run", "ratings-trends", *common) as counting:
        costs = Watch(counting)
        ready = _until(counting, _is_ready, "reader")
        start = time.perf_counter()
        with Running(folder / "feed", "run", "ratings-feed", str(file), "--hz", "0", "--check-cost", "0", "--set",
                     "source.rename=none", *common) as feeding:
            watch = Watch(feeding)
            feed_ready = _until(feeding, _is_ready, "reader")
            code = feeding.wait()
            fed = time.perf_counter()
            watch.end()
        counted = _until(counting, lambda views: views["reader.1"].records >= options.reviews, "all ratings")
        costs.end()
        counting.process.send_signal(signal.SIGTERM)
        code = code or counting.wait()
    with Running(folder / "trends", "run", "ratings-trends", "--once", *common) as closing:
        code = code or closing.wait()
    return {
        "setup_s": ready - began, "feed_setup_s": feed_ready - start, "seconds": counted - feed_ready,
        "feed_us": 1e6 * (fed - feed_ready) / options.reviews,
        "feed_cpu_us": 1e6 * sum(watch.cpu_s.values()) / options.reviews,
        "trends_cpu_us": 1e6 * sum(costs.cpu_s.values()) / options.reviews,
        "messages_per_s": options.reviews / (counted - feed_ready),
        "cpu_s": {f"feed {name}": each for name, each in watch.cpu_s.items()}
        | {f"trends {name}": each for name, each in costs.cpu_s.items()},
        "pss": {f"feed {name}": each for name, each in watch.pss.items()}
        | {f"trends {name}": each for name, each in costs.pss.items()},
        "topic_bytes": sum(path.stat().st_size for path in (folder / "topics/live_ratings").rglob("*.log")),
        "right": code == 0 and _counted(folder, form) == (options.reviews, options.reviews)}


def _counted(folder: Path, form: Format) -> tuple[int, int]:
    """Ratings in the topic, and in all minutes together; -1: one of these says something else than the other."""
    decode = decoder(Rating, form)
    products: Counter[str] = Counter()
    for _, record in read_topic(folder / "topics/live_ratings"):
        products[decode(record.value).asin] += 1
    rows = {(row["minute"], row["asin"]): row["count"]
            for row in map(json.loads, (folder / "trends/averages.jsonl").read_text().splitlines())}
    counted: Counter[str] = Counter()
    for (_, asin), count in rows.items():
        counted[asin] += count
    return products.total(), counted.total() if counted == products else -1


def _loop(folder: Path, file: Path, form: Format, reviews: int) -> dict[str, Any]:
    before = os.times()
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks/ratings.py"), "--plain", str(file), str(folder / "plain"), form],
        stdout=subprocess.PIPE, text=True, check=True)
    said, after = json.loads(done.stdout), os.times()
    seconds = (said["feed_us"] + said["trends_us"]) * reviews / 1e6  # without its start, as that of the others
    cpu_s = after.children_user + after.children_system - before.children_user - before.children_system
    return {"seconds": seconds, "messages_per_s": reviews / seconds, "cpu_s": {"all": cpu_s},
            "feed_us": said["feed_us"], "trends_us": said["trends_us"], "right": said["counted"] == reviews}


def _plain(file: str, topic: str, form: Format) -> int:
    """Publish, read back, count: what a script in one process does with the same client."""
    began = time.perf_counter()
    to_bytes, decode = encoder(form), decoder(Rating, form)
    options = sinks.Topic(topic=topic)
    sink = options.open("plain", Path(topic).parent)
    done = 0
    with open(file, "rb") as lines:
        for some in _some(lines):
            items = [(review.asin.encode(), to_bytes(Rating(
                asin=review.asin, reviewer_id=review.reviewer, overall=review.overall, unix_review_time=review.at)))
                for review in feed.parse(some) if isinstance(review, feed.Review)]
            sink.write([Payload("plain", done, done + len(items), len(items), options.pack(items))])
            done += len(items)
    sink.close()
    fed = time.perf_counter()
    minutes: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))
    for _, record in read_topic(Path(topic)):
        rating = decode(record.value)
        assert record.time is not None
        numbers = minutes[record.time - record.time % _MINUTE_MS][rating.asin]
        numbers[0] += rating.overall
        numbers[1] += 1
    tops = [trends.ranked([((asin,), numbers) for asin, numbers in found.items()]) for found in minutes.values()]
    counted = time.perf_counter()
    print(json.dumps({"feed_us": 1e6 * (fed - began) / done, "trends_us": 1e6 * (counted - fed) / done,
                      "counted": sum(count for top in tops for _, _, count in top)}))
    return 0


def _some(lines: Any) -> Iterator[list[bytes]]:
    while some := list(islice(lines, BATCH)):
        yield some


# What is printed ----------------------------------------------------------------------------------------------------


def _print(rounds: list[dict[str, dict[str, Any]]], options: argparse.Namespace) -> int:
    right = all(one["right"] for each in rounds for one in each.values())
    if options.json:
        print(json.dumps({"cores": os.cpu_count(), "python": platform.python_version(), "reviews": options.reviews,
                          "right": right, "rounds": rounds}))
        return 0 if right else 1
    print(f"{options.reviews:,} reviews, {os.cpu_count()} cores, Python {platform.python_version()}, "
          f"{len(rounds)} rounds: median (min to max)")
    for name in rounds[0]:
        found = [each[name] for each in rounds]
        print(f"\n{name}")
        for key, (label, form) in _FIGURES.items():
            if key in found[0]:
                low, middle, high = _spread([one[key] for one in found])
                print(f"  {label:<34}{form.format(middle)} ({form.format(low)} to {form.format(high)})")
        _print_stages(found[0])
    print("\nevery rating published and counted once" if right else "\nNOT every rating is published and counted once")
    return 0 if right else 1


_FIGURES = {
    "setup_s": ("set-up (trends, where both run)", "{:.2f} s"), "feed_setup_s": ("set-up of feed", "{:.2f} s"),
    "seconds": ("in all", "{:.2f} s"), "floor_s": ("floor", "{:.2f} s"), "of_floor": ("of the floor", "{:.3f}"),
    "messages_per_s": ("messages a second", "{:,.0f}"), "feed_us": ("feed, a message", "{:.2f} us"),
    "trends_us": ("trends, a message", "{:.2f} us"), "feed_cpu_us": ("feed, CPU of a message", "{:.2f} us"),
    "trends_cpu_us": ("trends, CPU of a message", "{:.2f} us"), "topic_bytes": ("bytes of the topic", "{:,.0f}"),
}


def _print_stages(one: dict[str, Any]) -> None:
    """CPU and memory of the first round, actor by actor."""
    for name, cpu_s in sorted(one["cpu_s"].items()):
        pss = one.get("pss", {}).get(name)
        print(f"  {name:<34}CPU {cpu_s:6.2f} s" + ("" if pss is None else f"   {pss / 1e6:5.1f} MB"))


def _spread(values: list[float]) -> tuple[float, float, float]:
    return min(values), statistics.median(values), max(values)


if __name__ == "__main__":
    sys.exit(main())
