"""A topic of Kafka: each message with the id of its record, or exactly once in transactions (the extra ``kafka``).

An item is what the sink ``topic`` takes: ``(key, value)``, a ``Message`` or a value alone. ``docs/kafka.md`` says what
goes in, what each option promises, and what happens in an outage.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from actors.kafka.addresses import Address, address_of
from actors.kafka.clients import Value, refuse
from actors.runtime.errors import ConfigError
from actors.runtime.extras import how_to_install
from actors.runtime.following import Follower
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.sinks import kafka_messages
from actors.topics.blocks import Message, unpack_items

#: What the sink sets itself.
_OURS = {
    "enable.idempotence": "the order of messages, and each of them once, rest on it",
    "acks": "a batch is acknowledged when all replicas that are in step have it",
    "request.required.acks": "a batch is acknowledged when all replicas that are in step have it",
    "transactional.id": "set transactions = true: the id is that of the state directory and the sink",
    "message.timeout.ms": "an outage is waited for: run.max_outage_s says how long",
    "delivery.timeout.ms": "an outage is waited for: run.max_outage_s says how long",
    "delivery.report.only.error": "it is how the sink counts", "compression.type": "set compression",
    "compression.codec": "set compression", "enable.gapless.guarantee": "a message that is too large would end the run",
    "group.id": "it is of a source",
}


class Kafka(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic of Kafka.

    An item is ``(key, value)``, or a ``Message`` where it has headers or a time of its own, or a value alone: bytes, or
    text. A value that is None is a tombstone. Messages of one key are in one partition (murmur2 of the key, as the
    Java client has it), in source order; those without a key are spread. Each has a header ``thresher-id``, the same
    however often it is delivered: ``PARTITION:POSITION:INDEX``, the place of its record in the input, and which of the
    messages made of that it is.

    Attributes:
        topic: ``kafka://host:port,host:port/name``.
        transactions: groups of batches and their positions in one transaction: each message once for those who read
            what is committed (``isolation.level = "read_committed"``), also after the death of any process.
        compression: of batches.
        create: make the topic when it is not there.
        partitions: of a topic that is made; 0: as the broker has it.
        replication: on how many brokers a topic that is made is kept; 0: as the broker has it.
        applied_topic: where positions are kept with ``transactions``: a compacted topic, made when it is not there.
        timeout_s: a write that gets no further for so long is an outage, which is waited for.
        client: properties of the client by the names that librdkafka has for them: TLS, SASL, buffers. Those that a
            promise rests on are refused.

    Example::

        from thresher import sinks

        sinks.Kafka(topic="kafka://10.0.0.5:9092/ratings", partitions=4, replication=3, transactions=True,
                    client={"security.protocol": "SASL_SSL", "sasl.mechanism": "SCRAM-SHA-512",
                            "sasl.username": "me", "sasl.password": "${env:KAFKA_PASSWORD}"})
    """

    ordered: ClassVar[bool] = True
    names_records: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = ("at least once, in source order for each key: a message that is there twice after a "
                                "crash has the same thresher-id; with transactions exactly once for those who read "
                                "what is committed")

    addressed_by: ClassVar[str] = "topic"
    schemes: ClassVar[tuple[str, ...]] = ("kafka",)
    #: A broker comes back.
    max_outage_s: ClassVar[float] = 0.0

    topic: str
    transactions: bool = False
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "zstd"
    create: bool = True
    partitions: Annotated[int, Meta(ge=0, le=100_000)] = 0
    replication: Annotated[int, Meta(ge=0, le=1000)] = 0
    applied_topic: str = "thresher_applied"
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0
    client: dict[str, Value] = {}

    def __post_init__(self) -> None:
        """Refuse what is no address of a topic, and properties that are not to be set."""
        try:
            where = address_of(self.topic)
        except ConfigError as error:
            raise ValueError(f"topic: {error}") from error
        try:
            address_of(f"kafka://{where.servers}/{self.applied_topic}")
        except ConfigError as error:
            raise ValueError("applied_topic: expected the name of a topic, 1 to 249 of letters, digits, '.', '_' and "
                             f"'-', got {self.applied_topic!r}") from error
        if self.applied_topic == where.topic:
            raise ValueError(f"applied_topic: expected another topic than that of the messages, got {where.topic!r}")
        refuse(self.client, _OURS)
        kafka_messages.require_largest(self.client)

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the messages, in order.

        Raises:
            Reject: an item is no message, or larger than the client sends (``message.max.bytes``, 1,000,000).
        """
        return kafka_messages.pack(items, self.client)

    def unpack(self, data: bytes) -> list[Message]:
        """Return the messages that ``pack`` made this of."""
        return unpack_items(data)

    def libraries(self) -> tuple[str, ...]:
        """Its client."""
        return ("confluent_kafka",)

    def open(self, name: str, state: Path) -> Sink:
        """Open the sink; the broker is asked with the first write.

        Raises:
            ConfigError: the library is not installed, or does not take ``client``.
        """
        try:
            from actors.sinks.kafka_producer import Broker
            from actors.sinks.kafka_producing import Producing
            from actors.sinks.kafka_transactions import Transactions
        except ImportError as error:
            raise ConfigError(_needs(name)) from error
        if self.client:
            Broker(self, name).require_client()
        return Transactions(self, name, state) if self.transactions else Producing(self, name)

    def describe(self) -> str:
        """Say where this writes."""
        return f"{self.address}{', in transactions' if self.transactions else ''}"

    def promises(self) -> str:
        """What a crash can do to what is written here, with these options."""
        if self.transactions:
            return ("messages and positions in one transaction: exactly once for those who read what is committed, in "
                    "source order for each key")
        return ("idempotent producer: in source order for each key, at least once; a message that is there twice after "
                "a crash has the same thresher-id, by which consumers can drop it")

    def loses(self) -> str:
        """A broker does not wait for its disk."""
        return "what no broker had on its disk is gone when all replicas lose their power at once"

    def repeated(self) -> Repeated:
        """In transactions a batch is known by its position; else its messages are there again, under the same ids."""
        return "skipped" if self.transactions else "added"

    def tombstones(self) -> str:
        """A value that is None."""
        return "(key, None) goes to those who read: there is none any more for the key"

    def check(self, name: str, state: Path) -> list[str]:
        """Say what would keep it from being written to now; no topic is made.

        Raises:
            ConfigError: only another configuration, or another user, can help.
        """
        try:
            from actors.sinks.kafka_check import problems_of
        except ImportError as error:
            raise ConfigError(_needs(name)) from error
        return problems_of(self, name)

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """With transactions what is in ``applied_topic`` of this state, sink and topic.

        Raises:
            Retryable: the broker cannot be asked now.
        """
        if not self.transactions:
            return {}
        try:
            from actors.sinks.kafka_transactions import positions_of
        except ImportError:  # said when it is opened
            return {}
        return positions_of(self, name, state)

    def follow(self, name: str, state: Path, most: int) -> Follower:
        """Read back the messages, each as a ``Record``, also those of others.

        Raises:
            ConfigError: the library is not installed.
        """
        try:
            from actors.kafka.following import KafkaFollower
        except ImportError as error:
            raise ConfigError(_needs(name)) from error
        return KafkaFollower(self.address, self.client, most, self.timeout_s)

    def clear(self, name: str, state: Path) -> bool:
        """No: others read the topic, and may write to it. What a new run writes has ids and positions of its own."""
        return False

    @property
    def address(self) -> Address:
        """Where the topic is."""
        return address_of(self.topic)


OPTIONS = Kafka


def _needs(name: str) -> str:
    return f"sinks.{name}: type kafka needs confluent-kafka: {how_to_install('kafka')}"
