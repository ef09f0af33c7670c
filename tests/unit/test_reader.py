"""The reader alone: sources without end, what ends the input, and what wakes it up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from actors.reader import ASKED, POLL_S, Reader
from actors.runtime.errors import Retryable
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.manifest import Component, Manifest
from actors.runtime.messages import (
    NO_TIMES,
    Ack,
    Again,
    Batch,
    Credit,
    InputDone,
    Member,
    Message,
    Outage,
    Span,
)
from actors.runtime.pipeline import BudgetOptions, FlowOptions, WindowOptions
from actors.runtime.ports import Chunk, Source, Unit
from actors.testing import MemorySink, UnorderedMemorySink
from tests.outbox import Outbox

RUN = "run"
WORKER = "parser.1#1"
DESTINATIONS = ("writer.dead_letters", "writer.a")


class Taps(Source):
    """Lines that come in when the test says so; each name is a unit of its own, from which line after line is read."""

    endless = True

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.exhausted = False
        self.wake: int | None = 77
        self.lines: deque[tuple[str, bytes]] = deque()
        self.at: dict[str, tuple[Unit, int]] = {}
        self.stopped = 0
        self.open_ended: tuple[int, ...] = ()
        self.put_away: list[tuple[str, str]] = []
        self.problem = ""

    def come(self, *lines: str, unit: str = "a") -> None:
        self.lines += [(unit, f"{line}\n".encode()) for line in lines]

    def end(self, unit: str) -> None:
        self._ledger.end(*self.at[unit])

    def read(self) -> Chunk | None:
        if self.problem:
            raise Retryable(self.problem)
        if not self.lines:
            self.exhausted = bool(self.stopped)
            return None
        name, line = self.lines.popleft()
        if name not in self.at:
            unit = self._ledger.begin(name, "", alone=True)
            self.at[name] = unit, unit.low
        unit, start = self.at[name]
        self.at[name] = unit, start + len(line)
        return Chunk(unit.id, name, start, start + len(line), start, 1, line)

    def finished(self, unit: Unit) -> None:
        self.put_away.append((unit.name, "done"))

    def failed(self, unit: Unit) -> None:
        self.put_away.append((unit.name, "failed"))

    def stop(self) -> None:
        self.stopped += 1

    def active(self) -> tuple[int, ...]:
        return self.open_ended

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        """Nothing is held."""


def component(kind: type) -> Component:
    return Component(f"{kind.__module__}:{kind.__qualname__}", {})


class Stage:
    """A reader with its ledger, its source and one worker that acknowledges when the test says so."""

    def __init__(
        self, folder: Path, run: str = RUN, window: int = 3, emits: tuple[str, ...] = (),
        windows: WindowOptions | None = None,
    ) -> None:
        self.path = folder / "positions.db"
        self.post = Outbox("reader.1", Member("parser.1", 1, "parser", "", False))
        self.ledger = Ledger(self.path, run)
        self.source = Taps(self.ledger)
        manifest = Manifest(
            run=run, name="t", app="", state=str(folder), source=component(Taps), sinks={"a": component(MemorySink)},
            dead_letters=component(UnorderedMemorySink), folds=False, flow=FlowOptions(window_batches=window),
            budget=BudgetOptions(max_error_rate=0.5), emits=emits, windowed=windows is not None,
            window=windows or WindowOptions())
        self.reader = Reader(self.post, manifest, self.ledger, self.source)
        self.reader.roster([Member(name, 1, "writer", "", True) for name in DESTINATIONS], [])
        self.reader.message(WORKER, Credit(100), [])
        self.now = 0.0
        #: What is under way at the worker.
        self.batches: list[Batch] = []

    def work(self, times: int = 10) -> float | None:
        wait: float | None = 0.0
        for _ in range(times):
            wait = self.reader.work(self.now)
            self.now += 0.1
        self.batches += [message for _, message in self.post.sent if isinstance(message, Batch)]
        self.post.sent.clear()
        return wait

    def ack(self, **counts: int) -> None:
        """Acknowledge the oldest batch under way."""
        batch = self.batches.pop(0)
        counts = counts or {"read": 1, "written": 1}
        self.reader.message(WORKER, Ack(*batch.id, batch.epoch, counts), [])

    def again(self, span: Span | None = None, late: tuple[tuple[int, int], ...] = ()) -> None:
        """Say that the oldest batch under way is needed again."""
        batch = self.batches.pop(0)
        self.reader.message(WORKER, Again(*batch.id, batch.epoch, span, late), [])

    @property
    def end(self) -> Message | None:
        """What the reader has said at its end."""
        return next((message for message in self.post.told if isinstance(message, InputDone)), None)


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
    stage.work()
    assert stage.end == InputDone(False)
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


FIRST = WindowOptions(start="first", disorder_s=0.01)


def test_without_windows_nothing_is_said_about_them(stage: Stage) -> None:
    stage.source.open_ended = (1, 2)
    stage.source.come("1")
    stage.work()
    (batch,) = stage.batches
    assert (batch.anchor, batch.active, batch.late) == (None, (), ())


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
    assert stage.work() is None, "there may be more, and nothing is under way"
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
    stage.again(late=((1, 4000),))
    stage.work()
    assert [batch.late for batch in stage.batches] == [((1, 4000),)]
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
