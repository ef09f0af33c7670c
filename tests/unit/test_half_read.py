"""A unit that is half read goes on with the framing that it was begun with, or not at all."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from actors.runtime.agreement import require_agreement
from actors.runtime.errors import ConfigError
from actors.runtime.half_read import CUT_AS, fact_of
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest, component_of
from actors.runtime.units import LEDGER
from actors.runtime.values import Chunk
from actors.settings import load
from actors.sources.directory import Directory
from actors.sources.files import Files

CSV, SEMICOLONS, LINES = Files(framing="csv"), Files(framing="csv", delimiter=";"), Files()


def manifest(tmp_path: Path, source: Files | Directory) -> Manifest:
    made = load("connections", environ={}, state=str(tmp_path / "state")).manifest
    return msgspec.structs.replace(made, source=component_of(source), folds=False)


def half_read(tmp_path: Path, source: Files | Directory | None, commits: bool = False, ends: bool = False) -> None:
    """A run that issues ten bytes of a file, commits them or not, and is no more."""
    (tmp_path / "state").mkdir(exist_ok=True)
    path = tmp_path / "in.csv"
    path.write_bytes(b"x" * 20)
    ledger = Ledger(tmp_path / "state" / LEDGER, "run")
    if source is not None:
        ledger.keep(CUT_AS, fact_of(source))
    unit = ledger.begin(str(path), "content")
    chunk = Chunk(unit.id, str(path), unit.base, unit.base + 10, 0, 1, b"x\n")
    ledger.issue(chunk)
    ledger.flush()
    if commits:
        ledger.close(chunk, {"read": 1})
    if ends:
        ledger.end(unit, unit.base + 10)
        ledger.settle(unit, "done")
    ledger.commit()
    ledger.close_file()


@pytest.mark.parametrize("commits", [False, True])
@pytest.mark.parametrize(("begun", "other"), [(CSV, LINES), (LINES, CSV), (CSV, SEMICOLONS), (None, CSV)])
def test_a_file_that_is_half_read_is_refused_with_another_framing_and_says_how_to_go_on(
    tmp_path: Path, begun: Files | None, other: Files, commits: bool
) -> None:
    half_read(tmp_path, begun, commits)
    with pytest.raises(ConfigError, match=r"in.csv is read in part with source.framing = .*--fresh"):
        require_agreement(manifest(tmp_path, other))


@pytest.mark.parametrize(
    ("begun", "other"), [(CSV, CSV), (LINES, LINES), (None, LINES), (None, Files(max_line_bytes=99))])
def test_a_file_that_is_half_read_goes_on_with_its_framing_and_of_an_old_state_with_lines(
    tmp_path: Path, begun: Files | None, other: Files
) -> None:
    half_read(tmp_path, begun)
    require_agreement(manifest(tmp_path, other))


def test_the_framing_may_change_when_the_file_was_read_to_its_end(tmp_path: Path) -> None:
    half_read(tmp_path, CSV, commits=True, ends=True)
    require_agreement(manifest(tmp_path, LINES))


def test_the_framing_may_change_when_the_half_read_file_is_gone(tmp_path: Path) -> None:
    half_read(tmp_path, CSV)
    (tmp_path / "in.csv").unlink()
    require_agreement(manifest(tmp_path, LINES))


def test_the_framing_of_a_followed_file_may_change_when_all_that_was_issued_is_committed(tmp_path: Path) -> None:
    followed = Directory(paths=[str(tmp_path)], framing="csv")
    half_read(tmp_path, followed)
    with pytest.raises(ConfigError, match="is read in part"):
        require_agreement(manifest(tmp_path, Directory(paths=[str(tmp_path)])))
    (tmp_path / "state" / LEDGER).unlink()
    half_read(tmp_path, followed, commits=True)
    require_agreement(manifest(tmp_path, Directory(paths=[str(tmp_path)])))
