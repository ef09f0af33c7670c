"""What a content is known by up to a position: sums that go on from there, and are compared with those of a file.

    0 ── early ─────────────── size
    │ crc │                     │       of all bytes before ``size``, and of the first power of two of them
    └──────────── crc ──────────┘

Two files that begin alike are told apart wherever they differ before the position. A file is read once more for that,
up to the position; ``early`` finds, of many units that begin alike, those that are worth it.

What does not work: a cryptographic digest (its state cannot be kept, so each run would make it anew of all that was
read, and it takes a tenth of the time that the rest of the work takes). A CRC-32 goes on from any position for next to
nothing; that two files which begin alike and are not the same have the same one happens once in four thousand million
times. It is no shield against somebody who makes such a file on purpose.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from io import FileIO
from typing import NamedTuple

from isal import isal_zlib

from actors.runtime.progress import progress
from actors.sources.inflate import byte_stream

#: Least and most bytes of ``early``.
_LEAST, _MOST = 1024, 64 * 1024
EARLY_SIZES = [_LEAST << power for power in range((_MOST // _LEAST).bit_length())]
#: Less than that was read.
NO_EARLY = (0, 0)


class Sum(NamedTuple):
    """What was read of a content.

    Attributes:
        size: its bytes.
        crc: of all of them.
        early_size: the largest power of two that is not more, from 1 KiB to 64 KiB; 0: there is none.
        early: the sum of so many of them.
        is_torn: the unit went on behind this with something that is not in the content (bytes that were lost).
    """

    size: int = 0
    crc: int = 0
    early_size: int = 0
    early: int = 0
    is_torn: int = 0

    def then(self, data: bytes) -> Sum:
        """Return the sum of this and what follows it."""
        size, crc, early_size, early, is_torn = self
        with memoryview(data) as view:
            at, step = 0, max(_LEAST, 2 * early_size)
            while step <= _MOST and size + len(data) >= step:
                crc = isal_zlib.crc32(view[at:step - size], crc)
                at, early_size, early = step - size, step, crc
                step *= 2
            crc = isal_zlib.crc32(view[at:], crc)
        return Sum(size + len(data), crc, early_size, early, is_torn)

    def text(self) -> str:
        """For the ledger."""
        return "sum:" + ":".join(map(str, self))

    @staticmethod
    def read(text: str) -> Sum | None:
        """What the ledger has; None: nothing of this kind, as in those of version 0.1.0."""
        return Sum(*map(int, text.split(":")[1:])) if text.startswith("sum:") else None


class Content:
    """The bytes of a file that is to be recognised, unpacked. It is opened when that is wanted.

    Args:
        opened: opens the file; it is not closed here.
        path: its name.
    """

    def __init__(self, opened: Callable[[], FileIO], path: str) -> None:
        self._opened = opened
        self._path = path
        self._early: dict[int, int] = {}
        self._known: dict[tuple[int, int], bool] = {}

    def early(self, size: int) -> int | None:
        """The sum of the first ``size`` bytes; None: there are fewer."""
        if size not in self._early:
            found = self.sum_of(size)
            self._early[size] = -1 if found is None else found.crc
        return None if self._early[size] < 0 else self._early[size]

    def begins_with(self, known: Sum) -> bool:
        """Whether what a sum is of is the beginning of this."""
        key = known[:2]
        if key not in self._known:
            self._known[key] = (not known.early_size or self.early(known.early_size) == known.early) and (
                (found := self.sum_of(known.size)) is not None and found.crc == known.crc)
        return self._known[key]

    def sum_of(self, size: int) -> Sum | None:
        """The sum of the first ``size`` bytes; None: there are fewer."""
        known = Sum()
        with self._file() as file:
            stream = byte_stream(file, self._path)
            while known.size < size:
                block = stream.read()
                if not block:
                    return None
                known = known.then(block[:size - known.size])
                progress()  # it can take minutes
        return known

    def is_longer_than(self, size: int) -> bool:
        """Whether there is anything behind a position, be it only damage."""
        with self._file() as file:
            stream = byte_stream(file, self._path)
            return stream.skip(size) == size and (bool(stream.read()) or stream.fault is not None)

    def is_cut_before_a_line(self, size: int) -> bool:
        """Whether it ends in damage, with no whole line behind a position."""
        with self._file() as file:
            stream = byte_stream(file, self._path)
            if stream.skip(size) < size:
                return False
            while block := stream.read():
                if b"\n" in block:
                    return False
                progress()
            return stream.fault is not None

    def is_whole(self) -> bool:
        """Whether it can be read to its end."""
        with suppress(OSError), self._file() as file:
            stream = byte_stream(file, self._path)
            while stream.read():
                progress()
            return stream.fault is None
        return False

    def _file(self) -> FileIO:
        """The same file, with a place of its own to read at."""
        return FileIO(f"/proc/self/fd/{self._opened().fileno()}")
