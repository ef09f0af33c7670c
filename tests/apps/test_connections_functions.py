"""connections, its functions: lines, reports of windows, options."""

from __future__ import annotations

import json
import math
import random
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.apps.connections import LAST_MS, PIPELINE, Options, Rows, _parse_slowly, emit, parse, partials
from actors.runtime.errors import ConfigError, Reject
from actors.runtime.pipeline import Window
from actors.settings import load
from actors.testing import assert_bulk_is_faithful
from scripts.make_connections import make_blocks
from tests.loads import SHARED
from thresher.testing import run_inline

PUBLIC = SHARED / "data/connections-10000.txt"
HOUR_MS = 3_600_000
OPTIONS = Options()

STAMP = st.sampled_from([
    b"1565647204351", b"1565647204", b"0", b"007", b"+5", b"1_0", b"-1", b"1.5", b"", b"x", b"9" * 15, b"9" * 5000,
    "١٢".encode(), b"253402300799999", b"253402300800000"])
HOST = st.sampled_from([b"A", b"Bb", b"", b"h\r", b"\r", b"\xff", "Zoë".encode(), b"a\tb", b"\x1b[0m", b"5"])
LINE = st.one_of(
    st.tuples(STAMP, HOST, HOST).map(b" ".join),
    st.sampled_from([b"", b"\r", b"  ", b"1 A", b"1 A B C", b"1  A B", b" 1 A B", b"1 A B ", b"1\tA\tB"]),
    st.tuples(st.just(b"1565647204351"), st.sampled_from([b"A", b"B"]), st.sampled_from([b"C", b"D\r"])).map(b" ".join))


def parse_one(line: bytes, options: Options = OPTIONS) -> Any:
    (value,) = parse([line], options)
    return value


@pytest.mark.parametrize(("line", "expected"), [
    (b"1565647204351 A B", (1565647204351, "A", "B")),
    (b"1565647204 A B\r", (1565647204000, "A", "B")),
    (b"0 A A", (0, "A", "A")),
    ("1565647204351 Zoë 10.0.0.1:80".encode(), (1565647204351, "Zoë", "10.0.0.1:80")),
])
def test_a_line_is_a_time_and_two_hosts(line: bytes, expected: Any) -> None:
    assert parse_one(line) == expected


@pytest.mark.parametrize("line", [b"", b"\r", b"  "])
def test_a_blank_line_is_no_record(line: bytes) -> None:
    assert parse_one(line) is None


@pytest.mark.parametrize(("line", "reason"), [
    (b"1 A", "fields"), (b"1 A B C", "fields"), (b"1  A B", "fields"), (b" 1 A B", "fields"), (b"1 A B ", "fields"),
    (b"1\tA\tB", "fields"), (b"x A B", "timestamp"), (b"+1 A B", "timestamp"), (b"1.5 A B", "timestamp"),
    ("١ A B".encode(), "timestamp"), (b"1_0 A B", "timestamp"), (b" A B", "timestamp"),
    (b"9" * 99 + b" A B", "timestamp"),
    (b"253402300800000 A B", "timestamp"), (b"1 \xff B", "host"), (b"1 A \x07", "host"), (b"1 A ", "host"),
])
def test_anything_else_is_rejected_with_a_reason(line: bytes, reason: str) -> None:
    value = parse_one(line)
    assert isinstance(value, Reject)
    assert value.reason == reason


@settings(deadline=None)
@given(lines=st.lists(LINE, max_size=100), unit=st.sampled_from(["auto", "s", "ms"]))
def test_a_list_of_lines_gives_what_each_line_gives_by_itself(lines: list[bytes], unit: Any) -> None:
    options = Options(unit=unit)
    alone = [_parse_slowly(line, unit) for line in lines]
    for value, other in zip(parse(lines, options), alone, strict=True):
        if isinstance(other, Reject):
            assert isinstance(value, Reject)
            assert (value.reason, value.detail) == (other.reason, other.detail)
        else:
            assert value == other


def test_the_unit_is_told_by_size_or_said() -> None:
    assert parse_one(b"99999999999 A B") == (99999999999000, "A", "B")
    assert parse_one(b"100000000000 A B") == (100000000000, "A", "B")
    assert parse_one(b"5 A B", Options(unit="ms")) == (5, "A", "B")
    assert parse_one(b"253402300799 A B", Options(unit="s")) == (LAST_MS - 999, "A", "B")
    assert isinstance(parse_one(b"1565647204351 A B", Options(unit="s")), Reject)


