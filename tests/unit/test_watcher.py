"""What is made of the event log of a run, and of a run directory that another run has taken over."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from actors.console.progress import QuietObserver
from actors.runtime import eventlog
from actors.runtime.board import SupervisorBoard, create_board
from actors.runtime.eventlog import FILE, Log
from actors.runtime.events import ActorDied, Draining, Event, Reloaded
from actors.runtime.rundir import BOARD, MANIFEST, RunDirectory
from actors.telemetry.watcher import HAPPENINGS, Watcher
from tests.looks import manifest

NAMES = ("writer.dead_letters", "writer.a", "parser.1", "parser.2", "reader.1")


@pytest.fixture
def run(tmp_path: Path) -> Iterator[RunDirectory]:
    """A run directory without a run in it, held as if there were one."""
    directory = RunDirectory(tmp_path / "state")
    msgspec.structs.replace(manifest(), state=str(tmp_path / "state")).save(directory.path / MANIFEST)
    create_board(directory.path / BOARD, NAMES)
    board = SupervisorBoard(directory.path / BOARD)
    board.beat("running", 1000.0)
    board.close()
    yield directory
    directory.close()


def died(actor: str, how: str, cause: str = "worker_died", restart_s: float | None = 0.0) -> ActorDied:
    return ActorDied(actor, 1, how, "WORK", restart_s, cause)


def test_deaths_are_counted_by_cause_and_restarts_by_actor(run: RunDirectory) -> None:
    log, watcher = Log(run.path, QuietObserver()), Watcher(run.path)
    log.event(died("parser.1", "signal SIGKILL"))
    log.event(died("parser.1", "no progress for 15 s", "timeout"))
    assert watcher.status().snapshot.deaths == {"signal SIGKILL": 1, "timeout": 1}
    log.event(died("parser.2", "exit code 1"))
    log.event(died("reader.1", "exit code 1", restart_s=None))
    seen = watcher.status().snapshot
    assert seen.deaths == {"signal SIGKILL": 1, "timeout": 1, "exit code 1": 2}
    assert {each.view.actor: each.restarts for each in seen.actors} == {
        "writer.dead_letters": 0, "writer.a": 0, "parser.1": 2, "parser.2": 1, "reader.1": 0}
    watcher.close()


def test_the_last_happenings_are_remembered_with_all_that_is_known_of_them(run: RunDirectory) -> None:
    log, watcher = Log(run.path, QuietObserver()), Watcher(run.path)
    for number in range(HAPPENINGS + 5):
        log.event(Draining(f"reason {number}"))
    happenings = watcher.status().snapshot.happenings
    assert len(happenings) == HAPPENINGS
    assert (happenings[-1].kind, happenings[-1].text, happenings[-1].fields["reason"]) == (
        "draining", f"draining: reason {HAPPENINGS + 4}", f"reason {HAPPENINGS + 4}")
    assert happenings[-1].at == pytest.approx(watcher.status().snapshot.at, abs=60)
    watcher.close()


def test_another_run_in_the_same_place_is_not_taken_for_the_one_that_was_watched(run: RunDirectory) -> None:
    watcher = Watcher(run.path)
    watcher.status()
    state = str(run.path.parent)
    msgspec.structs.replace(manifest(), run="another", state=state).save(run.path / MANIFEST)
    with pytest.raises(OSError, match="the run run has ended"):
        watcher.status()
    watcher.close()


def test_a_run_directory_without_a_manifest_that_can_be_read_is_none(run: RunDirectory) -> None:
    (run.path / MANIFEST).write_bytes(b"{")
    with pytest.raises(ValueError):
        Watcher(run.path)
    (run.path / MANIFEST).unlink()
    with pytest.raises(OSError):
        Watcher(run.path)


def test_rates_are_those_of_the_last_seconds(run: RunDirectory) -> None:
    watcher = Watcher(run.path, 0.05)
    assert watcher.status().flow.seconds == 0.0
    rates = (watcher.status().flow.seconds for _ in range(10**5))
    looks = list(itertools.takewhile(lambda seconds: seconds < 0.05, rates))
    assert len(looks) < 10**5
    assert looks == sorted(looks), "until there are looks that are old enough rates are those since the first"
    watcher.close()


def test_an_event_that_cannot_be_written_down_is_told_all_the_same(run: RunDirectory) -> None:
    told: list[Event] = []

    class Hearing(QuietObserver):
        def event(self, event: Event) -> None:
            told.append(event)

    log, watcher = Log(run.path, Hearing()), Watcher(run.path)
    events = [Reloaded("SIGHUP", False, "pipe\udcff.toml: not there"), Draining("after it")]
    for event in events:
        log.event(event)
    assert told == events
    assert [each.kind for each in watcher.status().snapshot.happenings] == ["draining"]
    watcher.close()


def test_an_event_that_was_half_written_spoils_no_other(run: RunDirectory) -> None:
    log, watcher = Log(run.path, QuietObserver()), Watcher(run.path)
    log.event(Draining("before"))
    with (run.path / FILE).open("ab") as file:
        file.write(b'{"at": 1.0, "ev')  # the disk was full
    log.event(Draining("after"))
    assert [each.fields["reason"] for each in watcher.status().snapshot.happenings] == ["before", "after"]
    watcher.close()


def test_a_log_that_has_grown_long_begins_anew_and_its_reader_with_it(
        run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(eventlog, "_MAX_BYTES", 400)
    log, follower = Log(run.path, QuietObserver()), eventlog.Follower(run.path)
    seen: list[str] = []
    for number in range(30):
        log.event(Draining(f"{number}"))
        seen += [happened.event.text() for happened in follower.new()]
        assert (run.path / FILE).stat().st_size < 500
    assert seen == [Draining(f"{number}").text() for number in range(30)]
