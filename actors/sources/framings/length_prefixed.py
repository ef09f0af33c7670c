"""Records with their length before them: messages of protobuf (``varint``), BSON, dumps of many protocols.

    00 00 00 05 h e l l o 00 00 00 02 h i        length = "u32be"
    05 h e l l o 02 h i                          length = "varint"
    09 00 00 00 h e l l o                        length = "u32le", length_counts = "all" (as in BSON)

A record longer than ``max_bytes`` is one fault, and exactly that is passed over. A content that ends within a record is
a fault, and damaged; so is one with a length that cannot be: behind that nothing can be read.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from actors.runtime.framing import Record
from actors.sources.framings.scanner import End, Item, Scanner

#: Ways to write a length, and the bytes that each takes; 0: as many as it needs.
WIDTHS = {"u8": 1, "u16be": 2, "u16le": 2, "u32be": 4, "u32le": 4, "u64be": 8, "u64le": 8, "varint": 0}
Length = Literal["u8", "u16be", "u16le", "u32be", "u32le", "u64be", "u64le", "varint"]
#: No varint of 63 bits is longer, unless it is padded; up to here padding is taken.
_VARINT_BYTES = 9


class LengthPrefixedScanner(Scanner):
    """Records with a length.

    Args:
        max_bytes: longest record, without its length.
        length: how it is written.
        counts_itself: the length counts the bytes that it takes itself, too.
    """

    has_lines: ClassVar[bool] = False

    def __init__(self, max_bytes: int, length: Length = "u32be", counts_itself: bool = False) -> None:
        super().__init__(max_bytes)
        self._width = WIDTHS[length]
        self._order: Literal["little", "big"] = "little" if length.endswith("le") else "big"
        self._counts_itself = counts_itself
        self._begin = 0  # where the value begins; 0: the length is not read
        self._size = 0  # of the record; -1: its length cannot be

    def begin(self, is_first: bool) -> None:
        super().begin(is_first)
        self._begin = self._size = 0

    @property
    def is_long(self) -> bool:
        return self._size - self._begin > self.max_bytes or (self.is_broken and self.looked > self.max_bytes)

    @property
    def is_broken(self) -> bool:
        return self._size < 0

    def look(self, data: bytes | bytearray, at: int, stop: int, end: End) -> Item | None:
        base = at - self.looked
        if not self._begin and not self.is_broken and not self._read_length(data, at, stop):
            return self._cut_off(stop - base) if end.is_final and stop > base else None
        if self.is_broken:
            self.looked = stop - base
            return self._broken() if end.is_final else None
        self.looked = min(stop - base, self._size)
        if self.looked == self._size:
            return self._whole()
        return self._cut_off(self.looked) if end.is_final else None

    def _read_length(self, data: bytes | bytearray, at: int, stop: int) -> bool:
        """Read the length, which nobody has looked at yet; return False when it is not all there."""
        if not self._width:
            return self._read_varint(data, at, stop)
        if stop - at < self._width:
            return False
        self._set(int.from_bytes(data[at:at + self._width], self._order), self._width)
        return True

    def _read_varint(self, data: bytes | bytearray, at: int, stop: int) -> bool:
        length = 0
        for index, byte in enumerate(data[at:min(stop, at + _VARINT_BYTES)]):
            length |= (byte & 127) << 7 * index
            if byte < 128:
                self._set(length, index + 1)
                return True
        self._size = -1 if stop - at >= _VARINT_BYTES else 0
        return self.is_broken

    def _set(self, length: int, width: int) -> None:
        length -= width if self._counts_itself else 0
        if 0 <= length < 1 << 63:
            self._begin, self._size = width, width + length
        else:
            self._size = -1

    def _whole(self) -> Item:
        length = self._size - self._begin
        if length <= self.max_bytes:
            return Item(self._size, 0, self._begin, self._size)
        return Item(self._size, 0, 0, 0, "record_too_long", (
            f"a record of {length} bytes is longer than {self.max_bytes} (max_record_bytes): its bytes are not kept"))

    def _cut_off(self, size: int) -> Item:
        kept = size if size <= self.max_bytes and not self.is_long else 0
        of = f" of {self._size}, its length included" if self._begin else ""
        return Item(size, 0, 0, kept, "truncated_record", (
            f"the content ends within a record, which has {size} bytes{of}; it was probably not copied to its end"))

    def _broken(self) -> Item:
        kept = self.looked if self.looked <= self.max_bytes else 0
        return Item(self.looked, 0, 0, kept, "corrupt_record", (
            f"no record can have the length that stands here: this is no length, or what is before it was none; the "
            f"{self.looked} bytes up to the end were not read"))

    def quick(
        self, data: bytes | bytearray, at: int, stop: int, shift: int, line: int, records: list[Record]
    ) -> tuple[int, int]:
        width, order, most = self._width, self._order, self.max_bytes
        if not width:
            return self._varints(data, at, stop, shift, records), line
        own = width if self._counts_itself else 0
        with memoryview(data) as view:
            while (begin := at + width) <= stop:
                length = int.from_bytes(view[at:begin], order) - own
                if not 0 <= length <= most or begin + length > stop:
                    break
                records.append(Record(shift + at, bytes(view[begin:begin + length])))
                at = begin + length
        return at, line

    def _varints(self, data: bytes | bytearray, at: int, stop: int, shift: int, records: list[Record]) -> int:
        """Those whose length takes one byte or two."""
        own, most = self._counts_itself, self.max_bytes
        with memoryview(data) as view:
            while at + 1 < stop:
                length, begin = view[at], at + 1
                if length > 127:
                    length, begin = length & 127 | view[begin] << 7, begin + 1
                    if length > 16383:
                        break
                length -= (begin - at) * own
                if not 0 <= length <= most or begin + length > stop:
                    break
                records.append(Record(shift + at, bytes(view[begin:begin + length])))
                at = begin + length
        return at
