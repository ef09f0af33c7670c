"""One queue: connected to, declared, consumed from; and all of it again when it was lost. Nothing here waits.

    waiting ──due──▶ opening ──▶ channel, declaration ──▶ open: a ``Consumer`` on the channel
       ▲                                                    │
       └── lost, refused, or cancelled by the server: its problem is said, and it is tried again, later each time

All that is set on a channel is set again on the next one: prefetch, consumer and its place in a stream; that a client
does not is what users of others find out weeks later. What was delivered and not acknowledged is the server's again,
and is delivered again; whoever owns this drops it (``lost``).

A problem that only another configuration mends ends the run when the first connection meets it. Later it is waited for:
a server that comes back half made says the same.
"""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from enum import StrEnum, auto
from typing import Any

import msgspec

from actors.rabbitmq.addresses import Address
from actors.rabbitmq.connection import Server
from actors.rabbitmq.faults import failure_of
from actors.rabbitmq.loop import Loop
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.restart import full_jitter
from actors.sources.rabbitmq_consumer import Consumer, Wanted
from actors.sources.rabbitmq_consumer import State as ConsumerState

#: Bounds of the seconds before the next try, full jitter between them.
BASE_S, MAX_S = 0.1, 5.0
#: What the server answers when the queue is there with other arguments; also when an acknowledgement took too long.
_PRECONDITION = 406
#: Words of the server, of a queue that somebody has for himself.
_IN_USE = "exclusive use"
#: The same of a stream that is not read as one, and of a queue that is read as a stream; and what that means.
_OF_OTHERS = {
    False: ("rabbit_stream_queue", 'it is a stream, of which a reader of queues is given only what comes from then on: '
                                   'set source.queue_type = "stream"'),
    True: ("x-stream-offset", 'it is no stream: set source.queue_type = "quorum" or "classic", as it was declared')}
_NOT_FOUND, _REFUSED, _NOT_ALLOWED, _NOT_IMPLEMENTED = 404, 403, 530, 540


class State(StrEnum):
    """What a queue is doing."""

    WAITING = auto()
    OPENING = auto()
    OPEN = auto()
    CLOSED = auto()


class Delivered(msgspec.Struct, frozen=True, gc=False):
    """A message as it came, not acknowledged yet."""

    queue: Queue
    session: int
    tag: int
    is_redelivered: bool
    exchange: str | bytes
    routing_key: str | bytes
    properties: Any
    body: bytes


