"""What stands in for a sink while a pipeline is verified: it keeps what it is given in a file of the state directory.

Every payload is kept each time it is written, in that order, so what a key-value store would hold can be told, and what
a store that takes each range once would hold.
"""

from __future__ import annotations

import functools
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime import loading
from actors.runtime.database import OtherVersion, named, open_database, open_for_reading, transaction
from actors.runtime.errors import Retryable
from actors.runtime.manifest import Component
from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.values import Payload, Refusal

STEPS = ("""
CREATE TABLE payloads (
    number INTEGER PRIMARY KEY AUTOINCREMENT, partition TEXT NOT NULL, start INTEGER NOT NULL, "end" INTEGER NOT NULL,
    items BLOB NOT NULL);
""",)
#: Marks an item that is no plain data: what follows is the replaced sink's own form of it.
_FOREIGN = 1
_encoder = msgspec.msgpack.Encoder(order="deterministic")
_pair = msgspec.msgpack.Decoder(tuple[msgspec.Raw, msgspec.Raw])
_blobs = msgspec.msgpack.Decoder(list[bytes])


class Recording(SinkOptions, frozen=True, kw_only=True):
    """Record what would be written.

    Attributes:
        replaces: ``module:class`` of the sink's options that this stands in for.
        values: their fields, as JSON.
    """

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "recorded in the scratch directory"

    replaces: str
    values: str

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the items as one payload.

        Raises:
            Exception: what the replaced sink raises for items that are not in its form.
        """
        replaced = _load(self.replaces, self.values)
        replaced.pack(items)
        return msgspec.msgpack.encode([_blob(item, replaced) for item in items])

    def open(self, name: str, state: Path) -> _Log:
        """Open the record."""
        return _Log(path_of(state, name))

    def describe(self) -> str:
        """Say where this writes."""
        return "a record in the scratch directory"


class UnorderedRecording(Recording, frozen=True, kw_only=True):
    """The same, for parts in any order."""

    ordered: ClassVar[bool] = False


def recording_of(component: Component[SinkOptions]) -> Component[SinkOptions]:
    """Return what stands in for a sink."""
    kind = Recording if component.load().ordered else UnorderedRecording
    return Component(f"{kind.__module__}:{kind.__qualname__}",
                     {"replaces": component.type, "values": msgspec.json.encode(component.values).decode()})


def path_of(state: Path, sink: str) -> Path:
    """The file of a sink's record."""
    return state / f"{sink}.recorded.db"


class _Log(Sink):
    """The opened record."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._connection = open_database(path, STEPS)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Keep all payloads, in one transaction."""
        try:
            with transaction(self._connection) as connection:
                connection.executemany(
                    'INSERT INTO payloads (partition, start, "end", items) VALUES (?, ?, ?, ?)',
                    [(x.partition, x.start, x.end, bytes(x.data)) for x in payloads])
        except sqlite3.Error as error:
            raise Retryable(named(self._path, error)) from error
        return []

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def read_recorded(path: Path) -> tuple[bool, dict[bytes, Any]]:
    """Return what a sink holds at the end, each item and key as msgpack.

    When all items are (key, value): True, and the last value of each key. Else: False, and the number of each item,
    where a range that was written again counts once.
    """
    try:
        connection = open_for_reading(path, STEPS)
    except OtherVersion:
        raise
    except sqlite3.Error:  # its writer was never given anything
        return True, {}
    try:
        rows = connection.execute('SELECT partition, start, "end", items FROM payloads ORDER BY number').fetchall()
    finally:
        connection.close()
    pairs = _last_values(item for row in rows for item in _blobs.decode(row[3]))
    if pairs is not None:
        return True, pairs
    ranges = {row[:3]: row[3] for row in rows}
    return False, dict(Counter(item for items in ranges.values() for item in _blobs.decode(items)))


def shown(blob: bytes) -> str:
    """An item, a key or a value for people."""
    value = msgspec.msgpack.decode(blob)
    return repr(value.data if isinstance(value, msgspec.msgpack.Ext) else value)


def _last_values(items: Iterator[bytes]) -> dict[bytes, Any] | None:
    values: dict[bytes, Any] = {}
    try:
        for item in items:
            key, value = _pair.decode(item)
            values[bytes(key)] = bytes(value)
    except msgspec.MsgspecError:
        return None
    return values


def _blob(item: Any, replaced: Any) -> bytes:
    try:
        return _encoder.encode(item)
    except (TypeError, ValueError, OverflowError):  # no plain data
        return _encoder.encode(msgspec.msgpack.Ext(_FOREIGN, bytes(replaced.pack([item]))))


@functools.cache
def _load(kind: str, values: str) -> Any:
    return msgspec.convert(msgspec.json.decode(values), loading.named(kind))
