"""An application's panel is drawn from what the aggregators have committed, and what is wrong with it ends nothing."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.apps.connections import busiest
from actors.apps.numbers import since_the_report
from actors.runtime.emitter import Emitter
from actors.runtime.manifest import Component, Manifest
from actors.runtime.messages import Part
from actors.runtime.panel import Bars, Curves, Panel
from actors.runtime.panes import WindowState, read_panes
from actors.runtime.pipeline import Aggregates, Distinct, Fold, Pipeline, Totals, Window, Windows
from actors.runtime.ports import SinkOptions, SourceOptions
from actors.runtime.sections import AggregatorOptions, WindowOptions
from actors.runtime.state import FoldState, add_each
from actors.sinks.dead_letters import DeadLetters
from actors.sources.files import Files
from actors.telemetry import panels as panels_of_a_run
from actors.telemetry.panels import Panels, read_aggregates
from actors.testing import MemorySink, UnorderedMemorySink
from tests.growth import Work
from tests.unit.test_panes import Feed, emit

SMALL = WindowOptions(size_s=0.01, disorder_s=1000)
FOLD = Fold(partials=lambda values, unit: {}, keys=("word",), fields=("n",))
HOUR = Window(1_565_647_204_351, 1_565_650_804_351)


def pipeline(draw: Any = None, **fields: Any) -> Pipeline:
    return Pipeline(name="p", source=Files(rename="none"), parse=bytes.split, sinks={}, dead_letters=DeadLetters(),
                    panel=None if draw is None else Panel(title="The panel", draw=draw), **{"fold": FOLD, **fields})


class Asked(msgspec.Struct, frozen=True):
    word: str = "a"


Made = Callable[..., Panels]


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Made:
    """Makes the panels of a run of a pipeline, whose state is in the test's folder."""

    def make(value: Pipeline | None, emits: tuple[str, ...] = (), shards: int = 1, **fields: Any) -> Panels:
        module = types.ModuleType("panelled")
        if value is not None:
            module.PIPELINE = value  # type: ignore[attr-defined]
        monkeypatch.setitem(sys.modules, "panelled", module)
        return Panels(manifest_at(tmp_path, emits, shards, **fields))

    return make


def manifest_at(path: Path, emits: tuple[str, ...] = (), shards: int = 1, **fields: Any) -> Manifest:
    component: Component[SinkOptions] = Component("actors.sinks.dead_letters:DeadLetters", {})
    source: Component[SourceOptions] = Component("actors.sources.stdin:Stdin", {})
    return Manifest(run="r", name="p", app="panelled", state=str(path), source=source, sinks={},
                    dead_letters=component, folds=True, emit_sinks=emits, aggregator=AggregatorOptions(shards=shards),
                    **fields)


def as_curves(aggregates: Aggregates) -> Curves:
    return Curves(values={key[0]: numbers[0] for _, rows in aggregates.windows for key, numbers in rows})


def drawn(panels: Panels) -> Any:
    found = panels.drawing()
    assert found is not None and found["problem"] == "", found
    return found["drawing"]


def test_an_application_without_a_panel_has_no_drawing(made: Made) -> None:
    assert made(pipeline()).drawing() is None


def test_before_anything_is_aggregated_there_is_a_title_and_no_drawing(made: Made) -> None:
    assert made(pipeline(as_curves)).drawing() == {"title": "The panel", "drawing": None, "problem": ""}


def test_what_is_folded_is_drawn_from_all_shards_while_they_write(made: Made, tmp_path: Path) -> None:
    states = [FoldState(tmp_path / f"aggregator.{number}.db", 2, add_each) for number in (1, 2)]
    for state, word in zip(states, ("b", "a"), strict=True):
        state.fold([((word,), [2]), ((word + word,), [1])])
        state.commit({"p": 1})
        state.fold([((word,), [5])])  # not committed
    panels = made(pipeline(as_curves), shards=2)
    assert drawn(panels) == {"type": "curves", "values": {"a": 2, "aa": 1, "b": 2, "bb": 1}, "unit": ""}
    for state in states:
        state.commit({"p": 2})
        state.close()
    assert drawn(panels)["values"] == {"a": 7, "aa": 1, "b": 7, "bb": 1}


