"""A whole run in one process: real roles, real ledger, real state; the world around them is simulated and seeded.

    actor ──send──▶ [queue for each pair of addresses] ──the scheduler takes one message of one queue──▶ actor
                       ▲ held up, repeated, dropped        ▲ or lets an actor work, kills one, stops one, starts one

Every role runs its own code. Messages of a pair arrive in order, as over ZeroMQ; those of different pairs overtake one
another. Rosters reach each actor at another time. Who is killed takes along what was on its way to it and a random last
part of what it had sent; what survives is what is on disk (ledger, folded state) and in the stores.

Time moves with the steps, so what waits for a time comes to it. The same arguments make the same run.

What does not work: threads, or processes with injected faults (no run can be repeated); killing an actor in the middle
of a piece of work (between two messages is enough: what it had not sent and not committed is gone either way, and what
it had is cut off at random).
"""

from __future__ import annotations

import random
import sqlite3
from collections import defaultdict, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from actors.defaults import completed
from actors.reader import Reader
from actors.runtime.actor import Post
from actors.runtime.codec import decode, encode
from actors.runtime.issued import wall_ms
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Component, Manifest
from actors.runtime.messages import Ack, Batch, Failed, Part, Roster
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Source
from actors.runtime.sections import CheckerOptions, ParserOptions
from actors.runtime.shard import ShardFile, ShardState
from actors.runtime.topology import DEAD_LETTERS, expand
from actors.runtime.tracing import OFF, Tracer
from actors.runtime.worker import Work
from actors.testing.faults import Faults
from actors.testing.memory import MemorySink, MemorySource, MemoryStore, UnorderedMemorySink, inline_sink
from actors.testing.reading_memory import Content, MemoryReading
from actors.testing.simulated import SimulatedActor

RUN = "run"
#: Chance of each kind of fault at each step, as long as some are left.
_FAULT_RATE = 0.01
#: Longest times in seconds for which an actor stands still or a link is held up: from a hiccup to an age.
_PAUSES_S = (0.1, 1.0, 10.0)
#: Steps without a closed batch after which nothing is going to happen any more: more than the reader's patience, which
#: doubles, may take when message after message is dropped.
_PATIENCE_STEPS = 400_000
_REPEATABLE = Batch | Part | Ack | Failed


class Shape(msgspec.Struct, frozen=True, kw_only=True):
    """How a run is laid out, besides what the pipeline says itself. ``batch_s``: 0: no time decides what is done."""

    batch_bytes: int
    workers: int
    fused: bool
    batch_s: float = 0.0


