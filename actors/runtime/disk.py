"""What the standard library leaves to its callers: writes that may be short, folders that have to reach the disk."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

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
