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
from typing import TYPE_CHECKING, TypeVar

from actors.runtime.errors import Retryable
from actors.runtime.stored import NothingStored, Reader

if TYPE_CHECKING:
    import lmdb

#: Most items, and about how many bytes, that a transaction reads.
_ITEMS, _BYTES = 1000, 1 << 20
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

    def range(self, first: bytes = b"", last: bytes | None = None) -> Iterator[tuple[bytes, bytes]]:
        """Keys in order."""
        longest = self._opened().max_key_size()
        start, is_behind = first[:longest], False
        while True:
            found = self._within(partial(_some, start=start, is_behind=is_behind, last=last))
            if not found:
                return
            yield from found
            start, is_behind = found[-1][0], True

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
            except lmdb.Error as error:
                raise Retryable(f"lmdb {self._path}: {error}") from error
        return self._environment


def _value(transaction: lmdb.Transaction, key: bytes) -> bytes | None:
    found = transaction.get(key)
    return None if found is None else bytes(found)


def _some(transaction: lmdb.Transaction, start: bytes, is_behind: bool, last: bytes | None) -> _Pairs:
    """Some of the items from a key on, or from behind it; none: there are no more."""
    found: _Pairs = []
    size = 0
    with transaction.cursor() as cursor:
        if not (cursor.set_range(start) if start else cursor.first()):
            return found
        if is_behind and cursor.key() == start and not cursor.next():
            return found
        for key, value in cursor:
            if last is not None and bytes(key) >= last:
                break
            found.append((bytes(key), bytes(value)))
            size += len(value)
            if len(found) >= _ITEMS or size >= _BYTES:
                break
    return found
