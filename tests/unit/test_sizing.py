"""How many records make a batch: what is learnt from answers, and what comes of it for a pool of workers.

The pool is played in a time of its own: what a batch takes is computed, and nothing waits. So the times in here are
the same on any machine.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.instead import GIVE_BACK, cut
from actors.runtime.ports import Source
from actors.runtime.sizing import GROWTH, LEAST_S, PRICE_S, Sizing
from actors.runtime.supply import Supply
from actors.runtime.takers import Takers
from actors.runtime.values import Chunk

#: How long it takes to get from one process to the next, in seconds.
HOP_S = 0.0005
WINDOW, CREDIT = 256, 2


class Lines(Source):
    """Chunks of so many lines each; every line is its number, of six digits."""

    def __init__(self, chunks: Sequence[int]) -> None:
        self.left = deque(chunks)
        self.at = 0
        self.total = sum(chunks)

    def read(self) -> Chunk | None:
        if not self.left:
            self.exhausted = True
            return None
        first, count = self.at, self.left.popleft()
        self.at += count
        data = b"".join(b"%06d\n" % number for number in range(first, self.at))
        return Chunk(1, "a", 7 * first, 7 * self.at, 7 * first, first + 1, data, lines=count)

    def progress(self) -> tuple[int, int]:
        return self.at, self.total


class Pool:
    """A reader's way of cutting and giving, and workers that take as long as their records say.

    Attributes:
        sizes: records of each batch, in the order in which they were cut.
        shares: records that each worker has worked off.
        now: seconds since the beginning.
    """

    def __init__(self, chunks: Sequence[int], cost: Callable[[int], float], workers: int, batch_s: float = 0.2) -> None:
        self.sizing = Sizing(batch_s)
        self.supply = Supply(Lines(chunks), self.sizing, lambda chunk: False)
        self.takers = Takers()
        self.cost = cost
        self.workers = workers
        self.batch_s = batch_s
        self.given_back = 0
        self.now = 0.0
        self.sizes: list[int] = []
        self.shares = dict.fromkeys(map(str, range(workers)), 0)
        self.numbers: list[int] = []
        self._waiting: deque[Chunk] = deque()
        self._events: list[tuple[float, int, str, Chunk, int, float]] = []
        self._free_at = dict.fromkeys(self.shares, 0.0)
        self._in_hand = self._turns = 0

    def run(self) -> float:
        """Work all of it off; return how long it took."""
        for worker in self.shares:
            self.takers.grant(worker, CREDIT)
        self._give()
        while self._events:
            self.now, _, worker, chunk, records, took_s = heapq.heappop(self._events)
            self._in_hand -= 1
            self.takers.grant(worker, 1, 1, took_s)
            is_done = records == chunk.lines
            self.sizing.learn(records, took_s, not is_done)
            if not is_done:
                self.given_back += 1
                self._waiting.extendleft(reversed(cut(chunk, self.sizing, self.workers, WINDOW)))
            self._give()
        assert self.supply.is_empty() and not self._waiting
        assert self.numbers == list(range(len(self.numbers))), "each record once, in order"
        return self.now

    def _give(self) -> None:
        while len(self._waiting) + self._in_hand < WINDOW:
            chunk = self.supply.next(len(self._waiting), self.takers.idle(), self.workers)
            if chunk is None:
                break
            self.supply.was_issued()
            self._waiting.append(chunk)
            self.numbers += map(int, chunk.data.split())
            self.sizes.append(len(chunk.data) // 7)
        while self._waiting and (worker := self.takers.next(len(self._waiting))) is not None:
            self.takers.give(worker)
            self._in_hand += 1
            chunk = self._waiting.popleft()
            records, took_s = self._worked_off(chunk)
            self.shares[worker] += records
            self._turns += 1
            self._free_at[worker] = max(self._free_at[worker], self.now + HOP_S) + took_s
            heapq.heappush(self._events, (
                self._free_at[worker] + HOP_S, self._turns, worker, chunk, records, took_s))

    def _worked_off(self, chunk: Chunk) -> tuple[int, float]:
        """How many records of a chunk are worked off before it is given back, or all of them; and how long that is."""
        took_s, records = PRICE_S, 0
        for line in chunk.data.split():
            if records and self.batch_s and took_s > GIVE_BACK * self.batch_s:
                break
            took_s += self.cost(int(line))
            records += 1
        return records, took_s


@pytest.mark.parametrize("workers", [1, 2, 4, 16])
@pytest.mark.parametrize(("cost_s", "records"), [(1e-6, 100_000), (0.001, 12_800), (0.02, 800), (0.5, 64)])
def test_workers_that_take_so_long_for_a_record_are_busy_nine_tenths_of_the_time(
    cost_s: float, records: int, workers: int
) -> None:
    pool = Pool(_chunks(records), lambda number: cost_s, workers)
    ideal_s = records * cost_s / workers
    overhead_s = 0.06 if cost_s < 1e-5 else 0.0  # so little work that what a batch costs besides is most of it
    assert pool.run() <= ideal_s / 0.9 + overhead_s
    assert all(pool.shares.values())


def test_two_hundred_records_of_twenty_ms_take_sixteen_workers_little_longer_than_a_sixteenth() -> None:
    pool = Pool([200], lambda number: 0.02, 16)
    assert pool.run() <= 13 * 0.02 / 0.9, "thirteen rounds, for they cannot be divided"


def test_thirty_records_of_half_a_second_are_thirty_batches_and_reach_all_six_workers() -> None:
    pool = Pool([30], lambda number: 0.5, 6)
    assert pool.run() <= 1.05 * 30 * 0.5 / 6
    assert pool.sizes == [1] * 30
    assert set(pool.shares.values()) == {5}


def test_quick_records_are_given_out_by_the_chunk_after_a_few_small_batches() -> None:
    pool = Pool([20_000] * 15, lambda number: 2e-6, 2)
    pool.run()
    assert sum(size < 20_000 for size in pool.sizes) <= 30
    assert sum(size == 20_000 for size in pool.sizes) >= 12


@pytest.mark.parametrize("at", [0, 3000, 9000])
def test_slow_records_that_stand_together_are_shared_out(at: int) -> None:
    pool = Pool([1000] * 10, lambda number: 0.02 if at <= number < at + 1000 else 1e-5, 16)
    ideal_s = 1000 * 0.02 / 16
    assert pool.run() <= GIVE_BACK * 0.2 + ideal_s / 0.8
    assert pool.given_back <= 2


def test_a_record_in_ten_that_is_slow_leaves_nobody_idle() -> None:
    slow = set(random.Random(1).sample(range(8000), 800))
    pool = Pool([2000] * 4, lambda number: 0.02 if number in slow else 1e-5, 8)
    assert pool.run() <= (800 * 0.02 + 7200 * 1e-5) / 8 / 0.8


def test_a_header_that_is_quick_makes_no_large_batch_of_what_is_behind_it() -> None:
    pool = Pool([61], lambda number: 0.5 if number else 1e-6, 6)
    assert pool.run() <= 1.15 * 60 * 0.5 / 6
    assert max(pool.sizes) <= 4


def test_nothing_is_cut_by_work_when_that_is_off() -> None:
    pool = Pool([100, 50], lambda number: 0.5, 6, batch_s=0.0)
    pool.run()
    assert pool.sizes == [100, 50]
    assert pool.sizing.record_s == pytest.approx(0.5, rel=0.01)
    assert pool.sizing.shown()[1] == 0


def test_one_batch_that_had_to_wait_for_a_processor_does_not_make_quick_records_slow() -> None:
    sizing = Sizing(0.2)
    for _ in range(20):
        sizing.learn(20_000, 0.07)
    before = sizing.most()
    sizing.learn(3, 0.004)  # the last lines of a file, in less time than tells anything
    assert sizing.most() == before
    sizing.learn(1, 0.02)
    assert 100 < sizing.most() < before, "half of the way"
    for _ in range(10):
        sizing.learn(int(sizing.most()), 3.5e-6 * sizing.most())
    assert sizing.most() >= 0.9 * before


def test_what_has_become_slow_is_believed_at_once_and_what_has_become_quick_by_and_by() -> None:
    sizing = Sizing(0.2)
    for _ in range(20):
        sizing.learn(1000, 0.01)
    sizing.learn(1000, 10.0)
    assert sizing.most() == 20
    sizes = []
    for _ in range(12):
        sizing.learn(int(sizing.most()), 1e-5 * sizing.most())
        sizes.append(sizing.most())
    assert sizes[:3] == [80, 320, 1280]
    assert 20_000 <= sizes[-1] <= 20_100


@settings(deadline=None)  # a busy machine takes its time
@given(st.lists(st.tuples(st.integers(0, 10**7), st.floats(0, 1e4)), max_size=50), st.integers(1, 10**7),
       st.integers(1, 64), st.booleans(), st.floats(0, 100))
def test_whatever_is_learnt_a_batch_has_a_record_or_more_and_no_more_than_there_are(
    answers: list[tuple[int, float]], left: int, workers: int, is_last: bool, batch_s: float
) -> None:
    sizing = Sizing(batch_s)
    assert sizing.count(left, workers, is_last) == (1 if batch_s else left)
    for records, seconds in answers:
        sizing.learn(records, seconds)
    count = sizing.count(left, workers, is_last)
    assert 1 <= count <= left
    if count < left:
        assert batch_s
        assert count <= max(1, GROWTH * sum(records for records, _ in answers))
        assert sizing.record_s is None or count == 1 or count * sizing.record_s <= batch_s * 1.001
        assert is_last or count == 1 or 2 * count >= min(left, int(sizing.most()))
    sizing.shown()


@settings(deadline=None)  # a busy machine takes its time
@given(st.floats(1e-6, 1.0), st.integers(2, 10**5), st.integers(1, 64))
def test_the_last_input_is_cut_into_batches_that_are_worth_their_price(cost_s: float, left: int, workers: int) -> None:
    sizing = Sizing(0.2)
    for _ in range(30):
        sizing.learn(10**6, cost_s * 10**6)
    count = sizing.count(left, workers, True)
    assert count in (1, left) or count * cost_s >= LEAST_S / 2 - cost_s


def _chunks(records: int) -> list[int]:
    """Chunks of 140 KB."""
    whole, rest = divmod(records, 20_000)
    return [20_000] * whole + [rest] * bool(rest)
