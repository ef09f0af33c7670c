"""Blocks: what a segment of a topic is made of, and how messages are packed into them.

    segment   [header│body] [header│body] …                       appended, never changed
    header    magic, checksum of the header, size and checksum of the body, first offset, count, time, newest   48 bytes
    body      messages, packed together in the worker that made them: the writer moves bytes, it does not look at them

The offset of a message is that of its block and its place in it. Its time is its own or, by default, that of its block:
the writer's clock when it was appended, which never goes back within a partition. ``newest`` is the largest time up to
here, so a moment is found by bisection even where messages bring times of their own in any order.

Guarantees: a flipped bit is found by a checksum before anything of its block is handed out, and damage in a header does
not hide the blocks behind it: each begins with a magic word and has a checksum of its own. A block is never empty.

What does not work: a checksum a message (a tenth of the writer's time, and nothing is gained: what is read and written
is a block); offsets in the messages (they are given by the writer, and workers pack before it).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple, Self
from zlib import crc32

import msgspec

from actors.runtime.errors import DecodeError, Reject
from actors.runtime.framing import Headers, Record

MAGIC = b"\x93TB1"
_HEADER = struct.Struct("<4sIIIQIIqq")
HEADER_BYTES = _HEADER.size
#: Messages are packed into blocks of about so many bytes.
BLOCK_BYTES = 256 * 1024
#: Longest value, key and headers of a message together.
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: What a message takes besides its bytes, about.
_OVERHEAD = 8
#: In ``Piece.partition``: any, for its messages have no key.
ANY = -1
#: Larger than any time, in ms.
_FAR_MS = 1 << 62


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message for a topic.

    Attributes:
        value: its bytes (text is encoded as UTF-8); None: there is no value any more for its key.
        key: what it is about: messages of one key are in one partition, in order; None: nothing.
        time: when it happened, in ms since 1970; None: when it is appended.
        headers: what it has with it, by name.

    Example::

        Message(b"5.0", key=b"B00A", time=1_700_000_000_000, headers=(("trace", b"7f"),))
    """

    value: bytes | str | None
    key: bytes | str | None = None
    time: int | None = None
    headers: tuple[tuple[str, bytes | str | None], ...] = ()


