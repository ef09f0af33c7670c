"""A transaction of which the broker's coordinator knows nothing: nobody ends it, and no reader of what is committed
gets beyond it. A broker that is killed in the midst of one may leave one; here it is made in its protocol.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable

from tests.monitors import eventually

_INIT_PRODUCER, _PRODUCE = 22, 0
_TRANSACTIONAL = 0x10


def hang(address: str, transactional_id: str, places: Iterable[tuple[str, int]], value: bytes) -> None:
    """Write a record to partitions (topic, number) as that producer, in a transaction that was never begun, as far as
    is known.

    The broker has to believe it: soon after ``transaction.partition.verification.enable=false`` is set it does.
    """
    host, _, port = address.partition(":")
    with socket.create_connection((host, int(port)), timeout=30) as connection:
        def producer() -> tuple[int, int] | None:
            said = _ask(connection, _INIT_PRODUCER, 1, _text(transactional_id) + struct.pack(">i", 60_000))
            error, id_, epoch = struct.unpack_from(">hqh", said, 4)
            return None if error else (id_, epoch)  # the coordinator may have to be loaded first

        id_, epoch = eventually(producer, "an id of the producer")
        batch = _batch(value, id_, epoch)
        for topic, partition in places:
            body = _text(transactional_id) + struct.pack(">hi", -1, 30_000) + _array(
                _text(topic) + _array(struct.pack(">ii", partition, len(batch)) + batch))
            at = 4 + 2 + len(topic) + 4 + 4
            eventually(lambda body=body, at=at: struct.unpack_from(  # type: ignore[misc]
                ">h", _ask(connection, _PRODUCE, 7, body), at) == (0,), f"a record in {topic}/{partition}")


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


def _batch(value: bytes, producer: int, epoch: int) -> bytes:
    """A batch of one record, with a key, for the topic may be a compacted one."""
    record = b"\0\0\0" + _varint(1) + b"k" + _varint(len(value)) + value + b"\0"
    now = int(time.time() * 1000)
    body = struct.pack(">hiqqqhii", _TRANSACTIONAL, 0, now, now, producer, epoch, 0, 1) + _varint(len(record)) + record
    behind = struct.pack(">ib", -1, 2) + struct.pack(">I", _crc32c(body)) + body
    return struct.pack(">qi", 0, len(behind)) + behind


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
