"""Runs that share the partitions of a group, simulated in one process: what gives partitions out takes them away again,
with a word before it or without, and gives them to any member. Members are whole runs with their own ledgers; whoever
has a partition goes on behind the position that was committed to the group.
"""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from actors.reader import Reader
from actors.runtime.actor import Post
from actors.runtime.counts import OUTCOMES, merged
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.ports import Source
from actors.runtime.units import LEDGER
from actors.runtime.values import Chunk, Revoked, Unit
from actors.runtime.worker import PoolWorker
from actors.testing import Faults
from actors.testing import world as testing_world
from actors.testing.world import RUN, Shape
from actors.writer import Writer
from tests.properties.simulator import PIPELINE

KIND = "group"
#: Seconds that members wait for what is open of a partition that they are asked to give back.
BOUNDS_S = (0.0, 0.3, 3.0)
#: Steps of all members in which nothing was committed, after which nothing is going to happen any more.
_PATIENCE_STEPS = 200_000


class Commit(NamedTuple):
    """A member has committed from here to there."""

    member: str
    name: str
    start: int
    end: int


class Group:
    """What a broker does for a group.

    Args:
        rng: who has what, and for how long.
        logs: the partitions by name: lines.
        members: names.
        moves: how many times something is taken away.
    """

    def __init__(self, rng: random.Random, logs: Mapping[str, bytes], members: Sequence[str], moves: int) -> None:
        self.rng = rng
        self.logs = dict(logs)
        self.members = list(members)
        self.moves = moves
        #: Position, and the state id of who has committed it.
        self.positions: dict[str, tuple[int, str]] = dict.fromkeys(logs, (0, ""))
        #: Who has a partition, and the number of that assignment.
        self.owners: dict[str, tuple[str, int]] = {}
        self.asked_back: set[str] = set()
        self.commits: list[Commit] = []
        self._assignments = 0
        for number, name in enumerate(logs):
            self._give(name, self.members[number % len(members)])

    @property
    def is_done(self) -> bool:
        """Whether all of all partitions is committed."""
        return all(position == len(self.logs[name]) for name, (position, _) in self.positions.items())

    def of(self, member: str) -> dict[str, int]:
        """The partitions of a member, with the numbers of their assignments."""
        return {name: number for name, (owner, number) in self.owners.items() if owner == member}

    def step(self) -> None:
        """Now and then, ask for a partition, or take one."""
        if self.moves and self.rng.random() < 0.01:
            self.moves -= 1
            name = self.rng.choice(list(self.logs))
            if name in self.asked_back or self.rng.random() < 0.4:
                self._give(name)
            else:
                self.asked_back.add(name)

    def commit(self, member: str, number: int, unit: Unit, state_id: str) -> None:
        """A member has a new position. Who has no partition commits nothing for it, and no position goes back."""
        assert self.owners[unit.name] == (member, number), f"{member} commits {unit.name}, which it has not"
        start, _ = self.positions[unit.name]
        assert unit.low >= start, f"{unit.name} goes back from {start} to {unit.low}"
        if unit.low > start:
            self.commits.append(Commit(member, unit.name, start, unit.low))
            self.positions[unit.name] = unit.low, state_id

    def release(self, name: str) -> None:
        """A member gives a partition back, as it was asked to."""
        assert name in self.asked_back
        self._give(name)

    def _give(self, name: str, member: str = "") -> None:
        self._assignments += 1
        self.asked_back.discard(name)
        self.owners[name] = member or self.rng.choice(self.members), self._assignments


