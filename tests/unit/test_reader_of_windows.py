"""The reader alone, of an application with event-time windows: what it says in the headers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from actors.reader import LOOK_S, Reader
from actors.runtime.ledger import read_units
from actors.runtime.messages import NO_TIMES, Late, Member, Roll, Span
from actors.runtime.sections import WindowOptions
from tests.stage import RUN, Stage

FIRST = WindowOptions(start="first", disorder_s=0.01)


def test_without_windows_nothing_is_said_about_them(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    stage.source.open_ended = (1, 2)
    stage.source.come("1")
    stage.work()
    (batch,) = stage.batches
    assert (batch.anchor, batch.active, batch.late) == (None, (), ())
    stage.reader.close()


@pytest.mark.parametrize(("start", "anchor"), [("clock", 0), (-7, -7), ("first", None)])
def test_the_header_says_what_windows_are_counted_from(tmp_path: Path, start: Any, anchor: int | None) -> None:
    stage = Stage(tmp_path, windows=WindowOptions(start=start))
    stage.source.come("1")
    stage.work()
    assert stage.batches[0].anchor == anchor
    stage.reader.close()


def test_the_anchor_is_decided_once_for_all_readers_and_runs(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=FIRST)
    stage.source.come("1")
    stage.work()
    stage.again(Span(100, 98, 105))
    assert stage.work() == LOOK_S, "there may be more, and nothing is under way: only the silence is looked at"
    assert stage.reader.wake == 77
    stage.source.come("2")
    stage.work()
    stage.again(Span(102, 95, 110))
    stage.work(1)
    assert [batch.anchor for batch in stage.batches] == [95, 95]
    stage.ledger._connection.close()  # it dies
    for run in (RUN, "later"):
        second = Stage(tmp_path, run=run, windows=FIRST)
        second.source.come("9")
        second.work()
        assert second.batches[0].anchor == 95
        second.reader.close()


def test_a_full_window_a_signal_and_the_end_decide_with_what_there_is(tmp_path: Path) -> None:
    for name, lines, act in (("full", "123", None), ("signal", "12", Reader.drain), ("end", "12", Reader._enough)):
        stage = Stage(tmp_path / name, windows=FIRST)
        stage.source.come(*lines)
        stage.work()
        for _ in lines:
            assert stage.batches[0].anchor is None
            stage.again(Span(100, 99, 101))
        if act is not None:
            stage.work()
            assert stage.batches == []
            act(stage.reader)
        stage.work()
        assert [batch.anchor for batch in stage.batches] == [99] * len(lines)
        stage.reader.close()


def test_an_answer_without_an_anchor_that_comes_after_it_was_decided_is_delivered_at_once(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=FIRST)
    stage.source.come("1", "2")
    stage.work()
    stage.again(Span(100, 98, 200))
    stage.work(1)
    assert [batch.anchor for batch in stage.batches] == [None, 98]
    stage.again(Span(300, 300, 300))
    stage.work(1)
    assert [batch.anchor for batch in stage.batches] == [98, 98]
    stage.reader.close()


def test_a_window_full_of_batches_without_event_times_does_not_wait_for_one(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=FIRST)
    stage.source.come(*"12345")
    for _ in range(5):
        stage.work()
        stage.again(NO_TIMES)
        stage.work()
        stage.batches.insert(0, stage.batches.pop())
        stage.ack()
    stage.work()
    assert read_units(stage.path, RUN)[0].low == 10
    assert stage.ledger.fact("anchor") is None
    stage.reader.close()


def test_what_is_late_for_a_shard_is_said_with_the_next_delivery(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=WindowOptions())
    stage.source.come("1")
    stage.work()
    stage.again(late=(Late(1, 4000, (9,)),))
    stage.work()
    assert [batch.late for batch in stage.batches] == [(Late(1, 4000, (9,)),)]
    stage.reader.close()


def test_that_no_unit_is_active_is_not_said_before_one_was(tmp_path: Path) -> None:
    """A source may have looked at nothing yet, and shards of a state that goes on would wait for nobody."""
    stage = Stage(tmp_path, windows=WindowOptions())
    shard = Member("aggregator.1", 1, "aggregator", "", True)
    stage.post.members[shard.name] = shard

    def said() -> list[tuple[int, ...]]:
        stage.reader.work(stage.now)
        found = [message.active for _, message in stage.post.sent if isinstance(message, Roll)]
        stage.post.sent.clear()
        return found

    assert said() == []
    stage.source.open_ended = (1, 2)
    assert said() == [(1, 2)]
    stage.source.open_ended = ()
    assert said() == [()]
    stage.reader.close()


def test_a_new_set_of_active_units_has_a_new_version(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=WindowOptions())
    stage.source.come("1", unit="a")
    stage.source.open_ended = (1, 5)
    stage.work()
    stage.source.come("2", unit="a")
    stage.work()
    first, second = stage.batches
    assert (first.active, first.roll) == (second.active, second.roll) == ((1, 5), 2**32 + 1)
    stage.source.open_ended = (5,)
    stage.source.come("3", unit="a")
    stage.work()
    assert (stage.batches[2].active, stage.batches[2].roll) == ((1, 5), 2**32 + 1), "not all is applied of 1"
    for _ in range(3):
        stage.ack()
    stage.work()
    stage.source.open_ended = (5, 6)
    stage.source.come("4", unit="b")
    stage.work()
    (batch,) = stage.batches
    assert batch.active == (batch.unit, 5, 6)
    assert batch.roll > 2**32 + 1
    stage.reader.close()


def test_a_unit_that_is_read_ahead_to_its_end_is_waited_for_before_any_of_it_is_issued(tmp_path: Path) -> None:
    """While the first pieces show what a record takes, the source has read all of the other files, and is done."""
    stage = Stage(tmp_path, windows=WindowOptions())
    stage.source.come("1\n2\n3\n4\n5", unit="a")
    stage.source.come("6", unit="b")
    stage.source.open_ended = (1, 2)
    stage.work(1)
    assert not stage.source.lines, "all is read"
    stage.source.open_ended = ()
    stage.work()
    (first,) = stage.batches
    assert (first.unit, first.lines) == (1, 1)
    stage.ack()
    stage.work(3)
    assert {(batch.unit, batch.active) for batch in stage.batches} == {(1, (1, 2))}
    stage.reader.close()
