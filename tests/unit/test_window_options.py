"""Options of windows that an application cannot do with are refused, by its own word, before anything runs."""

from __future__ import annotations

import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.cli import main
from actors.runtime.errors import ConfigError
from actors.runtime.sections import WindowOptions
from actors.settings import load
from thresher import Fold, Pipeline, Windows, drop
from thresher.sinks import Jsonl
from thresher.sources import Files

MODULE = "pipeline_with_windows_of_a_test"


class Days(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Options of an application whose windows are at most so long."""

    most_s: float = 86_400


def why_not(window: WindowOptions, options: Days) -> str:
    """A rule that has nothing to do with minutes, and needs the application's own options."""
    if window.size_s > options.most_s:
        return f"size_s: expected at most options.most_s ({options.most_s:g}), got {window.size_s:g}"
    return ""


@pytest.fixture(autouse=True)
def module() -> Iterator[types.ModuleType]:
    """A user's module with a pipeline."""
    made = types.ModuleType(MODULE)
    made.__dict__["PIPELINE"] = Pipeline(
        name="days", source=Files(pattern="*.txt"), parse=int, route=drop, options=Days(),
        fold=Fold(partials=lambda values: {("all",): [len(values)]}, keys=("what",), fields=("number",)),
        windows=Windows(time=int, emit=lambda window, groups: [], why_not=why_not),
        sinks={"rows": Jsonl()}, emit_sinks=("rows",))
    sys.modules[MODULE] = made
    yield made
    del sys.modules[MODULE]


def _problem(target: str, *sets: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(target, sets=sets, environ={})
    return str(caught.value)


def test_what_the_application_can_do_with_is_accepted() -> None:
    assert load(MODULE, sets=["window.size_s=7200"], environ={}).manifest.window.size_s == 7200


def test_what_it_cannot_do_with_is_refused_with_the_place_where_it_was_said(tmp_path: Path) -> None:
    said = "window.size_s: expected at most options.most_s (86400), got"
    assert _problem(MODULE, "window.size_s=90000") == f"--set window.size_s: {said} 90000"
    path = tmp_path / "days.toml"
    path.write_text(f'app = "{MODULE}"\n[window]\nsize_s = 90000\n')
    assert _problem(str(path)) == f"{path}:3: {said} 90000"


def test_its_own_options_are_those_of_the_run() -> None:
    assert load(MODULE, sets=["options.most_s=1e6", "window.size_s=90000"], environ={}).manifest.window.size_s == 90000


def test_an_option_that_nobody_has_said_is_refused_with_the_section_s_default() -> None:
    assert _problem(MODULE, "options.most_s=30") == (
        "default: window.size_s: expected at most options.most_s (30), got 60")


@pytest.mark.parametrize(("sets", "says"), [
    (["every_s=7"], "every_s: expected a part of size_s (60) that goes into it without a rest, got 7"),
    (["every_s=0.7"], "every_s: expected a part of size_s (60) that goes into it without a rest, got 0.7"),
    (["size_s=61"], "every_s: expected a part of size_s (61) that goes into it without a rest, got 5"),
    (["start=first"], "start: expected 'clock', for minutes are counted from full ones, got 'first'"),
    (["start=1600000003000"], "start: expected 'clock', for minutes are counted from full ones, got 1600000003000"),
    (["kind=session", "gap_s=5"], "kind: expected 'hopping' or 'tumbling', for averages are of minutes, got 'session'"),
    (["kind=global"], "kind: expected 'hopping' or 'tumbling', for averages are of minutes, got 'global'"),
    (["kind=tumbling", "size_s=1.5"],
     "size_s: expected whole seconds, for a minute's file is named by the second, got 1.5"),
])
def test_ratings_trends_refuses_windows_among_which_there_are_no_minutes(
    sets: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = [word for one in sets for word in ("--set", f"window.{one}")]
    for verb in (["lint"], ["check"], ["run", "--state", str(tmp_path / "state")]):
        assert main([verb[0], "ratings-trends", *verb[1:], *words]) == 78
        lines = [line for line in "".join(capsys.readouterr()).splitlines() if "expected" in line]
        assert len(lines) == 1 and lines[0].endswith(f"window.{says}"), lines
    assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("sets", [
    [], ["every_s=60"], ["every_s=2.5"], ["kind=tumbling"], ["kind=tumbling", "every_s=7"], ["size_s=3600"],
    ["size_s=1", "every_s=0.5"], ["lateness_s=0", "disorder_s=9"]])
def test_ratings_trends_takes_windows_among_which_all_minutes_are(sets: list[str]) -> None:
    load("ratings-trends", sets=[f"window.{one}" for one in sets], environ={})


@pytest.mark.parametrize("options", [
    {"size_s": 0.0001}, {"kind": "hopping", "every_s": 0.0001}, {"kind": "session", "gap_s": 0.0001}])
def test_windows_of_less_than_a_millisecond_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, msgspec.ValidationError), match=r"0\.001"):
        msgspec.convert(options, WindowOptions)


def test_windows_without_records_are_emitted_only_where_it_is_known_which_there_are(module: types.ModuleType) -> None:
    assert load(MODULE, sets=["window.empty=emit"], environ={}).manifest.window.empty == "emit"
    assert 'for session windows' in _problem(MODULE, "window.empty=emit", "window.kind=session", "window.gap_s=3")
    pipeline = module.__dict__["PIPELINE"]
    keyed = msgspec.structs.replace(pipeline.windows, key=lambda value: (value,))
    module.__dict__["PIPELINE"] = msgspec.structs.replace(pipeline, windows=keyed)
    assert 'window.empty: expected "skip", for these windows have keys' in _problem(MODULE, "window.empty=emit")
    load(MODULE, sets=[], environ={})
