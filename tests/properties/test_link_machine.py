"""One link as a state machine: an origin, two workers, two ordered consumers, any delays, deaths and repetitions.

Messages wait in a queue for each pair, in order, as over ZeroMQ. Whoever dies takes with it what was on its way to it
and from it; everybody else learns of it before anything that the next generation says.
"""

from __future__ import annotations

from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from actors.runtime.codec import decode
from actors.runtime.messages import Ack, Again, Batch, BatchId, Failed, Late, Part
from actors.runtime.origin import Origin
from actors.runtime.relay import Relay
from actors.runtime.sequencer import Sequencer
from actors.runtime.values import Chunk
from tests.properties.simulator import SimulatedActor, World

WINDOW_BATCHES, WINDOW_BYTES, CREDIT = 4, 60, 2
ORIGIN = "reader.1#1"
WORKERS, CONSUMERS = ("parser.1", "parser.2"), ("writer.a", "writer.b")
PARTITIONS = ("p", "q")


class LinkMachine(RuleBasedStateMachine):
    """The real origin, relays and sequencers; the queues between them are the machine's."""

    def __init__(self) -> None:
        super().__init__()
        self.origin = Origin(1, WINDOW_BATCHES, WINDOW_BYTES)
        self.generations = dict.fromkeys((*WORKERS, *CONSUMERS), 1)
        self.queues: dict[tuple[str, str], deque[Any]] = {}
        self.relays = {name: Relay() for name in WORKERS}
        self.sequencers = {name: Sequencer() for name in CONSUMERS}
        #: What each generation of a consumer has applied, in order.
        self.applied: dict[str, list[BatchId]] = {self.address(name): [] for name in CONSUMERS}
        self.undurable: dict[str, deque[Any]] = {name: deque() for name in CONSUMERS}
        self.closed: dict[str, list[BatchId]] = {name: [] for name in PARTITIONS}
        #: What the origin was told to be late in a range.
        self.told: dict[BatchId, int] = {}
        self.tips = dict.fromkeys(PARTITIONS, 0)
        for name in WORKERS:
            self.origin.grant(self.address(name), CREDIT)

    def address(self, name: str) -> str:
        return f"{name}#{self.generations[name]}"

    def send(self, sender: str, receiver: str, message: Any) -> None:
        self.queues.setdefault((sender, receiver), deque()).append(message)

    # The origin -----------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.origin.has_room())
    @rule(partition=st.sampled_from(PARTITIONS), size=st.integers(1, 30))
    def issue(self, partition: str, size: int) -> None:
        tip = self.tips[partition]
        self.origin.issue(partition, Chunk(1, partition, tip, tip + size, tip, 1, b"x" * size))
        self.tips[partition] += size

    def low(self, partition: str) -> int:
        return self.closed[partition][-1][2] if self.closed[partition] else 0

    @rule()
    def deliver(self) -> None:
        for worker, header, _ in self.origin.assign():
            assert worker in map(self.address, WORKERS), "delivered to the dead"
            assert header.late == ((Late(0, self.told[header.id]),) if header.id in self.told else ())
            self.send(ORIGIN, worker, header)

    @rule()
    def close(self) -> None:
        for chunk, counts in self.origin.advance():
            assert counts == {"read": 1, "written": 2}
            self.closed[chunk.source].append((chunk.source, chunk.start, chunk.end))

    @rule()
    def commit(self) -> None:
        self.origin.committed()

    # What is under way ----------------------------------------------------------------------------------------------

    @rule(data=st.data(), repeat=st.booleans())
    def one_message(self, data: st.DataObject, repeat: bool) -> None:
        waiting = sorted(pair for pair, queue in self.queues.items() if queue)
        if waiting:
            sender, receiver = pair = data.draw(st.sampled_from(waiting))
            queue = self.queues[pair]
            # A batch comes twice only when the origin delivers it twice; answers and parts may be repeated.
            message = queue[0] if repeat and not isinstance(queue[0], Batch) else queue.popleft()
            self.receive(sender, receiver, message)

    @rule(data=st.data(), late=st.integers(0, 9))
    def a_consumer_needs_a_range_again(self, data: st.DataObject, late: int) -> None:
        waiting = sorted(pair for pair, queue in self.queues.items() if queue and isinstance(queue[0], Part))
        if waiting:
            sender, receiver = data.draw(st.sampled_from(waiting))
            part: Part = self.queues[sender, receiver].popleft()
            self.send(receiver, sender, Again(*part.id, part.epoch, late=(Late(0, late),)))

    @rule(name=st.sampled_from(CONSUMERS), count=st.integers(1, 3))
    def durable(self, name: str, count: int) -> None:
        for _ in range(min(count, len(self.undurable[name]))):
            for sender, ack in self.sequencers[name].durable(self.undurable[name].popleft()):
                self.send(self.address(name), sender, ack)

    def receive(self, sender: str, receiver: str, message: Any) -> None:
        name = receiver.partition("#")[0]
        if receiver == ORIGIN:
            if isinstance(message, Ack):
                self.origin.ack(message.id, message.epoch, message.counts)
            elif isinstance(message, Again):
                if self.origin.again(message.id, message.epoch, sender, message.late):
                    self.told[message.id] = max(message.late[0].before, self.told.get(message.id, 0))
            else:
                self.origin.failed(message.id, message.epoch, sender)
        elif isinstance(message, Batch):
            addresses = [self.address(consumer) for consumer in CONSUMERS]
            self.relays[name].sent(sender, message.id, message.epoch, addresses, {"read": 1})
            for address in addresses:
                self.send(receiver, address, Part(*message.id, message.epoch, message.low, 1, {"written": 1}))
            self.origin.grant(receiver, 1)
        elif isinstance(message, Part):
            ack = self.sequencers[name].offer(sender, message, [b"x"])
            if ack is not None:
                self.send(receiver, sender, ack)
            for held in self.sequencers[name].ready():
                self.applied[receiver].append(held.part.id)
                self.undurable[name].append(held)
        elif isinstance(message, Again):
            for producer, again in self.relays[name].given_back(sender, message):
                self.send(receiver, producer, again)
        else:
            for producer, answer in self.relays[name].ack(sender, message):
                self.send(receiver, producer, answer)

    # Deaths ---------------------------------------------------------------------------------------------------------

    @rule(name=st.sampled_from(WORKERS))
    def worker_dies(self, name: str) -> None:
        self.dies(name)
        self.origin.lost(f"{name}#{self.generations[name] - 1}")
        self.origin.grant(self.address(name), CREDIT)
        self.relays[name] = Relay()

    @rule(name=st.sampled_from(CONSUMERS))
    def consumer_dies(self, name: str) -> None:
        old = self.address(name)
        self.dies(name)
        self.sequencers[name] = Sequencer()
        self.undurable[name].clear()
        self.applied[self.address(name)] = []
        for worker, relay in self.relays.items():
            for producer, failed in relay.gone(old):
                assert isinstance(failed, Failed)
                self.send(self.address(worker), producer, failed)
        self.origin.committed()
        self.origin.new_epoch()

    def dies(self, name: str) -> None:
        old = self.address(name)
        self.generations[name] += 1
        for pair in [pair for pair in self.queues if old in pair]:
            del self.queues[pair]

    # Promises -------------------------------------------------------------------------------------------------------

    @invariant()
    def no_more_than_the_window_is_open(self) -> None:
        assert len(self.origin) <= WINDOW_BATCHES
        assert sum(self.tips[name] - self.low(name) for name in PARTITIONS) < WINDOW_BYTES + 30
        assert all(len(sequencer) <= WINDOW_BATCHES for sequencer in self.sequencers.values())

    @invariant()
    def ranges_are_closed_once_and_in_order(self) -> None:
        for name, closed in self.closed.items():
            assert all(before[2] == after[1] for before, after in pairwise([(name, 0, 0), *closed]))
            assert self.origin.low(name) in (None, self.low(name))

    @invariant()
    def each_generation_applies_each_range_once_and_in_order(self) -> None:
        for applied in self.applied.values():
            for name in PARTITIONS:
                ranges = [key for key in applied if key[0] == name]
                assert all(before[2] <= after[1] for before, after in pairwise(ranges))

    @invariant()
    def what_is_closed_was_applied_everywhere(self) -> None:
        for name in CONSUMERS:
            applied = {each for address, ranges in self.applied.items() if address.startswith(name) for each in ranges}
            assert all(applied.issuperset(closed) for closed in self.closed.values())

    @invariant()
    def credit_is_never_negative_and_never_more_than_was_given(self) -> None:
        assert all(0 <= credit <= CREDIT for credit in self.origin.takers.free.values())

    def teardown(self) -> None:
        """When nobody dies any more, everything that was issued is closed."""
        for _ in range(10 * (WINDOW_BATCHES + 1)):
            self.deliver()
            for (sender, receiver), queue in list(self.queues.items()):
                while queue:
                    self.receive(sender, receiver, queue.popleft())
            for name in CONSUMERS:
                self.durable(name, WINDOW_BATCHES)
            self.close()
        assert self.tips == {name: self.low(name) for name in PARTITIONS}
        assert len(self.origin) == 0
        self.commit()
        assert not self.origin._partitions, "what is closed and committed is forgotten"
        self.what_is_closed_was_applied_everywhere()


