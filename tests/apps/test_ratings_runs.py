"""ratings as users run it: both pipelines as processes, the topic between them, and whoever is killed."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from actors.apps.ratings.messages import AverageRatings, Rating
from actors.runtime.framing import Record
from actors.runtime.values import Payload
from actors.sinks.dead_letters import read_letters
from scripts.make_reviews import make_reviews
from tests.loads import ROOT, SHARED, WATCHDOG_S, Running, assert_counts_add_up, living
from tests.ratings import MINUTE_MS, Published, problems_of_minutes, records_of
from thresher import sinks
from thresher.sinks import Message

PUBLIC = SHARED / "data" / "ratings-gift-cards.json"
FAKE = {"reviewerID": "A0", "asin": "B0", "overall": 5.0, "unixReviewTime": 1529193600,
        "reviewText": "buy this card now " * 8}
EVERY_MS = 5000

public_file = pytest.mark.skipif(not PUBLIC.exists(), reason="the public file is not here")


def feed(state: Path, *words: str) -> Running:
    return Running(state, "run", "ratings-feed", "--format", "json", *words)


def trends(state: Path, *words: str) -> Running:
    return Running(state, "run", "ratings-trends", "--format", "json", "--set", "source.poll_s=0.05", *words)


def write(path: Path, reviews: Iterable[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(review) + "\n" for review in reviews))
    return path


def published(folder: Path) -> list[tuple[Record, Rating]]:
    """What is in the topic."""
    return [(record, Rating.FromString(record.value or b"")) for record in records_of(folder / "topics/live_ratings")]


def done(running: Running) -> None:
    with running:
        assert running.wait() == 0, running.output()


def rows_of(state: Path) -> list[dict[str, Any]]:
    """The rows of all minutes, of every revision."""
    return [json.loads(line) for line in (state / "averages.jsonl").read_text().splitlines()]


def assert_minutes(folder: Path, size_ms: int = MINUTE_MS, every_ms: int = EVERY_MS) -> None:
    """Rows, files and messages say of each window what was published in it, and no revision of one says two things."""
    topics = folder / "topics"
    said = Published(records_of(topics / "live_ratings"), size_ms, every_ms)
    assert problems_of_minutes(folder / "trends", topics / "top_ratings", topics / "shop_ratings", said) == []


def test_thirty_ratings_are_published_and_the_fake_one_is_dead_lettered_with_its_reason(tmp_path: Path) -> None:
    reviews = [*make_reviews(17), FAKE, *make_reviews(13, seed=1)]
    file = write(tmp_path / "reviews.json", reviews)
    done(feed(tmp_path / "feed", str(file), "--hz", "20", "--check-cost", "0.01", "--n", "31"))
    found = published(tmp_path)
    assert sorted(rating.asin for _, rating in found) == sorted(one["asin"] for one in reviews if one is not FAKE)
    assert all(record.key == rating.asin.encode() for record, rating in found)
    (letter,) = read_letters(tmp_path / "feed" / "dead-letters.db")
    assert (letter.reason, letter.line) == ("fake", 18)
    assert letter.detail == "the text says the same over and over: 4 different words of 32"
    assert json.loads(letter.raw) == FAKE
    times = [record.time or 0 for record, _ in found]
    assert times == sorted(times) and len(set(times)) > 1


@public_file
@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_the_public_file_is_counted_once_through_both(tmp_path: Path, form: str) -> None:
    file = tmp_path / "reviews.json"
    file.write_bytes(PUBLIC.read_bytes())
    done(feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0", "--set", f"options.format={form}"))
    done(trends(tmp_path / "trends", "--once", "--set", f"options.format={form}"))
    rows = rows_of(tmp_path / "trends")
    asked = Counter(json.loads(line)["asin"] for line in PUBLIC.read_bytes().splitlines())
    counted: Counter[str] = Counter()
    for row in rows:
        counted[row["asin"]] += row["count"]
    assert counted == asked
    if form == "protobuf":
        assert_minutes(tmp_path)
    assert assert_counts_add_up(tmp_path / "trends")["folded"] == 2972


@pytest.mark.parametrize("seed", range(2))
def test_whoever_is_killed_each_rating_is_published_and_counted_once(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    reviews = list(make_reviews(4000, fakes=0.01, seed=seed))
    fakes = sum(review.get("reviewText", "").startswith("buy this") for review in reviews)
    file = write(tmp_path / "reviews.json", reviews)
    patient = ("restart.intensity=100", "restart.backoff_s=0.01", "flow.batch_bytes=4000")
    quick = sets(*patient, "parser.workers=2", "source.rename=none", "source.again=skip")
    short = sets(*patient, "window.size_s=1", "window.every_s=0.5", "source.idle_timeout_s=0.5")
    for _ in range(2):  # the two supervisors are among those who are killed
        with (feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0.0003", *quick) as feeding,
              trends(tmp_path / "trends", *short) as counting):
            for running in (feeding, counting) * 4:
                kill_one(rng, running)
            for running in (feeding, counting):
                running.process.kill()
                running.process.wait()
    done(feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0.0003", *quick))
    assert len(published(tmp_path)) == len(reviews) - fakes
    done(trends(tmp_path / "trends", "--once", *short))
    assert_minutes(tmp_path, 1000, 500)


def test_late_ratings_give_a_minute_a_revision_in_table_file_and_topic(tmp_path: Path) -> None:
    folder, state = tmp_path / "topics" / "live_ratings", tmp_path / "trends"
    noon = 1_764_417_600_000
    shipped = ("run", str(ROOT / "config/ratings-trends.toml"), "--format", "json", "--once")
    publish(folder, 0, [(noon, "A", 5.0), (noon + 1, "B", 4.0), (noon + MINUTE_MS, "A", 2.0)])
    done(Running(state, *shipped))
    assert table(state) == [(noon, "A", 5.0, 1, 1), (noon, "B", 4.0, 1, 1), (noon + MINUTE_MS, "A", 2.0, 1, 1)]
    publish(folder, 3, [(noon + 2, "B", 3.0)])
    done(Running(state, *shipped))
    assert table(state) == [(noon, "A", 5.0, 1, 2), (noon, "B", 3.5, 2, 2), (noon + MINUTE_MS, "A", 2.0, 1, 1)]
    assert (state / "minutes/2025_11_29_12_00_00.csv").read_text() == "asin,mean_overall,count\nB,3.5,2\nA,5.0,1\n"
    found = [AverageRatings.FromString(one.value or b"") for one in records_of(tmp_path / "topics/top_ratings")]
    assert [(top.start_ms, top.revision, [one.asin for one in top.ratings]) for top in found] == [
        (noon, 1, ["A", "B"]), (noon + MINUTE_MS, 1, ["A"]), (noon, 2, ["B", "A"])]


def publish(folder: Path, start: int, rows: list[tuple[int, str, float]]) -> None:
    """Publish ratings that bring their times."""
    options = sinks.Topic(topic=str(folder))
    with contextlib.closing(options.open("test", folder.parent)) as sink:
        items = [Message(Rating(asin=asin, overall=overall).SerializeToString(), key=asin, time=at)
                 for at, asin, overall in rows]
        sink.write([Payload("test", start, start + len(rows), len(rows), options.pack(items))])


def table(state: Path) -> list[tuple[Any, ...]]:
    """The rows of the table: ms, product, mean, count, revision."""
    with contextlib.closing(sqlite3.connect(state / "averages.sqlite")) as connection:
        rows = connection.execute("SELECT minute, asin, mean_overall, count, revision FROM averages ORDER BY 1, 2")
        return [(int(datetime.fromisoformat(f"{minute}+00:00").timestamp() * 1000), *rest) for minute, *rest in rows]


def test_trends_may_be_there_before_the_topic_is(tmp_path: Path) -> None:
    file = write(tmp_path / "reviews.json", make_reviews(50))
    with trends(tmp_path / "trends") as counting:
        counting.until(lambda views: "reader.1" in views and views["reader.1"].state == "READY", "a reader")
        done(feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0"))
        counting.until(lambda views: views["reader.1"].records == 50, "all ratings")
        counting.process.terminate()
        assert counting.wait() == 0, counting.output()


def sets(*words: str) -> list[str]:
    return [word for one in words for word in ("--set", one)]


def kill_one(rng: random.Random, running: Running) -> None:
    """Kill an actor at random, once something was done since it was started; nothing, if the run is over."""
    deadline = time.monotonic() + WATCHDOG_S
    while running.process.poll() is None:
        views = running.views()
        pids = [view.pid for view in views.values() if view.pid and view.batches and living([view.pid])]
        if pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(rng.choice(pids), signal.SIGKILL)
            return
        assert time.monotonic() < deadline, running.output()
        time.sleep(0.002)
