"""The sink without transactions: an idempotent producer, and a group of batches that is sent until all of it is there.

    payloads ──▶ group ──▶ the producer's queue ──▶ broker, all replicas in step ──▶ no report of a failure, queue empty

Guarantees: ``write`` returns when every message is on all replicas that are in step, or refused for good, alone. What
the producer itself sends again after a lost connection is there once, in order. An outage is waited for in the
producer: ``write`` says what is wrong, and goes on with the same messages when it is called again, so none is sent
twice for it. Only a new producer sends again what an earlier one may have sent (its process was killed; the error was
a fatal one): in order, from the first message on that has failed, each under the same id.

What does not work: a time-out for messages (what timed out may be there, and what comes behind it is sent all the
same: the order of a key is lost); a report for each message (a call of Python each; those of failures are enough, when
the queue is empty); batches of ten thousand when one of them is too large for the topic (the broker refuses all of
them): the size of batches is that of the topic and, once something is refused, what has failed goes again, each message
alone; to send again all that comes behind it (it would be there twice: only where a message has failed for its
neighbour's sake are those behind it sent again that have its key).

What nobody can prevent: messages that a killed writer had sent to a broker that was stuck may come behind those of the
next writer. They have the same ids.
"""

from __future__ import annotations

from collections.abc import Sequence

from confluent_kafka import KafkaException, Producer

from actors.runtime.errors import Retryable
from actors.runtime.ports import Sink
from actors.runtime.values import Payload, Refusal
from actors.sinks.kafka_messages import Group, is_refused
from actors.sinks.kafka_producer import Broker, Patience, ProducerOptions, let_go

_TURN_S = 0.1


class Producing(Sink):
    """The opened sink.

    Args:
        options: of it.
        name: of it.
    """

    def __init__(self, options: ProducerOptions, name: str) -> None:
        self._broker = Broker(options, name)
        self._producer: Producer | None = None
        self._is_careful = False
        self._group: Group | None = None

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Send all messages, or go on with those that are under way."""
        group = self._group
        if group is None or not group.is_of(payloads):
            if group is not None:
                self._let_go()
            self._require_same_topic()
            group = self._group = Group(payloads)
        self._send(group)
        while group.failed or group.follows():
            if group.failed:
                self._judge(group)
            self._send(group)
        self._group = None
        if self._is_careful:
            self._let_go()
        self._broker.works()
        return group.refusals()

    def close(self) -> None:
        """Let the producer go; what is under way is given again to the next."""
        self._let_go()

    def _require_same_topic(self) -> None:
        """Nothing is under way: is the topic still the one that the producer knows?"""
        with self._broker.says():
            try:
                self._broker.look()
            except Retryable:
                self._let_go()
                raise

    def _send(self, group: Group) -> None:
        broker = self._broker
        with broker.says():
            producer = self._producer
            try:
                if producer is None:
                    producer = self._producer = broker.producer(alone=self._is_careful, message_timeout_ms=0)
                    group.begin()
                group.send(producer, broker.address.topic, Patience(broker, producer).queue_is_full)
                broker.wait(producer, lambda: producer.flush(_TURN_S))
            except KafkaException:  # it takes nothing more
                self._let_go()
                raise

    def _judge(self, group: Group) -> None:
        """Some have failed: send them again, those that are refused each alone.

        Raises:
            Retryable: it is not for their own sake.
        """
        error = group.failed[min(group.failed)]
        if self._is_careful and group.refuse_failed():
            return
        was_careful = self._is_careful
        is_for_their_sake = any(map(is_refused, group.failed.values()))
        self._let_go()
        self._is_careful = is_for_their_sake
        if is_for_their_sake and not was_careful:
            group.narrow()
            return
        trouble = self._broker.trouble(error)
        raise trouble if not error.fatal() else Retryable(f"{trouble}: a new producer is begun")

    def _let_go(self) -> None:
        producer, self._producer, self._is_careful = self._producer, None, False
        if producer is not None and len(producer):
            let_go(producer)
