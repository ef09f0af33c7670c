"""ratings on Kafka and on RabbitMQ, as users run it: one line changes the broker, and each rating counts once."""

from __future__ import annotations

import random
import signal
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import pytest

from scripts.make_reviews import make_reviews
from tests.apps.test_ratings_runs import done, feed, kill_one, write
from tests.kafka import Kafka, Topics
from tests.loads import ROOT, Running, assert_counts_add_up
from tests.monitors import ask, eventually, url_of
from tests.ratings import Published, counts_of, problems_of_ids, problems_of_minutes
from tests.ratings_brokers import InKafka, InRabbitMQ, Place, options, sets

LINE = '"topic:../topics/live_ratings"'
PATIENT = ("restart.intensity=100", "restart.backoff_s=0.01", "restart.max_backoff_s=0.2", "run.max_outage_s=0")


@pytest.fixture(params=["kafka", "rabbitmq"])
def place(request: pytest.FixtureRequest) -> Place:
    """A fresh place for the ratings in each of the brokers."""
    pytest.importorskip({"kafka": "confluent_kafka", "rabbitmq": "pika"}[request.param])
    server = request.getfixturevalue(f"{request.param}_to_kill")
    return InKafka(server) if request.param == "kafka" else InRabbitMQ(server)


def configured(folder: Path, name: str, address: str) -> str:
    """The configuration that ships, with one line of it changed; return its path."""
    text = (ROOT / "config" / f"ratings-{name}.toml").read_text()
    assert text.count(LINE) == 1
    path = folder / f"{name}.toml"
    path.write_text(text.replace(LINE, f'"{address}"'))
    return str(path)


def test_one_line_of_the_configuration_that_ships_changes_the_broker(tmp_path: Path, place: Place) -> None:
    form = {"kafka": "protobuf", "rabbitmq": "json"}[place.name]  # either goes over either
    reviews = list(make_reviews(600))
    file = write(tmp_path / "reviews.json", reviews)
    form_of = ("--format", "json", "--set", f"options.format={form}")
    done(Running(tmp_path / "feed", "run", configured(tmp_path, "feed", place.published_to), str(file), *form_of,
                 "--hz", "0", "--check-cost", "0"))
    done(Running(tmp_path / "trends", "run", configured(tmp_path, "trends", place.read_from), *form_of, "--once"))
    with closing(sqlite3.connect(tmp_path / "trends" / "averages.sqlite")) as connection:
        counted = dict(connection.execute("SELECT asin, sum(count) FROM averages GROUP BY asin").fetchall())
    assert counted == Counter(review["asin"] for review in reviews)
    assert assert_counts_add_up(tmp_path / "trends")["folded"] == len(reviews)


def test_whoever_is_killed_the_broker_too_each_rating_is_published_and_counted_once(
    tmp_path: Path, place: Place
) -> None:
    """And in Kafka a partition is added meanwhile, before the last reviews are there."""
    rng = random.Random(place.name)
    reviews = list(make_reviews(3000))
    file, last = write(tmp_path / "reviews.json", reviews[:2400]), write(tmp_path / "last.json", reviews[2400:])
    feeds = ("--hz", "0", "--check-cost", "0.0005", *options(place, "feed"), *sets(
        *PATIENT, "flow.batch_bytes=4000", "parser.workers=2", "source.rename=none", "source.again=skip"))
    counts = (*options(place, "trends"), *sets(*PATIENT, "flow.batch_bytes=4000", "window.size_s=1",
                                               "window.every_s=0.5"))
    server = place.server
    assert server is not None
    with feed(tmp_path / "feed", str(file), *feeds) as feeding, counting(tmp_path, *counts) as running:
        for one in (feeding, running) * 3:
            kill_one(rng, one)
        server.kill()
        server.start()
        place.grow()
        for one in (feeding, running):
            kill_one(rng, one)
            one.process.kill()  # the supervisors are among those who are killed
            one.process.wait()
    with feed(tmp_path / "feed", str(file), str(last), *feeds) as feeding:
        kill_one(rng, feeding)
        assert feeding.wait() == 0, feeding.output()
    with counting(tmp_path, *counts) as running:  # followed to its end, and stopped as a user does it
        running.until(lambda views: counts_of(running.state)["read"] >= len(reviews), "all ratings")
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()
    done(counting(tmp_path, *counts, "--once"))
    said = Published(place.records(), 1000, 500)
    topics = tmp_path / "topics"
    assert problems_of_ids(said, (review["reviewerID"] for review in reviews)) == []
    assert problems_of_minutes(tmp_path / "trends", topics / "top_ratings", topics / "shop_ratings", said) == []
    assert_counts_add_up(tmp_path / "trends")
    counted = counts_of(tmp_path / "trends")
    assert counted["read"] == counted["folded"] == len(reviews)


def counting(folder: Path, *words: str) -> Running:
    return Running(folder / "trends", "run", "ratings-trends", "--format", "json", *words)


def test_the_plot_is_drawn_from_a_topic_in_kafka_also_after_a_restart(tmp_path: Path, kafka: Kafka) -> None:
    pytest.importorskip("confluent_kafka")
    place, tops = InKafka(kafka), Topics(kafka.address).make()
    file = write(tmp_path / "reviews.json", make_reviews(300))
    done(feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0", *options(place, "feed")))
    words = (*options(place, "trends"), *sets(
        f"sinks.top_ratings.topic=kafka://{kafka.address}/{tops}", "options.time=review", "monitor.port=0",
        "monitor.interval_s=0.2", "window.kind=tumbling", "window.disorder_s=0", "window.lateness_s=1000000000"),
        "--monitor")
    for _ in range(2):
        with counting(tmp_path, *words) as running:
            drawn = eventually(lambda: ask(f"{url_of(running.state)}api/panels/main").json["drawings"], "bars")
            assert ask(f"{url_of(running.state)}api/panels").json["panels"][0] == {
                "name": "main", "title": "Most ranked products", "problem": ""}
            assert drawn[-1]["unit"] == "ratings"
            assert drawn[-1]["bars"]
            running.process.terminate()
            assert running.wait() in (0, 3), running.output()
