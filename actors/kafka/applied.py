"""Up to where the batches of each partition are in a topic: records of a compacted topic beside it.

    transaction ──▶ the messages of a group of batches, in the topic
               └──▶ the new positions, in ``thresher_applied``          both are there, or neither is

A key is a list in JSON, its value too; None takes it away:

    ["applied", OWNER, PARTITION]            the position
    ["refused", OWNER, PARTITION, START]     what the broker refused of a batch: [[item, reason, detail], …]
    ["holder", OWNER]                        who opened it last: a token

Guarantees: what ``read`` returns behind ``init_transactions`` is final: the call ends what an earlier producer of the
same id had begun, and the end of the topic is asked for after it, so no open transaction of ours hides the last
position. Those of others are waited for, which the broker ends after their ``transaction.timeout.ms``.

What does not work: to read up to the last stable offset (an open transaction of another sink that began before ours
would hide our last position); the offsets of a consumer group (4096 bytes, and the broker forgets them).
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from actors.kafka.clients import Heard, Properties, configured, took_too_long
from actors.kafka.topics import Cluster
from actors.runtime.errors import ConfigError
from actors.runtime.progress import extend
from actors.runtime.values import Payload, Refusal

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message, Producer

TOPIC = "thresher_applied"
#: Compaction takes away all but the last of each key from full segments: small ones are soon full, and soon read back.
SETTINGS = {"cleanup.policy": "compact", "segment.bytes": str(16 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.1"}
#: Most partitions of batches, and most batches with refusals, that are kept: see ``actors.sinks.lines``.
MOST = 8192
_BEHIND = ("the positions of this sink lie behind an open transaction of another sink: the broker ends it within its "
           "transaction.timeout.ms, or, where the broker has forgotten it, that sink does when it is opened again")

Row = tuple[str, str | None]


class Applied(msgspec.Struct):
    """What one sink has written.

    Attributes:
        owner: what it is known by.
        positions: by partition, those that changed last at the end.
        refused: item, reason and detail, by partition and start of the batch.
        holder: the token of who opened it last.
    """

    owner: str
    positions: dict[str, int] = {}
    refused: dict[tuple[str, int], list[tuple[int, str, str]]] = {}
    holder: str = ""

    def has(self, payload: Payload) -> bool:
        """Whether a batch is in the topic."""
        return payload.end <= self.positions.get(payload.partition, -1)

    def take(self, key: str, value: str | None) -> None:
        """Take a record of the topic, of whatever sink.

        Raises:
            ConfigError: it is none.
        """
        try:
            kind, owner, *rest = json.loads(key)
            if owner != self.owner:
                return
            if kind == "applied":
                self.positions.pop(rest[0], None)
                if value is not None:
                    self.positions[rest[0]] = int(json.loads(value))
            elif kind == "refused":
                place = rest[0], int(rest[1])
                self.refused.pop(place, None)
                if value is not None:
                    self.refused[place] = [(int(item), str(reason), str(detail))
                                           for item, reason, detail in json.loads(value)]
            elif kind == "holder":
                self.holder = "" if value is None else str(json.loads(value))
        except (ValueError, TypeError, IndexError) as error:
            raise ConfigError(f"expected a position, as a sink writes it, got the key {key!r:.100}: is it a topic of "
                              "something else? set applied_topic") from error

    def rows_of(self, payloads: list[Payload], refused: dict[tuple[str, int], list[Refusal]]) -> Iterator[Row]:
        """Take these as written; yield the records that say so."""
        for partition, position in {one.partition: one.end for one in payloads}.items():
            self.positions.pop(partition, None)
            self.positions[partition] = position
            yield json.dumps(["applied", self.owner, partition]), json.dumps(position)
        for (partition, start), refusals in refused.items():
            self.refused[partition, start] = [(one.item, one.reason, one.detail) for one in refusals]
            yield (json.dumps(["refused", self.owner, partition, start]),
                   json.dumps(self.refused[partition, start]))
        for partition in list(itertools.islice(self.positions, max(0, len(self.positions) - MOST))):
            del self.positions[partition]
            yield json.dumps(["applied", self.owner, partition]), None
        for place in list(itertools.islice(self.refused, max(0, len(self.refused) - MOST))):
            del self.refused[place]
            yield json.dumps(["refused", self.owner, *place]), None

    def row_of_holder(self, token: str) -> Row:
        """The record that says who has opened it."""
        self.holder = token
        return json.dumps(["holder", self.owner]), json.dumps(token)


def owner_of(state_id: str, name: str, topic: str) -> str:
    """What the positions of a sink are known by: they are of one topic."""
    return f"{state_id}/{name} {topic}"


def send(producer: Producer, topic: str, rows: Iterable[Row], partition: int = -1) -> None:
    """Hand records to a producer, within its transaction; to the partition of their keys (-1), or to this one."""
    for key, value in rows:
        while True:
            try:
                producer.produce(topic, value, key, partition)
                break
            except BufferError:
                producer.poll(0.1)


def read(cluster: Cluster, servers: str, client: Properties, topic: str, owner: str, heard: Heard,
         silent_s: float) -> Applied:
    """Read what a sink has written, up to the end that the topic has now; nothing when there is no topic.

    Args:
        cluster: is asked for the end.
        servers: to begin with.
        client: the table of the sink.
        topic: of positions.
        owner: of the sink.
        heard: takes what is heard of the connections.
        silent_s: a broker that says nothing for so long is not waited for.

    Raises:
        KafkaException: it cannot be read now.
        ConfigError: it is another kind of topic.
    """
    from confluent_kafka import Consumer, TopicPartition

    applied = Applied(owner)
    found = cluster.found(topic)
    if found is None:
        return applied
    ends = {number: end for number, end in cluster.ends(topic, found.partitions).items() if end > 0}
    if not ends:
        return applied
    consumer = Consumer(configured(servers, {}, client, {
        "group.id": "thresher", "enable.auto.commit": False, "isolation.level": "read_committed",
        "enable.partition.eof": True, "auto.offset.reset": "earliest", "error_cb": heard.error_cb,
        "check.crcs": True, "fetch.wait.max.ms": 20, "queued.max.messages.kbytes": 4096}))
    try:
        # Not "the beginning", which takes half a second to find; where 0 is gone, it is found all the same.
        consumer.assign([TopicPartition(topic, number, 0) for number in ends])
        for message in _up_to(consumer, ends, silent_s):
            key, value = message.key(), message.value()
            applied.take((key or b"").decode(errors="replace"),
                         None if value is None else value.decode(errors="replace"))
    finally:
        consumer.close()
    return applied


def _up_to(consumer: Consumer, ends: dict[int, int], silent_s: float) -> Iterator[Message]:
    """Yield the messages below these offsets."""
    from confluent_kafka import KafkaException

    waits, heard_at = set(ends), time.monotonic()
    while waits:
        extend(silent_s + 5.0)
        message = consumer.poll(0.1)
        now = time.monotonic()
        if message is None:
            if now - heard_at > silent_s:
                raise took_too_long(_BEHIND)
            continue
        heard_at, number, offset = now, message.partition() or 0, message.offset() or 0
        if (error := message.error()) is None:
            yield message
            offset += 1
        elif error.name() != "_PARTITION_EOF":
            raise KafkaException(error)
        if offset >= ends[number]:
            waits.discard(number)
