"""A connection to a RabbitMQ server that its owner turns: no thread, nothing happens between two turns.

    open ──▶ turn, turn, turn … ──▶ lost (Retryable) ──▶ open again, when its owner tries again
      └── channel ──▶ ask (declare, bind, …: a request and its answer)        closed by the server: ``Refused``

The client is pika's connection with callbacks, on a loop of its own that is only turned here. Its blocking connection
waits for the confirm of each message (0.8 k/s for 10 k/s), and is deprecated.

Guarantees: nothing is retried here: what was lost is said once, as ``Retryable``, and the owner decides with its own
backoff. A wait is bounded, and says so to the watch. Heartbeats are answered in each turn; an owner that does not turn
for longer than two of them finds the connection lost, and opens another one.

What does not work: to reconnect behind the owner's back (it would not hear that its channel, its confirms and its
prefetch are gone: the main complaint about clients that do); to take the client's word for "wrong password"
(``faults``).
"""

from __future__ import annotations

import contextlib
import ssl
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import msgspec

from actors.rabbitmq.addresses import Address
from actors.rabbitmq.faults import Refused, failure_of
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.progress import extend

if TYPE_CHECKING:
    from pika.adapters.select_connection import IOLoop
    from pika.channel import Channel as PikaChannel
    from pika.connection import ConnectionParameters

    from actors.rabbitmq.client import Client

