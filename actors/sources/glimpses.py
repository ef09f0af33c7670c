"""The first glimpse of a file: opened, and how its content begins, unless it is too early for that."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from typing import TypeVarTuple, Unpack

from actors.runtime.ports import UnitLedger
from actors.sources import inflate, packed
from actors.sources.content import Content
from actors.sources.descriptors import Descriptors
from actors.sources.listing import Seen
from actors.sources.marks import HEAD_BYTES, Key
from actors.sources.recognise import Look
from actors.sources.tail import Changed

_Rest = TypeVarTuple("_Rest")


class Glimpses:
    """Opens files that nobody knows yet.

    Args:
        ledger: is told what cannot be read.
        files: where those are that can.
        idle_timeout_s: a compressed file that has been silent for so long is complete.
        changed: called when a file is no longer what it was when it was listed.
    """

    def __init__(
        self, ledger: UnitLedger, files: Descriptors, idle_timeout_s: float, changed: Callable[[], None]
    ) -> None:
        self._changed = changed
        self._ledger = ledger
        self._files = files
        self._idle_timeout_s = idle_timeout_s
        self._waiting: dict[Key, tuple[int, float]] = {}
        self._unreadable: dict[Key, int] = {}

    def of(self, seen: Seen, now: float, at_once: bool = False) -> Look | None:
        """Open a file and see how it begins. None: it is empty, or cannot be read, or it is too early.

        ``at_once``: it is early enough for a packed file that is whole.
        """
        try:
            return self._of(seen, now, at_once)
        except Changed:
            self._changed()
            return None

    def attempt(self, look: Look, step: Callable[[Look, Unpack[_Rest]], bool], *rest: *_Rest) -> bool:
        """Return what a step says of a file; True, too, when there is nothing more to do about it in this look."""
        try:
            return step(look, *rest)
        except Changed:
            self._changed()
        except OSError as error:
            self.unreadable(look.seen, error)
        return True

    def _of(self, seen: Seen, now: float, at_once: bool) -> Look | None:
        if not seen.size or self._unreadable.get(seen.key) == seen.changed_ns:
            return None
        path = seen.paths[0]
        try:
            file = self._files.of(seen.key, path)
            content = Content(lambda: self._files.of(seen.key, path), path)
            if not packed.is_packed(file, path):
                head = os.pread(file.fileno(), HEAD_BYTES, 0)
                inflate.require_known(head)
                return Look(seen, head, False, os.fstat(file.fileno()).st_size, content) if head else None
            if self.is_waiting(seen, now, self._idle_timeout_s) and not (at_once and content.is_whole()):
                return None
            with inflate.open_regular(path) as own:
                return Look(seen, packed.head_of(own), True, None, content)
        except FileNotFoundError:
            raise Changed from None
        except OSError as error:
            self.unreadable(seen, error)
            return None

    def may_come(self, seen: Seen, now: float) -> bool:
        """Whether a file that there is no look at may become one."""
        return bool(seen.size) and self._unreadable.get(seen.key) != seen.changed_ns and self.is_waiting(
            seen, now, self._idle_timeout_s)

    def unreadable(self, seen: Seen, error: OSError) -> None:
        """This file cannot be read; it is told once, and tried again when it has changed."""
        self._unreadable[seen.key] = seen.changed_ns
        name = text_of(seen.paths[0])
        self._ledger.broken(name, inflate.why_unreadable(name, error))

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
