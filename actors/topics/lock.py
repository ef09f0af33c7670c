"""Who writes to a topic: one process, by a lock that is gone with it."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import time
from pathlib import Path

import msgspec

from actors.runtime.disk import is_at
from actors.runtime.errors import ConfigError, Retryable
from actors.topics.places import LOCK

#: Most bytes of what a holder says of itself.
_MOST_BYTES = 64 * 1024


class Holder(msgspec.Struct, frozen=True):
    """Who writes to a topic.

    Attributes:
        name: of the sink.
        state: the state directory of its run.
        pid: its process.
        host: its machine.
        since: seconds since 1970.
    """

    name: str
    state: str
    pid: int = 0
    host: str = ""
    since: float = 0.0


class Lock:
    """The lock of a topic.

    Args:
        topic: its folder.
        holder: who takes it.
    """

    def __init__(self, topic: Path, holder: Holder) -> None:
        self._topic = topic
        self._holder = holder
        self._descriptor = -1

    def take(self) -> None:
        """Take it; it may be held by this already.

        Raises:
            ConfigError: a process of another run has it.
            Retryable: a process of this run has it still: an earlier generation, which is being killed.
            OSError: its file cannot be opened.
        """
        if self._descriptor >= 0:
            return
        descriptor = os.open(self._topic / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            found = _said(descriptor)
            os.close(descriptor)
            raise self._refusal(found) from error
        except BaseException:
            os.close(descriptor)
            raise
        self._descriptor = descriptor
        said = Holder(self._holder.name, self._holder.state, os.getpid(), socket.gethostname(), time.time())
        with contextlib.suppress(OSError):  # it helps people; on a full disk the lock is as good
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, msgspec.json.encode(said), 0)

    def is_in_place(self) -> bool:
        """Whether it is held, by the file that others take it by: not when somebody has removed that, or the topic."""
        return self._descriptor >= 0 and is_at(self._topic / LOCK, self._descriptor)

    def release(self) -> None:
        """Give it back; it may be given back already."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, 0)
            os.close(self._descriptor)
            self._descriptor = -1

    def _refusal(self, found: Holder | None) -> ConfigError | Retryable:
        if found is None or not _is_alive(found):
            return Retryable(f"topic {self._topic}: another process has just taken its lock")
        if (found.state, found.name) == (self._holder.state, self._holder.name):
            return Retryable(f"topic {self._topic}: process {found.pid} of this run writes to it still")
        return ConfigError(f"topic {self._topic}: {described(found)} writes to it, and a topic has one writer: let "
                           "this one write to a topic of its own (a source reads several), or stop that run")


def holder_of(topic: Path) -> Holder | None:
    """Return who writes to a topic now; None: nobody does, or it cannot be looked at."""
    try:
        descriptor = os.open(topic / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        found = _said(descriptor)
        if found is None or not _is_alive(found):  # whoever is about to take it is not kept from it
            return None
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return found
    except OSError:
        return None
    finally:
        os.close(descriptor)
    return None


def described(holder: Holder) -> str:
    """Who it is, for a person."""
    elsewhere = "" if holder.host == socket.gethostname() else f" on {holder.host}"
    return f"process {holder.pid}{elsewhere} (sink {holder.name} of {holder.state})"


def _said(descriptor: int) -> Holder | None:
    try:
        return msgspec.json.decode(os.pread(descriptor, _MOST_BYTES, 0), type=Holder)
    except (msgspec.MsgspecError, OSError):
        return None


def _is_alive(holder: Holder) -> bool:
    return holder.host != socket.gethostname() or os.path.exists(f"/proc/{holder.pid}")
