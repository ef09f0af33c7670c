"""memcached: keys and values to one server, pipelined, every reply counted.

The pool packs ready-made ``set`` commands, so the writer only moves bytes: a payload goes out and the replies come in
at the same time, over one persistent connection. Reading while writing is no refinement: a server that cannot get rid
of its replies stops reading, and two sides that only write wait for each other for ever.

A ``set`` is idempotent, and so is the ``delete`` of a value that is None. After any doubt (time-out, connection lost,
an answer that is none) the connection is given up and the whole payload written again. Only an answer that names the
item as the culprit is final: it is refused, alone.

What was sent on a connection that is given up may still wait in the server, which serves each connection for itself: a
server that was stuck would do it after what comes on the next one, and old values would stand over new ones. So nothing
is sent anywhere until the server has ended the old connection, which it does when it has done all of it. A server that
is gone for good is noticed by the system (a reset, or keep-alive probes that nobody answers). What a writer that was
killed had sent to a server that was stuck can still come late: nobody is left who could wait for it.

A key that memcached does not understand must never be sent: it would take the value that follows for commands, so that
a value of ``flush_all`` empties the server, or close the connection without a word, at each retry. ``pack`` rejects it.
After an answer that says "out of step" nothing more is read or sent on that connection: what is still under way in it
belongs to other items.
"""

from __future__ import annotations

import re
import select
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec
from msgspec import Meta

from actors.runtime.errors import ConfigError, Reject, Retryable, plain_reason
from actors.runtime.ports import Repeated, Sink, SinkOptions
from actors.runtime.progress import extend
from actors.runtime.stored import Need, Reader
from actors.runtime.values import Payload, Refusal
from actors.sinks.memcached_address import address_of
from actors.sinks.memcached_check import assured_by, problem_of
from actors.sinks.memcached_read import MemcachedReader

if TYPE_CHECKING:
    from pymemcache.client.base import Client

_STORED = b"STORED\r\n"
_RECEIVE_BYTES = _SEND_BYTES = 256 * 1024
#: Replies that are worth waking up for, far below any socket buffer.
_WAKE_BYTES = 16 * 1024
#: Answers that name one item as impossible; the connection stays in step.
_FINAL = {b"SERVER_ERROR object too large for cache": "too_large", b"NOT_STORED": "sink_rejected"}
#: Answers after which nothing is known about the items that follow on this connection.
_OUT_OF_STEP = (b"CLIENT_ERROR", b"ERROR")
#: How much of an ``ERROR`` can have come with the bytes before.
_OVERLAP_BYTES = len(b"ERROR") - 1
#: Far more than any reply has.
_MAX_REPLY_BYTES = 2048
#: Signs of life that a silent connection is asked for, a second apart, before it counts as lost.
_PROBES = 5
#: How long a name server that does not answer may keep the system's resolver busy.
_RESOLVE_S = 60.0
_MAX_KEY_BYTES = 250
_NOT_IN_KEYS = bytes((*range(0x21), 0x7F))
#: Up to here memcached takes a time as from now, beyond it as a date since 1970: it would be long past.
_MAX_RELATIVE_S = 30 * 24 * 3600
#: The latest date that memcached knows.
_MAX_DATE = 2**31 - 1
_COMMAND = re.compile(rb"(?:set|add) ([^\x00-\x20\x7f]{1,250}) 0 \d{1,10} (\d{1,10})\r\n")
_DELETE = re.compile(rb"delete ([^\x00-\x20\x7f]{1,250})\r\n")


