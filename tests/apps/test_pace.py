"""A run with a pace, as users start one: it ends with so many records, and the next one goes on from there."""

from __future__ import annotations

import time
from pathlib import Path

from actors.runtime.ledger import read_units
from tests.loads import Load, Views, load

LINER = "tests.pipelines.liner"


def lines_in(state: Path) -> list[int]:
    """The lines that were written."""
    return list(map(int, (state / "store.log").read_text().split()))


def write(folder: Path, count: int) -> Path:
    file = folder / "in.txt"
    file.write_text("".join(f"{number}\n" for number in range(count)))
    return file


def test_a_run_ends_with_so_many_records_and_the_next_one_goes_on_from_there(tmp_path: Path) -> None:
    file, state = write(tmp_path, 40), tmp_path / "state"
    for most, lines in ((12, 12), (12, 12), (30, 30), (0, 40)):
        done = load(file, state, f"flow.max_records={most}", target=LINER)
        assert done.process.returncode == 0, done.output()
        assert lines_in(state) == list(range(lines))
    assert read_units(state / "positions.db")[0].status == "done"
    assert not file.exists(), "all of it was read, and it is put away"


def test_records_travel_when_they_are_due_and_a_reader_that_is_killed_takes_none_twice(tmp_path: Path) -> None:
    file, state = write(tmp_path, 1000), tmp_path / "state"
    began = time.monotonic()
    with Load(file, state, "flow.rate_hz=25", "flow.max_records=40", target=LINER) as running:
        for number in (5, 10):
            running.kill("reader.1", number)
        assert running.wait() == 0, running.output()
    assert time.monotonic() - began > 24 / 25, "no generation is faster than its source"
    assert lines_in(state) == list(range(40))


def test_what_workers_do_not_keep_up_with_is_under_way_and_not_left_out(tmp_path: Path) -> None:
    def is_waited_for(views: Views) -> bool:
        return views["reader.1"].open >= 6

    file, state = write(tmp_path, 30), tmp_path / "state"
    with Load(file, state, "flow.rate_hz=50", "flow.window_batches=8", target="tests.pipelines.slow") as running:
        running.until(is_waited_for, "a backlog")
        assert running.wait() == 0, running.output()
    assert sorted(lines_in(state)) == list(range(30))
