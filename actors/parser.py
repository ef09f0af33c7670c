"""The parser: raw lines to values. Fused, its process goes on to check; else the rows travel to a checker."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.lift import Lifted
from actors.runtime.messages import Batch
from actors.runtime.progress import progress
from actors.runtime.rows import Rows, pack_rows, whole
from actors.runtime.worker import Checking, Made, Work

#: Lines are worked on in slices of about so many bytes: what becomes of them stays in the processor's cache.
SLICE_BYTES = 64 * 1024


def slices_of(parse: Lifted, batch: Batch, data: bytes) -> Iterator[Rows]:
    """Yield the parsed rows of a batch, slice by slice. A faulty batch is one row, rejected whole."""
    if batch.fault:
        yield Rows(batch, [whole(data)], [Reject(batch.fault, batch.detail)], stage="reader")
        return
    start = count = 0
    while start < len(data):
        end = data.find(b"\n", start + SLICE_BYTES) + 1 or len(data)
        lines = data[start:end].split(b"\n")
        if not lines[-1]:
            lines.pop()  # what follows the last newline is no line
        yield Rows(batch, lines, parse(lines), at=(start, count))
        progress()
        start, count = end, count + len(lines)


def forwarding(parse: Lifted) -> Work:
    """The work of a parser whose rows are checked elsewhere."""
    encoder = msgspec.msgpack.Encoder()

    def make(batch: Batch, frames: list[bytes]) -> Made:
        data = frames[0] if frames else b""
        # The checker needs the raw lines too: a record that it rejects is kept byte for byte.
        return Made({}, forward=[data, pack_rows(slices_of(parse, batch, data), encoder)])

    return make


def fused(parse: Lifted, check: Checking) -> Work:
    """The work of a parser that checks as well: the same functions, ids and results, one hop less."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        return check(batch, lambda: slices_of(parse, batch, frames[0] if frames else b""))

    return make
