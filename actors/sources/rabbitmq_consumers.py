"""All queues of a source together: what they have delivered and is not acknowledged yet, and how much that may be."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Sequence

from actors.rabbitmq.connection import Server
from actors.rabbitmq.loop import Loop
from actors.runtime.errors import Retryable
from actors.sources.rabbitmq_care import Care
from actors.sources.rabbitmq_consumer import Wanted
from actors.sources.rabbitmq_queue import Delivered, Queue, State

#: A queue that has said so often in succession that it is empty, and has delivered nothing since, is read to its end.
EMPTIES = 2
#: A connection that is being made is turned so often: it takes some turns, and has ``connect_timeout_s`` for them.
OPENING_S = 0.05
#: Longest time for the farewell.
CLOSE_S = 2.0
#: What a message takes in memory besides its body, about.
OVERHEAD = 500
#: So many messages are needed to say how long one is.
_ENOUGH = 100


class Consumers:
    """See above.

    Args:
        queues: what is read: a server and a queue of it, each.
        prefetch: most messages that are un-acknowledged, of a queue.
        prefetch_bytes: most bytes of them, about.
        stream_at: the offset that a stream is read on from; None: it was not read before.
        care: which queues are taken one message at a time.

    Attributes:
        waiting: what was delivered and is not acknowledged, in order.
        since: when the first of it came, or the last was taken (monotonic seconds).
    """

    def __init__(self, queues: Sequence[tuple[Server, Wanted]], prefetch: int, prefetch_bytes: int,
                 stream_at: Callable[[str], int | str | None], care: Care) -> None:
        self.waiting: deque[Delivered] = deque()
        self.since = 0.0
        self._loop = Loop()
        self._care = care
        self._queues = [Queue(server, wanted, self._begins, self._loop, self._took, self._lost, stream_at)
                        for server, wanted in queues]
        self._prefetch = self._fitting = prefetch
        self._prefetch_bytes = prefetch_bytes
        self._waiting_bytes = 0
        self._messages = self._bytes = 0  # since the prefetch was looked at
        self._said: dict[str, str] = {}
        self._ready: dict[str, int] = {}
        self._ask_at = 0.0

    def fileno(self) -> int:
        """A descriptor that is readable when ``turn`` would find something."""
        return self._loop.fileno()

    def turn(self, opens: bool) -> None:
        """Take what is there, answer signs of life; ``opens``: open what is lost and due."""
        now = time.monotonic()
        for queue in self._queues:
            queue.turn(now, opens)
        self._loop.turn(is_enough=lambda: self._waiting_bytes >= self._prefetch_bytes)

    def next_at(self, opens: bool) -> float | None:
        """When a turn is due (monotonic seconds); None: when ``fileno`` says so. ``opens``: as in ``turn``."""
        times = [self._loop.next_at(), *(queue.due_at for queue in self._queues if opens)]
        if any(queue.state is State.OPENING for queue in self._queues):  # its reader does not look at ``fileno`` while
            times.append(time.monotonic() + OPENING_S)  # it waits for an outage to end
        return min((at for at in times if at is not None), default=None)

    def acknowledge(self, count: int) -> None:
        """The first so many of what waits are ours now."""
        last: dict[Queue, int] = {}
        for _ in range(count):
            one = self.waiting.popleft()
            self._waiting_bytes -= len(one.body) + OVERHEAD
            last[one.queue] = one.tag
        for queue, tag in last.items():
            queue.acknowledge(tag)
            self._care.acknowledged(queue.known_as)
        self.since = time.monotonic()
        self._fit_the_prefetch()

    def hold(self) -> None:
        """Have nothing more delivered."""
        for queue in self._queues:
            queue.hold()

    def resume(self) -> None:
        """Have messages delivered again."""
        for queue in self._queues:
            queue.resume()

    def ask(self, every_s: float) -> None:
        """Ask all queues how many messages wait in them, so often."""
        now = time.monotonic()
        if now >= self._ask_at:
            self._ask_at = now + every_s
            for queue in self._queues:
                if queue.consumer is not None:
                    queue.consumer.ask()

    def ready(self) -> int:
        """Messages that wait in the queues, as they have said last, and here."""
        for queue in self._queues:
            if queue.consumer is not None and queue.consumer.ready >= 0:
                self._ready[queue.known_as] = queue.consumer.ready
        return sum(self._ready.values()) + len(self.waiting)

    def streams(self) -> list[Queue]:
        """Those of the queues that are streams."""
        return [queue for queue in self._queues if queue.wanted.is_stream]

    def require_asked(self) -> None:
        """Do nothing while any queue can be asked.

        Raises:
            Retryable: none can.
        """
        if all(queue.consumer is None for queue in self._queues):
            raise Retryable(self._queues[0].problem or "it is not connected yet")

    def are_empty(self) -> bool:
        """Whether all that was in the queues is taken."""
        return not self.waiting and all(
            queue.consumer is not None and queue.consumer.empties >= EMPTIES for queue in self._queues)

    def are_held(self) -> bool:
        """Whether nothing is delivered any more."""
        return all(queue.is_held for queue in self._queues)

    def require_reached(self) -> None:
        """Do nothing while a queue can be read, or may be.

        Raises:
            Retryable: no queue can be read now.
            ConfigError: a server does not let this user in, or a queue is another one.
        """
        for queue in self._queues:
            if queue.refused is not None:
                raise queue.refused
        if all(queue.problem for queue in self._queues):
            raise Retryable(self._queues[0].problem)

    def session_of(self, one: Delivered) -> int:
        """Number of the connection that a message came over, 1 or more, for each queue others."""
        return 1 + self._queues.index(one.queue) + len(self._queues) * one.session

    def close(self) -> None:
        """Say farewell to the servers; what is not acknowledged goes back to the queues."""
        for queue in self._queues:
            queue.close()
        until = time.monotonic() + CLOSE_S
        while not all(queue.is_gone() for queue in self._queues) and time.monotonic() < until:
            self._loop.turn(0.05)
        for queue in self._queues:
            queue.drop()
        self._loop.turn()
        self._loop.close()

    def _begins(self, queue: Queue) -> int:
        """A session begins; return how many messages may be un-acknowledged in it."""
        self._care.begins(queue.known_as)
        return 1 if self._care.is_alone(queue.known_as) else self._fitting

    def _took(self, delivered: Delivered) -> None:
        queue = delivered.queue
        if not queue.wanted.is_stream:  # which counts no deliveries
            counted = (delivered.properties.headers or {}).get("x-delivery-count")
            self._care.took(queue.known_as, delivered.is_redelivered, counted if isinstance(counted, int) else 0)
        if not self.waiting:
            self.since = time.monotonic()
        self.waiting.append(delivered)
        size = len(delivered.body) + OVERHEAD
        self._waiting_bytes += size
        self._messages += 1
        self._bytes += size

    def _lost(self, lost: Queue) -> None:
        """What was delivered and not acknowledged is the server's again."""
        self.waiting = deque(one for one in self.waiting if one.queue is not lost)
        self._waiting_bytes = sum(len(one.body) + OVERHEAD for one in self.waiting)
        if lost.problem and self._said.get(lost.known_as) != lost.problem and len(self._queues) > 1:
            print(f"{lost.problem}: queue {lost.wanted.name} is tried again, and the others are read, if they can be",
                  file=sys.stderr, flush=True)
        self._said[lost.known_as] = lost.problem

    def _fit_the_prefetch(self) -> None:
        """Have as many un-acknowledged messages as the bytes allow; set up anew only when that is far from it."""
        if self._messages >= _ENOUGH:
            self._fitting = min(self._prefetch, max(1, self._prefetch_bytes * self._messages // self._bytes))
            self._messages = self._bytes = 0
        for queue in self._queues:
            is_near = queue.prefetch // 2 <= self._fitting <= queue.prefetch * 2
            if not is_near and not self._care.is_alone(queue.known_as):
                queue.take_at_most(self._fitting)