TestLink = LinkMachine.TestCase
TestLink.settings = settings(max_examples=150, stateful_step_count=60, deadline=None)


def settle(world: World, rounds: int, only: str = "", stalled: str = "") -> None:
    """Deliver and let everyone work; or only one actor, or all but one. Of deaths everybody hears at once."""
    for _ in range(rounds):
        for (sender, receiver), queue in list(world.queues.items()):
            actor = world.alive.get(receiver.partition("#")[0])
            while queue and actor is not None and (sender == "supervisor" or is_free(actor.name, only, stalled)):
                frames = queue.popleft()
                if actor.address == receiver:
                    actor.receive(sender, decode(frames[0]), frames[1:])
        for actor in [actor for actor in world.alive.values() if is_free(actor.name, only, stalled)]:
            actor.role.work(world.now)
        world.now += 0.3


def is_free(name: str, only: str, stalled: str) -> bool:
    return name != stalled and only in ("", name)


def who_has_the_first_range(world: World) -> SimulatedActor:
    """Step until the first batch is on its way to a worker."""
    while True:
        for (_, receiver), queue in world.queues.items():
            messages = [decode(frames[0]) for frames in queue]
            if any(isinstance(message, Batch) and message.start == 0 for message in messages):
                return world.alive[receiver.partition("#")[0]]
        world.step()


def dies_and_returns(world: World, name: str) -> None:
    world.kill(name)
    world.start(name)


def test_what_a_stalled_worker_still_has_of_a_closed_range_is_not_written_over_what_came_later(tmp_path: Path) -> None:
    lines = [f"k2={number:070}" for number in range(400)]  # so long that each is a batch of its own
    lines[0], lines[9] = f"k0={'1' * 70}", f"k0={'2' * 70}"
    world = World(3, tmp_path, [("unit", "\n".join(lines).encode())], fused=True, kills=0)
    slow = who_has_the_first_range(world)
    settle(world, 20, stalled=slow.name)
    assert world.stores["even"].values == {}, "the first range is where it was"
    dies_and_returns(world, "writer.even")  # so the first range is delivered to another worker, and closed
    settle(world, 20, stalled=slow.name)
    assert world.stores["even"].values["k0"] == "2" * 70
    dies_and_returns(world, "writer.even")  # and forgotten by the writer
    settle(world, 20, only=slow.name)
    settle(world, 20, only="writer.even")
    assert world.stores["even"].values["k0"] == "2" * 70
