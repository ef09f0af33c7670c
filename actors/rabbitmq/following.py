"""The last messages of a stream queue, and then those that come: what panels are drawn from.

Only a stream is read without taking anything out of it; of a quorum or classic queue each message that is looked at is
one that its consumer has not, so those are followed by nobody.

It has no position that anybody keeps, and holds up nothing. Nothing happens between two calls: what has come in the
meantime is fetched by the next one, up to the end that the stream has then.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from actors.rabbitmq.connection import Channel, Connection, Server
from actors.rabbitmq.declaring import Queue, declare_queue
from actors.rabbitmq.faults import Refused
from actors.rabbitmq.properties import record_of
from actors.runtime.errors import Retryable
from actors.runtime.framing import Record

#: Messages that the server sends before they are acknowledged, which in a stream only means: send more.
_PREFETCH = 500
#: Longest wait for what the server has to send, in a look.
_WAIT_S = 0.05
#: The same, in the first look at a stream that has messages.
_FIRST_S = 5.0
_OFFSET = "x-stream-offset"


class StreamFollower:
    """Follows a stream queue, which need not be there yet.

    Args:
        server: where it is.
        queue: its name.
        most: so many of the messages that are new, the last ones.
    """

    def __init__(self, server: Server, queue: str, most: int) -> None:
        self._connection = Connection(server)
        self._queue = queue
        self._found: deque[Record] = deque(maxlen=most)
        self._most = most
        self._next: int | None = None
        self._came = 0
        self._wait_s = _WAIT_S
        self._channel: Channel | None = None

    def new(self) -> list[Record]:
        """Return the messages that were published since the last call, in order.

        Raises:
            OSError: they cannot be read now.
        """
        try:
            if self._channel is None or not self._connection.is_open:
                self._begin()
            if self._channel is not None:
                self._fetch(self._channel)
        except (Retryable, Refused) as error:
            self._channel = None
            self._connection.drop()
            raise OSError(str(error)) from error
        found = list(self._found)
        self._found.clear()
        return found

    def close(self) -> None:
        """Close the connection; may be called again."""
        self._channel = None
        self._connection.close()

    def _begin(self) -> None:
        """Subscribe behind what was read, or so far before the end that the last ones are among what comes."""
        if not self._connection.is_open:
            self._connection.open()
        channel = self._connection.channel()
        try:
            count = declare_queue(channel, Queue(self._queue), passive=True)
        except Refused as error:
            if error.code == 404:
                self._next = None  # what comes under its name is another one
                return
            raise
        channel.close()
        if self._next is None and count:
            last: list[int] = []
            channel = self._consume("last", lambda offset, _: last.append(offset))
            channel.wait(lambda: bool(last), f"stream {self._queue}")
            channel.close()
            self._next = max(0, last[0] - self._most)
            self._wait_s = _FIRST_S
        self._channel = self._consume(self._next or 0, self._take)

    def _consume(self, offset: int | str, take: Any) -> Channel:
        channel = self._connection.channel()
        client = channel.client
        client.add_on_cancel_callback(self._on_cancelled)
        channel.ask(lambda done: client.basic_qos(prefetch_count=_PREFETCH, callback=done), "a prefetch")

        def on_message(_: Any, method: Any, properties: Any, body: bytes) -> None:
            offset = int(properties.headers[_OFFSET])
            take(offset, record_of(offset, properties, body))
            client.basic_ack(method.delivery_tag)

        channel.ask(lambda done: client.basic_consume(
            self._queue, on_message, arguments={_OFFSET: offset}, callback=done), f"stream {self._queue}")
        return channel

    def _on_cancelled(self, _: Any) -> None:
        """The server sends no more: the stream was deleted, or its node went down."""
        self._channel = None

    def _fetch(self, channel: Channel) -> None:
        """Take what comes until nothing more does."""
        before = -1
        while before != self._came:
            before = self._came
            self._connection.turn(self._wait_s, lambda: self._came != before)  # noqa: B023
            channel.require_open()
            self._wait_s = _WAIT_S

    def _take(self, offset: int, record: Record) -> None:
        self._came += 1
        if self._next is None or offset >= self._next:  # a chunk is sent whole, from its first message on
            self._found.append(record)
            self._next = offset + 1
