"""Databases over versions: made in steps, brought forward whole or not at all, refused when newer."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime import distinct, panes, state, units
from actors.runtime.database import OtherVersion, Step, open_database, open_for_reading
from actors.runtime.errors import ConfigError
from actors.sinks import dead_letters
from actors.verify import recording
from tests.loads import ROOT, WATCHDOG_S
from tests.states import OLDER, unpack

STORES: dict[str, Sequence[Step]] = {
    "load/positions.db": units.STEPS, "load/aggregator.1.db": state.STEPS, "load/dead-letters.db": dead_letters.STEPS,
    "hours/positions.db": units.STEPS, "hours/windows.1.db": panes.STEPS, "numbers/positions.db": units.STEPS,
    "numbers/distinct.1.db": distinct.STEPS}
FIRST = "CREATE TABLE things (name TEXT); INSERT INTO things VALUES ('a; b')"
SECOND = "ALTER TABLE things ADD COLUMN size INTEGER NOT NULL DEFAULT 7;"
#: Opens a file with a step more, which kills its own process in the middle.
DIES = """
import os, signal, sys
from pathlib import Path
from actors.runtime.database import open_database

def die(connection):
    connection.execute("DELETE FROM things")
    connection.execute("CREATE TABLE more (name TEXT)")
    os.kill(os.getpid(), signal.SIGKILL)

open_database(Path(sys.argv[1]), [sys.argv[2], sys.argv[3], die])
"""


#: Makes a file, and kills its own process at this call of the system.
DIES_AT = """
import os, signal, sys
from pathlib import Path
from actors.runtime.database import open_database

real = vars(os)[sys.argv[2]]

def die(*arguments):
    real(*arguments)
    os.kill(os.getpid(), signal.SIGKILL)

setattr(os, sys.argv[2], die)
open_database(Path(sys.argv[1]), [sys.argv[3]])
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "some.db"


