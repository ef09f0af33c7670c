"""What the standard library leaves to its callers: writes that may be short, folders that have to reach the disk, and
what keeps a file from being written."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path

from actors.runtime.errors import ConfigError, plain_reason

#: What keeps names and files from being changed now, and somebody may mend while a run waits.
_MAY_PASS = (errno.EROFS, errno.ENOSPC, errno.EDQUOT)
#: Most buffers in one system call.
_IOV_MAX = 1024


def write_all(descriptor: int, buffers: Sequence[bytes | memoryview], offset: int) -> None:
    """Write all of these buffers, one behind the other, from this offset on."""
    for start in range(0, len(buffers), _IOV_MAX):
        some: list[bytes | memoryview] = list(buffers[start:start + _IOV_MAX])
        while some:
            written = os.pwritev(descriptor, some, offset)
            offset += written
            while some and written >= len(some[0]):
                written -= len(some.pop(0))
            if written:
                some[0] = memoryview(some[0])[written:]


def is_at(path: Path, descriptor: int) -> bool:
    """Whether an open file is the one at a path still: nobody has removed it, moved it away or put another there."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(descriptor))
    except (FileNotFoundError, NotADirectoryError):
        return False


class Place:
    """The file at a path as it is now, for who cannot ask what has it open (a library).

    Args:
        path: of the file.

    Raises:
        OSError: there is none.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._status = os.stat(path)

    def require(self) -> None:
        """Nothing may be acknowledged that is written into a file which nobody finds.

        Raises:
            ConfigError: the file was removed, moved away or replaced.
        """
        try:
            if os.path.samestat(os.stat(self._path), self._status):
                return
        except (FileNotFoundError, NotADirectoryError):
            pass
        raise ConfigError(f"{self._path}: it was removed, moved away or replaced while it was written to, and what was "
                          "in it is lost unless it is put back: put it back, or run again to begin another")


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Make a folder, and those above it that are missing; they are on the disk when it returns. It may be there.

    ``mode``: of the folder itself, as for ``mkdir``.
    """
    missing = []
    for folder in (path, *path.parents):
        if folder.is_dir():
            break
        missing.append(folder)
    path.mkdir(mode=mode, parents=True, exist_ok=True)
    for folder in missing:
        sync_folder(folder.parent)


def sync_folder(path: Path) -> None:
    """Wait until what was made, renamed or removed in a folder is on the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def may_pass(error: OSError) -> bool:
    """Whether the disk is full, or its file system is read-only: that is waited for."""
    return error.errno in _MAY_PASS


def why_not_written(path: Path, error: Exception) -> str:
    """What keeps a file from being written, in plain words.

    Libraries that write files have words of their own ("disk I/O error"). So the file system is asked: to set the
    permissions that are set changes nothing, and is refused by one that is read-only, also where its flags do not say
    that it is (ext4 after an error).
    """
    if isinstance(error, OSError):
        return plain_reason(error)
    place = path if path.exists() else path.parent
    try:
        place.chmod(stat.S_IMODE(place.stat().st_mode))
    except OSError as found:
        if found.errno == errno.EROFS:
            return plain_reason(found)
    return str(error)
