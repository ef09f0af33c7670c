"""Files of a state directory that are not of one moment: told before anything runs, never gone on from in silence."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime.agreement import Partition, committed_in, recorded_in, what_is_behind
from actors.runtime.ledger import Ledger
from actors.runtime.units import LEDGER
from actors.runtime.values import Chunk
from tests.powercut.cuts import EVERYWHERE, HOURS, Job, start


def again(job: Job, root: Path) -> tuple[int, str]:
    """Run the job in a folder once more; return its exit code and what it printed."""
    done = start(job, root, dict(os.environ))
    return done.returncode, done.stdout


def load_once(job: Job, root: Path) -> None:
    """The first run."""
    root.mkdir()
    job.prepare(root)
    code, output = again(job, root)
    assert code == 0, output


def replace_shard(root: Path, name: str, by: Path | None) -> None:
    """Put an older copy of a shard in its place, or nothing."""
    for path in (root / "state").glob(f"{name}*"):
        path.unlink()
    if by is not None:
        shutil.copy(by / "state" / name, root / "state" / name)


def test_a_shard_of_an_earlier_moment_is_refused_with_what_to_do(tmp_path: Path) -> None:
    root = tmp_path / "root"
    load_once(EVERYWHERE, root)
    shutil.copytree(root, tmp_path / "before")
    (root / "data" / "9.txt").write_text("9001\n9002\n")
    assert again(EVERYWHERE, root)[0] == 0
    replace_shard(root, "aggregator.1.db", tmp_path / "before")
    (root / "data" / "91.txt").write_text("9101\n")
    code, output = again(EVERYWHERE, root)
    assert code == 78
    assert "aggregator.1.db has nothing of what was read as" in output
    assert "put back those that belong together, or begin anew with --fresh" in output
    assert (root / "data" / "91.txt").exists()


def test_a_shard_that_is_gone_while_a_file_is_half_read_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    load_once(EVERYWHERE, root)
    with closing(sqlite3.connect(root / "state" / "positions.db")) as ledger, ledger:
        ledger.execute('UPDATE units SET status=\'reading\', low="end"-4 WHERE id=(SELECT max(id) FROM units)')
    replace_shard(root, "aggregator.1.db", None)
    code, output = again(EVERYWHERE, root)
    assert (code, "aggregator.1.db has nothing" in output) == (78, True), output


def test_a_sink_that_is_ahead_of_the_shard_whose_rows_it_has_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    load_once(HOURS, root)
    with closing(sqlite3.connect(root / "state" / "windows.1.db")) as shard, shard:
        shard.execute("UPDATE outbox_meta SET next=next-1")
    code, output = again(HOURS, root)
    assert code == 78
    assert "sink hours has" in output
    assert "these files are not of one moment" in output


@pytest.mark.parametrize("holder", ["aggregator.1.db", "lined.log", "rowed.sqlite"])
def test_positions_of_an_earlier_moment_than_what_a_shard_or_a_sink_has_are_refused(
    tmp_path: Path, holder: str
) -> None:
    root = tmp_path / "root"
    load_once(EVERYWHERE, root)
    with closing(sqlite3.connect(root / "state" / "positions.db")) as ledger, ledger:  # as if it had just begun
        ledger.execute("UPDATE units SET status='reading', low=base+7, \"end\"=NULL, counts='{}' WHERE id=1")
        ledger.execute("DELETE FROM units WHERE id>1")
    for name in {"aggregator.1.db", "lined.log", "rowed.sqlite", "listed.jsonl"} - {holder}:
        for path in (root / "state").glob(f"{name}*"):  # they have nothing, which is never too much
            path.unlink()
    if holder != "aggregator.1.db":
        with closing(sqlite3.connect(root / "state" / "positions.db")) as ledger, ledger:
            ledger.execute("UPDATE units SET low=base")
    (root / "data" / ".0.txt").rename(root / "data" / "0.txt")
    code, output = again(EVERYWHERE, root)
    assert code == 78, output
    assert f"state/{holder} has " in output
    assert "positions.db knows " in output
    assert "put back those that belong together" in output


def test_a_ledger_knows_what_was_given_out_by_partition(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, "run")
    unit, alone = ledger.begin("one", "one"), ledger.begin("two", "two", alone=True)
    ledger.issue(Chunk(unit.id, "one", 0, 30, 0, 1, b"x\n"))
    ledger.issue(Chunk(unit.id, "one", 30, 60, 0, 1, b"x\n"))
    ledger.issue(Chunk(alone.id, "two", 0, 5, 0, 1, b"x\n"))
    ledger.close(Chunk(unit.id, "one", 0, 30, 0, 1, b"x\n"), {"read": 1})
    ledger.close_file()
    assert recorded_in(tmp_path / LEDGER) == {"run": 60, "run/2": 5}


def test_a_file_that_is_begun_behind_one_that_is_half_read_is_not_yet_due(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / LEDGER, "run")
    for name, read, size in (("one", 30, 50), ("two", 0, 50)):
        unit = ledger.begin(name, name)
        ledger.issue(Chunk(unit.id, name, unit.base, unit.base + size, 0, 1, b"x\n"))
        ledger.end(unit, unit.base + size)
        ledger.commit()
        if read:
            ledger.close(Chunk(unit.id, name, unit.base, unit.base + read, 0, 1, b"x\n"), {"read": 1})
    ledger.close_file()
    assert committed_in(tmp_path / LEDGER) == {"run": Partition(0, 30, False, True, 2)}


@pytest.mark.parametrize("job", [EVERYWHERE, HOURS])
def test_a_state_in_order_is_gone_on_from(tmp_path: Path, job: Job) -> None:
    root = tmp_path / "root"
    load_once(job, root)
    code, output = again(job, root)
    assert code == 0, output


def test_a_pipeline_that_begins_to_fold_is_not_refused(tmp_path: Path) -> None:
    root = tmp_path / "root"
    load_once(EVERYWHERE, root)
    replace_shard(root, "aggregator.1.db", None)  # as if there had been no fold
    (root / "data" / "9.txt").write_text("9001\n")
    assert again(EVERYWHERE, root)[0] == 0


@pytest.mark.parametrize(("partition", "applied", "behind"), [
    (Partition(0, 50, True, True), {"p": 50}, ""),
    (Partition(0, 50, True, True), {"p": 70}, ""),
    (Partition(0, 50, True, True), {"p": 49}, "49 bytes of what was read as p"),
    (Partition(0, 50, True, True), {"other": 5}, "nothing of what was read as p"),
    (Partition(0, 50, True, False), {"other": 5}, ""),
    (Partition(0, 50, False, False), {}, "nothing of what was read as p"),
    (Partition(0, 50, True, True), {}, ""),
    (Partition(0, 0, False, True), {"other": 5}, "")])
def test_a_shard_is_behind_where_it_has_not_applied_what_is_committed(
    partition: Partition, applied: dict[str, int], behind: str
) -> None:
    assert what_is_behind({"p": partition}, applied).startswith(behind)
    assert bool(what_is_behind({"p": partition}, applied)) == bool(behind)
