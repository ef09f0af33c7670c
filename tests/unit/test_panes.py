"""The windows of a shard: closed once, emitted with all that was in them, whatever is restarted when."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.runtime import panes
from actors.runtime.database import open_database
from actors.runtime.emitter import Emitter
from actors.runtime.empty_windows import MOST_IN_A_ROW
from actors.runtime.errors import ConfigError
from actors.runtime.messages import LeftOut, Part
from actors.runtime.outbox import Entry
from actors.runtime.panes import WindowState
from actors.runtime.pipeline import Window
from actors.runtime.sections import WindowOptions
from actors.runtime.state import add_each
from actors.testing import MemorySink, UnorderedMemorySink
from tests.growth import Work, watched

TUMBLING = WindowOptions(size_s=10, disorder_s=2)
SESSIONS = WindowOptions(kind="session", gap_s=5, disorder_s=2)


def emit(window: Window, rows: Any) -> list[tuple[str, Any]]:
    return [("rows", [window.start, window.end, window.revision, {key[0]: n[0] for key, n in rows}])]


def opened(path: Path, options: WindowOptions = TUMBLING) -> WindowState:
    emitter = Emitter("aggregator.1", {"rows": MemorySink()}, UnorderedMemorySink(),
                      {"": "writer.dead_letters", "rows": "writer.rows"})
    return WindowState(path / "windows.db", 1, options, add_each, emit, emitter)


class Died(BaseException):
    """What becomes of a process that is killed: nobody catches it."""


class Feed:
    """Gives a state one part after the other."""

    def __init__(self, path: Path, options: WindowOptions = TUMBLING) -> None:
        self.path, self.options = path, options
        self.state = opened(path, options)
        self.at = 0

    def restart(self) -> None:
        self.state.close()
        self.state = opened(self.path, self.options)

    def part(self, newest: int, *entries: tuple[int, int, dict[str, int]], of: str = "p", silences: int = 0,
             active: tuple[int, ...] = ()) -> int | None:
        """Of a batch of four records at this time; return up to where all was closed when it is refused."""
        packed = [(start, end, (), msgspec.msgpack.encode([((key,), [n]) for key, n in numbers.items()]))
                  for start, end, numbers in entries]
        part = Part(of, self.at, self.at + 1, 0, 0, 1, {}, "", 1 + (of != "p"), silences, active, (newest,) * 4,
                    silences=silences)
        closed = self.state.accept(part, [msgspec.msgpack.encode(packed)])
        self.at += closed is None
        return None if closed is None else closed.reached

    def commit(self) -> list[Any]:
        return rows(self.state.commit({"p": self.at}))


def rows(entries: list[Entry]) -> list[Any]:
    return [row for entry in entries for row in msgspec.msgpack.decode(entry.body["writer.rows"][1])]


def test_a_window_is_emitted_when_the_watermark_has_passed_its_end_and_only_then(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.part(11_999, (0, 10_000, {"a": 1}), (10_000, 20_000, {"a": 5}))
    assert feed.commit() == []
    feed.part(12_000, (0, 10_000, {"a": 2, "b": 1}), (10_000, 20_000, {"a": 1}))
    assert feed.commit() == [[0, 10_000, 1, {"a": 3, "b": 1}]]
    feed.state.end(True)
    assert feed.commit() == [[10_000, 20_000, 1, {"a": 6}]]
    feed.state.end(True)
    assert feed.commit() == []


def test_a_part_with_something_late_is_refused_whole_with_up_to_where_all_is_closed(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.part(22_000, (20_000, 30_000, {"a": 1}))
    feed.commit()
    assert feed.part(23_000, (10_000, 20_000, {"a": 1}), (20_000, 30_000, {"a": 1})) == 20_000
    feed.part(40_000, (20_000, 30_000, {"a": 1}))
    assert feed.commit() == [[20_000, 30_000, 1, {"a": 2}]]  # nothing of the refused part is in it


def test_what_was_committed_is_there_after_a_restart_and_nothing_else(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.part(1_000, (0, 10_000, {"a": 1}))
    feed.commit()
    feed.part(2_000, (0, 10_000, {"a": 10}))  # applied and not committed
    feed.restart()
    assert feed.state.applied() == {"p": 1}
    feed.part(12_000, (0, 10_000, {"a": 100}))
    assert feed.commit() == [[0, 10_000, 1, {"a": 101}]]
    feed.restart()
    assert feed.part(3_000, (0, 10_000, {"a": 1})) == 10_000  # still closed


def test_rows_stay_in_the_outbox_over_a_restart_until_they_are_acknowledged(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.part(12_000, (0, 10_000, {"a": 1}))
    feed.commit()
    before = feed.state.outbox
    feed.restart()
    outbox = feed.state.outbox
    assert outbox is not None and before is not None
    (entry,) = outbox.due("writer.rows")
    assert rows([entry]) == [[0, 10_000, 1, {"a": 1}]]
    assert outbox.partition == before.partition
    outbox.acked("writer.rows", (outbox.partition, entry.seq, entry.seq + 1))
    feed.commit()
    feed.restart()
    assert feed.state.outbox is not None
    assert len(feed.state.outbox) == 0
    assert feed.state.outbox.low == 1  # numbers are never used twice


def test_late_records_within_the_lateness_are_added_and_the_row_has_the_next_revision(tmp_path: Path) -> None:
    feed = Feed(tmp_path, WindowOptions(size_s=10, disorder_s=2, lateness_s=20))
    feed.part(12_000, (0, 10_000, {"a": 1}))
    assert feed.commit() == [[0, 10_000, 1, {"a": 1}]]
    assert feed.part(13_000, (0, 10_000, {"a": 1})) is None
    assert feed.commit() == [[0, 10_000, 2, {"a": 2}]]
    feed.restart()
    assert feed.commit() == []
    feed.part(31_999, (0, 10_000, {"b": 1}))
    assert feed.commit() == [[0, 10_000, 3, {"a": 2, "b": 1}]]
    feed.part(32_000)
    assert feed.commit() == []
    assert feed.part(32_000, (0, 10_000, {"a": 1})) == 30_000
    connection = sqlite3.connect(tmp_path / "windows.db")
    assert connection.execute("SELECT revision, state FROM panes").fetchall() == [(3, 1)]
    assert connection.execute("SELECT count(*) FROM increments").fetchone() == (1,), "written anew as one"
    connection.close()


def test_that_all_were_silent_closes_before_the_part_that_comes_behind_it_and_once_whoever_dies(tmp_path: Path) -> None:
    """A shard that was dead when it was said takes note of it from the next part, one that was told does not again."""
    for was_told in (True, False):
        feed = Feed(tmp_path / str(was_told))
        feed.part(15_000, (10_000, 20_000, {"a": 1}), active=(1, 2))
        feed.part(45_000, (40_000, 50_000, {"b": 1}), of="q", active=(1, 2))
        assert feed.commit() == []
        if was_told:
            feed.state.roll(1, (), 1)
            assert feed.commit() == [[10_000, 20_000, 1, {"a": 1}]]
        feed.restart()
        assert feed.part(41_000, (30_000, 40_000, {"late": 1}), silences=1, active=(1, 2)) == 43_000
        assert feed.part(41_000, (40_000, 50_000, {"a": 1}), silences=1, active=(1, 2)) is None
        feed.part(95_000, (90_000, 100_000, {"b": 1}), of="q", silences=1, active=(1, 2))
        assert feed.commit() == ([] if was_told else [[10_000, 20_000, 1, {"a": 1}]])
        feed.restart()
        assert feed.part(51_000, (50_000, 60_000, {"a": 2}), silences=1, active=(1, 2)) is None, "not up to 93,000"
        feed.state.roll(2, (), 2)
        assert feed.commit() == [[40_000, 50_000, 1, {"a": 1, "b": 1}], [50_000, 60_000, 1, {"a": 2}]]
        feed.state.close()


LATE = WindowOptions(size_s=10, disorder_s=2, lateness_s=100)


def retried(feed: Feed, *parts: tuple[int, int, dict[str, int]], options: WindowOptions = LATE) -> list[Any]:
    """What is emitted when letters of these windows go in again; the number up to where all is closed, when refused."""
    feed.state.close()
    feed.state = opened(feed.path, options)
    feed.state.stand_still()
    found: list[Any] = [said for part in parts if (said := feed.part(0, part)) is not None]
    found += feed.commit()
    feed.state.end(True)
    found += feed.commit()
    feed.restart()
    return found


def test_a_late_letter_that_is_retried_with_more_lateness_is_added_to_its_window_which_comes_once_more(
    tmp_path: Path
) -> None:
    feed = Feed(tmp_path)
    feed.part(12_000, (0, 10_000, {"a": 1}))
    assert feed.commit() == [[0, 10_000, 1, {"a": 1}]]
    feed.part(45_000, (30_000, 40_000, {"a": 7}))
    assert feed.commit() == [[30_000, 40_000, 1, {"a": 7}]]
    assert retried(feed, (0, 10_000, {"b": 2}), options=TUMBLING) == [43_000], "as it is it stays late"
    two = ((0, 10_000, {"b": 2}), (10_000, 20_000, {"c": 1}), (0, 10_000, {"a": 1}))
    assert retried(feed, *two) == [[0, 10_000, 2, {"a": 2, "b": 2}], [10_000, 20_000, 1, {"c": 1}]]
    assert retried(feed, (0, 10_000, {"a": 1})) == [[0, 10_000, 3, {"a": 3, "b": 2}]], "none of it was lost"
    feed.part(55_000, (40_000, 50_000, {"z": 1}))
    assert feed.commit() == [[40_000, 50_000, 1, {"z": 1}]], "and nothing comes twice"


def test_a_retry_that_is_interrupted_before_its_end_is_emitted_by_the_next_run(tmp_path: Path) -> None:
    feed = Feed(tmp_path)
    feed.part(12_000, (0, 10_000, {"a": 1}))
    feed.commit()
    feed.state.close()
    feed.state = opened(tmp_path, LATE)
    feed.state.stand_still()
    feed.part(0, (0, 10_000, {"a": 1}))
    assert feed.commit() == []
    feed.restart()
    feed.part(12_000)
    assert feed.commit() == [[0, 10_000, 2, {"a": 2}]]
    assert feed.commit() == []


@pytest.mark.parametrize("keep_bytes", [0, 1200])
def test_what_is_no_longer_kept_stays_late_whatever_the_lateness_for_its_rows_would_be_of_the_late_alone(
    tmp_path: Path, keep_bytes: int
) -> None:
    feed = Feed(tmp_path, WindowOptions(size_s=10, disorder_s=2, keep_bytes=keep_bytes))
    for number in range(4):
        feed.part(12_000 + 10_000 * number, (10_000 * number, 10_000 * number + 10_000, {"a": 1}))
        assert len(feed.commit()) == 1
    kept = WindowOptions(size_s=10, disorder_s=2, keep_bytes=keep_bytes, lateness_s=100)
    gone = 20_000 if keep_bytes else 40_000
    assert retried(feed, (10_000, 20_000, {"a": 1}), options=kept) == [gone + 100_000]
    last = retried(feed, (30_000, 40_000, {"a": 1}), options=kept)
    assert last == ([[30_000, 40_000, 2, {"a": 2}]] if keep_bytes else [gone + 100_000])
    with closing(sqlite3.connect(tmp_path / "windows.db")) as connection:
        (said,) = connection.execute("SELECT bytes FROM kept").fetchone()
        assert said == connection.execute("SELECT coalesce(sum(bytes), 0) FROM panes WHERE state=1").fetchone()[0]


def test_windows_without_records_are_emitted_between_those_that_have_some(tmp_path: Path) -> None:
    feed = Feed(tmp_path, WindowOptions(size_s=10, disorder_s=2, lateness_s=1000, empty="emit"))
    feed.part(29_000, (20_000, 30_000, {"a": 1}))
    assert feed.commit() == []
    feed.part(61_000, (60_000, 70_000, {"a": 1}))
    assert feed.commit() == [[20_000, 30_000, 1, {"a": 1}], [30_000, 40_000, 1, {}], [40_000, 50_000, 1, {}]]
    feed.restart()
    feed.part(61_500, (40_000, 50_000, {"late": 1}), (0, 10_000, {"late": 1}))
    assert feed.commit() == [[0, 10_000, 1, {"late": 1}], [40_000, 50_000, 2, {"late": 1}]]
    feed.part(62_000)
    assert feed.commit() == [[50_000, 60_000, 1, {}]]
    feed.part(100_000, (100_000, 110_000, {"a": 1}))
    feed.state.end(True)
    assert feed.commit() == [[60_000, 70_000, 1, {"a": 1}], *(
        [start, start + 10_000, 1, {}] for start in range(70_000, 100_000, 10_000)), [100_000, 110_000, 1, {"a": 1}]]
    feed.restart()
    assert feed.commit() == []


def test_a_gap_that_is_too_long_is_told_once_and_windows_that_went_by_meanwhile_are_not_taken_for_empty(
    tmp_path: Path
) -> None:
    every = WindowOptions(size_s=10, disorder_s=0, empty="emit", jump_confirm=0)
    feed = Feed(tmp_path, every)
    feed.part(5_000, (0, 10_000, {"a": 1}))
    feed.commit()
    feed.part(200_000_000, (200_000_000, 200_010_000, {"a": 1}))
    assert len(feed.commit()) == 1 + MOST_IN_A_ROW
    assert feed.state.notices() == [LeftOut(10_000 * (MOST_IN_A_ROW + 1))]
    assert feed.state.notices() == []
    feed.options = TUMBLING
    feed.restart()
    feed.part(200_060_000, (200_040_000, 200_050_000, {"a": 1}))
    assert [row[0] for row in feed.commit()] == [200_000_000, 200_040_000]
    feed.options = every
    feed.restart()
    feed.part(200_090_000, (200_070_000, 200_080_000, {"a": 1}))
    assert [row[0] for row in feed.commit()] == [200_070_000, 200_080_000]
    feed.state.close()


def test_what_comes_after_the_end_of_the_input_revises_a_window_within_the_lateness_and_else_is_late(
    tmp_path: Path,
) -> None:
    feed = Feed(tmp_path, WindowOptions(size_s=10, disorder_s=2, lateness_s=20))
    feed.part(39_000, (0, 10_000, {"a": 1}), (30_000, 40_000, {"a": 7}))
    assert feed.commit() == [[0, 10_000, 1, {"a": 1}]]
    feed.state.end(True)
    assert feed.commit() == [[30_000, 40_000, 1, {"a": 7}]]
    feed.restart()
    assert feed.part(39_000, (30_000, 40_000, {"a": 10})) is None
    assert feed.commit() == [[30_000, 40_000, 2, {"a": 17}]]
    assert feed.part(39_000, (0, 10_000, {"a": 1})) == 40_000
    feed.state.end(True)
    assert feed.commit() == []


@pytest.mark.parametrize("commits", [False, True])
def test_a_session_is_the_same_whether_a_commit_came_before_a_record_that_is_nearly_late(
    tmp_path: Path, commits: bool
) -> None:
    feed = Feed(tmp_path, SESSIONS)
    feed.part(9_000, (1_000, 6_000, {"a": 1}))  # the watermark is 7 s, the session ends at 6 s
    if commits:
        feed.commit()
    assert feed.part(9_000, (5_000, 10_000, {"a": 10})) is None
    feed.part(30_000)
    assert feed.commit() == [[1_000, 10_000, 1, {"a": 11}]]


@pytest.mark.parametrize("restarts", [False, True])
def test_sessions_that_touch_become_one_also_over_a_commit_and_a_restart(tmp_path: Path, restarts: bool) -> None:
    feed = Feed(tmp_path, SESSIONS)
    feed.part(20_000, (0, 5_000, {}))  # late or not: nothing is closed before the first part
    feed = Feed(tmp_path / "2", SESSIONS)
    feed.part(6_000, (1_000, 6_000, {"a": 1}), (6_000, 11_000, {"a": 10}))
    assert feed.commit() == []
    if restarts:
        feed.restart()
    feed.part(6_500, (4_000, 9_000, {"a": 100}))  # between the two
    assert feed.commit() == []
    if restarts:
        feed.restart()
    feed.part(17_999, (13_000, 18_000, {"a": 7}))
    assert feed.commit() == []  # what is not late may still begin before the session has ended
    feed.part(18_000)
    assert feed.commit() == [[1_000, 11_000, 1, {"a": 111}]]
    feed.state.end(True)
    assert feed.commit() == [[13_000, 18_000, 1, {"a": 7}]]


def test_a_commit_writes_what_is_new_and_the_file_stays_in_proportion(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(panes, "_COMPACT_BYTES", 1000)
    feed = Feed(tmp_path)
    for number in range(500):
        feed.part(number, (0, 10_000, {f"key {number % 20}": 1}))
        feed.commit()
    connection = sqlite3.connect(tmp_path / "windows.db")
    (size,) = connection.execute("SELECT sum(length(partials)) FROM increments").fetchone()
    connection.close()
    assert size < 3000
    feed.restart()
    feed.state.end(True)
    assert feed.commit() == [[0, 10_000, 1, {f"key {n}": 25 for n in range(20)}]]


def test_a_full_disk_loses_nothing_and_emits_nothing_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed(tmp_path)
    feed.part(1_000, (0, 10_000, {"a": 1}))
    feed.part(12_000, (0, 10_000, {"a": 2}))
    connection = feed.state._file.connection
    connection.execute("PRAGMA max_page_count=1")
    filler = sqlite3.connect(tmp_path / "windows.db")
    filler.execute("BEGIN IMMEDIATE")  # somebody else writes: the same way out for the caller
    connection.execute("PRAGMA busy_timeout=0")
    with pytest.raises(sqlite3.OperationalError):
        feed.commit()
    with pytest.raises(sqlite3.OperationalError):
        feed.commit()
    filler.rollback()
    filler.close()
    connection.execute("PRAGMA max_page_count=1000000")
    assert feed.commit() == [[0, 10_000, 1, {"a": 3}]]
    assert feed.commit() == []


def committed_among(path: Path, files: int) -> Work:
    """So many files have brought something, and go on; then one of them brings more."""
    path.mkdir()
    active = tuple(range(1, files + 1))
    with watched() as work:
        state = opened(path)
        for number in active:
            state.accept(Part(f"run/{number}", 0, 1, 0, 0, 1, {}, "", number, 1, active, (5000,)), [])
        state.commit({f"run/{number}": 1 for number in active})
        state.accept(Part("run/1", 1, 2, 0, 0, 1, {}, "", 1, 1, active, (6000,)), [])
        work.statements = 0
        with work.counted():
            state.commit({"run/1": 2})
    state.close()
    with closing(sqlite3.connect(path / "windows.db")) as connection:
        times = connection.execute("SELECT * FROM times").fetchall()
    assert sorted(times) == sorted(
        (f"run/{number}", 5000 + 1000 * (number == 1), number, "[6000,5000]" if number == 1 else "[5000]")
        for number in active)
    return work


def test_a_commit_writes_the_times_of_those_files_that_have_brought_something(tmp_path: Path) -> None:
    few, many = committed_among(tmp_path / "few", 5), committed_among(tmp_path / "many", 500)
    assert (many.statements, many.codes) == (few.statements, few.codes)


HOPPING = WindowOptions(kind="hopping", size_s=10, every_s=5)


@pytest.mark.parametrize(("before", "after", "says"), [
    (TUMBLING, WindowOptions(size_s=30), "window.size_s = 10, now window.size_s = 30"),
    (TUMBLING, WindowOptions(size_s=10, start="first"), 'window.start = "clock", now window.start = "first"'),
    (TUMBLING, HOPPING, 'window.kind = "tumbling", now window.kind = "hopping"'),
    (HOPPING, WindowOptions(kind="hopping", size_s=9, every_s=2.5),
     "window.size_s = 10, window.every_s = 5, now window.size_s = 9, window.every_s = 2.5"),
    (SESSIONS, WindowOptions(kind="session", gap_s=6), "window.gap_s = 5, now window.gap_s = 6"),
    (WindowOptions(kind="global"), SESSIONS, 'window.kind = "global", now window.kind = "session"'),
])
def test_a_state_of_other_windows_is_refused_also_when_all_of_them_are_closed(
    tmp_path: Path, before: WindowOptions, after: WindowOptions, says: str
) -> None:
    opened(tmp_path, before).close()
    for _ in range(2):
        with pytest.raises(ConfigError) as caught:
            opened(tmp_path, after)
        assert str(caught.value) == (f"{tmp_path / 'windows.db'}: state made with {says}: set it back, or begin anew "
                                     "with --fresh or another --state")
    opened(tmp_path, before).close()


@pytest.mark.parametrize(("before", "after"), [
    (TUMBLING, WindowOptions(size_s=10, disorder_s=0, lateness_s=60, max_future_skew_s=0, every_s=7, gap_s=3)),
    (HOPPING, WindowOptions(kind="hopping", size_s=10, every_s=5, gap_s=3, disorder_s=1)),
    (SESSIONS, WindowOptions(kind="session", gap_s=5, size_s=7, start="first")),
])
def test_options_that_do_not_decide_which_windows_there_are_may_change(
    tmp_path: Path, before: WindowOptions, after: WindowOptions
) -> None:
    opened(tmp_path, before).close()
    opened(tmp_path, after).close()


def test_a_state_of_an_older_version_is_of_the_windows_that_it_is_resumed_with(tmp_path: Path) -> None:
    open_database(tmp_path / "windows.db", panes.STEPS[:2], "INSERT INTO layout VALUES (1)").close()
    opened(tmp_path, SESSIONS).close()
    with pytest.raises(ConfigError):
        opened(tmp_path, TUMBLING)
    opened(tmp_path, SESSIONS).close()


def test_each_window_whose_rows_kill_is_given_up_alone_though_several_close_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = emit

    def kills(window: Window, rows: Any) -> list[tuple[str, Any]]:
        if window.start in (10_000, 30_000):
            raise Died
        return plain(window, rows)

    monkeypatch.setitem(globals(), "emit", kills)
    feed, deaths, entries = Feed(tmp_path), 0, None
    while entries is None:
        for start in range(0, 50_000, 10_000):
            feed.part(start + 1, (start, start + 10_000, {"a": start}))
        try:
            feed.state.end(True)
            entries = feed.state.commit({"p": 5})
        except Died:
            deaths += 1
            feed.restart()
            feed.at = 0
            feed.state.take_care()
    assert [row[0] for row in rows(entries)] == [0, 20_000, 40_000]
    letters = [letter for entry in entries for letter in msgspec.msgpack.decode(entry.body["writer.dead_letters"][1])]
    assert len(letters) == 2
    assert deaths == 1 + 2 * 2
    feed.restart()
    with closing(sqlite3.connect(tmp_path / "windows.db")) as connection:
        assert connection.execute("SELECT * FROM attempts").fetchall() == []
