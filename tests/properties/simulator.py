"""A seeded simulation of the whole protocol: real roles, real ledger, real state, no process and no socket.

Every role runs its own code. What is simulated is the world: a queue for each pair of addresses, from which the
scheduler takes one message at random (so messages are delayed and overtake one another between pairs, never within
one, as over ZeroMQ); repeated messages; actors that are killed with a random part of what they had sent and all that
was on its way to them; rosters that reach each actor at another time; sinks that fail half-way through a write.
"""

from __future__ import annotations

import random
from collections import Counter, defaultdict, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.aggregator import Aggregator
from actors.checker import Check, Destinations, checking
from actors.parser import forwarding, fused
from actors.reader import Reader
from actors.runtime.actor import Post, Role
from actors.runtime.errors import Reject, Retryable
from actors.runtime.ledger import Ledger
from actors.runtime.lift import lift
from actors.runtime.manifest import Component, Manifest
from actors.runtime.membership import Membership
from actors.runtime.messages import (
    Ack,
    AnyMessage,
    Batch,
    BatchId,
    Failed,
    Hello,
    InputDone,
    Member,
    Message,
    Part,
    Roster,
    decode,
    encode,
)
from actors.runtime.pipeline import CheckerOptions, FlowOptions, Fold, ParserOptions, Pipeline
from actors.runtime.ports import Chunk, DeadLetter, Payload, Refusal, Sink, SinkOptions, Unit, UnitLedger
from actors.runtime.state import FoldState, add_each, read_state
from actors.runtime.topology import DEAD_LETTERS, aggregator_names, downstream, expand, writer_name
from actors.runtime.worker import PoolWorker
from actors.writer import Writer


class StoreOptions(msgspec.Struct, frozen=True):
    """A key-value store in memory."""

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "simulated"

    def pack(self, items: Sequence[Any]) -> bytes:
        return msgspec.msgpack.encode(list(items))

    def open(self, name: str, state: Path) -> Sink:
        raise NotImplementedError

    def describe(self) -> str:
        return "memory"


class LetterOptions(StoreOptions, frozen=True):
    """A dead-letter store in memory."""

    ordered: ClassVar[bool] = False


class Store:
    """What survives its writers: the last value of each key. Refuses values that say so, fails now and then."""

    def __init__(self, rng: random.Random, failure_rate: float) -> None:
        self.values: dict[str, str] = {}
        self._rng = rng
        self._failure_rate = failure_rate

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        refusals: list[Refusal] = []
        for index, payload in enumerate(payloads):
            for item, (key, value) in enumerate(msgspec.msgpack.decode(payload.data)):
                if self._rng.random() < self._failure_rate:
                    raise Retryable("the store is down")
                if value == "refuse":
                    refusals.append(Refusal(index, item, "refused", "no", f"{key}={value}".encode()))
                else:
                    self.values[key] = value
        return refusals

    def close(self) -> None:
        pass


