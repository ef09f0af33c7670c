"""The mailbox: the only module that knows ZeroMQ. Sends and receives messages between addresses.

    producer  DEALER, identity name#generation ───▶ ROUTER, bound at RUN/name.generation   consumer
    actor     DEALER, identity name#generation ───▶ ROUTER, bound at RUN/control           supervisor

A DEALER for each consumer, never one for many: it would deal messages round-robin, and to the dead. An address is
used by one process only: its generation is in it, in the socket's path as well, so what is meant for the dead cannot
reach the living. High-water marks are off, because a ROUTER that reaches its mark drops without a word; the protocol's
window bounds what is under way instead. ``linger`` is short: acknowledgements, not linger, make sure of delivery.
A context is never shared with a child process: children are executed.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import zmq

from actors.runtime.errors import DecodeError, Fatal
from actors.runtime.messages import AnyMessage, Message, decode, encode
from actors.runtime.rundir import CONTROL

SUPERVISOR = "supervisor"
#: Frames at least this long are not copied on their way out.
_ZERO_COPY_BYTES = 64 * 1024
_LINGER_MS = 200
#: An ipc path's limit is 107 bytes.
_MAX_PATH_BYTES = 107
#: Most messages taken from one socket at a time, so that none starves the others.
_BURST = 64

Received = tuple[str, AnyMessage, list[bytes]]


class _Postbox:
    """What both sides have: a context, a poller, a router, counters."""

    def __init__(self) -> None:
        self._context = zmq.Context()
        self._poller = zmq.Poller()
        self._router: zmq.Socket[bytes] | None = None
        #: Frames that were not messages of this protocol, dropped.
        self.garbage = 0

    def _socket(self, kind: int) -> zmq.Socket[bytes]:
        socket: zmq.Socket[bytes] = self._context.socket(kind)
        socket.linger = _LINGER_MS
        socket.set_hwm(0)
        return socket

    def _bind(self, path: Path) -> str:
        if len(str(path)) > _MAX_PATH_BYTES:
            raise Fatal(f"socket path {path} has {len(str(path))} bytes, at most {_MAX_PATH_BYTES} are possible")
        router = self._socket(zmq.ROUTER)
        router.router_mandatory = 1
        router.bind(f"ipc://{path}")
        path.chmod(0o600)
        self._router = router
        self._poller.register(router, zmq.POLLIN)
        return f"ipc://{path}"

    def _route(self, address: str, message: Message, frames: Sequence[bytes]) -> bool:
        if self._router is None:
            return False
        try:
            self._router.send_multipart([address.encode(), encode(message), *frames], zmq.DONTWAIT)
        except zmq.ZMQError as error:
            if error.errno in (zmq.EHOSTUNREACH, zmq.EAGAIN):
                return False  # the one it is for has died; the roster will say so
            raise
        return True

    def _drain_router(self, received: list[Received]) -> None:
        assert self._router is not None
        for _ in range(_BURST):
            try:
                frames = self._router.recv_multipart(zmq.DONTWAIT)
            except zmq.Again:
                return
            self._take(frames[0].decode(errors="replace"), frames[1:], received)

    def _take(self, sender: str, frames: list[bytes], received: list[Received]) -> None:
        try:
            received.append((sender, decode(frames[0] if frames else b""), frames[1:]))
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
    """

    def __init__(self, address: str, run_dir: Path) -> None:
        super().__init__()
        self._address = address
        self._run_dir = run_dir
        self._peers: dict[str, zmq.Socket[bytes]] = {}
        self._names: dict[zmq.Socket[bytes], str] = {}
        self.connect(SUPERVISOR, f"ipc://{run_dir / CONTROL}")

    def bind(self) -> str:
        """Bind the socket for producers and return its endpoint."""
        return self._bind(self._run_dir / self._address.replace("#", "."))

    def connect(self, address: str, endpoint: str) -> None:
        """Connect to a consumer (or the supervisor)."""
        socket = self._socket(zmq.DEALER)
        socket.identity = self._address.encode()
        socket.connect(endpoint)
        self._peers[address] = socket
        self._names[socket] = address
        self._poller.register(socket, zmq.POLLIN)

    def disconnect(self, address: str) -> None:
        """Forget a consumer that has died, with all that is on its way to it and from it."""
        socket = self._peers.pop(address, None)
        if socket is not None:
            del self._names[socket]
            self._poller.unregister(socket)
            socket.close(linger=0)

    def send(self, address: str, message: Message, frames: Sequence[bytes] = ()) -> bool:
        """Send to a consumer, the supervisor, or a producer that has written here; False when it is not there."""
        socket = self._peers.get(address)
        if socket is None:
            return self._route(address, message, frames)
        large = any(len(frame) >= _ZERO_COPY_BYTES for frame in frames)
        socket.send_multipart([encode(message), *frames], copy=not large)
        return True

    def receive(self, timeout_s: float | None) -> list[Received]:
        """Return the messages that are there, waiting for the first at most so long (None: for ever)."""
        received: list[Received] = []
        for socket, _ in self._poller.poll(None if timeout_s is None else max(0, round(timeout_s * 1000 + 0.49))):
            if socket is self._router:
                self._drain_router(received)
            else:
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
    """The supervisor's mailbox, which also waits on file descriptors (pidfds, the signal pipe)."""

    def __init__(self, run_dir: Path) -> None:
        super().__init__()
        try:
            self._bind(run_dir / CONTROL)
        except Fatal:
            self.close()
            raise

    def watch(self, fd: int) -> None:
        """Wake up when this descriptor can be read."""
        self._poller.register(fd, zmq.POLLIN)

    def unwatch(self, fd: int) -> None:
        """No longer wake up for this descriptor."""
        self._poller.unregister(fd)

    def send(self, address: str, message: Message) -> bool:
        """Send to an actor; False when it is not there (any more)."""
        return self._route(address, message, ())

    def wait(self, timeout_s: float | None) -> tuple[list[Received], list[int]]:
        """Return messages and readable descriptors, waiting for the first at most so long (None: for ever)."""
        received: list[Received] = []
        fds: list[int] = []
        for source, _ in self._poller.poll(None if timeout_s is None else max(0, round(timeout_s * 1000 + 0.49))):
            if isinstance(source, int):
                fds.append(source)
            else:
                self._drain_router(received)
        return received, fds
