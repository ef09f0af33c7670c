"""What of a topic is let go, by size and by age: whole segments, the oldest first, never the one that is appended to.

The first offset of a partition is in no file but in the names of its segments: so whoever lets some go, the writer or a
person, changes nothing that the writer has to know of, and they need not agree.
"""

from __future__ import annotations

import contextlib
import heapq
from collections import deque
from collections.abc import Sequence
from pathlib import Path

import msgspec

from actors.runtime.disk import sync_folder
from actors.topics.manifest import Extent
from actors.topics.places import index_file, partition_folder, segment_file, segments_in
from actors.topics.segments import time_of_first


class Kept(msgspec.Struct, frozen=True):
    """A segment that is there.

    Attributes:
        partition: number of its partition.
        first: its first offset.
        end: the offset behind its last message.
        size: its bytes.
        until: none of its messages was appended later, in ms since 1970.
        is_full: nothing more is appended to it.
    """

    partition: int
    first: int
    end: int
    size: int
    until: int
    is_full: bool


def kept(topic: Path, extents: Sequence[Extent]) -> list[Kept]:
    """Return the segments of a topic, by partition and in order."""
    return [segment for number, extent in enumerate(extents)
            for segment in _kept_in(partition_folder(topic, number), number, extent)]


def chosen(segments: Sequence[Kept], retain_bytes: int, retain_s: float, now: int) -> list[Kept]:
    """Return the segments that are let go: of each partition some at its beginning, the oldest first.

    Args:
        segments: all of them, of each partition in order.
        retain_bytes: most bytes of all of them together; 0: any number.
        retain_s: most seconds since the last message of one was appended; 0: any time.
        now: ms since 1970.
    """
    full: dict[int, deque[Kept]] = {}
    for one in segments:
        if one.is_full:
            full.setdefault(one.partition, deque()).append(one)
    held = sum(one.size for one in segments)
    gone: list[Kept] = []
    heads = [(some[0].until, number) for number, some in full.items()]
    heapq.heapify(heads)
    while heads:
        until, number = heapq.heappop(heads)
        if (retain_s > 0 and now - until > 1000 * retain_s) or 0 < retain_bytes < held:
            gone.append(full[number].popleft())
            held -= gone[-1].size
            if full[number]:
                heapq.heappush(heads, (full[number][0].until, number))
    return gone


def trim(
    topic: Path, extents: Sequence[Extent], retain_bytes: int, retain_s: float, now: int, sync: bool
) -> list[Kept]:
    """Let go what is too much or too old; return it. What cannot be removed now is tried again the next time."""
    if not retain_bytes and not retain_s:
        return []
    try:
        gone = chosen(kept(topic, extents), retain_bytes, retain_s, now)
    except OSError:
        return []
    for number in sorted({one.partition for one in gone}):
        with contextlib.suppress(OSError):
            remove(partition_folder(topic, number), [one.first for one in gone if one.partition == number], sync)
    return gone


def remove(folder: Path, firsts: Sequence[int], sync: bool) -> None:
    """Remove segments of a partition, in order; they may be gone.

    Raises:
        OSError: one cannot be removed; those before it are.
    """
    for first in firsts:
        segment_file(folder, first).unlink(missing_ok=True)
        index_file(folder, first).unlink(missing_ok=True)
    if firsts and sync:
        sync_folder(folder)


def _kept_in(folder: Path, number: int, extent: Extent) -> list[Kept]:
    firsts = [first for first in segments_in(folder) if first <= extent.segment]
    found: list[Kept] = []
    for first, end in zip(firsts, [*firsts, extent.next][1:], strict=True):
        if first == extent.segment:
            found.append(Kept(number, first, extent.next, extent.length, extent.time, False))
            continue
        with contextlib.suppress(FileNotFoundError):
            until = time_of_first(segment_file(folder, end)) if end < extent.next else None
            size = segment_file(folder, first).stat().st_size
            found.append(Kept(number, first, end, size, extent.time if until is None else until, True))
    return found