def test_too_many_keys_are_not_all_read_for_a_panel(
    made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panels_of_a_run, "MOST_DRAWN", 100)
    state = FoldState(tmp_path / "aggregator.1.db", 1, add_each)
    state.fold([((f"{number:04d}",), [1]) for number in range(5000)])
    state.end(True)
    state.commit({"p": 1})
    state.close()
    work = Work()
    with work.counted():
        found = made(pipeline(as_curves)).drawing()
    assert found == {"title": "The panel", "drawing": None,
                     "problem": "ValueError: more than 100 keys: too many for a panel"}
    assert work.codes < 20 * 5000


def test_a_panel_that_raises_is_a_problem_and_is_tried_again(made: Made, tmp_path: Path) -> None:
    state = FoldState(tmp_path / "aggregator.1.db", 1, add_each)
    state.fold([(("a",), [0])])
    state.commit({"p": 1})
    panels = made(pipeline(lambda aggregates: Curves(values={"share": 1 / aggregates.windows[0][1][0][1][0]})))
    assert panels.drawing() == {
        "title": "The panel", "drawing": None, "problem": "ZeroDivisionError: division by zero"}
    state.fold([(("a",), [2])])
    state.commit({"p": 2})
    state.close()
    assert drawn(panels)["values"] == {"share": 0.5}


def test_a_panel_that_draws_neither_bars_nor_curves_is_told_what_is_expected(made: Made, tmp_path: Path) -> None:
    state = FoldState(tmp_path / "aggregator.1.db", 1, add_each)
    state.fold([(("a",), [1])])
    state.commit({"p": 1})
    state.close()
    found = made(pipeline(lambda aggregates: [1, 2])).drawing()
    assert found is not None
    assert found["problem"] == "TypeError: expected draw to return Bars or Curves, got list"


def test_an_application_that_cannot_be_imported_is_a_problem(made: Made) -> None:
    found = made(None).drawing()
    assert found is not None
    assert found["problem"].startswith("AttributeError: module 'panelled' has no attribute 'PIPELINE'")


def test_draw_is_given_the_options_of_the_run(made: Made, tmp_path: Path) -> None:
    state = FoldState(tmp_path / "aggregator.1.db", 1, add_each)
    state.fold([(("a",), [1]), (("b",), [2])])
    state.commit({"p": 1})
    state.close()

    def draw(aggregates: Aggregates, options: Asked) -> Bars:
        rows = aggregates.windows[0][1]
        return Bars(bars=[(word, number, "") for (word,), (number,) in rows if word == options.word])

    panels = made(pipeline(draw, options=Asked()), options={"word": "b"})
    assert msgspec.json.encode(drawn(panels)["bars"]) == b'[["b",2,""]]'


def test_a_file_that_is_no_database_yet_is_as_if_there_was_none(made: Made, tmp_path: Path) -> None:
    (tmp_path / "aggregator.1.db").write_bytes(b"")
    assert made(pipeline(as_curves)).drawing() == {"title": "The panel", "drawing": None, "problem": ""}


ENTRIES = st.lists(st.tuples(st.integers(0, 5), st.sampled_from("abc"), st.integers(0, 9)), max_size=6)


@settings(max_examples=40, deadline=None)
@given(st.lists(ENTRIES, max_size=6), st.booleans())
def test_what_is_read_of_windows_is_what_the_aggregator_has(batches: list[Any], restarts: bool) -> None:
    with tempfile.TemporaryDirectory() as folder:
        feed = Feed(Path(folder), WindowOptions(size_s=10, disorder_s=1000))
        for batch in batches:
            feed.part(1, *((10_000 * hour, 10_000 * (hour + 1), {key: number}) for hour, key, number in batch))
            if restarts:
                feed.commit()
                feed.restart()
        before = read_panes(Path(folder) / "windows.db", add_each)
        feed.commit()
        after = read_panes(Path(folder) / "windows.db", add_each)
        assert {(window.start, window.end, window.key): rows for window, rows in after.items()} == {
            pane.window: pane.numbers for pane in feed.state._panes}
        assert before == (after if restarts else {}), "what is not committed is not seen"
        feed.state.close()


