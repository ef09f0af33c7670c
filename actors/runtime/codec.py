"""The one place that encodes and decodes messages. See docs/protocol.md.

A message is a list of frames: one header frame, then payload frames, which are never looked at here. The header is a
version byte and a msgpack array whose first element is the type's tag. Nothing is ever unpickled; what is not a
message of this version raises ``DecodeError``. A bundle is a message whose header holds those of others, and whose one
payload frame all of theirs: so many small messages cost little more than one.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from actors.runtime.errors import DecodeError
from actors.runtime.messages import AnyMessage, Bundle, Linked, Message

VERSION = 2
#: No header is ever near this long; anything longer is not ours.
MAX_HEADER_BYTES = 1 << 20

_PREFIX = bytes([VERSION])
_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)


def encode(message: Message) -> bytes:
    """Return the header frame of a message."""
    return _PREFIX + _encoder.encode(message)


def encode_bundle(headers: Sequence[bytes], sizes: Sequence[Sequence[int]]) -> bytes:
    """Return the header frame of a bundle of messages that are encoded already."""
    return _PREFIX + _encoder.encode(("bundle", [msgspec.Raw(header[1:]) for header in headers], sizes))


def unbundled(bundle: Bundle, frames: Sequence[bytes]) -> list[tuple[Linked, list[bytes]]]:
    """Return the messages of a bundle, each with its payload frames.

    Raises:
        DecodeError: the payload is not what the header says.
    """
    data = frames[0] if frames else b""
    total = sum(map(sum, bundle.sizes))
    if len(bundle.messages) != len(bundle.sizes) or total != len(data) or len(frames) > 1:
        raise DecodeError(f"a bundle of {len(bundle.messages)} messages and {len(data)} bytes, not {total}")
    if any(size < 0 for sizes in bundle.sizes for size in sizes):
        raise DecodeError("a bundle with a frame of fewer than no bytes")
    messages = []
    at = 0
    for message, sizes in zip(bundle.messages, bundle.sizes, strict=True):
        parts = []
        for size in sizes:
            parts.append(data[at:at + size])
            at += size
        messages.append((message, parts))
    return messages


def decode(header: bytes | memoryview) -> AnyMessage:
    """Return the message of a header frame.

    Raises:
        DecodeError: another version, too long, or not a message.
    """
    if not 2 <= len(header) <= MAX_HEADER_BYTES:
        raise DecodeError(f"a header of {len(header)} bytes")
    if header[0] != VERSION:
        raise DecodeError(f"protocol version {header[0]}, expected {VERSION}")
    try:
        return _decoder.decode(memoryview(header)[1:])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DecodeError(f"not a message: {error}") from error
