"""How a message of ours stands in RabbitMQ, and how one is read back: the same module both ways.

    value    the body; None (there is no value any more for its key) is an empty body, and ``thresher-none``
    key      ``thresher-key``, in bytes or text; also the routing key, where the sink is told so
    time     ``timestamp``, which AMQP has in whole seconds, and ``thresher-time-ms``
    headers  one each; a name that comes twice is an array

Header values that are text go as AMQP's text, for a headers exchange compares types, too; others as bytes. What another
producer has put there, numbers, times and tables, is read as text.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec

from actors.runtime.framing import Headers, Record

#: Headers that are ours: what AMQP has no place for.
KEY, TIME_MS, NONE = "thresher-key", "thresher-time-ms", "thresher-none"
OURS = frozenset({KEY, TIME_MS, NONE})
#: What the server adds for its own purposes, to each message that is taken from such a queue.
_OF_THE_SERVER = frozenset({"x-delivery-count", "x-stream-offset"})
#: Times that AMQP's unsigned seconds have room for, in ms; others are in our header only.
_MOST_MS = (1 << 62) - 1

Value = bytes | str | None


class Properties(Protocol):
    """What is read of the client's properties."""

    headers: Any
    timestamp: int | None


def table_of(key: bytes | None, headers: Headers, time_ms: int | None, is_none: bool) -> dict[str, Any]:
    """Return the headers that a message is published with."""
    table: dict[str, Any] = {}
    for name, value in headers:
        if name not in table:
            table[name] = _text_or_bytes(value)
        elif isinstance(table[name], list):
            table[name].append(_text_or_bytes(value))
        else:
            table[name] = [table[name], _text_or_bytes(value)]
    if key is not None:
        table[KEY] = _text_or_bytes(key)
    if time_ms is not None:
        table[TIME_MS] = time_ms
    if is_none:
        table[NONE] = True
    return table


def seconds_of(time_ms: int | None) -> int | None:
    """Return the ``timestamp`` of a message; None: it has none."""
    return None if time_ms is None or not 0 <= time_ms <= _MOST_MS else time_ms // 1000


def record_of(offset: int, properties: Properties, body: bytes) -> Record:
    """Return the record that a message is, published by our sink or by anybody.

    Example::

        record_of(17, properties, b"5.0").headers  # what it came with, without what is ours
    """
    table: Mapping[Any, Any] = properties.headers or {}
    time = table.get(TIME_MS)
    if not isinstance(time, int) or isinstance(time, bool) or abs(time) > _MOST_MS:
        time = None if properties.timestamp is None else min(int(properties.timestamp) * 1000, _MOST_MS)
    time = None if time is None else int(time)  # the client has a class of its own for 64 bits, which is not encoded
    is_none = table.get(NONE) is True and not body
    return Record(offset, None if is_none else body, time=time, key=bytes_of(table.get(KEY)),
                  headers=tuple(_headers_in(table)))


def _headers_in(table: Mapping[Any, Any]) -> Iterator[tuple[str, bytes | None]]:
    for name, value in table.items():
        if name in OURS or name in _OF_THE_SERVER:
            continue
        shown = name if isinstance(name, str) else name.decode(errors="backslashreplace")
        for one in value if isinstance(value, list) else (value,):
            yield shown, bytes_of(one)


def _text_or_bytes(value: bytes | None) -> Value:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return value


def bytes_of(value: Any) -> bytes | None:
    """What the client has made of a value, as a header has it; text that is none is in bytes already."""
    if value is None or isinstance(value, bytes):
        return value
    if isinstance(value, str):
        return value.encode()
    if isinstance(value, bool):
        return b"true" if value else b"false"
    if isinstance(value, datetime):
        return (value if value.tzinfo else value.replace(tzinfo=UTC)).isoformat().encode()
    if isinstance(value, (dict, list)):
        return msgspec.json.encode(value, enc_hook=str)
    return str(value).encode()
