"""A file as it lies on disk, and its bytes, be it plain or gzip: what can be had, and what is wrong with the rest.

    file ──64 KiB──▶ ISA-L decoder ──at most 256 KiB──▶ read()
                        │ bad block, bad checksum
                        └─▶ salvage: the same member once more, the last bytes one at a time

Guarantees:

* Content decides, not the name: gzip begins with ``1f 8b``. Only a name that ends in ``.gz`` over other content is a
  fault (compressed or encrypted rubbish must not be fed on as records).
* Every byte that can be decoded before a fault is given, and how many they are does not depend on how one asked: a
  resumed run sees the same bytes and the same fault at the same place.
* Memory is bounded by the two block sizes, whatever the ratio of compression.
* After a fault nothing more is read: a member behind a damaged one is not looked for.

Why salvage. A decoder that meets a damaged block raises and takes with it all that it had decoded in that call, up to
256 KiB of good records. Its state cannot be copied, so the member is decoded again from its start to a little before
the failing input, and from there with one byte of input and one byte of output a call: then the call that raises has
nothing in hand. That costs one more pass over a damaged file, and nothing for a sound one.

What does not work: ``gzip.open`` (more than twice the time of ISA-L, and it raises away the buffered good bytes too);
zlib's ``copy()`` before each call (a copy of 40 KiB for each block of every sound file); decoding a whole compressed
block at once (64 KiB of zip bomb are 64 MiB).
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from hashlib import blake2b
from io import FileIO
from typing import TYPE_CHECKING, NamedTuple, Protocol, cast

from actors.runtime.errors import plain_reason
from actors.runtime.progress import progress

if TYPE_CHECKING:
    from isal.isal_zlib import Decompress

MAGIC = b"\x1f\x8b"
#: Bytes taken from a gzip file at a time; a call hands the rest of them back as a copy, so not more.
INPUT_BYTES = 64 * 1024
#: Most bytes that ``read`` returns.
BLOCK_BYTES = 256 * 1024
#: Compressed bytes before the failing input that salvage takes one at a time. A decoder keeps at most some ten bytes
#: that it has taken in and not yet used; arbitrary above that.
_MARGIN_BYTES = 256
#: Bytes at either end of a file that, with its size, make its fingerprint.
FINGERPRINT_BYTES = 64 * 1024
#: window bits 15, with gzip header and trailer
_GZIP = 31


class Fault(NamedTuple):
    """Why the bytes end before the content does: a stable word, and a sentence for a person."""

    reason: str
    detail: str


class ByteStream(Protocol):
    """The uncompressed bytes of a file.

    Attributes:
        fault: set with the last bytes at the latest, when they are not all that there should be.
        consumed: bytes of the file used so far, as they lie on disk.
    """

    fault: Fault | None
    consumed: int

    def read(self) -> bytes:
        """Return the next bytes, some ``BLOCK_BYTES`` at most; ``b""`` at the end, and then look at ``fault``.

        Raises:
            OSError: the disk or the network file system failed.
        """
        ...

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; return how many there were to pass over, fewer only at the end."""
        ...


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
    """
    head = os.pread(file.fileno(), len(MAGIC), 0)
    if head == MAGIC or (head and name.lower().endswith(".gz")):
        return GzipStream(file)
    return PlainStream(file)


class PlainStream:
    """The bytes of a file as they are. It ends where the file ends at that time."""

    def __init__(self, file: FileIO) -> None:
        self.fault: Fault | None = None
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


class GzipStream:
    """The uncompressed bytes of a gzip file of any number of members, with zero padding between and behind them."""

    def __init__(self, file: FileIO) -> None:
        from isal import isal_zlib  # here, for not every process that knows the options reads files

        self.fault: Fault | None = None
        self.consumed = 0
        self._zlib = isal_zlib
        self._error = cast("type[Exception]", isal_zlib.error)  # its stub says that it is an instance
        self._file = file
        self._decoder: Decompress | None = None
        self._input = b""  # read from the file and not decoded; its first byte is at ``consumed``
        self._ended = False
        self._has_more = False  # the decoder may have output left without any input
        self._left_over = b""  # decoded, and not asked for by ``skip``
        self._member_at = 0  # compressed offset of the member that is decoded
        self._member_bytes = 0  # uncompressed bytes that were had of it
        self._members = 0

    def read(self) -> bytes:
        """Return the next uncompressed bytes, ``b""`` at the end or at a fault."""
        block, self._left_over = self._left_over, b""
        while not block and not self._ended:
            block = self._next_member() if self._decoder is None else self._decode(self._decoder)
        return block

    def skip(self, count: int) -> int:
        """Decode ``count`` bytes and drop them; return how many there were."""
        left = count
        while left and (block := self.read()):
            self._left_over = block[left:]
            left -= min(left, len(block))
            progress()  # it can take minutes
        return count - left

    def _decode(self, decoder: Decompress) -> bytes:
        if not self._input and not self._has_more:
            self._input = self._file.read(INPUT_BYTES) or b""
            if not self._input:
                self._end_at("truncated_gzip", f"the gzip data stop in the middle, after {self.consumed} compressed "
                             "bytes; the file was probably not copied to its end")
                return b""
        given = self._input
        try:
            block = decoder.decompress(given, BLOCK_BYTES)
        except self._error as error:
            return self._salvage(str(error), len(given))
        self._has_more = len(block) == BLOCK_BYTES
        self._member_bytes += len(block)
        self._input = decoder.unused_data if decoder.eof else decoder.unconsumed_tail
        self.consumed += len(given) - len(self._input)
        if decoder.eof:
            self._decoder = None
        return block

    def _next_member(self) -> bytes:
        """Go to the next member or to the end; returns no bytes."""
        if self._members:  # tapes and some tools pad with zeros
            stripped = self._input.lstrip(b"\0")
            self.consumed += len(self._input) - len(stripped)
            self._input = stripped
        if len(self._input) < len(MAGIC) and (more := self._file.read(INPUT_BYTES)):
            self._input += more
        elif not self._input:
            self._ended = True
        elif self._input.startswith(MAGIC):
            self._decoder = self._zlib.decompressobj(wbits=_GZIP)
            self._has_more = False
            self._member_at, self._member_bytes = self.consumed, 0
            self._members += 1
        elif MAGIC.startswith(self._input):
            self._end_at("truncated_gzip", f"the gzip data stop within the header at compressed byte {self.consumed}")
        elif self._members:
            self._end_at("corrupt_gzip", f"what follows the gzip data at compressed byte {self.consumed} is not gzip: "
                         f"it begins with {self._input[:8].hex(' ')}; it was not read")
        else:
            self._end_at("not_gzip", "the name ends in .gz but the content is not gzip: it begins with "
                         f"{self._input[:8].hex(' ')}, expected 1f 8b; if it is plain text, rename it without .gz")
        return b""

    def _end_at(self, reason: str, detail: str) -> None:
        self.fault = Fault(reason, detail)
        self._ended = True

    def _salvage(self, problem: str, failing_bytes: int) -> bytes:
        """Return what the failing call had decoded; the fault names the compressed byte where it stopped."""
        decoder = self._zlib.decompressobj(wbits=_GZIP)
        offset = self._file.seek(self._member_at)
        near = max(offset, self.consumed - _MARGIN_BYTES)
        good = bytearray()
        had = self._member_bytes
        try:
            while offset < near and (data := self._file.read(min(INPUT_BYTES, near - offset))):
                offset += len(data)
                for out in _decoded(decoder, data, BLOCK_BYTES):
                    good += out[had:]
                    had -= min(had, len(out))
            for byte in self._file.read(self.consumed - near + failing_bytes) or b"":
                offset += 1
                for out in _decoded(decoder, bytes((byte,)), 1):
                    good += out[had:]
                    had -= min(had, len(out))
        except self._error as error:
            problem = str(error)
        where = f"at or shortly before compressed byte {offset}"
        if "checksum" in problem:  # all could be decoded, and is not what was encoded
            where = (f"somewhere between the compressed bytes {self._member_at} and {offset}, so that records read "
                     "from there may be wrong")
        self._end_at("corrupt_gzip", f"the gzip data are damaged {where} ({problem}); nothing behind it was read")
        self.consumed = offset
        return bytes(good)


def _decoded(decoder: Decompress, data: bytes, most: int) -> Iterator[bytes]:
    """Decode ``data``; yield all that comes of it, at most ``most`` bytes at a time."""
    while True:
        out = decoder.decompress(data, most)
        yield out
        data = decoder.unconsumed_tail
        if decoder.eof or (len(out) < most and not data):
            return
