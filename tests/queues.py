"""Queues of a real RabbitMQ: published to, counted, and read by the source as its reader does. Used by many tests."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import pika

from actors.runtime.errors import Retryable
from actors.runtime.framing import Record, records_in
from actors.runtime.values import Chunk
from actors.sources.rabbitmq import RabbitMQ
from actors.sources.rabbitmq_consumer import State
from actors.sources.rabbitmq_queue import Queue
from tests.fakes import MemoryLedger

WATCHDOG_S = 120.0
#: Messages that are published in one.
_TRANSACTION = 1000
Client = Any


@contextlib.contextmanager
def channel(url: str) -> Iterator[Client]:
    """A channel of a client of somebody else's. A server that has just begun may hang up before it is ready."""
    deadline = time.monotonic() + WATCHDOG_S
    while True:
        try:
            connection = pika.BlockingConnection(pika.URLParameters(url))
            break
        except pika.exceptions.IncompatibleProtocolError:
            assert time.monotonic() < deadline
            time.sleep(0.1)
    try:
        yield connection.channel()
    finally:
        with contextlib.suppress(pika.exceptions.AMQPError):
            connection.close()


def declare(url: str, name: str, kind: str = "quorum", **arguments: Any) -> None:
    """Declare a queue."""
    with channel(url) as client:
        client.queue_declare(name, durable=True, arguments={
            "x-queue-type": kind, **{key.replace("_", "-"): value for key, value in arguments.items()}})


def publish(url: str, queue: str, values: Sequence[bytes], ids: bool = True, first: int = 0, **properties: Any) -> None:
    """Publish to a queue, and wait until the server keeps it; a message's id is ``id-NUMBER``.

    In transactions: their end waits for all of one, where this client's confirms wait for each message.
    """
    returned: list[Any] = []
    with channel(url) as client:
        client.add_on_return_callback(lambda *message: returned.append(message))
        client.tx_select()
        for number, value in enumerate(values, first):
            client.basic_publish("", queue, value, pika.BasicProperties(
                delivery_mode=2, message_id=f"id-{number}" if ids else None, **properties), mandatory=True)
            if (number - first) % _TRANSACTION == _TRANSACTION - 1:
                client.tx_commit()
        client.tx_commit()
        client.connection.process_data_events(0)  # which calls back for what came before the last answer
    assert not returned, f"{len(returned):,} messages reached no queue"


def waiting_in(url: str, queue: str) -> int:
    """Messages that are ready in a queue."""
    with channel(url) as client:
        return int(client.queue_declare(queue, passive=True).method.message_count)


def consumers_of(url: str, queue: str) -> int:
    """Consumers that a queue has."""
    with channel(url) as client:
        return int(client.queue_declare(queue, passive=True).method.consumer_count)


def take_all(url: str, queue: str) -> list[tuple[bytes, bool]]:
    """Take what is in a queue; each message, and whether it was delivered before."""
    with channel(url) as client:
        found: list[tuple[bytes, bool]] = []
        while True:
            method, _, body = client.basic_get(queue, auto_ack=True)
            if method is None:
                return found
            found.append((body, bool(method.redelivered)))


def eventually(condition: Callable[[], bool], what: str) -> None:
    """Look until it is so."""
    deadline = time.monotonic() + WATCHDOG_S
    while not condition():
        assert time.monotonic() < deadline, f"not within {WATCHDOG_S} s: {what}"
        time.sleep(0.02)


class Reading:
    """The source, opened, with a ledger in memory; a context manager.

    Args:
        state: the state directory.
        ledger: what an earlier one has left.
        batch_bytes: size of a chunk, about.
        options: of the source.

    Attributes:
        chunks: what was handed out.
        problems: what it could not do, each text once, in order.
    """

    def __init__(self, state: Path, ledger: MemoryLedger | None = None, batch_bytes: int = 64 * 1024,
                 **options: Any) -> None:
        self.ledger = ledger or MemoryLedger()
        self.source = RabbitMQ(**options).open(self.ledger, batch_bytes, state)
        self.chunks: list[Chunk] = []
        self.problems: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.source.close()

    @property
    def queue(self) -> Queue:
        """The first of its queues."""
        return self.source._intake.consumers._queues[0]

    @property
    def is_consuming(self) -> bool:
        """Whether its consumer is set up."""
        return self.queue.consumer is not None and self.queue.consumer.state is State.CONSUMING

    @property
    def is_owing(self) -> bool:
        """Whether something was delivered and not acknowledged."""
        return bool(self.source._intake.consumers.waiting)

    @property
    def records(self) -> list[Record]:
        """What was handed out."""
        return [record for chunk in self.chunks for record in records_in(chunk.data)]

    @property
    def values(self) -> list[bytes | None]:
        """Its values."""
        return [record.value for record in self.records]

    def turn(self, reads: bool = True) -> None:
        """What the reader does in a turn; ``reads``: it has room."""
        try:
            self.source.tick(time.monotonic())
            chunk = self.source.read() if reads else None
        except Retryable as problem:
            chunk = None
            if str(problem) not in self.problems:
                self.problems.append(str(problem))
        if chunk is not None:
            self.ledger.issue(chunk)
            self.chunks.append(chunk)
        else:
            assert self.source.wake is not None
            select.select([self.source.wake], [], [], 0.01)

    def until(self, condition: Callable[[], bool], what: str, reads: bool = True) -> None:
        """Take turns until it is so."""
        deadline = time.monotonic() + WATCHDOG_S
        while not condition():
            assert time.monotonic() < deadline, f"not within {WATCHDOG_S} s: {what}; {self.problems}"
            self.turn(reads)

    def until_values(self, count: int) -> list[bytes | None]:
        """Take turns until so many messages were handed out; return their values."""
        self.until(lambda: len(self.values) >= count, f"{count} messages")
        return self.values

    def until_exhausted(self) -> list[bytes | None]:
        """Take turns until it has ended; return the values."""
        self.until(lambda: self.source.exhausted, "the end")
        return self.values

    def close_all(self) -> None:
        """All that was handed out is durable elsewhere."""
        for chunk in self.chunks:
            self.ledger.close(chunk, {})

    def abandon(self) -> None:
        """Die: the connections are gone without a word, and nothing is put away."""
        for queue in self.source._intake.consumers._queues:
            if queue._client is not None:
                queue._client._terminate_stream(ConnectionAbortedError("killed"))
        self.source._intake.consumers._loop.turn(0.1)
