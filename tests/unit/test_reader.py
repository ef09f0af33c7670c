"""The reader alone: sources without end, what ends the input, and what wakes it up."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from actors.reader import ASKED, POLL_S, Reader
from actors.runtime.errors import Retryable
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.manifest import Component, Manifest
from actors.runtime.messages import Ack, Batch, BatchId, Credit, InputDone, Member, Message, Outage
from actors.runtime.pipeline import BudgetOptions, FlowOptions
from actors.runtime.ports import Chunk, Source, Unit
from actors.testing import MemorySink, UnorderedMemorySink

RUN = "run"
WORKER = "parser.1#1"
DESTINATIONS = ("writer.dead_letters", "writer.a")


class Slot:
    """A slot on no board."""

    def __init__(self) -> None:
        self.batches = self.records = self.bytes_done = self.bytes_total = self.open = 0
        self.note = ""
        self.now_in = ""

    def phase(self, phase: str) -> None:
        self.now_in = phase

    def take(self, batch: BatchId) -> None:
        """A reader has no batch in hand."""


class Outbox:
    """The post of the reader: keeps what it sends."""

    def __init__(self) -> None:
        self.address, self.generation = "reader.1#1", 1
        self.members = {"parser.1": Member("parser.1", 1, "parser", "", False)}
        self.roster_version = 1
        self.slot = Slot()
        self.batches: list[Batch] = []
        self.told: list[Message] = []

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        if isinstance(message, Batch):
            self.batches.append(message)
        return True

    def tell(self, message: Message) -> None:
        self.told.append(message)


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

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        """Nothing is held."""


def component(kind: type) -> Component:
    return Component(f"{kind.__module__}:{kind.__qualname__}", {})


class Stage:
    """A reader with its ledger, its source and one worker that acknowledges when the test says so."""

    def __init__(self, folder: Path, run: str = RUN, window: int = 3) -> None:
        self.path = folder / "positions.db"
        self.post = Outbox()
        self.ledger = Ledger(self.path, run)
        self.source = Taps(self.ledger)
        manifest = Manifest(
            run=run, name="t", app="", state=str(folder), source=component(Taps), sinks={"a": component(MemorySink)},
            dead_letters=component(UnorderedMemorySink), folds=False, flow=FlowOptions(window_batches=window),
            budget=BudgetOptions(max_error_rate=0.5))
        self.reader = Reader(self.post, manifest, self.ledger, self.source)
        self.reader.roster([Member(name, 1, "writer", "", True) for name in DESTINATIONS], [])
        self.reader.message(WORKER, Credit(100), [])
        self.now = 0.0

    def work(self, times: int = 10) -> float | None:
        wait: float | None = 0.0
        for _ in range(times):
            wait = self.reader.work(self.now)
            self.now += 0.1
        return wait

    def ack(self, **counts: int) -> None:
        """Acknowledge the oldest batch under way."""
        batch = self.post.batches.pop(0)
        counts = counts or {"read": 1, "written": 1}
        self.reader.message(WORKER, Ack(*batch.id, batch.epoch, counts), [])

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
    assert len(stage.post.batches) == 3
    stage.ack()
    stage.work()
    assert [batch.start for batch in stage.post.batches] == [2, 4, 6]
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
        if stage.post.batches:
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
    slow = stage.post.batches.pop(0)
    stage.ack()
    stage.work()
    assert stage.source.put_away == [("fast", "done")]
    stage.post.batches.append(slow)
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
    assert len(stage.post.batches) == 1


def test_an_application_that_has_enough_ends_the_input_once_and_what_was_accepted_is_loaded(stage: Stage) -> None:
    stage.source.come(*"123456789")
    stage.work()
    stage.ack()
    first = stage.post.batches.pop(0)
    stage.ack(read=1, filtered=1, finish=1)
    assert stage.source.stopped == 1, "at once, though the batch before it is open"
    stage.post.batches.insert(0, first)
    while stage.end is None:
        stage.work(2)
        if stage.post.batches:
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
