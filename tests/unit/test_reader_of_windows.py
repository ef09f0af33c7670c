"""The reader alone, of an application with event-time windows: what it says in the headers."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import pytest

from actors.reader import LOOK_S, Reader
from actors.runtime.heads import FIRST_BYTES
from actors.runtime.ledger import read_units
from actors.runtime.messages import NO_TIMES, Late, Member, Roll, Span, Suspect
from actors.runtime.sections import WindowOptions
from actors.runtime.units import read_fact
from actors.runtime.values import Chunk
from tests.stage import RUN, Stage, Taps

FIRST = WindowOptions(start="first", disorder_s=0.01)


class Glanced(Taps):
    """Two files that are there at first: how they begin can be looked at."""

    def first_look(self) -> tuple[int, ...]:
        for name in "ab":
            unit = self._ledger.begin(name, "", True)
            self.at[name] = unit, unit.low
        return 1, 2

    def glance(self, unit: int, most_bytes: int) -> tuple[Chunk | None, bool]:
        line = b"%d of %d\n" % (most_bytes, unit)
        return Chunk(unit, "ab"[unit - 1], 0, len(line), 0, 1, line, lines=1), most_bytes > FIRST_BYTES


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


def test_how_files_begin_is_asked_before_anything_is_read_and_nothing_comes_of_it(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=FIRST, source=Glanced)
    stage.source.come("1", unit="a")
    stage.work()
    assert [(batch.unit, batch.anchor) for batch in stage.batches] == [(1, None), (2, None)]
    stage.again(Span(100, 100, 105))
    assert len(stage.source.lines) == 1
    stage.again(Span(95, 93, 99))
    stage.work()
    assert [(batch.unit, batch.anchor) for batch in stage.batches] == [(1, None), (2, None)], "either may have an older"
    stage.again(Span(100, 91, 110))
    stage.again(Span(95, 92, 120))
    stage.work()
    assert [(batch.unit, batch.start, batch.anchor) for batch in stage.batches] == [(1, 0, 91)]
    stage.ack()
    stage.work()
    assert (read_units(stage.path, RUN)[0].low, stage.ledger.fact("anchor")) == (2, "91")
    stage.reader.close()


def test_of_files_that_go_on_a_record_is_waited_for_that_is_young_enough_or_their_silence(tmp_path: Path) -> None:
    for silence, anchor in ((False, 90), (True, 91)):
        stage = Stage(tmp_path / str(silence), windows=FIRST, source=Glanced)
        stage.source.come("1", unit="a")
        stage.source.open_ended = (1, 2)
        stage.work()
        for span in (Span(100, 91, 105), Span(200, 200, 200)):
            stage.again(span)
        stage.work()
        stage.again(Span(100, 91, 105))  # more of the first; the second is too young to matter
        stage.work()
        stage.again(Span(100, 91, 105))
        stage.work()
        assert stage.batches == []
        if silence:
            stage.source.open_ended = ()
        else:
            stage.source.come("2", unit="a")
            stage.work()
            stage.again(Span(90, 90, 120))
        stage.work()
        assert {batch.anchor for batch in stage.batches} == {anchor}
        stage.reader.close()


def test_a_beginning_that_kills_three_times_says_nothing_and_a_signal_ends_the_asking(tmp_path: Path) -> None:
    stage = Stage(tmp_path, windows=FIRST, source=Glanced)
    stage.source.come("1", unit="a")
    stage.work()
    deadly, good = stage.batches
    for number in range(3):
        assert stage.ledger.is_flushed()
        stage.reader.message("supervisor", Suspect(*deadly.id, "worker_died", f"death {number}"), [])
    stage.batches = [good]
    stage.again(Span(95, 93, 120))
    stage.work()
    assert [(batch.unit, batch.anchor) for batch in stage.batches] == [(1, 93)]
    stage.reader.close()
    stage = Stage(tmp_path, run="another", windows=FIRST, source=Glanced)
    assert stage.ledger.fact("anchor") == "93"
    stage.ledger.keep("anchor", "93")
    stage.reader.close()
    stage = Stage(tmp_path / "stopped", windows=FIRST, source=Glanced)
    stage.work()
    stage.source.exhausted = True
    stage.reader.drain()
    for _ in range(2):
        stage.again(Span(1, 1, 1))
    stage.work()
    assert stage.end is not None
    assert stage.ledger.fact("anchor") is None, "the next run looks at all of them"
    stage.reader.close()


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


def test_that_all_are_silent_is_in_the_ledger_before_it_is_said_and_is_said_by_a_run_that_finds_them_so(
    tmp_path: Path
) -> None:
    for silences in (1, 2):
        stage = Stage(tmp_path, run=f"run-{silences}", windows=WindowOptions())
        shard = Member("aggregator.1", 1, "aggregator", "", True)
        stage.post.members[shard.name] = shard
        stage.reader.work(stage.now)
        assert not stage.post.sent, "it has not looked"
        stage.source.has_looked = True
        stage.reader.work(stage.now)
        (said,) = [message for _, message in stage.post.sent if isinstance(message, Roll)]
        assert (said.active, said.silences) == ((), silences)
        assert read_fact(stage.path, "silences") == str(silences)
        stage.post.sent.clear()
        stage.source.come("1")
        stage.source.open_ended = (1,)
        stage.work()
        (batch,) = stage.batches
        assert batch.silences == silences
        stage.ack()
        stage.work()
        stage.reader.close()


def test_a_disk_that_is_full_keeps_a_reader_from_saying_that_all_are_silent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(tmp_path, windows=WindowOptions())
    shard = Member("aggregator.1", 1, "aggregator", "", True)
    stage.post.members[shard.name] = shard
    stage.source.has_looked = True

    def fails() -> None:
        raise sqlite3.OperationalError("database or disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(stage.ledger, "flush", fails)
        stage.reader.work(stage.now)
        stage.reader.roster([shard], [])
        assert not [message for _, message in stage.post.sent if isinstance(message, Roll)]
    stage.now += 60
    stage.reader.work(stage.now)
    assert [message.silences for _, message in stage.post.sent if isinstance(message, Roll)] == [1]
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
