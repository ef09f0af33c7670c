"""The reader's ledger over real files: what a restart finds, what survives a full disk, where positions begin."""

from __future__ import annotations

import resource
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.messages import Part
from actors.runtime.sequencer import Sequencer
from actors.runtime.values import Chunk, Unit


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "positions.db"


def chunk(unit: Unit, start: int, end: int, fault: str = "", detail: str = "") -> Chunk:
    data = b"x" * (end - start - 1) + b"\n"
    return Chunk(unit.id, unit.name, start, end, start - unit.base, 1, data, fault, detail)


def issue(ledger: Ledger, unit: Unit, *ranges: tuple[int, int]) -> None:
    for start, end in ranges:
        ledger.issue(chunk(unit, start, end))
    ledger.flush()


def load(ledger: Ledger, unit: Unit, end: int, status: str = "done") -> None:
    """Read, close and settle a unit that is one chunk long."""
    issue(ledger, unit, (unit.base, end))
    ledger.end(unit, end)
    ledger.close(chunk(unit, unit.base, end), {"read": 1, "written": 1})
    ledger.settle(unit, status)


def killed(ledger: Ledger) -> None:
    """What was not committed is gone, as when the process dies."""
    ledger._connection.close()


@contextmanager
def full_disk(path: Path) -> Iterator[None]:
    """No file of this process can grow beyond the size that the write-ahead log has now."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.with_name(path.name + "-wal").stat().st_size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_new_unit_begins_at_zero_and_the_next_one_where_it_ends(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    first = ledger.begin("a.tsv", "f1")
    assert (first.base, first.low, first.status, first.end) == (0, 0, "reading", None)
    ledger.end(first, 100)
    second = ledger.begin("b.tsv", "f2")
    assert (second.base, second.low) == (100, 100)
    assert ledger.partition(first.id) == ledger.partition(second.id) == "run-1"
    ledger.close_file()


def test_closing_moves_low_and_counts_outcomes_and_lines(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    ledger.close(chunk(unit, 0, 10), {"read": 2, "written": 2})
    ledger.close(chunk(unit, 10, 20), {"read": 1, "dead_lettered": 1})
    assert ledger.has_changes()
    ledger.commit()
    assert not ledger.has_changes()
    (found,) = read_units(path, "run-1")
    assert (found.low, found.lines, found.counts) == (20, 2, {"read": 3, "written": 2, "dead_lettered": 1})
    ledger.close_file()


def test_what_was_closed_and_not_committed_is_read_again_after_a_death(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    issue(ledger, unit, (0, 10), (10, 25))
    ledger.close(chunk(unit, 0, 10), {"read": 1})
    ledger.commit()
    ledger.close(chunk(unit, 10, 25), {"read": 1})
    killed(ledger)
    again = Ledger(path, "run-1")
    unit = again.begin("a.tsv", "f1")
    assert (unit.low, unit.counts) == (10, {"read": 1})
    assert again.boundaries(unit) == [(10, 25)]
    again.close_file()


def test_boundaries_are_durable_once_flushed_and_forgotten_once_committed(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    issue(ledger, unit, (0, 10), (10, 30), (30, 40))
    killed(ledger)
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    assert ledger.boundaries(unit) == [(0, 10), (10, 30), (30, 40)]
    ledger.close(chunk(unit, 0, 10), {})
    ledger.close(chunk(unit, 10, 30), {})
    ledger.commit()
    assert ledger.boundaries(unit) == [(30, 40)]
    ledger.close_file()


def test_issuing_a_recorded_range_again_changes_nothing(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    issue(ledger, unit, (0, 10))
    issue(ledger, unit, (0, 10))
    assert ledger.boundaries(unit) == [(0, 10)]
    ledger.close_file()


def test_a_later_run_goes_on_with_an_unfinished_unit_in_the_partition_it_began_in(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    ledger.close(chunk(ledger.begin("a.tsv", "f1"), 0, 10), {"read": 1})
    ledger.close_file()
    later = Ledger(path, "run-2")
    unit = later.begin("a.tsv", "f1")
    assert (unit.low, unit.counts, later.partition(unit.id)) == (10, {"read": 1}, "run-1")
    fresh = later.begin("b.tsv", "f2")
    assert (fresh.base, later.partition(fresh.id)) == (0, "run-2")
    later.close_file()
    assert [each.name for each in read_units(path, "run-2")] == ["a.tsv", "b.tsv"]
    assert read_units(path, "run-1") == []


def test_a_finished_unit_is_loaded_again_by_a_later_run_and_not_by_this_one(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    first = ledger.begin("a.tsv", "f1")
    load(ledger, first, 10)
    ledger.close_file()
    restarted = Ledger(path, "run-1")
    assert restarted.begin("a.tsv", "f1").status == "done"
    restarted.close_file()
    later = Ledger(path, "run-2")
    again = later.begin("a.tsv", "f1")
    assert (again.status, again.id != first.id, again.counts) == ("reading", True, {})
    later.close_file()


def test_a_unit_that_was_loaded_and_not_put_away_is_found_again(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    load(ledger, ledger.begin("a.tsv", "f1"), 10, "loaded")
    ledger.close_file()
    later = Ledger(path, "run-2")
    assert later.begin("a.tsv", "f1").status == "loaded"
    assert [unit.name for unit in later.taken_up()] == ["a.tsv"]
    later.close_file()


def test_another_content_under_the_same_name_is_another_unit(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    first = ledger.begin("a.tsv", "f1")
    assert ledger.begin("a.tsv", "f2").id != first.id
    ledger.close_file()


def test_units_are_taken_up_in_the_order_of_input_until_they_are_settled(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    units = [ledger.begin(name, name) for name in ("a", "b", "c")]
    assert ledger.taken_up() == units
    ledger.settle(units[0], "failed")
    ledger.settle(units[1], "loaded")
    assert ledger.taken_up() == units[1:]
    ledger.settle(units[1], "done")
    assert ledger.taken_up() == units[2:]
    ledger.close_file()


def test_a_unit_that_cannot_be_read_is_reported_once(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    ledger.broken("a.tsv", "permission denied")
    ledger.broken("a.tsv", "permission denied")
    killed(ledger)
    again = Ledger(path, "run-1")
    again.broken("a.tsv", "permission denied")
    again.close_file()
    assert [(unit.status, unit.problem) for unit in read_units(path)] == [("broken", "permission denied")]


def test_a_unit_that_breaks_while_it_is_read_keeps_its_positions_and_is_stuck(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    assert not ledger.is_stuck(unit)
    ledger.broken("a.tsv", "input/output error")
    assert ledger.is_stuck(unit)
    assert (unit.status, unit.problem) == ("reading", "input/output error")
    ledger.close_file()


def test_the_first_fault_of_a_unit_is_its_problem(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.gz", "f1")
    ledger.close(chunk(unit, 0, 10, "truncated_gzip", "ends in the middle"), {})
    ledger.close(chunk(unit, 10, 20, "file_changed"), {})
    assert unit.problem == "ends in the middle"
    ledger.close_file()


def test_units_of_a_ledger_that_never_was_are_an_error_and_those_of_an_empty_one_are_none(path: Path) -> None:
    with pytest.raises(sqlite3.Error):
        read_units(path)
    Ledger(path, "run-1").close_file()
    assert read_units(path) == []


def test_a_ledger_of_a_newer_version_is_refused_with_advice(path: Path) -> None:
    Ledger(path, "run-1").close_file()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version=99")
    connection.close()
    with pytest.raises(ConfigError, match=r"positions\.db: made by a newer version .*schema 99.* another --state"):
        Ledger(path, "run-1")


def test_a_ledger_is_private_to_the_user(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    ledger.begin("a.tsv", "f1")
    ledger.commit()
    assert {file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {0o600}
    ledger.close_file()


def test_a_commit_that_fails_on_a_full_disk_can_be_called_again(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    ledger.commit()
    ledger.close(chunk(unit, 0, 10), {"read": 1})
    with full_disk(path), pytest.raises(sqlite3.OperationalError):
        ledger.commit()
    ledger.commit()
    killed(ledger)
    (found,) = read_units(path)
    assert (found.low, found.counts) == (10, {"read": 1})


def test_a_unit_that_begins_on_a_full_disk_is_not_forgotten_when_there_is_room_again(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("a.tsv", "f1")
    with full_disk(path), pytest.raises(sqlite3.OperationalError):
        issue(ledger, unit, (0, 10))
    issue(ledger, unit, (0, 10))
    ledger.close(chunk(unit, 0, 10), {"read": 1})
    ledger.commit()
    killed(ledger)
    assert [(found.name, found.low) for found in read_units(path)] == [("a.tsv", 10)]


def test_a_new_unit_begins_beyond_every_range_that_may_have_been_applied(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    issue(ledger, ledger.begin("a.tsv", "f1"), (0, 10), (10, 90))
    killed(ledger)
    restarted = Ledger(path, "run-1")
    changed = restarted.begin("a.tsv", "f2")  # somebody wrote to the file between two generations of the reader
    assert changed.base >= 90
    restarted.close_file()


def test_a_unit_that_was_passed_over_does_not_go_on_below_what_consumers_have_applied(path: Path) -> None:
    first = Ledger(path, "run-1")
    a = first.begin("a.tsv", "f1")
    issue(first, a, (0, 10), (10, 50))
    first.close(chunk(a, 0, 10), {})
    first.end(a, 50)
    issue(first, first.begin("b.tsv", "f2"), (50, 90))
    first.close_file()
    second = Ledger(path, "run-2")  # in which a.tsv cannot be opened: it is reported, and the rest goes on
    b = second.begin("b.tsv", "f2")
    second.close(chunk(b, 50, 90), {})
    second.end(b, 90)
    second.settle(b, "done")
    aggregator = Sequencer({second.partition(b.id): b.low})
    second.close_file()
    third = Ledger(path, "run-3")
    again = third.begin("a.tsv", "f1")
    rest = Part(third.partition(again.id), again.low, 50, 1, again.low, 1, {"folded": 1})
    third.close_file()
    assert aggregator.offer("parser.1#1", rest, [b"x"]) is None, "acknowledged as a repetition, and never folded"


def test_what_was_begun_behind_a_unit_that_cannot_be_read_waits_for_it(path: Path) -> None:
    first = Ledger(path, "run-1")
    a = first.begin("a.tsv", "f1")
    issue(first, a, (0, 10), (10, 50))
    first.close(chunk(a, 0, 10), {})
    first.end(a, 50)
    b = first.begin("b.tsv", "f2")
    issue(first, b, (50, 90))
    first.close_file()
    second = Ledger(path, "run-2")
    second.broken("a.tsv", "permission denied")
    waits = second.begin("b.tsv", "f2")
    assert (waits.status, waits.problem) == ("broken", "waits for a.tsv, which was begun before it")
    second.close_file()
    third = Ledger(path, "run-3")
    again = [third.begin("a.tsv", "f1"), third.begin("b.tsv", "f2")]
    assert [(unit.id, unit.low, unit.status) for unit in again] == [(a.id, 10, "reading"), (b.id, 50, "reading")]
    third.close_file()


def test_a_unit_that_nobody_gives_any_more_is_abandoned_and_a_new_one_when_it_comes_back(path: Path) -> None:
    first = Ledger(path, "run-1")
    a = first.begin("a.tsv", "f1")
    issue(first, a, (0, 50))
    first.end(a, 50)
    b = first.begin("b.tsv", "f2")
    first.close_file()
    second = Ledger(path, "run-2")
    assert second.begin("b.tsv", "f2").id == b.id
    second.commit()
    assert {unit.name: unit.status for unit in read_units(path)} == {"a.tsv": "abandoned", "b.tsv": "reading"}
    back = second.begin("c.tsv", "f3"), second.begin("b.tsv", "f2")
    assert back[1].id == b.id
    second.close_file()
    third = Ledger(path, "run-3")
    assert third.begin("a.tsv", "f1").id > b.id
    third.close_file()


def test_a_unit_that_an_earlier_run_loaded_and_did_not_put_away_is_put_away_by_the_next(path: Path) -> None:
    first = Ledger(path, "run-1")
    a = first.begin("a.tsv", "f1")
    first.end(a, 10)
    first.settle(a, "loaded")
    first.close_file()
    second = Ledger(path, "run-2")
    (found,) = second.loaded_before()
    assert found.name == "a.tsv"
    second.put_away([found])
    assert second.loaded_before() == []
    second.close_file()
    assert [(unit.name, unit.status) for unit in read_units(path, "run-1")] == [("a.tsv", "done")]
    assert read_units(path, "run-2") == []


def test_a_unit_begun_alone_is_a_partition_of_its_own_from_position_zero(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    shared = ledger.begin("a.tsv", "f1")
    load(ledger, shared, 100)
    first, second = ledger.begin("x.log", "", alone=True), ledger.begin("y.log", "", alone=True)
    assert (first.base, first.low, second.base, second.low) == (0, 0, 0, 0)
    assert [ledger.partition(unit.id) for unit in (shared, first, second)] == [
        "run-1", f"run-1/{first.id}", f"run-1/{second.id}"]
    assert [ledger.is_alone(unit.id) for unit in (shared, first)] == [False, True]
    issue(ledger, first, (0, 5000))
    assert ledger.begin("b.tsv", "f2").base == 100, "positions of other partitions do not count"
    ledger.close_file()


def test_a_unit_begun_alone_goes_on_in_its_partition_over_restarts_and_runs(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("x.log", "", alone=True)
    issue(ledger, unit, (0, 10), (10, 20))
    ledger.close(chunk(unit, 0, 10), {"read": 1})
    ledger.commit()
    killed(ledger)
    for run in ("run-1", "run-2", "run-3"):
        ledger = Ledger(path, run)
        again = ledger.begin("x.log", "", alone=True)
        assert (again.id, again.low, again.status) == (unit.id, 10, "reading")
        assert ledger.partition(again.id) == f"run-1/{unit.id}"
        assert ledger.boundaries(again) == [(10, 20)]
        ledger.close_file()
    assert [(each.counts, each.before) for each in read_units(path, "run-3")] == [({"read": 1}, 1)]


def test_units_begun_alone_do_not_wait_for_one_another(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    ledger.begin("x.log", "", alone=True)
    ledger.broken("x.log", "the disk")
    later = ledger.begin("y.log", "", alone=True)
    ledger.close_file()
    second = Ledger(path, "run-2")
    second.broken("x.log", "gone")
    again = second.begin("y.log", "", alone=True)
    assert (again.id, again.status) == (later.id, "reading")
    second.close_file()
    third = Ledger(path, "run-3")
    third.begin("y.log", "", alone=True)
    assert third.begin("x.log", "", alone=True).status == "reading", "it was not abandoned either"
    third.close_file()


def test_units_begun_alone_that_are_over_are_forgotten_and_known_from_the_file(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    for number in range(20):
        load(ledger, ledger.begin(f"{number}.log", "", alone=True), 10)
    ledger.commit()
    assert ledger.taken_up() == [] and not ledger._at_hand.units and not ledger._at_hand.partitions
    again = ledger.begin("7.log", "", alone=True)
    assert (again.status, again.low, ledger.partition(again.id)) == ("done", 10, f"run-1/{again.id}")
    assert ledger.begin("20.log", "", alone=True).id == 21
    ledger.close_file()


def test_a_unit_that_was_forgotten_can_still_be_changed_by_who_knows_it(path: Path) -> None:
    ledger = Ledger(path, "run-1")
    unit = ledger.begin("x.log", "", alone=True)
    load(ledger, unit, 10)
    ledger.commit()
    ledger.end(unit, 10)
    ledger.settle(unit, "reading")
    assert ledger.taken_up() == [unit]
    assert ledger.partition(unit.id) == f"run-1/{unit.id}"
    ledger.close_file()
