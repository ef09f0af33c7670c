"""Up to where the batches of each partition are in a topic: records of a compacted topic beside it.

    transaction ──▶ the messages of a group of batches, in the topic
               └──▶ the new positions, in ``thresher_applied``          both are there, or neither is

A key is a list in JSON, its value too; None takes it away:

    ["applied", OWNER, PARTITION]            the position
    ["refused", OWNER, PARTITION, START]     what the broker refused of a batch: [[item, reason, detail], …]
    ["holder", OWNER]                        who opened it last: a token
    ["mended", OWNER]                        what was written again last: a token

Guarantees: what ``read`` returns behind ``init_transactions`` is final: the call ends what an earlier producer of the
same id had begun, and the end of the topic is asked for after it, so no open transaction of ours hides the last
position. Those of others are waited for, which the broker ends after their ``transaction.timeout.ms``.

What does not work: to read up to the last stable offset (an open transaction of another sink that began before ours
would hide our last position); the offsets of a consumer group (4096 bytes, and the broker forgets them).
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

import msgspec

from actors.kafka.received import bytes_of
from actors.kafka.stretches import Reading
from actors.kafka.topics import Cluster
from actors.runtime.errors import ConfigError
from actors.runtime.values import Payload, Refusal

if TYPE_CHECKING:
    from confluent_kafka import Message, Producer

TOPIC = "thresher_applied"
#: Compaction takes away all but the last of each key from full segments: small ones are soon full, and soon read back.
SETTINGS = {"cleanup.policy": "compact", "segment.bytes": str(16 * 1024 * 1024), "min.cleanable.dirty.ratio": "0.1"}
#: Most partitions of batches, and most batches with refusals, that are kept: see ``actors.sinks.lines``.
MOST = 8192
BEHIND = ("the positions of this sink lie behind an open transaction of another sink: the broker ends it within its "
           "transaction.timeout.ms, or, where the broker has forgotten it, that sink does when it is opened again")

Row = tuple[str, str | None]


class Applied(msgspec.Struct):
    """What one sink has written.

    Attributes:
        owner: what it is known by.
        positions: by partition, those that changed last at the end.
        refused: item, reason and detail, by partition and start of the batch.
        holder: the token of who opened it last.
        mended: the token of what was written again last: see ``actors.sinks.kafka_ending``.
    """

    owner: str
    positions: dict[str, int] = {}
    refused: dict[tuple[str, int], list[tuple[int, str, str]]] = {}
    holder: str = ""
    mended: str = ""

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
            elif kind == "mended":
                self.mended = "" if value is None else str(json.loads(value))
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

    def row_of_mended(self, token: str) -> Row:
        """The record that says what was written again."""
        self.mended = token
        return json.dumps(["mended", self.owner]), json.dumps(token)


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


def read(cluster: Cluster, reading: Reading, topic: str, owner: str, is_stable: bool = False) -> Applied:
    """Read what a sink has written, up to the end that the topic has now; nothing when there is no topic.

    Args:
        cluster: is asked for the end.
        reading: how it is read.
        topic: of positions.
        owner: of the sink.
        is_stable: only up to the first transaction that is open; else those are waited for.

    Raises:
        KafkaException: it cannot be read now.
        ConfigError: it is another kind of topic.
    """
    applied = Applied(owner)
    found = cluster.found(topic)
    if found is None:
        return applied
    ends = cluster.ends(topic, found.partitions, is_stable)
    for message in reading.of(topic, {number: (0, end) for number, end in ends.items()}, BEHIND):
        applied.take(*row_of(message))
    return applied


def row_of(message: Message) -> Row:
    """A record of the topic."""
    key, value = message.key(), message.value()
    return ((bytes_of(key) or b"").decode(errors="replace"),
            None if value is None else (bytes_of(value) or b"").decode(errors="replace"))
