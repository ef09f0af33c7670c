"""A consumer on one channel: set up with its prefetch, cancelled so that no delivery is counted in vain, set up again.

    held ──join──▶ joining ──▶ consuming ──hold──▶ filling ──nothing can be under way──▶ cancelling ──▶ held
                                                   (acknowledgements wait)              and now they are sent

A quorum queue counts each delivery that is not acknowledged, and drops a message that has too many. What is under way
when a consumer is cancelled is such a delivery: the server itself takes it back. So a consumer is cancelled when
nothing can be under way: while all that may be un-acknowledged is, or the queue is empty. Until then what is journalled
is not acknowledged, so that nothing follows it. Nor is the client's own ``basic_cancel`` used: it rejects what comes
behind it.

How many messages wait is no proof that a queue is there: of a quorum queue whose leader is away the server answers that
none does. It answers as well that the queue has no consumer; but it has this one. So only a queue that knows of its
consumer is empty, and one that does not, or lets a request wait, is ``silent``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum, auto
from typing import Any

import msgspec

#: A queue that has delivered nothing for so long, though more may be un-acknowledged, has nothing under way.
QUIET_S = 1.0
#: A queue that has said so often in succession that it has no consumer is silent; after so long it is given up.
STRANGE, SILENT_S = 3, 30.0
#: A consumer that nothing has come to for so long is made anew, on another connection: a server may have one that it
#: delivers to, and nothing arrives (RabbitMQ 3.10, where a quorum queue was made anew as soon as it was deleted).
RENEW_S = 300.0


class State(StrEnum):
    """What a consumer is doing."""

    HELD = auto()
    JOINING = auto()
    CONSUMING = auto()
    FILLING = auto()
    CANCELLING = auto()


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a queue is to be.

    Attributes:
        name: of the queue.
        declare: declare it; else it has to be there.
        arguments: of its declaration.
        is_stream: it is a stream.
        start: where a stream begins that was not read before: ``first``, ``next``, or a time.
        may_come: one that is not there is waited for.
    """

    name: str
    declare: bool
    arguments: dict[str, Any]
    is_stream: bool
    start: Any
    may_come: bool


