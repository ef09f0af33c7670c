"""Lines, read back while they are written: those that count, the last ones first of all.

    ………………………………………………|…………
       ◀── blocks, backwards, until there are enough lines, or what was read before
                     manifest: length

However much was written since the last look, no more than the last lines of it are read.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.stored import NothingStored, Reader
from actors.sinks.lines_manifest import read_manifest

#: So much is read at once; so much at most for one look.
_BLOCK_BYTES, _MOST_BYTES = 64 * 1024, 8 * 1024 * 1024


class LinesFollower:
    """Follows one file of lines; it need not be there yet, and may begin anew.

    Args:
        path: the file.
        most: so many of the lines that are new, the last ones.
        decode: the items of these lines.
    """

    def __init__(self, path: Path, most: int, decode: Callable[[list[bytes]], list[Any]]) -> None:
        self._path = path
        self._most = most
        self._decode = decode
        self._at = 0
        self._inode = -1

    def new(self) -> list[Any]:
        """Return the items that were written since the last call, oldest first."""
        try:
            length = read_manifest(self._path).length
            descriptor = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            self._at = 0
            return []
        try:
            inode = os.fstat(descriptor).st_ino
            at = self._at if inode == self._inode and self._at <= length else 0
            lines = self._last(descriptor, at, length)
        finally:
            os.close(descriptor)
        if lines is None:  # emptied since
            return []
        self._at, self._inode = length, inode
        return self._decode(lines)

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _last(self, descriptor: int, at: int, end: int) -> list[bytes] | None:
        """The last lines between these positions; None: they are not there any more."""
        blocks: list[bytes] = []
        start, found = end, 0
        while start > at and found <= self._most and end - start < _MOST_BYTES:
            size = min(_BLOCK_BYTES, start - at)
            start -= size
            blocks.append(os.pread(descriptor, size, start))
            found += blocks[-1].count(b"\n")
            if len(blocks[-1]) < size:
                return None
        lines = b"".join(reversed(blocks)).split(b"\n")[:-1]
        return lines[1 if start > at else 0:][-self._most:]


class LinesReader(Reader):
    """Reads a file of lines from its beginning, as far as it counts when that is done.

    Args:
        path: the file.
        decode: the rows of its lines, which come without the newlines.
    """

    def __init__(self, path: Path, decode: Callable[[Iterable[bytes]], Iterable[Any]]) -> None:
        self._path = path
        self._decode = decode

    def rows(self) -> Iterator[dict[str, Any]]:
        """In the order in which they were written; what is no object of names has the column ``value``."""
        try:
            for row in self._decode(self._lines()):
                yield row if isinstance(row, dict) else {"value": row}
        except (msgspec.MsgspecError, csv.Error, UnicodeDecodeError) as error:
            raise ConfigError(f"{self._path}: expected what this sink writes, got something else: {error}") from error

    def _lines(self) -> Iterator[bytes]:
        try:
            left = read_manifest(self._path).length
            with self._path.open("rb") as file:
                for line in file:
                    left -= len(line)
                    if left < 0:
                        return
                    yield line.removesuffix(b"\n")
        except FileNotFoundError as error:
            raise NothingStored(f"{self._path}: nothing was written there") from error
        except OSError as error:
            raise Retryable(f"{self._path}: {plain_reason(error)}") from error
