"""Panels that are drawn from a sink, and what pages of one's own are sent of them."""

from __future__ import annotations

import asyncio
import json
import sys
import types
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.defaults import completed
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import component_of
from actors.runtime.panel import Bars, Curves, Panel
from actors.runtime.pipeline import Pipeline
from actors.runtime.sections import MonitorOptions
from actors.sinks.discard import Discard
from actors.sinks.jsonl import Jsonl
from actors.telemetry.drawings import KEPT, Drawings
from actors.telemetry.feeds import Feed, FeedStreams, feeds_of
from tests.contract.test_lines import payload
from tests.unit.test_panels import manifest_at, pipeline


def draw(items: Sequence[Any]) -> list[Bars]:
    return [Bars(bars=[("1", number, "")], label=label) for label, number in items]


class Written:
    """A sink of JSON lines in a folder, and drawings of it.

    Args:
        folder: the state directory.
        patch: has the pipeline where the manifest says.
        drawn: how.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch, drawn: Any = draw) -> None:
        self._options, self._number = Jsonl(sync=False), 0
        self._folder = folder
        module: Any = types.ModuleType("panelled")
        panel = Panel(title="Ranked", draw=drawn, sink="top")
        module.PIPELINE = msgspec.structs.replace(pipeline(), panel=panel, sinks={"top": self._options})
        patch.setitem(sys.modules, "panelled", module)

    def write(self, *items: Any) -> None:
        """Write more."""
        with closing(self._options.open("top", self._folder)) as sink:
            sink.write([payload(list(items), self._number, self._number + 1, options=self._options)])
        self._number += 1

    def drawings(self, **sinks: Any) -> Drawings:
        """What a monitor has that has just been started."""
        found = {name: component_of(options) for name, options in (sinks or {"top": self._options}).items()}
        return Drawings(msgspec.structs.replace(manifest_at(self._folder), sinks=found))


def labels(drawings: Drawings) -> list[str]:
    shown = drawings.draw_all()["main"]
    assert shown["panel"]["problem"] == "", shown
    return [one["drawing"]["label"] for one in shown["past"]]


def test_what_was_written_is_drawn_also_by_a_monitor_that_has_just_been_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, monkeypatch)
    drawings = written.drawings()
    assert labels(drawings) == []
    written.write(("11:01", 1), ("11:02", 2))
    written.write(("11:03", 3))
    assert labels(drawings) == labels(written.drawings()) == ["11:01", "11:02", "11:03"]
    assert drawings.draw_all()["main"]["panel"]["drawing"]["bars"] == [("1", 3, "")]


def test_a_revision_takes_the_place_of_what_it_revises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, monkeypatch)
    written.write(("11:01", 1), ("11:02", 2))
    drawings = written.drawings()
    labels(drawings)
    written.write(("11:01", 5))
    assert labels(drawings) == ["11:01", "11:02"]
    assert drawings.draw_all()["main"]["past"][0]["drawing"]["bars"] == [("1", 5, "")]


def test_the_last_drawings_are_kept_and_keep_the_time_at_which_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = Written(tmp_path, monkeypatch)
    written.write(*((str(number), number) for number in range(KEPT + 7)))
    drawings = written.drawings()
    before = drawings.draw_all()["main"]["past"]
    assert [one["drawing"]["label"] for one in before] == [str(number) for number in range(7, KEPT + 7)]
    written.write(("last", 1))
    after = drawings.draw_all()["main"]["past"]
    assert after[:-1] == before[1:]
    assert after[-1]["drawing"]["label"] == "last"


@pytest.mark.parametrize(("drawn", "problem"), [
    (lambda items: 1 / 0, "ZeroDivisionError: division by zero"),
    (lambda items: 5, "TypeError: expected draw to return Bars or a list of them, got int"),
    (lambda items: Curves(values={}), "TypeError: expected draw to return Bars or a list of them, got Curves"),
    (lambda items: Bars(bars=[]), "ValueError: expected Bars with a label (what they are of), got some without"),
    (lambda items: Bars(bars=[("1", 1, "")], above=["a", "b"], label="a"),
     "ValueError: above: expected a text for each of the 1 bars, got 2"),
])
def test_a_drawing_that_goes_wrong_is_a_problem_until_it_goes_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, drawn: Any, problem: str
) -> None:
    is_mended = False
    written = Written(tmp_path, monkeypatch, lambda items: draw(items) if is_mended else drawn(items))
    written.write(("11:01", 1))
    drawings = written.drawings()
    assert [drawings.draw_all()["main"]["panel"]["problem"] for _ in range(2)] == [problem, problem]
    is_mended = True
    assert labels(drawings) == ["11:01"]


def test_a_sink_that_reads_nothing_back_is_a_problem_that_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawings = Written(tmp_path, monkeypatch).drawings(top=Discard())
    assert drawings.draw_all()["main"]["panel"]["problem"].startswith(
        "LookupError: Panel.sink: what is written to top (nowhere) cannot be read back: draw from a sink that can")


@pytest.mark.parametrize(("fields", "problem"), [
    ({"panel": Panel(title="", draw=draw, sink="other")},
     r"panel: expected a sink of the pipeline \(top\) to draw from, got 'other'"),
    ({"feeds": {"a": Panel(title="", draw=draw, sink="other")}}, r"feeds\['a'\]: expected a sink of the pipeline"),
    ({"feeds": {"main": Panel(title="", draw=draw)}}, "feeds: expected names of small letters, .* got 'main'"),
    ({"feeds": {"a/b": Panel(title="", draw=draw)}}, "feeds: expected names of small letters, .* got 'a/b'"),
])
def test_a_panel_of_a_sink_that_there_is_not_is_refused_before_the_run(fields: Any, problem: str) -> None:
    value: Pipeline = msgspec.structs.replace(pipeline(), sinks={"top": Jsonl()}, **fields)
    with pytest.raises(ConfigError, match=f"PIPELINE: {problem}"):
        completed(value, "p")


@pytest.mark.parametrize("origin", ["*", "shop.example", "https://shop.example/", "https://Shop.example", "null", ""])
def test_what_is_no_origin_is_refused(origin: str) -> None:
    with pytest.raises(ValueError, match="allow_origins: expected scheme://host"):
        MonitorOptions(allow_origins=[origin])
    MonitorOptions(allow_origins=["https://shop.example", "http://[::1]:8080", "http://localhost:3000"])


# What pages are sent --------------------------------------------------------------------------------------------------

def feed(**drawings: int) -> dict[str, Feed]:
    return {"main": Feed("main", "t", "", {label: b"%d" % number for label, number in drawings.items()})}


def test_streams_are_sent_what_is_new_and_what_has_changed() -> None:
    async def check() -> None:
        streams = FeedStreams()
        streams.take(feed(a=1, b=2))
        with streams.open("main", 1) as one, streams.open("main", 60) as all_of_them, streams.open("other", 1) as other:
            assert streams.here() == 3
            assert await one.next() == b"event: drawing\ndata: 2\n\n"
            assert (await all_of_them.next()).count(b"event:") == 2
            streams.take(feed(a=1, b=2))
            streams.take(feed(a=5, b=2, c=3))
            assert await one.next() == await all_of_them.next() == (
                b"event: drawing\ndata: 5\n\nevent: drawing\ndata: 3\n\n")
            streams.beat()
            streams.end()
            assert await other.next() == b": still here\n\nevent: end\ndata: {}\n\n"
            assert other.has_ended
        assert streams.here() == 0

    asyncio.run(check())


def test_drawings_are_sent_in_words() -> None:
    bars = Bars(bars=[("1", 4, "4.5")], above=["B1"], label="11:01", unit="ratings", x_title="place", y_title="number")
    plain = Bars(bars=[("Tracy", 2.5, "")])
    curves = Curves(values={"new": 1.0}, unit="numbers")
    drawn = {name: {"panel": {"title": name, "drawing": None, "problem": ""}, "past": [
        {"at": 1.5, "drawing": msgspec.to_builtins(drawing)}]} for name, drawing in (
            ("bars", bars), ("plain", plain), ("curves", curves))}
    feeds = feeds_of({**drawn, "none": {"panel": None, "past": []}})
    assert {name: json.loads(found.json())["drawings"] for name, found in feeds.items()} == {
        "bars": [{"at": 1.5, "label": "11:01", "unit": "ratings", "x_title": "place", "y_title": "number",
                  "bars": [{"label": "1", "height": 4, "inside": "4.5", "above": "B1"}]}],
        "plain": [{"at": 1.5, "label": "", "unit": "", "x_title": "", "y_title": "",
                   "bars": [{"label": "Tracy", "height": 2.5, "inside": "", "above": ""}]}],
        "curves": [{"at": 1.5, "label": "", "unit": "numbers", "values": {"new": 1.0}}]}