class Consumer:
    """See above.

    Args:
        channel: the client's, open.
        wanted: the queue.
        prefetch: so many messages may be un-acknowledged.
        stream_at: where a stream is read on from; None: at its ``start``.
        took: is given what the client gives for each message.
        joined: is called when it is set up.
        silent: is called when the queue does not answer, whatever the server says for it; with whether it is time to
            give this consumer up.

    Attributes:
        state: what it is doing.
        joins: how often it was set up.
        ready: messages that wait in the queue, by its last answer; -1: it has not said.
        empties: how often in succession it has said that none waits, since something was delivered.
    """

    def __init__(self, channel: Any, wanted: Wanted, prefetch: int, stream_at: Callable[[], int | str | None],
                 took: Callable[..., None], joined: Callable[[], None], silent: Callable[[bool], None]) -> None:
        self.state = State.HELD
        self.joins = self.empties = 0
        self.ready = -1
        self._channel = channel
        self._wanted = wanted
        self._prefetch = prefetch
        self._stream_at, self._took, self._joined, self._silent = stream_at, took, joined, silent
        self._tag = ""
        self._is_wanted = self._is_asking = False
        self._last = self._acknowledged = self._owed = 0  # delivery tags
        self._quiet_since = self._asked_at = 0.0
        self._strange = 0

    def join(self) -> None:
        """Have messages delivered."""
        self._is_wanted = True
        if self.state is not State.HELD:
            return
        self.state = State.JOINING
        self.joins += 1
        self.empties = self._strange = 0
        self._asked_at = time.monotonic()
        at = self._stream_at() if self._wanted.is_stream else None
        # Where a stream is not known as one, nobody may be given its end as if it were all: the server refuses to give
        # a stream a consumer with a priority (of others 0 is what they have anyway).
        arguments = {"x-stream-offset": self._wanted.start if at is None else at} if self._wanted.is_stream else {
            "x-priority": 0}
        self._channel.basic_qos(prefetch_count=self._prefetch)
        self._channel._consumers.pop(self._tag, None)  # the client still has the one that was cancelled
        self._tag = self._channel.basic_consume(
            self._wanted.name, self._on_message, arguments=arguments, callback=self._on_consuming)

    def hold(self) -> None:
        """Have nothing more delivered; what was stays un-acknowledged until it is ``acknowledge``d."""
        self._is_wanted = False
        if self.state is State.CONSUMING:
            self.state = State.FILLING
            self._quiet_since = time.monotonic()
            self._is_asking = False  # the answer to an earlier question is of no use
            self.ready = -1
            self.ask()
            self.turn()

    def turn(self) -> None:
        """Cancel it, if it is to be and nothing can be under way; see whether the queue is silent."""
        is_waiting = self.state in (State.JOINING, State.CANCELLING)
        if is_waiting and time.monotonic() - self._asked_at >= SILENT_S:
            self._silent(True)
        elif self.state is State.FILLING and (
                self._last - self._acknowledged >= self._prefetch or self.ready == 0 or self._wanted.is_stream
                or time.monotonic() - self._quiet_since >= QUIET_S):
            from pika.spec import Basic

            self.state = State.CANCELLING
            self._asked_at = time.monotonic()
            # Not documented: what the client's ``basic_cancel`` does, without the rejections behind it.
            self._channel._send_method(Basic.Cancel(self._tag, nowait=True))
            # The answers to two questions say that it was carried out: what the queue had sent before may have come
            # behind the first of them.
            self._declare(lambda _: self._declare(self._on_cancelled))

    def is_stale(self, now: float) -> bool:
        """Whether nothing has come for so long that it is to be made anew. (A stream is not: it is asked for its last
        message each time.)"""
        is_idle = self.state is State.CONSUMING and now - self._quiet_since >= RENEW_S
        return is_idle and not self._wanted.is_stream

    def take_at_most(self, prefetch: int) -> None:
        """Another number of messages may be un-acknowledged: it is set up again."""
        self._prefetch, is_wanted = prefetch, self._is_wanted
        self.hold()
        self._is_wanted = is_wanted

    def acknowledge(self, tag: int) -> None:
        """All that was delivered up to this one is ours now."""
        if self.state in (State.FILLING, State.CANCELLING):
            self._owed = tag
        elif self._channel.is_open:
            self._acknowledged = tag
            self._channel.basic_ack(tag, multiple=True)

    def ask(self) -> None:
        """Ask how many messages wait: ``ready`` is what it answers. (Of a stream it does not know.)"""
        can_ask = self.state is not State.CANCELLING and not self._wanted.is_stream
        if can_ask and not self._is_asking and self._channel.is_open:
            self._is_asking = True
            self._declare(self._on_answer)

    def _declare(self, callback: Callable[[Any], None]) -> None:
        self._channel.queue_declare(self._wanted.name, passive=True, callback=callback)

    def _on_consuming(self, _: Any) -> None:
        self.state = State.CONSUMING
        self._quiet_since = time.monotonic()
        self._joined()
        if not self._is_wanted:
            self.hold()

    def _on_message(self, _: Any, method: Any, properties: Any, body: bytes) -> None:
        self.empties = 0
        self._is_heard()
        self._last = method.delivery_tag
        self._quiet_since = time.monotonic()
        self._took(method, properties, body)
        self.turn()

    def _on_answer(self, answer: Any) -> None:
        self._is_asking = False
        is_known = bool(answer.method.consumer_count)
        if self.state in (State.CONSUMING, State.FILLING) and not is_known:
            self._asked_at = self._asked_at if self._strange else time.monotonic()
            self._strange += 1
            if self._strange >= STRANGE:
                self._silent(time.monotonic() - self._asked_at >= SILENT_S)
            return
        self._is_heard()
        self.ready = int(answer.method.message_count)
        self.empties = 0 if self.ready or not is_known else self.empties + 1
        self.turn()

    def _is_heard(self) -> None:
        """The queue itself has answered."""
        was_silent, self._strange = self._strange >= STRANGE, 0
        if was_silent:
            self._joined()

    def _on_cancelled(self, _: Any) -> None:
        self.state = State.HELD
        if self._owed > self._acknowledged:
            self.acknowledge(self._owed)
        if self._is_wanted:
            self.join()
