"""The last messages of a topic of Kafka, and then those that come: what panels are drawn from.

It is in no group, has no positions that anybody keeps, and holds up nothing. What is committed is read, so what a kill
may take away again is not.
"""

from __future__ import annotations

import time
from collections import deque

from confluent_kafka import OFFSET_END, Consumer, KafkaError, KafkaException, Message, TopicPartition

from actors.kafka.addresses import Address
from actors.kafka.clients import Heard, Properties, configured, sentence
from actors.kafka.received import bytes_of, headers_of
from actors.runtime.errors import Retryable
from actors.runtime.framing import Record

#: Messages that are taken from the library in one call.
_MANY = 500
#: The library's own way to say "so many before the end".
_TAIL_BASE = -2000
#: Offsets that are read besides, for those that are no messages.
_MORE = 10
#: Partitions may be added: asked so often.
_LOOK_S = 10.0


class KafkaFollower:
    """Follows all partitions of one topic, which need not be there yet.

    Args:
        address: of the topic.
        client: the table of the sink.
        most: so many of the messages that are new, the last ones.
        timeout_s: longest time for an answer.
    """

    def __init__(self, address: Address, client: Properties, most: int, timeout_s: float) -> None:
        self._address = address
        self._client = client
        self._most = most
        self._timeout_s = timeout_s
        self._heard = Heard(client)
        self._consumer: Consumer | None = None
        self._assigned: set[int] = set()
        self._look_at = 0.0

    def new(self) -> list[Record]:
        """Return the messages that came since the last call: in order of their times, those of one partition in its
        order.

        Raises:
            Retryable: the broker cannot be asked now.
        """
        try:
            consumer = self._opened()
            found = self._taken(consumer, self._look(consumer))
        except KafkaException as error:
            said = sentence(error.args[0], self._client, self._heard.last())
            raise Retryable(f"{self._address}: {said}") from error
        found.sort(key=lambda record: record.time or 0)
        return found[-self._most:]

    def close(self) -> None:
        """Close the connection."""
        consumer, self._consumer = self._consumer, None
        if consumer is not None:
            consumer.close()

    def _opened(self) -> Consumer:
        if self._consumer is None:
            self._consumer = Consumer(configured(self._address.servers, {}, self._client, {
                "group.id": "thresher", "enable.auto.commit": False, "isolation.level": "read_committed",
                "enable.partition.eof": True, "auto.offset.reset": "latest", "queued.max.messages.kbytes": 2048,
                "fetch.wait.max.ms": 100, "error_cb": self._heard.error_cb, "allow.auto.create.topics": False}))
        return self._consumer

    def _look(self, consumer: Consumer) -> set[int]:
        """Take up the partitions that are there; return those that are new."""
        now = time.monotonic()
        if now < self._look_at:
            return set()
        topic = consumer.list_topics(self._address.topic, timeout=self._timeout_s).topics[self._address.topic]
        if topic.error is not None and topic.error.code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
            raise KafkaException(topic.error)
        come = set(topic.partitions) - self._assigned
        if come:
            # Of transactions with a message each every other offset is a mark of their end.
            begin = _TAIL_BASE - 2 * self._most - _MORE if not self._assigned else 0
            where = [TopicPartition(self._address.topic, number, begin) for number in come]
            known = consumer.position([TopicPartition(self._address.topic, number) for number in self._assigned])
            consumer.assign([*(at if at.offset >= 0 else TopicPartition(at.topic, at.partition, OFFSET_END)
                               for at in known), *where])
            self._assigned |= come
        self._look_at = now + _LOOK_S if self._assigned else 0.0
        return come

    def _taken(self, consumer: Consumer, come: set[int]) -> list[Record]:
        """What lies ready; of partitions that are new, up to their ends."""
        found: dict[int, deque[Record]] = {}
        until = time.monotonic() + self._timeout_s
        while True:
            messages = consumer.consume(_MANY, 0.1 if come else 0)
            for message in messages:
                partition = message.partition() or 0
                if (record := _record(message)) is None:
                    come.discard(partition)
                else:
                    found.setdefault(partition, deque(maxlen=self._most)).append(record)
            is_late = not messages and time.monotonic() > until
            if is_late or (not come and len(messages) < _MANY):
                return [record for records in found.values() for record in records]


def _record(message: Message) -> Record | None:
    """The record that a message is; None: it says that its partition has no more.

    Raises:
        KafkaException: it is another error.
    """
    error = message.error()
    if error is not None and error.name() == "_PARTITION_EOF":
        return None
    if error is not None:
        raise KafkaException(error)
    return Record(message.offset() or 0, bytes_of(message.value()), -1, message.timestamp()[1],
                  bytes_of(message.key()), headers_of(message))
