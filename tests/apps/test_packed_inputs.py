"""Packed files in real runs: each format that is read, files that are not whole, and what is refused by its name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from actors.runtime.extras import how_to_install
from tests.apps.test_given_again import Desk
from tests.loads import ROOT
from tests.packing import PACKERS, SUFFIXES

LINES = b"".join(b"w%d 1\n" % number for number in range(9_000))
WHOLE = {f"w{number}": 1.0 for number in range(9_000)}


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    (tmp_path / "logs").mkdir()
    return Desk(tmp_path)


def cut(packing: str) -> bytes:
    """Two members, the second of which is not all there."""
    at = LINES.index(b"\n", len(LINES) // 2) - 2
    whole = PACKERS[packing](LINES[:at]), PACKERS[packing](LINES[at:])
    return whole[0] + whole[1][:len(whole[1]) // 2]


@pytest.mark.parametrize(("pipeline", "packing"), [
    ("FOLDED", "xz"), ("FOLDED", "zstd"), ("FOLLOWED", "gzip"), ("FOLLOWED", "zstd")])
def test_a_file_that_is_cut_fails_until_it_is_given_whole_and_each_record_counts_once(
    desk: Desk, pipeline: str, packing: str
) -> None:
    where = "logs/a" if pipeline == "FOLDED" else "logs"
    path = desk.give("logs/a", cut(packing))
    for read in (1, 2):  # nobody has mended it yet
        code, report = desk.run(pipeline, where)
        assert (code, len(desk.letters(pipeline)), path.exists()) == (4, 1, True), report
        assert read == 2 or report["units"][0]["rejected"] == {f"truncated_{packing}": 1}
    assert 0 < len(desk.sums(pipeline)) < len(WHOLE)
    path.write_bytes(PACKERS[packing](LINES))
    code, report = desk.run(pipeline, where)
    assert (code, desk.letters(pipeline)) == (0, []), report
    assert desk.sums(pipeline) == WHOLE


@pytest.mark.parametrize("packing", ["gzip", "zstd"])
def test_a_file_that_is_cut_in_a_directory_can_be_accepted_and_stays_so(desk: Desk, packing: str) -> None:
    desk.give("logs/a", cut(packing))
    for _ in range(2):
        code, report = desk.run("FOLLOWED", "logs", "--set", "source.damaged=accept")
        assert code == 0, report
    assert len(desk.letters("FOLLOWED")) == 1


@pytest.mark.parametrize("packing", ["xz", "zstd"])
def test_bytes_behind_the_last_member_are_told_and_leave_the_file_whole(desk: Desk, packing: str) -> None:
    desk.give("a", PACKERS[packing](LINES) + bytes(100) + b"a signature")
    code, report = desk.run("FOLDED", "a")
    assert (code, desk.sums("FOLDED")) == (0, WHOLE), report
    assert f"111 bytes behind the {packing} data" in report["units"][0]["note"]


def test_what_is_behind_another_packing_is_named_in_one_sentence(desk: Desk) -> None:
    wide = LINES.decode().encode("utf-16")
    for packing, suffix in SUFFIXES.items():
        desk.give(f"logs/wide{suffix}", PACKERS[packing](wide))
        desk.give(f"logs/twice{suffix}", PACKERS[packing](PACKERS["gzip"](LINES)))
    desk.give("logs/good", LINES)
    for pipeline, where in (("FOLDED", "logs/*"), ("FOLLOWED", "logs")):
        code, report = desk.run(pipeline, where)
        assert (code, report["read"], desk.letters(pipeline)) == (1, 9_000, []), report
        problems = [unit["problem"] for unit in report["units"] if unit["name"] != "logs/good"]
        assert len(problems) == 8 and all(". " not in problem and "\n" not in problem for problem in problems)
        assert sum("text in UTF-16, packed with " in problem for problem in problems) == 4
        assert sum("packed twice, with gzip and then with " in problem for problem in problems) == 4
        checked = desk.thresher("check", pipeline, "--set", f'source.paths=["{where}"]')
        assert checked.returncode == 1 and "packed twice, with gzip and then with " in checked.stdout


@pytest.mark.parametrize(("pipeline", "where"), [("FOLDED", "logs/*"), ("FOLLOWED", "logs")])
def test_without_its_library_zstd_is_refused_by_a_command_that_brings_it_and_the_rest_is_read(
    desk: Desk, pipeline: str, where: str
) -> None:
    desk.give("logs/a.zst", PACKERS["zstd"](LINES))
    other = desk.give("logs/b.gz", PACKERS["gzip"](b"other 1\n"))
    (desk.folder / "without").mkdir()
    for name in ("zstandard", "compression"):
        (desk.folder / "without" / f"{name}.py").write_text("raise ImportError('not installed')\n")
    environment = {**os.environ, "PYTHONPATH": f"{desk.folder / 'without'}:{ROOT}"}
    for verb in ("run", "check"):
        command = [sys.executable, "-m", "actors.cli", verb, f"words.py:{pipeline}",
                   "--set", f'source.paths=["{where}"]', "--state", f"state-{pipeline}"]
        done = subprocess.run(
            command, cwd=desk.folder, env=environment, capture_output=True, text=True, timeout=120, check=False)
        said = done.stdout + done.stderr
        assert done.returncode == 1 and f"the library that reads it is not installed ({how_to_install('zstd')})" in said
        assert "Traceback" not in said
    other.unlink()  # it is loaded
    code, report = desk.run(pipeline, where)  # the same state, where the library is installed
    assert (code, report["read"]) == (0, 9_000) and desk.sums(pipeline) == {**WHOLE, "other": 1.0}, report
