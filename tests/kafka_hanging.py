"""A transaction of which the broker's coordinator knows nothing: nobody ends it, and no reader of what is committed
gets beyond it. A broker that is killed in the midst of one may leave one; here it is made in its protocol.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable
from typing import NamedTuple

from tests.monitors import eventually

_INIT_PRODUCER, _PRODUCE = 22, 0
_TRANSACTIONAL = 0x10


class Hung(NamedTuple):
    """A record, and where it is left. A topic of positions takes none without a key."""

    topic: str
    partition: int
    value: bytes
    key: bytes = b"k"
    headers: tuple[tuple[str, bytes], ...] = ()


def hang(address: str, transactional_id: str, records: Iterable[Hung]) -> None:
    """Write records as that producer, in a transaction that was never begun, as far as is known.

    The broker has to believe it: soon after ``transaction.partition.verification.enable=false`` is set it does.
    """
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        def producer() -> tuple[int, int] | None:
            said = _ask(connection, _INIT_PRODUCER, 1, _text(transactional_id) + struct.pack(">i", 60_000))
            error, id_, epoch = struct.unpack_from(">hqh", said, 4)
            return None if error else (id_, epoch)  # the coordinator may have to be loaded first

        id_, epoch = eventually(producer, "an id of the producer")
        numbers: dict[tuple[str, int], int] = {}
        for one in records:
            number = numbers[one.topic, one.partition] = numbers.get((one.topic, one.partition), -1) + 1
            batch = _batch(one, id_, epoch, number)
            body = _text(transactional_id) + struct.pack(">hi", -1, 30_000) + _array(
                _text(one.topic) + _array(struct.pack(">ii", one.partition, len(batch)) + batch))
            at = 4 + 2 + len(one.topic) + 4 + 4
            eventually(lambda body=body, at=at: struct.unpack_from(  # type: ignore[misc]
                ">h", _ask(connection, _PRODUCE, 7, body), at) == (0,), f"a record in {one.topic}/{one.partition}")


def _ask(connection: socket.socket, key: int, version: int, body: bytes) -> bytes:
    """Send a request; return its answer behind the correlation id."""
    request = struct.pack(">hhi", key, version, 1) + _text("test") + body
    connection.sendall(struct.pack(">i", len(request)) + request)
    with connection.makefile("rb") as answers:
        (size,) = struct.unpack(">i", answers.read(4))
        return answers.read(size)[4:]


def _text(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def _array(*items: bytes) -> bytes:
    return struct.pack(">i", len(items)) + b"".join(items)


def _batch(one: Hung, producer: int, epoch: int, number: int) -> bytes:
    """A batch of one record, the so-manieth of its producer in its partition."""
    headers = _varint(len(one.headers)) + b"".join(_sized(part.encode() if isinstance(part, str) else part)
                                                   for header in one.headers for part in header)
    record = b"\0\0\0" + _sized(one.key) + _sized(one.value) + headers
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", _TRANSACTIONAL, 0, now, now, producer, epoch, number, 1) + _sized(record)
    behind = struct.pack(">ib", -1, 2) + struct.pack(">I", _crc32c(body)) + body
    return struct.pack(">qi", 0, len(behind)) + behind


def _sized(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _varint(number: int) -> bytes:
    left = number << 1 if number >= 0 else (-number << 1) - 1
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    return bytes([*found, left])


def _crc32c(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ 0x82F63B78 * (crc & 1)
    return crc ^ 0xFFFFFFFF
