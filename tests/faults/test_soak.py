"""The soak, short: random SIGKILLs of anyone and pauses change nothing. `scripts/soak` is the long one."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import lmdb
import pytest

from actors.sinks.dead_letters import DeadLetters
from scripts.soak import Plan, differences, soak


@pytest.fixture(scope="module")
def soaked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a soak went well; its loads are in ``quiet`` and ``soak-N``."""
    folder = tmp_path_factory.mktemp("soak")
    plan = Plan(records=60_000, kills=25, seed=7, batch_bytes=16 * 1024, window_batches=16)
    outcome = soak(plan, folder, print)
    assert outcome.problems == []
    assert sum(outcome.kills.values()) == plan.kills
    assert outcome.pauses
    assert "supervisor" in outcome.kills
    assert len(outcome.kills) >= 4
    return folder


def test_random_kills_and_pauses_of_anyone_change_nothing(soaked: Path) -> None:
    assert differences(soaked / "quiet", soaked / "soak-1", soaked / "logs", 60_000) == []


def test_the_soak_would_see_a_value_that_differs_and_a_dead_letter_that_is_missing(
    soaked: Path, tmp_path: Path
) -> None:
    state = tmp_path / "spoilt"
    shutil.copytree(soaked / "soak-1", state)
    with lmdb.open(str(state / "idfa.lmdb")) as environment, environment.begin(write=True) as transaction:
        cursor = transaction.cursor()
        assert cursor.first()
        transaction.put(cursor.key(), cursor.value() + b"\0")
    with closing(sqlite3.connect(state / DeadLetters().path)) as connection, connection:
        connection.execute("DELETE FROM letters WHERE rowid = (SELECT min(rowid) FROM letters)")
    problems = differences(soaked / "quiet", state, soaked / "logs", 60_000)
    assert [problem.partition(":")[0] for problem in problems] == ["store idfa", "dead letters"]
