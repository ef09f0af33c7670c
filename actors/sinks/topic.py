"""A topic on this machine's disk, appended to: exactly once, several partitions by key (``docs/topics.md``)."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.following import Follower
from actors.runtime.ports import UNFLUSHED, Repeated, Sink, SinkOptions
from actors.runtime.values import Payload, Refusal
from actors.topics.blocks import Message, pack_items
from actors.topics.following import TopicFollower
from actors.topics.lock import Holder, described, holder_of
from actors.topics.manifest import read_manifest
from actors.topics.places import topic_folder
from actors.topics.writing import Shape, TopicWriter

__all__ = ["OPTIONS", "Message", "Topic"]


class Topic(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A topic on this machine's disk: a folder of segments, which one process appends to and any number read.

    An item is ``(key, value)``, or a ``Message`` where it has headers or a time of its own, or a value alone: bytes, or
    text. A value that is None says that there is none any more for its key. Messages of one key are in one partition,
    in source order; those of a batch that have no key are in one partition, the next one for each batch.

    Attributes:
        topic: its folder: ``topic:///path/name``, or ``topic:name`` below the state directory; empty for ``NAME``.
        partitions: how many it has. More may be set later (keys then change theirs), never fewer.
        segment_bytes: a segment of this size is full, and another is begun.
        retain_bytes: full segments are let go, the oldest first, while the topic is larger; 0: none is.
        retain_s: a full segment is let go when its last message is older; 0: none is. A segment is also full when its
            first message is a quarter of this old, so what is kept is at most so much older.
        sync: wait for the disk at each group of batches; without it what was written survives the death of any
            process, not that of the machine.

    Example::

        from thresher import sinks  # there is a thresher.sources.Topic, too

        sinks.Topic(topic="topic:///var/topics/live_ratings", partitions=4, retain_s=86400)
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = "lengths and positions in one manifest: exactly once, in source order for each key"
    addressed_by: ClassVar[str] = "topic"
    schemes: ClassVar[tuple[str, ...]] = ("topic",)

    topic: str = ""
    partitions: Annotated[int, Meta(ge=1, le=1024)] = 1
    segment_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024 * 1024
    retain_bytes: Annotated[int, Meta(ge=0)] = 0
    retain_s: Annotated[float, Meta(ge=0)] = 0.0
    sync: bool = True

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the messages, in order and by partition.

        Raises:
            Reject: an item is no message, or longer than 64 MiB.
        """
        return pack_items(items, self.partitions)

    def open(self, name: str, state: Path) -> Sink:
        """Open the topic, made when it is missing, and cut off what a kill left behind what counts.

        Raises:
            ConfigError: another run writes to it, it is no topic, or it has more partitions.
        """
        return _Appending(TopicWriter(self.place(name, state), self._shape(), Holder(name, str(state.absolute()))))

    def tombstones(self) -> str:
        """A value that is None."""
        return "(key, None) goes to those who read: there is none any more for the key"

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        return "" if self.sync else UNFLUSHED

    def repeated(self) -> Repeated:
        """Its position is in the manifest."""
        return "skipped"

    def describe(self) -> str:
        """Say where this writes."""
        count = f"{self.partitions} partitions" if self.partitions > 1 else "1 partition"
        return f"topic {self.topic}, {count}" if self.topic else f"topic, {count}"

    def place(self, name: str, state: Path) -> Path:
        """Where the topic is.

        Raises:
            ConfigError: it is no place of one.
        """
        return topic_folder(self.topic or name, state)

    def check(self, name: str, state: Path) -> list[str]:
        """Say what would keep it from being written to now.

        Raises:
            ConfigError: it has more partitions, or its folder is no place of a topic.
        """
        topic = self.place(name, state)
        there = next(folder for folder in (topic, *topic.parents) if folder.exists())
        if not os.access(there, os.W_OK | os.X_OK):
            return [f"topic {topic}: {there} cannot be written to: change its mode, or set sinks.{name}.topic"]
        holder = holder_of(topic)
        if holder is not None and holder.state != str(state.absolute()):
            return [f"topic {topic}: {described(holder)} writes to it: let this one write to a topic of its own"]
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            found = len(read_manifest(topic).partitions)
            if found > self.partitions:
                raise ConfigError(f"topic {topic}: it has {found} partitions, expected {self.partitions} or fewer: set "
                                  f"sinks.{name}.partitions = {found}, or more")
        return []

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What the manifest says; nothing when there is none."""
        try:
            return read_manifest(self.place(name, state)).applied
        except (OSError, ConfigError):
            return {}

    def follow(self, name: str, state: Path, most: int) -> Follower:
        """Read back the messages, each as a ``Record``."""
        return TopicFollower(self.place(name, state), most)

    def clear(self, name: str, state: Path) -> bool:
        """Let all messages go; offsets go on, so that a reader that follows takes what is new for new.

        Raises:
            ConfigError: another run writes to it, or it is no topic.
        """
        topic = self.place(name, state)
        try:
            read_manifest(topic)
            writer = TopicWriter(topic, self._shape(), Holder(name, str(state.absolute())))
            with contextlib.closing(writer):
                writer.empty()
        except (FileNotFoundError, NotADirectoryError):
            return True
        except (OSError, Retryable) as error:
            why = plain_reason(error) if isinstance(error, OSError) else str(error)
            raise ConfigError(f"topic {topic}: {why}: expected a topic to empty") from error
        return True

    def _shape(self) -> Shape:
        return Shape(self.partitions, self.segment_bytes, self.retain_bytes, self.retain_s, self.sync)


OPTIONS = Topic


class _Appending(Sink):
    """The opened topic.

    Args:
        writer: of it.

    Raises:
        ConfigError: it cannot be written to, whatever is waited for.
    """

    def __init__(self, writer: TopicWriter) -> None:
        self._writer = writer
        try:
            self._writer.open()
        except Retryable:  # `write` says what is wrong, and tries again
            pass
        except BaseException:
            self._writer.close()
            raise

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Append the messages of all batches that are not in the topic yet."""
        self._writer.append(payloads)
        return []

    def close(self) -> None:
        """Close the topic."""
        self._writer.close()
