"""A real ext4 turns read-only in mid-run, is checked and mounted again: needs root. All of it is there in the end."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.loads import ROOT, Running
from tests.powercut import cuts
from tests.powercut.loop import LoopDisk, what_is_missing

FILES, LINES = 2, 6000


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[LoopDisk]:
    """A disk with the input on it."""
    if missing := what_is_missing(tmp_path):
        pytest.skip(missing)
    with LoopDisk(tmp_path / "disk") as disk:
        cuts.write_numbers(disk.path, FILES, LINES)
        disk.sync()
        yield disk


def start(disk: LoopDisk, tmp_path: Path, *sets: str, state: Path | None = None) -> Running:
    more = (f"source.pattern={disk.path}/data/*.txt", "budget.max_error_rate=0.5", "flow.batch_bytes=200",
            "flow.window_batches=4", *sets)
    return Running(state or disk.path / "state", "run", "tests.pipelines.everywhere", "--format", "json",
                   *(word for item in more for word in ("--set", item)), output=tmp_path / "output")


@pytest.fixture
def in_peace(tmp_path: Path) -> object:
    """What the stores hold after a run on a disk that stays as it is."""
    cuts.write_numbers(tmp_path / "peace", FILES, LINES)
    words = (f"source.pattern={tmp_path}/peace/data/*.txt", "budget.max_error_rate=0.5")
    with Running(tmp_path / "peace" / "state", "run", "tests.pipelines.everywhere", "--format", "json",
                 *(word for item in words for word in ("--set", item))) as running:
        assert running.wait() == 0, running.output()
    return cuts.look_everywhere(tmp_path / "peace" / "state", tmp_path / "peace" / "data")


@pytest.mark.parametrize("how", ["is stopped", "waits too long"])
def test_after_it_was_checked_the_same_command_has_all_of_it_and_each_once(
    tmp_path: Path, disk: LoopDisk, in_peace: object, how: str
) -> None:
    sets = ("run.drain_s=0.5", "flow.batch_s=0") if how == "is stopped" else ("run.max_outage_s=1",)
    with start(disk, tmp_path, *sets) as running:
        running.until(lambda views: views["writer.dead_letters"].batches >= 10, "some batches")
        disk.turn_read_only()
        running.until(lambda views: any(view.phase == "RETRY" and "read-only" in view.note for view in views.values()),
                      "somebody who waits")
        if how == "is stopped":
            running.process.terminate()
        assert running.wait() == 3, running.output()
    report = running.of("report")[0]
    assert report["outages"], "who of them all meets the disk first, the reader or a writer, is chance"
    assert all(re.search(rf"{disk.path}/\S+: read-only file system$", said) for said in report["outages"].values())
    assert "Traceback" not in running.output()
    assert running.of("died") == []
    disk.mend()
    with start(disk, tmp_path) as again:
        assert again.wait() == 0, again.output()
    assert cuts.look_everywhere(disk.path / "state", disk.path / "data") == in_peace


def test_what_only_looks_at_a_state_says_what_keeps_it_from_looking_or_looks(tmp_path: Path, disk: LoopDisk) -> None:
    with start(disk, tmp_path) as running:
        assert running.wait() == 0, running.output()
    disk.unmount()
    disk.mount("ro")
    state = disk.path / "state"
    words = ["tests.pipelines.everywhere", "--state", str(state)]
    for verb, code, said in (
            (["report"], 0, f"read {FILES * LINES:,} records"), (["status"], 0, "exit code 0"),
            (["dlq", "ls"], 78, f"{state}/dead-letters.db: read-only file system: expected a dead-letter store\n")):
        done = subprocess.run([sys.executable, "-m", "actors.cli", *verb, *words], cwd=ROOT, capture_output=True,
                              text=True, timeout=240, check=False)
        assert (done.returncode, said in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_input_that_was_read_only_from_the_start_is_loaded_and_not_waited_for(
    tmp_path: Path, disk: LoopDisk
) -> None:
    disk.unmount()
    disk.mount("ro")
    with start(disk, tmp_path, state=tmp_path / "state") as running:
        assert running.wait() == 1, running.output()
    assert running.of("outage") == []
    assert [unit["status"] for unit in running.of("report")[0]["units"]] == ["loaded", "loaded"]
    assert all("cannot be renamed" in unit["problem"] for unit in running.of("report")[0]["units"])