class Letters:
    """What survives the writers of dead letters."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, str, int], DeadLetter] = {}

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        for payload in payloads:
            for letter in msgspec.msgpack.decode(payload.data, type=list[DeadLetter]):
                self.rows[letter.partition, letter.position, letter.stage, letter.index] = letter
        return []

    def close(self) -> None:
        pass


class Lines:
    """A source over units in memory, which cuts the ranges that are recorded, then others of a random size."""

    def __init__(self, units: Sequence[tuple[str, bytes]], ledger: UnitLedger, rng: random.Random) -> None:
        self._units = deque(units)
        self._ledger = ledger
        self._rng = rng
        self._unit: Unit | None = None
        self._data = b""
        self._cuts: deque[tuple[int, int]] = deque()
        self._at = 0
        self.exhausted = False

    def read(self) -> Chunk | None:
        while self._unit is None or self._at >= self._unit.base + len(self._data):
            if self._unit is not None:
                self._ledger.end(self._unit, self._at)
            if not self._units:
                self.exhausted = True
                return None
            name, self._data = self._units.popleft()
            self._unit = self._ledger.begin(name, "same")
            self._cuts = deque(self._ledger.boundaries(self._unit))
            self._at = self._unit.low
            if self._unit.status not in ("reading", "loaded"):
                self._unit, self._data = None, b""
        return self._chunk(self._unit)

    def finished(self, unit: Unit) -> None:
        pass

    def progress(self) -> tuple[int, int]:
        return self._at, 0

    def close(self) -> None:
        pass

    def _chunk(self, unit: Unit) -> Chunk:
        start = self._at - unit.base
        if self._cuts:
            end = self._cuts.popleft()[1] - unit.base
        else:
            end = self._data.find(b"\n", min(len(self._data), start + self._rng.randint(1, 60))) + 1
            end = end or len(self._data)
        self._at = unit.base + end
        return Chunk(unit.id, unit.name, unit.base + start, unit.base + end, start,
                     self._data.count(b"\n", 0, start) + 1, self._data[start:end])


def parse(line: bytes) -> Any:
    """``key=value``; blank lines are no records."""
    if not line:
        return None
    key, equals, value = line.decode().partition("=")
    if not equals:
        raise Reject("form", "no =")
    return key, value


def check(row: Any) -> Any:
    """Drop what asks for it, reject what is wrong."""
    key, value = row
    if value == "drop":
        return None
    if value == "bad":
        raise Reject("value")
    return key, value


def route(value: Any) -> str:
    """Two stores, by the key's last digit."""
    return "even" if int(value[0][1:]) % 2 == 0 else "odd"