class Memcached(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A memcached server.

    Attributes:
        server: ``host:port``, ``[ipv6]:port`` or ``unix:/path``.
        connect_timeout_s: longest time to connect.
        timeout_s: longest time without any progress of a write.
        expire_s: seconds until an item expires; 0 for never. Not beyond January 2038, where memcached's dates end.
        only_missing: store nothing under a key that is there already.

    Example::

        Memcached(server="127.0.0.1:11211", expire_s=3600)  # items are (key, value), bytes; (key, None) deletes
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = (
        "idempotent by key: effectively once; what the server itself forgets (restart, eviction) is gone, and "
        "unnoticed: a key only can be asked")

    #: What opening it imports, for the supervisor to import once.
    imports: ClassVar[tuple[str, ...]] = ("pymemcache.client.base",)

    server: str
    connect_timeout_s: Annotated[float, Meta(gt=0)] = 1.0
    timeout_s: Annotated[float, Meta(gt=0)] = 3.0
    expire_s: Annotated[int, Meta(ge=0)] = 0
    only_missing: bool = False

    def __post_init__(self) -> None:
        """Refuse a server that cannot be one, and a time that cannot be said, before anything runs."""
        address_of(self.server)
        longest = _MAX_DATE - int(time.time())
        if self.expire_s > max(_MAX_RELATIVE_S, longest):
            raise ConfigError(f"expire_s: expected at most {longest} (memcached knows no date after January 2038), "
                              f"got {self.expire_s}; 0 is never")

    def pack(self, items: Sequence[tuple[bytes, bytes | None]]) -> bytes:
        """Return the ``set`` (or ``add``) and ``delete`` commands of (key, value) items.

        Raises:
            Reject: a key is none to memcached: empty, over 250 bytes, with blanks or control characters; or, with
                ``only_missing``, it is a deletion.
        """
        keys = [key for key, _ in items]
        joined = b"".join(keys)
        if keys and (b"" in keys or max(map(len, keys)) > _MAX_KEY_BYTES
                     or len(joined.translate(None, _NOT_IN_KEYS)) != len(joined)):
            raise _bad_key(keys)
        expires = self.expire_s if self.expire_s <= _MAX_RELATIVE_S else int(time.time()) + self.expire_s
        command = b"%b %%b 0 %d %%d\r\n%%b\r\n" % (b"add" if self.only_missing else b"set", expires)
        if self.only_missing and any(value is None for _, value in items):
            raise Reject("only_missing", "a deletion, and what is there is to stay: send it without only_missing")
        return b"".join([b"delete %b\r\n" % key if value is None else command % (key, len(value), value)
                         for key, value in items])

    def unpack(self, data: bytes) -> list[tuple[bytes, bytes | None]]:
        """Return the items that ``pack`` made this of, whatever the options were.

        Raises:
            Reject: these are no such commands.
        """
        items: list[tuple[bytes, bytes | None]] = []
        at = 0
        while at < len(data):
            if (gone := _DELETE.match(data, at)) is not None:
                items.append((gone[1], None))
                at = gone.end()
                continue
            match = _COMMAND.match(data, at)
            after = 0 if match is None else match.end() + int(match[2]) + 2
            if match is None or data[after - 2:after] != b"\r\n":
                raise Reject("format", f"expected a memcached command, got {data[at:at + 60]!r}")
            items.append((match[1], data[match.end():after - 2]))
            at = after
        return items

    def open(self, name: str, state: Path) -> Sink:
        """Open the sink; the connection is made with the first write."""
        return _Server(self)

    def check(self, name: str, state: Path) -> list[str]:
        """Say why the server cannot be used now, for ``thresher check``."""
        problem = problem_of(address_of(self.server), self.connect_timeout_s, self.timeout_s)
        return [f"{problem}: start it, or set sinks.{name}.server to where it is"] if problem else []

    def assures(self, name: str, state: Path) -> str:
        """What the server forgets, as it is set up now."""
        try:
            return assured_by(address_of(self.server), self.connect_timeout_s, self.timeout_s)
        except OSError as error:
            raise Retryable(f"{self.describe()}: {plain_reason(error)}") from error

    def keeping(self) -> Memcached:
        """The same, but storing nothing under a key that is there already."""
        return msgspec.structs.replace(self, only_missing=True)

    def adds(self) -> bool:
        """No: the same is stored under its key again."""
        return False

    def loses(self) -> str:
        """All, when the server likes."""
        return "what the server forgets (a restart, eviction) is gone"

    def answers(self) -> tuple[Need, ...]:
        """Nobody can list keys."""
        return ("key",)

    def reader(self, name: str, state: Path) -> Reader:
        """Look at the server; the connection is made with the first key."""
        return MemcachedReader(address_of(self.server), self.describe(), self.connect_timeout_s, self.timeout_s)

    def tombstones(self) -> str:
        """A value that is None."""
        return "" if self.only_missing else "(key, None) deletes the key"

    def repeated(self) -> Repeated:
        """It is stored under its key again."""
        return "replaced"

    def describe(self) -> str:
        """Say where this writes."""
        return f"memcached {self.server}"


OPTIONS = Memcached


class _Server(Sink):
    """One server and the connection to it."""

    def __init__(self, options: Memcached) -> None:
        from pymemcache.client.base import Client, KeepaliveOpts

        self._name = options.describe()
        self._timeout_s = options.timeout_s
        self._connect_timeout_s = options.connect_timeout_s
        self._good = (b"STORED", b"DELETED", b"NOT_FOUND", *[b"NOT_STORED"] * options.only_missing)
        self._client: Client = Client(
            address_of(options.server), connect_timeout=options.connect_timeout_s, timeout=options.timeout_s,
            no_delay=True, socket_keepalive=None if options.server.startswith("unix:") else KeepaliveOpts(cnt=_PROBES))
        self._given_up: socket.socket | None = None

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write every payload and count every reply."""
        refusals: list[Refusal] = []
        try:
            for index, payload in enumerate(payloads):
                replies = self._exchange(payload.data, payload.count)
                if replies != _STORED * payload.count:
                    refusals += self._refusals(index, payload, replies)
        except OSError as error:
            self._give_up()
            raise Retryable(f"{self._name}: {plain_reason(error)}") from error
        except Retryable:
            self._give_up()
            raise
        return refusals

    def close(self) -> None:
        """Close the connection."""
        self._client.close()
        self._forget()

    def _give_up(self) -> None:
        """Send nothing more on this connection."""
        if self._client.sock is None:
            return
        self._forget()
        self._given_up, self._client.sock = self._client.sock, None
        try:
            self._given_up.shutdown(socket.SHUT_WR)
        except OSError:  # it is lost already
            self._forget()

    def _forget(self) -> None:
        if self._given_up is not None:
            self._given_up.close()
            self._given_up = None

    def _let_end(self) -> None:
        """Wait until the server has done what it was sent on the connection that was given up, and has ended it."""
        if self._given_up is None:
            return
        self._given_up.settimeout(self._timeout_s)
        try:
            while True:
                extend(self._timeout_s)
                if not self._given_up.recv(_RECEIVE_BYTES):
                    break
        except TimeoutError:
            raise TimeoutError(f"no answer for {self._timeout_s:g} s") from None
        except OSError:
            pass  # it is lost: nobody does anything with what was sent
        self._forget()

    def _exchange(self, data: bytes | memoryview, count: int) -> bytes:
        """Send commands and return ``count`` reply lines, or fewer when the connection got out of step."""
        self._let_end()
        if self._client.sock is None:
            extend(_RESOLVE_S + self._connect_timeout_s)
            # Nothing public only connects: each public method sends a command of its own and reads the reply to it, a
            # round trip more for each connection, with errors that are no OSErrors. `sock` is not documented either,
            # but `raw_command`, the public way, has one command under way at a time: pipelining is the speed of this
            # sink. The contract's tests write through both to a real server, so a release that has not is noticed.
            self._client._connect()
            assert self._client.sock is not None
            self._client.sock.setblocking(False)  # from here on `poll` does the waiting, for both directions
        connection = self._client.sock
        view, sent, lines = memoryview(data), 0, 0
        replies = bytearray()
        poll = select.poll()
        poll.register(connection, select.POLLIN | select.POLLOUT)
        while lines < count:
            # Wake up when everything can be there, not for every few replies. All answers but ERROR are longer than
            # STORED, so only a server that does not know `set` makes us wait for the time-out.
            missing = (count - lines) * len(_STORED)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT, min(missing, _WAKE_BYTES))
            extend(self._timeout_s)  # a server that is slow, or many payloads, are no hang of ours
            ready = poll.poll(self._timeout_s * 1000)
            events = ready[0][1] if ready else select.POLLIN
            if events & select.POLLOUT:
                sent += connection.send(view[sent:sent + _SEND_BYTES])
                if sent == len(view):
                    poll.modify(connection, select.POLLIN)
            if events & ~select.POLLOUT:
                received = self._receive(connection)
                unseen = max(0, len(replies) - _OVERLAP_BYTES)
                replies += received
                lines += received.count(b"\n")
                if replies.find(b"ERROR", unseen) >= 0 and _out_of_step(replies.splitlines()):
                    break
                if len(replies) > count * _MAX_REPLY_BYTES:  # this is no memcached, and may never end
                    break
        return bytes(replies)

    def _receive(self, connection: socket.socket) -> bytes:
        try:
            received = connection.recv(_RECEIVE_BYTES)
        except BlockingIOError:
            raise TimeoutError(f"no answer for {self._timeout_s:g} s") from None
        if not received:
            raise ConnectionResetError("the connection was closed by the server")
        return received

    def _refusals(self, index: int, payload: Payload, replies: bytes) -> list[Refusal]:
        """Which items were refused, from replies that are not all well."""
        lines = replies.split(b"\r\n")
        if _out_of_step(lines):
            return self._one_by_one(index, payload)
        if lines.pop() or len(lines) != payload.count:
            raise Retryable(f"{self._name}: {len(lines)} answers to {payload.count} commands")
        refusals: list[Refusal] = []
        for item, (line, command) in enumerate(zip(lines, _commands(payload.data), strict=True)):
            if line in self._good:
                continue
            if line in _FINAL:
                refusals.append(Refusal(index, item, _FINAL[line], line.decode(), command))
            else:
                raise Retryable(f"{self._name}: {line[:100].decode(errors='replace')}")
        return refusals

    def _one_by_one(self, index: int, payload: Payload) -> list[Refusal]:
        """Write each item for itself, on a new connection at first and after each that the server does not understand.

        Keys are checked when they are packed, so ERROR means a server that knows no ``set``, and no item's fault.
        """
        self._give_up()
        refusals: list[Refusal] = []
        for item, command in enumerate(_commands(payload.data)):
            reply = self._exchange(command, 1).partition(b"\r\n")[0]
            if reply in self._good:
                continue
            if reply in _FINAL:
                refusals.append(Refusal(index, item, _FINAL[reply], reply.decode(), command))
            elif reply.startswith(b"CLIENT_ERROR") and b"authent" not in reply:
                self._give_up()
                refusals.append(Refusal(index, item, "sink_rejected", reply[:100].decode(errors="replace"), command))
            else:
                raise Retryable(f"{self._name}: {reply[:100].decode(errors='replace')}")
        return refusals


def _bad_key(keys: Sequence[bytes]) -> Reject:
    """The reason for the first key that memcached cannot take."""
    for key in keys:
        if not 0 < len(key) <= _MAX_KEY_BYTES:
            return Reject("key", f"expected 1 to {_MAX_KEY_BYTES} bytes, got {len(key)}: {key[:60]!r}")
        if len(key.translate(None, _NOT_IN_KEYS)) != len(key):
            return Reject("key", f"expected no blanks and no control characters, got {key!r}")
    raise AssertionError("all keys are good")


def _out_of_step(lines: Sequence[bytes | bytearray]) -> bool:
    return any(line.startswith(_OUT_OF_STEP) for line in lines)


def _commands(data: bytes | memoryview) -> Iterator[bytes]:
    """Take a payload apart into its commands again."""
    data, at = bytes(data), 0
    while at < len(data):
        end = data.index(b"\r\n", at)
        is_gone = data.startswith(b"delete ", at)
        after = end + 2 + (0 if is_gone else int(data[at:end].rpartition(b" ")[2]) + 2)
        yield data[at:after]
        at = after
