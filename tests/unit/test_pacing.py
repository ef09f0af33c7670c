"""The pace of a source: what is due goes, whatever the size of a batch; the first so many records stay the same."""

from __future__ import annotations

import inspect
import tempfile
from collections import deque
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.framing import RECORDS, Record, pack_records
from actors.runtime.pacing import CountingLedger, Paced, Schedule
from actors.runtime.pieces import record_count
from actors.runtime.ports import Source
from actors.runtime.values import Chunk, Revoked, Unit
from actors.testing.reading_memory import MemoryReading

STEP_S = 0.01


class Clock:
    """A clock that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        """Monotonic seconds."""
        return self.now


class Given(Source):
    """A source of what it is given, one chunk at a time."""

    def __init__(self, *chunks: Chunk | None) -> None:
        self.chunks = deque(chunks)
        self.wake = 77
        self.taken: list[Revoked] = []

    def revoked(self) -> list[Revoked]:
        """What is taken away."""
        return self.taken

    def read(self) -> Chunk | None:
        """The next one."""
        return self.chunks.popleft() if self.chunks else None

    def active(self) -> tuple[int, ...]:
        """None is."""
        return ()

    def progress(self) -> tuple[int, int]:
        """All was read."""
        return 1000, 1000


def lines(first: int, count: int) -> Chunk:
    """A chunk of lines ``NUMBER``, each of seven bytes."""
    data = b"".join(b"%06d\n" % number for number in range(first, first + count))
    return Chunk(1, "unit", 7 * first, 7 * (first + count), 7 * first, first + 1, data)


def ledger_at(folder: Path, run: str = "run") -> CountingLedger:
    return CountingLedger(folder / "positions.db", run)


def paced(folder: Path, source: Source, rate_hz: float = 0.0, most: int = 0) -> tuple[Paced, Clock]:
    clock = Clock()
    return Paced(source, ledger_at(folder), rate_hz, most, clock), clock


def at_each_step(source: Paced, clock: Clock, seconds: float) -> list[tuple[float, int]]:
    """When chunks came, and how many records they have, of a reader that looks a hundred times a second."""
    began, found = clock.now, []
    for step in range(round(seconds / STEP_S)):
        clock.now = began + step * STEP_S
        while (chunk := source.read()) is not None:
            found.append((round(step * STEP_S, 2), record_count(chunk)))
    return found


def test_thirty_records_at_5_hz_travel_one_by_one_each_when_it_is_due(tmp_path: Path) -> None:
    source, clock = paced(tmp_path, Given(lines(0, 30)), rate_hz=5)
    assert at_each_step(source, clock, 10) == [(round(0.2 * number, 2), 1) for number in range(30)]


def test_a_record_that_nobody_had_room_for_is_made_up_for(tmp_path: Path) -> None:
    source, clock = paced(tmp_path, Given(lines(0, 100)), rate_hz=5)
    assert at_each_step(source, clock, 0.1) == [(0.0, 1)]
    clock.now = 102.0  # the window was full
    assert at_each_step(source, clock, 0.5) == [(0.0, 1)] * 10 + [(0.2, 1), (0.4, 1)]


def test_a_source_that_had_nothing_does_not_make_up_for_it(tmp_path: Path) -> None:
    inner = Given(lines(0, 1), None)
    source, clock = paced(tmp_path, inner, rate_hz=5)
    assert at_each_step(source, clock, 0.1) == [(0.0, 1)]
    clock.now = 200.0
    inner.chunks.append(lines(1, 10))
    assert at_each_step(source, clock, 0.5) == [(0.0, 1), (0.2, 1), (0.4, 1)]


def test_many_records_a_second_go_in_pieces_of_20_ms(tmp_path: Path) -> None:
    source, clock = paced(tmp_path, Given(lines(0, 5000)), rate_hz=2500)
    found = at_each_step(source, clock, 1.0)
    assert set(found) <= {(at, 50) for at, _ in found}
    assert sum(records for _, records in found) == 2450, "a piece goes when its last record is due"


def test_the_pieces_of_a_chunk_are_its_records_at_their_places(tmp_path: Path) -> None:
    whole = lines(3, 4)
    source, clock = paced(tmp_path, Given(whole), rate_hz=5)
    found = []
    for _ in range(4):
        found.append(source.read())
        clock.now += 0.2
    assert found == [Chunk(1, "unit", 7 * at, 7 * at + 7, 7 * at, at + 1, b"%06d\n" % at, lines=lines)
                     for at, lines in ((3, 1), (4, 1), (5, 1), (6, -1))]


def test_records_with_gaps_are_paced_one_by_one(tmp_path: Path) -> None:
    framed = Chunk(1, "unit", 0, 9, 0, 0, pack_records([Record(2, b"a"), Record(5, None)]), framing=RECORDS)
    source, clock = paced(tmp_path, Given(framed), rate_hz=5)
    first = source.read()
    assert first is not None and (first.start, first.end, record_count(first)) == (0, 5, 1)
    assert source.read() is None
    clock.now += 0.2
    second = source.read()
    assert second is not None and (second.start, second.end) == (5, 9)


def test_what_is_wrong_as_a_whole_is_one_record(tmp_path: Path) -> None:
    fault = Chunk(1, "unit", 0, 30, 0, 1, b"a\nb\nc", fault="truncated_gzip")
    source, _ = paced(tmp_path, Given(fault), rate_hz=5)
    assert source.read() == fault


def test_while_records_wait_to_be_due_nothing_wakes_the_reader_and_they_are_not_done(tmp_path: Path) -> None:
    source, clock = paced(tmp_path, Given(lines(0, 2)), rate_hz=5)
    found: list[tuple[int | None, int]] = [(source.wake, source.progress()[0])]
    for _ in range(2):
        source.read()
        found.append((source.wake, source.progress()[0]))
        clock.now += 0.2
    assert found == [(77, 1000), (None, 993), (77, 1000)]


def test_a_signal_drops_what_waits_unless_the_source_hands_out_the_rest(tmp_path: Path) -> None:
    inner = Given(lines(0, 3))
    inner.endless = True
    source, _ = paced(tmp_path, inner, rate_hz=5)
    source.read()
    source.stop()
    rest = source.read()
    assert rest is not None and record_count(rest) == 2, "at once"
    (tmp_path / "b").mkdir()
    source, _ = paced(tmp_path / "b", Given(lines(0, 3)), rate_hz=5)
    source.read()
    source.stop()
    assert source.read() is None


def test_the_reader_is_asked_to_come_when_the_next_record_is_due(tmp_path: Path) -> None:
    inner = Given(lines(0, 2), None)
    source, clock = paced(tmp_path, inner, rate_hz=5)
    found = [source.tick(100.0)]
    for at in (100.0, 100.2, 100.4):
        clock.now = at
        source.read()
        found.append(source.tick(at))
    assert found == [None, pytest.approx(100.2), pytest.approx(100.4), None]


def test_a_record_that_is_due_while_the_window_is_full_makes_nobody_spin(tmp_path: Path) -> None:
    source, _ = paced(tmp_path, Given(lines(0, 9)), rate_hz=5)
    source.read()
    assert source.tick(103.0) is None


def test_what_waits_of_a_unit_that_is_taken_away_is_not_handed_out(tmp_path: Path) -> None:
    unit = Unit(1, "unit", "", 0, 0, 0, None, "reading", {})
    inner = Given(lines(0, 9))
    inner.taken = [Revoked(units=(unit,))]
    source, clock = paced(tmp_path, inner, rate_hz=5)
    source.read()
    assert source.revoked() == inner.taken
    clock.now += 1
    assert source.read() is None


def test_every_call_that_a_source_knows_is_handed_on() -> None:
    calls = {name for name, value in vars(Source).items() if inspect.isfunction(value) and not name.startswith("_")}
    assert calls <= vars(Paced).keys()


class Runs:
    """Readers of one input, one after the other, who are killed.

    Attributes:
        issued: by unit and range, what was handed out, as often as it was.
    """

    def __init__(self, folder: Path, count: int, rate_hz: float, most: int) -> None:
        self.units = {"a": self.text(0, count // 2), "b": self.text(count // 2, count)}
        self.folder, self.rate_hz, self.most = folder, rate_hz, most
        self.issued: dict[tuple[int, int, int], list[Chunk]] = {}
        self.clock = Clock()
        self.start("run")

    @staticmethod
    def text(start: int, end: int) -> bytes:
        return b"".join(b"%06d\n" % number for number in range(start, end))

    def start(self, run: str, size: int = 100) -> None:
        self.run = run
        self.ledger = ledger_at(self.folder, run)
        self.source = Paced(MemoryReading(self.units, self.ledger, lambda: size), self.ledger, self.rate_hz, self.most,
                            self.clock)
        self.open: list[Chunk] = []

    def take(self) -> None:
        self.clock.now += 0.3
        chunk = self.source.read()
        if chunk is not None:
            self.ledger.issue(chunk)
            self.ledger.flush()
            self.open.append(chunk)
            self.issued.setdefault((chunk.unit, chunk.start, chunk.end), []).append(chunk)

    def close(self, count: int) -> None:
        for chunk in self.open[:count]:
            self.ledger.close(chunk, {"read": record_count(chunk)})
        del self.open[:count]
        self.ledger.commit()

    def kill(self) -> None:
        self.ledger._connection.close()


ACTIONS = st.lists(st.tuples(st.sampled_from(["take", "take", "take", "close", "kill", "run"]), st.integers(1, 60)),
                   max_size=30)


@settings(deadline=None, max_examples=60)
@given(actions=ACTIONS, count=st.integers(2, 40), most=st.integers(1, 50), rate_hz=st.sampled_from([0.0, 5.0, 900.0]))
def test_the_first_so_many_records_are_the_same_whoever_is_killed_when(
    actions: list[tuple[str, int]], count: int, most: int, rate_hz: float
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        runs = Runs(Path(folder), count, rate_hz, most)
        for number, (what, size) in enumerate(actions):
            if what == "take":
                runs.take()
            elif what == "close":
                runs.close(size)
            else:
                runs.kill()
                runs.start(f"run {number}" if what == "run" else runs.run, size)
        for _ in range(10 * count):
            runs.take()
            runs.close(1)
        assert runs.source.exhausted
        assert runs.source.endless == (runs.ledger.taken == most), "what was not to be read is no work that is left"
        found = [line for chunks in runs.issued.values() for line in chunks[0].data.split()]
        assert sorted(found) == [b"%06d" % number for number in range(min(count, most))]
        runs.kill()


@pytest.mark.parametrize("rate_hz", [5.0, 0.3, 49.0])
def test_delays_do_not_add_up(rate_hz: float) -> None:
    schedule = Schedule(rate_hz)
    now, last = 10.0, 0.0
    for number in range(200):
        while not schedule.is_due(now):
            now += 0.037
        schedule.gave(1)
        last = now
        assert last <= 10.0 + number / rate_hz + 0.0371
    assert last >= 10.0 + 199 / rate_hz - 1e-6

