"""Topics for tests: appended to as a writer does it, and read as a reader does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from actors.runtime.framing import RECORDS, Record, records_in
from actors.runtime.values import Chunk, Payload
from actors.sinks.topic import Topic as TopicSink
from actors.sources.topic import Topic
from actors.testing.reading import Reading
from actors.topics.blocks import pack_items
from actors.topics.lock import Holder
from actors.topics.reading import read_topic
from actors.topics.writing import Shape, TopicWriter


def payload(items: Sequence[Any], start: int, end: int, partition: str = "p", partitions: int = 1) -> Payload:
    """A batch of items, as a worker packs it."""
    return Payload(partition, start, end, len(items), pack_items(items, partitions))


class Feed:
    """Appends batches of items, one behind the other, each with a writer of its own unless it is kept.

    Args:
        topic: the folder.
        shape: of the topic.
        clock: seconds since 1970.
    """

    def __init__(self, topic: Path, clock: Callable[[], float] = lambda: 1.0, **shape: Any) -> None:
        self.topic = topic
        self.clock = clock
        self.shape = Shape(**{"sync": False, **shape})
        self.at = 0

    def open(self) -> TopicWriter:
        """A writer."""
        return TopicWriter(self.topic, self.shape, Holder("feed", "/feed"), self.clock)

    def append(self, *items: Any) -> None:
        """Append one batch."""
        with closing(self.open()) as writer:
            writer.append([self.batch(*items)])

    def batch(self, *items: Any) -> Payload:
        """The next batch."""
        self.at += 1
        return payload(items, self.at - 1, self.at, partitions=self.shape.partitions)


def killed(writer: Any) -> None:
    """What is left of a writer whose process was killed: its files, without the lock."""
    os.close(writer._lock._descriptor)
    writer._lock._descriptor = -1
    writer._let_go()


def values(topic: Path, partition: int | None = None) -> list[bytes | None]:
    """The values in a topic, by partition and in order."""
    return [record.value for _, record in read_topic(topic, partition)]


@contextmanager
def reading(state: Path, *topics: Path, batch_bytes: int = 64, **options: Any) -> Iterator[Reading]:
    """A source of topics as its reader uses it."""
    with Reading(Topic(topics=[str(topic) for topic in topics], **options), state, batch_bytes) as found:
        yield found


def records(chunks: Sequence[Chunk]) -> list[Record]:
    """What is in chunks that are no faults."""
    assert all(chunk.framing == RECORDS for chunk in chunks if not chunk.fault)
    return [record for chunk in chunks if not chunk.fault for record in records_in(chunk.data)]


def read_values(chunks: Sequence[Chunk]) -> list[bytes | None]:
    """The values in chunks that are no faults."""
    return [record.value for record in records(chunks)]


def sink(topic: Path, **options: Any) -> TopicSink:
    """The options of a sink."""
    return TopicSink(topic=str(topic), **options)
