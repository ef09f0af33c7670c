"""A topic on this machine's disk, or several: followed, or read to its end (``docs/topics.md``).

    manifest replaced ──inotify, poll──▶ how far does each partition go? ──▶ those that have grown, in turn ──▶ chunks

Each partition is a unit, and a partition of its own: positions are offsets, they count messages. What was read is in
this run's ledger and nowhere in the topic, so readers know nothing of one another, and the writer nothing of them.

Guarantees: what is handed out is on the disk, so no power cut brings other messages under the same offsets. What is not
there any more when its turn comes (it was let go by size or age), or is damaged, is a dead letter with its range, and a
unit that is not whole: never a gap that nobody hears of.

What does not work: to hold back what a reader has not read (one that never comes again would fill the disk); offsets in
the topic (two runs would share them, and they cannot be of one transaction with what a run has folded).
"""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.ports import Source, SourceOptions, UnitLedger
from actors.runtime.values import Chunk, Unit
from actors.sources.topic_partitions import KIND, Partition, begin_at, fingerprint
from actors.sources.watch import Watch
from actors.topics.manifest import Stamp, View, read_view, stamp_of
from actors.topics.places import partition_folder, topic_folder, without_scheme

#: Topics that ``describe`` names before it only counts.
_NAMED = 3


class Topic(SourceOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read topics on this machine's disk, as they are written or up to their end.

    Attributes:
        topics: which: ``topic:///path/name``, or ``topic:name`` below the state directory. With ``follow`` one may
            come later.
        start: where a topic begins that this state has not read before: ``earliest``, ``latest``, or a time as
            ISO 8601 (UTC where it says nothing else) or in ms since 1970: the first message of that time or later. A
            partition that comes later is read from its beginning.
        follow: False: read what is there when it starts, and end.
        idle_timeout_s: a partition that has been silent for so long is not waited for by the watermark.
        poll_s: look so often even when the kernel says nothing of changes.

    Example::

        from thresher import sources  # there is a thresher.sinks.Topic, too

        sources.Topic(topics=["topic:///var/topics/live_ratings"], start="latest")
    """

    guarantee: ClassVar[str] = (
        "resumes at the last committed offset of each partition; what was let go before it was read is told")
    follows: ClassVar[bool] = True
    addressed_by: ClassVar[str] = "topics"
    schemes: ClassVar[tuple[str, ...]] = ("topic",)

    topics: list[str] = []
    start: str = "earliest"
    follow: bool = True
    idle_timeout_s: Annotated[float, Meta(ge=0)] = 60.0
    poll_s: Annotated[float, Meta(gt=0)] = 1.0

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> TopicSource:
        """Begin to watch.

        Raises:
            ConfigError: no topic is named, one is not there (unless it is followed), or ``start`` is no moment.
        """
        self._require_topics(state)
        return TopicSource(self, ledger, batch_bytes, state)

    def describe(self) -> str:
        """Say where this reads: ``topics live_ratings, followed``."""
        more = f" and {len(self.topics) - _NAMED} more" if len(self.topics) > _NAMED else ""
        named = f"topics {', '.join(self.topics[:_NAMED])}{more}" if self.topics else "no topics"
        return f"{named}{', followed' if self.follow else ''}"

    def sample(self) -> Topic:
        """What is there when it is read, and no more."""
        return Topic(topics=self.topics, start=self.start, follow=False, idle_timeout_s=self.idle_timeout_s,
                     poll_s=self.poll_s)

    def require_addresses(self, state: Path) -> None:
        """They are places of topics, each once, and ``start`` is a moment."""
        self._named(state)

    def check(self, state: Path) -> list[str]:
        """Say which topics cannot be read now. One that is followed may come later.

        Raises:
            ConfigError: no topic is named, one is not there (unless it is followed), or ``start`` is no moment.
        """
        problems = []
        for _, folder in self._require_topics(state):
            try:
                read_view(folder)
            except (FileNotFoundError, NotADirectoryError):
                if folder.exists() and not folder.is_dir():
                    problems.append(f"topic {folder}: it is a file: set source.topics")
            except OSError as error:
                problems.append(f"topic {folder}: {plain_reason(error)}: change its mode, or set source.topics")
        return problems

    def _named(self, state: Path) -> list[tuple[str, Path]]:
        """The topics, by the names they have for people; they need not be there."""
        if not self.topics:
            raise ConfigError("the topic source has nothing to read: topics is empty; expected e.g. topics = "
                              "[\"topic:///var/topics/live_ratings\"]")
        moment_of(self.start)
        found = [(without_scheme(text), topic_folder(text, state)) for text in self.topics]
        folders = [folder for _, folder in found]
        if twice := [folder for at, folder in enumerate(folders) if folder in folders[:at]]:
            raise ConfigError(f"topic {twice[0]}: named twice in source.topics: expected each once")
        return found

    def _require_topics(self, state: Path) -> list[tuple[str, Path]]:
        """The same; they are there."""
        found = self._named(state)
        missing = [folder for _, folder in found if stamp_of(folder) is None]
        if missing and not self.follow:
            raise ConfigError(f"topic {missing[0]}: there is no topic: expected the folder of one (with a "
                              "manifest.json), as the sink `topic` makes it; `thresher topic ls DIR` lists those in a "
                              "folder; one that is followed may come later")
        return found


OPTIONS = Topic


def moment_of(start: str) -> int | None:
    """Return the time that a reader begins at, in ms since 1970; None: at one of the ends.

    Raises:
        ConfigError: it is no moment.
    """
    if start in ("earliest", "latest"):
        return None
    try:
        if start.isdecimal():
            return int(start)
        found = datetime.fromisoformat(start)
    except ValueError as error:
        raise ConfigError(f"source.start: expected earliest, latest, ms since 1970, or a time like "
                          f"2026-11-28T12:00:00, got {start!r}") from error
    return int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)


class _Followed:
    """A topic that is looked at: its name, folder, how far it goes and what was known of it before."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name = name
        self.folder = folder
        self.view: View | None = None
        self.stamp: Stamp | None = None
        self.partitions: list[Partition] = []


def _there(topic: _Followed) -> str:
    """The folder that is watched for a topic: its own or, as long as it is not there, the one that it will be in."""
    return os.fspath(next(folder for folder in (topic.folder, *topic.folder.parents) if folder.is_dir()))


class TopicSource(Source):
    """The opened source.

    Args:
        options: which topics, and from where on.
        ledger: what is known about them.
        batch_bytes: size of a chunk, about.
        state: the state directory.
        clock: monotonic seconds.
    """

    def __init__(self, options: Topic, ledger: UnitLedger, batch_bytes: int, state: Path,
                 clock: Callable[[], float] = time.monotonic) -> None:
        self.exhausted = False
        self.endless = options.follow
        self._options = options
        self._ledger = ledger
        self._batch_bytes = batch_bytes
        self._clock = clock
        self._topics = [_Followed(without_scheme(text), topic_folder(text, state)) for text in options.topics]
        self._turns: deque[Partition] = deque()
        can_watch = options.follow and importlib.util.find_spec("watchfiles") is not None
        self._watch = Watch(options.poll_s) if can_watch else None
        self.wake = None if self._watch is None else self._watch.wake
        self._look_at = -math.inf
        self._is_stopped = False
        self._read_bytes = self._total_bytes = 0

    def read(self) -> Chunk | None:
        """Return the next chunk, of the partition whose turn it is; None: no partition has more.

        Raises:
            Retryable: a topic cannot be read now.
        """
        if self.exhausted:
            return None
        if not self._is_stopped:
            self._look_if_due()
        while self._turns:
            partition = self._turns[0]
            try:
                chunk = partition.next(self._batch_bytes)
            except OSError as error:
                raise Retryable(f"topic {partition.unit.name}: {plain_reason(error)}") from error
            self._turns.popleft()
            partition.queued = False
            if chunk is not None:
                self._queue(partition)
                self._read_bytes += partition.take_passed_bytes()
                if chunk.fault:
                    self._ledger.damaged(partition.unit, chunk.detail, "")
                return chunk
            self._end_if_over(partition)
        if self._is_stopped:
            self.exhausted = True
        elif not self._options.follow:
            self.exhausted = all(partition.is_over for topic in self._topics for partition in topic.partitions)
        return None

    def stop(self) -> None:
        """Read no further: what is not read stays for the next run. What is gone is told."""
        self._is_stopped = True
        self._turns = deque(partition for partition in self._turns if partition.is_gone)
        self.exhausted = not self._turns

    def active(self) -> tuple[int, ...]:
        """The ids of those units that have something unread, or have grown within ``idle_timeout_s``."""
        since = self._clock() - self._options.idle_timeout_s
        return tuple(sorted(partition.unit.id for topic in self._topics for partition in topic.partitions
                            if not partition.is_over and (partition.has_more() or partition.touched > since)))

    def lag(self) -> dict[int, int]:
        """Messages of each partition that are not durable here; the manifests are looked at when it is time, also while
        nothing can be read on."""
        if not self.exhausted:
            self._look_if_due()
        return {partition.unit.id: partition.behind() for topic in self._topics for partition in topic.partitions
                if not partition.is_over}

    def progress(self) -> tuple[int, int]:
        """Bytes read, and known to be there, on the disk."""
        return self._read_bytes, max(self._read_bytes, self._total_bytes)

    def close(self) -> None:
        """Close the files, and watch no more."""
        for topic in self._topics:
            for partition in topic.partitions:
                partition.close()
        if self._watch is not None:
            self._watch.close()

    def _queue(self, partition: Partition) -> None:
        if not partition.queued and not partition.is_over:
            partition.queued = True
            self._turns.append(partition)

    def _end_if_over(self, partition: Partition) -> None:
        if (partition.is_gone or not self._options.follow) and not partition.is_over:
            partition.is_over = True
            self._ledger.end(partition.unit, partition.position)
            partition.close()

    # How far they go -------------------------------------------------------------------------------------------------

    def _look_if_due(self) -> None:
        """Look at the manifests, when the kernel says that one was replaced, and every so often; once, to the end."""
        now = self._clock()
        if self._watch is not None:
            is_asked = self._watch.over(map(_there, self._topics)) or bool(self._watch.changed())
        else:
            is_asked = False
        if is_asked or now >= self._look_at:
            for topic in self._topics:
                self._look(topic, now)
            self._look_at = now + self._options.poll_s if self._options.follow else math.inf

    def _look(self, topic: _Followed, now: float) -> None:
        stamp = stamp_of(topic.folder)
        if stamp is None and not self._options.follow:
            raise Retryable(f"topic {topic.folder}: there is no topic any more")
        if stamp is None or stamp == topic.stamp:
            return
        try:
            view, topic.stamp = read_view(topic.folder)
        except FileNotFoundError:
            return
        except OSError as error:
            raise Retryable(f"topic {topic.folder}: {plain_reason(error)}") from error
        if topic.view is not None and topic.view.id != view.id:
            self._make_anew(topic)
        topic.view = view
        if len(topic.partitions) < len(view.partitions):
            self._take_up(topic, view, now)
        for partition, extent in zip(topic.partitions, view.partitions, strict=False):
            if partition.grow(extent, now):
                self._queue(partition)
        self._total_bytes = self._read_bytes + sum(
            partition.ahead() for each in self._topics for partition in each.partitions)

    def _take_up(self, topic: _Followed, view: View, now: float) -> None:
        """Begin partitions, or go on with them. Where those of a topic begin is decided once, for all of them."""
        known = {unit.fingerprint: unit for unit in self._ledger.known(f"{KIND}{view.id} ")}
        for number in range(len(topic.partitions), len(view.partitions)):
            extent, folder = view.partitions[number], partition_folder(topic.folder, number)
            name, mark = f"{topic.name}/{number}", fingerprint(view.id, number)
            unit = known.get(mark)
            recorded: list[tuple[int, int]] = []
            if unit is None:
                is_added = bool(known) or any(partition.old for partition in topic.partitions)
                first = begin_at(folder, extent, "earliest" if is_added else self._options.start,
                                 None if is_added else moment_of(self._options.start))
                unit = self._ledger.begin(name, mark, alone=True, after=(first, 0))
            else:
                recorded = self._ledger.boundaries(unit)
                self._ledger.resume(unit, name, mark)
            topic.partitions.append(Partition(unit, folder, extent, recorded, now))
        for partition in topic.partitions:
            partition.old = True

    def _make_anew(self, topic: _Followed) -> None:
        """Another topic lies where this one was: what was read of it is all that there is."""
        for partition in topic.partitions:
            self._ledger.noted(partition.unit, "another topic has been made in its place")
            partition.give_up(f"{topic.folder} was made anew before all of it was read: offsets from "
                              f"{partition.position} on are lost")
            self._queue(partition)
        topic.partitions = []

    def finished(self, unit: Unit) -> None:
        """Nothing to put away: retention lets go what is old."""
