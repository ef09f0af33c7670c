"""The parser: raw lines to values. Fused, its process goes on to check; else the rows travel to a checker."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.lift import Lifted
from actors.runtime.messages import Batch
from actors.runtime.rows import Rows, pack_rows
from actors.runtime.worker import Made, Work


def rows_of(parse: Lifted, batch: Batch, frames: list[bytes]) -> Rows:
    """Return the parsed rows of a batch. A faulty batch is one row, rejected whole."""
    data = frames[0] if frames else b""
    if batch.fault:
        return Rows(batch, [data], [Reject(batch.fault, batch.detail)], stage="reader")
    lines = data.split(b"\n")
    if not lines[-1]:
        lines.pop()  # what follows the last newline is no line
    return Rows(batch, lines, parse(lines))


def forwarding(parse: Lifted) -> Work:
    """The work of a parser whose rows are checked elsewhere."""
    encoder = msgspec.msgpack.Encoder()

    def make(batch: Batch, frames: list[bytes]) -> Made:
        rows = rows_of(parse, batch, frames)
        # The checker needs the raw lines too: a record that it rejects is kept byte for byte.
        return Made({}, forward=[frames[0] if frames else b"", pack_rows(rows, encoder)])

    return make


def fused(parse: Lifted, check: Callable[[Rows], Made]) -> Work:
    """The work of a parser that checks as well: the same functions, ids and results, one hop less."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        return check(rows_of(parse, batch, frames))

    return make

