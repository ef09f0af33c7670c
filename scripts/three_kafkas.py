#!/usr/bin/env python3
"""A pipeline that reads one topic of Kafka and writes another, on three nodes of which one at a time is killed.

    scripts/three_kafkas [--rate 4000] [--kills 9] [--seed 1] [--without-transactions]

Each record is on all nodes and acknowledged when two have it. While a plain producer publishes numbers at a rate, and
the pipeline carries them over, a node is killed (SIGKILL), records behind the pipeline are waited for, the node is
started again, and once all nodes are in step the next one is killed. At the end the pipeline is stopped. Exit code 0
when it has ended with 0, and a plain consumer that reads what is committed has seen every number once, those of a key
in order.

It needs Java and the jars (scripts/kafka fetch), and about 1.5 GB of memory. The seed decides the nodes.
"""

from __future__ import annotations

import argparse
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``kafka`` is a script

from tests.kafka import WATCHDOG_S, Topics  # noqa: E402
from tests.kafka_cluster import KafkaCluster  # noqa: E402

PARTITIONS, KEYS = 6, 1000
#: A node that is up is left alone for so long at least.
_PEACE_S = 1.0
#: So many records wait in the producer at most while nobody takes them.
_QUEUED = 50_000
_PIPELINE = """
from thresher import Pipeline
from thresher.sinks import DeadLetters
from thresher.sinks import Kafka as To
from thresher.sources import Kafka as From


def parse(value, record):
    return record.key, value


PIPELINE = Pipeline(
    name="carried", source=From(topics=["kafka://{address}/{given}"]), parse=parse,
    sinks={{"carried": To(topic="kafka://{address}/{taken}", transactions={transactions}, replication=3)}},
    dead_letters=DeadLetters())
"""


class Producing(threading.Thread):
    """Publishes numbers from 0 on at a rate, under the rest by ``KEYS``, until it is told to end."""

    def __init__(self, topics: Topics, name: str, rate: float) -> None:
        super().__init__(daemon=True)
        self._topics, self._name, self._rate = topics, name, rate
        self.records = 0
        self.failed: list[Any] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Publish, and wait at the end until all are acknowledged."""
        producer = self._topics.producer(**{"enable.idempotence": True, "linger.ms": 5})
        begun = time.monotonic()
        while not self.ended.is_set():
            producer.poll(0.01)
            due = int((time.monotonic() - begun) * self._rate)
            while self.records < due and len(producer) < _QUEUED:
                number = self.records
                producer.produce(self._name, b"%d" % number, b"%d" % (number % KEYS), on_delivery=self._note)
                self.records += 1
        if left := producer.flush(WATCHDOG_S):
            self.failed.append(f"{left} are not acknowledged")

    def _note(self, error: object, _message: object) -> None:
        if error is not None:
            self.failed.append(error)


class Consuming(threading.Thread):
    """Reads what is committed, from the beginning on, until it is told to end."""

    def __init__(self, topics: Topics, name: str) -> None:
        super().__init__(daemon=True)
        self._topics, self._name = topics, name
        self.numbers: list[int] = []
        self.ended = threading.Event()

    def run(self) -> None:
        """Read."""
        from confluent_kafka import OFFSET_BEGINNING, TopicPartition

        consumer = self._topics.consumer(**{"isolation.level": "read_committed"})
        consumer.assign([TopicPartition(self._name, one, OFFSET_BEGINNING) for one in range(PARTITIONS)])
        while not self.ended.is_set():
            for message in consumer.consume(1000, 0.05):
                value = message.value()
                if message.error() is None and value is not None:
                    self.numbers.append(int(value))
        consumer.close()


def main() -> int:
    """Do it; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=4000.0, help="records a second")
    parser.add_argument("--kills", type=int, default=9)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--without-transactions", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="thresher-three-kafkas-") as folder, KafkaCluster() as cluster:
        return _carry(cluster, Path(folder), options)


