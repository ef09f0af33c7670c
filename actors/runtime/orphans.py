"""Processes that actors have started and left behind: the supervisor buries those that end, and ends those that stay.

A process whose parent dies comes to the nearest one above that asks for it. The supervisor does, so whatever an actor
has started, in whatever session and however many times removed, is its child in the end. What outlives the run would
hold its files, ports and devices against the next one, and nobody would know whose it is.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection

from actors.runtime import procfs

_PR_SET_CHILD_SUBREAPER = 36
#: Time to go when it is asked to, and to be gone when it is killed; seconds between two looks meanwhile.
GRACE_S, _LOOK_S = 1.0, 0.005


class Orphans:
    """The processes that come to this one from now on; those that it has already are not touched."""

    def __init__(self) -> None:
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1)
        self._own = set(_children()) if _has_children() else set()

    def bury(self, actors: Collection[int]) -> None:
        """Wait for those that have ended: they are zombies until then. ``actors`` are not meant."""
        with contextlib.suppress(ChildProcessError):  # nobody lives
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if ended.si_pid in actors:  # its pidfd is about to wake us
                    break
                os.waitpid(ended.si_pid, 0)

    def end(self) -> None:
        """Ask those that live to go, and kill those that do not; call it when no actor is left."""
        began, asked = time.monotonic(), set[int]()
        while left := self._left():
            waited_s = time.monotonic() - began
            if waited_s > 2 * GRACE_S:  # no signal reaches it: it waits for a disk, or is another user's
                return
            for pid in left:
                if pid not in asked or waited_s > GRACE_S:
                    asked.add(pid)
                    with contextlib.suppress(ProcessLookupError, PermissionError):
                        os.kill(pid, signal.SIGKILL if waited_s > GRACE_S else signal.SIGTERM)
            time.sleep(_LOOK_S)

    def _left(self) -> list[int]:
        if not _has_children():  # nearly always, and known at once
            return []
        left = [pid for pid in _children() if pid not in self._own]
        for pid in left:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        return left


def _has_children() -> bool:
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return False
    return True


def _children() -> list[int]:
    here = os.getpid()
    found = ((int(name), procfs.look(int(name))) for name in os.listdir("/proc") if name.isdigit())
    return [pid for pid, process in found if process is not None and process.parent == here]
