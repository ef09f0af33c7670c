"""Open files, a bounded number of them: the one that was used longest ago is closed when another is wanted."""

from __future__ import annotations

import os
from collections import OrderedDict
from io import FileIO

from actors.sources.inflate import open_regular
from actors.sources.marks import Key
from actors.sources.tail import Changed, Tail


class Descriptors:
    """Open files by inode. While one is open its inode number is given to no other file.

    Args:
        most: how many are open at a time, those that are kept not counted.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: OrderedDict[Key, FileIO] = OrderedDict()
        self._kept: dict[Key, FileIO] = {}

    def get(self, key: Key) -> FileIO | None:
        """Return the open file, or None."""
        if key in self._kept:
            return self._kept[key]
        if key in self._open:
            self._open.move_to_end(key)
        return self._open.get(key)

    def of(self, key: Key, path: str) -> FileIO:
        """Return the open file; it is opened by its name when it is not.

        Raises:
            Changed: what is there by its name is another file.
            OSError: it cannot be opened.
        """
        file = self.get(key)
        if file is None:
            try:
                file = open_regular(path)
            except FileNotFoundError:
                raise Changed from None
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != key:
                file.close()
                raise Changed
            self.put(key, file)
        return file

    def still_has(self, tail: Tail) -> bool:
        """Whether the file of a unit still has what was read of it. Asked once a size was seen: another content's is no
        word on how much of this one there was."""
        try:
            if tail.key is not None:
                tail.require_the_same(self.of(tail.key, tail.path).fileno())
        except Changed:
            return False
        except OSError:  # whoever reads it will say so
            pass
        return True

    def put(self, key: Key, file: FileIO) -> None:
        """Have this file in the place of the one that was open by this key, if any."""
        self.drop(key)
        self._open[key] = file
        while len(self._open) > self._most:
            self._open.popitem(last=False)[1].close()

    def keep(self, key: Key) -> None:
        """Do not close this file until it is dropped: it has no name by which it could be opened again."""
        if key in self._open:
            self._kept[key] = self._open.pop(key)

    def drop(self, key: Key) -> None:
        """Close the file."""
        for files in (self._open, self._kept):
            if key in files:
                files.pop(key).close()

    def close(self) -> None:
        """Close all."""
        for key in [*self._open, *self._kept]:
            self.drop(key)