class Queue:
    """See above.

    Args:
        server: where it is.
        wanted: what it is to be.
        begins: is told of each session; says how many messages may be un-acknowledged in it.
        loop: what its connection runs on.
        took: is given what is delivered.
        lost: is told that what was delivered and not acknowledged is the server's again.
        stream_at: the offset that a stream is read on from; None: it was not read before.

    Attributes:
        state: what it is doing.
        session: number of the connection, from 1.
        problem: why it cannot be consumed from now; empty: it can, or nobody knows yet.
        refused: what only another configuration mends.
        consumer: of it; None: it is not open.
        prefetch: so many messages may be un-acknowledged.
    """

    def __init__(
        self, server: Server, wanted: Wanted, begins: Callable[[Queue], int], loop: Loop,
        took: Callable[[Delivered], None], lost: Callable[[Queue], None], stream_at: Callable[[str], int | str | None],
    ) -> None:
        self.state = State.WAITING
        self.session = 0
        self.problem = ""
        self.refused: ConfigError | None = None
        self.consumer: Consumer | None = None
        self.wanted = wanted
        self.prefetch = 0
        self.known_as = known_as(server.address, wanted.name)
        self._server = server
        self._loop = loop
        self._begins, self._took, self._lost, self._stream_at = begins, took, lost, stream_at
        self._client: Any = None
        self._workflow: Any = None  # while it is being opened
        self._leaving: list[Any] = []  # connections that were given up, and wait for the server's farewell
        self._is_wanted = True
        self._was_open = False
        self._failures, self._due_at = 0, 0.0
        self._random = random.Random()

    @property
    def due_at(self) -> float | None:
        """When it has to be turned again; None: when its socket says so."""
        return self._due_at if self.state is State.WAITING else None

    @property
    def is_held(self) -> bool:
        """Whether nothing is delivered."""
        if self.state is State.OPEN:
            return self.consumer is not None and self.consumer.state is ConsumerState.HELD
        return self.state is not State.OPENING

    @property
    def is_consuming(self) -> bool:
        """Whether something may be delivered."""
        return self.consumer is not None and self.consumer.state is ConsumerState.CONSUMING

    def turn(self, now: float, opens: bool) -> None:
        """Connect, when it is time and ``opens``."""
        if self.consumer is not None:
            self.consumer.turn()
        if self.consumer is not None and self.consumer.is_stale(now):
            self.begin_again()
        if not opens or self.state is not State.WAITING or now < self._due_at:
            return
        self.state = State.OPENING
        self.session += 1
        try:
            from actors.rabbitmq.client import Client

            self._workflow = Client.create_connection(
                self._server.parameters(), self._mine(self._on_opened), custom_ioloop=self._loop)
        except ConfigError as error:  # a certificate cannot be read
            self._fail(error)

    def hold(self) -> None:
        """Have nothing more delivered."""
        self._is_wanted = False
        if self.consumer is not None:
            self.consumer.hold()

    def resume(self) -> None:
        """Have messages delivered again."""
        self._is_wanted = True
        if self.consumer is not None:
            self.consumer.join()

    def take_at_most(self, prefetch: int) -> None:
        """Another number of messages may be un-acknowledged."""
        self.prefetch = prefetch
        if self.consumer is not None:
            self.consumer.take_at_most(prefetch)

    def begin_again(self) -> None:
        """Drop the connection, and make another one at once."""
        self._leave()
        self.state, self._due_at = State.WAITING, 0.0
        self._lost(self)

    def acknowledge(self, tag: int) -> None:
        """All that was delivered in this session up to this one is ours now."""
        if self.consumer is not None:
            self.consumer.acknowledge(tag)

    def close(self) -> None:
        """Say farewell; what is not acknowledged goes back to the queue. Turn the loop until ``is_gone``."""
        is_opening, self.state = self.state is State.OPENING, State.CLOSED
        self._leave()
        if is_opening and self._workflow is not None:
            with contextlib.suppress(Exception):
                self._workflow.abort()

    def is_gone(self) -> bool:
        """Whether all of its connections are closed."""
        self._leaving = [client for client in self._leaving if not client.is_closed]
        return not self._leaving

    def drop(self) -> None:
        """Wait for no farewell: turn the loop once more."""
        for client in self._leaving:
            with contextlib.suppress(Exception):  # not documented: the client's ``close`` waits for the server
                client._terminate_stream(ConnectionAbortedError("it says no farewell"))

    # What the client calls -------------------------------------------------------------------------------------------

    def _mine(self, callback: Callable[..., None]) -> Callable[..., None]:
        """The same, but nothing for what belongs to a connection that was given up."""
        session = self.session

        def called(*arguments: Any) -> None:
            if session == self.session and self.state not in (State.CLOSED, State.WAITING):
                callback(*arguments)

        return called

    def _on_opened(self, result: Any) -> None:
        self._workflow = None
        if isinstance(result, BaseException):
            self._fail(failure_of(result, self._server.address.shown))
            return
        self._client = result
        result.add_on_close_callback(self._mine(self._on_lost))
        result.channel(on_open_callback=self._mine(self._on_channel))

    def _on_channel(self, channel: Any) -> None:
        try:
            self.prefetch = self._begins(self)
        except ConfigError as error:
            self.refused = error
            self._fail(error)
            return
        channel.add_on_close_callback(self._mine(self._on_channel_closed))
        channel.add_on_cancel_callback(self._mine(self._on_cancelled_by_server))
        consumer = Consumer(channel, self.wanted, self.prefetch, lambda: self._stream_at(self.known_as),
                            self._mine(self._on_message), self._mine(self._on_joined), self._mine(self._on_silent))
        done = self._mine(lambda _: self._on_declared(consumer))
        if self.wanted.declare:
            channel.queue_declare(self.wanted.name, durable=True, arguments=self.wanted.arguments, callback=done)
        else:
            channel.queue_declare(self.wanted.name, passive=True, callback=done)

    def _on_declared(self, consumer: Consumer) -> None:
        self.state = State.OPEN
        self.consumer = consumer
        if self._is_wanted:
            consumer.join()

    def _on_joined(self) -> None:
        self.problem = ""
        self._failures = 0
        self._was_open = True

    def _on_message(self, method: Any, properties: Any, body: bytes) -> None:
        self._took(Delivered(self, self.session, method.delivery_tag, method.redelivered, method.exchange,
                             method.routing_key, properties, body))

    def _on_cancelled_by_server(self, _: Any) -> None:
        self._fail(Retryable(f"{self._where}: the server delivers no more of it: it was deleted, or the node that has "
                             "it went down"))

    def _on_silent(self, is_over: bool) -> None:
        self.problem = f"{self._where}: it does not answer: its leader, or the majority of its nodes, is away"
        if is_over:
            self._fail(Retryable(self.problem))

    def _on_channel_closed(self, _: Any, error: Any) -> None:
        if type(error).__name__ == "ChannelClosedByBroker":
            self._fail(self._refusal(error.args[0], error.args[1]))
        # else the connection is lost, which is said by itself

    def _on_lost(self, _: Any, error: BaseException) -> None:
        self._fail(failure_of(error, self._server.address.shown))

    # ------------------------------------------------------------------------------------------------------------------

    @property
    def _where(self) -> str:
        return f"rabbitmq {self._server.address.shown}: queue {self.wanted.name}"

    def _refusal(self, code: int, text: str) -> ConfigError | Retryable:
        """What the server means that has closed the channel."""
        if code == _NOT_FOUND:
            said = f"{self._where}: there is none: declare it, or set source.declare = true"
            return Retryable(said) if self.wanted.may_come else ConfigError(said)
        if code == _PRECONDITION and "inequivalent arg" in text:
            return ConfigError(f"{self._where}: it is there, and is another one than it is to be ({text}): set "
                               "source.declare = false to take it as it is, or the options that it was declared with "
                               "(queue_type, single_active_consumer, arguments)")
        if code == _REFUSED and _IN_USE in text:
            return Retryable(f"{self._where}: another consumer has it for itself ({code} {text}): end that one, or "
                             "wait for it")
        other = why_of_another_kind(code, text, self.wanted.is_stream)
        if other:
            return ConfigError(f"{self._where}: {other}")
        if code in (_REFUSED, _NOT_ALLOWED, _NOT_IMPLEMENTED) or (
                code == _PRECONDITION and "acknowledg" not in text):
            return ConfigError(f"{self._where}: {code} {text}: give the user its permissions there, or correct the "
                               "options of the source")
        return Retryable(f"{self._where}: {code} {text}")

    def _leave(self) -> None:
        """Give the connection up."""
        client, self._client, self.consumer = self._client, None, None
        if client is not None and not client.is_closed:
            self._leaving.append(client)
            with contextlib.suppress(Exception):
                client.close()

    def _fail(self, error: ConfigError | Retryable) -> None:
        """What was open is given up, and tried again later."""
        if isinstance(error, ConfigError) and not self._was_open:
            self.refused = error
        self.problem = str(error)
        self._leave()
        self.is_gone()
        self.state = State.WAITING
        self._due_at = time.monotonic() + full_jitter(self._failures, BASE_S, MAX_S, self._random)
        self._failures += 1
        self._lost(self)


def why_of_another_kind(code: int, text: str, is_stream: bool) -> str:
    """What to do where the server refuses a consumer for the queue is a stream, or is none; empty: it does not."""
    word, meaning = _OF_OTHERS[is_stream]
    return meaning if code == _PRECONDITION and word in text else ""


def known_as(address: Address, queue: str) -> str:
    """What a queue is called, for people and in the journal: ``host:5672/vhost/queue``."""
    return f"{address.shown}/{queue}"


