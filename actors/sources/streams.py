"""What is asked of the bytes of a file, whatever it is packed with; and compressed bytes on their way to a decoder."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from io import FileIO
from typing import NamedTuple, Protocol

from actors.runtime.progress import progress

#: Bytes taken from a compressed file at a time; a call hands the rest of them back as a copy, so not more.
INPUT_BYTES = 64 * 1024
#: Most bytes that ``read`` returns.
BLOCK_BYTES = 256 * 1024


class Fault(NamedTuple):
    """Why the bytes end before the content does: a stable word, and a sentence for a person."""

    reason: str
    detail: str


class ByteStream(Protocol):
    """The uncompressed bytes of a file.

    Attributes:
        fault: set with the last bytes at the latest, when they are not all that there should be.
        note: set with the last bytes at the latest: what a person should know of a file that is whole.
    """

    fault: Fault | None
    note: str

    @property
    def consumed(self) -> int:
        """Bytes of the file used so far, as they lie on disk."""
        ...

    def read(self) -> bytes:
        """Return the next bytes, some ``BLOCK_BYTES`` at most; ``b""`` at the end, and then look at ``fault``.

        Raises:
            OSError: the disk or the network file system failed.
        """
        ...

    def skip(self, count: int) -> int:
        """Pass over ``count`` bytes; return how many there were to pass over, fewer only at the end."""
        ...


class Truncated(Exception):
    """The file ends where more is needed."""


class Compressed:
    """The bytes of a compressed file, from its beginning.

    Args:
        file: unbuffered, at its beginning.

    Attributes:
        held: read from the file and not consumed; its first byte is at ``consumed``.
        consumed: how many bytes were taken.
    """

    def __init__(self, file: FileIO) -> None:
        self.held = b""
        self.consumed = 0
        self._file = file

    def fill(self, size: int) -> bool:
        """Hold at least ``size`` bytes; return False when the file has fewer."""
        while len(self.held) < size:
            more = self._file.read(INPUT_BYTES)
            if not more:
                return False
            self.held += more
        return True

    def take(self, size: int) -> bytes:
        """Return exactly so many bytes, and be behind them.

        Raises:
            Truncated: there are fewer; those are consumed.
        """
        is_whole = self.fill(size)
        taken, self.held = self.held[:size], self.held[size:]
        self.consumed += len(taken)
        if not is_whole:
            raise Truncated
        return taken

    def keep(self, rest: bytes) -> None:
        """A decoder was given all that is held and has left this of it."""
        self.consumed += len(self.held) - len(rest)
        self.held = rest

    def skip_zeros(self) -> int:
        """Go behind the zero bytes that follow; return how many there were."""
        before = self.consumed
        while self.fill(1):
            self.keep(self.held.lstrip(b"\0"))
            if self.held:
                break
        return self.consumed - before

    def left(self) -> int:
        """Return how many bytes the file has that are not consumed."""
        return max(0, os.fstat(self._file.fileno()).st_size - self.consumed)

    def again(self, offset: int, size: int) -> bytes:
        """Return up to ``size`` bytes from an earlier offset; where reading goes on is not touched."""
        return os.pread(self._file.fileno(), size, offset)


class Decoded(ABC):
    """The uncompressed bytes of a compressed file, a step at a time; who inherits says what a step is.

    Args:
        file: unbuffered, at its beginning.
    """

    def __init__(self, file: FileIO) -> None:
        self.fault: Fault | None = None
        self.note = ""
        self._source = Compressed(file)
        self._ended = False
        self._left_over = b""  # decoded, and not asked for by ``skip``

    @property
    def consumed(self) -> int:
        """Bytes of the file used so far."""
        return self._source.consumed

    def read(self) -> bytes:
        """Return the next uncompressed bytes, ``b""`` at the end or at a fault."""
        block, self._left_over = self._left_over, b""
        while not block and not self._ended:
            block = self._step()
        return block

    def skip(self, count: int) -> int:
        """Decode ``count`` bytes and drop them; return how many there were."""
        left = count
        while left and (block := self.read()):
            self._left_over = block[left:]
            left -= min(left, len(block))
            progress()  # it can take minutes
        return count - left

    @abstractmethod
    def _step(self) -> bytes:
        """Decode some bytes, which may be none; at the end say ``_ended``, by ``_end_at`` if it is a fault."""

    def _end_at(self, reason: str, detail: str) -> None:
        self.fault = Fault(reason, detail)
        self._ended = True


def what_follows(source: Compressed, packing: str, zeros: int) -> str:
    """The note on bytes behind the last member of a file that is whole: padding, or something else; "" if none."""
    at, rest = source.consumed, source.left()
    if rest and source.fill(1):  # else the file system has given less than it says that there is: no note for that
        source.fill(8)
        return (f"{zeros + rest} bytes behind the {packing} data, from byte {at - zeros} on, are no {packing}"
                f"{f', but for {zeros} zeros before them' if zeros else ''}: they begin with "
                f"{source.held[:8].hex(' ')} and were not read; the {packing} data are whole")
    return f"{zeros} zero bytes follow the {packing} data, from byte {at - zeros} on: they are padding" if zeros else ""
