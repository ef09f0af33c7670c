"""Poison at consumers: whatever kills a writer or a shard, at once or late, is found alone, all else is applied."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.actor import Post
from actors.runtime.child import Child
from actors.runtime.events import LastWords
from actors.runtime.marks import CONSUMER, NO_MARK, Mark
from actors.runtime.messages import NOTHING, BatchId, Part, Suspect
from actors.runtime.poison import ALLOWED, MOST_BESIDE, Blame, blame, is_hopeless
from actors.runtime.restart import LOST, Exit
from actors.runtime.sections import WatchOptions
from actors.runtime.singly import Singly
from actors.runtime.topology import ChildSpec
from actors.runtime.values import Chunk
from tests.properties.test_bisection import Died, batches, numbered

#: Of a line: None, or so many seconds later its consumer dies.
Kills = Callable[[bytes], float | None]
GROUP = 32


class Consumer:
    """A generation of a writer: groups, or parts one by one when ``Singly`` says so. It is its own slot and clock."""

    def __init__(self, name: str, generation: int, kills: Kills) -> None:
        self.spec = ChildSpec(name, name.partition(".")[0], name, 1)
        self.generation, self.kills = generation, kills
        self.now, self.doom = 0.0, math.inf
        self.hand, self.held = NOTHING, NO_MARK
        self.done: list[tuple[float, BatchId]] = []
        self.applied: set[int] = set()
        self.slot = self
        self.singly = Singly(cast(Post, self), lambda: self.now, self.pause)

    def mark(self, mark: Mark) -> None:
        self.held = mark

    def take(self, batch: BatchId) -> None:
        if self.hand != NOTHING:
            self.done.append((self.now, self.hand))
        self.hand = batch

    def pause(self, seconds: float) -> None:
        self.now = min(self.now + seconds, self.doom)
        if self.now == self.doom:
            raise Died

    def consume(self, open_batches: list[tuple[Chunk, Blame]]) -> None:
        """Apply in order what is open and was not applied by this generation."""
        left = [(chunk, _part(chunk, blamed)) for chunk, blamed in open_batches
                if not chunk.fault and chunk.start not in self.applied]
        while left:
            count = next((at for at, (_, part) in enumerate(left[:GROUP]) if self.singly.wants(part)), GROUP)
            group, left = left[:max(1, count)], left[max(1, count):]
            if self.singly.wants(group[0][1]):
                self.singly.begin(group[0][1])
            for line in b"".join(chunk.data for chunk, _ in group).splitlines():
                if (after := self.kills(line)) is not None:
                    self.doom = min(self.doom, self.now + after)
                self.pause(1e-5)
            self.singly.linger()
            self.singly.done()
            self.applied |= {chunk.start for chunk, _ in group}
        self.pause(2.0)

    def accusation(self, status: int = -9) -> Suspect | None:
        """What the supervisor makes of its death."""
        child = Child(self.spec, WatchOptions())
        near = tuple(batch for at, batch in reversed(self.done) if self.now - at <= 1.0)
        last = LastWords("WRITE", self.hand, mark=self.held, near=near)
        return child.accusation(Exit(status), child.death(Exit(status), last, self.now), last)


def _part(chunk: Chunk, blamed: Blame) -> Part:
    """As ``PoolWorker`` sends it."""
    care = blamed.care()
    return Part("p", chunk.start, chunk.end, 0, 0, chunk.data.count(b"\n"), {},
                alone=care is not None and care.stage == CONSUMER and care.end > 0)


def deliver(chunks: list[Chunk], kills: Mapping[str, Kills], turns: Callable[[int], bool]
            ) -> tuple[list[bytes], list[bytes], int]:
    """Give all to each consumer, until none dies of it; return the lines applied, those given up, and the deaths.

    Nothing is over before all is, so a consumer's next generation begins with the first batch, and who is late kills
    again. ``turns``: whether the consumers go the other way round this time."""
    open_batches = [(chunk, Blame()) for chunk in chunks]
    consumers = {name: Consumer(name, 1, each) for name, each in kills.items()}
    for deaths in range(1000):
        dead = None
        for name in sorted(consumers, reverse=turns(deaths)):
            try:
                consumers[name].consume(open_batches)
            except Died:
                dead = consumers[name]
                break
        if dead is None:
            applied = b"".join(chunk.data for chunk, _ in open_batches if not chunk.fault).splitlines()
            return applied, [chunk.data.strip() for chunk, _ in open_batches if chunk.fault], deaths
        consumers[dead.spec.name] = Consumer(dead.spec.name, dead.generation + 1, dead.kills)
        death = dead.accusation()
        assert death is not None or dead.generation == 1, "from its second generation on it is known what it died of"
        instead: list[tuple[Chunk, Blame]] = []
        for chunk, blamed in open_batches:
            is_it = death is not None and death.id == ("p", chunk.start, chunk.end)
            instead += blame(chunk, blamed, cast(Suspect, death)) if is_it else [(chunk, blamed)]
        assert not any(is_hopeless(*each) for each in instead)
        open_batches = instead
    raise AssertionError("it never ends")


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.sets(st.integers(0, 299), max_size=4), st.integers(1, 300))
def test_each_record_that_kills_is_given_up_alone(count: int, bad: set[int], size: int) -> None:
    lines = numbered(count)
    poison = {lines[number] for number in bad if number < count}
    applied, letters, deaths = deliver(
        batches(lines, size), {"writer.a": lambda line: 0.0 if line in poison else None}, lambda turn: False)
    assert sorted(letters) == sorted(poison)
    assert applied == [line for line in lines if line not in poison]
    assert deaths <= (len(poison) > 0) + len(poison) * (ALLOWED + math.ceil(math.log(min(count, size) + 1, 8)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(0, 99), st.integers(1, 100), st.lists(st.booleans(), min_size=1, max_size=7))
def test_a_record_that_kills_several_consumers_is_found_whichever_dies_first(
    count: int, bad: int, size: int, order: list[bool]
) -> None:
    lines = numbered(count)
    culprit = lines[bad % count]
    kill: Kills = lambda line: 0.0 if line == culprit else None  # noqa: E731
    applied, letters, deaths = deliver(
        batches(lines, size), {"writer.a": kill, "aggregator.1": kill}, lambda turn: order[turn % len(order)])
    assert letters == [culprit]
    assert applied == [line for line in lines if line != culprit]
    assert deaths <= 10


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 100), st.integers(0, 99), st.floats(1e-5, 0.9), st.integers(1, 100))
def test_a_death_that_comes_late_has_no_neighbour_given_up(count: int, bad: int, delay: float, size: int) -> None:
    lines = numbered(count)
    culprit = lines[bad % count]
    applied, letters, _ = deliver(
        batches(lines, size), {"writer.a": lambda line: delay if line == culprit else None}, lambda turn: False)
    assert letters == [culprit]
    assert applied == [line for line in lines if line != culprit]


def test_one_that_dies_of_a_record_only_beside_others_gives_up_nothing_and_comes_to_an_end() -> None:
    (chunk,), blamed = batches(numbered(1), 1), Blame()
    beside = Suspect("p", chunk.start, chunk.end, "worker_died", "how", NO_MARK, CONSUMER)
    while not is_hopeless(chunk, blamed):
        (chunk, blamed), = blame(chunk, blamed, beside)
        assert not chunk.fault
    assert blamed.marks == MOST_BESIDE


@pytest.mark.parametrize("status", [os.EX_TEMPFAIL, LOST, os.EX_CONFIG])
def test_a_writer_that_says_why_it_cannot_go_on_blames_no_record(status: int) -> None:
    writer = Consumer("writer.a", 2, lambda line: None)
    writer.hand = ("p", 0, 100)
    assert writer.accusation(1) is not None
    assert writer.accusation(status) is None


def test_what_a_shard_has_emitted_is_nobodys_input_and_blames_no_record() -> None:
    writer = Consumer("writer.a", 2, lambda line: None)
    writer.hand = ("aggregator.1@5f", 7, 8)
    assert writer.accusation() is None


def test_each_death_has_more_parts_taken_one_by_one() -> None:
    taken: Any = [Consumer("writer.a", generation, lambda line: None).singly._left for generation in (1, 2, 3, 9, 5000)]
    assert taken == [0, 256, 512, 4096, 4096]
