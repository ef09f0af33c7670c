"""The writer of every sink that keeps things on this machine is killed in one run; and the end of one that gathers."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from actors.sinks.lines_manifest import Made, read_manifest
from actors.sinks.parquet_places import file_of, journal_of, unfinished_of
from tests.loads import Running, Views, assert_counts_add_up
from tests.pipelines.everywhere import STORES
from tests.powercut.cuts import look_everywhere, write_numbers

FILES, LINES = 3, 1500
ALL_AT_THE_END = ("sinks.gathered.roll_bytes=1000000000", "sinks.gathered.roll_s=0")


def start(folder: Path, state: str, *sets: str, output: str = "") -> Running:
    """The run that writes to every sink; its input is there anew for each state."""
    if not (folder / state / "data").exists():
        write_numbers(folder / state, FILES, LINES)
    more = (f"source.pattern={folder}/{state}/data/*.txt", "budget.max_error_rate=0.5", "flow.batch_bytes=200",
            "restart.intensity=50", "restart.tree_intensity=50", "restart.max_backoff_s=0.1", *sets)
    return Running(folder / state, "run", "tests.pipelines.everywhere", "--format", "json",
                   *(word for item in more for word in ("--set", item)), output=folder / (output or f"{state}.out"))


def look(folder: Path, state: str) -> dict[str, Any]:
    """What is in each store."""
    return look_everywhere(folder / state, folder / state / "data")


def test_each_writer_is_killed_and_the_run_itself_and_every_store_is_as_without(tmp_path: Path) -> None:
    with start(tmp_path, "peace") as running:
        assert running.wait() == 0, running.output()
    with start(tmp_path, "killed", "flow.window_batches=4") as running:
        for name in (*STORES, "dead_letters"):
            running.kill(f"writer.{name}", after_batches=3)
        running.until(lambda views: views["writer.gathered"].batches >= 3, "batches of the next generation")
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait()
    with start(tmp_path, "killed", output="again.out") as again:
        again.kill("writer.gathered", after_batches=3)
        assert again.wait() == 0, again.output()
    assert look(tmp_path, "killed") == look(tmp_path, "peace")
    assert_counts_add_up(tmp_path / "killed")


@contextmanager
def no_file_can_be_made(running: Running) -> Iterator[None]:
    """Something lies where the first file is to be written."""
    folder = running.state / "gathered"
    running.until(lambda views: views["writer.gathered"].batches >= 1, "a journal")
    made = read_manifest(journal_of(folder, "gathered")).made
    assert isinstance(made, Made)
    in_the_way = unfinished_of(file_of(folder, 1, made.id))
    in_the_way.mkdir()
    yield
    in_the_way.rmdir()


def _waits_to_end(running: Running, outages: int = 1) -> None:
    """All is read and acknowledged, and there is still a file to make."""
    def is_waiting(views: Views) -> bool:
        return (views["writer.gathered"].phase == "RETRY" and views["reader.1"].phase == "DRAINED"
                and running.output().count('"event": "outage"') == outages)

    running.until(is_waiting, "a writer that waits")


def test_a_run_is_not_over_before_what_was_gathered_is_a_file(tmp_path: Path) -> None:
    with start(tmp_path, "state", *ALL_AT_THE_END) as running:
        with no_file_can_be_made(running):
            _waits_to_end(running)
            running.kill("writer.gathered", after_batches=0)  # the next one is told of the end, too
            _waits_to_end(running, outages=2)
        assert running.wait() == 0, running.output()
    (path,) = (tmp_path / "state" / "gathered").glob("part-*")
    assert path.name.startswith("part-000001-")
    assert {event["actor"] for event in running.of("outage")} == {"writer.gathered"}
    assert [event["actor"] for event in running.of("recovered")] == ["writer.gathered"]
    assert running.of("suspect") == []


@pytest.mark.parametrize("how", ["waits too long", "is stopped"])
def test_what_could_not_be_made_a_file_stays_gathered_and_the_next_run_makes_it(tmp_path: Path, how: str) -> None:
    sets = ("run.max_outage_s=0.5",) if how == "waits too long" else ("run.max_outage_s=0", "run.drain_s=0.5")
    with start(tmp_path, "state", *ALL_AT_THE_END, *sets) as running, no_file_can_be_made(running):
        _waits_to_end(running)
        if how == "is stopped":
            running.process.terminate()
        assert running.wait() == 3, running.output()
    reason = running.of("report")[0]["reason"]
    assert reason == ("stopped by SIGTERM; not all was finished in 0.5 s" if how == "is stopped" else
                      f"writer.gathered: {running.state}/gathered: is a directory, for more than 0.5 s")
    with start(tmp_path, "state", *ALL_AT_THE_END, output="again.out") as again:
        assert again.wait() == 0, again.output()
    numbers = [at for at in range(FILES * LINES) if at % 15 and at % len(STORES) == STORES.index("gathered")]
    (path,) = (tmp_path / "state" / "gathered").glob("part-*")
    assert pq.read_table(path).column("number").to_pylist() == numbers
