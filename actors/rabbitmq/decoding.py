"""What a message says of itself, as it is on the wire ──▶ the properties, whatever somebody has put there.

The client's own decoding raises for a message that any producer may send and the server passes on: a time beyond the
year 9999 (milliseconds where AMQP has seconds), a number that is none, tables that are nested too deep, a type that it
does not know. It raises where frames are read, so the connection is lost for it, and lost again each time the message
is delivered again; and with it everything that was delivered beside it. It also makes 2 of 2.7.

Guarantee: nothing raises. What cannot be decoded stays as the bytes that it is, under its name, and ``UNDECODED`` says
what that is; all before it and behind its table is read.

Pure.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

#: The header that names what could not be decoded; what it is of has the bytes from there on.
UNDECODED = "amqp-undecoded"
#: Tables and arrays within one another so deep; what is deeper stays bytes.
_DEPTH = 16
_TEXT, _TABLE, _BYTE, _TIME = "sFBQ"
#: The properties in their order on the wire, the first one's flag is the highest bit.
_PROPERTIES = (
    ("content_type", _TEXT), ("content_encoding", _TEXT), ("headers", _TABLE), ("delivery_mode", _BYTE),
    ("priority", _BYTE), ("correlation_id", _TEXT), ("reply_to", _TEXT), ("expiration", _TEXT), ("message_id", _TEXT),
    ("timestamp", _TIME), ("type", _TEXT), ("user_id", _TEXT), ("app_id", _TEXT), ("cluster_id", _TEXT))
_SIZE = struct.Struct(">I")
_DECIMAL = struct.Struct(">Bi")


class _Undecodable(Exception):
    """It is no such value, or ends too early."""


def _time(seconds: int) -> datetime | int:
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return seconds


#: Of each type with a size of its own: how it is packed, and what becomes of it.
_FIXED: dict[int, tuple[struct.Struct, Callable[[Any], Any]]] = {
    ord(kind): (struct.Struct(f">{form}"), of) for kind, form, of in (
        ("t", "B", bool), ("b", "b", int), ("B", "B", int), ("U", "h", int), ("s", "h", int), ("u", "H", int),
        ("I", "i", int), ("i", "I", int), ("L", "q", int), ("l", "q", int), ("f", "f", float), ("d", "d", float),
        ("T", "Q", _time))}


def properties_in(encoded: bytes) -> dict[str, Any]:
    """Return the properties that a message has, by the client's names for them.

    Args:
        encoded: flags and values, as they stand behind the size of the body.

    Example::

        properties_in(b"\\x00\\x80\\x02m1")  # {"message_id": "m1"}
    """
    found: dict[str, Any] = {}
    at = 0
    name = "flags"
    try:
        flags, at = _flags(encoded)
        for number, (name, kind) in enumerate(_PROPERTIES):
            if flags & (0x8000 >> number):
                found[name], at = _property(kind, encoded, at)
    except (_Undecodable, struct.error):
        found["headers"] = {**(found.get("headers") or {}), name: encoded[at:], UNDECODED: name}
    return found


def _flags(encoded: bytes) -> tuple[int, int]:
    """The first word of flags, which has all that are defined; where the values begin."""
    at = 0
    while True:
        word = int.from_bytes(_part(encoded, at, 2))
        at += 2
        if not word & 1:
            return int.from_bytes(encoded[:2]), at


def _property(kind: str, encoded: bytes, at: int) -> tuple[Any, int]:
    if kind == _TEXT:
        return _short(encoded, at)
    if kind == _TABLE:
        return _table(encoded, at, 0)
    size = 1 if kind == _BYTE else 8
    return int.from_bytes(_part(encoded, at, size)), at + size


def _part(encoded: bytes, at: int, size: int) -> bytes:
    if at + size > len(encoded):
        raise _Undecodable
    return encoded[at:at + size]


def _short(encoded: bytes, at: int) -> tuple[str | bytes, int]:
    size = _part(encoded, at, 1)[0]
    return _text(_part(encoded, at + 1, size)), at + 1 + size


def _text(value: bytes) -> str | bytes:
    """Text; bytes that are none stay bytes."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value


def _long(encoded: bytes, at: int) -> tuple[bytes, int]:
    """What has its size before it."""
    size, = _SIZE.unpack_from(encoded, at)
    return _part(encoded, at + 4, size), at + 4 + size


def _table(encoded: bytes, at: int, depth: int) -> tuple[dict[str, Any], int]:
    """A table: whatever is in it, it ends where it says."""
    inside, end = _long(encoded, at)
    found: dict[str, Any] = {}
    at = 0
    while at < len(inside):
        name = "headers"
        try:
            key, at = _short(inside, at)
            name = key if isinstance(key, str) else key.decode(errors="backslashreplace")
            found[name], at = _value(inside, at, depth)
        except (_Undecodable, struct.error):
            found |= {name: inside[at:], UNDECODED: name}
            break
    return found, end


def _value(encoded: bytes, at: int, depth: int) -> tuple[Any, int]:
    kind = _part(encoded, at, 1)[0]
    at += 1
    if (fixed := _FIXED.get(kind)) is not None:
        packed, of = fixed
        return of(packed.unpack_from(encoded, at)[0]), at + packed.size
    if kind == ord("S"):
        value, at = _long(encoded, at)
        return _text(value), at
    if kind == ord("x") or (kind in b"AF" and depth >= _DEPTH):
        return _long(encoded, at)
    if kind == ord("F"):
        return _table(encoded, at, depth + 1)
    if kind == ord("A"):
        return _array(encoded, at, depth + 1)
    if kind == ord("D"):
        scale, number = _DECIMAL.unpack_from(encoded, at)
        return Decimal(number).scaleb(-scale), at + _DECIMAL.size
    if kind == ord("V"):
        return None, at
    raise _Undecodable


def _array(encoded: bytes, at: int, depth: int) -> tuple[list[Any], int]:
    """An array: an element that cannot be decoded is the rest of it, as bytes."""
    inside, end = _long(encoded, at)
    found: list[Any] = []
    at = 0
    while at < len(inside):
        try:
            value, at = _value(inside, at, depth)
        except (_Undecodable, struct.error):
            value, at = inside[at:], len(inside)
        found.append(value)
    return found, end
