"""An actor of the simulated world: the real role, built as its process would, and the loop around it."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from actors.aggregator import Aggregator
from actors.checker import Check, Destinations, checking
from actors.parser import bulk_of, forwarding, fused
from actors.reader import Reader
from actors.runtime.actor import Post, Role
from actors.runtime.codec import encode
from actors.runtime.ledger import Ledger
from actors.runtime.lift import lift_parse
from actors.runtime.manifest import Manifest
from actors.runtime.marks import Mark
from actors.runtime.membership import Membership
from actors.runtime.messages import AnyMessage, BatchId, Drained, Hello, InputDone, Member, Message, Roster
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions
from actors.runtime.rows import traveller
from actors.runtime.shard import ShardState
from actors.runtime.topology import DEAD_LETTERS, ChildSpec, aggregator_names, downstream, writer_name
from actors.runtime.tracing import Tracer
from actors.runtime.units import LEDGER
from actors.runtime.worker import PoolWorker, Work
from actors.shards import open_shard
from actors.testing.memory import InlineSink, MemoryStore
from actors.writer import Writer


class Surroundings(Protocol):
    """What an actor knows of the simulated run around it (``world.World``)."""

    rng: random.Random
    folder: Path
    version: int
    tracer: Tracer
    manifest: Manifest
    pipeline: Pipeline
    specs: dict[str, ChildSpec]
    sinks: dict[str, InlineSink]
    letters: InlineSink
    stores: dict[str, MemoryStore]
    files: dict[str, Ledger | ShardState]
    drained: set[str]

    def send(self, sender: str, receiver: str, frames: list[bytes]) -> None:
        """Put a message in the queue of a pair of addresses."""

    def lose_last(self, sender: str, receiver: str) -> None:
        """Lose a random last part of what is under way between two addresses."""

    def finish(self) -> None:
        """The reader has nothing under way, or a shard has drained."""

    def clock(self) -> float:
        """What workers measure their work with."""

    def wall_ms(self) -> int:
        """What the clock of the machine says."""
        ...

    def make_reader(self, post: Post, ledger: Ledger) -> Reader:
        """Make the role of a new reader."""

    def adapt(self, work: Work) -> Work:
        """Return the work of those who check, or something around it."""


class _Slot:
    """A slot on no board."""

    def __init__(self) -> None:
        self.batches = self.records = self.bytes_done = self.bytes_total = self.open = 0
        self.queued = self.credit = 0
        self.waiting_since = self.record_s = self.down_since = 0.0
        self.batch_records = 0
        self.note = ""

    def phase(self, phase: str) -> None:
        """Enter a phase."""

    def take(self, batch: BatchId) -> None:
        """Have a batch in hand."""

    def mark(self, mark: Mark) -> None:
        """Have this of it in hand."""

    def took(self, *seconds: float) -> None:
        """Count how long batches took."""


class SimulatedActor:
    """A role in the simulated world: its ``Post``, and what ``runtime.actor`` does around it."""

    def __init__(self, world: Surroundings, name: str, generation: int) -> None:
        self.world = world
        self.name = name
        self.generation = generation
        self.address = f"{name}#{generation}"
        spec = world.specs[name]
        self.member = Member(name, generation, spec.stage, "", spec.ordered, world.version + 1)
        self.slot = _Slot()
        self.members: dict[str, Member] = {}
        self.roster_version = 0
        self.tracer = world.tracer
        self._membership = Membership()
        self._downstream = downstream(world.manifest, spec.stage)
        self.role = _make_role(world, name, self)

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send to an address; False when it is not there (any more)."""
        if self._membership.is_dead(address):
            return False  # its socket is closed
        self.world.send(self.address, address, [encode(message), *frames])
        return True

    def tell(self, message: Message) -> None:
        """Send to the supervisor."""
        if isinstance(message, InputDone):
            self.world.finish()
        elif isinstance(message, Drained):
            self.world.drained.add(self.name)
            self.world.finish()

    def receive(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        """Hand a message to the role, unless it comes from the dead."""
        if isinstance(message, Roster):
            self._meet(message)
        elif not self._membership.is_dead(sender):
            self.role.message(sender, message, frames)

    def _meet(self, roster: Roster) -> None:
        come, gone = self._membership.meet(roster)
        self.roster_version = roster.version
        for member in gone:
            # Its socket is closed; but what had been read from it by then is still handed over.
            self.world.lose_last(member.address, self.address)
            if self.members.get(member.name) == member:
                del self.members[member.name]
        for member in come:
            if member.stage in self._downstream:
                self.send(member.address, Hello(self.world.manifest.run))
                self.members[member.name] = member
        self.role.roster(come, gone)


def _make_role(world: Surroundings, name: str, post: Post) -> Role:
    stage, _, which = name.partition(".")
    manifest, pipeline = world.manifest, world.pipeline
    if stage == "reader":
        ledger = world.files[name] = Ledger(world.folder / LEDGER, manifest.run, clock=world.wall_ms)
        return world.make_reader(post, ledger)
    if stage == "aggregator":
        emitted = {sink: world.sinks[sink] for sink in manifest.emit_sinks}
        state = world.files[name] = open_shard(
            manifest, pipeline, pipeline.options, int(which), (emitted, world.letters))
        return Aggregator(post, int(which) - 1, state)
    if stage == "writer":
        ordered = which != DEAD_LETTERS and world.sinks[which].ordered
        contiguous = which != DEAD_LETTERS and world.sinks[which].contiguous
        writer = Writer(post, which, world.stores[which], ordered, world.letters, contiguous)
        writer._trouble.random = world.rng  # the delays between its retries, too, come from the seed
        return writer
    sinks: dict[str, SinkOptions] = {
        sink: options for sink, options in world.sinks.items() if sink not in manifest.emit_sinks}
    checks = Check(pipeline, pipeline.options, Destinations(
        {sink: writer_name(sink) for sink in sinks}, sinks, writer_name(DEAD_LETTERS), world.letters,
        aggregator_names(manifest)), manifest.window)
    parse = lift_parse(pipeline.parse, pipeline.options)
    if stage == "checker":
        work = world.adapt(checking(checks, traveller(pipeline.parse)))
    else:
        bulk = bulk_of(pipeline, pipeline.options)
        work = world.adapt(fused(parse, checks, bulk)) if manifest.parser.fused else forwarding(parse)
    return PoolWorker(post, work, manifest.flow.credit, turn_s=0.0, clock=world.clock)
