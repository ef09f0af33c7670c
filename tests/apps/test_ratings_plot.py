"""The plot of the ratings: from both pipelines, through the topic, into a real browser and a shop's own page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.apps.test_dashboard import wait_for
from tests.apps.test_panel_of_a_sink import bars, names
from tests.apps.test_ratings_runs import done, feed, trends, write
from tests.browser import chromium, visit
from tests.monitors import Listening, ask, entry_of, eventually, url_of

NOON = 1_764_417_600_000
DAY_S = 86_400
ASINS = ["B004LLIL5A", "B004LLIKVU", "B004KNWWO0", "B00CHQ7I7W", "B00BWDGQYQ", "B00JDQKGWU"]


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with chromium() as started:
        yield started


def reviews(day: int, *counts: int) -> list[dict[str, Any]]:
    """So many reviews of each product, of this day; the mean of each is 4.5."""
    return [{"reviewerID": f"A{number}", "asin": asin, "overall": 4.0 + number % 2, "reviewText": "Well",
             "unixReviewTime": NOON // 1000 + day * DAY_S}
            for asin, count in zip(ASINS, counts, strict=False) for number in range(count)]


def test_from_reviews_to_the_browser_minute_after_minute_and_to_a_shop(browser: Browser, tmp_path: Path) -> None:
    def publish(day: int, *counts: int) -> None:
        file = write(tmp_path / f"reviews-{day}.json", reviews(day, *counts))
        done(feed(tmp_path / "feed", str(file), "--hz", "0", "--check-cost", "0"))

    words = ("--monitor", "--set", "monitor.port=0", "--set", "monitor.interval_s=0.2", "--set", "options.time=review",
             "--set", "window.disorder_s=0")
    publish(0, 40, 32, 12, 8, 2, 2)
    publish(1, 0, 0, 0, 0, 4)
    with trends(tmp_path / "trends", *words) as running:
        url = url_of(running.state)
        with (visit(browser, entry_of(running.state)) as page,
              closing(Listening(url, path="api/panels/shop/events?last=60")) as shop):
            wait_for(lambda: names(page) == ASINS[:5], "five bars")
            assert [bar["inside"] for bar in bars(page)] == ["4.5"] * 5
            expect(page.locator("#panel-unit")).to_have_text("ratings, 2025-11-29 12:00:00 to 12:01:00 UTC")
            page.evaluate("window.isTheSame = true")
            publish(2, 6)
            wait_for(lambda: names(page) == [ASINS[4]], "the next minute")
            page.get_by_role("button", name="Earlier").click()
            wait_for(lambda: len(bars(page)) == 5, "the minute before")
            assert page.evaluate("window.isTheSame")
            found = json.loads(shop.until(
                "drawing", lambda drawing: drawing["label"] == "2025-11-29 11:59:05 to 12:00:05 UTC")["data"])
            assert [(bar["above"], bar["height"], bar["inside"]) for bar in found["bars"]] == [
                (asin, count, "4.5") for asin, count in zip(ASINS, (40, 32, 12, 8, 2), strict=False)]
        running.process.terminate()
        assert running.wait() in (0, 3), running.output()
    with trends(tmp_path / "trends", *words) as running:
        drawn = eventually(lambda: ask(f"{url_of(running.state)}api/panels/main").json["drawings"], "minutes of before")
        assert [each["label"] for each in drawn] == [
            f"2025-11-{day} 12:00:00 to 12:01:00 UTC" for day in (29, 30)]
        assert ask(f"{url_of(running.state)}api/panels").json["panels"] == [
            {"name": "main", "title": "Most ranked products", "problem": ""},
            {"name": "shop", "title": "Most ranked products of the last 60 s", "problem": ""}]
