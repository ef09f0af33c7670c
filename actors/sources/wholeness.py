"""Files that are not whole: they fail by themselves; given again whole, they go on behind what was read of them.

Which content goes on is told by a digest of all that was read of the old one, up to the end of its last whole line. It
is of the uncompressed bytes, for the whole file may be packed in another way. It is made when the damage is met, by
reading the file once more: so files that are whole cost nothing. A content that does not begin with the old one
is another: all of it is read.
"""

from __future__ import annotations

from hashlib import blake2b
from io import FileIO
from typing import NamedTuple

from actors.runtime.ports import UnitLedger
from actors.runtime.progress import progress
from actors.runtime.values import Chunk, Unit
from actors.sources.inflate import byte_stream
from actors.sources.streams import ByteStream, is_damage


class Prefix(NamedTuple):
    """The beginning of a content.

    Attributes:
        size: its bytes, uncompressed, up to the end of a line.
        lines: the newlines in it.
        digest: of those bytes.
    """

    size: int
    lines: int
    digest: str

    def text(self) -> str:
        """For the ledger."""
        return f"{self.size}:{self.lines}:{self.digest}"

    @staticmethod
    def read(text: str) -> Prefix | None:
        """What the ledger has; None: nothing of this kind."""
        if text.count(":") != 2:
            return None
        size, lines, digest = text.split(":")
        return Prefix(int(size), int(lines), digest)


def tell_damage(ledger: UnitLedger, unit: Unit, file: FileIO, chunk: Chunk, damaged: str) -> None:
    """Tell the ledger that a unit is not whole, if it is for that that this chunk of it has a fault.

    Args:
        ledger: is told.
        unit: the unit.
        file: its file.
        chunk: the chunk.
        damaged: the option of the source.
    """
    if not is_damage(chunk.fault, damaged):
        return
    size, lines = chunk.start - unit.base, max(0, chunk.line - 1)
    prefix = prefix_of(file, unit.name, size, lines) if size else None
    ledger.damaged(unit, chunk.detail, "" if prefix is None else prefix.text())


def not_all_read(stream: ByteStream, size: int) -> str:
    """Why the end of a stream that has told no fault is not that of its file of ``size`` bytes; "" when it is.

    What a decoder leaves on purpose behind its data it tells in its note.
    """
    if stream.fault is not None or stream.note or stream.consumed == size:
        return ""
    return (f"its end came after {stream.consumed} of its {size} bytes: the file system has given less than it says "
            "that there is")


def read_before(ledger: UnitLedger, name: str, file: FileIO) -> tuple[int, int]:
    """How many bytes and lines of this file were loaded under its name, when it was not whole."""
    earlier = ledger.not_whole(name)
    prefix = None if earlier is None else Prefix.read(earlier.prefix)
    return prefix[:2] if prefix is not None and begins_with(file, name, prefix) else (0, 0)


def goes_on(ledger: UnitLedger, unit: Unit, after: tuple[int, int]) -> None:
    """Say of a unit that it was begun behind what was read before."""
    if after[0] and unit.low == unit.base + after[0] and not unit.note:
        ledger.noted(unit, f"the first {after[1]} lines ({after[0]} bytes) were loaded before, when the file was not "
                     "whole: it goes on behind them, and the figures are of the rest")


def prefix_of(file: FileIO, name: str, size: int, lines: int) -> Prefix | None:
    """Return the prefix of this size of an open file, which is read once more for that; None: it has fewer bytes."""
    with _opened_again(file) as own:
        digest = _digest(byte_stream(own, name), size)
    return None if digest is None else Prefix(size, lines, digest)


def begins_with(file: FileIO, name: str, prefix: Prefix) -> bool:
    """Whether the content of an open file begins so."""
    with _opened_again(file) as own:
        return _digest(byte_stream(own, name), prefix.size) == prefix.digest


def _opened_again(file: FileIO) -> FileIO:
    """The same file, whatever its name is by now, with a place of its own to read at."""
    return FileIO(f"/proc/self/fd/{file.fileno()}")


def _digest(stream: ByteStream, size: int) -> str | None:
    digest = blake2b(digest_size=16)
    while size:
        block = stream.read()
        if not block:
            return None
        digest.update(block[:size])
        size -= min(size, len(block))
        progress()  # it can take minutes
    return digest.hexdigest()
