"""To begin anew and to go on: what a run forgets, what it leaves alone, and what it refuses to touch."""

from __future__ import annotations

import fcntl
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from actors.console import anew
from actors.runtime import deaths
from actors.runtime.errors import ConfigError
from actors.runtime.ledger import read_units
from actors.runtime.rundir import RunDirectory
from actors.settings import Settings, load
from actors.sinks.dead_letters import read_letters
from actors.sinks.lines import Lines
from actors.sinks.lines_manifest import manifest_path
from tests.loads import ROOT, Load

TARGET = "tests.pipelines.liner"


def run(tmp_path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "actors.cli", "run", TARGET, "--state", str(tmp_path / "state"), "--format", "text",
         "--set", f"source.pattern={tmp_path}/*.txt", *words],
        cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)


def settings_of(tmp_path: Path, *sets: str) -> Settings:
    return load(TARGET, sets=sets, environ={}, state=str(tmp_path / "state"))


def put_back(tmp_path: Path) -> None:
    """Loaded files have a dot before their names."""
    for path in tmp_path.glob(".*.txt"):
        path.rename(path.with_name(path.name[1:]))


@pytest.fixture
def ran(tmp_path: Path) -> Path:
    """A folder in which a run has been, the file to be read again."""
    (tmp_path / "a.txt").write_text("a\nb\n")
    assert run(tmp_path).returncode == 0
    put_back(tmp_path)
    return tmp_path


def test_a_run_goes_on_behind_what_is_there_unless_it_is_to_begin_anew(ran: Path) -> None:
    out = ran / "state" / "store.log"
    assert run(ran, "--set", "source.again=load").returncode == 0
    assert out.read_text() == "a\nb\n" * 2
    put_back(ran)
    assert run(ran, "--fresh").returncode == 0
    assert out.read_text() == "a\nb\n"
    assert len(read_units(ran / "state" / "positions.db")) == 1


def test_the_configuration_says_what_is_done_without_a_word(ran: Path) -> None:
    out, anew_each_time = ran / "state" / "store.log", ("--set", "run.resume=false")
    assert run(ran, *anew_each_time).returncode == 0
    assert out.read_text() == "a\nb\n"
    put_back(ran)
    assert run(ran, *anew_each_time, "--resume", "--set", "source.again=load").returncode == 0
    assert out.read_text() == "a\nb\n" * 2
    assert run(ran, "--fresh", "--resume").returncode == 2


def test_a_dry_run_forgets_nothing(ran: Path) -> None:
    outside = f"sinks.store.path={ran}/state/store.log"
    assert run(ran, "--fresh", "--dry-run", "--set", outside).returncode == 0
    assert (ran / "state" / "store.log").read_text() == "a\nb\n"
    assert (ran / "state" / "positions.db").exists()


def test_after_a_kill_everything_that_was_made_is_forgotten_and_what_was_not_stays(tmp_path: Path) -> None:
    state, logs = tmp_path / "state", tmp_path / "logs"
    logs.mkdir()
    (logs / "a.txt").write_bytes(b"".join(b"k%d value %d\n" % (number, number) for number in range(100_000)))
    with Load(logs / "*.txt", state, "flow.batch_bytes=3000", target=TARGET) as running:
        running.kill("writer.store", after_batches=3)
        running.until(lambda views: views["writer.store"].generation > 1, "another writer")
        running.process.kill()
        running.wait()
    foreign = [state / name for name in ("notes.txt", "aggregator.old.db", "my-positions.db", "other.log")]
    for path in foreign:
        path.write_text("mine")
    with closing(sqlite3.connect(state / "aggregator.1.db")) as connection:
        connection.execute("CREATE TABLE applied (partition TEXT)")
    assert (state / deaths.FILE).exists()
    anew.begin_anew(settings_of(tmp_path).manifest)
    assert sorted(path.name for path in state.iterdir()) == sorted(["lock", *(path.name for path in foreign)])
    assert {path.read_text() for path in foreign} == {"mine"}


def test_dead_letters_are_forgotten_where_they_lie_in_the_state_directory_only(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"a\nb\rc\n")
    stores = tmp_path / "state" / "dead-letters.db", tmp_path / "elsewhere.db"
    for store in stores:
        sets = (f"dead_letters.path={store}", "sinks.store.type=tests.apps.test_fresh:Picky")
        words = [word for text in sets for word in ("--set", text)]
        run(tmp_path, *words)
        put_back(tmp_path)
        assert len(list(read_letters(store))) == 1
        anew.begin_anew(settings_of(tmp_path, *sets).manifest)
    assert [store.exists() for store in stores] == [False, True]


