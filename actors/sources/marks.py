"""What a followed file is known by: while it is looked at, and over renames, copies and runs."""

from __future__ import annotations

from hashlib import blake2b
from typing import NamedTuple

import msgspec

#: Bytes at the beginning of a file that it is known by. Shorter files are known by what they have.
HEAD_BYTES = 1024
#: What the fingerprints of such units begin with.
KIND = "tail:"

#: Device and inode: what a file is while this process looks at it.
Key = tuple[int, int]


class Mark(NamedTuple):
    """What a unit is known by, over renames, copies and runs.

    Attributes:
        size: how many bytes at the beginning of the content the digest is of, 1024 at most.
        digest: of those bytes.
        inode: the file's; a hint that decides between two that have the same content.
        serial: tells units apart that have all of that in common.
        changed_ns: when the file was changed last, when that was long enough before it was read to its end: it is the
            same file as long as that is the same. 0: not known.
        longest: the most bytes that it was seen to have, as long as it is read.
        home: the name by which it was found at first, when it has another one since.
        target: where the file is, when it was found by a link, or through one.
    """

    size: int
    digest: str
    inode: int
    serial: int
    changed_ns: int = 0
    longest: int = 0
    home: str = ""
    target: str = ""

    @staticmethod
    def of(head: bytes, inode: int, serial: int) -> Mark:
        """Return the mark of a file that begins with ``head``."""
        return Mark(len(head), digest(head), inode, serial)

    @staticmethod
    def read(text: str) -> Mark:
        """Return the mark that a fingerprint in the ledger says."""
        size, hashed, inode, serial, *more = text.removeprefix(KIND).split(":", 4)
        return Mark(int(size), hashed, int(inode), int(serial), *(msgspec.json.decode(more[0]) if more else ()))

    def text(self) -> str:
        """The fingerprint for the ledger."""
        more = msgspec.json.encode(self[4:]).decode()
        return f"{KIND}{self.size}:{self.digest}:{self.inode}:{self.serial}:{more}"


def digest(head: bytes) -> str:
    """Return the digest of the first bytes of a file."""
    return blake2b(head, digest_size=16).hexdigest()
