"""The connection to Redis: found by Sentinels, secured, let in; what is said on it, and what is answered.

    Sentinels ──▶ the master ──▶ TLS ──▶ AUTH ──▶ SELECT ──▶ ROLE: is it the master?

What is sent and what is answered go at the same time: a server that cannot get rid of its replies stops reading, and
two sides that only write wait for each other for ever. Whatever goes wrong, the connection is given up, and the next
one asks the Sentinels again: who was the master may be so no longer.
"""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
from typing import Protocol

from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.progress import extend
from actors.sinks.redis_address import Address, shown_node
from actors.sinks.redis_resp import Fault, Reply, Unclear, command, parse

_SEND_BYTES = 256 * 1024
_RECEIVE_BYTES = 256 * 1024
#: Replies that are worth waking up for, far below any socket buffer.
_WAKE_BYTES = 16 * 1024
#: How long a name server that does not answer may keep the system's resolver busy.
_RESOLVE_S = 60.0
#: What no retry mends: a wrong password, none, one where there is none to be said, no permission.
_HOPELESS = ("WRONGPASS", "NOAUTH", "NOPERM")
_NO_PASSWORD_WANTED = "AUTH <password> called without any password configured"


class ServerOptions(Protocol):
    """What the connection asks of the options of the sink, which say what each means."""

    @property
    def ca_file(self) -> str: ...
    @property
    def cert_file(self) -> str: ...
    @property
    def key_file(self) -> str: ...
    @property
    def sentinel_secret(self) -> str: ...
    @property
    def connect_timeout_s(self) -> float: ...
    @property
    def timeout_s(self) -> float: ...
    def address(self) -> Address: ...


class Server:
    """A server and the connection to it.

    Args:
        options: of the sink.
        name: of the sink.
    """

    def __init__(self, options: ServerOptions, name: str) -> None:
        self._options = options
        self._name = name
        self._address = options.address()
        self._socket: socket.socket | None = None
        #: Where it is connected to, for people.
        self.where = f"redis {self._address.shown}"

    @property
    def is_open(self) -> bool:
        """Whether there is a connection."""
        return self._socket is not None

    def connect(self) -> None:
        """Connect to the master.

        Raises:
            Retryable: it cannot be reached now, or is a replica.
            ConfigError: it does not let us in, or its certificate is not trusted.
        """
        self.close()
        try:
            nodes = [self._ask_sentinels()] if self._address.master else list(self._address.nodes)
            if self._address.master:
                self.where = f"redis {self._address.shown} at {shown_node(nodes[0])}"
            self._socket = self._opened(self._address.path or nodes[0])
            self._let_in()
        except ssl.SSLCertVerificationError as error:
            self.close()
            raise ConfigError(f"sinks.{self._name}: {self.where}: {error.verify_message}: set ca_file to the "
                              "certificate that vouches for it") from error
        except OSError as error:
            self.close()
            raise Retryable(f"{self.where}: {plain_reason(error)}") from error
        except BaseException:
            self.close()
            raise

    def ask(self, *commands: bytes) -> list[Reply]:
        """Send commands and return their replies.

        Raises:
            OSError: the connection is lost, or gives no answer.
        """
        data = bytearray()
        replies: list[Reply] = []
        at = 0
        for part in self.exchange(b"".join(commands)):
            data += part
            while len(replies) < len(commands) and (found := parse(data, at)) is not None:
                replies.append(found[0])
                at = found[1]
            if len(replies) == len(commands):
                return replies
        raise AssertionError("an exchange has ended by itself")

    def exchange(self, data: bytes, least: int = 0) -> Exchange:
        """Send this, and give what comes, until nobody asks for more. ``least``: bytes that will come at least."""
        assert self._socket is not None
        return Exchange(self._socket, data, self._options.timeout_s, least)

    def close(self) -> None:
        """Close the connection; what was sent on it may still be done."""
        opened, self._socket = self._socket, None
        if opened is not None:
            with contextlib.suppress(OSError):
                opened.close()

    def refused(self, fault: Fault, what: str) -> ConfigError | Retryable:
        """What to raise for an error that this server has answered with."""
        text = f"{self.where}: {what}{': ' if what else ''}{fault.text}"
        if fault.kind in _HOPELESS or _NO_PASSWORD_WANTED in fault.text:
            return ConfigError(f"sinks.{self._name}: {text}: mend user and password in url, or what this user may do "
                               "(`thresher docs redis` has its rules)")
        return Retryable(text)

    # Connecting -------------------------------------------------------------------------------------------------------

    def _ask_sentinels(self) -> tuple[str, int]:
        """Return where the master is, by the first Sentinel that knows."""
        said: list[str] = []
        for node in self._address.nodes:
            try:
                self._socket = self._opened(node)
                commands = [command(b"AUTH", self._options.sentinel_secret.encode())] * bool(
                    self._options.sentinel_secret)
                replies = self.ask(*commands, command(
                    b"SENTINEL", b"get-master-addr-by-name", self._address.master.encode()))
            except ssl.SSLCertVerificationError:
                raise
            except (OSError, Unclear) as error:
                said.append(f"{shown_node(node)}: {plain_reason(error) if isinstance(error, OSError) else error}")
                continue
            finally:
                self.close()
            match replies[-1]:
                case [bytes(host), bytes(port)]:
                    return host.decode(), int(port)
                case Fault(text):
                    said.append(f"{shown_node(node)}: {text}")
                case _:
                    said.append(f"{shown_node(node)}: knows no master {self._address.master}")
        raise Retryable(f"{self.where}: no Sentinel says where it is ({'; '.join(said)})")

    def _opened(self, where: str | tuple[str, int]) -> socket.socket:
        timeout_s = self._options.connect_timeout_s
        extend(_RESOLVE_S + timeout_s)
        if isinstance(where, str):
            opened = socket.socket(socket.AF_UNIX)
            opened.settimeout(timeout_s)
            try:
                opened.connect(where)
            except OSError:
                opened.close()
                raise
        else:
            opened = socket.create_connection(where, timeout_s)
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        if self._address.secure:
            opened = self._secured(opened, where[0])
        opened.setblocking(False)  # from here on `poll` does the waiting, for both directions
        return opened

    def _secured(self, opened: socket.socket, host: str) -> socket.socket:
        options = self._options
        try:
            context = ssl.create_default_context(cafile=options.ca_file or None)
            if options.cert_file:
                context.load_cert_chain(options.cert_file, options.key_file or None)
        except OSError as error:
            opened.close()
            raise ConfigError(f"sinks.{self._name}: ca_file, cert_file, key_file: {plain_reason(error)}") from error
        try:
            return context.wrap_socket(opened, server_hostname=host)
        except OSError:
            opened.close()
            raise

    def _let_in(self) -> None:
        address, commands = self._address, []
        if address.password or address.user:
            words = [address.user.encode()] * bool(address.user)
            commands.append(command(b"AUTH", *words, address.password.encode()))
        commands.append(command(b"SELECT", b"%d" % address.database))
        *before, role = self.ask(*commands, command(b"ROLE"))
        for reply in before:
            if isinstance(reply, Fault):
                raise self.refused(reply, "")
        if isinstance(role, list) and role and role[0] != b"master":  # without the right to ask, a write will tell
            raise Retryable(f"{self.where}: is a replica, and takes no writes: name the master, or its Sentinels")
        if isinstance(role, Fault) and role.kind not in ("NOPERM", "ERR"):
            raise self.refused(role, "")


