"""The last messages of a topic, and then those that come: what panels are drawn from.

It has no positions that anybody keeps, and holds up nothing: what retention takes, or is damaged, is passed over (a
source, which has to tell of it, does). A look at a topic that has not changed costs one system call.
"""

from __future__ import annotations

from pathlib import Path

from actors.runtime.framing import Record
from actors.topics.manifest import Extent, Stamp, read_view, stamp_of
from actors.topics.places import partition_folder
from actors.topics.reading import Found, PartitionReader, first_offset


class TopicFollower:
    """Follows all partitions of one topic, which need not be there yet, and may be made anew.

    Args:
        topic: its folder.
        most: so many of the messages that are new, the last ones.
    """

    def __init__(self, topic: Path, most: int) -> None:
        self._topic = topic
        self._most = most
        self._stamp: Stamp | None = None
        self._id = ""
        self._next: list[int] = []

    def new(self) -> list[Record]:
        """Return the messages that were written since the last call: in order of their times, and of one partition in
        its order.

        Raises:
            OSError: they cannot be read now.
            ConfigError: it is no topic.
        """
        stamp = stamp_of(self._topic)
        if stamp is None or stamp == self._stamp:
            return []
        view, stamp = read_view(self._topic)
        known = self._next if view.id == self._id else []
        found: list[Record] = []
        for number, extent in enumerate(view.partitions):
            found += self._records(number, known[number] if number < len(known) else 0, extent)
        self._stamp, self._id, self._next = stamp, view.id, [extent.next for extent in view.partitions]
        found.sort(key=lambda record: record.time or 0)
        return found[-self._most:]

    def close(self) -> None:
        """Nothing is open between two calls."""

    def _records(self, number: int, offset: int, extent: Extent) -> list[Record]:
        folder = partition_folder(self._topic, number)
        start = max(offset, extent.next - self._most, first_offset(folder, extent))
        reader = PartitionReader(folder, start, extent)
        found: list[Record] = []
        try:
            while (one := reader.next()) is not None:
                if isinstance(one, Found):
                    found += one.records
        finally:
            reader.close()
        return found
