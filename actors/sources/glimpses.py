"""The first glimpse of a file: opened, and how its content begins, unless it is too early for that."""

from __future__ import annotations

import os
import time

from actors.runtime.ports import UnitLedger
from actors.sources import inflate, packed
from actors.sources.descriptors import Descriptors
from actors.sources.listing import Seen
from actors.sources.recognise import Look
from actors.sources.tail import HEAD_BYTES, Changed, Key


class Glimpses:
    """Opens files that nobody knows yet.

    Args:
        ledger: is told what cannot be read.
        files: where those are that can.
        idle_timeout_s: a compressed file that has been silent for so long is complete.
    """

    def __init__(self, ledger: UnitLedger, files: Descriptors, idle_timeout_s: float) -> None:
        self._ledger = ledger
        self._files = files
        self._idle_timeout_s = idle_timeout_s
        self._waiting: dict[Key, tuple[int, float]] = {}
        self._unreadable: dict[Key, int] = {}

    def of(self, seen: Seen, now: float) -> Look | None:
        """Open a file and see how it begins. None: it is empty, or cannot be read, or it is too early.

        Raises:
            Changed: there is another file of this name.
        """
        if not seen.size or self._unreadable.get(seen.key) == seen.changed_ns:
            return None
        path = seen.paths[0]
        try:
            file = inflate.open_regular(path)
            status = os.fstat(file.fileno())
            if (status.st_dev, status.st_ino) != seen.key:
                file.close()
                raise Changed
            self._files.put(seen.key, file)
            if not packed.is_packed(file, path):
                head = os.pread(file.fileno(), HEAD_BYTES, 0)
                inflate.require_known(head)
                return Look(seen, head, False, status.st_size) if head else None
            if self.is_waiting(seen, now, self._idle_timeout_s):
                return None
            with inflate.open_regular(path) as own:
                return Look(seen, packed.head_of(own), True, None)
        except FileNotFoundError:
            raise Changed from None
        except OSError as error:
            self._unreadable[seen.key] = seen.changed_ns
            self._ledger.broken(text_of(path), inflate.why_unreadable(text_of(path), error))
            return None

    def is_waiting(self, seen: Seen, now: float, seconds: float) -> bool:
        """Whether a file has to be left alone until it has had this size for so long."""
        size, since = self._waiting.get(seen.key, (-1, 0.0))
        if size != seen.size:
            since = now - max(0.0, time.time() - seen.modified_ns / 1e9)
            self._waiting[seen.key] = seen.size, since
        return now - since < seconds

    def forget(self, key: Key) -> None:
        """This file is known now."""
        self._waiting.pop(key, None)


def text_of(path: str) -> str:
    """Return a path as a name in the ledger, which is text."""
    return os.fsencode(path).decode(errors="backslashreplace")