class Exchange:
    """Bytes that are sent, and the bytes that come for them; an iterator over what comes.

    Args:
        connection: that does not block.
        data: what is sent.
        timeout_s: longest time without any progress.
        least: bytes that will come at least: worth waking up for.
    """

    def __init__(self, connection: socket.socket, data: bytes, timeout_s: float, least: int) -> None:
        self._connection = connection
        self._left = memoryview(data)
        self._timeout_s = timeout_s
        self._least = least
        self._low_water = 0
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN | select.POLLOUT)

    def __iter__(self) -> Exchange:
        return self

    def __next__(self) -> bytes:
        """Return what has come; sends on meanwhile.

        Raises:
            OSError: the connection is lost, or gives no answer.
        """
        extend(self._timeout_s)  # a server that is slow, or many payloads, are no hang of ours
        while True:
            is_stuck = not self._send()
            received = self._receive()
            if received is not None:
                self._least -= len(received)
                return received
            if is_stuck:
                self._wait()

    def _send(self) -> bool:
        """Send some of it; return whether any was sent."""
        if not self._left:
            return False
        try:
            sent = self._connection.send(self._left[:_SEND_BYTES])
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            return False
        self._left = self._left[sent:]
        if not self._left:
            self._poll.modify(self._connection, select.POLLIN)
        return sent > 0

    def _receive(self) -> bytes | None:
        try:
            received = self._connection.recv(_RECEIVE_BYTES)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return None
        if not received:
            raise ConnectionResetError("the connection was closed by the server")
        return received

    def _wait(self) -> None:
        self._wake_at(1 if isinstance(self._connection, ssl.SSLSocket) else min(max(self._least, 1), _WAKE_BYTES))
        extend(self._timeout_s)
        if not self._poll.poll(self._timeout_s * 1000):
            raise TimeoutError(f"no answer for {self._timeout_s:g} s")

    def _wake_at(self, size: int) -> None:
        if size != self._low_water:
            self._low_water = size
            self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, size)
