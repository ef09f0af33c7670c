"""Notices of changes in directories: a thread that waits for inotify and makes a descriptor readable.

The thread decides nothing and touches no file: it says which paths the kernel named, and wakes. What has changed is
found by looking. It also wakes every ``poll_s``, because some file systems (network ones, some of containers) say
nothing, and because a notice can be lost when very many come at once.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterable, Iterator
from types import ModuleType


class Watch:
    """Watches directories, not what is below them.

    Args:
        watchfiles: the module of that name.
        poll_s: wake so often anyway.

    Attributes:
        wake: readable when there is something to look at.
    """

    def __init__(self, watchfiles: ModuleType, poll_s: float) -> None:
        self.wake = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._watchfiles = watchfiles
        self._poll_ms = max(1, int(poll_s * 1000))
        self._directories: frozenset[str] = frozenset()
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._changed: set[str] = set()

    def over(self, directories: Iterable[str]) -> bool:
        """Watch these directories from here on; return whether they are others than before."""
        wanted = frozenset(directories)
        if wanted == self._directories:
            return False
        self._join()
        self._directories = wanted
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=self._run, args=(sorted(wanted), self._stop), name="directory watch", daemon=True)
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
        """End the thread."""
        self._join()
        os.close(self.wake)

    def _join(self) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def _run(self, directories: list[str], stop: threading.Event) -> None:
        for paths in self._notices(directories, stop):
            with self._lock:
                self._changed |= paths
            os.eventfd_write(self.wake, 1)

    def _notices(self, directories: list[str], stop: threading.Event) -> Iterator[set[str]]:
        """What was named, or nothing, every ``poll_s`` at least."""
        # No more watches, or a directory that went meanwhile: looking every so often finds everything, only later.
        with contextlib.suppress(OSError, RuntimeError):
            for changes in self._watchfiles.watch(
                    *directories, watch_filter=None, debounce=50, step=50, stop_event=stop, recursive=False,
                    rust_timeout=self._poll_ms, yield_on_timeout=True, raise_interrupt=False):
                yield {path for _, path in changes}
        while not stop.wait(self._poll_ms / 1000):
            yield set()
