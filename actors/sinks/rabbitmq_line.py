"""The way to an exchange: a connection, a channel that confirms, and what is declared before anything is published."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import msgspec
from pika.spec import BasicProperties

from actors.rabbitmq.connection import Channel, Connection, Server
from actors.rabbitmq.declaring import (
    MISSING,
    OTHERWISE,
    REFUSED,
    Exchange,
    Queue,
    declare_exchange,
    declare_queue,
    is_there,
    why_not_declared,
)
from actors.rabbitmq.faults import Refused
from actors.rabbitmq.properties import seconds_of, table_of
from actors.runtime.errors import ConfigError, Retryable
from actors.topics.blocks import Stored

#: A look at whether the queue that was declared is there still, so often while something is published.
LOOK_S = 1.0
#: What the server says of a message that is too large for it, with 406.
_TOO_LARGE = "message size"


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the sink does, in the words of its options.

    Attributes:
        section: of the configuration: ``sinks.out``.
        server: to which.
        exchange: to which messages are published; an empty name: the default exchange.
        route: the routing key; ``{key}`` in it is the record's key.
        queue: what is declared with it.
        declare: make what is missing.
        waits: a message that nobody takes is waited for; False: it is a dead letter.
        mandatory: False: a message that nobody takes is dropped by the server, and counts as written.
        content_type: of all messages.
        window: most messages that are published and not confirmed.
    """

    section: str
    server: Server
    exchange: Exchange
    route: str
    queue: Queue | None
    declare: bool
    waits: bool
    mandatory: bool
    content_type: str
    window: int

    @property
    def target(self) -> str:
        """The exchange, for people."""
        return f"exchange {self.exchange.name}" if self.exchange.name else "the default exchange"

    def routing_key(self, key: bytes | None) -> str | bytes:
        """Return the routing key of a message with this key."""
        if "{key}" not in self.route:
            return self.route
        try:
            return self.route.replace("{key}", (key or b"").decode())
        except UnicodeDecodeError:
            return self.route.encode().replace(b"{key}", key or b"")


