"""How far a run is behind its source: what is asked when, what is left for others, and how old it may be."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from actors.runtime.errors import Retryable
from actors.runtime.lag import EVERY_S, LAG, MOST, Behind, Lagging, read_lag
from actors.runtime.ports import Source
from actors.runtime.rundir import path_for
from actors.runtime.values import Chunk, Unit


class Ahead(Source):
    """A source that says what it is told to."""

    def __init__(self) -> None:
        self.says: dict[int, int] | Retryable = {}
        self.asked = 0

    def read(self) -> Chunk | None:
        return None

    def lag(self) -> dict[int, int]:
        self.asked += 1
        if isinstance(self.says, Retryable):
            raise self.says
        return self.says


def units(*names: str) -> list[Unit]:
    return [Unit(number, name, name, 0, 0, 0, None, "reading", {}) for number, name in enumerate(names)]


@pytest.fixture
def run_dir(tmp_path: Path) -> Iterator[Path]:
    found = path_for(tmp_path)
    found.mkdir(parents=True)
    yield found
    for file in found.iterdir():
        file.unlink()
    found.rmdir()


def test_it_is_asked_once_a_second_and_named_with_the_worst_first(tmp_path: Path, run_dir: Path) -> None:
    source = Ahead()
    lagging = Lagging(source, lambda: units("t/0", "t/1", "t/2"), tmp_path)
    source.says = {0: 5, 1: 70, 2: 0, 99: 1}  # the last is no unit of this run any more
    lagging.look(10.0)
    assert read_lag(run_dir) == Behind(10.0, 75, 3, [("t/1", 70), ("t/0", 5), ("t/2", 0)])
    source.says = {0: 6}
    lagging.look(10.0 + EVERY_S / 2)
    assert source.asked == 1
    assert lagging.sooner(None, 10.0 + EVERY_S / 4) == EVERY_S * 3 / 4
    assert lagging.sooner(0.1, 10.0) == 0.1
    lagging.look(10.0 + EVERY_S)
    assert read_lag(run_dir) == Behind(10.0 + EVERY_S, 6, 1, [("t/0", 6)])
    assert [file.name for file in run_dir.iterdir()] == [LAG]


def test_of_very_many_partitions_the_worst_are_named_and_all_are_counted(tmp_path: Path, run_dir: Path) -> None:
    source, many = Ahead(), units(*(f"t/{number}" for number in range(3 * MOST)))
    source.says = {unit.id: unit.id for unit in many}
    Lagging(source, lambda: many, tmp_path).look(1.0)
    found = read_lag(run_dir)
    assert found is not None
    assert (found.records, found.partitions, len(found.worst)) == (sum(range(3 * MOST)), 3 * MOST, MOST)
    assert found.worst[0] == (f"t/{3 * MOST - 1}", 3 * MOST - 1)
    assert (run_dir / LAG).stat().st_size < 40 * MOST


def test_what_is_not_known_now_stays_as_it_was_with_its_time(tmp_path: Path, run_dir: Path) -> None:
    source = Ahead()
    lagging = Lagging(source, lambda: units("t/0"), tmp_path)
    source.says = {0: 5}
    lagging.look(1.0)
    source.says = Retryable("the broker does not answer")
    lagging.look(100.0)
    assert source.asked == 2
    assert read_lag(run_dir) == Behind(1.0, 5, 1, [("t/0", 5)])


def test_a_source_that_has_no_lag_leaves_nothing_and_wakes_nobody(tmp_path: Path, run_dir: Path) -> None:
    source = Ahead()
    lagging = Lagging(source, lambda: units("a.txt"), tmp_path)
    lagging.look(1.0)
    assert (list(run_dir.iterdir()), read_lag(run_dir), lagging.sooner(None, 1.0)) == ([], None, None)


def test_when_all_partitions_have_gone_there_is_none(tmp_path: Path, run_dir: Path) -> None:
    source = Ahead()
    lagging = Lagging(source, lambda: units("t/0"), tmp_path)
    source.says = {0: 5}
    lagging.look(1.0)
    source.says = {}
    lagging.look(1.0 + EVERY_S)
    assert read_lag(run_dir) is None


def test_where_it_cannot_be_left_the_reader_goes_on(tmp_path: Path) -> None:
    source = Ahead()
    source.says = {0: 5}
    Lagging(source, lambda: units("t/0"), tmp_path / "no run").look(1.0)
    assert read_lag(path_for(tmp_path / "no run")) is None
