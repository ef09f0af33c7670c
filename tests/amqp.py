"""A plain AMQP client for tests: what is in a queue, seen by other means than ours."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from tests.loads import WATCHDOG_S

if TYPE_CHECKING:
    from pika.adapters.blocking_connection import BlockingChannel


class Taken(NamedTuple):
    """A message as it was taken out of a queue."""

    body: bytes
    properties: Any
    routing_key: str

    @property
    def id(self) -> str:
        """Its ``message_id``."""
        return str(self.properties.message_id)


@contextmanager
def channel(url: str) -> Iterator[BlockingChannel]:
    """A channel of a connection of its own."""
    import pika

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of the blocking connection: what a test needs
        connection = pika.BlockingConnection(pika.URLParameters(url))
    try:
        yield connection.channel()
    finally:
        if connection.is_open:
            connection.close()


def declare(url: str, queue: str, kind: str = "quorum", **arguments: Any) -> None:
    """Make a queue."""
    with channel(url) as opened:
        opened.queue_declare(queue, durable=True, arguments={"x-queue-type": kind, **{
            name.replace("_", "-"): value for name, value in arguments.items()}})


def take(url: str, queue: str) -> list[Taken]:
    """Take out all that is in a queue."""
    found: list[Taken] = []
    with channel(url) as opened:
        while (one := opened.basic_get(queue, auto_ack=True))[0] is not None:
            method, properties, body = one
            found.append(Taken(body or b"", properties, str(method.routing_key)))
    return found


def count(url: str, queue: str) -> int:
    """How many messages are in a queue, and ready to be taken."""
    with channel(url) as opened:
        return int(opened.queue_declare(queue, passive=True).method.message_count)


def eventually(look: Any, what: str) -> Any:
    """Look until there is something; fail under a watchdog."""
    deadline = time.monotonic() + WATCHDOG_S
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.02)
    raise AssertionError(f"not within {WATCHDOG_S} s: {what}")
