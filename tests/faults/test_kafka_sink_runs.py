"""Runs into Kafka, as real processes: the writer, the supervisor and the broker are killed, every message is there."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
from pathlib import Path

import pytest

from actors.kafka.received import headers_of
from actors.sinks.kafka_messages import RECORD_ID
from tests.contract.test_monitor_panels import draw_over_two_runs
from tests.kafka import Kafka, Topics
from tests.loads import Running, assert_counts_add_up
from tests.pipelines.published import KEYS
from tests.powercut.cuts import BAD_EVERY, write_numbers

FILES, LINES = 3, 3000
SMALL = ("flow.batch_bytes=300", "flow.window_batches=4", "restart.max_backoff_s=0.2", "restart.intensity=50",
         "budget.max_error_rate=0.5", "run.max_outage_s=0")


@pytest.fixture
def broker(kafka_to_kill: Kafka) -> Kafka:
    """One that tests of this module kill."""
    return kafka_to_kill


def publish(
    folder: Path, broker: Kafka, name: str, transactions: bool, output: str = "feed.out", rate_hz: int = 0,
    state: str = "state"
) -> Running:
    topic = f"kafka://{broker.address}/{name}"
    sets = ("sinks.words.type=kafka", f"sinks.words.topic={topic}", "sinks.words.timeout_s=2",
            f"sinks.words.transactions={str(transactions).lower()}", f"source.pattern={folder}/data/*.txt",
            f"flow.rate_hz={rate_hz}", *SMALL)
    return Running(folder / state, "run", "tests.pipelines.published", "--format", "json",
                   *(word for item in sets for word in ("--set", item)), output=folder / output)


def expected() -> dict[bytes, list[bytes]]:
    numbers = [number for number in range(FILES * LINES) if number % BAD_EVERY]
    return {b"%d" % key: [b"%d" % number for number in numbers if number % KEYS == key] for key in range(KEYS)}


def by_key(topics: Topics, name: str) -> dict[bytes, list[tuple[bytes, bytes]]]:
    """Id and value of each message that was committed, by key, in order."""
    found: dict[bytes, list[tuple[bytes, bytes]]] = {}
    for one in topics.read(name):
        found.setdefault(one.key() or b"", []).append(
            (dict(headers_of(one))[RECORD_ID] or b"", one.value() or b""))
    return found


@pytest.mark.parametrize("transactions", [False, True], ids=["ids", "transactions"])
def test_whoever_is_killed_nothing_is_missing_and_repeats_have_the_ids_of_what_they_repeat(
    tmp_path: Path, broker: Kafka, transactions: bool
) -> None:
    write_numbers(tmp_path, FILES, LINES)
    topics = Topics(broker.address)
    name = topics.make(partitions=3)
    chance = random.Random(f"kafka {transactions}")
    with publish(tmp_path, broker, name, transactions, rate_hz=800) as feed:  # there is something left to be killed at
        for _ in range(3):
            feed.kill("writer.words", chance.randrange(1, 12))
        feed.until(lambda views: views["writer.words"].batches >= chance.randrange(1, 12), "some batches")
        broker.restart()
        for _ in range(2):
            feed.kill("writer.words", chance.randrange(1, 12))
        feed.until(lambda views: views["writer.words"].batches >= 2, "two more batches")
        os.kill(feed.process.pid, signal.SIGKILL)
        feed.process.wait()
    with publish(tmp_path, broker, name, transactions, "again.out", rate_hz=2500) as feed:
        feed.kill("writer.words", chance.randrange(1, 12))
        assert feed.wait() == 0, feed.output()
    found = by_key(topics, name)
    if not transactions:
        found = {key: list(dict.fromkeys(pairs)) for key, pairs in found.items()}
    assert {key: [value for _, value in pairs] for key, pairs in found.items()} == expected()
    every = [identity for pairs in found.values() for identity, _ in pairs]
    assert len(every) == len(set(every)), "two messages have one id"
    counts = assert_counts_add_up(tmp_path / "state")
    assert counts["written"] == sum(map(len, expected().values()))


def test_an_outage_names_the_broker_and_the_topic_and_the_run_is_not_ready(tmp_path: Path, broker: Kafka) -> None:
    write_numbers(tmp_path, FILES, LINES)
    topics = Topics(broker.address)
    name = topics.make()
    with publish(tmp_path, broker, name, transactions=False, rate_hz=2500) as feed:
        feed.until(lambda views: views["writer.words"].batches >= 3, "some batches")
        broker.kill()
        try:
            views = feed.until(lambda views: bool(views["writer.words"].note), "a note")
            assert views["writer.words"].note.startswith(f"kafka://{broker.address}/{name}: ")
        finally:
            broker.start()
        assert feed.wait() == 0, feed.output()
    assert [event["actor"] for event in feed.of("outage")] == ["writer.words"]
    found = by_key(topics, name)
    assert {key: [value for _, value in pairs] for key, pairs in found.items()} == expected(), "no repeats: no death"


def test_of_two_runs_with_copies_of_one_state_the_older_one_ends_with_code_78_and_says_why(
    tmp_path: Path, kafka: Kafka
) -> None:
    write_numbers(tmp_path, 1, LINES)
    name = Topics(kafka.address).make()
    with publish(tmp_path, kafka, name, True, "first.out", rate_hz=300) as first:
        first.until(lambda views: views["writer.words"].batches >= 2, "two batches")
        first.process.kill()
        first.process.wait()
    shutil.copytree(tmp_path / "state", tmp_path / "copy")
    with publish(tmp_path, kafka, name, True, "older.out", rate_hz=100) as older:
        older.until(lambda views: views["writer.words"].batches >= 2, "two batches")
        with publish(tmp_path, kafka, name, True, "newer.out", state="copy") as newer:
            assert older.wait() == 78, older.output()
            assert newer.wait() == 0, newer.output()
    assert "another process has opened this sink of this state, and writes on: this one ends" in older.output()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_closed_minutes_go_to_a_topic_once_and_are_drawn_from_it_over_two_runs(
    tmp_path: Path, kafka: Kafka, end: signal.Signals
) -> None:
    topics = Topics(kafka.address)
    name = topics.make()
    sets = ("sinks.top.type=kafka", f"sinks.top.topic=kafka://{kafka.address}/{name}", "sinks.top.transactions=true")
    draw_over_two_runs(tmp_path, *sets, end=end)
    assert [json.loads(one.value() or b"")["top"][0][0] for one in topics.read(name)] == ["B1", "B3", "B4"]
