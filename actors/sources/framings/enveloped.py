"""How messages lie in a journal: each behind its length, with all that it came with (its key, its headers, its time).

    header │ 00 00 00 2a [value, time, key, headers] …     what stands behind the length is packed as one array

The place of a message in its unit is the byte that its length begins at, as that of any other record in a journal.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from io import FileIO
from pathlib import Path

import msgspec

from actors.runtime.errors import DecodeError
from actors.runtime.framing import Headers, Record, pack_records, records_in
from actors.runtime.values import Chunk, Unit
from actors.sources.framings import journalled
from actors.sources.framings.cutter import RecordCutter
from actors.sources.framings.writes import HEADER_BYTES, WritesScanner
from actors.sources.streams import ByteStream


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A message, as it was accepted.

    Attributes:
        value: its bytes; None: it says that there is no value any more for its key.
        time: when it was published, in ms since 1970; None: nobody says.
        key: what it is about; None: nothing.
        headers: what it has with it, by name.
    """

    value: bytes | None
    time: int | None = None
    key: bytes | None = None
    headers: Headers = ()


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Message)


def packed(messages: Sequence[Message]) -> bytes:
    """Return messages as they lie in a journal."""
    return journalled.packed([_encoder.encode(message) for message in messages])


def messages_in(path: Path, segment: str) -> Iterator[Message]:
    """Yield the messages of a segment that are what was written, of which few are in memory.

    Args:
        path: of its file.
        segment: its id.

    Raises:
        OSError: it cannot be read.
        msgspec.MsgspecError: it is no segment of messages.
    """
    with FileIO(path) as file:
        for record in journalled.records_from(file, segment):
            yield _decoder.decode(record.value or b"")


def chunk_of(unit: Unit, offset: int, data: bytes) -> Chunk:
    """Return messages, written behind their header at this offset of the segment that is this unit, as a chunk."""
    records = [_opened(record) for record in journalled.records_of(data, offset + HEADER_BYTES)]
    return journalled.made_of(unit, offset, data, records)


def cutter_of(stream: ByteStream, unit: Unit, recorded: list[tuple[int, int]], batch_bytes: int) -> RecordCutter:
    """Return what reads a segment on."""
    return _Cutter(stream, unit, recorded, batch_bytes, WritesScanner())


class _Cutter(RecordCutter):
    def next(self) -> Chunk | None:
        chunk = super().next()
        if chunk is None or chunk.fault:
            return chunk
        try:
            records = pack_records([_opened(record) for record in records_in(chunk.data)])
        except (DecodeError, msgspec.MsgspecError):  # somebody has written in it: each is a record as it lies there
            return chunk
        return msgspec.structs.replace(chunk, data=records)


def _opened(record: Record) -> Record:
    message = _decoder.decode(record.value or b"")
    return Record(record.offset, message.value, -1, message.time, message.key, message.headers)
