"""The soak of ratings, short: kills of anyone of both pipelines change nothing. `scripts/soak_ratings` is longer."""

from __future__ import annotations

import contextlib
import shutil
from pathlib import Path

import pytest

from actors.apps.ratings.messages import AverageRatings
from actors.runtime.values import Payload
from scripts.soak_ratings import Plan, soak, wrong
from tests.ratings import records_of
from tests.ratings_brokers import OnDisk
from thresher import sinks

PLAN = Plan(reviews=20_000, kills=30, seed=3, hz=2000, minute_s=2, batch_bytes=16 * 1024)


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a soak went well."""
    folder = tmp_path_factory.mktemp("soak")
    outcome = soak(PLAN, folder, print)
    assert outcome.problems == []
    assert {"feed supervisor", "feed reader.1", "trends supervisor", "trends reader.1", "trends aggregator.1",
            "trends writer.top_ratings", "trends writer.averages"} <= set(outcome.kills)
    return folder


def test_kills_of_anyone_of_both_pipelines_change_no_count_of_any_minute(soaked: Path) -> None:
    assert wrong(PLAN, soaked, OnDisk(soaked)) == []


def test_the_soak_would_see_two_contents_of_a_revision_a_wrong_count_and_a_rating_that_is_there_twice(
    soaked: Path, tmp_path: Path
) -> None:
    spoilt = tmp_path / "spoilt"
    shutil.copytree(soaked, spoilt)
    rows = spoilt / "trends" / "averages.jsonl"
    lines = rows.read_text().splitlines()
    rows.write_text("\n".join([lines[0].replace('"count":', '"count":1'), *lines[1:]]) + "\n")
    top = AverageRatings.FromString(records_of(spoilt / "topics/top_ratings")[0].value or b"")
    top.ratings[0].count += 1
    publish(spoilt / "topics/top_ratings", top.SerializeToString(deterministic=True))
    assert {problem.partition(":")[0] for problem in wrong(PLAN, spoilt, OnDisk(spoilt))} == {"averages", "top_ratings"}
    publish(spoilt / "topics/live_ratings", records_of(spoilt / "topics/live_ratings")[0].value or b"", 3)
    first, *_ = wrong(PLAN, spoilt, OnDisk(spoilt))
    assert first.startswith("1 ratings were published once too often, the first of them by A")


def publish(topic: Path, value: bytes, partitions: int = 1) -> None:
    options = sinks.Topic(topic=str(topic), partitions=partitions)
    with contextlib.closing(options.open("spoiler", topic.parent)) as sink:
        sink.write([Payload("spoiler", 0, 1, 1, options.pack([value]))])