class Line:
    """A channel to an exchange, opened again when it was lost.

    Args:
        plan: what the sink does.
        on_confirm: is called with the tag, whether all before it are meant too, and whether the message is taken.
        on_return: is called with the id of a message that nobody takes, and the server's words.

    Attributes:
        connection: the connection.
        tag: how many messages were published on this channel: the server's number of the last one.
    """

    def __init__(self, plan: Plan, on_confirm: Callable[[int, bool, bool], None],
                 on_return: Callable[[str, str], None]) -> None:
        self._plan = plan
        self._on_confirm = on_confirm
        self._on_return = on_return
        self._channel: Channel | None = None
        self.connection = Connection(plan.server)
        self.tag = 0
        self._looked_at = 0.0

    def connect(self) -> bool:
        """See to it that there is a channel; return whether it is a new one.

        Raises:
            Retryable: the server cannot be reached, or the queue that was declared is gone.
            ConfigError: it does not let us in, or what is there is something else.
            Refused: it has closed the channel.
        """
        if self._is_well():
            self._look()
            return False
        self._channel = None
        if not self.connection.is_open:
            self.connection.open()
        if self._plan.declare:
            declare(self.connection, self._plan)
            self._looked_at = time.monotonic()
        channel = self.connection.channel()
        channel.client.add_on_return_callback(self._returned)
        channel.ask(lambda done: channel.client.confirm_delivery(self._confirmed, done), "confirms")
        self._channel, self.tag = channel, 0
        return True

    def send(self, record_id: str, one: Stored, now: int) -> None:
        """Publish a message; one without a time of its own has this one, in ms since 1970."""
        assert self._channel is not None
        plan, self.tag = self._plan, self.tag + 1
        time_ms = now if one.time is None else one.time
        properties = BasicProperties(
            content_type=plan.content_type or None, headers=table_of(one.key, one.headers, time_ms, one.value is None),
            delivery_mode=2, message_id=record_id, timestamp=seconds_of(time_ms))
        key: Any = plan.routing_key(one.key)  # bytes that are no text, too, whatever the annotation says
        self._channel.client.basic_publish(plan.exchange.name, key, one.value or b"", properties, plan.mandatory)

    def turn(self, wait_s: float, until: Callable[[], bool]) -> bool:
        """Turn the connection until this is true, it is closed or blocked; return whether any of it is.

        Raises:
            Refused: the server has closed the channel.
            Retryable: the connection is lost.
        """
        channel = self._channel
        assert channel is not None
        found = self.connection.turn(
            wait_s, lambda: channel.closed is not None or bool(self.connection.blocked) or until())
        if channel.closed is not None:
            self._channel = None
            raise channel.closed
        return found

    def renew(self) -> None:
        """Declare again, on a new channel, with the next ``connect``; nothing is under way on this one."""
        if self._channel is not None:
            self._channel.close()
            self._channel = None

    def give_up(self) -> None:
        """Let the connection go: answers that may still come on it count for nothing."""
        self._channel = None
        self.connection.drop()

    def close(self) -> None:
        """Close the connection."""
        self._channel = None
        self.connection.close()

    def _look(self) -> None:
        """Say once that the queue is gone: where others are bound to its exchange, no message comes back for it."""
        queue, now = self._plan.queue, time.monotonic()
        if queue is None or not self._plan.declare or now - self._looked_at < LOOK_S:
            return
        self._looked_at = now
        if not is_there(self.connection, queue):
            self.renew()
            raise Retryable(f"rabbitmq {self.connection.where}: queue {queue.name} is gone, with all that was in it: "
                            "it is declared again")

    def _is_well(self) -> bool:
        """Whether the channel is still open: nobody has turned the connection since the last call."""
        if self._channel is None or not self.connection.is_open:
            return False
        try:
            self.connection.turn()
        except Retryable:
            return False
        return self._channel.closed is None

    def _confirmed(self, frame: Any) -> None:
        method = frame.method
        self._on_confirm(method.delivery_tag, method.multiple, method.NAME == "Basic.Ack")

    def _returned(self, _: Any, method: Any, properties: Any, __: bytes) -> None:
        key = method.routing_key
        shown = key if isinstance(key, str) else key.decode(errors="backslashreplace")
        self._on_return(properties.message_id, f"{method.reply_text}: {self._plan.target}, routing key {shown!r}")


def declare(connection: Connection, plan: Plan) -> None:
    """Make the exchange, and the queue with its binding, where they are missing.

    Raises:
        Retryable: the connection is lost.
        ConfigError: they are there with other arguments, or this user may not.
    """
    channel = connection.channel()
    wanted: Exchange | Queue = plan.exchange
    try:
        if plan.exchange.name:
            declare_exchange(channel, plan.exchange)
        if plan.queue is not None:
            wanted = plan.queue
            declare_queue(channel, plan.queue)
    except Refused as error:
        raise why_not_declared(error, wanted, connection.where, plan.section) from error
    channel.close()


def why_refused(error: Refused) -> str:
    """Why the channel was closed, in a short word, when it was for one of the messages; empty: it was for something
    else."""
    if error.code != OTHERWISE:
        return ""
    return "too_large" if _TOO_LARGE in error.text else "sink_rejected"


def why_not_published(error: Refused, plan: Plan) -> ConfigError | Retryable:
    """Return what to raise when the server has closed the channel that is published on."""
    says = f"rabbitmq {plan.server.address.shown}: {plan.target}"
    if error.code == REFUSED:
        return ConfigError(f"{plan.section}: {says}: {error.text}: give this user the permission to write to it")
    if error.code == MISSING:
        mend = ("it was removed, and is declared again" if plan.declare else
                f"make it, or set {plan.section}.declare = true")
        return Retryable(f"{says} is not there ({error.text}): {mend}")
    return Retryable(f"{says}: {error}")