@settings(deadline=None)
@given(lines=st.lists(LINE, min_size=1, max_size=60), ends=st.booleans())
def test_a_whole_slice_gives_what_its_lines_give_or_is_left_to_them(lines: list[bytes], ends: bool) -> None:
    data = b"\n".join(lines) + b"\n" * ends
    options = Options(into_host="C", from_host="A")
    assert_bulk_is_faithful(PIPELINE, data, options=options)


@pytest.mark.parametrize("newline", [b"\n", b"\r\n"])
def test_a_whole_slice_of_usual_lines_is_taken(newline: bytes) -> None:
    data = b"".join(make_blocks(1000, 20, newline=newline))
    made = assert_bulk_is_faithful(PIPELINE, data, options=Options(into_host=data.split()[2].decode()))
    assert made is not None
    times = [int(line.split()[0]) for line in data.splitlines()]
    assert made.times == (times[0], min(times), max(times))


def report(values: list[Any], options: Options = OPTIONS, window: Window = Window(0, HOUR_MS)) -> dict[str, Any]:  # noqa: B008
    rows: Rows = sorted(partials(values, options).items())
    emitted = dict(emit(window, rows, options))
    assert emitted["hours"] == emitted["rows"]
    return {**emitted["hours"], "text": emitted["report"]}


def test_a_report_names_who_connected_whom_it_reached_and_who_connected_most() -> None:
    values = [(1, "A", "H"), (2, "B", "H"), (3, "A", "H"), (4, "G", "A"), (5, "G", "C"), (6, "D", "E")]
    made = report(values, Options(into_host="H", from_host="G"))
    assert made.pop("text") == """\
1970-01-01T00:00:00.000Z to 1970-01-01T01:00:00.000Z (0 to 3600000 ms)
  connected to H: A, B
  received connections from G: A, C
  most connections, 2: A, G"""
    assert made == {"start": 0, "end": HOUR_MS, "into_host": "H", "into": ["A", "B"], "from_host": "G",
                    "received": ["A", "C"], "top": ["A", "G"], "top_connections": 2}


def test_hosts_that_nobody_asked_for_are_not_reported_and_none_is_said_to_be_none() -> None:
    text = report([(1, "A", "B")])["text"]
    assert "connected to" not in text
    assert "received" not in text
    assert "connected to H: (none)" in report([(1, "A", "B")], Options(into_host="H"))["text"]


def test_an_hour_in_which_another_host_was_asked_for_does_not_name_one_for_the_other() -> None:
    values = [(1, "A", "H"), (2, "B", "G")]
    before, after = Options(into_host="H", from_host="B"), Options(into_host="G", from_host="A")
    rows = {**partials(values[:1], before), **partials(values[1:], after)}
    made = dict(emit(Window(0, HOUR_MS), sorted(rows.items()), after))["hours"]
    assert (made["into"], made["received"], made["top"]) == (["B"], [], ["A", "B"])


def test_a_report_that_comes_again_says_so() -> None:
    assert "ms, revision 2)" in report([(1, "A", "B")], window=Window(0, HOUR_MS, (), 2))["text"]


def public_values() -> list[Any]:
    if not PUBLIC.exists():
        pytest.skip("the public file is not here")
    return parse(PUBLIC.read_bytes().split(b"\n")[:-1], OPTIONS)


