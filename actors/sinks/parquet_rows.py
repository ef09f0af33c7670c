"""Rows laid out by column, as they travel and lie in a journal: messages of Arrow's stream format.

    journal:  schema │ rows of a batch │ rows of a batch │ …      a stream that any reader of Arrow can read

A batch travels without its schema: the journal begins with that, once.
"""

from __future__ import annotations

import contextlib
import datetime
from collections.abc import Generator, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa

_TYPES = {"text": pa.string(), "json": pa.string(), "integer": pa.int64(), "real": pa.float64(),
          "timestamp": pa.timestamp("us", tz="UTC"), "boolean": pa.bool_(), "bytes": pa.binary()}
#: So much of a journal is read at once.
_BLOCK_BYTES = 1024 * 1024
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)


def schema_of(columns: Mapping[str, str]) -> Any:
    """The schema of these types by name."""
    return _schema(tuple(columns.items()))


def packed(values: Sequence[Sequence[Any]], columns: Mapping[str, str]) -> bytes:
    """Values by column, checked and as they travel, as one message."""
    schema = schema_of(columns)
    arrays = [pa.array(some, type=field.type) for field, some in zip(schema, values, strict=True)]
    data: bytes = pa.RecordBatch.from_arrays(arrays, schema=schema).serialize().to_pybytes()
    return data


def batch_of(data: bytes | memoryview, schema: Any) -> Any:
    """The batch that a message is.

    Raises:
        ValueError: it is none of this schema.
    """
    with reading():
        batch = pa.ipc.read_record_batch(pa.py_buffer(data), schema)
        batch.validate()
        return batch


def unpacked(data: bytes, columns: Mapping[str, str]) -> list[tuple[Any, ...]]:
    """The rows of a message, as they may be packed again."""
    batch = batch_of(data, schema_of(columns))
    made = [_values(array, kind.removesuffix("?")) for array, kind in zip(batch.columns, columns.values(), strict=True)]
    return list(zip(*made, strict=True))


def row_groups(journal: Path, most: int) -> Generator[Any, None, None]:
    """What is in a journal, as tables of some ``most`` bytes; the first is an empty one, and has the schema.

    Raises:
        ValueError: it is not what was written. Bytes that are lost need not be noticed: count the rows.
        OSError: it cannot be read.
    """
    with reading(), pa.OSFile(str(journal)) as file:
        stream = pa.ipc.open_stream(pa.BufferedInputStream(file, _BLOCK_BYTES))
        yield stream.schema.empty_table()
        group: list[Any] = []
        size = 0
        for batch in stream:
            group.append(batch)
            size += batch.nbytes
            if size >= most:
                yield pa.Table.from_batches(group)
                group, size = [], 0
        if group:
            yield pa.Table.from_batches(group)


@contextlib.contextmanager
def reading() -> Iterator[None]:
    """What is no message is a ``ValueError``, whatever the library calls it."""
    try:
        yield
    except EOFError as error:
        raise ValueError(str(error)) from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise ValueError(str(error)) from error


@lru_cache(maxsize=64)
def _schema(columns: tuple[tuple[str, str], ...]) -> Any:
    return pa.schema([pa.field(name, _TYPES[kind.removesuffix("?")], nullable=kind.endswith("?"))
                      for name, kind in columns])


def _values(array: Any, kind: str) -> list[Any]:
    if kind == "timestamp":  # not by pyarrow: it wants a library of zones for it
        return [None if value is None else _EPOCH + datetime.timedelta(microseconds=value)
                for value in array.cast(pa.int64()).to_pylist()]
    values: list[Any] = array.to_pylist()
    return [None if value is None else msgspec.json.decode(value) for value in values] if kind == "json" else values
