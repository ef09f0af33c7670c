"""The parser: raw records to values. Fused, its process goes on to check; else the rows travel to a checker."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

import msgspec

from actors.runtime.errors import DecodeError, Reject
from actors.runtime.framing import NOT_RECORDS, RECORDS, Record, records_in, slices
from actors.runtime.lift import Lifted, OfRecords, bind, of_batch
from actors.runtime.messages import Batch
from actors.runtime.pipeline import Bulk, Pipeline
from actors.runtime.progress import progress
from actors.runtime.rows import Rows, lines_of, pack_rows, whole
from actors.runtime.too_long import Pace
from actors.runtime.worker import Made, Work

#: Records are worked on in slices of about so many bytes: what becomes of them stays in the processor's cache.
SLICE_BYTES = 64 * 1024
#: An application's ``bulk`` is given about so much at most; a usual batch whole, without a copy.
BULK_BYTES = 4 * 1024 * 1024

#: An application's ``bulk`` for a slice of data with so many newlines; -1: they are not counted.
BulkCall = Callable[[bytes, int], Bulk | None]


class FusedChecking(Protocol):
    """What checks in the same process."""

    def __call__(
        self, batch: Batch, slices: Callable[[], Iterable[Rows]],
        quick: Callable[[], Iterable[Rows | Bulk]] | None = None,
    ) -> Made:
        """Return what is made of a batch; see ``actors.checker.Check``."""
        ...


def slices_of(parse: Lifted, batch: Batch, data: bytes, start: int = 0, stop: int | None = None) -> Iterator[Rows]:
    """Yield the parsed rows of a batch, slice by slice. A faulty batch is one row, rejected whole.

    ``start`` and ``stop``: only of this part of the data, which is whole lines.
    """
    if batch.fault:
        yield Rows(batch, whole(batch, data), [Reject(batch.fault, batch.detail)], stage="reader")
        return
    parse = of_batch(parse, batch)
    if batch.framing == RECORDS:
        yield from _slices_of_records(parse, batch, data)
        return
    stop = len(data) if stop is None else stop
    count = data.count(b"\n", 0, start)
    pace, before = Pace(), count
    while start < stop:
        end = data.find(b"\n", start + SLICE_BYTES, stop) + 1 or stop
        lines = lines_of(data[start:end])
        given = _as_records(batch, lines, start, count) if isinstance(parse, OfRecords) else lines
        yield Rows(batch, lines, parse(given), at=(start, count))
        progress()
        start, count = end, count + len(lines)
        if start < stop:
            pace.check(count - before, time.monotonic())


def _slices_of_records(parse: Lifted, batch: Batch, data: bytes) -> Iterator[Rows]:
    try:
        found = records_in(data)
    except DecodeError as error:
        yield Rows(batch, whole(batch, data), [Reject(NOT_RECORDS, str(error))], stage="reader")
        return
    pace, count = Pace(), 0
    for records in slices(found, SLICE_BYTES):
        yield Rows(batch, records, parse(list(records) if isinstance(parse, OfRecords) else [x.value for x in records]))
        progress()
        count += len(records)
        if count < len(found):
            pace.check(count, time.monotonic())


def _as_records(batch: Batch, lines: list[bytes], at: int, before: int) -> list[Record]:
    """Lines for a ``parse`` that asks for more than their bytes."""
    records: list[Record] = []
    offset = batch.offset + at
    for number, line in enumerate(lines, batch.line + before):
        records.append(Record(offset, line, number))
        offset += len(line) + 1
    return records


def quick_slices(bulk: BulkCall, parse: Lifted, batch: Batch, data: bytes) -> Iterator[Rows | Bulk]:
    """Yield large slices as ``bulk`` made them; the rows of those that it leaves to the application's functions."""
    if batch.fault or batch.framing:  # ``bulk`` is for lines
        yield from slices_of(parse, batch, data)
        return
    start = 0
    while start < len(data):
        end = data.find(b"\n", start + BULK_BYTES) + 1 or len(data)
        some = data[start:end]  # no copy, when it is all of it
        made = _tried(bulk, some, batch.lines if some is data else -1)
        if made is None:
            yield from slices_of(parse, batch, data, start, end)
        else:
            yield made
            progress()
        start = end


def bulk_of(pipeline: Pipeline, options: msgspec.Struct | None) -> BulkCall | None:
    """The application's ``bulk`` with its options, or None: it has none."""
    if pipeline.bulk is None:
        return None
    bulk = bind(pipeline.bulk, options)
    if "lines" not in inspect.signature(bulk).parameters:
        return lambda data, lines: bulk(data)
    return lambda data, newlines: bulk(data, lines=_lines_in(data, newlines))


def _lines_in(data: bytes, newlines: int) -> int:
    return (data.count(b"\n") if newlines < 0 else newlines) + (data[-1:] not in (b"\n", b""))


def _tried(bulk: BulkCall, data: bytes, lines: int) -> Bulk | None:
    try:
        made = bulk(data, lines)
    except Exception:  # whichever record it is about: line by line, that one alone is rejected
        return None
    return made if isinstance(made, Bulk) else None


def forwarding(parse: Lifted) -> Work:
    """The work of a parser whose rows are checked elsewhere."""
    encoder = msgspec.msgpack.Encoder()

    def make(batch: Batch, frames: list[bytes]) -> Made:
        data = frames[0] if frames else b""
        made = list(slices_of(parse, batch, data))
        records = sum(value is not None for rows in made for value in rows.values)
        # The checker needs the raw records too: a record that it rejects is kept byte for byte.
        return Made({}, forward=[data, pack_rows(made, encoder)], records=records)

    return make


def fused(parse: Lifted, check: FusedChecking, bulk: BulkCall | None = None) -> Work:
    """The work of a parser that checks as well: the same functions, ids and results, one hop less."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        data = frames[0] if frames else b""
        quick = None if bulk is None else lambda: quick_slices(bulk, parse, batch, data)
        return check(batch, lambda: slices_of(parse, batch, data), quick)

    return make
