"""Stretches of the partitions of a topic, read once from here to there."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from actors.kafka.clients import Heard, Properties, configured, took_too_long
from actors.runtime.progress import extend

if TYPE_CHECKING:
    from confluent_kafka import Consumer, Message

#: Offsets of a partition: the first one, and the one behind the last.
Stretch = tuple[int, int]


class Reading(msgspec.Struct, frozen=True):
    """How a topic is read.

    Attributes:
        servers: to begin with.
        client: the table of the sink.
        heard: takes what is heard of the connections.
        silent_s: a broker that says nothing for so long is not waited for.
    """

    servers: str
    client: Properties
    heard: Heard
    silent_s: float

    def of(self, topic: str, stretches: Mapping[int, Stretch], behind: str, is_committed: bool = True
           ) -> Iterator[Message]:
        """Yield what is in these stretches, in the order of each partition.

        Args:
            topic: which.
            stretches: by number of the partition; what is empty is left out.
            behind: why it may go no further, in words.
            is_committed: only what is committed: it goes no further than a transaction that is open.

        Raises:
            KafkaException: it cannot be read now.
        """
        from confluent_kafka import Consumer, TopicPartition

        stretches = {number: stretch for number, stretch in stretches.items() if stretch[0] < stretch[1]}
        if not stretches:
            return
        consumer = Consumer(configured(self.servers, {}, self.client, {
            "group.id": "thresher", "enable.auto.commit": False, "enable.partition.eof": True,
            "isolation.level": "read_committed" if is_committed else "read_uncommitted",
            "auto.offset.reset": "earliest", "error_cb": self.heard.error_cb, "check.crcs": True,
            "fetch.wait.max.ms": 20, "queued.max.messages.kbytes": 4096}))
        try:
            # Not "the beginning", which takes half a second to find; where 0 is gone, it is found all the same.
            consumer.assign([TopicPartition(topic, number, first) for number, (first, _) in stretches.items()])
            yield from self._up_to(consumer, {number: end for number, (_, end) in stretches.items()}, behind)
        finally:
            consumer.close()

    def _up_to(self, consumer: Consumer, ends: Mapping[int, int], behind: str) -> Iterator[Message]:
        """Yield the messages below these offsets."""
        from confluent_kafka import KafkaException

        waits, heard_at = set(ends), time.monotonic()
        while waits:
            extend(self.silent_s + 5.0)
            message = consumer.poll(0.1)
            now = time.monotonic()
            if message is None:
                if now - heard_at > self.silent_s:
                    raise took_too_long(behind)
                continue
            heard_at, number, offset = now, message.partition() or 0, message.offset() or 0
            if (error := message.error()) is None:
                if offset < ends[number]:
                    yield message
                offset += 1
            elif error.name() != "_PARTITION_EOF":
                raise KafkaException(error)
            if offset >= ends[number]:
                waits.discard(number)
