"""The power goes at a random moment: nothing is lost, nothing is counted twice, and the same command goes on."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from tests.powercut.cuts import JOBS, cuts
from tests.powercut.disk import Change, Disk, File, Op
from tests.powercut.recording import require_recorder

#: Cuts of each job, and the seed of the first.
CUTS = int(os.environ.get("THRESHER_POWER_CUTS", "12"))
FIRST = int(os.environ.get("THRESHER_POWER_CUTS_FROM", "0"))


@pytest.mark.parametrize("job", JOBS)
def test_after_a_power_cut_the_same_command_ends_with_all_of_it_and_each_once(tmp_path: Path, job: str) -> None:
    seeds = range(FIRST, FIRST + CUTS)
    in_peace, *found = cuts(JOBS[job], tmp_path, require_recorder(tmp_path), seeds)
    assert len(found) == CUTS
    for cut in found:
        assert (cut.code, cut.found) == (0, in_peace), f"seed {cut.seed}: {cut.output}"


def test_what_was_not_flushed_may_be_gone_and_what_was_is_there(tmp_path: Path) -> None:
    disk = Disk(tmp_path)
    a, b, folder = f"{disk.root}/a", f"{disk.root}/b", disk.root
    for op in (Op("c", a, b"", 1, 0), Op("w", "", b"one", 1, 0), Op("f", "", b"", 1, 0), Op("F", folder, b"", 9, 0),
               Op("w", "", b"two", 1, 3), Op("c", b, b"", 2, 0), Op("w", "", b"new", 2, 0), Op("f", "", b"", 2, 0)):
        disk.do(op)
    left = set()
    for seed in range(40):
        target = tmp_path / f"left-{seed}"
        disk.leave(target, seed)
        left.add(tuple((path.name, path.read_bytes()) for path in sorted(target.iterdir())))
    assert left == {(("a", one), *rest) for one in (b"one", b"onetwo") for rest in ((), (("b", b"new"),))}


def test_a_rename_that_was_not_flushed_may_leave_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "manifest").write_bytes(b"old")
    disk = Disk(tmp_path)
    old, new = f"{disk.root}/manifest", f"{disk.root}/manifest.new"
    for op in (Op("c", new, b"", 7, 0), Op("w", "", b"new", 7, 0), Op("f", "", b"", 7, 0),
               Op("r", new, os.fsencode(old), 7, 0)):
        disk.do(op)
    contents = set()
    for seed in range(40):
        disk.leave(tmp_path.with_name(f"{tmp_path.name}-{seed}"), seed)
        contents.add((tmp_path.with_name(f"{tmp_path.name}-{seed}") / "manifest").read_bytes())
    assert contents == {b"old", b"new"}


def test_pages_of_one_write_may_be_there_and_others_not() -> None:
    file = File()
    file.waiting.append(Change(0, b"x" * 5 * 4096))
    kinds = {file.after_a_cut(random.Random(seed)).replace(b"\0" * 4096, b"-").replace(b"x" * 4096, b"x")
             for seed in range(200)}
    assert {b"", b"xxxxx"} < kinds
    assert any(b"-x" in kind for kind in kinds)
