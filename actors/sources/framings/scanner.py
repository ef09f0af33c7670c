"""What a framing is: a scanner that finds, from a border on, where the record that begins there ends.

    border                     looked             end of what is there
      │ bytes that were looked at │ bytes that were not │
      └───────────── one item: a record, a gap, a fault ─────▶ the next border

A scanner is given bytes as they come, each byte about once, and keeps no bytes: what it keeps is how far it has looked,
and what it has seen (inside quotes, three brackets deep). Whoever holds the bytes, or reads them again, takes the item
out of them once its end is known.

Guarantees:

* Every border is a place to begin at: nothing before it decides what follows. So a reader resumes at any of them, and a
  chunk may be cut at each. The place of a record is a border, too.
* What is found does not depend on the blocks in which the bytes come, nor on when they come (but for ``End.IDLE``).
* An item is one record, one fault, or nothing (a header, the bracket at the end); every byte is in exactly one.
* Memory: bytes are wanted back only up to ``max_bytes`` behind the border. What is longer is one fault without bytes.
* Cost is linear. The one thing that is looked at twice is what follows an unbalanced quote (see ``csv``).

What does not work: to search for the end of a record from its beginning each time that bytes come (a record of 16 MiB
that comes in blocks of 64 KiB is looked at 128 times); to keep the unfinished record in the scanner (there may be ten
thousand followed files, each with one).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from enum import Enum, auto
from typing import ClassVar, NamedTuple

from actors.runtime.framing import Record


class End(Enum):
    """What is behind the bytes that a scanner is given."""

    #: More may come.
    MORE = auto()
    #: More may come, but nothing has for long: a record that is whole, as far as can be told, is.
    IDLE = auto()
    #: A border: the bytes are a range that was cut before.
    BORDER = auto()
    #: Nothing: the content ends.
    CONTENT = auto()

    @property
    def is_final(self) -> bool:
        """Whether what is unfinished is finished by this."""
        return self in (End.BORDER, End.CONTENT)


class Item(NamedTuple):
    """What begins at a border. All are bytes from there on.

    Attributes:
        size: up to the next border.
        at: the place of the record; -1: there is none, it is a gap.
        begin: where its value begins; of a fault, where that which is kept of it begins.
        stop: where that ends.
        reason: "" for a record; else the word of the fault.
        detail: what is wrong, as the rest of a sentence.
    """

    size: int
    at: int
    begin: int
    stop: int
    reason: str = ""
    detail: str = ""


class Run(NamedTuple):
    """What was found from a border on, up to the first fault, or the first item whose end is not there.

    Attributes:
        records: the records.
        size: bytes up to the end of these, and of the gaps around them.
        lines: newlines among them.
        fault: what follows, when that is one; its bounds are from the end of these.
    """

    records: list[Record]
    size: int
    lines: int
    fault: Item | None


class Scanner(ABC):
    """One framing. Begin it at a border.

    Args:
        max_bytes: longest record.

    Attributes:
        looked: bytes behind the border that were looked at; those are not asked for again.
        max_bytes: as above.
    """

    #: Whether the content has lines that can be counted.
    has_lines: ClassVar[bool] = True
    #: Whether records end with lines, so that half a line is no beginning of one.
    ends_with_lines: ClassVar[bool] = False
    #: Whether a record may be whole only because nothing more comes.
    ends_when_idle: ClassVar[bool] = False

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.looked = 0
        self._is_first = False

    def begin(self, is_first: bool) -> None:
        """A border is here. ``is_first``: it is the beginning of the content."""
        self.looked = 0
        self._is_first = is_first

    @property
    def is_long(self) -> bool:
        """Whether the bytes that were looked at are wanted no more, for the item is a fault without them."""
        return self.looked > self.max_bytes

    @property
    def is_broken(self) -> bool:
        """Whether nothing behind the border can be read any more: the item has no end but that of the content."""
        return False

    @abstractmethod
    def look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        """Look at ``data[at:stop]``, the bytes behind those that were looked at.

        Return the item, or None: its end is not there. Then ``looked`` tells from where on more is wanted. ``begin`` is
        called before the next item.
        """

    def value(self, raw: bytes) -> bytes:
        """The value of a record, of the bytes from ``begin`` to ``stop``."""
        return raw

    def run(self, data: bytes | bytearray, at: int, stop: int, end: End, offset: int, line: int) -> Run:
        """Find all items in ``data[at:stop]``, which begins at the border, up to the first that is no record.

        When there is no fault, the item that is not finished is begun.

        Args:
            data: the bytes.
            at: where those begin that are meant.
            stop: where they end.
            end: what is behind these.
            offset: of the border in the unit.
            line: of the unit that it is in.
        """
        records: list[Record] = []
        start, first, shift = at, line, offset - at
        while True:
            at, line = self.quick(data, at, stop, shift, line, records)
            item = self.look(data, at, stop, end) if at < stop else None
            if item is None or item.reason:
                return Run(records, at - start, line - first, item)
            if item.at >= 0:
                before = data.count(b"\n", at, at + item.at) if item.at and self.has_lines else 0
                value = self.value(bytes(data[at + item.begin:at + item.stop]))
                records.append(Record(shift + at + item.at, value, line + before if self.has_lines else -1))
            if self.has_lines:
                line += data.count(b"\n", at, at + item.size)
            at += item.size
            self.begin(False)

    def quick(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        """Take those records from ``at`` on that can be found for less than ``look`` takes; return place and line
        behind them. What is found is the same. ``shift``: what makes a place in ``data`` one in the unit."""
        return at, line
