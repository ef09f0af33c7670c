#!/usr/bin/env python3
"""Soak of ratings: both pipelines and the topic between them, under random SIGKILLs of any process of both.

    scripts/soak_ratings [--reviews 1000000] [--hz 3000] [--kills 300] [--seed 1] [--minute-s 10]
        [--format protobuf|json] [--broker topic|kafka|rabbitmq] [--state DIR]

ratings-feed publishes reviews, unchecked, so many a second (0: as fast as it can), while ratings-trends counts them.
All the time an actor of one of the two, or its supervisor, is killed: one that was killed least. A killed supervisor is
started again with the same command. With ``--broker`` the ratings go through a Kafka or a RabbitMQ that is started for
this; every 25th kill is one of the broker. Kills are spread over the work that is done, so several can fall together; a
twentieth of them falls on the run that closes the last windows. Then: each review was published once; the counts over
all minutes are what was published, each once, in rows, files and topics; no revision of a window was published with two
contents; outcome counts add up; no process is left, no run directory, no lock. Exit code 0 when all that holds, else 1.

The seed decides the data and the order of kills; what a victim was just doing is up to the machine. A minute lasts
``--minute-s`` here, and the windows for the shop begin twice as often: the more windows, the more can go wrong.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from actors.apps.ratings.messages import Format  # noqa: E402
from actors.runtime.rundir import find, path_for  # noqa: E402
from scripts.make_reviews import write_reviews  # noqa: E402
from scripts.soak import RESTARTS, seconds_until_empty, signal_actor  # noqa: E402
from tests.loads import Running, members  # noqa: E402
from tests.ratings import Published, counts_of, problems_of_ids, problems_of_minutes  # noqa: E402
from tests.ratings_brokers import BROKERS, Place, missing, options, placed_in, servers, sets  # noqa: E402

#: Nothing at all was committed for so long: the soak is stuck.
WATCHDOG_S = 300.0
#: Part of the kills that fall on the run that closes the last windows, and the longest time between two of them.
CLOSING, CLOSING_S = 0.05, 1.0
#: So often the broker is the victim, where it is a process.
BROKER_EVERY = 25
#: A process that lives for longer than its supervisor by so much is left behind, on a machine however busy.
ORPHANS_S = 10.0
SUPERVISOR = "supervisor"
_POLL_S = 0.03
_OUTCOMES = ("written", "folded", "filtered", "dead_lettered")


class Plan(NamedTuple):
    """What to do.

    Attributes:
        reviews: how many are published.
        kills: SIGKILLs in all; fewer, when the last run is over before those that were for it.
        seed: of data, victims and moments.
        hz: reviews a second; 0: as fast as possible.
        minute_s: how long a minute lasts, in whole seconds.
        form: of what is published.
        batch_bytes: small enough that a death finds many batches under way.
        broker: where the ratings are published.
    """

    reviews: int
    kills: int
    seed: int
    hz: float = 0
    minute_s: int = 10
    form: Format = "protobuf"
    batch_bytes: int = 64 * 1024
    broker: str = "topic"

    @property
    def sets(self) -> tuple[str, ...]:
        """The options of both pipelines."""
        return (*RESTARTS, "run.max_outage_s=0", f"options.format={self.form}", f"flow.batch_bytes={self.batch_bytes}",
                "flow.window_batches=32", "parser.workers=2")


class Outcome(NamedTuple):
    """What happened: kills by pipeline and actor, seconds of it, the longest that orphans lived, what is wrong."""

    kills: Counter[str]
    seconds: float
    orphans_gone_s: float
    problems: list[str]


class Pipeline:
    """One of the two, started again with the same command whenever its supervisor was killed.

    Args:
        name: of it, for people.
        state: its state directory.
        words: its command line.
    """

    def __init__(self, name: str, state: Path, *words: str) -> None:
        self.name = name
        self.state = state
        self.words = words
        self.starts = 0
        self._known: set[str] = set()
        self.running = self._started()

    def again(self, *more: str) -> None:
        """Start it again."""
        self.starts += 1
        self.words = (*self.words, *more)
        self.running.__exit__()
        self.running = self._started()

    def victims(self) -> set[str]:
        """Who can be killed, now or when it has been started again; nobody when this has ended."""
        if self.running.process.poll() is not None:
            return set()
        self._known |= {SUPERVISOR, *self.running.views()}
        return self._known

    def ended(self) -> bool:
        """Whether it has ended well.

        Raises:
            RuntimeError: it has ended, and not well.
        """
        code = self.running.process.poll()
        if code:
            raise RuntimeError(f"{self.name} ended with exit code {code}:\n{self.running.output()[-4000:]}")
        return code == 0

    def _started(self) -> Running:
        output = self.state.parent / f"{self.name}-{self.starts}.out"
        return Running(self.state, "run", f"ratings-{self.name}", "--format", "json", *self.words, output=output)


class Soak:
    """Both pipelines, and who kills them.

    Args:
        plan: what to do.
        folder: where all of it lies, the reviews in ``reviews.json``.
        place: where the ratings are published.
    """

    def __init__(self, plan: Plan, folder: Path, place: Place) -> None:
        self.kills: Counter[str] = Counter()
        self.orphans_gone_s = 0.0
        self._plan = plan
        self._random = random.Random(plan.seed)
        self._server = place.server
        self._trends = Pipeline(
            "trends", folder / "trends", *options(place, "trends"), "--monitor", *sets(
                *plan.sets, f"window.size_s={plan.minute_s}", f"window.every_s={plan.minute_s / 2}", "monitor.port=0"))
        self._feed = Pipeline(
            "feed", folder / "feed", str(folder / "reviews.json"), "--hz", str(plan.hz), "--check-cost", "0",
            *options(place, "feed"), *sets(*plan.sets, "source.rename=none", "source.again=skip"))
        self._both = (self._feed, self._trends)

    def run(self, say: Callable[[str], None]) -> None:
        """Publish and count everything under kills.

        Raises:
            RuntimeError: a run has ended in another way than it has to, got stuck, or left processes behind.
        """
        last = int(self._plan.kills * CLOSING)
        moments = sorted(self._random.random() for _ in range(self._plan.kills - last))
        for number, moment in enumerate(moments, 1):
            self._until(partial(self._has_done, moment))
            if self._server is not None and not number % BROKER_EVERY:
                self._server.kill()
                self._server.start()
                self.kills["broker"] += 1
            else:
                self._strike(self._both)
            if not number % 50:
                say(f"{number} kills, {self._share():.0%} of the work")
        self._until(self._feed.ended)
        self._until(partial(self._has_done, 1.0))
        self._trends.running.process.send_signal(signal.SIGTERM)
        self._until(self._trends.ended)
        self._close(last)

    def end(self) -> None:
        """Leave no process behind, whatever happened."""
        for one in self._both:
            one.running.__exit__()

    def problems(self) -> list[str]:
        """What is wrong with outcome counts, and what was left behind."""
        found = []
        for one, outcome in ((self._feed, "written"), (self._trends, "folded")):
            counts, reviews = counts_of(one.state), self._plan.reviews
            if not counts["read"] == counts[outcome] == sum(counts[name] for name in _OUTCOMES) == reviews:
                found.append(f"{one.name}: expected {reviews} read and {outcome}, got {dict(counts)}")
            if path_for(one.state).exists():
                found.append(f"{one.name}: the run directory {path_for(one.state)} was left")
            if find(one.state) is not None:
                found.append(f"{one.name}: {one.state}/lock is still held")
        return found

    def _close(self, kills: int) -> None:
        """Close the windows that are open, with the last kills."""
        self._trends.again("--once")
        while not self._trends.ended():
            until = time.monotonic() + (self._random.uniform(0, CLOSING_S) if kills else WATCHDOG_S)
            while time.monotonic() < until and not self._trends.ended():
                time.sleep(_POLL_S)
            if not kills and not self._trends.ended():
                raise RuntimeError(f"the windows were not closed in {WATCHDOG_S:g} s")
            if kills and not self._trends.ended():
                kills -= 1
                self._strike((self._trends,))

    def _share(self) -> float:
        """How much of all work is committed, from 0 to 1."""
        return sum(counts_of(one.state)["read"] for one in self._both) / (2 * self._plan.reviews)

    def _has_done(self, share: float) -> bool:
        return self._share() >= share

    def _until(self, condition: Callable[[], bool]) -> None:
        share, deadline = self._share(), time.monotonic() + WATCHDOG_S
        while not condition():
            for one in self._both:
                one.ended()
            if (now := self._share()) > share:
                share, deadline = now, time.monotonic() + WATCHDOG_S
            if time.monotonic() > deadline:
                raise RuntimeError(f"nothing was committed for {WATCHDOG_S:g} s, at {share:.1%} of the work")
            time.sleep(self._random.uniform(0, 2 * _POLL_S))

    def _strike(self, those: Sequence[Pipeline]) -> None:
        """Kill one of a pipeline that was killed least, as soon as it is there; nobody, if all have ended."""
        while those := [one for one in those if one.victims()]:
            one = self._random.choice(those)
            known = sorted(one.victims())
            fewest = min(self.kills[f"{one.name} {name}"] for name in known)
            name = self._random.choice([name for name in known if self.kills[f"{one.name} {name}"] == fewest])
            deadline = time.monotonic() + WATCHDOG_S
            while one.victims() and time.monotonic() < deadline:
                if self._kill(one, name):
                    self.kills[f"{one.name} {name}"] += 1
                    return
                time.sleep(_POLL_S)

    def _kill(self, one: Pipeline, name: str) -> bool:
        if name != SUPERVISOR:
            return signal_actor(one.running, name, signal.SIGKILL)
        process = one.running.process
        process.kill()
        if process.wait() != -signal.SIGKILL:
            return False
        gone_s = seconds_until_empty(process.pid, ORPHANS_S)
        self.orphans_gone_s = max(self.orphans_gone_s, gone_s)
        if gone_s > ORPHANS_S:
            raise RuntimeError(f"{one.name}: processes were left {ORPHANS_S:g} s after the supervisor: "
                               f"{members(process.pid)}")
        one.again()
        return True


def soak(plan: Plan, folder: Path, say: Callable[[str], None]) -> Outcome:
    """Run it all in a folder of its own; return what happened."""
    write_reviews(folder / "reviews.json", plan.reviews, seed=plan.seed)
    with servers(plan.broker) as server:
        return _soak(plan, folder, placed_in(server, folder), say)


def _soak(plan: Plan, folder: Path, place: Place, say: Callable[[str], None]) -> Outcome:
    began = time.monotonic()
    soaking = Soak(plan, folder, place)
    problems: list[str] = []
    try:
        soaking.run(say)
    except RuntimeError as error:
        problems.append(str(error))
    finally:
        soaking.end()
    seconds = time.monotonic() - began
    if not problems:
        problems = soaking.problems() + wrong(plan, folder, place)
    return Outcome(soaking.kills, seconds, soaking.orphans_gone_s, problems)


def wrong(plan: Plan, folder: Path, place: Place) -> list[str]:
    """What is wrong with what was published and counted."""
    size_ms, topics = plan.minute_s * 1000, folder / "topics"
    published = Published(place.records(), size_ms, size_ms // 2, plan.form)
    found = problems_of_ids(published, (f"A{number:013d}" for number in range(plan.reviews)))
    return found + problems_of_minutes(folder / "trends", topics / "top_ratings", topics / "shop_ratings", published,
                                       plan.form)


def report(plan: Plan, outcome: Outcome) -> str:
    """Figures and verdict, as text."""
    kills, pace = outcome.kills, f" at {plan.hz:g} a second" if plan.hz else ""
    lines = [
        f"seed {plan.seed}, {plan.reviews:,} reviews as {plan.form}{pace}, by {plan.broker}; "
        f"minutes of {plan.minute_s} s; Python {platform.python_version()}, {os.cpu_count()} cores",
        f"{kills.total()} kills in {outcome.seconds:.1f} s:",
        *(f"  {name:<28}{kills[name]:>4}" for name in sorted(kills)),
        f"after a supervisor's end its last process was gone in at most {outcome.orphans_gone_s * 1000:.0f} ms",
        *outcome.problems,
        "FAILED" if outcome.problems else
        "each published once, each counted once, no revision of a window with two contents; nothing left"]
    return "\n".join(lines)


def main() -> int:
    """Run as the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reviews", type=int, default=1_000_000, help="default: %(default)s")
    parser.add_argument("--hz", type=float, default=3000.0, help="default: %(default)s")
    parser.add_argument("--kills", type=int, default=300, help="default: %(default)s")
    parser.add_argument("--seed", type=int, default=1, help="default: %(default)s")
    parser.add_argument("--minute-s", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--format", choices=("protobuf", "json"), default="protobuf", help="default: %(default)s")
    parser.add_argument("--broker", choices=BROKERS, default="topic", help="default: %(default)s")
    parser.add_argument("--state", type=Path, metavar="DIR", help=(
        "keep everything in this folder, which must be empty or new; default: a temporary one"))
    said = parser.parse_args()
    if why := missing(said.broker):
        parser.error(f"--broker {said.broker}: {why}")
    plan = Plan(said.reviews, said.kills, said.seed, said.hz, said.minute_s, said.format,
                broker=said.broker)
    if said.state is not None:
        said.state.mkdir(parents=True, exist_ok=True)
        if any(said.state.iterdir()):
            parser.error(f"--state {said.state}: expected an empty or new folder")
        return _main(plan, said.state.resolve())
    try:
        with tempfile.TemporaryDirectory(prefix="thresher-soak-") as folder:
            return _main(plan, Path(folder))
    except KeyboardInterrupt:
        print("stopped; nothing is left behind", file=sys.stderr)
        return 130


def _main(plan: Plan, folder: Path) -> int:
    outcome = soak(plan, folder, lambda text: print(text, flush=True))
    print(report(plan, outcome))
    return 1 if outcome.problems else 0


if __name__ == "__main__":
    sys.exit(main())
