"""What shards remember of partitions that are over is forgotten between two runs; nothing is counted twice for it."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime import forgetting
from actors.runtime.agreement import require_agreement
from actors.runtime.errors import ConfigError
from actors.runtime.forgetting import Forgotten, UpTo, forget_what_is_over, forgotten_in_ledger, forgotten_in_shard
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Manifest
from actors.runtime.state import FoldState, add_each
from actors.runtime.units import LEDGER
from actors.runtime.values import Chunk, Unit
from actors.settings import load
from tests.growth import watched

SHARD = "aggregator.1.db"


@pytest.fixture
def manifest(tmp_path: Path) -> Manifest:
    return load("appsinstalled", environ={}, state=str(tmp_path)).manifest


def read(state: Path, run: str, names: list[str], size: int = 10, ends: bool = True, folds: bool = True) -> list[Unit]:
    """A run that reads these files, each a partition of its own, and folds all of them."""
    ledger, units = Ledger(state / LEDGER, run), []
    shard = FoldState(state / SHARD, 1, add_each)
    for name in names:
        unit = ledger.begin(name, name, alone=True)
        ledger.issue(Chunk(unit.id, name, unit.base, unit.base + size, 0, 1, b"x\n"))
        ledger.close(Chunk(unit.id, name, unit.base, unit.base + size, 0, 1, b"x\n"), {"read": 1, "folded": 1})
        if ends:
            ledger.end(unit, unit.base + size)
            ledger.settle(unit, "done")
        if folds:
            shard.fold([((name,), [1])])
            shard.commit({f"{run}/{unit.id}": unit.base + size})
        units.append(unit)
    ledger.close_file()
    shard.close()
    return units


def remembered(state: Path) -> dict[str, int]:
    shard = FoldState(state / SHARD, 1, add_each)
    try:
        return shard.applied()
    finally:
        shard.close()


def marks(state: Path) -> tuple[UpTo, Forgotten]:
    with closing(sqlite3.connect(state / SHARD)) as shard, closing(sqlite3.connect(state / LEDGER)) as ledger:
        return forgotten_in_shard(shard), forgotten_in_ledger(ledger)


def test_what_is_remembered_does_not_grow_with_the_number_of_files(tmp_path: Path, manifest: Manifest) -> None:
    for run in range(5):
        names = [f"{run}-{number}" for number in range(200)]
        read(tmp_path, f"run-{run}", names)
        assert len(remembered(tmp_path)) == 200, "those of the last run"
        require_agreement(manifest)
        assert remembered(tmp_path) == {}
    assert marks(tmp_path) == (UpTo(5, 1000), Forgotten(5, 5))


def test_what_is_not_over_or_ahead_of_the_ledger_is_remembered(tmp_path: Path, manifest: Manifest) -> None:
    (done, *_) = read(tmp_path, "a", ["done", "another"])
    (following,) = read(tmp_path, "b", ["following"], ends=False)
    shard = FoldState(tmp_path / SHARD, 1, add_each)
    shard.commit({f"a/{done.id}": 99})  # an acknowledgement was lost
    shard.close()
    with closing(sqlite3.connect(tmp_path / LEDGER)) as ledger, ledger:
        ledger.execute("INSERT OR REPLACE INTO issued VALUES (?, 10, 99, 0, '', '', 0, x'')", (done.id,))
    require_agreement(manifest)
    assert remembered(tmp_path) == {f"a/{done.id}": 99, f"b/{following.id}": 10}


def test_a_run_over_nothing_new_writes_nothing(tmp_path: Path, manifest: Manifest) -> None:
    read(tmp_path, "a", ["one"])
    require_agreement(manifest)
    with watched() as work:
        require_agreement(manifest)
    assert work.statements < 40
    before = (tmp_path / SHARD).read_bytes()
    require_agreement(manifest)
    assert (tmp_path / SHARD).read_bytes() == before


@pytest.mark.parametrize("after", ["_keep", "_forget"])
def test_a_death_in_between_is_gone_on_from(
    tmp_path: Path, manifest: Manifest, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    read(tmp_path, "a", ["one", "two"])
    step = getattr(forgetting, after)

    def dies(*arguments: object) -> None:
        step(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as context:
        context.setattr(forgetting, after, dies)
        with pytest.raises(KeyboardInterrupt):
            require_agreement(manifest)
    assert marks(tmp_path) == (UpTo() if after == "_keep" else UpTo(1, 2), Forgotten(0, 1))
    read(tmp_path, "b", ["three"])
    require_agreement(manifest)
    assert (remembered(tmp_path), marks(tmp_path)) == ({}, (UpTo(1, 3), Forgotten(1, 1)))


@pytest.mark.parametrize("file", [SHARD, LEDGER])
def test_a_file_of_before_it_was_forgotten_is_of_another_moment(
    tmp_path: Path, manifest: Manifest, file: str
) -> None:
    read(tmp_path, "a", ["one"])
    shutil.copy(tmp_path / file, tmp_path / "before")
    require_agreement(manifest)
    shutil.copy(tmp_path / "before", tmp_path / file)
    with pytest.raises(ConfigError, match=r"forgotten what is over.*not of one moment"):
        require_agreement(manifest)


@pytest.mark.parametrize("file", [SHARD, LEDGER])
def test_a_file_that_is_gone_after_it_was_forgotten_is_told(tmp_path: Path, manifest: Manifest, file: str) -> None:
    read(tmp_path, "a", ["one"])
    require_agreement(manifest)
    (tmp_path / file).unlink()
    with pytest.raises(ConfigError, match=r"forgotten what is over.*not of one moment"):
        require_agreement(manifest)


def test_of_a_file_that_goes_on_after_it_was_forgotten_what_is_new_is_due(tmp_path: Path, manifest: Manifest) -> None:
    (unit,) = read(tmp_path, "a", ["one"])
    require_agreement(manifest)
    ledger = Ledger(tmp_path / LEDGER, "b")
    (known,) = ledger.known("one")
    ledger.resume(known, "one", "one")
    ledger.commit()
    ledger.close_file()
    require_agreement(manifest)  # killed before anything came of it
    shard = FoldState(tmp_path / SHARD, 1, add_each)
    shard.commit({f"a/{unit.id}": 20})
    shard.close()
    ledger = Ledger(tmp_path / LEDGER, "c")
    again = ledger.begin("one", "one")
    ledger.close(Chunk(again.id, "one", 10, 20, 10, 2, b"x\n"), {"read": 1, "folded": 1})
    ledger.close_file()
    require_agreement(manifest)
    assert remembered(tmp_path) == {f"a/{unit.id}": 20}
    shard = FoldState(tmp_path / SHARD, 1, add_each)
    shard.commit({f"a/{unit.id}": 15})
    shard.close()
    with pytest.raises(ConfigError, match="15 bytes of what was read as a/1"):
        require_agreement(manifest)


def test_shards_that_no_longer_are_and_files_that_are_none_are_left_alone(tmp_path: Path) -> None:
    read(tmp_path, "a", ["one"])
    (tmp_path / "other.db").write_bytes(b"no database" * 100)
    forget_what_is_over(tmp_path, [tmp_path / "other.db"])
    assert marks(tmp_path) == (UpTo(), Forgotten())
