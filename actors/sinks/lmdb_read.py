"""An LMDB environment, looked at while its writer runs, or when nobody does.

Keys are read in transactions of ``_ITEMS`` at most, each over before its items are given out. A transaction that stays
open keeps every page that is written meanwhile from being used again: whoever pages through the output for an hour
would have the file grow. So a long range is no snapshot: what is written while it is read may be in it or not.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from actors.runtime.errors import Retryable
from actors.runtime.stored import NothingStored, Reader

if TYPE_CHECKING:
    import lmdb

#: Most items, and about how many bytes, that a transaction reads; so many the first one, the next ones more and more.
_ITEMS, _BYTES = 1000, 1 << 20
_FIRST_ITEMS, _GROWS = 4, 4
_Read = TypeVar("_Read")
_Pairs = list[tuple[bytes, bytes]]


class LmdbReader(Reader):
    """Reads an environment.

    Args:
        path: its directory.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._environment: lmdb.Environment | None = None

    def get(self, key: bytes) -> bytes | None:
        """Look a key up; one that no environment can have is not there."""
        longest = self._opened().max_key_size()
        return self._within(partial(_value, key=key)) if 0 < len(key) <= longest else None

    def range(
        self, first: bytes = b"", last: bytes | None = None, backwards: bool = False
    ) -> Iterator[tuple[bytes, bytes]]:
        """Keys in order; the first transactions read little, for who wants no more."""
        piece = _Piece(first, last, backwards, self._opened().max_key_size())
        most = _FIRST_ITEMS
        while found := self._within(partial(_some, piece=piece, most=most)):
            yield from found
            piece = piece.behind(found[-1][0])
            most = min(_ITEMS, most * _GROWS)

    def close(self) -> None:
        """Close the environment."""
        if self._environment is not None:
            self._environment.close()
            self._environment = None

    def _within(self, read: Callable[[lmdb.Transaction], _Read]) -> _Read:
        import lmdb

        while True:
            try:
                with self._opened().begin() as transaction:
                    return read(transaction)
            except lmdb.MapResizedError:  # its writer has more room now: so do we, when it is opened again
                self.close()
            except lmdb.Error as error:
                raise Retryable(f"lmdb {self._path}: {error}") from error

    def _opened(self) -> lmdb.Environment:
        import lmdb

        if self._environment is None:
            if not (self._path / "data.mdb").exists():
                raise NothingStored(f"lmdb {self._path}: there is no such store")
            try:  # the lock file says which pages we look at, so that no writer uses them; without it nobody writes
                self._environment = lmdb.open(os.fspath(self._path), readonly=True, create=False,
                                              lock=(self._path / "lock.mdb").exists())
                self._environment.reader_check()  # of those before us who were killed
            except lmdb.Error as error:
                raise Retryable(f"lmdb {self._path}: {error}") from error
        return self._environment


def _value(transaction: lmdb.Transaction, key: bytes) -> bytes | None:
    found = transaction.get(key)
    return None if found is None else bytes(found)


class _Piece(NamedTuple):
    """What is left of a range.

    Attributes:
        first: no key is before it.
        last: no key is it or behind it; None: there is no such.
        backwards: from the last one to the first.
        longest: no key has more bytes, and LMDB looks for none that has.
    """

    first: bytes
    last: bytes | None
    backwards: bool
    longest: int

    def behind(self, key: bytes) -> _Piece:
        """What is left once this key is read."""
        return self._replace(last=key) if self.backwards else self._replace(first=key + b"\0")

    def has(self, key: bytes) -> bool:
        """Whether a key is one of these."""
        return self.first <= key and (self.last is None or key < self.last)

    def find(self, cursor: lmdb.Cursor) -> bool:
        """Move to the first key of these, or to where the next move finds it; return whether there may be one."""
        if not self.backwards:
            start = self.first[:self.longest]
            found = cursor.set_range(start) if start else cursor.first()
            return bool(found and (bytes(cursor.key()) >= self.first or cursor.next()))
        if self.last is None or not cursor.set_range(self.last[:self.longest] or b"\0"):
            return bool(cursor.last())
        return bool(bytes(cursor.key()) < self.last or cursor.prev())


def _some(transaction: lmdb.Transaction, piece: _Piece, most: int) -> _Pairs:
    """So many of the items, if they are not too large; none: there are no more."""
    found: _Pairs = []
    size = 0
    with transaction.cursor() as cursor:
        if not piece.find(cursor):
            return found
        for key, value in cursor.iterprev() if piece.backwards else cursor.iternext():
            item = bytes(key), bytes(value)
            if not piece.has(item[0]):
                break
            found.append(item)
            size += len(value)
            if len(found) >= most or size >= _BYTES:
                break
    return found