def test_windows_are_read_in_order_and_joined_over_shards(tmp_path: Path) -> None:
    for shard, key in ((1, "b"), (2, "a")):
        emitter = Emitter(f"aggregator.{shard}", {"rows": MemorySink()}, UnorderedMemorySink(), {"": "l", "rows": "w"})
        state = WindowState(tmp_path / f"windows.{shard}.db", 2, SMALL, add_each, emit, emitter)
        entries = [(start, start + 10, (), msgspec.msgpack.encode([((key,), [start + 1])])) for start in (10, 0)]
        state.accept(Part("p", 0, 1, 0, 0, 1, {}, "", 1, 0, (), (5,)), [msgspec.msgpack.encode(entries)])
        state.commit({"p": 1})
        state.close()
    windows = Windows(time=int, emit=emit)
    found = read_aggregates(manifest_at(tmp_path, ("rows",), 2), pipeline(as_curves, windows=windows))
    assert found == Aggregates(windows=[
        (Window(0, 10, (), 0), [(("a",), [1]), (("b",), [1])]),
        (Window(10, 20, (), 0), [(("a",), [11]), (("b",), [11])])])


def test_reading_does_not_hold_up_a_writer_nor_the_other_way_round(tmp_path: Path) -> None:
    feed = Feed(tmp_path, WindowOptions(size_s=10, disorder_s=1000))
    feed.part(1, (0, 10_000, {"a": 1}))
    feed.commit()
    path = tmp_path / "windows.db"
    reading = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)
    reading.execute("BEGIN")
    assert reading.execute("SELECT count(*) FROM increments").fetchone() == (1,)
    feed.part(1, (0, 10_000, {"a": 2}))
    feed.commit()
    assert read_panes(path, add_each) == {Window(0, 10_000, (), 0): {("a",): [3]}}
    reading.close()
    feed.state._file.connection.execute("BEGIN IMMEDIATE")
    assert read_panes(path, add_each) == {Window(0, 10_000, (), 0): {("a",): [3]}}
    feed.state._file.connection.execute("ROLLBACK")
    feed.state.close()


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(st.integers(0, 50), max_size=20), min_size=1, max_size=5))
def test_totals_are_those_that_the_aggregator_has_committed(batches: list[list[int]]) -> None:
    pytest.importorskip("numpy")
    from actors.runtime.distinct import read_totals
    from tests.unit.test_distinct import part_of, state_at

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "distinct.1.db"
        assert read_totals(path) is None
        state = state_at(path)
        for step, numbers in enumerate(batches):
            state.accept(*part_of(numbers, step))
        assert read_totals(path) == Totals(0, 0, 0)
        state.commit({"p": len(batches)})
        everything = [number for numbers in batches for number in numbers]
        once = len(set(everything))
        assert read_totals(path) == Totals(once, len(everything) - once, once)
        distinct = Distinct(limit=1000, emit=list)
        found = read_aggregates(manifest_at(Path(folder), ("log",)), pipeline(as_curves, distinct=distinct))
        assert found == Aggregates(windows=[], totals=Totals(once, len(everything) - once, once))
        state.close()


def test_the_hosts_with_most_connections_of_the_newest_hour_are_drawn() -> None:
    rows = [(("from Zoe", "a"), [99]), *((("out", f"host{number:02d}"), [number % 12]) for number in range(40))]
    drawing = busiest(Aggregates(windows=[(Window(0, 1), [(("out", "old"), [1000])]), (HOUR, rows)]))
    assert drawing.label == "2019-08-12 22:00:04 to 23:00:04 UTC"
    assert drawing.bars == [
        ("host11", 11, "11"), ("host23", 11, "11"), ("host35", 11, "11"), ("host10", 10, "10"), ("host22", 10, "10"),
        ("host34", 10, "10"), ("host09", 9, "9"), ("host21", 9, "9"), ("host33", 9, "9"), ("host08", 8, "8")]


def test_numbers_are_drawn_as_the_next_report_would_say_them() -> None:
    drawing = since_the_report(Aggregates(windows=[], totals=Totals(5, 2, 77)))
    assert drawing == Curves(values={"unique": 5, "duplicates": 2}, unit="numbers")
