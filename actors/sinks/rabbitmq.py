"""RabbitMQ: messages to an exchange, each confirmed by the server (``docs/rabbitmq.md``)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from actors.rabbitmq.addresses import MOST_NAME_BYTES, Address, address_of
from actors.rabbitmq.connection import IMPORTS, Server
from actors.rabbitmq.declaring import Exchange, Queue
from actors.rabbitmq.following import StreamFollower
from actors.rabbitmq.properties import OURS
from actors.runtime.errors import ConfigError, Reject
from actors.runtime.extras import how_to_install
from actors.runtime.following import Follower
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.topics.blocks import Message, Stored, pack_items, stored_in, unpack_items

if TYPE_CHECKING:
    from actors.sinks.rabbitmq_line import Plan

__all__ = ["OPTIONS", "Message", "RabbitMQ"]

_KNOWN = ("queue", "exchange", "routing_key")
#: Key and headers travel in one frame, which cannot be cut; servers take frames of 128 KiB, of which some is ours.
_MOST_HEADER_BYTES = 96 * 1024
#: Headers by which a message would go to other queues, too.
_ROUTES = ("CC", "BCC")
#: What a header takes besides its name and value, about.
_HEADER_OVERHEAD = 8


class RabbitMQ(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Messages to an exchange of RabbitMQ, or straight to a queue: persistent, and each confirmed by the server.

    An item is ``(key, value)``, or a ``Message`` where it has headers or a time of its own, or a value alone: bytes, or
    text. A value that is None says that there is none any more for its key. Each message has a ``message_id``,
    ``PARTITION:POSITION:INDEX`` (the place of its record in the input, and which of the messages made of that it is),
    which is the same when it is published again.

    Attributes:
        topic: where to: ``amqp://USER:PASSWORD@HOST:PORT/VHOST?queue=NAME``, or ``…?exchange=NAME&routing_key=KEY``, in
            which ``{key}`` is the record's key; with both a queue and an exchange the queue is bound to it.
            ``amqps://`` for TLS; the password best as ``${env:NAME}``.
        exchange_type: what the exchange is: direct, topic, fanout or headers.
        queue_type: what the queue is: quorum, stream or classic.
        declare: make the exchange and the queue, where they are missing. What is there is never changed: with other
            arguments the run ends, and says what to do.
        unroutable: of a message that no queue takes: ``letter``: it is a dead letter; ``wait``: it is waited for a
            queue that takes it, as an outage; ``drop``: the server drops it, and it counts as written. ``auto``:
            ``letter`` where the record's key is in the routing key, ``wait`` where all of them have the same.
        content_type: of all messages; empty: they have none.
        window: most messages that are published and not confirmed yet.
        ca_file: whose certificates are trusted with ``amqps``; empty: those that the system trusts.
        cert_file: our own certificate, where the server asks for one.
        key_file: its key.
        connect_timeout_s: longest time to connect.
        timeout_s: longest time for an answer; what is not confirmed for so long is published again.
        heartbeat_s: seconds between two signs of life; 0: none. A connection on which nothing is written for longer
            than two of them is closed by the server, and opened again when it is needed.

    Example::

        from thresher import sinks  # there is a thresher.sources.RabbitMQ, too

        sinks.RabbitMQ(topic="amqp://shop:${env:SHOP_PASSWORD}@10.0.0.5/orders?exchange=ratings&routing_key={key}",
                       exchange_type="topic")
    """

    ordered: ClassVar[bool] = True
    names_records: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = (
        "confirmed by the server, and again under the same message_id after a crash: at least once, in source order; "
        "once for a consumer that drops ids that it has seen")
    #: A broker comes back.
    max_outage_s: ClassVar[float] = 0.0
    #: What opening it imports, for the supervisor to import once.
    imports: ClassVar[tuple[str, ...]] = IMPORTS
    addressed_by: ClassVar[str] = "topic"
    schemes: ClassVar[tuple[str, ...]] = ("amqp", "amqps")

    topic: str
    exchange_type: Literal["direct", "topic", "fanout", "headers"] = "direct"
    queue_type: Literal["quorum", "stream", "classic"] = "quorum"
    declare: bool = True
    unroutable: Literal["auto", "letter", "wait", "drop"] = "auto"
    content_type: Annotated[str, Meta(max_length=MOST_NAME_BYTES)] = ""
    window: Annotated[int, Meta(ge=1)] = 1000
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    heartbeat_s: Annotated[int, Meta(ge=0, le=3600)] = 60

    def __post_init__(self) -> None:
        """Refuse an address that is none, and what cannot be declared, before anything runs."""
        query = self._address().query
        if not query.get("exchange") and not query.get("queue"):
            raise ConfigError("topic: expected a queue or an exchange behind the question mark: ?queue=NAME, or "
                              "?exchange=NAME&routing_key=KEY")
        if "{key}" in query.get("queue", ""):
            raise ConfigError("topic: queue: expected a name, got {key} in it: name an exchange, and routing_key={key}")
        if "routing_key" in query and not query.get("exchange"):
            raise ConfigError("topic: routing_key: expected an exchange with it: the default exchange takes the name "
                              "of a queue")
        if unknown := set(re.findall(r"\{\w+\}", query.get("routing_key", ""))) - {"{key}"}:
            raise ConfigError(f"topic: routing_key: expected a text with {{key}} in it or none, got {min(unknown)}")
        if (self.declare and query.get("exchange") and query.get("queue") and self.exchange_type == "direct"
                and "{key}" in query.get("routing_key", "")):
            raise ConfigError("topic: a queue cannot be bound to a direct exchange for all keys: set exchange_type = "
                              "\"topic\", or bind the queue yourself and leave it out here")
        if self.key_file and not self.cert_file:
            raise ConfigError("key_file: expected cert_file with it")

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the messages, in order.

        Raises:
            Reject: an item is no message, or AMQP has no room for its key or headers.
        """
        data = pack_items(items, 1)
        route = self._route()
        for one in stored_in(data):
            if one.key is not None or one.headers:
                _require_room(one, route)
        return data

    def unpack(self, data: bytes) -> list[Message]:
        """Return the messages that ``pack`` made this of."""
        return unpack_items(data)

    def libraries(self) -> tuple[str, ...]:
        """Its client."""
        return ("pika",)

    def open(self, name: str, state: Path) -> Sink:
        """Connect, and declare what is to be declared. A server that is down is no error: ``write`` waits for it.

        Raises:
            ConfigError: the client library is missing, the server does not let this user in, its certificate is not
                trusted, or what is to be declared is there with other arguments.
        """
        try:
            from actors.sinks.rabbitmq_publishing import open_publisher
        except ImportError as error:
            raise ConfigError(_needs(name, error)) from error
        return open_publisher(self._plan(name))

    def check(self, name: str, state: Path) -> list[str]:
        """Say what would keep it from being published to now; nothing is declared, nothing published.

        Raises:
            ConfigError: only another configuration can help.
        """
        try:
            from actors.sinks.rabbitmq_check import problems_of
        except ImportError as error:
            raise ConfigError(_needs(name, error)) from error
        return problems_of(self._plan(name))

    def follow(self, name: str, state: Path, most: int) -> Follower | None:
        """Read back the messages of a stream queue, each as a ``Record``; None: of any other queue a message that is
        looked at is one that its consumer does not get."""
        plan = self._plan(name)
        if plan.queue is None or plan.queue.kind != "stream":
            return None
        return StreamFollower(plan.server, plan.queue.name, most)

    def repeated(self) -> Repeated:
        """It is published again, under the same message_id."""
        return "added"

    def tombstones(self) -> str:
        """A value that is None."""
        return "(key, None) goes to those who read: there is none any more for the key"

    def describe(self) -> str:
        """Say where this writes: ``rabbitmq 10.0.0.5:5672/orders exchange ratings``."""
        address = self._address()
        target = f"exchange {address.query['exchange']}" if address.query.get("exchange") else (
            f"queue {address.query['queue']}")
        return f"rabbitmq {address.shown} {target}"

    def promises(self) -> str:
        """What a crash can do to what is written here, with these options."""
        lost = "; what no queue takes is dropped by the server, and counts as written"
        return f"{self.guarantee}{lost if self.unroutable == 'drop' else ''}"

    def _address(self) -> Address:
        return address_of(self.topic, _KNOWN, "topic")

    def _route(self) -> str:
        query = self._address().query
        return query.get("routing_key", "") if query.get("exchange") else query["queue"]

    def _plan(self, name: str) -> Plan:
        from actors.sinks.rabbitmq_line import Plan

        address = self._address()
        query, route = address.query, self._route()
        exchange = Exchange(query.get("exchange", ""), self.exchange_type)
        server = Server(
            address=address, ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file,
            connect_timeout_s=self.connect_timeout_s, timeout_s=self.timeout_s, heartbeat_s=self.heartbeat_s,
            name=f"thresher sinks.{name}")
        queue = None
        if query.get("queue"):
            queue = Queue(query["queue"], self.queue_type, exchange.name, self._binding(route))
        return Plan(section=f"sinks.{name}", server=server, exchange=exchange, route=route, queue=queue,
                    declare=self.declare, waits=self._waits(route), mandatory=self.unroutable != "drop",
                    content_type=self.content_type, window=self.window)

    def _binding(self, route: str) -> str:
        """What a queue is bound with: everything that may come."""
        return "#" if self.exchange_type == "topic" and "{key}" in route else route

    def _waits(self, route: str) -> bool:
        return self.unroutable == "wait" or (self.unroutable == "auto" and "{key}" not in route)


OPTIONS = RabbitMQ


def _require_room(one: Stored, route: str) -> None:
    """Reject what AMQP cannot carry.

    Raises:
        Reject: it is too large for its place.
    """
    if "{key}" in route:
        size = len(route.encode()) - len("{key}") + len(one.key or b"")
        if size > MOST_NAME_BYTES:
            raise Reject("too_large", f"a routing key of {size} bytes: expected at most {MOST_NAME_BYTES}")
    held = len(one.key or b"")
    for header, value in one.headers:
        size = len(header.encode())
        if size > MOST_NAME_BYTES:
            raise Reject("too_large", f"a header's name of {size} bytes: expected at most {MOST_NAME_BYTES}")
        if header in OURS or header in _ROUTES:
            who = "this sink sets itself" if header in OURS else "RabbitMQ takes for further routing keys"
            raise Reject("no_message", f"headers: {header} is one that {who}")
        held += size + len(value or b"") + _HEADER_OVERHEAD
    if held > _MOST_HEADER_BYTES:
        raise Reject("too_large", f"a key and headers of {held} bytes: expected at most {_MOST_HEADER_BYTES}")


def _needs(name: str, error: ImportError) -> str:
    module = (error.name or str(error)).partition(".")[0]
    return f"sinks.{name}: type rabbitmq needs {module}: {how_to_install('rabbitmq')}"
