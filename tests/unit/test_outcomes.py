"""Outcome counts are read beside the reader, seldom where that is dear."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path

import pytest

from actors.runtime.ledger import Ledger
from actors.runtime.values import Chunk
from actors.telemetry import outcomes
from actors.telemetry.outcomes import Outcomes


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "positions.db"


def close(ledger: Ledger, name: str, read: int) -> None:
    """A unit has so many records more."""
    unit = ledger.begin(name, name)
    ledger.close(Chunk(unit=unit.id, source=name, data=b"", start=unit.low, end=unit.low + 10, offset=0, line=0),
                 {"read": read, "written": read})
    ledger.commit()


def test_before_there_is_a_ledger_nothing_has_become_of_anything(path: Path) -> None:
    assert Outcomes(path).now() == {}


def test_the_counts_are_those_of_all_units_of_all_runs(path: Path) -> None:
    first = Ledger(path, "run-1")
    close(first, "a", 3)
    first.close_file()
    second = Ledger(path, "run-2")
    close(second, "b", 4)
    assert Outcomes(path).now() == {"read": 7, "written": 7}
    second.close_file()


def test_what_is_committed_meanwhile_is_seen_at_the_next_look(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "SHARE", 1e9)  # never too dear
    ledger, counts = Ledger(path, "run"), Outcomes(path)
    for number in range(1, 50):
        close(ledger, "a", 1)
        assert counts.now()["read"] == number
    ledger.close_file()


def test_a_look_that_is_too_dear_is_put_off(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(outcomes, "SHARE", 1e-9)
    ledger, counts = Ledger(path, "run"), Outcomes(path)
    close(ledger, "a", 1)
    assert counts.now()["read"] == 1
    close(ledger, "a", 1)
    assert counts.now()["read"] == 1
    ledger.close_file()


def test_a_look_that_only_waited_for_a_processor_is_not_dear(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = outcomes._read

    def starved(of: Path) -> dict[str, int]:
        time.sleep(0.1)
        return read(of)

    monkeypatch.setattr(outcomes, "_read", starved)
    monkeypatch.setattr(outcomes, "SHARE", 0.5)
    ledger, counts = Ledger(path, "run"), Outcomes(path)
    close(ledger, "a", 1)
    assert counts.now()["read"] == 1
    close(ledger, "a", 1)
    time.sleep(0.05)
    assert counts.now()["read"] == 2
    ledger.close_file()


def test_who_has_looked_does_not_keep_the_owner_from_closing_the_ledger_well(path: Path) -> None:
    ledger, counts = Ledger(path, "run"), Outcomes(path)
    close(ledger, "a", 1)
    assert counts.now()["read"] == 1
    ledger.close_file()
    assert [file.name for file in path.parent.iterdir()] == ["positions.db"]


def test_a_file_that_is_no_ledger_is_no_counts(path: Path) -> None:
    path.write_bytes(b"x" * 5000)
    with pytest.raises(sqlite3.Error):
        sqlite3.connect(path).execute("SELECT 1 FROM units")
    assert Outcomes(path).now() == {}
