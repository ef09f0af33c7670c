"""How a file begins that is going to be read: looked at, and not read on. What is known of it stays as it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import ExitStack
from io import FileIO

import msgspec

from actors.runtime.values import Chunk
from actors.sources import inflate
from actors.sources.framings.cutter import cutter_for
from actors.sources.framings.tail import tail_of
from actors.sources.tail import Changed, Limits, Tail


def glance(
    tail: Tail, file_of: Callable[[Tail], FileIO | None], limits: Limits, has_ended: bool
) -> tuple[Chunk | None, bool]:
    """Return the first chunk that will be read of a unit, with these limits, and whether it is all there is.

    Args:
        tail: the unit; nothing of it changes.
        file_of: opens its file.
        limits: of the chunk.
        has_ended: nothing more is written to it, so a last line without its newline is one.
    """
    with ExitStack() as stack:
        try:
            file = file_of(tail)
            if file is None:
                return None, True
            if tail.packed:
                own = stack.enter_context(FileIO(os.dup(file.fileno())))
                own.seek(0)
                cutter = cutter_for(inflate.byte_stream(own, tail.path), tail.unit, [], limits)
                chunk = cutter.next()
                return chunk, chunk is None or cutter.next() is None
            fresh = tail_of(msgspec.structs.replace(tail.unit, prefix=""), tail.mark, tail.path, limits)
            fresh.begin(tail.head, [])
            chunk = fresh.cut(file.fileno(), has_ended)
            return chunk, chunk is None or fresh.cut(file.fileno(), has_ended) is None
        except (Changed, OSError):  # it is told when it is read
            return None, True
