"""What a report shows of what was folded: the largest groups, and how many there are; and all of them on demand."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest

from actors.console import groups, report, report_text
from actors.console.groups import MOST_SHOWN, all_groups, folded_groups
from actors.runtime.errors import ConfigError
from actors.runtime.events import RunResult
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.state import FoldState, Key, Numbers, add_each
from actors.runtime.values import Unit
from actors.settings import Settings, load
from tests.growth import Work


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load("appsinstalled", environ={}, state=str(tmp_path))


def keep(settings: Settings, rows: list[tuple[Key, Numbers]]) -> None:
    state = FoldState(Path(settings.manifest.state) / "aggregator.1.db", 1, add_each)
    state.fold(rows)
    state.end(True)
    state.commit({})
    state.close()


def by(settings: Settings, *keys: str) -> Pipeline:
    return msgspec.structs.replace(
        settings.pipeline, fold=Fold(partials=lambda values: {}, keys=keys, fields=("count",)))


def unit(number: int) -> Unit:
    return Unit(number, f"{number}.log", "", 0, 0, 0, 0, "done", {})


def test_few_groups_are_all_shown_in_the_order_of_their_keys(settings: Settings) -> None:
    keep(settings, [(("b",), [1]), (("a",), [5]), (("c",), [9])])
    found, of_units = folded_groups(settings.manifest, by(settings, "key"), [])
    assert [(group.keys, group.numbers) for group in found.shown] == [
        ({"key": "a"}, {"count": 5}), ({"key": "b"}, {"count": 1}), ({"key": "c"}, {"count": 9})]
    assert (found.count, of_units) == (3, {})


@pytest.mark.parametrize("many", [MOST_SHOWN + 1, 5 * MOST_SHOWN])
def test_of_many_groups_the_largest_are_shown_and_how_many_there_are(settings: Settings, many: int) -> None:
    keep(settings, [((number * 7919 % many,), [number * 7919 % many]) for number in range(many)])
    found, _ = folded_groups(settings.manifest, by(settings, "key"), [])
    assert [group.numbers["count"] for group in found.shown] == list(range(many - 1, many - 1 - MOST_SHOWN, -1))
    assert found.count == many


@pytest.mark.parametrize("in_memory", [10, 50_000])
def test_groups_are_merged_over_units_in_a_file_when_they_are_many(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, in_memory: int
) -> None:
    monkeypatch.setattr(groups, "_MOST_MERGED", in_memory)
    keep(settings, [((number, key), [number * key]) for number in (1, 2, 3) for key in range(60)])
    found, of_units = folded_groups(settings.manifest, by(settings, "unit", "key"), [unit(1), unit(2)])
    assert {group.keys["key"]: group.numbers["count"] for group in found.shown} == {
        str(key): 3 * key for key in range(60)}
    assert (found.count, sorted(of_units), of_units[2].count) == (60, [1, 2], 60)
    assert [group.numbers["count"] for group in of_units[2].shown] == [2 * key for key in range(60)]


def test_all_groups_are_there_on_demand_with_the_names_of_units(settings: Settings) -> None:
    keep(settings, [((number, key), [key]) for number in (1, 2) for key in range(500)])
    found = list(all_groups(settings.manifest, by(settings, "unit", "key"), [unit(1)]))
    assert len(found) == 1000
    assert {group.keys["unit"] for group in found} == {"1.log", "2"}


def test_all_groups_are_printed_as_lines_of_json(settings: Settings, capsys: pytest.CaptureFixture[str]) -> None:
    keep(settings, [((number,), [number]) for number in range(3)])
    report.print_groups(settings.manifest, by(settings, "key"))
    assert [json.loads(line) for line in capsys.readouterr().out.splitlines()] == [
        {"keys": {"key": str(number)}, "numbers": {"count": number}} for number in range(3)]


def test_a_report_says_how_many_groups_it_does_not_show(settings: Settings) -> None:
    keep(settings, [((number,), [number]) for number in range(MOST_SHOWN + 1234)])
    built = report.build(settings.manifest, by(settings, "key"), None, None)
    shown = msgspec.structs.replace(built, units=[report._unit_report(unit(1), report.NO_GROUPS, True)])
    assert "  and 1,234 more: thresher report TARGET --groups prints all" in report_text.render(shown)
    assert (len(built.fields()["groups"]), built.fields()["groups_count"]) == (MOST_SHOWN, MOST_SHOWN + 1234)


def built_with(settings: Settings, units: int, groups_of_each: int) -> Work:
    keep(settings, [((number, key), [1]) for number in range(units) for key in range(groups_of_each)])
    work = Work()
    with work.counted():
        folded_groups(settings.manifest, by(settings, "unit", "key"), [unit(number) for number in range(units)])
    return work


def test_the_groups_of_a_file_cost_the_same_among_many_files(tmp_path: Path) -> None:
    few = built_with(load("appsinstalled", environ={}, state=str(tmp_path / "few")), 50, 4)
    many = built_with(load("appsinstalled", environ={}, state=str(tmp_path / "many")), 400, 4)
    assert many.codes < 8.4 * few.codes


def test_of_very_many_units_fewer_groups_of_each_are_shown(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "_MOST_OF_UNITS", 200)
    keep(settings, [((number, key), [key]) for number in range(1, 51) for key in range(30)])
    found, of_units = folded_groups(
        settings.manifest, by(settings, "unit", "key"), [unit(number) for number in range(1, 51)])
    assert {len(each.shown) for each in of_units.values()} == {4}
    assert [group.numbers["count"] for group in of_units[7].shown] == [29, 28, 27, 26]
    assert (found.count, len(found.shown), of_units[7].count) == (30, 30, 30)


def test_of_one_unit_its_groups_are_those_of_all(settings: Settings) -> None:
    keep(settings, [((number, key), [key]) for number in (1, 2) for key in range(3)])
    found, of_units = folded_groups(settings.manifest, by(settings, "unit", "key"), [unit(2)])
    assert found == of_units[2]
    assert [group.keys["key"] for group in found.shown] == ["0", "1", "2"]


def test_rows_that_are_like_others_not_among_the_largest_are_not_unpacked(settings: Settings) -> None:
    few = Work()
    keep(settings, [((number,), [1 if number % 1000 else number + 1]) for number in range(20_000)])
    with few.counted():
        found, _ = folded_groups(settings.manifest, by(settings, "key"), [])
    assert (found.count, found.shown[0].numbers) == (20_000, {"count": 19_001})
    assert few.codes < 20 * 20_000, "some steps for each row, no call"


def test_groups_whose_keys_are_of_several_types_are_shown(settings: Settings) -> None:
    keep(settings, [((1,), [1]), (("1",), [2])])
    found, _ = folded_groups(settings.manifest, by(settings, "key"), [])
    assert found.count == len(found.shown) == 2


@pytest.mark.parametrize(("rows", "why"), [
    ([(("a",), [1, 2])], "zip"), ([(("a", "b"), [1])], "zip"), ([(("a",), ["x"]), (("b",), ["y"])], "")])
def test_what_does_not_fit_the_fields_of_the_application_fails_the_report_in_a_sentence(
    settings: Settings, rows: list[tuple[Key, Numbers]], why: str
) -> None:
    keep(settings, rows)
    found = report.build(settings.manifest, by(settings, "key"), None, None)
    assert ("fold: what was folded does not fit keys (key), fields (count)" in found.reason) == bool(why)
    assert why in found.reason
    assert found.code == 1


def test_a_merge_that_raises_while_it_is_read_fails_the_report_in_a_sentence(settings: Settings) -> None:
    state = FoldState(Path(settings.manifest.state) / "aggregator.1.db", 1, add_each)
    for numbers in ([1], [1, 2]):
        state.fold([(("a",), numbers)])
        state.commit({})
        state.end(True)
    state.close()
    found = report.build(settings.manifest, by(settings, "key"), None, None)
    assert (found.code, "ValueError" in found.reason, found.groups) == (1, True, [])
    with pytest.raises(ConfigError, match="begin anew with --fresh"):
        report.print_groups(settings.manifest, by(settings, "key"))


@pytest.mark.parametrize(("code", "reason"), [(3, "stopped"), (0, "stopped by SIGTERM")])
def test_a_run_ends_as_it_ended_when_what_was_folded_cannot_be_read_and_its_report_says_so(
    settings: Settings, code: int, reason: str
) -> None:
    keep(settings, [(("a",), [1])])
    (Path(settings.manifest.state) / "aggregator.1.db").write_bytes(b"no database, as far as can be seen now" * 99)
    result = RunResult(code, reason, 1.0, 0.1, {})
    found = report.build(settings.manifest, by(settings, "key"), result, settings.manifest.run)
    assert (found.code, found.groups) == (code, [])
    assert f"{reason}; what was folded cannot be read now (file is not a database)" in found.reason
