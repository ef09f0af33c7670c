"""The reader and a source whose units are taken away, and that has to be kept alive."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.mailbox import SUPERVISOR
from actors.runtime.messages import Ack, Batch, Hold, Lost, Member, Suspect
from actors.runtime.ports import Source
from actors.runtime.sizing import Sizing
from actors.runtime.supply import Supply
from actors.runtime.values import HANDED_OVER, SOURCE_LOST, Chunk, Revoked, Unit
from tests.stage import RUN, WORKER, Stage, Taps


class Shifting(Taps):
    """The same, from a broker: it has to be kept alive, and takes units away when the test says so."""

    def __init__(self, ledger: Ledger) -> None:
        super().__init__(ledger)
        self.ticks: list[float] = []
        self.tick_at: float | None = None
        self.on_tick: Callable[[], None] = lambda: None
        self.news: list[Revoked] = []
        self.let_go: list[tuple[str, int]] = []
        self.told: list[tuple[str, int]] = []
        self.lost: list[Chunk] = []
        self.taken: set[str] = set()

    def tick(self, now: float) -> float | None:
        self.ticks.append(now)
        self.on_tick()
        return self.tick_at

    def revoked(self) -> list[Revoked]:
        news, self.news = self.news, []
        return news

    def released(self, units: Sequence[Unit]) -> None:
        self.let_go += [(unit.name, unit.low) for unit in units]

    def committed(self, units: Sequence[Unit]) -> None:
        self.told += [(unit.name, unit.low) for unit in units]

    def read(self) -> Chunk | None:
        if self.lost:
            return self.lost.pop()
        while self.lines and self.lines[0][0] in self.taken:
            self.lines.popleft()
        return super().read()

    def unit(self, name: str = "a") -> Unit:
        return self.at[name][0]

    def revoke(self, *names: str, until: float = 1e9, is_lost: bool = False) -> None:
        self.taken.update(names)
        self.news.append(Revoked(tuple(map(self.unit, names)), until, is_lost))


class Shifted(Stage):
    """A stage with such a source."""

    source: Shifting

    def __init__(self, folder: Path, run: str = RUN, folds: bool = False) -> None:
        super().__init__(folder, run=run, source=Shifting, folds=folds)

    def row(self, name: str = "a") -> Unit:
        """What the file of the ledger says of the last unit of a name."""
        return [unit for unit in read_units(self.path) if unit.name == name][-1]

    def answer(self, batch: Batch, **counts: int) -> None:
        """An answer to any delivery, however late."""
        self.reader.message(WORKER, Ack(*batch.id, batch.epoch, counts or {"read": 1, "written": 1}), [])


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Shifted]:
    made = Shifted(tmp_path)
    yield made
    made.reader.close()


def the_window_is_full(stage: Shifted) -> None:
    stage.source.come(*"12345")


def no_worker_takes_any(stage: Shifted) -> None:
    stage.reader.message(SUPERVISOR, Hold(WORKER, True), [])
    stage.source.come("1")


def a_sink_is_not_there(stage: Shifted) -> None:
    stage.reader.roster([], [Member("writer.a", 1, "writer", "", True)])
    stage.source.come("1")


def the_source_cannot_be_read(stage: Shifted) -> None:
    stage.source.problem = "the broker is down"


def it_drains(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work(1)
    stage.reader.drain()


def all_is_done(stage: Shifted) -> None:
    stage.reader.drain()
    stage.work(2)
    assert stage.end is not None


@pytest.mark.parametrize("blocked", [
    the_window_is_full, no_worker_takes_any, a_sink_is_not_there, the_source_cannot_be_read, it_drains, all_is_done])
def test_a_source_is_kept_alive_in_every_turn_whatever_the_reader_waits_for(
    stage: Shifted, blocked: Callable[[Shifted], None]
) -> None:
    blocked(stage)
    before = len(stage.source.ticks)
    stage.work(7)
    assert len(stage.source.ticks) == before + 7
    stage.now = 1e6
    stage.source.tick_at = stage.now + 0.01
    wait = stage.reader.work(stage.now)
    assert wait is not None and wait <= 0.0101, "it says when it has to be called next"


def test_a_source_that_has_no_hurry_is_not_waited_for(stage: Shifted) -> None:
    assert stage.work() is None
    assert stage.reader.wake == 77


def test_nobody_sleeps_without_end_on_a_tick_that_is_older_than_what_was_read(stage: Shifted) -> None:
    assert stage.work() is None
    reads = stage.source.read

    def read() -> Chunk | None:  # it finds that what was left before is used up, and has to be kept alive from here on
        stage.source.tick_at = stage.now + 0.5
        return reads()

    stage.source.come("1")
    stage.work(1)
    stage.ack()
    stage.now += 1.0  # all that was open is answered, and the commit is due: nothing else wakes the reader
    stage.source.read = read  # type: ignore[method-assign]
    assert stage.reader.work(stage.now) == 0.0
    assert stage.reader.work(stage.now) == pytest.approx(0.5)


@pytest.mark.parametrize("is_down", [False, True])
def test_what_a_tick_takes_is_work_for_the_watch_also_during_an_outage(stage: Shifted, is_down: bool) -> None:
    stage.source.problem = "the journal is full" if is_down else ""
    stage.work(1)
    phases: list[str] = []
    stage.source.on_tick = lambda: phases.append(stage.post.slot.now_in)
    stage.reader.work(stage.now - 0.1)
    assert phases == ["WORK"]
    assert stage.post.slot.now_in == ("RETRY" if is_down else "IDLE")


def test_when_the_outside_system_does_not_answer_nothing_is_read_and_what_is_open_goes_on(stage: Shifted) -> None:
    def fails() -> None:
        raise Retryable("broker 127.0.0.1:1: no answer")

    stage.source.come("1", "2")
    stage.work()
    stage.source.on_tick = fails
    stage.source.come("3")
    stage.ack()
    stage.work(3)
    assert stage.post.slot.note == "broker 127.0.0.1:1: no answer"
    assert (len(stage.batches), stage.source.unit().low) == (1, 2), "the acknowledged one is closed, none is issued"
    stage.source.on_tick = lambda: None
    stage.now += 100.0
    stage.work(3)
    assert (len(stage.batches), stage.post.slot.note) == (2, "")


def test_the_source_is_told_of_each_commit_what_is_committed(stage: Shifted) -> None:
    stage.source.come("1", "2")
    stage.work()
    stage.source.told.clear()
    stage.ack()
    stage.work(10)
    assert stage.source.told and set(stage.source.told) == {("a", 2)}
    assert stage.row().low == 2


def test_while_the_outside_system_does_not_answer_the_reader_waits_between_its_ticks(stage: Shifted) -> None:
    def fails() -> None:
        raise Retryable("broker 127.0.0.1:1: no answer")

    stage.source.tick_at = stage.now + 0.01
    stage.work(1)
    stage.source.on_tick = fails
    stage.now += 1.0
    for _ in range(3):
        wait = stage.reader.work(stage.now)
        assert wait is not None and wait > 0, "when it wanted its next tick is long over, and it has had it"


def test_that_nobody_can_be_told_of_a_commit_holds_nothing_up(stage: Shifted) -> None:
    def fails(units: Sequence[Unit]) -> None:
        raise Retryable("broker 127.0.0.1:1: no answer")

    stage.source.committed = fails  # type: ignore[method-assign]
    stage.source.come("1")
    stage.work()
    stage.ack()
    stage.source.come("2")
    stage.work()
    assert (stage.row().low, len(stage.batches), stage.post.slot.note) == (2, 1, "")


def test_what_is_revoked_is_drained_committed_and_then_released_while_all_else_goes_on(stage: Shifted) -> None:
    stage.source.come("1", "2")
    stage.source.come("3", unit="b")
    stage.work()
    stage.source.revoke("a")
    stage.source.come("4", unit="b")
    stage.work()
    assert stage.source.let_go == [], "it has two open batches"
    stage.ack()
    stage.ack()
    stage.work(2)
    assert stage.source.let_go == [("a", 4)]
    row = stage.row()
    assert (row.low, row.status, row.counts) == (4, HANDED_OVER, {"read": 2, "written": 2})
    assert [batch.source for batch in stage.batches] == ["b", "b"]
    assert stage.source.told[-1] == ("b", 0)


def test_nothing_is_issued_of_a_unit_that_is_being_let_go_whatever_its_source_hands_out(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work()
    stage.source.revoke("a")
    stage.source.taken.clear()
    stage.source.come("2", "3")
    stage.work()
    assert len(stage.batches) == 1
    stage.source.lines.clear()
    stage.ack()
    stage.work()
    assert stage.source.let_go == [("a", 2)]
    assert stage.row().counts == {"read": 1, "written": 1}


def test_what_was_read_and_not_issued_of_a_unit_that_is_gone_is_unread() -> None:
    class Two(Source):
        given = [Chunk(unit, "a", 0, 4, 0, 1, b"1\n2\n") for unit in (1, 2)]

        def read(self) -> Chunk | None:
            return self.given.pop(0) if self.given else None

    supply = Supply(Two(), Sizing(0.0), lambda chunk: False)
    first = supply.next(0, 1, 1)
    assert first is not None and first.unit == 1
    supply.unread(lambda unit: unit == 2)
    assert supply.next(0, 1, 1) is first
    supply.unread(lambda unit: unit == 1)
    assert supply.is_empty()
    second = supply.next(0, 1, 1)
    assert second is not None and second.unit == 2


def test_the_rest_of_a_chunk_that_is_issued_piece_by_piece_is_unread_too() -> None:
    class One(Source):
        given = [Chunk(1, "a", 0, 80, 0, 1, b"1\n" * 40)]

        def read(self) -> Chunk | None:
            return self.given.pop(0) if self.given else None

    sizing = Sizing(0.2)
    supply = Supply(One(), sizing, lambda chunk: False)
    sizing.learn(10, 10.0, is_certain=True)
    piece = supply.next(0, 1, 1)
    assert piece is not None and len(piece.data) < 80
    supply.was_issued()
    assert not supply.is_empty()
    supply.unread(lambda unit: True)
    assert supply.is_empty() and supply.next(0, 1, 1) is None


def test_what_is_open_when_the_time_is_over_is_void_and_late_answers_change_nothing(stage: Shifted) -> None:
    stage.source.come("1", "2", "3")
    stage.work()
    first, second, third = stage.batches
    stage.source.revoke("a", until=stage.now + 1.0)
    stage.answer(second)
    stage.work(9)
    assert stage.source.let_go == []
    wait = stage.reader.work(stage.now)
    assert wait is not None and wait <= 0.1 + 1e-9, "it is called when the time is over"
    stage.answer(first)
    stage.now += 0.2
    stage.work(1)
    assert stage.source.let_go == [("a", 4)], "what was closed by then is committed"
    stage.answer(third)
    stage.work()
    row = stage.row()
    assert (row.low, row.end, row.status) == (4, 6, HANDED_OVER)
    assert row.counts == {"read": 3, "written": 2, HANDED_OVER: 1}
    assert stage.source.told[-1:] != [("a", 6)]


def test_void_batches_are_delivered_once_more_without_their_records_and_are_held_until_then(stage: Shifted) -> None:
    stage.source.come("1", "2")
    stage.work()
    before = stage.batches[:]
    stage.source.revoke("a", until=stage.now)
    stage.batches.clear()
    stage.work(2)
    assert [batch.id for batch in stage.batches] == [batch.id for batch in before]
    assert all(new.epoch > old.epoch and new.lines == 0 for new, old in zip(stage.batches, before, strict=True))
    assert stage.post.slot.open == 2
    for batch in before:
        stage.answer(batch)
    stage.work(2)
    assert stage.post.slot.open == 2, "an answer to what was in them is none"
    for batch in list(stage.batches):
        stage.answer(batch, read=0)
    stage.work(2)
    assert stage.post.slot.open == 0
    assert stage.row().counts == {"read": 2, HANDED_OVER: 2}


def test_nothing_more_of_a_lost_unit_is_committed(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work()
    stage.ack()
    stage.work(10)
    assert stage.row().low == 2
    stage.source.come("2", "3")
    stage.work()
    stage.reader._commit_at = 1e9
    stage.ack()
    stage.work(1)
    assert (stage.source.unit().low, stage.row().low) == (4, 2), "closed, and not committed"
    stage.source.revoke("a", is_lost=True)
    stage.work()
    assert stage.source.let_go == [], "it is nobody's business any more"
    stage.reader._commit_at = 0.0
    stage.work(1)
    row = stage.row()
    assert (row.low, row.end, row.status) == (2, 6, HANDED_OVER)
    assert row.counts == {"read": 3, "written": 1, HANDED_OVER: 2}


def test_a_unit_that_is_lost_while_it_is_drained_is_not_released(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work()
    stage.source.revoke("a")
    stage.work(1)
    stage.source.revoke("a", is_lost=True)
    stage.work()
    stage.source.revoke("a", is_lost=True)  # said twice
    stage.work()
    assert stage.source.let_go == []
    assert stage.row().counts == {"read": 1, HANDED_OVER: 1}


def test_with_a_full_disk_a_unit_is_released_in_time_and_what_could_not_be_committed_is_void(stage: Shifted) -> None:
    stage.source.come("1", "2")
    stage.work()
    stage.source.revoke("a", until=stage.now + 1.0)
    (pages,) = stage.ledger._connection.execute("PRAGMA page_count").fetchone()
    stage.ledger._connection.execute(f"PRAGMA max_page_count = {pages}")
    stage.ledger.keep("ballast", "x" * 1_000_000)
    stage.ack()
    stage.ack()
    stage.work(5)
    assert stage.source.let_go == []
    stage.now += 1.0
    stage.work(1)
    assert stage.source.let_go == [("a", 0)], "what is committed, and no more"
    stage.ledger._connection.execute("PRAGMA max_page_count = 1000000")
    stage.now += 100.0
    stage.work()
    assert (stage.row().low, stage.row().counts) == (0, {"read": 2, HANDED_OVER: 2})


def test_a_unit_that_comes_back_is_a_new_one_behind_what_its_last_owner_has_done(stage: Shifted) -> None:
    stage.source.come("1", "2")
    stage.work()
    old = stage.source.unit()
    stage.source.revoke("a", until=stage.now)
    stage.work(1)
    new = stage.ledger.begin("a", "", alone=True, after=(6, 3))
    assert (new.id != old.id, new.base, new.low, new.lines) == (True, 0, 6, 3)
    assert stage.ledger.boundaries(new) == []
    assert stage.ledger.partition(new.id) != f"{RUN}/{old.id}"
    assert [unit.status for unit in stage.ledger.known("")] == [HANDED_OVER], "its position can still be asked for"


def test_what_an_earlier_reader_had_issued_of_a_lost_unit_is_delivered_empty(tmp_path: Path) -> None:
    first = Shifted(tmp_path)
    first.source.come("1", "2")
    first.work()
    before = [batch.id for batch in first.batches]
    first.ledger._connection.close()
    second = Shifted(tmp_path)
    (unit,) = second.ledger.known("")
    second.source.news.append(Revoked((unit,), is_lost=True))
    second.work()
    assert [(batch.id, batch.lines) for batch in second.batches] == [(key, 0) for key in before]
    for _ in before:
        second.ack(read=0)
    second.work()
    assert second.post.slot.open == 0
    assert (second.row().status, second.row().counts, second.row().end) == (HANDED_OVER, {}, 4)
    second.reader.close()


def test_who_dies_with_a_void_batch_in_hand_blames_nobody(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work()
    (batch,) = stage.batches
    stage.source.revoke("a", until=stage.now)
    stage.work(1)
    for _ in range(8):
        stage.reader.message(SUPERVISOR, Suspect(*batch.id, "worker_died", "signal SIGSEGV"), [])
    stage.batches.clear()
    stage.work()
    assert stage.end is None
    assert all(not batch.fault for batch in stage.batches)
    assert stage.row().counts == {"read": 1, HANDED_OVER: 1}


def test_a_unit_that_shares_its_partition_cannot_be_taken_away(stage: Shifted) -> None:
    stage.source.alone = False
    stage.source.come("1")
    stage.work()
    stage.source.revoke("a", until=stage.now)
    with pytest.raises(ConfigError, match="alone=True"):
        stage.work(1)


def test_what_is_folded_cannot_go_with_a_unit_whatever_the_options_say(tmp_path: Path) -> None:
    stage = Shifted(tmp_path, folds=True)
    stage.source.come("1")
    stage.work()
    stage.source.revoke("a")
    with pytest.raises(ConfigError, match="let moves\\(\\) of the source's options say"):
        stage.work(1)
    stage.reader.close()


def test_what_retention_took_is_told_with_its_range_and_the_unit_is_not_whole(stage: Shifted) -> None:
    stage.source.come("1")
    stage.work()
    unit = stage.source.unit()
    stage.source.lost.append(Chunk(unit.id, "a", 2, 9, 2, 2, b"", SOURCE_LOST, "retention took 7 records"))
    stage.source.at["a"] = unit, 9
    stage.source.come("2")
    stage.work()
    assert [message for message in stage.post.told if isinstance(message, Lost)] == [Lost("a", 2, 9, SOURCE_LOST)]
    stage.ack()
    stage.ack(read=1, dead_lettered=1)
    stage.ack()
    stage.work()
    row = stage.row()
    assert (row.low, row.damage, row.counts) == (
        11, "retention took 7 records", {"read": 3, "written": 2, "dead_lettered": 1})


def test_a_state_directory_has_an_id_that_stays(tmp_path: Path) -> None:
    first = Ledger(tmp_path / "positions.db", "run-1")
    known = first.state_id
    assert first.state_id == known
    first.flush()
    first._connection.close()
    second = Ledger(tmp_path / "positions.db", "run-2")
    assert second.state_id == known
    second.close_file()
    other = Ledger(tmp_path / "others.db", "run-1")
    assert other.state_id != known
    other.close_file()


