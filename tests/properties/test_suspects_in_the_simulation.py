"""Workers that die with a batch in hand, or are asked to leave, in the simulated world: marks, splits, retiring."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from actors.runtime.codec import encode
from actors.runtime.messages import NOTHING, AnyMessage, BatchId, Drain, Drained, Hold, Message, Suspect
from actors.runtime.topology import GIVERS
from actors.runtime.values import DeadLetter
from actors.runtime.worker import PoolWorker
from actors.testing import Faults
from actors.testing.inline import result_of
from actors.testing.simulated import SimulatedActor
from tests.properties.simulator import Units, World, make_units, records_of

SEEDS = range(100)
#: What a line says that kills whoever works on it.
POISON = b"=666"
#: Chance of each kind of event at each step, as long as some are left.
_RATE = 0.01


class SuspiciousWorld(World):
    """A world whose supervisor accuses, holds and retires, as the real one does.

    Args:
        faults: what else happens.
        folder: for the ledger and the aggregators' state.
        units: name and content of each input.
        fused: parsers that check, or checkers of their own.
        accusations: how many workers are killed with a batch in hand.
        retirements: how many workers are asked to finish and go.
    """

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool, accusations: int = 0,
                 retirements: int = 0) -> None:
        self.accusations, self.retirements = accusations, retirements
        self.letters_kill = False
        self._leaving: set[str] = set()
        super().__init__(faults, folder, units, fused)

    def step(self) -> None:
        """Let one of the events happen that this world knows, or any other."""
        if self.accusations and self.rng.random() < _RATE:
            self.accusations -= 1
            self.die_with_a_batch(self.rng.choice(self.workers()), self.rng.random() < 0.5)
        elif self.retirements and self.rng.random() < _RATE:
            self.retirements -= 1
            self.retire(self.rng.choice(self.workers()))
        else:
            super().step()

    def workers(self) -> list[str]:
        """The living workers, or the reader when none lives."""
        return [name for name in self.alive if self.specs[name].stage in GIVERS] or ["reader.1"]

    def start(self, name: str) -> None:
        """Start the next generation of an actor; a worker dies of poison, and may be asked to leave."""
        super().start(name)
        actor = self.alive.get(name)
        if actor is not None and self.specs[name].stage in GIVERS:
            _make_mortal(self, actor)

    def hand(self, name: str) -> BatchId:
        """What a worker would have in hand now."""
        role = self.alive[name].role if name in self.alive else None
        return role._queue[0][1].id if isinstance(role, PoolWorker) and role._queue and not role._stalled else NOTHING

    def die_with_a_batch(self, name: str, suspected_first: bool) -> None:
        """Kill a worker as the tree does: the readers hear of its batch before they hear of its death."""
        if name not in self.alive:
            return
        hand = self.hand(name)
        if suspected_first:
            self._hold(name, True)
        if hand != NOTHING:
            self._tell_stage("reader", Suspect(*hand, "worker_died", f"{name}: died"))
        self.kill(name)

    def retire(self, name: str) -> None:
        """Ask a worker to finish what it has and go; as in the real one, somebody of its pool stays."""
        stays = [other for other, actor in self.alive.items()
                 if self.specs[other].stage == self.specs[name].stage and actor.address not in self._leaving]
        if name in self.alive and self.specs[name].stage in GIVERS and len(stays) > 1:
            self._leaving.add(self.alive[name].address)
            self._hold(name, True)
            self.send("supervisor", self.alive[name].address, [encode(Drain())])

    def _hold(self, name: str, on: bool) -> None:
        for stage in GIVERS.get(self.specs[name].stage, ()):
            self._tell_stage(stage, Hold(self.alive[name].address, on))

    def _tell_stage(self, stage: str, message: Message) -> None:
        for name, actor in self.alive.items():
            if self.specs[name].stage == stage:
                self.send("supervisor", actor.address, [encode(message)])


def _make_mortal(world: SuspiciousWorld, actor: SimulatedActor) -> None:
    """Kill a worker that takes poison into its hand; let one go that has drained."""
    role = actor.role
    assert isinstance(role, PoolWorker)
    work, receive = role.work, actor.receive

    def deadly_work(now: float) -> float | None:
        if world.hand(actor.name) != NOTHING:
            _, batch, frames, _ = role._queue[0]
            if POISON in frames[0] and (world.letters_kill or not batch.fault):
                world.die_with_a_batch(actor.name, suspected_first=False)
                return None
        return work(now)

    def receive_all(sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        if isinstance(message, Drain):
            role.drain()
        else:
            receive(sender, message, frames)

    def tell(message: Message) -> None:
        if isinstance(message, Drained) and actor.name in world.alive:
            world.kill(actor.name)

    role.work, actor.receive, actor.tell = deadly_work, receive_all, tell  # type: ignore[method-assign]


def _without(world: World, letters: Sequence[DeadLetter]) -> Iterator[tuple[str, bytes]]:
    """The input without the lines that were given up."""
    for name, data in world.units.items():
        lines = data.split(b"\n")
        for letter in letters:
            if letter.source == name:
                assert letter.raw.strip(b"\n") == lines[world.line_of(letter)]
                lines[world.line_of(letter)] = b""
        yield name, b"\n".join(lines)


def check_suspects(world: SuspiciousWorld, poison: int) -> None:
    """Who was given up is a dead letter, alone, and counted once; all else is as in a run without faults."""
    try:
        world.run()
        given_up = [letter for letter in result_of(world).dead_letters if letter.reason == "worker_died"]
        assert sum(POISON in letter.raw for letter in given_up) == poison
        units = list(_without(world, given_up))
        result = result_of(world)
        stored = {key: value for key, value in records_of(units) if value.isdigit()}
        assert {**world.stores["even"].values, **world.stores["odd"].values} == stored
        live = [key for key, value in records_of(units) if value not in ("drop", "bad")]
        assert result.folded == {(key,): [count] for key, count in Counter(live).items()}
        lines = [line for _, data in units for line in data.decode().split("\n") if line]
        wrong = [line for line in lines if "=" not in line or line[-3:] in ("bad", "use")]
        assert result.counts["read"] == len(lines) + len(given_up)
        assert result.counts.get("rejected.worker_died", 0) == len(given_up)
        assert result.counts.get("dead_lettered", 0) == len(wrong) + len(given_up)
        assert result.counts.get("filtered", 0) == sum(line.endswith("=drop") for line in lines)
    finally:
        world.close()


def poisoned(rng: random.Random, units: Units, number: int) -> tuple[list[tuple[str, bytes]], int]:
    """Put some lines of poison in; return how many."""
    result = []
    for name, data in units:
        lines = data.split(b"\n")
        for _ in range(number):
            lines.insert(rng.randint(0, len(lines)), b"k%d%b" % (rng.randint(0, 12), POISON))
        result.append((name, b"\n".join(lines)))
    return result, number * len(units)


@pytest.mark.parametrize("seed", SEEDS)
def test_poison_ends_alone_in_the_dead_letters_whoever_else_dies_or_leaves(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units, poison = poisoned(rng, make_units(rng, rng.randint(1, 2), rng.randint(1, 60)), rng.randint(0, 2))
    faults = Faults(seed, kills=rng.randint(0, 10), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.05)
    world = SuspiciousWorld(faults, tmp_path, units, bool(seed % 2), rng.randint(0, 20), rng.randint(0, 10))
    check_suspects(world, poison)


@pytest.mark.parametrize("seed", SEEDS)
def test_workers_that_leave_are_not_missed(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 2), rng.randint(1, 100))
    faults = Faults(seed, kills=rng.randint(0, 5), delays=rng.randint(0, 20), duplicates=0.02, outages=0.05)
    check_suspects(SuspiciousWorld(faults, tmp_path, units, bool(seed % 2), retirements=rng.randint(1, 30)), 0)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_a_run_gives_up_when_even_a_dead_letter_kills_its_worker(tmp_path: Path, fused: bool) -> None:
    world = SuspiciousWorld(Faults(1), tmp_path, [("unit", b"k1=1\nk2%b\nk3=3" % POISON)], fused)
    world.letters_kill = True
    try:
        world.run()
        assert sum(world.generations[name] for name in world.specs if world.specs[name].stage in GIVERS) < 30
    finally:
        world.close()
