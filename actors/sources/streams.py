"""What is asked of the bytes of a file, whatever it is packed with; and compressed bytes on their way to a decoder."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from io import FileIO
from typing import NamedTuple, Protocol

from actors.runtime.progress import progress
from actors.sources.formats import Packing

#: Bytes taken from a compressed file at a time; a call hands the rest of them back as a copy, so not more.
INPUT_BYTES = 64 * 1024
#: Most bytes that ``read`` returns, about.
BLOCK_BYTES = 256 * 1024


#: Reasons of faults for which a packed content ends before it should: the last bytes may be the half of a line.
_DAMAGED, _UNREAD = ("truncated_", "corrupt_"), "unsupported_"
CUT_OFF = (*_DAMAGED, _UNREAD)


def is_damage(fault: str, damaged: str) -> bool:
    """Whether a unit with this fault is to fail. ``damaged``: the option of its source. Only what is damaged can be
    accepted: what is whole, and not read here, never."""
    return fault.startswith(_UNREAD if damaged == "accept" else CUT_OFF)


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


class Damaged(Exception):
    """What was read cannot be a part of such a file; the text says why.

    Args:
        why: as a few words.
        where: the place, for a person; empty: at or shortly before what was read last.
    """

    def __init__(self, why: str, where: str = "") -> None:
        super().__init__(why)
        self.where = where


class Unsupported(Exception):
    """The file may be whole, and is not read here; the text says why, and what to do."""


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

    def begins_with(self, magic: bytes) -> bool:
        """Whether these bytes come next.

        Raises:
            Truncated: the file ends within them.
        """
        self.fill(len(magic))
        if self.held and len(self.held) < len(magic) and magic.startswith(self.held):
            self.take(len(magic))
        return self.held.startswith(magic)

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
    """The uncompressed bytes of a compressed file of any number of members, with zeros between and behind them.

    Who inherits says how a member begins, and what a step in it is. After a fault nothing more is read. What follows
    the last member and does not begin like one leaves the file whole: it is a note.

    Args:
        file: unbuffered, at its beginning.
        packing: what it is packed with.
    """

    def __init__(self, file: FileIO, packing: Packing) -> None:
        self.fault: Fault | None = None
        self.note = ""
        self.packing = packing
        self._source = Compressed(file)
        self._ended = self._is_inside = False
        self._members = 0
        self._left_over = b""  # decoded, and not asked for by ``skip``; or only looked at

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

    def peek(self, size: int) -> bytes:
        """Return the next ``size`` bytes, fewer only at the end; they are still to be read."""
        found = b""
        while len(found) < size and (block := self.read()):
            found += block
        self._left_over = found
        return found[:size]

    def _step(self) -> bytes:
        name = self.packing.name
        try:
            if self._is_inside:
                return self._decode()
            self._go_on()
        except Truncated:
            self._end_at(f"truncated_{name}", f"the {name} data stop in the middle, after {self.consumed} compressed "
                         "bytes; the file was probably not copied to its end")
        except Damaged as error:
            self._damaged(error.where, str(error))
        except Unsupported as error:
            self._end_at(f"unsupported_{name}", f"the {name} data from compressed byte {self.consumed} on are not read "
                         f"here: {error}")
        return b""

    @abstractmethod
    def _enter(self) -> bool:
        """Go behind the header of a member; return False when what follows does not begin like one.

        Raises:
            Truncated: the file ends within it.
            Damaged: it is none.
            Unsupported: it is not read here.
        """

    @abstractmethod
    def _decode(self) -> bytes:
        """Decode some bytes of the member, which may be none; at its end say so by ``_is_inside``.

        Raises:
            Truncated: the file ends within it.
            Damaged: it is damaged; all that was decoded was returned before.
            Unsupported: it is not read here.
        """

    def _go_on(self) -> None:
        """Go to the next member or to the end."""
        source = self._source
        zeros = source.skip_zeros() if self._members else 0  # tapes and some tools pad with zeros
        if self._enter():
            self._members += 1
            self._is_inside = True
        elif self._members or not source.held:
            self.note = what_follows(source, self.packing.name, zeros)
            self._ended = True
        else:
            name, suffix, magic = self.packing[:3]
            self._end_at(f"not_{name}", f"the name ends in {suffix} but the content is not {name}: it begins with "
                         f"{source.held[:8].hex(' ')}, expected {magic.hex(' ')}; if it is plain text, rename it "
                         f"without {suffix}")

    def _damaged(self, where: str, problem: str) -> None:
        name, where = self.packing.name, where or f"at or shortly before compressed byte {self.consumed}"
        self._end_at(f"corrupt_{name}", f"the {name} data are damaged {where} ({problem}); nothing behind it was read")

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
