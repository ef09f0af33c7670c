"""Poison: whatever records kill, at once or late, each is found alone, and every other one is delivered."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import shortened
from actors.runtime.examine import Examination, TrialOfPayload
from actors.runtime.framing import Record as Kept
from actors.runtime.framing import cut_out, is_alone, pack_records, places_in, split
from actors.runtime.ledger import Ledger
from actors.runtime.marks import NO_MARK, Mark
from actors.runtime.messages import NOTHING, Batch, BatchId, Suspect
from actors.runtime.origin import Origin
from actors.runtime.poison import ALLOWED, MOST_MARKS, Blame, blame, given_up, was_near
from actors.runtime.values import Chunk

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"x")), min_size=1, max_size=60)


def chunk_of(lines: list[bytes], newline_at_end: bool = True) -> Chunk:
    data = b"\n".join(lines) + (b"\n" if newline_at_end else b"")
    data = data or b"\n"
    return Chunk(1, "s", 1000, 1000 + len(data), 500, 7, data)


class Died(BaseException):
    """The process is gone."""


class Process:
    """A worker that may die: it tries what it is told to care for, and works on batches, as ``PoolWorker`` does.

    Args:
        kills: of a line: None, or so many seconds later its process dies.
        in_parts: some function takes whole chunks.
        as_a_whole: lines that only kill when both are in what is worked on.
    """

    def __init__(self, kills: Callable[[bytes], float | None], in_parts: bool = False,
                 as_a_whole: frozenset[bytes] = frozenset()) -> None:
        self.kills, self.in_parts, self.as_a_whole = kills, in_parts, as_a_whole
        self.now, self.doom = 0.0, math.inf
        self.note, self.held, self.hand = "", NO_MARK, NOTHING
        self.done: list[tuple[float, BatchId]] = []

    def mark(self, mark: Mark) -> None:
        self.held = mark

    def phase(self, phase: str) -> None:
        raise AssertionError(phase)

    def pause(self, seconds: float) -> None:
        self.now = min(self.now + seconds, self.doom)
        if self.now == self.doom:
            raise Died

    def make(self, batch: Batch, frames: list[bytes]) -> None:
        lines = set(frames[0].split(b"\n"))
        if self.as_a_whole and self.as_a_whole <= lines:
            raise Died
        for line in frames[0].split(b"\n"):
            if (after := self.kills(line)) is not None:
                self.doom = min(self.doom, self.now + after)
            self.pause(1e-5)

    def work(self, chunk: Chunk, blamed: Blame) -> None:
        """Do one batch, or die of it, or of another."""
        care = None if chunk.fault else blamed.care()
        if care is not None and care.end and self.done:
            self.pause(max(0.0, self.done[-1][0] + 1.0 - self.now))
        self.hand = ("p", chunk.start, chunk.end)
        batch = Batch("p", chunk.start, chunk.end, 0, 0, 0, 1, "s", chunk.offset, chunk.line, chunk.fault)
        if care is not None:
            trial = TrialOfPayload(self.make, batch, [chunk.data])
            Examination(self, trial, care, self.in_parts, self.pause, lambda: None, lambda: self.now).go()
        if not chunk.fault:
            self.make(batch, [chunk.data])
        self.done.append((self.now, self.hand))
        self.hand = NOTHING

    def accusation(self, reason: str = "worker_died") -> Suspect | None:
        """As ``Child.accusation``."""
        near = tuple(batch for at, batch in reversed(self.done) if self.now - at <= 1.0)
        if self.hand == NOTHING:
            return None if not near else Suspect(
                *near[0], reason, "how", Mark(near[0][1], near[0][2], near[0][2]), "parser", near)
        return Suspect(*self.hand, reason, "how", self.held, "parser", near)


def deliver(chunks: list[Chunk], make_process: Callable[[], Process]) -> tuple[list[bytes], list[bytes], int]:
    """Work all of it off in one process after the other; return the lines done, those given up, and the deaths.

    Nothing is acknowledged before all is done, so whoever is late kills again."""
    open_batches = [(chunk, Blame()) for chunk in chunks]
    for deaths in range(1000):
        process = make_process()
        try:
            for chunk, blamed in open_batches:
                process.work(chunk, blamed)
            process.pause(2.0)
        except Died:
            death = process.accusation()
        else:
            done = [chunk.data for chunk, _ in open_batches if not chunk.fault]
            letters = [chunk.data.removesuffix(b"\n") for chunk, _ in open_batches if chunk.fault]
            return b"".join(done).removesuffix(b"\n").split(b"\n"), letters, deaths
        if death is None:
            continue
        next_batches: list[tuple[Chunk, Blame]] = []
        for chunk, blamed in open_batches:
            key = ("p", chunk.start, chunk.end)
            if key == death.id:
                next_batches += blame(chunk, blamed, death)
            elif key in death.near:
                next_batches.append((chunk, was_near(chunk, blamed, death)))
            else:
                next_batches.append((chunk, blamed))
        open_batches = next_batches
    raise AssertionError("it never ends")


def numbered(count: int) -> list[bytes]:
    return [b"%d line" % number for number in range(count)]


def batches(lines: list[bytes], size: int) -> list[Chunk]:
    chunks, start = [], 0
    for at in range(0, len(lines), size):
        data = b"\n".join(lines[at:at + size]) + b"\n"
        chunks.append(Chunk(1, "s", start, start + len(data), start, at + 1, data))
        start += len(data)
    return chunks


@given(LINES, st.booleans())
def test_halves_are_the_whole_cut_at_a_line_end(lines: list[bytes], newline_at_end: bool) -> None:
    chunk = chunk_of(lines, newline_at_end)
    halves = split(chunk)
    assert b"".join(half.data for half in halves) == chunk.data
    assert (len(halves) == 1) == is_alone(chunk)
    position, offset, line = chunk.start, chunk.offset, chunk.line
    for half in halves:
        assert (half.start, half.offset, half.line) == (position, offset, line)
        position, offset, line = half.end, offset + len(half.data), line + half.data.count(b"\n")
    assert position == chunk.end
    assert all(half.data.endswith(b"\n") for half in halves[:-1])


@given(LINES, st.booleans(), st.data())
def test_a_record_is_cut_out_with_all_that_is_before_and_behind_it(
    lines: list[bytes], records: bool, data: st.DataObject
) -> None:
    chunk = chunk_of(lines)
    if records:
        kept = [Kept(500 + 3 * number, line) for number, line in enumerate(lines)]
        chunk = Chunk(1, "s", 1000, 1000 + 3 * len(kept), 500, 7, pack_records(kept), framing="records")
    places = places_in(chunk.data, chunk.framing, chunk.start, chunk.end, chunk.offset)
    index = data.draw(st.integers(0, len(places) - 2))
    pieces = cut_out(chunk, places[index], places[index + 1])
    assert [piece.start for piece in pieces] == [chunk.start, *(piece.end for piece in pieces[:-1])]
    assert pieces[-1].end == chunk.end
    (alone,) = [piece for piece in pieces if piece.start == places[index]]
    assert is_alone(alone)
    assert alone.end == places[index + 1]
    assert len(pieces) == 1 + (index > 0) + (index < len(places) - 2)
    assert cut_out(chunk, chunk.end + 1, chunk.end + 2) == [chunk], "what is no place of a record cuts nothing"


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 60), st.sets(st.integers(0, 59), max_size=6), st.integers(1, 60))
def test_each_record_that_kills_costs_three_deaths_at_most(count: int, bad: set[int], size: int) -> None:
    lines = numbered(count)
    poison = {lines[number] for number in bad if number < count}
    done, letters, deaths = deliver(
        batches(lines, size), lambda: Process(lambda line: 0.0 if line in poison else None))
    assert set(letters) == poison
    assert len(letters) == len(poison)
    assert [line for line in done if line] == [line for line in lines if line not in poison]
    assert deaths <= 3 * len(poison)


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=3))
def test_where_functions_take_chunks_a_record_costs_its_place_in_eighths(count: int, bad: set[int]) -> None:
    lines = numbered(count)
    poison = {lines[number] for number in bad if number < count}
    done, letters, deaths = deliver(
        batches(lines, 300), lambda: Process(lambda line: 0.0 if line in poison else None, in_parts=True))
    assert set(letters) == poison
    assert [line for line in done if line] == [line for line in lines if line not in poison]
    assert deaths <= len(poison) * (3 + math.ceil(math.log(count + 1, 8)))


@settings(max_examples=40, deadline=None)
@given(st.integers(2, 60), st.integers(0, 59), st.floats(1e-5, 0.9), st.integers(2, 60))
def test_a_death_that_comes_late_blames_no_neighbour(count: int, bad: int, delay: float, size: int) -> None:
    lines = numbered(count)
    culprit = lines[bad % count]
    done, letters, deaths = deliver(
        batches(lines, size), lambda: Process(lambda line: delay if line == culprit else None))
    assert letters == [culprit]
    assert [line for line in done if line] == [line for line in lines if line != culprit]
    assert deaths <= 14


def test_records_that_kill_only_together_are_parted_and_both_delivered() -> None:
    lines = numbered(40)
    done, letters, deaths = deliver(
        batches(lines, 40), lambda: Process(lambda line: None, as_a_whole=frozenset((lines[3], lines[30]))))
    assert (done, letters) == (lines, [])
    assert deaths == 2


def test_deaths_that_others_cause_blame_nobody_for_good() -> None:
    chunk = chunk_of(numbered(30))
    blamed = Blame()
    for number in range(100):
        places = places_in(chunk.data, "", chunk.start, chunk.end, chunk.offset)
        at = number % (len(places) - 1)
        mark = Mark(places[at], places[at], places[at + 1])
        instead = blame(chunk, blamed, Suspect("p", chunk.start, chunk.end, "worker_died", "how", mark, "parser"))
        if len(instead) > 1:
            break
        blamed = instead[0][1]
    assert number == MOST_MARKS - 1
    assert not any(piece.fault for piece, _ in instead), "it was in hand, and never alone"


def test_another_stage_counts_its_own_deaths() -> None:
    chunk = chunk_of(numbered(3))
    mark = Mark(1000, 1000, 1007, True)
    (_, blamed), = blame(chunk, Blame(2, "worker_died", "how", stage="parser"),
                         Suspect("p", chunk.start, chunk.end, "worker_died", "how", mark, "checker"))
    assert (blamed.marks, blamed.stage) == (1, "checker")


def test_a_mark_that_is_no_place_of_the_batch_gives_nothing_up() -> None:
    chunk = chunk_of(numbered(3))
    for mark in (Mark(0, 0, 7, True), Mark(1001, 1002, 1003, True), Mark(1000, 5000, 6000, True)):
        instead = blame(chunk, Blame(2, "worker_died", "how", stage="parser"),
                        Suspect("p", chunk.start, chunk.end, "worker_died", "how", mark, "parser"))
        assert not any(piece.fault for piece, _ in instead)


def test_of_how_somebody_died_the_beginning_and_the_end_are_kept() -> None:
    assert shortened("short") == "short"
    long = shortened("parser.1: signal SIGSEGV\n" + "x" * 20_000_000 + "in trouble")
    assert long.startswith("parser.1: signal SIGSEGV")
    assert long.endswith("in trouble")
    assert len(long) < 9000


@settings(max_examples=40, deadline=None)
@given(LINES, st.integers(0, 59), st.lists(st.booleans(), max_size=30))
def test_the_ledger_gives_back_what_was_learned_after_any_restart(
    tmp_path_factory: object, lines: list[bytes], bad: int, restarts: list[bool]
) -> None:
    folder = Path(tmp_path_factory.mktemp("ledger"))  # type: ignore[attr-defined]
    lines = [b"%d %s" % (number, line) for number, line in enumerate(lines)]
    poison = lines[bad % len(lines)]
    whole = chunk_of(lines)
    ledger = Ledger(folder / "positions.db", "run")
    unit = ledger.begin("s", "f")
    data = whole.data
    ledger.issue(Chunk(unit.id, "s", 0, len(data), 0, 1, data))
    ledger.flush()
    letters: list[bytes] = []
    deaths = 0
    for restart in [*restarts, *([False] * 100)]:
        if restart:
            ledger._connection.close()
            ledger = Ledger(folder / "positions.db", "run")
            unit = ledger.begin("s", "f")
        origin = Origin(1, 1000, 10**9)
        chunks: list[tuple[Chunk, Blame]] = []
        for start, end in ledger.boundaries(unit):
            chunk = Chunk(unit.id, "s", start, end, start, 1, data[start:end])
            blamed = ledger.issue(chunk).blame
            chunks.append((given_up(chunk, blamed), blamed))
            origin.issue("run", *chunks[-1])
        assert b"".join(chunk.data for chunk, _ in chunks) == data
        process = Process(lambda line: 0.0 if line == poison else None)
        culprit: Chunk | None = None
        for chunk, blamed in chunks:
            try:
                process.work(chunk, blamed)
            except Died:
                culprit = chunk
                break
        if culprit is None:
            letters = [chunk.data.removesuffix(b"\n") for chunk, _ in chunks if chunk.fault]
            break
        deaths += 1
        suspect, death = origin.suspect(("run", culprit.start, culprit.end)), process.accusation()
        assert suspect is not None
        assert death is not None
        ledger.issued.blamed(blame(*suspect, death))
        ledger.flush()
    ledger._connection.close()
    assert letters == [poison]
    assert deaths == ALLOWED
