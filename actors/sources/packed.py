"""Compressed files of a directory: read whole, one at a time, as the files source reads them."""

from __future__ import annotations

import os
from collections.abc import Callable
from io import FileIO

import msgspec

from actors.runtime.ports import UnitLedger
from actors.runtime.values import Chunk
from actors.sources import inflate
from actors.sources.formats import packing_named, packing_of
from actors.sources.framings.cutter import AnyCutter, cutter_for
from actors.sources.marks import HEAD_BYTES
from actors.sources.streams import ByteStream
from actors.sources.tail import Limits, Tail


def is_packed(file: FileIO, path: str) -> bool:
    """Whether a file is compressed, or says so."""
    head = os.pread(file.fileno(), HEAD_BYTES, 0)
    return bool(packing_of(head) or packing_named(path))


def head_of(file: FileIO) -> bytes:
    """Return the first bytes of the content; of one that cannot be decoded, as it lies on disk."""
    stream = inflate.byte_stream(file, "x.gz")
    head = b""
    while len(head) < HEAD_BYTES and (block := stream.read()):
        head += block
    return head[:HEAD_BYTES] or os.pread(file.fileno(), HEAD_BYTES, 0)


class Packed:
    """The compressed files that are being read.

    Args:
        ledger: what was on its way when an earlier reader died.
        limits: of chunks.
    """

    def __init__(self, ledger: UnitLedger, limits: Limits) -> None:
        self._ledger = ledger
        self._limits = limits
        self._cutters: dict[int, tuple[FileIO, ByteStream, AnyCutter]] = {}

    def cut(self, tail: Tail, file_of: Callable[[Tail], FileIO | None]) -> tuple[Chunk | None, bool]:
        """Return the next chunk, if there is one, and whether it is the last.

        Args:
            tail: whose.
            file_of: opens its file.

        Raises:
            OSError: it cannot be read.
        """
        if tail.unit.id not in self._cutters:
            file = file_of(tail)
            if file is None:
                lost = tail.cut(None, ended=True)
                return lost, lost is None
            own = FileIO(os.dup(file.fileno()))
            own.seek(0)
            unit = msgspec.structs.replace(tail.unit, low=tail.position, lines=tail.line - 1)
            stream = inflate.byte_stream(own, tail.path)
            cutter = cutter_for(stream, unit, tail.take_recorded(), self._limits, tail.passing_by)
            self._cutters[tail.unit.id] = own, stream, cutter
        own, stream, cutter = self._cutters[tail.unit.id]
        chunk = cutter.next()
        is_last = chunk is None or cutter.finished
        if is_last:
            del self._cutters[tail.unit.id]
            own.close()
            if stream.note:
                self._ledger.noted(tail.unit, stream.note)
        return chunk and tail.passed(chunk), is_last

    def close(self) -> None:
        """Close all."""
        for file, *_ in self._cutters.values():
            file.close()
        self._cutters.clear()
