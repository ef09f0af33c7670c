"""An application's panels over HTTP: what its sink was given, for pages of one's own, whoever was restarted since."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.loads import Running
from tests.monitors import Answer, Listening, ask, eventually, url_of
from tests.pipelines.ranked import label_of

MINUTE_MS = 60_000
FIRST_MS = 1_531_652_640_000
TOKEN = "a token of some length"
SHOP = "https://shop.example"


class Ranked(Running):
    """A run of ``ranked`` without end, over a file that a test appends to, with the monitor."""

    def __init__(self, folder: Path, *sets: str, pipeline: str = "ranked") -> None:
        self.log = folder / "ratings.log"
        self.log.touch()
        options = ("source.poll_s=0.05", "monitor.port=0", "monitor.interval_s=0.1", *sets)
        super().__init__(folder / "state", "run", f"tests.pipelines.{pipeline}", str(self.log), "--monitor", "--format",
                         "json", *(word for item in options for word in ("--set", item)))

    @property
    def url(self) -> str:
        """Where the monitor is."""
        return url_of(self.state)

    def rate(self, minute: int, *asins: str, overall: float = 4.0) -> None:
        """Append a rating of each of these, of this minute."""
        with self.log.open("ab") as file:
            file.write(b"".join(b"%d %s %.1f\n" % (FIRST_MS + minute * MINUTE_MS + index, asin.encode(), overall)
                                for index, asin in enumerate(asins)))

    def ask(self, path: str, **headers: str) -> Answer:
        """Ask for something of ``/api/panels``."""
        return ask(f"{self.url}api/panels{path}", **headers)

    def until_drawn(self, *labels: str) -> list[dict[str, Any]]:
        """Wait until the panel has just these drawings; return them."""
        found: list[dict[str, Any]] = eventually(
            lambda: [drawing["label"] for drawing in self.ask("/main").json["drawings"]] == list(labels)
            and self.ask("/main").json["drawings"], f"drawings of {labels}")
        return found


def draw_over_two_runs(folder: Path, *sets: str, end: signal.Signals) -> None:
    """Draw what the sink of closed minutes was given; kill its writer, end the run, go on with another."""
    with Ranked(folder, *sets, pipeline="ranked_topic") as running:
        running.rate(0, "B1", "B1", "B2")
        running.rate(1, "B3")
        running.rate(2, "B4")
        running.until_drawn(*LABELS[:2])
        running.kill("writer.top", 0)
        running.process.send_signal(end)
        assert running.wait() == (0 if end == signal.SIGTERM else -end), running.output()
    with Ranked(folder, *sets, pipeline="ranked_topic") as running:
        running.rate(3, "B5")
        running.until_drawn(*LABELS[:3])
        running.process.send_signal(signal.SIGTERM)
        assert running.wait() == 0, running.output()


LABELS = [label_of(FIRST_MS + minute * MINUTE_MS) for minute in range(4)]


@pytest.fixture(scope="module")
def ranked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranked]:
    """A run with two minutes that are over, and one that is not."""
    with Ranked(tmp_path_factory.mktemp("ranked"), f"monitor.allow_origins=['{SHOP}']") as running:
        running.rate(0, "B1", "B1", "B2")
        running.rate(1, "B3")
        running.rate(2, "B4")
        running.until_drawn(*LABELS[:2])
        yield running


def test_a_minute_is_drawn_when_it_is_over_in_words_that_a_page_can_use(ranked: Ranked) -> None:
    assert ranked.ask("").json == {"panels": [
        {"name": "main", "title": "Most ranked products", "problem": ""},
        {"name": "first", "title": "The first place", "problem": ""}]}
    shown = ranked.ask("/main").json
    assert (shown["name"], shown["title"], shown["problem"]) == ("main", "Most ranked products", "")
    first = shown["drawings"][0]
    assert first.pop("at") > 1e9
    assert first == {
        "label": LABELS[0], "unit": "ratings", "x_title": "place", "y_title": "number of ratings", "bars": [
            {"label": "1", "height": 2, "inside": "4.0", "above": "B1"},
            {"label": "2", "height": 1, "inside": "4.0", "above": "B2"}]}
    (last,) = ranked.ask("/main?last=1").json["drawings"]
    assert last["label"] == LABELS[1]
    assert [bar["label"] for bar in ranked.ask("/first").json["drawings"][0]["bars"]] == ["B3"]


def test_what_is_asked_for_wrongly_is_refused_with_what_there_is(ranked: Ranked) -> None:
    assert (ranked.ask("/other").status, ranked.ask("/other").text) == (404, "expected one of the panels main, first\n")
    assert ranked.ask("/other/events").status == 404
    for said in ("0", "61", "many", "9" * 5000, "%C2%B2"):
        for path in ("/main", "/main/events"):
            assert (ranked.ask(f"{path}?last={said}").status, ranked.ask(f"{path}?last={said}").text) == (
                400, "last: expected 1 to 60\n")
    assert ask(f"{ranked.url}api/panels/main", {}).status == 405
    assert "Traceback" not in ranked.output()


def test_only_pages_of_origins_that_are_named_may_read_and_only_panels(ranked: Ranked) -> None:
    for path in ("", "/main"):
        answer = ranked.ask(path, Origin=SHOP)
        assert (answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (SHOP, "Origin")
    for origin in ("https://evil.example", "https://shop.example.evil", "null", ""):
        answer = ranked.ask("/main", Origin=origin)
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert answer.headers["Vary"] == "Origin"
    for path in ("api/status", "api/panel", "metrics", "api/letters"):
        assert "Access-Control-Allow-Origin" not in ask(ranked.url + path, Origin=SHOP).headers
    with closing(Listening(ranked.url, path="api/panels/main/events", headers=f"Origin: {SHOP}\r\n")) as stream:
        assert f"Access-Control-Allow-Origin: {SHOP}" in stream.head


def test_without_being_told_to_the_monitor_lets_no_other_page_read(tmp_path: Path) -> None:
    with Ranked(tmp_path) as running:
        answer = eventually(lambda: running.ask("", Origin=SHOP), "an answer")
        assert "Access-Control-Allow-Origin" not in answer.headers
        assert "Vary" not in answer.headers


def test_a_stream_begins_with_the_newest_and_goes_on_with_what_is_closed_or_revised(tmp_path: Path) -> None:
    with Ranked(tmp_path) as running:
        running.rate(0, "B1")
        running.rate(1, "B2")
        running.rate(2, "B3")
        running.until_drawn(*LABELS[:2])
        with closing(Listening(running.url, path="api/panels/main/events")) as newest, \
                closing(Listening(running.url, path="api/panels/main/events?last=60")) as all_of_them:
            assert "text/event-stream" in newest.head
            assert json.loads(newest.until("drawing")["data"])["label"] == LABELS[1]
            running.rate(3, "B4")
            third = newest.until("drawing", lambda drawing: drawing["label"] == LABELS[2])
            running.rate(0, "B1")
            late = newest.until("drawing", lambda drawing: drawing["label"] == LABELS[0])
            assert [bar["height"] for bar in json.loads(late["data"])["bars"]] == [2]
            told = [all_of_them.until("drawing") for _ in range(4)]
            assert [json.loads(one["data"])["label"] for one in told] == [*LABELS[:3], LABELS[0]]
            assert told[2:] == [third, late]
            assert [drawing["label"] for drawing in running.until_drawn(*LABELS[:3])] == LABELS[:3]
            running.process.terminate()
            assert newest.until("end", lambda data: data == {})


@pytest.mark.parametrize("pipeline", ["ranked", "ranked_topic"])
def test_the_minutes_are_still_there_after_the_monitor_has_died_and_after_another_start(
    tmp_path: Path, pipeline: str
) -> None:
    with Ranked(tmp_path, pipeline=pipeline) as running:
        running.rate(0, "B1")
        running.rate(1, "B2")
        before = running.until_drawn(LABELS[0])
        pid = running.views()["monitor.1"].pid
        os.kill(pid, signal.SIGKILL)
        running.until(lambda views: views["monitor.1"].pid not in (0, pid), "another monitor")
        again = running.until_drawn(LABELS[0])
        assert [drawing["bars"] for drawing in again] == [drawing["bars"] for drawing in before]
        running.process.terminate()
        assert running.wait() in (0, 3), running.output()
    with Ranked(tmp_path, pipeline=pipeline) as running:
        running.until_drawn(LABELS[0])
        running.rate(2, "B3")
        running.until_drawn(*LABELS[:2])


def test_panels_want_the_token_and_a_page_may_ask_whether_to_show_it(tmp_path: Path) -> None:
    with Ranked(tmp_path, f"monitor.token_secret={TOKEN}", f"monitor.allow_origins=['{SHOP}']") as running:
        refused = eventually(lambda: running.ask("/main", Origin=SHOP, Authorization=""), "an answer")
        assert refused.status == 401
        assert running.ask("/main", Authorization=f"Bearer {TOKEN}").status == 200
        asked = {"Origin": SHOP, "Access_Control_Request_Method": "GET",
                 "Access_Control_Request_Headers": "authorization"}
        allowed = ask(f"{running.url}api/panels/main", method="OPTIONS", Authorization="", **asked)
        assert allowed.status == 204
        assert {name: allowed.headers[f"Access-Control-Allow-{name}"] for name in ("Origin", "Methods", "Headers")} == {
            "Origin": SHOP, "Methods": "GET", "Headers": "Authorization"}
        for path, origin in (("api/panels/main", "https://evil.example"), ("api/status", SHOP)):
            answer = ask(running.url + path, method="OPTIONS", **{**asked, "Authorization": "", "Origin": origin})
            assert answer.status in (401, 403, 405)
            assert "Access-Control-Allow-Origin" not in answer.headers


def test_streams_of_panels_count_among_those_that_may_be_open(tmp_path: Path) -> None:
    with Ranked(tmp_path, "monitor.max_streams=2") as running:
        eventually(lambda: running.ask(""), "an answer")
        for number in range(12):  # who has gone does not, also if nothing was to be sent since
            with closing(Listening(running.url, path="api/panels/main/events")) as gone:
                assert gone.head.startswith("HTTP/1.1 200"), number
                gone.reset()
        with closing(Listening(running.url)) as status, closing(Listening(running.url, path="api/panels/main/events")):
            status.until("status")
            for path in ("api/events", "api/panels/main/events"):
                refused = eventually(partial(ask, running.url + path), "an answer")
                assert (refused.status, refused.text) == (503, "monitor.max_streams = 2 are open: close one of them\n")
