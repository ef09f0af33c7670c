"""A full disk under dead letters, positions, a store or folded state: waited for, said, nothing lost.

An actor's disk is full when its files may not grow (``RLIMIT_FSIZE``): that is for one actor alone, at a chosen moment,
and can be taken back. A small tmpfs is a disk that is really full, for all of them.
"""

from __future__ import annotations

import re
import resource
from pathlib import Path

import msgspec
import pytest

from actors.runtime.ledger import read_units
from tests.loads import Load, Views
from tests.pipelines.troubled import RECORDS
from tests.troubled_loads import Gate, expected, found, start, until_status_shows


class Disk(msgspec.Struct, frozen=True):
    """Whose disk is full, and what is said of it."""

    actor: str
    problem: str


DISKS = [
    Disk("reader.1", "positions: .*"),
    Disk("aggregator.1", "aggregate state: .*"),
    Disk("writer.store", r"lmdb .*/store\.lmdb: .*"),
    Disk("writer.dead_letters", r"dead letters .*/dead-letters\.db: .*"),
]
every_disk = pytest.mark.parametrize("disk", DISKS, ids=lambda disk: disk.actor)


def _fill(running: Load, actor: str) -> int:
    """Let the files of an actor not grow, in the middle of a load; return its process."""
    views = running.until(lambda views: views[actor].batches >= 20, f"20 batches of {actor}")
    resource.prlimit(views[actor].pid, resource.RLIMIT_FSIZE, (0, resource.RLIM_INFINITY))
    return views[actor].pid


def _make_room(pid: int) -> None:
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


def _assert_nothing_is_marked_done(folder: Path) -> None:
    assert [path.name for path in (folder / "logs").iterdir()] == ["a.txt"]
    for unit in read_units(folder / "state" / "positions.db"):
        assert unit.status == "reading"
        assert unit.counts.get("read", 0) < RECORDS


@every_disk
def test_the_pipeline_waits_says_why_and_goes_on_when_there_is_room(tmp_path: Path, gate: Gate, disk: Disk) -> None:
    with start(tmp_path) as running:
        pid = _fill(running, disk.actor)
        gate.open()

        def is_waiting(views: Views) -> bool:
            view = views[disk.actor]
            return view.phase == "RETRY" and re.fullmatch(disk.problem, view.note) is not None

        running.until(is_waiting, f"waiting for {disk.problem}")
        until_status_shows(running, rf"^{disk.actor} .* RETRY .*  {disk.problem}")
        _assert_nothing_is_marked_done(tmp_path)
        _make_room(pid)
        assert running.wait() == 0, running.output()
    assert found(running.state) == expected()
    assert running.of("died") == []
    assert {event["actor"] for event in running.of("outage")} == {disk.actor}
    assert [event["actor"] for event in running.of("recovered")] == [disk.actor]
    assert "Traceback" not in running.output()


@every_disk
def test_when_there_is_no_room_for_too_long_the_run_ends_resumable_and_a_later_one_completes(
    tmp_path: Path, gate: Gate, disk: Disk
) -> None:
    with start(tmp_path, "run.max_outage_s=1") as running:
        _fill(running, disk.actor)
        gate.open()
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    assert re.fullmatch(f"{disk.actor}: {disk.problem}, for more than 1 s", report["reason"])
    assert re.fullmatch(disk.problem, report["outages"][disk.actor])
    assert "Traceback" not in running.output()
    _assert_nothing_is_marked_done(tmp_path)
    with start(tmp_path) as again:
        assert again.wait() == 0, again.output()
    assert found(again.state) == expected()
