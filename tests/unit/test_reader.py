"""The reader alone: sources without end, what ends the input, and what wakes it up."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from actors.reader import ASKED, POLL_S, TURN_BYTES
from actors.runtime.ledger import read_units
from actors.runtime.mailbox import SUPERVISOR
from actors.runtime.marks import CONSUMER, Mark
from actors.runtime.messages import Again, Credit, Hold, InputDone, Member, Outage, Span, Suspect
from actors.runtime.sections import WindowOptions
from actors.runtime.sizing import LEARNT
from actors.runtime.units import read_fact
from tests.stage import RUN, WORKER, Stage


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    made = Stage(tmp_path)
    yield made
    made.reader.close()


def test_a_source_that_can_wake_the_reader_is_waited_for_and_not_asked_every_so_often(stage: Stage) -> None:
    assert stage.work() is None
    assert stage.reader.wake == 77
    stage.source.wake = None
    assert stage.work() == POLL_S
    assert stage.reader.wake is None


def test_with_a_full_window_nobody_waits_for_the_source(stage: Stage) -> None:
    stage.source.come("1", "2", "3", "4")
    stage.work()
    assert stage.reader.wake is None
    assert len(stage.batches) == 3
    stage.ack()
    stage.work()
    assert [batch.start for batch in stage.batches] == [2, 4, 6]
    stage.ack()
    stage.work()
    assert stage.reader.wake == 77, "there is room again"


@pytest.mark.parametrize(("busy", "recorded"), [(True, [1, 3]), (False, [1, 2, 3])])
def test_what_is_read_while_no_worker_takes_more_is_recorded_in_one_commit(
    stage: Stage, busy: bool, recorded: list[int]
) -> None:
    stage.reader.message(SUPERVISOR, Hold(WORKER, busy), [])
    stage.source.come(*(TURN_BYTES * letter for letter in "abc"))
    for ranges in recorded:
        stage.work(1)
        with closing(sqlite3.connect(stage.path)) as connection:
            assert connection.execute("SELECT count(*) FROM issued").fetchone() == (ranges,)


def test_when_nothing_is_left_a_signal_is_the_end_of_an_endless_source(stage: Stage) -> None:
    stage.source.come("1", "2")
    stage.work()
    stage.source.come("3")
    stage.reader.drain()
    assert stage.source.stopped == 1
    stage.work()
    assert stage.end is None, "what was accepted is loaded first"
    for _ in range(3):
        stage.ack()
    for _ in range(2):  # it may be woken again, while others come to their end: then it is at work with nothing
        stage.work()
        assert stage.post.slot.now_in == "DRAINED"
    assert stage.post.told[-1] == InputDone(False)
    (unit,) = read_units(stage.path, RUN)
    assert (unit.low, unit.end, unit.status) == (6, None, "reading")


def test_more_than_a_window_is_left_for_the_next_run(stage: Stage) -> None:
    stage.source.come(*"123456789")
    stage.work()
    stage.reader.drain()
    for _ in range(7):
        if stage.batches:
            stage.ack()
        stage.work()
    assert stage.end == InputDone(True)
    (unit,) = read_units(stage.path, RUN)
    assert unit.low == 2 * (3 + 3), "what was open, and a window after the signal"


def test_what_was_read_and_not_issued_is_loaded_after_a_signal(stage: Stage) -> None:
    stage.source.come("1", "2", "3", "4")
    stage.work()
    stage.ack()
    stage.work(1)
    stage.reader.drain()
    for _ in range(3):
        stage.ack()
    stage.work()
    assert stage.end == InputDone(False)
    assert read_units(stage.path, RUN)[0].low == 8


def test_a_stopped_source_is_not_waited_for_by_its_descriptor_which_may_be_closed(stage: Stage) -> None:
    stage.source.come("1")
    stage.work()
    stage.reader.drain()
    stage.source.exhausted = False
    assert stage.reader.work(stage.now) is not None
    assert stage.reader.wake is None


def test_a_unit_without_end_does_not_hold_back_others_that_end(stage: Stage) -> None:
    stage.source.come("1", unit="open")
    stage.source.come("2", unit="ends")
    stage.work()
    stage.source.end("ends")
    stage.ack()
    stage.ack()
    stage.work()
    assert stage.source.put_away == [("ends", "done")]


def test_a_batch_that_is_not_acknowledged_holds_back_its_own_unit_alone(stage: Stage) -> None:
    stage.source.come("1", unit="slow")
    stage.source.come("2", unit="fast")
    stage.work()
    stage.source.end("slow")
    stage.source.end("fast")
    slow = stage.batches.pop(0)
    stage.ack()
    stage.work()
    assert stage.source.put_away == [("fast", "done")]
    stage.batches.append(slow)
    stage.ack()
    stage.work()
    assert stage.source.put_away == [("fast", "done"), ("slow", "done")]


def test_the_source_is_told_of_a_unit_over_its_budget(stage: Stage) -> None:
    stage.source.come("1", unit="bad")
    stage.work()
    stage.source.end("bad")
    stage.ack(read=1, dead_lettered=1)
    stage.work()
    assert stage.source.put_away == [("bad", "failed")]
    assert [unit.status for unit in read_units(stage.path, RUN)] == ["failed"]


def test_a_source_that_cannot_be_read_now_is_tried_again(stage: Stage) -> None:
    stage.source.come("1")
    stage.source.problem = "the journal's disk is full"
    stage.reader.work(0.0)
    assert (stage.post.slot.now_in, stage.reader.wake) == ("RETRY", None)
    assert stage.post.told == [Outage("the journal's disk is full", 0.0)]
    stage.source.problem = ""
    stage.now = 100.0
    stage.work()
    assert len(stage.batches) == 1


def test_a_source_that_is_down_when_the_run_is_stopped_is_not_said_to_work_again(stage: Stage) -> None:
    stage.source.problem = "no server"
    stage.reader.work(0.0)
    stage.reader.drain()
    stage.source.problem = ""  # nothing more is asked of it
    stage.work()
    assert stage.end == InputDone(False)
    assert [told for told in stage.post.told if isinstance(told, Outage)] == [Outage("no server", 0.0)]


def test_an_application_that_has_enough_ends_the_input_once_and_what_was_accepted_is_loaded(stage: Stage) -> None:
    stage.source.come(*"123456789")
    stage.work()
    stage.ack()
    first = stage.batches.pop(0)
    stage.ack(read=1, filtered=1, finish=1)
    assert stage.source.stopped == 1, "at once, though the batch before it is open"
    stage.batches.insert(0, first)
    while stage.end is None:
        stage.work(2)
        if stage.batches:
            stage.ack()
    assert stage.end == InputDone(False, reason=ASKED)
    assert stage.source.stopped == 1
    (unit,) = read_units(stage.path, RUN)
    assert (unit.low, unit.counts) == (18, {"read": 9, "written": 8, "filtered": 1})


def test_a_reader_that_comes_after_one_that_was_told_to_finish_finishes(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.source.come("1")
    stage.work()
    stage.ack(read=1, filtered=1, finish=1)
    stage.work()
    stage.ledger._connection.close()
    second = Stage(tmp_path)
    second.work()
    assert second.source.stopped == 1
    assert second.end == InputDone(False, reason=ASKED)
    second.reader.close()
    another_run = Stage(tmp_path, run="later")
    another_run.work()
    assert (another_run.source.stopped, another_run.end) == (0, None)
    another_run.reader.close()


def sizes(stage: Stage) -> list[int]:
    """Records of the batches under way; all are taken to be acknowledged, and worked off in no time."""
    found = []
    while stage.batches:
        batch = stage.batches[0]
        found.append(batch.lines)
        stage.ack(read=batch.lines, written=batch.lines)
    return found


def worked_off(stage: Stage, batches: int, records: int, seconds: float) -> None:
    stage.reader.message(WORKER, Credit(0, batches, seconds, records, seconds), [])


def test_of_records_that_take_long_a_batch_has_few_and_before_that_is_known_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, window=100)
    stage.source.come("\n".join(map(str, range(200))))
    stage.work()
    assert sizes(stage) == [1], "one for a worker that has nothing in hand"
    worked_off(stage, 1, 1, 0.02)
    stage.work()
    assert sizes(stage) == [4], "not more than four times as many as were worked off"
    worked_off(stage, 1, 4, 0.08)
    stage.work()
    assert sizes(stage) == [10], "a fifth of a second"
    assert stage.post.slot.queued == 1, "and one more for when that is done"
    assert stage.post.slot.record_s == pytest.approx(0.02, rel=0.02)
    assert stage.post.slot.batch_records == 10
    stage.reader.close()


def test_quick_records_are_issued_by_the_chunk_as_far_ahead_as_the_window_goes(tmp_path: Path) -> None:
    stage = Stage(tmp_path, window=5)
    worked_off(stage, 1, 10_000, 0.01)
    stage.source.come(*["\n".join(map(str, range(200)))] * 9)
    stage.work()
    assert sizes(stage) == [200] * 5
    stage.reader.close()


def test_what_an_earlier_reader_had_issued_is_not_cut_again_and_what_is_behind_it_is(tmp_path: Path) -> None:
    text = "\n".join(map(str, range(50)))
    first = Stage(tmp_path)
    worked_off(first, 1, 10_000, 0.01)
    first.source.come(text)
    first.work()
    issued = [(batch.start, batch.end) for batch in first.batches]
    assert issued == [(0, 140)]
    first.ledger._connection.close()
    second = Stage(tmp_path)
    worked_off(second, 10, 10, 10.0)
    second.source.come(text, text)
    second.work()
    assert [(batch.start, batch.end) for batch in second.batches] == [(0, 140), (140, 142)]
    second.reader.close()


def test_what_was_read_and_waits_to_be_cut_is_left_for_the_next_run_when_this_one_gives_up(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.source.endless = False
    stage.source.come("1\n2\n3\n4")
    stage.work()
    stage.reader.drain()
    assert sizes(stage) == [1]
    stage.work()
    assert stage.end == InputDone(True)
    assert read_units(stage.path, RUN)[0].low == 2
    stage.reader.close()


def test_a_batch_that_is_given_back_is_delivered_in_pieces_and_never_whole_again(tmp_path: Path) -> None:
    text = "\n".join(f"{number:03}" for number in range(100))
    stage = Stage(tmp_path, window=200)
    worked_off(stage, 1, 10_000, 0.01)
    stage.source.come(text)
    stage.work()
    (whole,) = stage.batches
    assert whole.give_back_s == pytest.approx(1.0)
    worked_off(stage, 1, 0, 1.0)
    stage.reader.message(WORKER, Again(*whole.id, whole.epoch, too_long=(50, 1.0)), [])
    stage.reader.message(WORKER, Again(*whole.id, whole.epoch, too_long=(50, 1.0)), [])
    with closing(sqlite3.connect(stage.path)) as connection:
        assert connection.execute("SELECT count(*) FROM issued").fetchone() == (1,)
    stage.batches.clear()
    for _ in range(10):
        stage.work()
        worked_off(stage, 1, 10, 0.2)
    assert [(batch.start, batch.end) for batch in stage.batches] == [(at, at + 40) for at in range(0, 400, 40)]
    stage.ledger.commit()
    stage.ledger._connection.close()
    second = Stage(tmp_path)
    (unit,) = read_units(stage.path, RUN)
    assert second.ledger.boundaries(unit) == [(at, at + 40) for at in range(0, 400, 40)]
    second.reader.close()


@pytest.mark.parametrize("text", ["1", "1\n2"])
def test_what_cannot_be_cut_is_delivered_whole_to_who_gives_it_back(tmp_path: Path, text: str) -> None:
    stage = Stage(tmp_path)
    worked_off(stage, 1, 10_000, 0.01)
    stage.source.come(text)
    stage.work()
    (whole,) = stage.batches
    stage.batches.clear()
    worked_off(stage, 1, 0, 1.0)
    stage.reader.message(WORKER, Again(*whole.id, whole.epoch, too_long=(1, 1.0)), [])
    stage.work()
    worked_off(stage, 1, 1, 1.0)
    stage.work()
    assert len(stage.batches) == len(text.split())
    stage.reader.close()


def test_as_long_as_windows_have_no_anchor_nothing_is_cut_or_given_back(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=WindowOptions(start="first", disorder_s=0.0))
    stage.source.come("1\n2\n3", "4\n5\n6")
    stage.work(1)
    assert [(batch.lines, batch.give_back_s) for batch in stage.batches] == [(3, 0.0), (3, 0.0)]
    stage.again(Span(1, 1, 3))
    stage.again(Span(4, 4, 6))
    stage.work(1)
    stage.source.come("7\n8\n9")
    worked_off(stage, 4, 0, 0.0)
    stage.work()
    assert all(batch.anchor == 1 for batch in stage.batches)
    assert [batch.lines for batch in stage.batches][-1] == 1
    assert stage.batches[-1].give_back_s > 0
    stage.reader.close()


def test_a_letter_that_is_retried_is_one_batch(tmp_path: Path) -> None:
    stage = Stage(tmp_path, run="retry-1")
    stage.source.come("1\n2\n3")
    stage.work()
    assert [(batch.lines, batch.give_back_s) for batch in stage.batches] == [(3, 0.0)]
    stage.reader.close()


def test_what_was_learnt_is_kept_for_explain_at_the_end_of_the_run(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.source.come("1")
    stage.work()
    worked_off(stage, 1, 1, 0.5)
    stage.ack()
    stage.reader.drain()
    stage.work()
    stage.reader.close()
    assert read_fact(stage.path, LEARNT) == "0.5 1"
    assert read_fact(stage.path, "another") is None
    assert read_fact(tmp_path / "none.db", LEARNT) is None


@pytest.mark.parametrize(("emits", "epochs"), [((), 1), (("a",), 0)])
def test_only_destinations_of_the_reader_begin_a_new_epoch(tmp_path: Path, emits: tuple[str, ...], epochs: int) -> None:
    stage = Stage(tmp_path, emits=emits)
    stage.source.come("1")
    stage.work()
    (before,) = stage.batches
    old, new = (Member("writer.a", generation, "writer", "", True) for generation in (1, 2))
    stage.reader.roster([new], [old])
    stage.work()
    assert stage.batches[-1].epoch == before.epoch + epochs
    assert len(stage.batches) == 1 + epochs
    stage.reader.close()


def test_the_board_shows_what_is_not_given_yet_what_would_be_taken_and_since_when_the_oldest_is_open(
    stage: Stage
) -> None:
    slot = stage.post.slot
    stage.source.come("1", "2", "3", "4")
    stage.reader.message(SUPERVISOR, Hold(WORKER, True), [])
    stage.now = 50.0
    stage.work(10)
    assert (slot.open, slot.queued, slot.credit, slot.waiting_since) == (3, 3, 0, 50.0)
    stage.reader.message(SUPERVISOR, Hold(WORKER, False), [])
    stage.work(1)
    assert (slot.queued, slot.credit, slot.waiting_since) == (0, 97, 50.0)
    stage.ack()
    stage.work(10)
    assert (slot.open, slot.waiting_since) == (3, 50.0), "all three were issued in one turn"
    assert slot.times == [pytest.approx(1.1)]  # from being issued to being closed
    for _ in range(3):
        stage.ack()
    stage.work(10)
    assert (slot.open, slot.waiting_since, len(slot.times)) == (0, 0.0, 4)


@pytest.mark.parametrize(("stage_of_dead", "survivor", "ends"), [
    (CONSUMER, None, True), (CONSUMER, 5, False), ("parser", None, False)])
def test_a_consumer_that_dies_of_one_record_behind_the_other_ends_the_run_for_it_is_not_them(
    stage: Stage, stage_of_dead: str, survivor: int | None, ends: bool
) -> None:
    stage.post.slot.records = 1000
    stage.source.come(*"abcdefghijk")
    for number in range(11):
        stage.work()
        start, end = stage.batches[0].start, stage.batches[0].end
        for _ in range(3 if number != survivor else 0):
            stage.reader.message(SUPERVISOR, Suspect(
                stage.batches[0].partition, start, end, "timeout", "writer.a: hung", Mark(start, start, end, True),
                stage_of_dead), [])
        assert (stage.end is not None) == (ends and number == 10)
        stage.work()
        newest = max(index for index, batch in enumerate(stage.batches) if batch.start == start)
        assert bool(stage.batches[newest].fault) == (number != survivor) or stage.end is not None
        stage.batches = [stage.batches[newest], *(batch for batch in stage.batches if batch.start > start)]
        stage.ack()
