"""One partition of a topic, read from any offset on.

    offset ─▶ which segment (their names) ─▶ which block (the index, then headers) ─▶ checksum ─▶ messages
              └ gone: a gap, "lost"           └ damaged: a gap, "damaged", up to the next block that is whole

Reads only what the manifest says is there, and on the disk. Messages of a block that are before the offset are passed
over. A gap has both its ends: whatever is not there, or not what was written, is in one, and nothing is left out in
silence. A segment that is let go while it is open is read to its end.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from actors.runtime.errors import DecodeError
from actors.runtime.framing import Record
from actors.topics.blocks import Header, messages_in
from actors.topics.manifest import Extent, read_view
from actors.topics.places import partition_folder, segment_file, segments_in
from actors.topics.segments import Segment


class Found(NamedTuple):
    """Messages, one behind the other, and how many bytes they take on the disk."""

    records: list[Record]
    size: int


class Gap(NamedTuple):
    """Offsets ``[start, end)`` that cannot be read.

    Attributes:
        start: the first of them.
        end: behind the last of them.
        kind: ``lost``: their segment is gone; ``damaged``: it is there, and is not what was written.
        why: for a person.
    """

    start: int
    end: int
    kind: Literal["lost", "damaged"]
    why: str


class PartitionReader:
    """One partition, open for reading.

    Args:
        folder: of the partition.
        offset: of the first message that is wanted.

    Attributes:
        offset: of the next message.
        extent: how far the partition goes; set it to let this read further.
    """

    def __init__(self, folder: Path, offset: int, extent: Extent) -> None:
        self.folder = folder
        self.offset = offset
        self.extent = extent
        self._segment: Segment | None = None
        self._until = 0  # the offset behind the last message of the open segment, when it is full
        self._place = self._at = 0

    def next(self) -> Found | Gap | None:
        """Return what comes next, a block at most; None: nothing, for now.

        Raises:
            OSError: it cannot be read.
        """
        if self.offset >= self.extent.next:
            return None
        segment = self._opened()
        if isinstance(segment, Gap):
            return self._passed(segment)
        until = self._end_of(segment)
        header = segment.header_at(self._place)
        if header is None or not self.offset < header.end <= until:
            header = self._behind_damage(segment, until)
        if header is None or header.offset > self.offset:
            return self._passed(self._hole(segment, until if header is None else header.offset))
        place, self._place = self._place, self._place + header.whole
        try:
            records = messages_in(header, segment.body_of(place, header))
        except DecodeError as error:
            return self._passed(self._damaged(segment, header.end, f"at byte {place}: {error}"))
        records = records[self.offset - header.offset:]
        self.offset = header.end
        return Found(records, header.whole)

    def ahead(self) -> int:
        """Return how many bytes are to be read, about."""
        if self.offset >= self.extent.next:
            return 0
        last = self.extent.segment
        total = self.extent.length
        if self._segment is not None and self._segment.first == last:
            return total - self._place
        start = 0 if self._segment is None else self._segment.first
        for first in segments_in(self.folder):
            if start <= first < last:
                try:
                    total += segment_file(self.folder, first).stat().st_size
                except OSError:
                    continue
        return max(0, total - (0 if self._segment is None else self._place))

    def close(self) -> None:
        """Close the open segment."""
        if self._segment is not None:
            self._segment.close()
            self._segment = None

    def _opened(self) -> Segment | Gap:
        """Return the segment that the next message is in, or the gap up to the first that is there."""
        segment = self._segment
        if segment is not None and segment.first == self.extent.segment:
            segment.length = self.extent.length
        elif segment is not None and not self._until:  # it was appended to, and has become full since
            segment.length = segment.size()
            self._until = next((first for first in segments_in(self.folder)
                                if segment.first < first < self.extent.segment), self.extent.segment)
        if segment is not None and self.offset < self._end_of(segment):
            return segment
        self.close()
        return self._open()

    def _open(self) -> Segment | Gap:
        while True:
            firsts = [first for first in segments_in(self.folder) if first <= self.extent.segment]
            before = [first for first in firsts if first <= self.offset]
            is_gone = bool(before) and before[-1] < self.extent.segment <= self.offset  # what is appended to
            if not before or is_gone:
                until = firsts[0] if firsts and not is_gone else self.extent.next
                return Gap(self.offset, until, "lost", f"the segments of offsets {self.offset} to {until - 1} are gone")
            first = before[-1]
            try:
                descriptor = os.open(segment_file(self.folder, first), os.O_RDONLY | os.O_CLOEXEC)
            except FileNotFoundError:  # let go since
                continue
            is_last = first == self.extent.segment
            self._until = 0 if is_last else next((one for one in firsts if one > first), self.extent.segment)
            length = self.extent.length if is_last else os.fstat(descriptor).st_size
            self._segment = Segment(self.folder, first, descriptor, length)
            self._place = self._segment.place_of(self.offset)
            return self._segment

    def _end_of(self, segment: Segment) -> int:
        return self.extent.next if segment.first == self.extent.segment else self._until

    def _behind_damage(self, segment: Segment, until: int) -> Header | None:
        """There is no block where one has to be: go to the next one that is wanted; None: there is none."""
        self._at = self._place
        found = segment.find_block(self._place, self.offset, until)
        self._place = segment.length if found is None else found
        return None if found is None else segment.header_at(found)

    def _hole(self, segment: Segment, end: int) -> Gap:
        """No block has the offsets up to this one."""
        if self._at >= segment.length and segment.first != self.extent.segment:
            return Gap(self.offset, end, "lost", f"{self.folder}: offsets {self.offset} to {end - 1} are gone")
        return self._damaged(segment, end, f"no block at byte {self._at}")

    def _damaged(self, segment: Segment, end: int, why: str) -> Gap:
        path = segment_file(self.folder, segment.first)
        return Gap(self.offset, end, "damaged", f"{path} is damaged: offsets {self.offset} to {end - 1}: {why}")

    def _passed(self, gap: Gap) -> Gap:
        self.offset = gap.end
        return gap


def first_offset(folder: Path, extent: Extent) -> int:
    """Return the offset of the first message that a partition has still, or has to have: the segment that is appended
    to never goes, so when none is there, somebody has removed it, and what was in it is to be told; of the next one, if
    it has none."""
    there = segments_in(folder)
    if there and there[0] > extent.segment:  # the manifest has moved on since, and the rest was let go
        return extent.next
    return there[0] if there else extent.segment


def offset_at(folder: Path, extent: Extent, time: int) -> int:
    """Return the offset of the first message of this time or later; of the next one, if there is none.

    Args:
        folder: of the partition.
        extent: how far it goes.
        time: ms since 1970.
    """
    if extent.newest < time:
        return extent.next
    firsts = [first for first in segments_in(folder) if first <= extent.segment]
    low, high = 0, len(firsts)
    while low < high:  # the first segment that begins with such a block
        middle = (low + high) // 2
        header = _first_header(folder, firsts[middle])
        if header is not None and header.newest >= time:
            high = middle
        else:
            low = middle + 1
    for first in firsts[max(0, low - 1):low + 1]:  # or one within the segment before it
        found = _offset_in(folder, first, extent, time)
        if found is not None:
            return found
    return first_offset(folder, extent)


def read_topic(topic: Path, partition: int | None = None) -> Iterator[tuple[int, Record]]:
    """Yield all messages of a topic that is not damaged, partition by partition.

    Raises:
        FileNotFoundError: there is none.
        DecodeError: some of it is damaged, or lost.
    """
    view, _ = read_view(topic)
    for number, extent in enumerate(view.partitions):
        if partition in (None, number):
            folder = partition_folder(topic, number)
            reader = PartitionReader(folder, first_offset(folder, extent), extent)
            try:
                while (found := reader.next()) is not None:
                    if isinstance(found, Gap):
                        raise DecodeError(found.why)
                    yield from ((number, record) for record in found.records)
            finally:
                reader.close()


def _first_header(folder: Path, first: int) -> Header | None:
    try:
        with segment_file(folder, first).open("rb", buffering=0) as file:
            return Header.read(file.read(64) or b"")
    except OSError:
        return None


def _offset_in(folder: Path, first: int, extent: Extent, time: int) -> int | None:
    """The offset of the first message of this time or later in a segment."""
    try:
        descriptor = os.open(segment_file(folder, first), os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    length = extent.length if first == extent.segment else os.fstat(descriptor).st_size
    segment = Segment(folder, first, descriptor, length)
    try:
        place: int | None = segment.place_at(time)
        if place is not None and place < length and segment.header_at(place) is None:  # it is damaged
            place = segment.find_block(place, first, extent.next)
        header = None if place is None else segment.header_at(place)
        if place is None or header is None:
            return None
        try:
            records = messages_in(header, segment.body_of(place, header))
        except DecodeError:
            return header.offset
        return next((record.offset for record in records if (record.time or 0) >= time), header.offset)
    finally:
        segment.close()