class Held:
    """A partition that a member has."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.unit: Unit | None = None
        self.recorded: deque[tuple[int, int]] = deque()
        self.at = 0
        self.is_leaving = False


class GroupReading(Source):
    """The source of a member: reads a chunk of each of its partitions in turn."""

    endless = True

    def __init__(self, world: Member, ledger: Ledger) -> None:
        self._world = world
        self._group = world.group
        self._ledger = ledger
        self._held: dict[str, Held] = {}
        self._turns: deque[str] = deque()
        self._news: list[Revoked] = []
        self._is_new = True
        self.exhausted = False

    def tick(self, now: float) -> float | None:
        """Hear what the group has to say."""
        mine = self._group.of(self._world.member)
        for name, held in list(self._held.items()):
            if mine.get(name) != held.number:
                self._lose(held.unit)
                del self._held[name]
            elif name in self._group.asked_back and not held.is_leaving:
                self._give_back(name, held, now)
        mine = self._group.of(self._world.member)
        for name, number in mine.items():
            if name not in self._held:
                self._held[name] = Held(number)
                self._turns.append(name)
                _, state_id = self._group.positions[name]
                if state_id != self._ledger.state_id:  # another has read on since
                    self._lose_what_is_unfinished(name)
        if self._is_new:
            self._is_new = False
            for unit in self._ledger.known(KIND):
                if unit.name not in mine:
                    self._lose_what_is_unfinished(unit.name)
        return now + 1.0

    def revoked(self) -> list[Revoked]:
        """What was heard."""
        news, self._news = self._news, []
        return news

    def released(self, units: Sequence[Unit]) -> None:
        """Give back what was asked for."""
        for unit in units:
            held = self._held.pop(unit.name)
            assert held.unit is unit and held.is_leaving
            self._group.commit(self._world.member, held.number, unit, self._ledger.state_id)
            self._group.release(unit.name)

    def committed(self, units: Sequence[Unit]) -> None:
        """Tell the group."""
        for unit in units:
            held = self._held.get(unit.name)
            assert held is not None and held.unit is unit, f"{unit} is not ours"
            self._group.commit(self._world.member, held.number, unit, self._ledger.state_id)

    def read(self) -> Chunk | None:
        """Return the next chunk of the partition whose turn it is, or of one behind it."""
        for name in list(self._turns):
            self._turns.rotate(-1)
            held = self._held.get(name)
            if held is None:
                self._turns.remove(name)
            elif not held.is_leaving:
                unit = held.unit or self._take_up(name, held)
                if held.at < len(self._group.logs[name]):
                    return self._cut(unit, held)
        self.exhausted = self._group.is_done
        return None

    def _give_back(self, name: str, held: Held, now: float) -> None:
        if held.unit is None:
            del self._held[name]
            self._group.release(name)
            return
        held.is_leaving = True
        self._news.append(Revoked((held.unit,), now + self._world.rng.choice(BOUNDS_S)))

    def _lose_what_is_unfinished(self, name: str) -> None:
        for unit in self._ledger.known(KIND):
            if unit.name == name and unit.status == "reading":
                self._lose(unit)

    def _lose(self, unit: Unit | None) -> None:
        if unit is not None:
            self._news.append(Revoked((unit,), is_lost=True))

    def _take_up(self, name: str, held: Held) -> Unit:
        position, _ = self._group.positions[name]
        lines = self._group.logs[name].count(b"\n", 0, position)
        unit = held.unit = self._ledger.begin(name, KIND, alone=True, after=(position, lines))
        assert unit.low == position, f"{unit} is not where the group is: {position}"
        held.recorded = deque(self._ledger.boundaries(unit))
        held.at = unit.low
        return unit

    def _cut(self, unit: Unit, held: Held) -> Chunk:
        data, start = self._group.logs[unit.name], held.at
        end = held.recorded.popleft()[1] if held.recorded else (
            data.find(b"\n", start + self._world.next_size()) + 1 or len(data))
        held.at = end
        return Chunk(unit.id, unit.name, start, end, start, data.count(b"\n", 0, start) + 1, data[start:end])


class Member(testing_world.World):
    """A member of a group: a whole run.

    Args:
        group: what gives partitions out.
        member: its name there.
        faults: what happens to its actors.
        folder: for its ledger.
        fused: parsers that check, or checkers of their own.
    """

    def __init__(self, group: Group, member: str, faults: Faults, folder: Path, fused: bool) -> None:
        self.group = group
        self.member = member
        folder.mkdir()
        super().__init__(msgspec.structs.replace(PIPELINE, fold=None), {}, folder,
                         Shape(batch_bytes=30, workers=2, fused=fused), faults)

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return GroupReading(self, ledger)

    def make_reader(self, post: Post, ledger: Ledger) -> Reader:
        """Make the role of a new reader."""
        return Reader(post, self.manifest, ledger, self.open_source(ledger))


def run_together(group: Group, worlds: Sequence[Member]) -> None:
    """Step until all of them are done.

    Raises:
        AssertionError: nothing was committed for very long.
    """
    since = commits = 0
    while not all(world.done for world in worlds):
        group.step()
        for world in worlds:
            if not world.done:
                world.step()
        since = 0 if len(group.commits) != commits else since + 1
        commits = len(group.commits)
        assert since < _PATIENCE_STEPS, "; ".join(world.describe() for world in worlds)
    for world in worlds:
        _work_off(world)


def _work_off(world: Member) -> None:
    """Deliver what is still under way when the reader is done (repetitions), and let it be worked off."""
    quiet = 0
    while quiet < 20:
        quiet = 0 if world.queues else quiet + 1
        world.now += 0.5
        world.deliver()
        for name, actor in world.alive.items():
            if not name.startswith("reader"):
                actor.role.work(world.now)


def check_together(group: Group, worlds: Sequence[Member]) -> None:
    """Each record has one outcome, in the ledger of whoever has committed it; all sums hold; nothing is held.

    (A worker whose answer was lost by a link waits for ever, whatever the sources do.)
    """
    assert group.is_done
    for world in worlds:
        counts = merged(unit.counts for unit in read_units(world.folder / LEDGER, RUN))
        assert counts.get("read", 0) == sum(counts.get(name, 0) for name in OUTCOMES), counts
        expected = Counter(outcome for commit in group.commits if commit.member == world.member
                           for outcome in outcomes(group.logs[commit.name][commit.start:commit.end]))
        assert {name: counts.get(name, 0) for name in OUTCOMES[:-1]} == {
            name: expected[name] for name in OUTCOMES[:-1]}, world.member
        for actor in world.alive.values():
            if isinstance(actor.role, Writer):
                assert len(actor.role._sequencer) == 0, f"{world.member}: {actor.name} holds parts for ever"
            if isinstance(actor.role, PoolWorker) and not world.faults.drops:
                assert len(actor.role._relay) == 0, f"{world.member}: {actor.name} waits for answers for ever"
    stored = {tuple(item) for world in worlds for name in world.sinks for item in world.stores[name].items}
    assert stored == {tuple(line.split("=")) for data in group.logs.values() for line in data.decode().split("\n")
                      if line.partition("=")[2].isdigit()}


def outcomes(data: bytes) -> Iterator[str]:
    """What has to become of each record."""
    for line in data.decode().split("\n"):
        _, equals, value = line.partition("=")
        if line:
            yield "dead_lettered" if not equals or value in ("bad", "refuse") else (
                "filtered" if value == "drop" else "written")
