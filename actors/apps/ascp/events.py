"""An event: what a line of an ascp log says, and how it is stored.

    Event  ──▶  key    elsaspera03/5276/1390474063000/8f0c…    host, pid, ms since 1970, digest of the line
           └─▶  value  AscpEvent, protobuf

The key is made of the line alone, so the same line has the same key however it came: what is stored twice is there
once. A store that is ordered by key has the lines of a process in order of time, from ``first_key`` to ``last_key``.
"""

from __future__ import annotations

from functools import lru_cache
from hashlib import blake2b

import msgspec

from actors.apps.ascp import ascp_pb2
from actors.apps.ascp.fields import Field

#: Kinds of lines.
DATA, QUEUES, STATE, FILES, TEXT = "data", "queues", "state", "files", "text"
SESSION_START, SESSION_STOP, SESSION_PARAMS = "session_start", "session_stop", "session_params"
SESSION_STATISTICS, TRANSFER_START, TRANSFER_STOP = "session_statistics", "transfer_start", "transfer_stop"
_DIGEST_BYTES = 8
#: Most bytes of a host in a key: memcached and LMDB have limits.
_HOST_CHARS = 150
#: What stands in a key for a host, a pid or a time that a line does not have.
_NONE = "-"


class Event(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a line says.

    Attributes:
        host: who has written it; that of the options where the line has none.
        pid: the process, as it is written; empty: the line has none.
        thread: the thread, as it is written.
        at: ms since 1970; None: the line has no time.
        level: ``LOG``, ``ERR``, or empty.
        kind: one of the kinds above.
        side: ``Receiver``, ``Sender``, or empty.
        groups: each group's name and members, ``bl t/o/r/d``, in the order of the line.
        numbers: the values of all groups, one behind the other.
        fields: (name, value, unit) in the order of the line; values are text, or numbers in bit/s, bytes, seconds.
        text: what no rule takes apart.
        raw: the line, without what ends it.
    """

    host: str
    pid: str
    thread: str
    at: int | None
    level: str
    kind: str
    side: str
    groups: tuple[str, ...]
    numbers: list[int]
    fields: list[Field]
    text: str
    raw: bytes

    def group(self, name: str) -> tuple[int, ...] | None:
        """The values of a group, by its name and members; None: it has none. One that is there twice has all."""
        found: tuple[int, ...] = ()
        for title, (start, end) in zip(self.groups, _places(self.groups), strict=True):
            if title == name:
                found += tuple(self.numbers[start:end])
        return found or None

    def number(self, name: str, member: str) -> int | None:
        """The value of one member of a group, whatever its other members are: ``number("bl", "t")``."""
        at = _member(self.groups, name, member)
        return None if at is None else self.numbers[at]

    def field(self, name: str) -> str | int | float | None:
        """The first value of this name; None: it has none."""
        return next((value for title, value, _ in self.fields if title == name), None)


@lru_cache(maxsize=4096)
def _places(groups: tuple[str, ...]) -> list[tuple[int, int]]:
    """Where the values of each group are among the numbers."""
    places, end = [], 0
    for title in groups:
        start, end = end, end + title.rpartition(" ")[2].count("/") + 1
        places.append((start, end))
    return places


@lru_cache(maxsize=1 << 14)
def _member(groups: tuple[str, ...], name: str, member: str) -> int | None:
    for title, (start, _) in zip(groups, _places(groups), strict=True):
        group, _, members = title.rpartition(" ")
        if group == name and member in (some := members.split("/")):
            return start + some.index(member)
    return None


def process_prefix(host: str, pid: str) -> bytes:
    """What the keys of all lines of a process begin with, and no others."""
    return f"{_in_key(host)}/{pid or _NONE}/".encode()


def _in_key(host: str) -> str:
    safe = "".join(c if c.isprintable() and c not in "/% " else f"%{ord(c):02X}" for c in host)
    return safe[:_HOST_CHARS] or _NONE


_prefix = lru_cache(maxsize=1 << 14)(process_prefix)


def key_of(event: Event) -> bytes:
    """The key of an event."""
    digest = blake2b(event.raw, digest_size=_DIGEST_BYTES).hexdigest().encode()
    if event.at is None:
        return b"%b-/%b" % (_prefix(event.host, event.pid), digest)
    return b"%b%013d/%b" % (_prefix(event.host, event.pid), event.at, digest)


def host_range(host: str) -> tuple[bytes, bytes]:
    """The first key that may be of a line of this host, and the first behind all of them."""
    prefix = _in_key(host).encode()
    return prefix + b"/", prefix + b"0"  # 0 is behind /


def range_of(host: str, pid: str, first: int, last: int) -> tuple[bytes, bytes]:
    """The keys between which the lines of a process are that are of this time (ms, both included)."""
    prefix = process_prefix(host, pid)
    return b"%b%013d/" % (prefix, first), b"%b%013d0" % (prefix, last)  # 0 is behind /


@lru_cache(maxsize=1 << 14)
def listed_under(host: str, pid: str) -> tuple[bytes, bytes]:
    """The sorted sets that the key of an event with a time is found in, where a store has such: by it."""
    prefix = process_prefix(host, pid)[:-1]
    return b"host:" + prefix[:prefix.rindex(b"/")], b"process:" + prefix


_message = ascp_pb2.AscpEvent
_Field = ascp_pb2.Field


def encode(event: Event) -> tuple[bytes, bytes]:
    """The key, and the message; of equal events the same bytes."""
    head = _head(event.kind, event.level, event.side, event.groups)
    body = _message(host=event.host, pid=event.pid, thread=event.thread, time_ms=event.at, numbers=event.numbers,
                    text=event.text, raw=event.raw,
                    fields=[_field(*each) for each in event.fields] if event.fields else None)
    return key_of(event), head + body.SerializeToString()


@lru_cache(maxsize=4096)
def _head(kind: str, level: str, side: str, groups: tuple[str, ...]) -> bytes:
    """What many lines have in common, encoded once: messages that stand one behind the other are one."""
    return _message(kind=kind, level=level, side=side, groups=groups).SerializeToString()


def _field(name: str, value: str | int | float, unit: int) -> ascp_pb2.Field:
    if isinstance(value, str):
        return _Field(name=name, text=value)
    if isinstance(value, int):
        return _Field(name=name, number=value, unit=unit)  # type: ignore[arg-type]
    return _Field(name=name, real=value, unit=unit)  # type: ignore[arg-type]


def decode(data: bytes) -> Event:
    """The event of a message.

    Raises:
        google.protobuf.message.DecodeError: it is none.
    """
    found = _message.FromString(data)
    return Event(
        found.host, found.pid, found.thread, found.time_ms if found.HasField("time_ms") else None, found.level,
        found.kind, found.side, tuple(found.groups), list(found.numbers),
        [(each.name, getattr(each, each.WhichOneof("value") or "text"), int(each.unit)) for each in found.fields],
        found.text, found.raw)