def _carry(cluster: KafkaCluster, folder: Path, options: argparse.Namespace) -> int:
    topics = Topics(cluster.address)
    given, taken = topics.make(PARTITIONS, "given", copies=3), topics.make(PARTITIONS, "taken", copies=3)
    (folder / "carried.py").write_text(_PIPELINE.format(
        address=cluster.address, given=given, taken=taken, transactions=not options.without_transactions))
    producing, consuming = Producing(topics, given, options.rate), Consuming(topics, taken)
    with (folder / "said").open("wb") as said:
        run = subprocess.Popen(
            [sys.executable, "-m", "thresher", "run", "carried.py", "--state", "state", "--format", "text"],
            cwd=folder, stdout=said, stderr=said)
    try:
        producing.start()
        consuming.start()
        stood = _kill(cluster, topics, (given, taken), lambda: len(consuming.numbers), options)
        producing.ended.set()
        producing.join()
        _until(lambda: len(set(consuming.numbers)) >= producing.records,
               lambda: f"{len(set(consuming.numbers))} of {producing.records} have come")
        run.send_signal(signal.SIGTERM)
        code = run.wait(WATCHDOG_S)
        time.sleep(_PEACE_S)  # for what may come twice
    except AssertionError:
        print((folder / "said").read_text(errors="replace"))
        raise
    finally:
        run.kill()
        run.wait()
        for thread in (producing, consuming):
            thread.ended.set()
            thread.join()
    said_text = (folder / "said").read_text(errors="replace")
    return _judge(code, said_text, producing, consuming.numbers, stood, options)


def _kill(cluster: KafkaCluster, topics: Topics, names: tuple[str, ...], seen: Callable[[], int],
          options: argparse.Namespace) -> list[float]:
    """Kill and start nodes; return how long nothing came, in seconds, at each kill."""
    rng, stood = random.Random(options.seed), []
    _until(lambda: seen() > 0, lambda: "nothing comes")
    for kill in range(1, options.kills + 1):
        victim, before, at = rng.choice(cluster.numbers), seen(), time.monotonic()
        cluster.kill(victim)
        killed_at = time.monotonic()
        # What came at once was on its way: the first that comes later than in peace ends the standstill.
        longest, last = 0.0, killed_at
        while time.monotonic() < killed_at + 5.0 or seen() == before:
            assert time.monotonic() < killed_at + WATCHDOG_S, f"nothing comes since node {victim} was killed"
            if seen() > before:
                before, longest, last = seen(), max(longest, time.monotonic() - last), time.monotonic()
            time.sleep(0.01)
        stood.append(max(longest, time.monotonic() - last))
        cluster.start(victim)
        cluster.until_whole(topics, *names)
        print(f"kill {kill}: node {victim}; nothing came for {stood[-1]:.1f} s; in step again "
              f"{time.monotonic() - at:.1f} s after the kill; {seen():,} so far", flush=True)
        time.sleep(_PEACE_S)
    return stood


def _judge(code: int, said: str, producing: Producing, numbers: list[int], stood: list[float],
           options: argparse.Namespace) -> int:
    counts, last = Counter(numbers), dict[int, int]()
    unordered = 0
    for number in numbers:
        unordered += number < last.get(number % KEYS, -1)
        last[number % KEYS] = number
    lost = producing.records - len(counts)
    twice = sum(count - 1 for count in counts.values())
    print(f"{producing.records:,} records, {options.kills} kills of one node of three: exit code {code}, {lost} lost, "
          f"{twice} twice, {unordered} out of order, {len(producing.failed)} not published"
          + (f"; nothing came for {statistics.median(stood):.1f} s (median) and {max(stood):.1f} s (longest) at a kill"
             if stood else ""))
    right = code == 0 and not lost and not twice and not unordered and not producing.failed
    if not right:
        print(said)
    return 0 if right else 1


def _until(look: Callable[[], bool], what: Callable[[], str]) -> None:
    deadline = time.monotonic() + WATCHDOG_S
    while not look():
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)


if __name__ == "__main__":
    sys.exit(main())
