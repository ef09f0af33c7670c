"""The board: what actors and the supervisor write in shared memory is what anybody reads."""

from __future__ import annotations

import os
import stat
import struct
import time
from contextlib import suppress
from pathlib import Path

import pytest

from actors.runtime.board import SIGN_S, Slot, SupervisorBoard, create_board, read_views
from actors.runtime.events import ActorView, LastWords
from actors.runtime.marks import NO_MARK, Mark
from actors.runtime.messages import NOTHING
from actors.runtime.rundir import stack_file
from tests.loads import WATCHDOG_S

NAMES = ("reader.1", "parser.1", "writer.idfa")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "board"
    create_board(path, NAMES)
    return path


def view(path: Path, name: str = "parser.1") -> ActorView:
    (found,) = [each for each in read_views(path) if each.actor == name]
    return found


def said(path: Path, state: str, generation: int, name: str = "parser.1") -> None:
    board = SupervisorBoard(path)
    board.say(name, state, generation)
    board.close()


def test_a_new_board_has_a_slot_for_everyone_with_nothing_in_it(path: Path) -> None:
    views = read_views(path)
    assert [each.actor for each in views] == list(NAMES)
    assert {(each.pid, each.batches, each.phase) for each in views} == {(0, 0, "")}
    assert {(each.phase_s, each.heartbeat_s) for each in views} == {(0, 0)}


def test_a_board_is_private_and_appears_whole(path: Path) -> None:
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in path.parent.iterdir()] == ["board"]


def test_what_an_actor_writes_is_what_is_read(path: Path) -> None:
    said(path, "READY", 3)
    slot = Slot(path, "parser.1", 3)
    slot.batches, slot.records, slot.bytes_done, slot.bytes_total, slot.open = 5, 2**40, 2**41, 2**42, 64
    slot.note = "memcached 127.0.0.1:1: connection refused"
    slot.record_s, slot.batch_records = 0.02, 10
    slot.down_since = time.monotonic() - 7
    slot.phase("WORK")
    found = view(path)
    assert (found.pid, found.generation, found.state, found.phase) == (os.getpid(), 3, "BUSY", "WORK")
    assert (found.batches, found.records, found.bytes_done, found.bytes_total, found.open) == (
        5, 2**40, 2**41, 2**42, 64)
    assert found.note == slot.note
    assert 7 <= found.down_s < 7 + WATCHDOG_S
    assert (found.record_s, found.batch_records) == (0.02, 10)
    assert 1 << 20 < found.rss_bytes < 1 << 40
    assert 0.0 <= found.phase_s < 60.0


def test_an_actor_that_is_never_idle_is_seen_to_get_on(path: Path) -> None:
    slot = Slot(path, "writer.idfa", 1)
    slot.phase("WRITE")
    slot.batches = 7
    slot.phase("WRITE")
    assert view(path, "writer.idfa").batches == 7


def test_actors_do_not_touch_one_anothers_slots(path: Path) -> None:
    before = [view(path, "reader.1"), view(path, "writer.idfa")]
    slot = Slot(path, "parser.1", 1)
    slot.note = "x" * 500
    slot.phase("WORK")
    assert [view(path, "reader.1"), view(path, "writer.idfa")] == before


@pytest.mark.parametrize(("phase", "state"), [
    ("BOOT", "STARTING"), ("IDLE", "READY"), ("WORK", "BUSY"), ("WRITE", "BUSY"), ("WAIT_CREDIT", "READY"),
    ("RETRY", "READY"),
])
def test_a_ready_actor_is_in_the_state_that_its_phase_means(path: Path, phase: str, state: str) -> None:
    said(path, "READY", 1)
    Slot(path, "parser.1", 1).phase(phase)
    assert view(path).state == state


@pytest.mark.parametrize("word", ["STARTING", "BACKOFF", "DRAINING", "FATAL", "STOPPED"])
def test_the_supervisors_word_goes_before_the_actors(path: Path, word: str) -> None:
    Slot(path, "parser.1", 1).phase("WORK")
    said(path, word, 1)
    assert view(path).state == word


def test_what_a_dead_generation_wrote_is_not_taken_for_the_new_ones(path: Path) -> None:
    Slot(path, "parser.1", 1).phase("WORK")
    said(path, "READY", 2)
    found = view(path)
    assert (found.generation, found.pid, found.state) == (2, 0, "READY")