class World:
    """The simulated run.

    Args:
        pipeline: the application; its options are those of the run.
        units: content of each input, by name.
        folder: an empty directory for the ledger and the folded state.
        shape: workers and batches.
        faults: what happens to them.

    Attributes:
        now: monotonic time in seconds.
        done: whether the reader has said that nothing is under way any more.
        max_open: most batches that were open at a time.
        tracer: whom all actors tell the spans of their batches to.
    """

    tracer: Tracer = OFF
    units: Mapping[str, Content]

    def __init__(
        self, pipeline: Pipeline, units: Mapping[str, Content], folder: Path, shape: Shape, faults: Faults
    ) -> None:
        self.rng = random.Random(faults.seed)
        self.pipeline = pipeline = completed(pipeline, "pipeline")
        assert pipeline.dead_letters is not None
        self.units = dict(units)
        self.folder = folder
        self.faults = faults
        self.now = self._worked_s = 0.0
        self.done = False
        self.input_ended = False
        self.drained: set[str] = set()
        self.version = 0
        self.max_open = 0
        self.sinks = {name: inline_sink(options) for name, options in pipeline.sinks.items()}
        self.letters = inline_sink(pipeline.dead_letters)
        self.stores: dict[str, MemoryStore] = {
            name: sink.store(self._holds_out) for name, sink in (*self.sinks.items(), (DEAD_LETTERS, self.letters))}
        self.manifest = _manifest(pipeline, folder, shape)
        self.specs = {spec.name: spec for spec in expand(self.manifest)}
        self.generations: dict[str, int] = defaultdict(int)
        self.alive: dict[str, SimulatedActor] = {}
        self.queues: dict[tuple[str, str], deque[list[bytes]]] = {}
        self.files: dict[str, Ledger | ShardState] = {}
        self._left = {kind: getattr(faults, kind) for kind in ("kills", "stops", "delays")}
        self._stopped: dict[str, float] = {}
        self._held: dict[tuple[str, str], float] = {}
        for name in self.specs:
            self.start(name)

    def run(self) -> None:
        """Step until the reader says that all is done.

        Raises:
            AssertionError: nothing has moved for a long time: the protocol, or a role, is stuck.
        """
        since, closed = 0, -1
        while not self.done:
            self.step()
            reader = self.alive.get("reader.1")
            since += 1
            if reader is not None and reader.slot.batches != closed:
                since, closed = 0, reader.slot.batches
            if since > _PATIENCE_STEPS:
                raise AssertionError(f"stuck: nothing moved in {_PATIENCE_STEPS:,} steps; {self.describe()}")

    def step(self) -> None:
        """Deliver a message, let an actor work, let a fault happen, or start a dead actor again."""
        self.now += self.rng.choice((0.0, 0.001, 0.05))
        chance = self.rng.random()
        dead = [name for name in self.specs if name not in self.alive]
        if dead and chance < 0.03:
            self.start(self.rng.choice(dead))
        elif self._strike():
            return
        elif chance < 0.6:
            self.deliver()
        else:
            running = [actor for name, actor in self.alive.items() if self._stopped.get(name, 0.0) <= self.now]
            if running:
                actor = self.rng.choice(running)
                actor.role.work(self.now)
                self.max_open = max(self.max_open, actor.slot.open if actor.name.startswith("reader") else 0)

    def start(self, name: str) -> None:
        """Start the next generation of an actor."""
        self.generations[name] += 1
        actor = SimulatedActor(self, name, self.generations[name])
        self.alive[name] = actor
        self.drained.discard(name)
        self._publish()
        if self.input_ended:
            self.finish()

    def finish(self) -> None:
        """The reader has nothing under way: the shards bring what they emit to its end; then all is done."""
        self.input_ended = True
        shards = [name for name, spec in self.specs.items() if spec.emits]
        for name in shards:
            if name in self.alive and name not in self.drained:
                self.alive[name].role.drain(is_end=True)
        self.done = self.drained >= set(shards)

    def kill(self, name: str) -> None:
        """SIGKILL: what was on its way to it is lost, and a random last part of what it had sent to each."""
        actor = self.alive.pop(name)
        self._stopped.pop(name, None)
        for sender, receiver in list(self.queues):
            if receiver == actor.address:
                del self.queues[sender, receiver]
            elif sender == actor.address:
                self.lose_last(sender, receiver)
        self._close_file(name)
        self._publish()

    def send(self, sender: str, receiver: str, frames: list[bytes]) -> None:
        """Put a message in the queue of a pair of addresses."""
        self.queues.setdefault((sender, receiver), deque()).append(frames)

    def deliver(self) -> None:
        """Deliver the first message of a random queue; repeat or drop it when its time has come."""
        waiting = [pair for pair in self.queues if self._flows(pair)]
        if not waiting:
            return
        sender, receiver = pair = self.rng.choice(waiting)
        frames = self.queues[pair][0]
        message = decode(frames[0])
        repeated = isinstance(message, _REPEATABLE) and self._happens(self.faults.duplicates)
        if not repeated:
            self._take(pair)
        if sender != "supervisor" and not repeated and self._happens(self.faults.drops):
            return
        actor = self.alive.get(receiver.partition("#")[0])
        if actor is not None and actor.address == receiver:
            actor.receive(sender, message, frames[1:])

    def lose_last(self, sender: str, receiver: str) -> None:
        """Lose a random last part of what is under way between two addresses."""
        pair = (sender, receiver)
        for _ in range(self.rng.randint(0, len(self.queues.get(pair, ())))):
            self.queues[pair].pop()
        if not self.queues.get(pair, True):
            del self.queues[pair]

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return MemoryReading(self.units, ledger, self.next_size)

    def wall_ms(self) -> int:
        """What the reader's clock says, in ms since 1970."""
        return wall_ms()

    def make_reader(self, post: Post, ledger: Ledger) -> Reader:
        """Make the role of a new reader."""
        return Reader(post, self.manifest, ledger, self.open_source(ledger))

    def adapt(self, work: Work) -> Work:
        """Return the work of those who check, or something around it."""
        return work

    def clock(self) -> float:
        """What workers measure their work with: each time somebody looks at it, another time has passed."""
        self._worked_s += self.rng.choice((0.0, 1e-6, 0.001, 0.02, 0.5)) if self.manifest.flow.batch_s else 0.0
        return self._worked_s

    def next_size(self) -> int:
        """Size of the next batch: with faults another each time, so that a new reader would cut other ranges."""
        size = self.manifest.flow.batch_bytes
        return size if self.faults == Faults(self.faults.seed) else self.rng.randint(1, 2 * size)

    def close(self) -> None:
        """Close all files; what was not committed is lost."""
        for name in list(self.files):
            self._close_file(name)

    def describe(self) -> str:
        """For a run that failed: who is alive, what waits."""
        queues = {f"{sender} to {receiver}": len(queue) for (sender, receiver), queue in self.queues.items()}
        reader = self.alive.get("reader.1")
        opened = "no reader" if reader is None else f"{reader.slot.open} batches open"
        return f"{self.faults}, after {self.now:.1f} s: alive {sorted(self.alive)}, {opened}, under way {queues}"

    # Faults ---------------------------------------------------------------------------------------------------------

    def _strike(self) -> bool:
        """Let a fault happen, now and then; return whether one did."""
        for kind, left in self._left.items():
            if left and self.alive and self.rng.random() < _FAULT_RATE:
                self._left[kind] -= 1
                if kind == "kills":
                    self._kill_someone()
                elif kind == "stops":
                    self._stopped[self.rng.choice(list(self.alive))] = self._pause_ends()
                elif self.queues:
                    self._held[self.rng.choice(list(self.queues))] = self._pause_ends()
                return True
        return False

    def _kill_someone(self) -> None:
        # Ordered consumers have the harder part, so they die more often.
        ordered = [name for name in self.alive if self.specs[name].ordered]
        self.kill(self.rng.choice(ordered if ordered and self.rng.random() < 0.5 else list(self.alive)))

    def _pause_ends(self) -> float:
        return self.now + self.rng.random() * self.rng.choice(_PAUSES_S)

    def _happens(self, rate: float) -> bool:
        return bool(rate) and self.rng.random() < rate

    def _holds_out(self, items: int) -> int:
        return self.rng.randrange(items) if items and self._happens(self.faults.outages) else items

    # Messages -------------------------------------------------------------------------------------------------------

    def _flows(self, pair: tuple[str, str]) -> bool:
        return (self._held.get(pair, 0.0) <= self.now
                and self._stopped.get(pair[1].partition("#")[0], 0.0) <= self.now)

    def _take(self, pair: tuple[str, str]) -> None:
        self.queues[pair].popleft()
        if not self.queues[pair]:
            del self.queues[pair]

    def _publish(self) -> None:
        self.version += 1
        members = tuple(actor.member for actor in self.alive.values())
        for actor in self.alive.values():
            self.send("supervisor", actor.address, [encode(Roster(self.version, members))])

    def _close_file(self, name: str) -> None:
        file = self.files.pop(name, None)
        if file is not None:
            _connection_of(file).close()  # not close(): what was not committed is rolled back, as in a death


def _connection_of(file: Ledger | ShardState) -> sqlite3.Connection:
    if isinstance(file, Ledger):
        return file._connection
    inner: ShardFile = file._file  # type: ignore[attr-defined]
    return inner.connection


def _manifest(pipeline: Pipeline, folder: Path, shape: Shape) -> Manifest:
    return Manifest(
        run=RUN, name=pipeline.name, app="", state=str(folder), source=_component(MemorySource),
        sinks={name: _component(MemorySink if options.ordered else UnorderedMemorySink)
               for name, options in pipeline.sinks.items()},
        dead_letters=_component(UnorderedMemorySink), folds=pipeline.fold is not None,
        windowed=pipeline.windows is not None, window=pipeline.window,
        emit_sinks=pipeline.emit_sinks, aggregator=pipeline.aggregator, budget=pipeline.budget,
        parser=ParserOptions(workers=shape.workers, fused=shape.fused), checker=CheckerOptions(workers=shape.workers),
        flow=msgspec.structs.replace(pipeline.flow, batch_bytes=shape.batch_bytes, batch_s=shape.batch_s))


def _component(kind: type) -> Component[Any]:
    return Component(f"{kind.__module__}:{kind.__qualname__}", {})
