"""What a unit costs the reader and its ledger does not grow with the number of units, by count and not by the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from actors.runtime.ledger import read_units
from actors.runtime.messages import Credit
from actors.runtime.origin import Origin
from actors.runtime.values import Chunk, Unit
from tests.growth import Work, watched
from tests.stage import RUN, WORKER, Stage


def load(stage: Stage, unit: str) -> None:
    """A line of this unit comes, is delivered and acknowledged."""
    stage.source.come("line", unit=unit)
    stage.reader.message(WORKER, Credit(1), [])
    stage.work(1)
    stage.ack()


def loaded_one_by_one(folder: Path, units: int, alone: bool) -> Work:
    """Each unit has one line, is acknowledged and ends, and then the next one comes."""
    folder.mkdir()
    with watched() as work:
        stage = Stage(folder)
        stage.source.alone = alone
        stage.work()
        with work.counted():
            for number in range(units):
                name = f"{number:06d}.log"
                load(stage, name)
                stage.source.end(name)
                stage.work(1)
        stage.reader.close()
    return work


def grown_among(folder: Path, units: int) -> Work:
    """So many units are read and go on; then one of them gets fifty lines more."""
    folder.mkdir()
    with watched() as work:
        stage = Stage(folder)
        for number in range(units):
            load(stage, f"{number:06d}.log")
        stage.work(5)
        work.statements = work.steps = 0
        with work.counted():
            for _ in range(50):
                load(stage, "000000.log")
            stage.work(5)
        stage.reader.close()
    return work


@pytest.mark.parametrize("alone", [False, True])
def test_what_a_file_costs_does_not_grow_with_the_number_of_files_before_it(tmp_path: Path, alone: bool) -> None:
    few = loaded_one_by_one(tmp_path / "few", 100, alone)
    many = loaded_one_by_one(tmp_path / "many", 800, alone)
    assert many.codes < 8.4 * few.codes
    assert many.statements < 8.4 * few.statements
    assert many.steps < 12 * few.steps, "a tree of eight times as many rows has a level more"
    units = read_units(tmp_path / "many/positions.db", RUN)
    assert [(unit.name, unit.low - unit.base, unit.status) for unit in units] == [
        (f"{number:06d}.log", 5, "done") for number in range(800)]


def test_what_a_line_costs_does_not_grow_with_the_number_of_files_that_are_followed(tmp_path: Path) -> None:
    few, many = grown_among(tmp_path / "few", 50), grown_among(tmp_path / "many", 800)
    assert many.codes < 1.1 * few.codes
    assert many.statements <= few.statements + 2
    assert many.steps < 1.5 * few.steps
    (first, *_) = read_units(tmp_path / "many/positions.db", RUN)
    assert (first.low, first.counts) == (51 * 5, {"read": 51, "written": 51})


def test_units_that_are_closed_in_one_turn_are_finished_in_one_transaction(tmp_path: Path) -> None:
    with watched() as work:
        stage = Stage(tmp_path, window=50)
        for number in range(50):
            stage.source.come("line", unit=f"{number}.log")
        stage.work(51)
        for number in range(50):
            stage.ack()
            stage.source.end(f"{number}.log")
        work.statements = 0
        stage.work(1)
        stage.reader.close()
    assert len(stage.source.put_away) == 50
    per_unit = 2 * 3  # the verdict, and that it is put away: a row, its ranges, what is late of it
    assert work.statements < 50 * per_unit + 20


def test_a_unit_that_a_reader_of_this_run_had_loaded_is_put_away_by_the_next(tmp_path: Path) -> None:
    first = Stage(tmp_path)
    load(first, "a.log")
    first.source.end("a.log")
    unit, _ = first.source.at["a.log"]
    first.ledger.close(first.reader._origin.advance()[0][0], {"read": 1, "written": 1})
    first.ledger.settle(unit, "loaded")
    first.ledger.close_file()
    second = Stage(tmp_path)
    second.work()
    second.reader.close()
    assert second.source.put_away == [("a.log", "done")]
    assert [unit.status for unit in read_units(tmp_path / "positions.db", RUN)] == ["done"]


def closed_in_one_go(units: int) -> int:
    """So many partitions are closed and not committed; then it is asked whether anything waits."""
    origin, work = Origin(1, 10_000, 1 << 30), Work()
    origin.grant(WORKER, units + 1)
    for number in range(units):
        origin.issue(f"run/{number}", Chunk(number, "x", 0, 5, 0, 1, b"line\n"))
    for _, header, _ in origin.assign():
        origin.ack(header.id, header.epoch, {})
    assert len(origin.advance()) == units
    origin.issue("run/last", Chunk(units, "x", 0, 5, 0, 1, b"line\n"))
    with work.counted():
        assert origin.is_waiting()
    return work.codes


def test_what_is_closed_and_not_committed_is_not_looked_through() -> None:
    assert closed_in_one_go(500) == closed_in_one_go(5)


def test_units_that_cannot_be_put_away_are_tried_once_and_not_looked_at_again(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    tried: list[str] = []

    def fails(unit: Unit) -> None:
        tried.append(unit.name)
        stage.ledger.broken(unit.name, "its folder is read-only")

    stage.source.finished = fails  # type: ignore[method-assign]
    for number in range(20):
        load(stage, f"{number}.log")
        stage.source.end(f"{number}.log")
    stage.work(20)
    assert (len(tried), len(set(tried)), stage.ledger.take_closed()) == (20, 20, [])
    assert len(stage.ledger.taken_up()) == 20
    stage.reader.close()
    assert {unit.status for unit in read_units(tmp_path / "positions.db", RUN)} == {"loaded"}