def hours_of(values: list[Any], options: Options) -> list[dict[str, Any]]:
    """Reports of the hours that are counted from the first connection."""
    first = min(at for at, _, _ in values)
    by_hour: dict[int, list[Any]] = {}
    for value in values:
        by_hour.setdefault((value[0] - first) // HOUR_MS, []).append(value)
    return [report(some, options, Window(first + hour * HOUR_MS, first + (hour + 1) * HOUR_MS))
            for hour, some in sorted(by_hour.items())]


def test_the_reports_of_the_public_file_are_those_that_are_known() -> None:
    reports = hours_of(public_values(), Options(into_host="Aaliayh"))
    assert len(reports) == 24
    expected = {
        0: (1565650804351, 2, "Donnis Eveliz Keimy Kishauna Lachandra Santangelo Traysen"),
        14: (1565701204351, 3, "Kamyree"),
        23: (1565733604351, 2,
             "Burnett Dashyra Gaetan Ishi Jaiceyon Kahleil Katrinna Kiaeem Kingsly Saphyra"),
    }
    for hour, (end, most, top) in expected.items():
        assert (reports[hour]["end"], reports[hour]["top_connections"]) == (end, most)
        assert reports[hour]["top"] == top.split()
    assert reports[14]["into"] == ["Cliff"]


def test_a_report_is_the_same_whatever_the_order_of_the_lines_and_is_json() -> None:
    values: list[Any] = parse(b"".join(make_blocks(5000, 40, seed=3, span_s=3000)).split(b"\n")[:-1], OPTIONS)
    shuffled = random.Random(1).sample(values, len(values))
    options = Options(into_host=values[0][2], from_host=values[0][1])
    once = report(values, options)
    assert once == report(shuffled, options)
    counts = Counter(left for _, left, _ in values)
    assert once["top"] == sorted(host for host, number in counts.items() if number == max(counts.values()))
    assert json.loads(msgspec.json.encode(once)) == once


@pytest.mark.parametrize(("said", "ms"), [
    ("1565656607", 1565656607000), (1565656607767, 1565656607767), ("2019-08-13T00:36:47.767Z", 1565656607767),
    ("2019-08-13T02:36:47.767+02:00", 1565656607767),
])
def test_times_are_seconds_or_milliseconds_or_iso_8601_with_a_zone(said: Any, ms: int) -> None:
    assert Options(since=said, until=said).period == (ms, ms)


def test_without_times_all_is_asked_for_and_parts_of_a_millisecond_stay_within() -> None:
    assert OPTIONS.period == (-math.inf, math.inf)
    assert Options(since="2019-08-13T00:36:47.7670001Z", until="2019-08-13T00:36:48.767999Z").period == (
        1565656607767, 1565656608767)
    assert Options(since="2019-08-13T00:36:47.767001Z").period[0] == 1565656607768


@pytest.mark.parametrize(("option", "value", "text"), [
    ("since", "2019-08-13T00:36:47", "a time with its zone, e.g. 2019-08-13T00:36:47Z or +02:00 in place of Z"),
    ("since", "2019-08-13", "e.g. 2019-08-13T00:00Z"),
    ("until", "yesterday", "expected seconds or ms since 1970, or a time like 2019-08-12T22:00:00Z, got 'yesterday'"),
    ("host", "A B", "expected a host's name, without blanks, got 'A B'"),
    ("unit", "us", "expected 'auto' or 's' or 'ms', got 'us'"),
])
def test_an_option_that_cannot_be_says_what_is_expected(option: str, value: str, text: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load("connections", sets=[f"options.{option}={value}"], environ={})
    assert text in str(refused.value)
    assert f"--set options.{option}" in str(refused.value)


def test_a_period_that_ends_before_it_begins_is_refused() -> None:
    with pytest.raises(ConfigError, match="until: expected a time that is not before since"):
        load("connections", query=True, flags=[("host", "H"), ("from", "20"), ("to", "10")], environ={})


@pytest.mark.parametrize("name", ["connections.toml", "connections-postgres.toml"])
def test_the_configurations_that_ship_are_valid(name: str) -> None:
    settings = load(str(Path(__file__).parents[2] / "config" / name), environ={})
    assert settings.manifest.windowed


@pytest.mark.parametrize("at", [0, 1, 33, 79, 80])
def test_one_line_of_a_machine_whose_clock_is_a_year_fast_closes_nobody_s_hours(at: int) -> None:
    minute, year = 60_000, 365 * 86_400_000
    begin = 400_000 * HOUR_MS
    lines = [f"{begin + 3 * minute * number} A B" for number in range(80)]
    lines.insert(at, f"{begin + year} C D")
    result = run_inline(PIPELINE, lines, batch_bytes=150)
    late = [letter.reason for letter in result.dead_letters]
    assert late == ["late"] * (at == 0), "of the first lines only the first can judge the second"
    hours = {row["start"]: row["top_connections"] for row in result.written["hours"]}
    assert hours == {begin: 20 - len(late), **{begin + HOUR_MS * hour: 20 for hour in (1, 2, 3)}, begin + year: 1}