def ask(path: Path, query: str) -> list[tuple[object, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query).fetchall()


def version(path: Path) -> object:
    return ask(path, "PRAGMA user_version")[0][0]


def tables(path: Path) -> list[tuple[object, ...]]:
    """What a file has, without where its definitions break their lines."""
    return [(name, " ".join(str(sql).split())) for name, sql in ask(
        path, "SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL AND name NOT LIKE 'sqlite_%' ORDER BY name")]


def test_a_new_file_is_given_all_steps_and_an_older_one_those_that_it_lacks(path: Path, tmp_path: Path) -> None:
    open_database(path, [FIRST]).close()
    open_database(path, [FIRST, SECOND]).close()
    open_database(tmp_path / "new.db", [FIRST, SECOND]).close()
    for each in (path, tmp_path / "new.db"):
        assert ask(each, "SELECT * FROM things") == [("a; b", 7)]
        assert version(each) == 2


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_what_is_left_of_a_file_whose_maker_was_killed_is_cleared_by_the_next(path: Path, call: str) -> None:
    done = subprocess.run([sys.executable, "-c", DIES_AT, str(path), call, FIRST], cwd=ROOT, timeout=WATCHDOG_S,
                          check=False)
    assert done.returncode == -signal.SIGKILL
    assert len(list(path.parent.glob("some.db.*.new"))) == 1
    open_database(path, [FIRST]).close()
    assert [found.name for found in path.parent.iterdir()] == ["some.db"]
    assert ask(path, "SELECT count(*) FROM things") == [(1,)]


def test_what_is_not_certainly_left_of_a_file_stays(path: Path) -> None:
    kept = {f"some.db.{os.getppid()}.new", "some.db.new", "some.db.x.new", "other.db.1.new", "some.db.1.new.gz"}
    for name in kept:
        path.with_name(name).touch()
    open_database(path, [FIRST]).close()
    assert {found.name for found in path.parent.iterdir()} == {"some.db", *kept}


def test_a_file_of_this_version_is_given_no_step(path: Path) -> None:
    for _ in range(2):
        open_database(path, [FIRST]).close()
    assert ask(path, "SELECT count(*) FROM things") == [(1,)]


def test_a_file_that_is_made_waits_for_the_disk_once_and_leaves_nothing_beside_it(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushes: list[int] = []
    monkeypatch.setattr("os.fsync", flushes.append)
    open_database(path, [FIRST, SECOND], "INSERT INTO things VALUES ('begun', 1)").close()
    assert len(flushes) == 1
    assert ask(path, "SELECT name FROM things") == [("a; b",), ("begun",)]
    assert ask(path, "PRAGMA journal_mode") == [("wal",)]
    assert path.stat().st_mode & 0o777 == 0o600
    assert [left.name for left in path.parent.iterdir() if left.name.endswith(".new")] == []


def test_a_file_is_made_where_the_file_system_has_no_links(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*names: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr("os.link", refuse)
    open_database(path, [FIRST, SECOND]).close()
    assert (ask(path, "SELECT * FROM things"), version(path)) == ([("a; b", 7)], 2)
    assert [left.name for left in path.parent.iterdir()] == [path.name]


def test_a_log_without_its_file_is_not_taken_for_that_of_a_new_one(path: Path, tmp_path: Path) -> None:
    with closing(open_database(path, [FIRST])) as other:
        other.execute("INSERT INTO things VALUES ('of old')")
        log = Path(f"{path}-wal").read_bytes()
    new = tmp_path / "new.db"
    Path(f"{new}-wal").write_bytes(log)
    open_database(new, [FIRST]).close()
    assert ask(new, "SELECT name FROM things") == [("a; b",)]


def test_who_makes_a_file_at_the_same_time_as_another_takes_the_other_s(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = os.link

    def late(new: Path, name: Path) -> None:
        monkeypatch.setattr("os.link", link)
        open_database(path, [FIRST, "INSERT INTO things VALUES ('the other')"]).close()
        link(new, name)

    monkeypatch.setattr("os.link", late)
    open_database(path, [FIRST, "INSERT INTO things VALUES ('this')"]).close()
    assert ask(path, "SELECT name FROM things") == [("a; b",), ("the other",)]


def test_a_step_may_be_code(path: Path) -> None:
    def double(connection: sqlite3.Connection) -> None:
        connection.execute("INSERT INTO things SELECT name FROM things")

    open_database(path, [FIRST, double]).close()
    assert ask(path, "SELECT count(*) FROM things") == [(2,)]


def test_a_step_may_have_a_trigger_and_comments_in_it(path: Path) -> None:
    step = """
    -- a comment; with a semicolon
    CREATE TRIGGER doubled AFTER INSERT ON things BEGIN
        DELETE FROM things WHERE name = 'old'; DELETE FROM things WHERE name = 'older';
    END;
    INSERT INTO things VALUES ('old')
    """
    open_database(path, [FIRST, step]).close()
    assert ask(path, "SELECT name FROM things") == [("a; b",)]


def test_a_file_whose_owner_is_killed_in_a_step_is_as_it_was(path: Path) -> None:
    open_database(path, [FIRST]).close()
    died = subprocess.run([sys.executable, "-c", DIES, str(path), FIRST, SECOND], cwd=ROOT, timeout=WATCHDOG_S,
                          check=False)
    assert died.returncode == -9
    assert version(path) == 1
    assert ask(path, "SELECT * FROM things") == [("a; b",)]
    assert [name for name, _ in tables(path)] == ["things"]
    open_database(path, [FIRST, SECOND]).close()
    assert ask(path, "SELECT * FROM things") == [("a; b", 7)]


def test_a_step_that_fails_takes_those_before_it_back(path: Path) -> None:
    open_database(path, [FIRST]).close()
    with pytest.raises(sqlite3.OperationalError, match="no such table: others"):
        open_database(path, [FIRST, SECOND, "INSERT INTO others VALUES (1)"])
    assert (version(path), ask(path, "SELECT * FROM things")) == (1, [("a; b",)])


def test_a_newer_file_is_refused_in_a_sentence_and_left_as_it_is(path: Path) -> None:
    open_database(path, [FIRST, SECOND]).close()
    before = path.read_bytes()
    for opened in (open_database, open_for_reading):
        with pytest.raises(ConfigError) as caught:
            opened(path, [FIRST])
        assert str(caught.value) == (
            f"{path}: made by a newer version of Thresher (schema 2, expected at most 1): upgrade Thresher, "
            "or give another --state")
    assert path.read_bytes() == before


def test_who_only_looks_is_told_that_a_file_is_older_and_brings_nothing_forward(path: Path) -> None:
    open_database(path, [FIRST]).close()
    with pytest.raises(OtherVersion, match=r"made by an older version .*schema 1, expected 2.* brings it forward"):
        open_for_reading(path, [FIRST, SECOND])
    assert version(path) == 1
    with closing(open_for_reading(path, [FIRST])) as connection:
        assert connection.execute("SELECT name FROM things").fetchall() == [("a; b",)]


def test_a_file_that_is_just_being_made_can_be_looked_at(path: Path) -> None:
    path.touch()
    with closing(open_for_reading(path, [FIRST])) as connection:
        assert connection.execute("SELECT name FROM sqlite_master").fetchall() == []


#: Tables whose rows are elsewhere in a new store; that none is lost is tested there (``test_runs.py``).
MOVED = ("folded",)


@pytest.mark.parametrize("older", OLDER)
@pytest.mark.parametrize("name", STORES)
def test_a_store_of_an_older_version_has_what_a_new_one_has_once_it_was_opened(
    tmp_path: Path, older: str, name: str
) -> None:
    run, _, file = name.partition("/")
    path = unpack(older, run, tmp_path) / "state" / file
    counts = {table: ask(path, f"SELECT count(*) FROM {table}")
              for table, sql in tables(path) if str(sql).startswith("CREATE TABLE") and table not in MOVED}
    steps = STORES[name]
    open_database(path, steps).close()
    open_database(tmp_path / "new.db", steps).close()
    assert set(tables(tmp_path / "new.db")) <= set(tables(path))
    assert version(path) == len(steps)
    assert {table: ask(path, f"SELECT count(*) FROM {table}") for table in counts} == counts


@pytest.mark.parametrize("older", OLDER)
@pytest.mark.parametrize("name", STORES)
def test_a_store_of_an_older_version_goes_on_to_one_that_is_yet_to_come(tmp_path: Path, older: str, name: str) -> None:
    run, _, file = name.partition("/")
    path = unpack(older, run, tmp_path) / "state" / file
    open_database(path, STORES[name]).close()
    before = tables(path)
    coming = [*STORES[name], "CREATE TABLE yet_to_come (name TEXT)"]
    open_database(path, coming).close()
    assert version(path) == len(coming)
    open_database(tmp_path / "new.db", coming).close()
    assert set(tables(path)) - set(before) == set(tables(tmp_path / "new.db")) - set(before), "as a new one has it"
    with pytest.raises(ConfigError, match="made by a newer version of Thresher"):
        open_database(path, STORES[name])


def test_a_record_of_a_verification_goes_on_too(path: Path) -> None:
    open_database(path, recording.STEPS).close()
    open_database(path, [*recording.STEPS, "CREATE TABLE yet_to_come (name TEXT)"]).close()
    with pytest.raises(OtherVersion, match="made by a newer version of Thresher"):
        recording.read_recorded(path)
