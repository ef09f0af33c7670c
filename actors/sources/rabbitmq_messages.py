"""A message as it was delivered ──▶ the record that it is: its key, and what stands in its headers besides its own.

    amqp-queue, amqp-exchange, amqp-routing-key      where it came from, and by which way
    amqp-message-id, amqp-content-type, …            what its producer has said of it, where that was said
    amqp-stream-offset                               its place, in a stream

So a dead letter has all of it, and one that is sent again comes back the same. What a producer has put under one of
these names itself is not kept: a record that went through two queues says where it came from last. A key, a name or an
id that is not UTF-8 stays the bytes that it is.
"""

from __future__ import annotations

from typing import Any, Protocol

from actors.rabbitmq.properties import bytes_of, record_of
from actors.sources.framings.enveloped import Message
from actors.sources.rabbitmq_seen import MESSAGE_ID, QUEUE, STREAM_OFFSET

#: What ``key`` begins with when it names a header.
HEADER = "header:"
_EXCHANGE, _ROUTING_KEY = "amqp-exchange", "amqp-routing-key"
#: What a producer may have said of a message, and the headers that a record has for it.
_SAID = (MESSAGE_ID, "amqp-content-type", "amqp-content-encoding", "amqp-correlation-id", "amqp-reply-to", "amqp-type",
         "amqp-app-id")
_OURS = frozenset({QUEUE, _EXCHANGE, _ROUTING_KEY, STREAM_OFFSET, *_SAID})
_OFFSET = "x-stream-offset"


class Delivery(Protocol):
    """What is read of a delivered message."""

    @property
    def exchange(self) -> str | bytes:
        """That it was published to; bytes where it is no text."""

    @property
    def routing_key(self) -> str | bytes:
        """That it was published with; bytes where it is no text."""

    @property
    def properties(self) -> Any:
        """The client's."""

    @property
    def body(self) -> bytes:
        """Its bytes."""


def message_of(delivery: Delivery, queue: bytes, is_stream: bool, key: str) -> Message:
    """Return a delivered message as it is journalled.

    Args:
        delivery: the message.
        queue: what its queue is called.
        is_stream: the queue is a stream.
        key: ``header:NAME``: the key of the record is in this header; empty: it is the one that our sink has sent, or
            the routing key.
    """
    properties = delivery.properties
    record = record_of(0, properties, delivery.body)
    headers = [header for header in record.headers if header[0] not in _OURS]
    found = record.key
    if key:
        found = next((value for name, value in headers if name == key.removeprefix(HEADER)), None)
    elif found is None:
        found = bytes_of(delivery.routing_key)
    headers += ((QUEUE, queue), (_EXCHANGE, bytes_of(delivery.exchange)),
                (_ROUTING_KEY, bytes_of(delivery.routing_key)))
    said = (properties.message_id, properties.content_type, properties.content_encoding, properties.correlation_id,
            properties.reply_to, properties.type, properties.app_id)
    headers += ((name, bytes_of(value)) for name, value in zip(_SAID, said, strict=True) if value is not None)
    if is_stream:
        offset = (properties.headers or {}).get(_OFFSET)
        headers = [header for header in headers if header[0] != _OFFSET]
        headers.append((STREAM_OFFSET, str(offset).encode()))
    return Message(record.value, record.time, found, tuple(headers))
