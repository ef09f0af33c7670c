"""The windows of a shard in memory: found by what is due and what is touched, and never all of them looked at."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.messages import Part
from actors.runtime.open_panes import OpenPanes, Pane
from actors.runtime.panes import WindowState
from actors.runtime.sections import WindowOptions
from actors.runtime.windows import Layout
from tests.growth import Work, watched
from tests.unit.test_panes import Feed, opened

DAY = 86_400_000
SESSIONS = WindowOptions(kind="session", gap_s=10, disorder_s=DAY)
HOURS = WindowOptions(size_s=3600, disorder_s=DAY)

#: Start, end, key.
Entry = tuple[int, int, str]


def part(state: WindowState, number: int, entries: list[Entry]) -> None:
    packed = [(start, end, (key,), msgspec.msgpack.encode([((), [1])])) for start, end, key in entries]
    newest = max(start for start, _, _ in entries)
    assert state.accept(Part("p", number, number + 1, 0, 0, 1, {}, "", 1, 0, (), (newest,) * 4),
                        [msgspec.msgpack.encode(packed)]) is None
    state.commit({"p": number + 1})


def folded(folder: Path, options: WindowOptions, many: list[list[Entry]], counted: int) -> Work:
    """Fold and commit these parts; the last ``counted`` of them are counted."""
    folder.mkdir()
    with watched() as work:
        state = opened(folder, options)
        for number, entries in enumerate(many[:-counted]):
            part(state, number, entries)
        work.statements = work.steps = 0
        with work.counted():
            for number, entries in enumerate(many[-counted:], len(many) - counted):
                part(state, number, entries)
        state.close()
    return work


@pytest.mark.parametrize("options", [SESSIONS, HOURS])
def test_a_commit_costs_the_same_however_many_windows_are_open(tmp_path: Path, options: WindowOptions) -> None:
    def parts(keys: int) -> list[list[Entry]]:
        before = [(0, 3_600_000, f"user-{number}") for number in range(keys)]
        return [before, *([(0, 3_600_000, "another")] for _ in range(10))]

    few, many = (folded(tmp_path / str(keys), options, parts(keys), 10) for keys in (20, 5000))
    assert many.codes < 1.2 * few.codes
    assert many.statements == few.statements


def test_a_session_costs_the_same_however_many_its_key_has(tmp_path: Path) -> None:
    def parts(sessions: int) -> list[list[Entry]]:
        return [[(60_000 * number, 60_000 * number + 10_000, "user") for number in range(sessions)]]

    few, many = (folded(tmp_path / str(sessions), SESSIONS, parts(sessions), 1) for sessions in (100, 1600))
    assert many.codes < 20 * few.codes


def test_sessions_that_become_one_cost_the_same_however_many_there_are(tmp_path: Path) -> None:
    def parts(users: int) -> list[list[Entry]]:
        apart = [(at, at + 10_000, f"user-{number}") for number in range(users) for at in (0, 15_000)]
        return [[*apart, *((8_000, 18_000, f"user-{number}") for number in range(users))]]

    few, many = (folded(tmp_path / str(users), SESSIONS, parts(users), 1) for users in (50, 800))
    assert many.codes < 20 * few.codes


def test_a_large_session_that_is_joined_from_before_again_and_again_is_never_moved(tmp_path: Path) -> None:
    """Of two that become one the smaller goes into the larger, whichever begins first."""
    def codes(groups: int) -> int:
        state = opened(tmp_path / str(groups), SESSIONS)
        large = [(10_000_000, 10_010_000, (), msgspec.msgpack.encode([((f"{n}",), [1]) for n in range(groups)]))]
        before = [(start, start + 10_000, (), msgspec.msgpack.encode([(("a",), [1])]))
                  for at in range(9_985_000, 9_400_000, -15_000) for start in (at, at + 8_000)]  # apart, then joined
        frames = [[msgspec.msgpack.encode(entries)] for entries in (large, before)]
        headers = [Part("p", at, at + 1, 0, 0, 1, {}, "", 1, 0, (), (10_000_000,) * 4) for at in (0, 1)]
        assert state.accept(headers[0], frames[0]) is None
        with Work().counted() as work:
            assert state.accept(headers[1], frames[1]) is None
        state.close()
        (tmp_path / str(groups) / "windows.db").unlink()
        assert len(state._panes) == 1
        return work.codes

    for folder in ("10", "2000"):
        (tmp_path / folder).mkdir()
    assert codes(2000) < 1.2 * codes(10)


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9), st.sampled_from("ab")), max_size=40))
def test_sessions_that_a_session_touches_are_found(some: list[tuple[int, int, str]]) -> None:
    kept = OpenPanes(Layout(SESSIONS))
    for number, (start, length, key) in enumerate(some):
        end = start + length
        expected = [pane for pane in kept if pane.key == (key,) and start < pane.end and pane.start < end]
        found = kept.touching(start, end, (key,))
        assert found == sorted(expected, key=lambda pane: pane.start)
        if not found:
            kept.add(Pane(number, start, end, (key,)))
        elif number % 2:
            kept.forget(found[0])
    assert len(kept) == len(list(kept))


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(1, 30)), max_size=30), st.integers(0, 20))
def test_what_is_complete_is_given_once_and_once_more_when_it_is_over(
    some: list[tuple[int, int]], lateness: int
) -> None:
    layout = Layout(WindowOptions(size_s=1, lateness_s=lateness / 1000))
    kept, expected = OpenPanes(layout), {}
    for number, (start, length) in enumerate(dict.fromkeys(some)):
        expected[number] = kept.add(Pane(number, start, start + length, (number,)))
    given_: list[tuple[int, int]] = []
    for watermark in range(100):
        for pane in kept.completed(watermark):
            given_.append((pane.id, watermark))
            if layout.is_over(pane.end, watermark):
                kept.forget(pane)
    assert sorted(given_) == sorted({(number, at) for number, pane in expected.items()
                                     for at in (pane.end, pane.end + lateness)})
    assert not len(kept)


def test_a_session_that_has_grown_after_its_row_is_revised_also_when_its_aggregator_dies_before(
    tmp_path: Path
) -> None:
    feed = Feed(tmp_path, WindowOptions(kind="session", gap_s=5, disorder_s=2, lateness_s=60))
    feed.part(1_000, (1_000, 6_000, {"a": 1}))
    feed.part(20_000, (20_000, 25_000, {"b": 1}))
    assert feed.commit() == [[1_000, 6_000, 1, {"a": 1}]]
    feed.part(20_000, (5_000, 18_000, {"a": 1}))
    assert feed.commit() == [], "it has become longer, and is not complete"
    feed.restart()
    feed.part(60_000, (60_000, 65_000, {"c": 1}))
    assert feed.commit() == [[1_000, 18_000, 2, {"a": 2}], [20_000, 25_000, 1, {"b": 1}]]