class Stored(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message as it stands in a block."""

    value: bytes | None
    key: bytes | None = None
    time: int | None = None
    headers: Headers = ()


class Piece(msgspec.Struct, frozen=True, array_like=True):
    """Messages of one batch for one partition, packed: a block that has no place yet.

    Attributes:
        partition: its number; ``ANY``: they have no key.
        count: how many.
        own: the largest time that one of them brings; None: none does.
        all_own: all of them bring theirs.
        body: the messages.
    """

    partition: int
    count: int
    own: int | None
    all_own: bool
    body: bytes


class Header(NamedTuple):
    """What stands before the body of a block.

    Attributes:
        size: bytes of the body.
        checksum: of the body.
        offset: of its first message.
        messages: how many.
        time: when it was appended, in ms since 1970.
        newest: the largest time of a message of the partition up to the end of this block.
    """

    size: int
    checksum: int
    offset: int
    messages: int
    time: int
    newest: int

    @property
    def end(self) -> int:
        """The offset behind its last message."""
        return self.offset + self.messages

    @property
    def whole(self) -> int:
        """Bytes of the block."""
        return HEADER_BYTES + self.size

    def packed(self) -> bytes:
        """Return its bytes."""
        rest = _HEADER.pack(MAGIC, 0, self.size, self.checksum, self.offset, self.messages, 0, self.time, self.newest)
        return rest[:4] + crc32(rest[8:]).to_bytes(4, "little") + rest[8:]

    @classmethod
    def read(cls, data: bytes) -> Self | None:
        """Return the header that these bytes begin with; None: they begin with none."""
        if len(data) < HEADER_BYTES or not data.startswith(MAGIC):
            return None
        _, checksum, size, of_body, offset, count, _, time, newest = _HEADER.unpack_from(data)
        if checksum != crc32(data[8:HEADER_BYTES]) or not count:
            return None
        return cls(size, of_body, offset, count, time, newest)


_encoder = msgspec.msgpack.Encoder()
_stored = msgspec.msgpack.Decoder(list[Stored])
_pieces = msgspec.msgpack.Decoder(list[Piece])

#: Value, key, time, headers, as they are packed.
_Row = tuple[bytes | None, bytes | None, int | None, Headers]


def pack_items(items: Sequence[Any], partitions: int) -> bytes:
    """Return the payload of a batch: its items in order, by partition.

    Raises:
        Reject: an item is no message, or too large.
    """
    rows = [_row(item) for item in items]
    if partitions == 1:
        return _encoder.encode(list(_pieces_of(0, rows)))
    of: dict[int, list[_Row]] = {}
    for row in rows:
        number = ANY if row[1] is None else partition_of(row[1], partitions)
        of.setdefault(number, []).append(row)
    return _encoder.encode([piece for number, some in of.items() for piece in _pieces_of(number, some)])


def partition_of(key: bytes, partitions: int) -> int:
    """Return the partition that messages of a key are in: the same in every process and version."""
    return crc32(key) % partitions


def pieces_in(payload: bytes | memoryview) -> list[Piece]:
    """Return the pieces of a payload.

    Raises:
        DecodeError: it is none.
    """
    try:
        return _pieces.decode(payload)
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not a payload for a topic: {error}") from error


def stored_in(payload: bytes | memoryview) -> list[Stored]:
    """Return the messages of a payload, in the order of the items where it was packed for one partition.

    Raises:
        DecodeError: it is none.
    """
    try:
        return [stored for piece in pieces_in(payload) for stored in _stored.decode(piece.body)]
    except msgspec.MsgspecError as error:
        raise DecodeError(f"not a payload of messages: {error}") from error


def unpack_items(payload: bytes | memoryview) -> list[Message]:
    """Return the items of a payload that was packed for one partition, in order; each is a ``Message`` now.

    Raises:
        DecodeError: it is none.
    """
    return [Message(one.value, one.key, one.time, one.headers) for one in stored_in(payload)]


def messages_in(header: Header, body: bytes) -> list[Record]:
    """Return the messages of a block.

    Raises:
        DecodeError: it is damaged.
    """
    if len(body) != header.size or crc32(body) != header.checksum:
        raise DecodeError("its checksum is not that of its bytes")
    try:
        stored = _stored.decode(body)
    except msgspec.MsgspecError as error:
        raise DecodeError(str(error)) from error
    if len(stored) != header.messages:
        raise DecodeError(f"expected {header.messages} messages, got {len(stored)}")
    time = header.time
    return [Record(offset, one.value, -1, time if one.time is None else one.time, one.key, one.headers)
            for offset, one in enumerate(stored, header.offset)]


def _pieces_of(partition: int, rows: list[_Row]) -> Iterable[Piece]:
    sizes = [_OVERHEAD + len(value or b"") + len(key or b"") for value, key, _, _ in rows]
    if sum(sizes) < BLOCK_BYTES:  # the usual case
        if rows:
            yield _piece(partition, rows)
        return
    start, held = 0, 0
    for index, size in enumerate(sizes, 1):
        held += size
        if held >= BLOCK_BYTES or index == len(rows):
            yield _piece(partition, rows[start:index])
            start, held = index, 0


def _piece(partition: int, rows: list[_Row]) -> Piece:
    own = [row[2] for row in rows if row[2] is not None]
    return Piece(partition, len(rows), max(own, default=None), len(own) == len(rows), _encoder.encode(rows))


def _row(item: Any) -> _Row:
    if type(item) is tuple and len(item) == 2:  # the usual ones first
        key, value = item
        if type(key) is bytes and type(value) is bytes and len(key) + len(value) <= MAX_MESSAGE_BYTES:
            return value, key, None, ()
    if isinstance(item, (tuple, list)):
        if len(item) != 2:
            raise Reject("no_message", f"expected (key, value), got {len(item)} fields")
        key, value = item
        return _bounded((_bytes_of(value, "value"), _bytes_of(key, "key"), None, ()))
    if isinstance(item, (Message, Record)):
        return _bounded((_bytes_of(item.value, "value"), _bytes_of(item.key, "key"), _time_of(item.time),
                         tuple(_header_of(header) for header in item.headers)))
    return _bounded((_bytes_of(item, "message"), None, None, ()))


def _bounded(row: _Row) -> _Row:
    size = len(row[0] or b"") + len(row[1] or b"")
    if row[3]:
        size += sum(len(name) + len(value or b"") for name, value in row[3])
    if size > MAX_MESSAGE_BYTES:
        raise Reject("too_large", f"a message of {size} bytes: expected at most {MAX_MESSAGE_BYTES}")
    return row


def _bytes_of(given: Any, what: str) -> bytes | None:
    if given is None or isinstance(given, bytes):
        return given
    if isinstance(given, str):
        return given.encode()
    if isinstance(given, (bytearray, memoryview)):
        return bytes(given)
    raise Reject("no_message", f"{what}: expected bytes, text or None, got {type(given).__name__}")


def _time_of(given: Any) -> int | None:
    if given is None or (isinstance(given, int) and not isinstance(given, bool) and abs(given) < _FAR_MS):
        return given
    raise Reject("no_message", f"time: expected milliseconds since 1970 as an integer, got {given!r:.100}")


def _header_of(given: Any) -> tuple[str, bytes | None]:
    if not isinstance(given, (tuple, list)) or len(given) != 2 or not isinstance(given[0], str):
        raise Reject("no_message", f"headers: expected (name, value), got {given!r:.100}")
    return given[0], _bytes_of(given[1], f"header {given[0]:.100}")