class Picky(Lines, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines that take no carriage return."""

    def pack(self, items: object) -> bytes:
        """Refuse what has one."""
        assert isinstance(items, list)
        if any(b"\r" in item for item in items):
            raise ValueError("a carriage return")
        return super().pack(items)


@pytest.mark.parametrize("name", ["positions.db", "aggregator.1.db", "dead-letters.db"])
@pytest.mark.parametrize("content", ["a text", "a database"])
def test_what_has_a_name_of_ours_and_is_not_ours_is_refused_and_nothing_is_touched(
    ran: Path, name: str, content: str
) -> None:
    path = ran / "state" / name
    path.unlink(missing_ok=True)
    if content == "a text":
        path.write_text("what somebody wrote, and is longer than nothing")
    else:
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("CREATE TABLE holidays (day TEXT)")
    before = path.read_bytes()
    done = run(ran, "--fresh")
    assert done.returncode == 78
    assert f"{path}: expected a database of Thresher" in done.stderr
    assert path.read_bytes() == before
    assert (ran / "state" / "last-run.json").exists()


def test_a_file_of_lines_that_was_there_before_is_kept_under_another_name(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    out = tmp_path / "state" / "store.log"
    out.parent.mkdir()
    out.write_text("somebody's\n")
    (tmp_path / "state" / "store.log.1").write_text("older\n")
    done = run(tmp_path, "--fresh")
    assert done.returncode == 0, done.stderr
    assert f"{out}: not known to be written by Thresher (there is no store.log.manifest): kept as store.log.2" in (
        done.stderr)
    assert out.read_text() == "a\n"
    assert (tmp_path / "state" / "store.log.1").read_text() == "older\n"
    assert (tmp_path / "state" / "store.log.2").read_text() == "somebody's\n"


def test_a_run_that_is_resumed_goes_on_behind_lines_that_were_there_before(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a\n")
    out = tmp_path / "state" / "store.log"
    out.parent.mkdir()
    out.write_text("somebody's\n")
    assert run(tmp_path, "--resume").returncode == 0
    put_back(tmp_path)
    assert run(tmp_path, "--fresh").returncode == 0
    assert out.read_text() == "somebody's\na\n"


def test_lines_are_cleared_with_their_manifest_unless_somebody_writes_them(tmp_path: Path) -> None:
    options, path = Lines(path="x.txt"), tmp_path / "x.txt"
    options.clear("out", tmp_path)
    with closing(options.open("out", tmp_path)), pytest.raises(ConfigError, match="another process writes to it"):
        options.clear("out", tmp_path)
    assert manifest_path(path).exists()
    options.clear("out", tmp_path)
    assert list(tmp_path.iterdir()) == []
    path.touch()
    options.clear("out", tmp_path)
    manifest_path(path).write_text("{")
    with pytest.raises(ConfigError, match="not a manifest"):
        options.clear("out", tmp_path)


def test_beginning_anew_beside_a_run_is_refused(ran: Path) -> None:
    with closing(RunDirectory(ran / "state")):
        done = run(ran, "--fresh")
    assert (done.returncode, "another run uses it" in done.stderr) == (78, True)
    assert (ran / "state" / "store.log").read_text() == "a\nb\n"


def test_what_was_begun_and_not_ended_is_ended_by_the_next_run_whatever_it_was_told(ran: Path) -> None:
    state = ran / "state"
    (state / anew.MARK).touch()
    (state / "last-run.json").unlink()
    assert run(ran, "--resume").returncode == 0
    assert (state / "store.log").read_text() == "a\nb\n"
    assert not anew.is_half_done(state)


def test_a_sink_that_cannot_be_emptied_leaves_everything_as_it_is(ran: Path) -> None:
    out = ran / "state" / "store.log"
    held = os.open(out, os.O_RDWR)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        done = run(ran, "--fresh")
    finally:
        os.close(held)
    assert (done.returncode, "another process writes to it" in done.stderr) == (78, True)
    assert not anew.is_half_done(ran / "state")
    assert read_units(ran / "state" / "positions.db")


def test_the_segments_of_a_journal_are_forgotten_and_nothing_else_in_its_folder(ran: Path) -> None:
    folder = ran / "state" / "journal"
    folder.mkdir()
    names = ["000001-0123456789abcdef.log", "1234567-0123456789abcdef.log", "access.log", "000001-mine.log"]
    for name in names:
        (folder / name).touch()
    anew.begin_anew(settings_of(ran).manifest)
    assert sorted(path.name for path in folder.iterdir()) == ["000001-mine.log", "access.log"]


def test_death_records_that_are_none_are_left(ran: Path) -> None:
    path = ran / "state" / deaths.FILE
    path.write_text("my own notes\n")
    anew.begin_anew(settings_of(ran).manifest)
    assert path.read_text() == "my own notes\n"
