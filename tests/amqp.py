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


#: A queue of which nothing has come for so long is asked whether it is empty.
_SILENCE_S = 2.0


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


def consume(url: str, queue: str) -> Iterator[Taken]:
    """Consume all that is in a queue, which is empty then; what is delivered again comes twice.

    A queue that was killed with its server may pause for seconds: that it is silent does not say that it is empty.
    """
    deadline = time.monotonic() + WATCHDOG_S
    while True:
        with channel(url) as opened:
            opened.basic_qos(prefetch_count=500)
            for method, properties, body in opened.consume(queue, inactivity_timeout=_SILENCE_S):
                if method is None:  # nothing has come for so long
                    break
                yield Taken(body or b"", properties, str(method.routing_key))
                opened.basic_ack(method.delivery_tag)
            opened.cancel()
        if (left := count(url, queue)) == 0:
            return
        assert time.monotonic() < deadline, f"{queue}: {left} messages, and they do not come within {WATCHDOG_S} s"


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
