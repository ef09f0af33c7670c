"""The mailbox: the only module that knows ZeroMQ. Sends and receives messages between addresses.

    producer  DEALER, identity name#generation ───▶ ROUTER, bound at RUN/name.generation   consumer
    actor     DEALER, identity name#generation ───▶ ROUTER, bound at RUN/control           supervisor
    command   DEALER, identity command.PID#1 ─────▶ ROUTER, bound at RUN/commands          supervisor

A DEALER for each consumer, never one for many: it would deal messages round-robin, and to the dead. An address is
used by one process only: its generation is in it, in the socket's path as well, so what is meant for the dead cannot
reach the living. High-water marks are off, because a ROUTER that reaches its mark drops without a word; the protocol's
window bounds what is under way instead. ``linger`` is short: acknowledgements, not linger, make sure of delivery.
A context is never shared with a child process: children are executed.

Who may connect is decided before anything is read (``links``): libzmq asks each new connection's fate at an inproc
socket of this same poll loop. A process that is busy lets newcomers wait, which they would have to anyway. What gets
in is still not believed: a frame that is no message, or comes under a name that no actor can have (the supervisor's
above all: it never writes to an actor's own socket), is counted as garbage and dropped. A person's command comes from
a process that is no relative; it has a socket of its own, where nobody can pass for an actor.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Sequence
from pathlib import Path

import zmq
from zmq.utils import z85

from actors.runtime.codec import decode, encode, unbundled
from actors.runtime.errors import DecodeError, Fatal
from actors.runtime.links import Links, is_of_this_run, is_of_this_user
from actors.runtime.messages import AnyMessage, Bundle, Message
from actors.runtime.parcels import MAX_FRAME_BYTES, SMALL_BYTES, Parcel, fit
from actors.runtime.rundir import CONTROL

SUPERVISOR = "supervisor"
#: Frames at least this long are not copied on their way out.
_ZERO_COPY_BYTES = 64 * 1024
_LINGER_MS, _LONGEST_MS = 200, (1 << 31) - 1  # what a C integer holds: 24 days
#: An ipc path's limit is 107 bytes.
_MAX_PATH_BYTES = 107
#: Most messages taken from one socket at a time, so that none starves the others.
_BURST = 64
#: Where libzmq asks whether a connection is welcome (ZeroMQ RFC 27), and the two kinds of socket it asks for.
_ZAP_ENDPOINT, _RELATIVES, _COMMANDERS = "inproc://zeromq.zap.01", b"relatives", b"commanders"
#: The socket for commands, and what those are called who give them.
COMMANDS, _COMMANDER = "commands", "command."
#: What an actor is called. ASCII digits only: to Python, others are digits too.
_ADDRESS = re.compile(rb"[^#\x00-\x20\x7f-\xff]+#[0-9]{1,18}")

_COMMANDER_ADDRESS = re.compile(rb"command\.[0-9]{1,18}#1")
#: The default.
IPC = Links()

Received = tuple[str, AnyMessage, list[bytes]]


class _Postbox:
    """What both sides have: a context, a poller, a router, a gate, counters.

    Args:
        links: the transport, with its keys.
        head: pid of the supervisor.
    """

    def __init__(self, links: Links, head: int) -> None:
        self._links = links
        self._head = head
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._gate: zmq.Socket[bytes] | None = None
        #: Frames that were not messages of this protocol, or not from an actor, dropped.
        self.garbage = 0
        #: Connections of strangers, refused.
        self.refused = 0

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = _LINGER_MS
        socket.set_hwm(0)
        socket.maxmsgsize = MAX_FRAME_BYTES
        return socket

    def _bind(self, path: Path, links: Links, domain: bytes) -> zmq.Socket[bytes]:
        """Return a router bound at this path, or at a free port."""
        endpoint = f"ipc://{path}" if links.transport == "ipc" else f"tcp://{links.host}:*"
        if links.transport == "tcp":
            links.require_keys(endpoint)
        elif len(os.fsencode(path)) > _MAX_PATH_BYTES:
            raise Fatal(f"socket path {path} has {len(os.fsencode(path))} bytes, at most {_MAX_PATH_BYTES} are "
                        "possible: set XDG_RUNTIME_DIR to a shorter one")
        if self._gate is None:
            self._open_gate()
        router = self._socket(zmq.ROUTER)
        router.router_mandatory = 1
        router.zap_domain = domain
        if links.transport == "tcp":
            router.curve_server = True
            router.curve_secretkey = links.server_secret.encode()
        before = os.umask(0o177)  # so that there is no moment in which others could connect
        try:
            router.bind(endpoint)
        except zmq.ZMQError as error:
            raise Fatal(f"cannot bind {endpoint}: {error.strerror.lower()} (links.host has to be an address of this "
                        "machine, the run directory writable)") from error
        finally:
            os.umask(before)
        self._poller.register(router, zmq.POLLIN)
        return router

    def _open_gate(self) -> None:
        """Answer libzmq's questions about newcomers; without an answer it lets nobody in."""
        gate = self._gate = self._context.socket(zmq.REP)
        gate.linger = 0
        gate.bind(_ZAP_ENDPOINT)
        self._poller.register(gate, zmq.POLLIN)

    def _guard(self) -> None:
        """Let in who belongs to this run; where commands come in, this user."""
        assert self._gate is not None
        while True:
            try:
                version, request, domain, peer, _, mechanism, *credentials = self._gate.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if mechanism == b"CURVE":
                welcome = z85.encode(credentials[0]) == self._links.client_public.encode()
            elif domain == _COMMANDERS:
                welcome = is_of_this_user(peer.decode(errors="replace"), os.getuid())
            else:
                welcome = self._links.transport == "ipc" and is_of_this_run(
                    peer.decode(errors="replace"), os.getpid(), self._head)
            self.refused += not welcome
            answer = (b"200", b"OK") if welcome else (b"400", b"not of this run")
            self._gate.send_multipart([version, request, *answer, b"", b""])

    def _poll(self, timeout_s: float | None) -> list[tuple[zmq.Socket[bytes] | int, int]]:
        """Wait for something that the caller wants to know; newcomers are dealt with here."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        while True:
            left = None if deadline is None else max(0, round(
                min(_LONGEST_MS, (deadline - time.monotonic()) * 1000 + 0.49)))
            found = self._poller.poll(left)
            events = [(source, flags) for source, flags in found if source is not self._gate]
            if len(events) < len(found):
                self._guard()
            if events or not found:
                return events

    @staticmethod
    def _route(router: zmq.Socket[bytes], address: str, wire: Sequence[bytes]) -> bool:
        try:
            router.send_multipart([address.encode(), *wire], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False  # the one it is for has died; the roster will say so
            raise
        return True

    def _drain_router(
        self, router: zmq.Socket[bytes], received: list[Received], names: re.Pattern[bytes] = _ADDRESS
    ) -> None:
        for _ in range(_BURST):
            try:
                sender, *frames = router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            if names.fullmatch(sender):
                self._take(sender.decode(), frames, received)
            else:
                self.garbage += 1

    def _take(self, sender: str, frames: list[bytes], received: list[Received]) -> None:
        try:
            message = decode(frames[0] if frames else b"")
            if isinstance(message, Bundle):
                received += [(sender, one, payload) for one, payload in unbundled(message, frames[1:])]
            else:
                received.append((sender, message, frames[1:]))
        except DecodeError:
            self.garbage += 1

    def close(self) -> None:
        """Close every socket; what is on its way out gets a moment to leave."""
        self._context.destroy(linger=_LINGER_MS)


class Mailbox(_Postbox):
    """An actor's mailbox.

    Args:
        address: ``name#generation``.
        run_dir: the run directory.
        links: the transport, with its keys.
        head: pid of the supervisor; by default the parent of this process.

    Raises:
        ConfigError: TCP without keys.
    """

    def __init__(self, address: str, run_dir: Path, links: Links = IPC, head: int | None = None) -> None:
        super().__init__(links, os.getppid() if head is None else head)
        self._address = address
        self._run_dir = run_dir
        self._router: zmq.Socket[bytes] | None = None
        self._peers: dict[str, zmq.Socket[bytes]] = {}
        self._names: dict[zmq.Socket[bytes], str] = {}
        self._wake: int | None = None
        self._posted: dict[str, Parcel] = {}
        try:
            self.connect(SUPERVISOR, _control_endpoint(address, run_dir, links))
        except BaseException:
            self.close()
            raise

    def bind(self) -> str:
        """Bind the socket for producers and return its endpoint."""
        self._router = self._bind(self._run_dir / self._address.replace("#", "."), self._links, _RELATIVES)
        return _endpoint_of(self._router)

    def connect(self, address: str, endpoint: str) -> None:
        """Connect to a consumer (or the supervisor).

        Raises:
            ConfigError: TCP without keys.
        """
        if not endpoint.startswith("ipc://"):
            self._links.require_keys(endpoint)
        socket = self._socket(zmq.DEALER)
        socket.identity = self._address.encode()
        if not endpoint.startswith("ipc://"):
            socket.curve_serverkey = self._links.server_public.encode()
            socket.curve_publickey = self._links.client_public.encode()
            socket.curve_secretkey = self._links.client_secret.encode()
        socket.connect(endpoint)
        self._peers[address] = socket
        self._names[socket] = address
        self._poller.register(socket, zmq.POLLIN)

    def disconnect(self, address: str) -> None:
        """Forget a consumer that has died, with all that is on its way to it and from it."""
        socket = self._peers.pop(address, None)
        self._posted.pop(address, None)
        if socket is not None:
            del self._names[socket]
            self._poller.unregister(socket)
            socket.close(linger=0)

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send to a consumer, the supervisor, or a producer that has written here; False when it is not there.

        Raises:
            Fatal: a frame, or the header, is longer than any consumer takes.
        """
        header, longest = fit(address, message, frames)
        self._flush(address)
        return self._put(address, [header, *frames], longest)

    def post(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """As ``send``, but a small message may wait for ``flush``, so that many cost little more than one; False when
        its consumer is known not to be there.

        Raises:
            Fatal: a frame, or the header, is longer than any consumer takes.
        """
        header, longest = fit(address, message, frames)
        size = sum(map(len, frames))
        if size + len(header) > SMALL_BYTES:
            self._flush(address)
            return self._put(address, [header, *frames], longest)
        if address not in self._peers and self._router is None:
            return False
        if self._posted.setdefault(address, Parcel()).add(header, frames, size):
            self._flush(address)
        return True

    def flush(self) -> None:
        """Send what was posted."""
        for address in list(self._posted):
            self._flush(address)

    def close(self) -> None:
        """Send what was posted, and close every socket."""
        self.flush()
        super().close()

    def _flush(self, address: str) -> None:
        posted = self._posted.pop(address, None)
        if posted is not None:
            self._put(address, posted.wire(), 0)

    def _put(self, address: str, wire: list[bytes], longest: int) -> bool:
        socket = self._peers.get(address)
        if socket is None:
            return self._router is not None and self._route(self._router, address, wire)
        socket.send_multipart(wire, copy=longest < _ZERO_COPY_BYTES)
        return True

    def receive(self, timeout_s: float | None, wake: int | None = None) -> list[Received]:
        """Return the messages that are there, waiting for the first at most so long (None: for ever).

        Waits no longer when the descriptor ``wake`` can be read.
        """
        if wake != self._wake:
            if self._wake is not None:
                self._poller.unregister(self._wake)
            if wake is not None:
                self._poller.register(wake, zmq.POLLIN)
            self._wake = wake
        received: list[Received] = []
        for socket, _ in self._poll(timeout_s):
            if socket is self._router:
                self._drain_router(socket, received)
            elif not isinstance(socket, int):
                self._drain_dealer(socket, received)
        return received

    def _drain_dealer(self, socket: zmq.Socket[bytes], received: list[Received]) -> None:
        for _ in range(_BURST):
            try:
                frames = socket.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._take(self._names[socket], frames, received)


class ControlBox(_Postbox):
    """The supervisor's mailbox, which also waits on file descriptors (pidfds, the signal pipe).

    Args:
        run_dir: the run directory; over TCP, a file in it tells the children where to connect.
        links: the transport, with its keys.

    Raises:
        ConfigError: TCP without keys.
        Fatal: the socket cannot be bound.
    """

    def __init__(self, run_dir: Path, links: Links = IPC) -> None:
        super().__init__(links, os.getpid())
        try:
            self._router = self._bind(run_dir / CONTROL, links, _RELATIVES)
            self._commands = self._bind(run_dir / COMMANDS, IPC, _COMMANDERS)
            if links.transport == "tcp":
                (run_dir / CONTROL).touch(mode=0o600)
                (run_dir / CONTROL).write_text(_endpoint_of(self._router))
        except BaseException:
            self.close()
            raise

    def watch(self, fd: int) -> None:
        """Wake up when this descriptor can be read."""
        self._poller.register(fd, zmq.POLLIN)

    def unwatch(self, fd: int) -> None:
        """No longer wake up for this descriptor."""
        self._poller.unregister(fd)

    def send(self, address: str, message: Message) -> bool:
        """Send to an actor, or to who has given a command; False when it is not there (any more)."""
        router = self._commands if address.startswith(_COMMANDER) else self._router
        return self._route(router, address, [encode(message)])

    def wait(self, timeout_s: float | None) -> tuple[list[Received], list[int]]:
        """Return messages and readable descriptors, waiting for the first at most so long (None: for ever)."""
        received: list[Received] = []
        fds: list[int] = []
        for source, _ in self._poll(timeout_s):
            if isinstance(source, int):
                fds.append(source)
            elif source is self._commands:
                self._drain_router(source, received, _COMMANDER_ADDRESS)
            else:
                self._drain_router(source, received)
        return received, fds


def library() -> dict[str, str]:
    """Versions of ZeroMQ, and what it was built with of what runs need."""
    return {"libzmq": zmq.zmq_version(), "pyzmq": zmq.pyzmq_version(),
            **{f"libzmq {name}": "yes" if zmq.has(name) else "no" for name in ("ipc", "curve")}}


def make_keys() -> dict[str, str]:
    """Return new CURVE keys as the four options of ``Links``."""
    (server_public, server_secret), (client_public, client_secret) = zmq.curve_keypair(), zmq.curve_keypair()
    return {"server_public": server_public.decode(), "server_secret": server_secret.decode(),
            "client_public": client_public.decode(), "client_secret": client_secret.decode()}


def _endpoint_of(socket: zmq.Socket[bytes]) -> str:
    return str(socket.getsockopt_string(zmq.LAST_ENDPOINT))


def _control_endpoint(address: str, run_dir: Path, links: Links) -> str:
    if address.startswith(_COMMANDER):
        return f"ipc://{run_dir / COMMANDS}"
    return f"ipc://{run_dir / CONTROL}" if links.transport == "ipc" else (run_dir / CONTROL).read_text()
