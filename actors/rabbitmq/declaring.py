"""Exchanges, queues and bindings: made where they are missing, never changed where they are there.

A declaration says what is wanted. What is there with the same arguments stays; with others the server refuses (406),
and that is told with what to do: nothing is deleted, and nothing is taken for what it is not.
"""

from __future__ import annotations

from typing import Any

import msgspec

from actors.rabbitmq.connection import Channel, Connection
from actors.rabbitmq.faults import Refused
from actors.runtime.errors import ConfigError, Retryable

#: What a queue may be.
QUEUE_TYPES = ("quorum", "stream", "classic")
#: Exchanges whose bindings are told apart by their routing key.
EXCHANGE_TYPES = ("direct", "topic", "fanout", "headers")
#: What the server has closed the channel for.
REFUSED, MISSING, OTHERWISE = 403, 404, 406


class Exchange(msgspec.Struct, frozen=True):
    """An exchange: its name, and its type (``direct``, ``topic``, ``fanout``, ``headers``)."""

    name: str
    kind: str = "direct"


class Queue(msgspec.Struct, frozen=True):
    """A durable queue: its name, its type (``quorum``, ``stream``, ``classic``), and how it is bound to an exchange."""

    name: str
    kind: str = "quorum"
    exchange: str = ""
    binding: str = ""


def declare_exchange(channel: Channel, exchange: Exchange, passive: bool = False) -> None:
    """Make the exchange where it is missing; ``passive``: only see that it is there.

    Raises:
        Refused: it is there with another type, is not there, or this user may not.
        Retryable: the connection is lost.
    """
    channel.ask(lambda done: channel.client.exchange_declare(
        exchange.name, exchange.kind, durable=True, passive=passive, callback=done), f"exchange {exchange.name}")


def declare_queue(channel: Channel, queue: Queue, passive: bool = False) -> int:
    """Make the queue where it is missing, and bind it; return how many messages are in it. ``passive``: only see that
    it is there.

    Raises:
        Refused: it is there with other arguments, is not there, or this user may not.
        Retryable: the connection is lost.
    """
    arguments: dict[str, Any] = {} if passive else {"x-queue-type": queue.kind}
    there = channel.ask(lambda done: channel.client.queue_declare(
        queue.name, durable=True, passive=passive, arguments=arguments, callback=done), f"queue {queue.name}")
    if queue.exchange and not passive:
        channel.ask(lambda done: channel.client.queue_bind(
            queue.name, queue.exchange, queue.binding, callback=done), f"queue {queue.name}, its binding")
    return int(there.message_count)


def is_there(connection: Connection, wanted: Exchange | Queue) -> bool:
    """Whether there is such an exchange, or queue, whatever its arguments are; nothing is made.

    Raises:
        Refused: this user may not ask.
        Retryable: the connection is lost.
    """
    channel = connection.channel()
    try:
        if isinstance(wanted, Queue):
            declare_queue(channel, wanted, passive=True)
        else:
            declare_exchange(channel, wanted, passive=True)
    except Refused as error:
        if error.code == MISSING:
            return False
        raise
    channel.close()
    return True


def why_not_declared(error: Refused, wanted: Exchange | Queue, where: str, section: str) -> ConfigError | Retryable:
    """Return what to raise when a declaration was refused: only another configuration helps, or it passes.

    Args:
        error: what the server has said.
        wanted: what was declared.
        where: the server, for people.
        section: of the configuration: ``sinks.out``, ``source``.
    """
    noun = "queue" if isinstance(wanted, Queue) else "exchange"
    says = f"{section}: rabbitmq {where}: {noun} {wanted.name}"
    if error.code == OTHERWISE:
        option = f"{noun}_type"
        return ConfigError(f"{says} is there with other arguments ({error.text}): set {section}.{option} to what it "
                           f"is, or {section}.declare = false to take it as it is; it is never changed")
    if error.code == REFUSED:
        return ConfigError(f"{says} cannot be declared by this user ({error.text}): give it the permission to "
                           f"configure it, or make it, and set {section}.declare = false")
    if error.code == MISSING and isinstance(wanted, Queue):
        return Retryable(f"{says}: {error.text}")
    return Retryable(f"{says}: {error}")
