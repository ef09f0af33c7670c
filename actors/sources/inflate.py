"""A file as it lies on disk, and its bytes, be it plain or packed.

Content decides, not the name: what is packed with gzip, xz, bzip2 or zstd is read; other formats, and what is packed
and holds one, are refused by name. Only a name that ends in ``.gz``, ``.xz``, ``.bz2`` or ``.zst`` over content of
which nobody knows what it is is a fault (compressed or encrypted rubbish must not be fed on as records).
"""

from __future__ import annotations

import errno
import os
import stat
from hashlib import blake2b
from io import FileIO
from typing import NamedTuple

from actors.runtime.errors import plain_reason
from actors.sources.formats import (
    GZIP,
    HEAD_BYTES,
    ZSTD,
    Packing,
    packing_named,
    packing_of,
    refusal,
    refusal_inside,
)
from actors.sources.gunzip import GzipStream
from actors.sources.streams import BLOCK_BYTES, ByteStream, Decoded, Fault
from actors.sources.unpack import UnpackedStream
from actors.sources.zstd import ZstdStream

#: Bytes at either end of a file that, with its size, make its fingerprint.
FINGERPRINT_BYTES = 64 * 1024


def open_regular(path: str) -> FileIO:
    """Open a file, unbuffered.

    Raises:
        OSError: it cannot be opened, or is not one that can be read again after a crash; the text says why.
    """
    if os.path.basename(path).startswith("."):
        raise OSError("names that begin with a dot are finished files (rename it to load it again)")
    _require_regular(path, os.stat(path).st_mode)  # before it is opened: to open a device may do something to it
    # It may be another by now, and to open a pipe would wait for its writer.
    file = FileIO(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    try:
        _require_regular(path, os.fstat(file.fileno()).st_mode)
    except OSError:
        file.close()
        raise
    return file


def _require_regular(path: str, mode: int) -> None:
    if stat.S_ISDIR(mode):
        raise OSError(f"it is a directory (for the files in it, give {os.path.join(path, '*')})")
    if not stat.S_ISREG(mode):
        raise OSError("it is a pipe or a device, which cannot be read again after a crash (write it to a file first)")


def why_unreadable(name: str, error: OSError) -> str:
    """Say why a file could not be opened, and how to mend it."""
    why = plain_reason(error)
    if error.errno in (errno.EACCES, errno.EPERM):
        why = "permission denied (run as a user who may read it)"
    elif error.errno == errno.ENOENT:
        why = "there is no such file (check the name; it may have been moved or deleted)"
    return f"cannot read {name}: {why}"


def why_not_lines(path: str) -> str:
    """Why a file cannot be read as lines, as far as its beginning tells; empty when it can."""
    try:
        with open(path, "rb", buffering=0) as file:
            byte_stream(file, path)
            return ""
    except OSError as error:
        return plain_reason(error)


def fingerprint(file: FileIO) -> str:
    """Return what a file's content is known by: a hash of its first and last 64 KiB, as on disk, and of its size."""
    size = os.fstat(file.fileno()).st_size
    digest = blake2b(size.to_bytes(8, "big"), digest_size=16)
    digest.update(os.pread(file.fileno(), FINGERPRINT_BYTES, 0))
    digest.update(os.pread(file.fileno(), FINGERPRINT_BYTES, max(0, size - FINGERPRINT_BYTES)))
    return digest.hexdigest()


class Identity(NamedTuple):
    """What tells that a path still leads to the file that was opened, and that nobody has written to it."""

    device: int
    inode: int
    size: int
    modified_ns: int


def identity_of(status: os.stat_result) -> Identity:
    """Return the identity of a file now."""
    return Identity(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def change_of(before: Identity, now: Identity) -> str:
    """Say what happened to a file: ``grew (from 10 to 20 bytes)``; ``""`` if nothing did."""
    if now == before:
        return ""
    if (now.device, now.inode) != (before.device, before.inode):
        return "was replaced by another file"
    if now.size == before.size:
        return "was written to"
    return f"{'grew' if now.size > before.size else 'became shorter'} (from {before.size} to {now.size} bytes)"


def byte_stream(file: FileIO, name: str) -> ByteStream:
    """Return the uncompressed bytes of an unbuffered regular file that is at its beginning.

    Args:
        file: the file; the stream does not close it.
        name: its name, for the one case where that matters (see the module's text).

    Raises:
        OSError: it is of a format that is not read here, or holds one; the text names it.
    """
    head = os.pread(file.fileno(), HEAD_BYTES, 0)
    require_known(head)
    if (packing := packing_of(head) or (packing_named(name) if head else None)) is None:
        return PlainStream(file)
    stream = _unpacked(file, packing)
    if why := refusal_inside(stream.peek(HEAD_BYTES), packing):
        raise OSError(why)
    return stream


def _unpacked(file: FileIO, packing: Packing) -> Decoded:
    if packing is ZSTD:
        return ZstdStream(file)
    return GzipStream(file) if packing is GZIP else UnpackedStream(file, packing)


def require_known(head: bytes) -> None:
    """Make sure that what a file begins with may be lines, or is packed with what is read here.

    Raises:
        OSError: it is of a format that is not; the text names it.
    """
    if why := refusal(head):
        raise OSError(why)


class PlainStream:
    """The bytes of a file as they are. It ends where the file ends at that time."""

    def __init__(self, file: FileIO) -> None:
        self.fault: Fault | None = None
        self.note = ""
        self.consumed = 0
        self._file = file

    def read(self) -> bytes:
        """Return the next bytes, ``b""`` at the end."""
        block = self._file.read(BLOCK_BYTES) or b""
        self.consumed += len(block)
        return block

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes without reading them; return how many there were."""
        size = os.fstat(self._file.fileno()).st_size
        passed = max(0, min(count, size - self.consumed))
        self.consumed = self._file.seek(self.consumed + passed)
        return passed