def test_of_a_death_it_is_known_what_was_marked_and_what_was_done_just_before(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    for start in range(0, 200, 10):
        slot.take(("p", start, start + 10))
        slot.take(NOTHING)
    slot.take(("p", 200, 210))
    slot.mark(Mark(201, 203, 205, alone=True))
    board = SupervisorBoard(path)
    mark, near = board.marks("parser.1")
    assert mark == Mark(201, 203, 205, alone=True)
    assert near == tuple(("p", start, start + 10) for start in range(190, 30, -10)), "the last sixteen"
    Slot(path, "parser.1", 2)
    assert board.marks("parser.1") == (NO_MARK, ()), "the next generation has done nothing"
    board.close()


def test_who_dies_before_it_comes_to_its_slot_has_not_done_what_the_one_before_it_did(path: Path) -> None:
    board = SupervisorBoard(path)
    board.say("parser.1", "READY", 1)
    slot = Slot(path, "parser.1", 1)
    slot.batches = 7
    slot.take(("p", 0, 10))
    slot.take(NOTHING)
    stack_file(path.parent, "parser.1", 1).write_bytes(b"in trouble")
    assert board.last_words(path.parent, "parser.1") == LastWords(
        "BOOT", NOTHING, "in trouble", batches=7, near=(("p", 0, 10),))
    board.say("parser.1", "STARTING", 2)
    stack_file(path.parent, "parser.1", 2).write_bytes(b"at its start")
    assert board.last_words(path.parent, "parser.1") == LastWords(stack="at its start")
    assert board.last_words(path.parent, "nobody") == LastWords()
    board.close()


def test_time_is_counted_by_what_it_was_spent_on(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    slot.phase("WORK")
    slot.phase("WAIT_CREDIT")
    busy = slot.busy_s
    slot.phase("IDLE")
    slot.phase("RETRY")
    assert busy == slot.busy_s == view(path).busy_s > 0.0
    assert slot.starved_s == view(path).starved_s > 0.0


def test_working_shows_a_phase_and_then_what_was_shown_before_also_after_an_error(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    slot.phase("IDLE")
    with suppress(KeyError), slot.working("WRITE"):
        assert view(path).phase == "WRITE"
        raise KeyError
    assert view(path).phase == "IDLE"


def test_a_long_note_is_cut_also_in_the_middle_of_a_character(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    slot.note = "ä" * 79 + "xä" * 10
    slot.phase("WORK")
    assert view(path).note.startswith("ä" * 79 + "x")


def test_a_note_with_a_name_that_is_not_unicode_can_be_shown(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    slot.note = os.fsdecode(b"/data/\xff.db: disk is full")
    slot.phase("RETRY")
    assert "disk is full" in view(path).note


def test_the_heartbeat_is_seen(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    assert slot._beat_at - slot._at > 0
    struct.Struct("<d").pack_into(slot._file.map, slot._beat_at, slot._since)
    assert view(path).heartbeat_s > 0.0


def test_a_slot_whose_owner_died_while_writing_can_still_be_read(path: Path) -> None:
    slot = Slot(path, "parser.1", 1)
    slot.batches = 7
    slot.phase("WORK")
    struct.Struct("<Q").pack_into(slot._file.map, slot._at, slot._sequence + 1)
    assert view(path).batches == 7


def test_an_actor_that_is_not_on_the_board_is_an_error(path: Path) -> None:
    with pytest.raises(KeyError):
        Slot(path, "parser.9", 1)


@pytest.mark.parametrize("name", ["writer." + "x" * 41, "writer." + "x" * 60, "writer.ä" + "x" * 39])
def test_an_actor_with_a_long_name_has_a_slot(tmp_path: Path, name: str) -> None:
    path = tmp_path / "board"
    create_board(path, [name])
    Slot(path, name, 1).phase("WORK")
    assert [each.actor for each in read_views(path)] == [name]


@pytest.mark.parametrize("content", [b"x" * 1000, b"THRESHB1", b"THRESHB1\x05\x00\x00\x00" + bytes(52)],
                         ids=["other", "short", "cut"])
def test_what_is_not_a_board_is_one_kind_of_error(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "board"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_views(path)


def test_no_board_is_an_error_of_the_system(tmp_path: Path) -> None:
    with pytest.raises(OSError):
        read_views(tmp_path / "board")


def test_of_many_signs_of_progress_few_are_written_and_the_next_look_sees_that_there_were_some(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slot = Slot(path, "parser.1", 1)
    clock = [1000.0]
    monkeypatch.setattr("actors.runtime.board.time.monotonic", lambda: clock[0])
    seen = []
    for _ in range(1000):
        clock[0] += 0.001
        slot.progress()
        seen.append(view(path).signs)
    assert seen[-1] > 900
    assert len(set(seen)) <= 2 + 1000 * 0.001 / SIGN_S
