"""Lines, read back while they are written: those that count, the last ones first of all.

    ………………………………………………|…………
       ◀── blocks, backwards, until there are enough lines, or what was read before
                     manifest: length

However much was written since the last look, no more than the last lines of it are read.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
