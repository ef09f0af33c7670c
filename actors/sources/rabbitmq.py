"""The rabbitmq source: messages of queues, journalled and then acknowledged (``docs/rabbitmq.md``).

    server ──deliver──▶ un-acknowledged ──one write──▶ journal ──▶ acknowledged, all up to the last
                        (at most the prefetch)            │
                                                          ├─▶ handed out, in order
                                                          └─ after a restart: what was not committed, first

A queue cannot be read again: a message that is acknowledged is gone, one that is not comes again after a death, and is
dropped by a queue that counts deliveries. So a message counts from the moment when it is in the journal, and is
acknowledged at once behind that, whatever becomes of it here, and however long that takes:

* What is in the journal ends in exactly one outcome, whoever dies. What is not is the server's, and comes again.
* What was journalled, and whose acknowledgement was lost, comes again too, and is known by its message id
  (``rabbitmq_seen``); a message of a stream by its offset. Without an id it is read again.
* Nothing stays un-acknowledged for longer than a moment: not when a sink is down for hours (the server closes a channel
  for it after half an hour), nor when this run is told to stop.
* While nothing can be handed out, what was delivered goes to the journal, up to ``journal_bytes``. Then the consumer is
  cancelled, and set up again when there is room. Connections are kept alive all the while (``tick``).

What does not work: to acknowledge what is durable in the sinks (a sink that is down costs the channel, and each death
and each stop counts as a delivery of all that is under way: a queue with a limit loses it); a thread for each
connection (what it takes is the reader's to journal, so it would only wait for it); to hold the server back by the
prefetch alone (what it bounds stays un-acknowledged).
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from actors.rabbitmq.addresses import Address, address_of
from actors.rabbitmq.connection import IMPORTS, Server
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.extras import how_to_install, missing
from actors.runtime.ports import SourceOptions, UnitLedger
from actors.sources.rabbitmq_care import FILE as IN_HAND
from actors.sources.rabbitmq_consumer import Wanted
from actors.sources.rabbitmq_intake import Limits, RabbitMQSource, Shape
from actors.sources.rabbitmq_messages import HEADER
from actors.sources.rabbitmq_seen import forget
from actors.sources.topic import moment_of

#: What stands behind the question mark of an address.
QUERY = ("queue",)
#: Queues that ``describe`` names before it only counts.
_NAMED = 3


class RabbitMQ(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read queues of a RabbitMQ server: classic, quorum and streams; journalled to disk before they are acknowledged.

    A record has the body as its value, the headers of the message, and ``amqp-queue``, ``amqp-exchange``,
    ``amqp-routing-key``, ``amqp-message-id`` and the like among them.

    Attributes:
        topics: which: ``amqp://USER:PASSWORD@HOST:PORT/VHOST?queue=NAME``, with TLS ``amqps://``; several nodes of a
            cluster as ``HOST:PORT,HOST:PORT``.
        follow: False: read until the queues are empty, and end. A stream has no end.
        declare: declare the queues when they are not there. One that is there with other arguments is never changed:
            the run ends with exit code 78 and says what differs. False: they have to be there, and are taken as they
            are.
        queue_type: what is declared, and how it is read: ``quorum``, ``classic`` or ``stream``.
        single_active_consumer: declare that only one consumer at a time is given messages, in order; the others wait
            for it to go.
        arguments: further arguments of the declaration, such as ``x-dead-letter-exchange``.
        start: where a stream begins that this state has not read before: ``earliest``, ``latest``, or a time as ISO
            8601 or in ms since 1970.
        key: the key of a record: empty: the one that the sink ``rabbitmq`` has sent, or the routing key;
            ``header:NAME``: what is in this header.
        unique_ids: the producers give each message an id of its own, as the sink ``rabbitmq`` does: one that was
            published twice is read once, too, if the second follows within some 65,000 messages.
        prefetch: most messages of a queue that are un-acknowledged.
        prefetch_bytes: the same in bytes, about: by the mean size of what was delivered. Fewer messages are prefetched
            when they are long.
        journal_bytes: most that is journalled ahead while nothing can be handed out (a sink is down). Then nothing more
            is taken from the queues.
        segment_bytes: size at which a file of the journal is full; it is deleted when all of it is durable elsewhere.
        sync: wait for the disk before anything is acknowledged; without it what was acknowledged survives the death of
            any process, not that of the machine.
        journal: the journal's folder, relative to the state directory.
        heartbeat_s: the server and we give a sign of life so often.
        connect_timeout_s: longest time to connect, log-in included.
        ca_file: whose certificates are trusted with ``amqps``; empty: those that the system trusts.
        cert_file: our own certificate, where the server asks for one.
        key_file: its key.
        management: address of the management plugin (``http://HOST:15672``), for ``check``; empty: at the host of the
            first node, if it is there. User and password are those of the queue's server, unless it has its own
            (``http://USER:PASSWORD@HOST:15672``).

    Example::

        from thresher import sources  # there is a thresher.sinks.RabbitMQ, too

        sources.RabbitMQ(topics=["amqp://shop:secret@10.0.0.5/orders?queue=reviews"], single_active_consumer=True)
    """

    guarantee: ClassVar[str] = (
        "journalled before it is acknowledged: each message that has a message id is read exactly once by this run, "
        "one without at least once; what another consumer had before, and did not acknowledge, is read again")
    imports: ClassVar[tuple[str, ...]] = IMPORTS
    follows: ClassVar[bool] = True
    addressed_by: ClassVar[str] = "topics"
    schemes: ClassVar[tuple[str, ...]] = ("amqp", "amqps")
    takes_away: ClassVar[bool] = True
    max_outage_s: ClassVar[float] = 0.0

    topics: list[str] = []
    follow: bool = True
    declare: bool = True
    queue_type: Literal["quorum", "classic", "stream"] = "quorum"
    single_active_consumer: bool = False
    arguments: dict[str, str | int | bool] = {}
    start: str = "earliest"
    key: str = ""
    unique_ids: bool = False
    prefetch: Annotated[int, Meta(ge=1, le=65535)] = 2000
    prefetch_bytes: Annotated[int, Meta(ge=1)] = 8 * 1024 * 1024
    journal_bytes: Annotated[int, Meta(ge=1)] = 16 * 1024 * 1024
    segment_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024 * 1024
    sync: bool = True
    journal: str = "journal"
    heartbeat_s: Annotated[int, Meta(ge=5, le=3600)] = 60
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    management: str = ""

    def __post_init__(self) -> None:
        """Check what the types cannot say."""
        if not self.journal:
            raise ValueError("journal: expected the name of a folder, got ''")
        if self.key and (not self.key.startswith(HEADER) or self.key == HEADER):
            raise ValueError(f"key: expected nothing, or header:NAME, got {self.key!r}")
        if self.queue_type == "stream" and self.single_active_consumer:
            raise ValueError("single_active_consumer: a stream has none: each reader has all of it; expected false")

    def libraries(self) -> tuple[str, ...]:
        """Its client."""
        return ("pika",)

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> RabbitMQSource:
        """Find what the journal has left; the servers are connected to by and by.

        Raises:
            ConfigError: no queue is named, an address is none, or the journal cannot be written to.
        """
        _require_client()
        shape = Shape(self.queues(), self.follow, self.key, self.unique_ids, self.journal, self.segment_bytes,
                      self.sync)
        return RabbitMQSource(
            shape, Limits(batch_bytes, self.prefetch, self.prefetch_bytes, self.journal_bytes), ledger, state)

    def queues(self) -> list[tuple[Server, Wanted]]:
        """The queues, each with its server.

        Raises:
            ConfigError: none is named, or one is no address of a queue, or is named twice; a stream is not followed.
        """
        if not self.topics:
            raise ConfigError("the rabbitmq source has nothing to read: topics is empty; expected e.g. topics = "
                              "[\"amqp://USER:PASSWORD@HOST:5672/VHOST?queue=NAME\"]")
        if self.queue_type == "stream" and not self.follow:
            raise ConfigError("source.follow: a stream has no end: expected true (without --once), got false")
        found = [(self._server(address), self._wanted(address)) for address in map(_queue_at, self.topics)]
        known = [(server.address.nodes, server.address.vhost, wanted.name) for server, wanted in found]
        if twice := [name for at, name in enumerate(known) if name in known[:at]]:
            raise ConfigError(f"source.topics: queue {twice[0][2]} is named twice: expected each once")
        return found

    def describe(self) -> str:
        """Say where this reads: ``rabbitmq 10.0.0.5:5672/orders, queue reviews, followed``."""
        try:
            found = [(server.address.shown, wanted.name) for server, wanted in self.queues()]
        except ConfigError:
            return "rabbitmq, no queue"
        more = f" and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
        named = "; ".join(f"{where}, queue {name}" for where, name in found[:_NAMED])
        return f"rabbitmq {named}{more}{', followed' if self.follow else ''}"

    def comes_again(self) -> str:
        """Of a queue; a message of a stream is known by its offset."""
        return "" if self.queue_type == "stream" else (
            "a message without a message id comes again when its acknowledgement was lost, and so does what another "
            "consumer had and did not acknowledge")

    def journal_folder(self) -> str:
        """The journal's folder."""
        return self.journal

    def clear(self, name: str, state: Path) -> bool:
        """Forget which messages were journalled, and how far streams were read. The queues are not emptied."""
        folder = state / self.journal
        try:
            forget(folder)
            (folder / IN_HAND).unlink(missing_ok=True)
        except OSError as error:
            raise ConfigError(f"journal {folder}: {plain_reason(error)}: expected to be able to remove it") from error
        return True

    def require_addresses(self, state: Path) -> None:
        """They are queues, each once."""
        self.queues()

    def check(self, state: Path) -> list[str]:
        """Say what would keep the queues from being read now, and what may lose messages there; nothing is changed, and
        nothing is taken.

        Raises:
            ConfigError: an address is none, a server does not let this user in, or its certificate is not trusted.
        """
        _require_client()
        from actors.sources.rabbitmq_check import problems_of

        return [problem for server, wanted in self.queues() for problem in problems_of(server, wanted, self.management)]

    def _server(self, address: Address) -> Server:
        return Server(address=address, ca_file=self.ca_file, cert_file=self.cert_file, key_file=self.key_file,
                      connect_timeout_s=self.connect_timeout_s, heartbeat_s=self.heartbeat_s)

    def _wanted(self, address: Address) -> Wanted:
        arguments: dict[str, Any] = {"x-queue-type": self.queue_type, **self.arguments}
        if self.single_active_consumer:
            arguments["x-single-active-consumer"] = True
        moment = moment_of(self.start)
        start: Any = "next" if self.start == "latest" else "first"
        if moment is not None:
            start = datetime.fromtimestamp(moment / 1000, UTC)
        return Wanted(name=address.query["queue"], declare=self.declare, arguments=arguments,
                      is_stream=self.queue_type == "stream", start=start, may_come=self.follow)


OPTIONS = RabbitMQ


def _queue_at(text: str) -> Address:
    address = address_of(text, QUERY, "source.topics")
    if not address.query.get("queue"):
        raise ConfigError(f"source.topics: rabbitmq {address.shown}: expected ?queue=NAME behind the virtual host, got "
                          "none")
    return address


def _require_client() -> None:
    if missing("rabbitmq"):
        raise ConfigError(f"the rabbitmq source needs a client: {how_to_install('rabbitmq')}")