#: Modules that a connection imports.
IMPORTS = ("pika",)
#: How long a name server that does not answer may keep the system's resolver busy.
_RESOLVE_S = 60.0
#: Longest time for the farewell.
_CLOSE_S = 2.0


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """A server and how to connect to it.

    Attributes:
        address: where it is, and as whom.
        ca_file: whose certificates are trusted with ``amqps``; empty: those that the system trusts.
        cert_file: our own certificate, where the server asks for one.
        key_file: its key.
        connect_timeout_s: longest time to connect to one node, log-in included.
        timeout_s: longest time for an answer.
        heartbeat_s: the server and we give a sign of life so often; 0: none is given.
        name: as the server's management shows it.
    """

    address: Address
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    connect_timeout_s: float = 10.0
    timeout_s: float = 30.0
    heartbeat_s: int = 60
    name: str = "thresher"

    def parameters(self) -> list[ConnectionParameters]:
        """What the client takes: one set for each node.

        Raises:
            ConfigError: a certificate cannot be read.
        """
        import pika

        login = pika.PlainCredentials(self.address.user, self.address.password)
        context = self._context() if self.address.secure else None
        return [pika.ConnectionParameters(
            host=host, port=port, virtual_host=self.address.vhost, credentials=login, heartbeat=self.heartbeat_s,
            ssl_options=None if context is None else pika.SSLOptions(context, host), connection_attempts=1,
            socket_timeout=self.connect_timeout_s, stack_timeout=self.connect_timeout_s,
            client_properties={"connection_name": self.name}) for host, port in self.address.nodes]

    def _context(self) -> ssl.SSLContext:
        name, path = "ca_file", self.ca_file
        try:
            context = ssl.create_default_context(cafile=self.ca_file or None)
            if self.cert_file:
                name, path = "cert_file", self.cert_file
                context.load_cert_chain(self.cert_file, self.key_file or None)
            return context
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            why = plain_reason(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(f"{name}: {path}: {why}: expected certificates in a PEM file") from error


class Connection:
    """One connection, opened again by its owner when it was lost.

    Args:
        server: to which.

    Attributes:
        blocked: why the server takes no messages for now (memory or disk alarm); empty: it does.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._loop: IOLoop | None = None
        self._client: Client | None = None
        self._lost: BaseException | None = None
        self.blocked = ""

    @property
    def where(self) -> str:
        """The server, for people."""
        return self._server.address.shown

    @property
    def is_open(self) -> bool:
        """Whether it is open, as far as is known: ``turn`` finds out."""
        return self._client is not None and self._lost is None and bool(self._client.is_open)

    def open(self) -> None:
        """Connect; what was there before is dropped.

        Raises:
            Retryable: the server cannot be reached, or does not answer.
            ConfigError: it does not let this user in, or its certificate is not trusted.
        """
        from pika.adapters.select_connection import IOLoop

        from actors.rabbitmq.client import Client

        self.drop()
        parameters = self._server.parameters()
        self._loop = IOLoop()
        self._loop.activate_poller()
        done: list[Any] = []
        Client.create_connection(parameters, done.append, custom_ioloop=self._loop)
        longest = _RESOLVE_S + self._server.connect_timeout_s * len(parameters)
        if not self._turn_until(lambda: bool(done), longest):
            self.drop()
            raise Retryable(f"rabbitmq {self.where}: it does not answer in time")
        if isinstance(done[0], BaseException):
            self.drop()
            raise failure_of(done[0], self.where) from done[0]
        self._client = done[0]
        self._client.add_on_close_callback(self._on_close)
        self._client.add_on_connection_blocked_callback(self._on_blocked)
        self._client.add_on_connection_unblocked_callback(self._on_unblocked)

    def turn(self, wait_s: float = 0.0, until: Callable[[], bool] = lambda: False) -> bool:
        """Send what waits, take what comes, answer heartbeats, for so long or until this is true; return whether it is.

        Raises:
            Retryable: the connection is lost; it has to be opened again.
            ConfigError: the server has closed it, and says that this user may not do what was done.
        """
        if self._client is None:
            raise Retryable(f"rabbitmq {self.where}: the connection is not open")
        found = self._turn_until(until, wait_s)
        if self._lost is not None:
            lost = self._lost
            self.drop()
            raise failure_of(lost, self.where) from lost
        return found

    def burst(self) -> AbstractContextManager[None]:
        """Send what is published while this is entered in one write, at its end. Nothing is turned meanwhile."""
        assert self._client is not None
        return self._client.burst()

    def channel(self) -> Channel:
        """Open a channel.

        Raises:
            Retryable: the connection is lost.
        """
        if self._client is None:
            raise Retryable(f"rabbitmq {self.where}: the connection is not open")
        opened: list[PikaChannel] = []
        channel = Channel(self, self._client.channel(on_open_callback=opened.append), self._server.timeout_s)
        channel.wait(lambda: bool(opened), "a channel")
        return channel

    def close(self) -> None:
        """Say farewell, and wait a little for the answer. Never raises for a server that is gone."""
        with contextlib.suppress(Exception):
            if self._client is not None and self.is_open:
                self._client.close()
                self._turn_until(lambda: self._lost is not None, _CLOSE_S)
        self.drop()

    def drop(self) -> None:
        """Let the connection go, without a word to the server."""
        client, loop = self._client, self._loop
        self._client = self._loop = self._lost = None
        self.blocked = ""
        if loop is None:
            return
        with contextlib.suppress(Exception):
            if client is not None and not client.is_closed:
                # Nothing public ends a connection without asking the server, which may be what does not answer.
                client._terminate_stream(ConnectionAbortedError("let go"))
                loop.process_timeouts()
        loop.close()

    def _turn_until(self, is_done: Callable[[], bool], wait_s: float) -> bool:
        """Turn the loop at least once; return whether it is done."""
        assert self._loop is not None
        if wait_s:
            extend(wait_s)
        until = time.monotonic() + wait_s
        alarm = self._loop.call_later(wait_s, lambda: None)
        try:
            while True:
                self._loop.poll()
                self._loop.process_timeouts()
                if is_done():
                    return True
                if self._lost is not None or time.monotonic() >= until:
                    return False
        finally:
            self._loop.remove_timeout(alarm)

    def _on_close(self, _: Any, error: BaseException) -> None:
        self._lost = error

    def _on_blocked(self, _: Any, frame: Any) -> None:
        self.blocked = f"it takes no messages ({frame.method.reason}): free memory or disk of the server"

    def _on_unblocked(self, _: Any, __: Any) -> None:
        self.blocked = ""


class Channel:
    """A channel of a connection.

    Args:
        connection: its own.
        client: the client's channel; ``basic_publish`` and the like are called on it.
        timeout_s: longest time for an answer.

    Attributes:
        client: the client's channel.
        closed: why the server has closed it; None: it has not.
    """

    def __init__(self, connection: Connection, client: PikaChannel, timeout_s: float) -> None:
        self._connection = connection
        self._timeout_s = timeout_s
        self.client = client
        self.closed: Refused | None = None
        client.add_on_close_callback(self._on_close)

    def ask(self, start: Callable[[Callable[[Any], None]], object], what: str) -> Any:
        """Make a request and return the method that answers it.

        Args:
            start: makes the request; what it is given is called with the answer.
            what: is asked for, for people.

        Raises:
            Refused: the server has closed the channel instead.
            Retryable: the connection is lost, or there is no answer in time.

        Example::

            channel.ask(lambda done: channel.client.queue_declare("reviews", passive=True, callback=done), "a queue")
        """
        answers: list[Any] = []
        start(answers.append)
        self.wait(lambda: bool(answers), what)
        return answers[0].method

    def wait(self, is_done: Callable[[], bool], what: str) -> None:
        """Turn the connection until this is true.

        Raises:
            Refused: the server has closed the channel instead.
            Retryable: the connection is lost, or it does not become true in time.
        """
        found = self._connection.turn(self._timeout_s, lambda: is_done() or self.closed is not None)
        self.require_open()
        if not found:
            self._connection.drop()
            raise Retryable(f"rabbitmq {self._connection.where}: {what}: no answer for {self._timeout_s:g} s")

    def require_open(self) -> None:
        """Do nothing while it is open.

        Raises:
            Refused: the server has closed it.
        """
        if self.closed is not None:
            raise self.closed

    def close(self) -> None:
        """Close it; the connection stays."""
        if self.client.is_open:
            self.client.close()

    def _on_close(self, _: Any, error: Any) -> None:
        if type(error).__name__ == "ChannelClosedByBroker":
            self.closed = Refused(error.args[0], error.args[1])
