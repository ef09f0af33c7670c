"""What a message that was received is made of, in plain types: the library says less of them than it gives."""

from __future__ import annotations

from confluent_kafka import Message

from actors.runtime.framing import Headers


def bytes_of(value: str | bytes | None) -> bytes | None:
    """A key, a value or a header, which are bytes where nobody has set them otherwise."""
    return value.encode() if isinstance(value, str) else value


def headers_of(message: Message) -> Headers:
    """The headers of a message, in order; a name may come twice."""
    found = message.headers() or []
    pairs = found.items() if isinstance(found, dict) else found
    return tuple((name, bytes_of(value)) for name, value in pairs)