def partials(values: list[Any], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """How many records of each key."""
    return {(key,): [count] for key, count in Counter(value[0] for value in values).items()}


class World:
    """The simulated run.

    Args:
        seed: of everything random.
        folder: for the ledger and the aggregators' state.
        units: name and content of each input.
        fuse: parsers that check, or checkers of their own.
        kills: how many actors are killed, at random moments.
    """

    def __init__(self, seed: int, folder: Path, units: Sequence[tuple[str, bytes]], fuse: bool, kills: int) -> None:
        self.rng = random.Random(seed)
        self.folder = folder
        self.units = units
        self.kills = kills
        self.now = 0.0
        self.done = False
        self.max_open = 0
        self.version = 0
        self.since: dict[str, int] = {}
        self.stores = {name: Store(self.rng, 0.01 if kills else 0.0) for name in ("even", "odd")}
        self.letters = Letters()
        self.pipeline = Pipeline(
            name="simulated", source=None, parse=parse, check=check, route=route,  # type: ignore[arg-type]
            encode=lambda value: value, sinks={name: StoreOptions() for name in self.stores},
            dead_letters=LetterOptions(), fold=Fold(partials=partials, keys=("key",), fields=("records",)))
        store = Component(f"{__name__}:StoreOptions", {})
        self.manifest = Manifest(
            run="run", name="simulated", app="", state=str(folder), source=store,
            sinks=dict.fromkeys(self.stores, store), dead_letters=Component(f"{__name__}:LetterOptions", {}),
            folds=True, parser=ParserOptions(workers=3, fuse=fuse), checker=CheckerOptions(workers=2),
            flow=FlowOptions(window_batches=6))
        self.specs = {spec.name: spec for spec in expand(self.manifest)}
        self.generations: dict[str, int] = defaultdict(int)
        self.alive: dict[str, SimulatedActor] = {}
        self.queues: dict[tuple[str, str], deque[list[bytes]]] = defaultdict(deque)
        self.resources: dict[str, Any] = {}
        for name in self.specs:
            self.start(name)

    def run(self, max_steps: int = 200_000) -> None:
        """Step until the reader says that all is done; fails when that takes too long, which means: never."""
        for _ in range(max_steps):
            if self.done:
                return
            self.step()
        raise AssertionError(f"no end after {max_steps} steps: {self.describe()}")

    def step(self) -> None:
        """Deliver a message, let an actor work, kill one, or start a dead one again."""
        self.now += self.rng.choice((0.0, 0.001, 0.05))
        chance = self.rng.random()
        dead = [name for name in self.specs if name not in self.alive]
        if dead and chance < 0.03:
            self.start(self.rng.choice(dead))
        elif self.kills and chance < 0.04 and self.alive:
            self.kills -= 1
            # Ordered consumers have the harder part, so they die more often.
            ordered = [name for name in sorted(self.alive) if self.specs[name].ordered]
            self.kill(self.rng.choice(ordered if ordered and self.rng.random() < 0.5 else sorted(self.alive)))
        elif chance < 0.6:
            self.deliver()
        elif self.alive:
            actor = self.alive[self.rng.choice(sorted(self.alive))]
            actor.role.work(self.now)
            self.max_open = max(self.max_open, actor.slot.open if actor.name.startswith("reader") else 0)

    def start(self, name: str) -> None:
        """Start the next generation of an actor."""
        self.generations[name] += 1
        actor = SimulatedActor(self, name, self.generations[name])
        self.alive[name] = actor
        self.since[name] = self.version + 1
        self.publish()

    def kill(self, name: str) -> None:
        """SIGKILL: what was on its way to it is lost, and a random last part of what it had sent to each."""
        actor = self.alive.pop(name)
        for (sender, receiver), queue in self.queues.items():
            if receiver == actor.address:
                queue.clear()
            elif sender == actor.address:
                for _ in range(self.rng.randint(0, len(queue))):
                    queue.pop()
        resource = self.resources.pop(name, None)
        if resource is not None:
            resource._connection.close()  # what was not committed is rolled back, as in a death
        self.publish()

    def publish(self) -> None:
        """Tell everybody alive who is alive."""
        self.version += 1
        members = tuple(msgspec.structs.replace(actor.member, since=self.since[actor.name])
                        for actor in self.alive.values())
        for actor in self.alive.values():
            self.queues["supervisor", actor.address].append([encode(Roster(self.version, members))])

    def deliver(self) -> None:
        """Deliver the first message of a random queue; repeat it now and then."""
        waiting = [pair for pair, queue in self.queues.items() if queue]
        if not waiting:
            return
        sender, receiver = pair = self.rng.choice(waiting)
        frames = self.queues[pair][0]
        message = decode(frames[0])
        repeatable = isinstance(message, Batch | Part | Ack | Failed)
        if not (self.kills and repeatable and self.rng.random() < 0.02):
            self.queues[pair].popleft()
        actor = self.alive.get(receiver.partition("#")[0])
        if actor is not None and actor.address == receiver:
            actor.receive(sender, message, frames[1:])

    def counts(self) -> Counter[str]:
        """The ledger's outcome counts over all units."""
        ledger = self.resources["reader.1"]
        return sum((Counter(unit.counts) for unit in ledger._units.values()), Counter())

    def folded(self) -> dict[str, int]:
        """The aggregators' durable state."""
        state: dict[str, int] = {}
        for name in aggregator_names(self.manifest):
            state |= {key[0]: numbers[0] for key, numbers in read_state(self.folder / f"{name}.db").items()}
        return state

    def describe(self) -> str:
        """For a failed run: who is alive, what waits."""
        queues = {pair: len(queue) for pair, queue in self.queues.items() if queue}
        return f"alive {sorted(self.alive)}, open {len(self.alive['reader.1'].role._origin)}, queues {queues}"  # type: ignore[attr-defined]


class _Slot:
    """A slot on no board."""

    def __init__(self) -> None:
        self.batches = self.records = self.bytes_done = self.bytes_total = self.open = 0
        self.note = ""

    def phase(self, phase: str) -> None:
        pass

    def take(self, batch: BatchId) -> None:
        self.hand = batch


class SimulatedActor:
    """A role in the simulated world: its ``Post``, and what ``runtime.actor`` does around it."""

    def __init__(self, world: World, name: str, generation: int) -> None:
        self.world = world
        self.name = name
        self.generation = generation
        self.address = f"{name}#{generation}"
        spec = world.specs[name]
        self.member = Member(name, generation, spec.stage, "", spec.ordered)
        self.slot = _Slot()
        self.members: dict[str, Member] = {}
        self.roster_version = 0
        self._membership = Membership()
        self._downstream = downstream(world.manifest, spec.stage)
        self.role = _make_role(world, name, self)

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        if self._membership.is_dead(address):
            return False  # its socket is closed
        self.world.queues[self.address, address].append([encode(message), *frames])
        return True

    def tell(self, message: Message) -> None:
        if isinstance(message, InputDone):
            self.world.done = True

    def receive(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        if isinstance(message, Roster):
            self._meet(message)
        elif not self._membership.is_dead(sender):
            self.role.message(sender, message, frames)

    def _meet(self, roster: Roster) -> None:
        self.roster_version = roster.version
        come, gone = self._membership.meet(roster)
        for member in gone:
            # Its socket is closed; but what had been read from it by then is still handed over.
            queue = self.world.queues[member.address, self.address]
            for _ in range(self.world.rng.randint(0, len(queue))):
                queue.pop()
            if self.members.get(member.name) == member:
                del self.members[member.name]
        for member in come:
            if member.stage in self._downstream:
                self.send(member.address, Hello("run"))
                self.members[member.name] = member
        self.role.roster(come, gone)


def _make_role(world: World, name: str, post: Post) -> Role:
    stage, _, which = name.partition(".")
    manifest, pipeline = world.manifest, world.pipeline
    if stage == "reader":
        ledger = world.resources[name] = Ledger(world.folder / "positions.db", "run")
        return Reader(post, manifest, ledger, Lines(world.units, ledger, world.rng))
    if stage == "aggregator":
        state = world.resources[name] = FoldState(world.folder / f"{name}.db", manifest.aggregator.shards, add_each)
        return Aggregator(post, state)
    if stage == "writer":
        letters: SinkOptions = LetterOptions()
        if which == DEAD_LETTERS:
            return Writer(post, which, world.letters, False, letters)
        return Writer(post, which, world.stores[which], True, letters)
    checks = Check(pipeline, None, Destinations(
        {sink: writer_name(sink) for sink in world.stores}, {sink: StoreOptions() for sink in world.stores},
        writer_name(DEAD_LETTERS), LetterOptions(), aggregator_names(manifest)))
    parse_lines = lift(pipeline.parse, "parse")
    if stage == "checker":
        work = checking(checks, msgspec.msgpack.Decoder())
    else:
        work = fused(parse_lines, checks) if manifest.parser.fuse else forwarding(parse_lines)
    return PoolWorker(post, work, manifest.flow.credit)


def make_units(rng: random.Random, units: int, records: int) -> list[tuple[str, bytes]]:
    """Inputs in which keys come again, with blank, dropped, bad, malformed and refused records among them."""
    result: list[tuple[str, bytes]] = []
    for unit in range(units):
        lines = [f"k{rng.randint(0, 12)}={_value(rng, unit * records + n)}" for n in range(records)]
        lines = [rng.choice(("", "nonsense")) if rng.random() < 0.05 else line for line in lines]
        result.append((f"unit-{unit}", "\n".join(lines).encode()))
    return result


def _value(rng: random.Random, number: int) -> str:
    return rng.choice(("drop", "bad", "refuse")) if rng.random() < 0.1 else str(number)


def records_of(units: Sequence[tuple[str, bytes]]) -> Iterator[tuple[str, str]]:
    """(key, value) of every well-formed line, in source order."""
    for _, data in units:
        for line in data.decode().split("\n"):
            if "=" in line:
                key, _, value = line.partition("=")
                yield key, value
