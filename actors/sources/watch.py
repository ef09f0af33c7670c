"""Notices of changes in directories: a thread that waits for inotify and makes a descriptor readable.

The thread decides nothing and touches no file: it says which paths the kernel named, and wakes. What has changed is
found by looking. It also wakes every ``poll_s``, because some file systems (network ones, some of containers) say
nothing, and because a notice can be lost when very many come at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from watchfiles._rust_notify import RustNotify  # not public: see `_notify`

#: What is noticed within this time is told at once, together.
_DEBOUNCE_MS = 50
#: Who waits to be woken without a notice is woken about so often.
OWED_S = 0.5


class Watch:
    """Watches directories, not what is below them.

    Args:
        poll_s: wake so often anyway.

    Attributes:
        wake: readable when there is something to look at.
        is_owed: somebody waits to be woken, within ``OWED_S``, though nothing may be noticed until then.
    """

    def __init__(self, poll_s: float) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self.is_owed = False
        self._poll_s = max(0.001, poll_s)
        self._directories: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._changed: set[str] = set()

    def over(self, directories: Iterable[str]) -> bool:
        """Watch these directories; return whether they are others than before. What happens from here on is noticed."""
        wanted = frozenset(directories)
        if wanted == self._directories:
            return False
        self._join()
        self._directories = wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(_notify(wanted), self._stop), name="directory watch", daemon=True)
        self._thread.start()
        return True

    def changed(self) -> set[str]:
        """Return the paths that were named since the last call, and have the descriptor not readable."""
        with contextlib.suppress(BlockingIOError):
            os.eventfd_read(self.wake)
        with self._lock:
            changed, self._changed = self._changed, set()
        return changed

    def close(self) -> None:
        """End the thread, and give the descriptor back, once: its number may be another's by now."""
        self._join()
        if self.wake >= 0:
            os.close(self.wake)
            self.wake = -1

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, notify: RustNotify | None, stop: threading.Event) -> None:
        woken = time.monotonic()
        for paths in self._notices(notify, stop):
            now = time.monotonic()
            if paths or self.is_owed or now - woken >= self._poll_s:
                woken = now
                with self._lock:
                    self._changed |= paths
                os.eventfd_write(self.wake, 1)

    def _notices(self, notify: RustNotify | None, stop: threading.Event) -> Iterator[set[str]]:
        """What was named, or nothing, every ``poll_s`` and every ``OWED_S`` at least."""
        most_s = min(self._poll_s, OWED_S)
        if notify is not None:
            with notify, contextlib.suppress(OSError, RuntimeError):
                while not stop.is_set():
                    changes = notify.watch(_DEBOUNCE_MS, _DEBOUNCE_MS, max(1, int(most_s * 1000)), stop)
                    yield {path for _, path in changes} if isinstance(changes, set) else set()
        while not stop.wait(most_s):
            yield set()


def _notify(directories: Iterable[str]) -> RustNotify | None:
    """Ask the kernel for notices. None: it has no room for more, or a directory has just gone; looking goes on."""
    # Not public. `watchfiles.watch`, which is, asks the kernel only when the first notice is waited for, so in the
    # thread: what happens between `over` and then would not be noticed.
    from watchfiles._rust_notify import RustNotify

    try:
        return RustNotify(sorted(directories), False, False, 0, False, True)
    except (OSError, RuntimeError):
        return None
