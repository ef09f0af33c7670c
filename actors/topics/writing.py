"""The writer of a topic: appends batches to all of its partitions, and commits them together.

    pieces ──▶ blocks ──▶ segments, flushed ──▶ folders, flushed ──▶ manifest, renamed, flushed ──▶ acknowledged

Guarantees: a batch whose end is at or below the position of its partition in the manifest is in the topic, and is not
appended again; all others are not in it at all. What a kill or a power cut leaves behind the committed length of a
segment is cut off before anything is appended. One process writes to a topic (a lock on a file, which is gone with its
process); another is refused, and is told by whom it is held. When an append fails nothing has happened: everything is
closed, and opened anew by the next. Files that somebody removes or replaces under the writer take nothing any more: the
segments of a group are looked for at their paths before the manifest counts it, or it would be on no disk.

The time of a block is the clock's, or that of the block before it when the clock has gone back: it never changes once
the batch is committed, however often that is delivered.
"""

from __future__ import annotations

import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from zlib import crc32

import msgspec

from actors.runtime.disk import is_at, make_folder, sync_folder, write_all
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.values import Payload
from actors.topics import retention
from actors.topics.blocks import ANY, Header, Piece, pieces_in
from actors.topics.lock import Holder, Lock
from actors.topics.manifest import Extent, Manifest, commit, read_manifest
from actors.topics.places import index_file, is_partition, partition_folder, segment_file, segments_in
from actors.topics.segments import ENTRY_BYTES, INDEX_EVERY_BYTES, Entry, read_index

#: Most partitions of batches that a manifest knows, which is written with every group: see ``actors.sinks.lines``.
MAX_APPLIED = 8192
#: A segment ends when its first message is older than this share of the age that is kept.
_AGE_SHARE = 4
#: What is said when the folder is not the one that was opened.
_REPLACED = ("removed or replaced while it was written to: what was in it is lost, and nothing is written on: put it "
             "back, or run again to begin another topic in its place")
#: What helps when files are not those that the manifest is about.
_MEND = "put it back, let all messages go (run --fresh), or move the topic away to begin another"


class Shape(msgspec.Struct, frozen=True):
    """How a topic is to be.

    Attributes:
        partitions: how many it has; it may be given more later, never fewer.
        segment_bytes: a segment of this size is full.
        retain_bytes: full segments go, the oldest first, while all of the topic is larger; 0: none goes.
        retain_s: a full segment goes when its last message is older; 0: none goes.
        sync: wait for the disk.
    """

    partitions: int = 1
    segment_bytes: int = 64 * 1024 * 1024
    retain_bytes: int = 0
    retain_s: float = 0.0
    sync: bool = True


class Appending:
    """One partition, open for appending.

    Args:
        folder: of the partition.
        extent: what counts of it.
        shape: of the topic.

    Raises:
        ConfigError: its files are not those that the manifest is about.
        OSError: they cannot be opened.
    """

    def __init__(self, folder: Path, extent: Extent, shape: Shape) -> None:
        self.extent = extent
        self.has_rolled = False
        self._folder = folder
        self._shape = shape
        self._path = segment_file(folder, extent.segment)
        self._descriptor = self._index = -1
        self._is_new = False
        self._waiting: list[bytes | memoryview] = []
        self._waiting_bytes = 0
        self._indexed = 0
        self._entries = 0
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def add(self, piece: Piece, now: int) -> None:
        """Append a piece; it is in the file after ``flush``."""
        extent = self.extent
        if extent.length and self._is_full(now):
            self._roll()
            extent = self.extent
        now = max(now, extent.time)
        own = extent.newest if piece.own is None else max(piece.own, extent.newest)
        header = Header(len(piece.body), crc32(piece.body), extent.next, piece.count, now,
                        own if piece.all_own else max(own, now))
        if extent.length - self._indexed >= INDEX_EVERY_BYTES:
            self._note(Entry(extent.next, extent.length, extent.newest))
        self._waiting += [header.packed(), piece.body]
        self._waiting_bytes += header.whole
        self.extent = Extent(extent.segment, extent.length + header.whole, header.end, now, header.newest,
                             extent.began or now)

    def flush(self) -> None:
        """Write what was added; it is on the disk when this returns."""
        if self._waiting:
            self._require_whole()
            write_all(self._descriptor, self._waiting, self.extent.length - self._waiting_bytes)
            if self._shape.sync:
                os.fdatasync(self._descriptor)
            self._waiting, self._waiting_bytes = [], 0
            self._require_in_place()
        if self._is_new and self._shape.sync:
            sync_folder(self._folder)
        self._is_new = False

    def close(self) -> None:
        """Close the files."""
        for descriptor in (self._descriptor, self._index):
            if descriptor >= 0:
                os.close(descriptor)
        self._descriptor = self._index = -1

    def _require_whole(self) -> None:
        """What was flushed before is in the file: else what is appended would lie behind a hole."""
        size, before = os.fstat(self._descriptor).st_size, self.extent.length - self._waiting_bytes
        if size < before:
            raise ConfigError(f"{self._path}: expected at least {before} bytes, as were written, got {size}: it was "
                              f"cut while it was written to: {_MEND}")

    def _require_in_place(self) -> None:
        """Readers find what was appended: else it is on no disk once this is closed, though it was acknowledged."""
        if not is_at(self._path, self._descriptor):
            raise ConfigError(f"{self._path}: it was removed, moved away or replaced while it was written to: what is "
                              f"in it is lost to all who read, and nothing is written on: {_MEND}")

    def _open(self) -> None:
        """Open the segment, and cut off what does not count. One that is refused is as it was."""
        extent = self.extent
        path = self._path = segment_file(self._folder, extent.segment)
        make = 0 if extent.length else os.O_CREAT
        if make:
            make_folder(self._folder)
        try:
            self._descriptor = os.open(path, os.O_RDWR | make | os.O_CLOEXEC, 0o644)
        except FileNotFoundError as error:
            raise ConfigError(f"{path}: expected at least {extent.length} bytes, as the manifest of the topic says, "
                              f"got no file: it was removed: {_MEND}") from error
        size = os.fstat(self._descriptor).st_size
        if size < extent.length:
            raise ConfigError(f"{path}: expected at least {extent.length} bytes, as the manifest of the topic says, "
                              f"got {size}: it was cut or replaced: {_MEND}")
        self._is_new = not extent.length  # or left by a generation that died before its name was on the disk
        for first in segments_in(self._folder):
            if first > extent.segment:  # begun by an append that failed: it never counted, and must not by and by
                segment_file(self._folder, first).unlink()
                self._is_new = True
        if size > extent.length:
            os.ftruncate(self._descriptor, extent.length)
        entries = read_index(self._folder, extent.segment, extent.length)
        self._index = os.open(index_file(self._folder, extent.segment), os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._entries = len(entries)
        os.ftruncate(self._index, self._entries * ENTRY_BYTES)
        self._indexed = entries[-1].place if entries else 0

    def _is_full(self, now: int) -> bool:
        age_ms = 1000 * self._shape.retain_s / _AGE_SHARE
        return self.extent.length >= self._shape.segment_bytes or bool(age_ms and now - self.extent.began > age_ms)

    def _roll(self) -> None:
        """Begin another segment. It counts when the manifest says so: one that is there already never did."""
        self.flush()
        self._require_in_place()
        self.close()
        self.extent = msgspec.structs.replace(self.extent, segment=self.extent.next, length=0, began=0)
        self.has_rolled = True
        self._open()

    def _note(self, entry: Entry) -> None:
        os.pwrite(self._index, entry.packed(), self._entries * ENTRY_BYTES)
        self._entries += 1
        self._indexed = entry.place


class TopicWriter:
    """A topic, open for appending.

    Args:
        topic: its folder, made when it is missing.
        shape: how it is to be.
        holder: who writes.
        clock: seconds since 1970.

    Raises:
        ConfigError: another process writes to it, it is no topic, has more partitions than it is to have, or its files
            are not those that its manifest is about.
    """

    def __init__(self, topic: Path, shape: Shape, holder: Holder, clock: Callable[[], float] = time.time) -> None:
        self._topic = topic
        self._shape = shape
        self._clock = clock
        self._lock = Lock(topic, holder)
        self._manifest: Manifest | None = None
        self._tails: list[Appending] = []
        self._id = ""  # of the topic, once it was opened
        self._has_to_trim = True

    def open(self) -> None:
        """Open it now, and not with the first append.

        Raises:
            Retryable: it cannot be opened now.
        """
        self._opened()

    def append(self, payloads: Sequence[Payload]) -> None:
        """Append those batches that are not in the topic yet, in order.

        Raises:
            Retryable: the disk is full, or has failed; nothing was appended.
        """
        manifest = self._opened()
        applied, turn = dict(manifest.applied), manifest.turn
        now = int(self._clock() * 1000)
        try:
            for payload in payloads:
                if payload.end > applied.get(payload.partition, -1):
                    turn = self._add(payload, turn, now)
                    applied.pop(payload.partition, None)
                    applied[payload.partition] = payload.end
            if applied == manifest.applied:
                return
            for partition in list(itertools.islice(applied, max(0, len(applied) - MAX_APPLIED))):
                del applied[partition]
            for tail in self._tails:
                tail.flush()
            self._require_ours()
            self._commit(msgspec.structs.replace(
                manifest, partitions=[tail.extent for tail in self._tails], applied=applied, turn=turn))
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise Retryable(f"topic {self._topic}: {plain_reason(error)}") from error
            raise
        self._trim(now)

    def empty(self) -> None:
        """Have no message any more, and no batch applied; offsets go on, so that no reader takes new for old.

        Raises:
            Retryable: it cannot be done now.
        """
        try:
            manifest = self._held()  # and not the segments: one that is gone is no reason to keep the others
        except OSError as error:
            raise Retryable(f"topic {self._topic}: {plain_reason(error)}") from error
        extents = [msgspec.structs.replace(extent, segment=extent.next, length=0, began=0)
                   for extent in manifest.partitions]
        try:
            self._commit(msgspec.structs.replace(manifest, partitions=extents, applied={}))
            for number, extent in enumerate(extents):
                folder = partition_folder(self._topic, number)
                retention.remove(folder, [first for first in segments_in(folder) if first < extent.segment],
                                 self._shape.sync)
        except OSError as error:
            raise Retryable(f"topic {self._topic}: {plain_reason(error)}") from error
        finally:
            self._let_go()

    def close(self) -> None:
        """Close everything, and let another process write."""
        self._let_go()
        self._lock.release()

    def _add(self, payload: Payload, turn: int, now: int) -> int:
        """Append a batch; return so many batches with messages without a key were appended."""
        has_any = False
        for piece in pieces_in(payload.data):
            has_any |= piece.partition == ANY
            number = turn % self._shape.partitions if piece.partition == ANY else piece.partition
            self._tails[number].add(piece, now)
        return turn + has_any

    def _commit(self, manifest: Manifest) -> None:
        commit(self._topic, manifest)
        self._manifest = manifest

    def _let_go(self) -> None:
        """Forget what was not committed."""
        for tail in self._tails:
            tail.close()
        self._tails, self._manifest = [], None

    def _opened(self) -> Manifest:
        if self._manifest is not None:
            return self._manifest
        try:
            manifest = self._held()
            for number, extent in enumerate(manifest.partitions):
                self._tails.append(Appending(partition_folder(self._topic, number), extent, self._shape))
            self._manifest = manifest
        except BaseException as error:
            self._let_go()
            if isinstance(error, OSError):
                raise Retryable(f"topic {self._topic}: {plain_reason(error)}") from error
            raise
        return self._manifest

    def _held(self) -> Manifest:
        """Hold the topic against other writers; return its manifest."""
        if self._id:
            self._require_ours()
        make_folder(self._topic)
        self._lock.take()
        manifest = self._take()
        if self._id not in ("", manifest.id):
            raise ConfigError(f"topic {self._topic}: {_REPLACED}")
        self._id = manifest.id
        return manifest

    def _require_ours(self) -> None:
        """The folder is the one that was opened: else what is written would be nobody's, or in another's topic."""
        if not self._lock.is_in_place():
            raise ConfigError(f"topic {self._topic}: {_REPLACED}")

    def _take(self) -> Manifest:
        """Return the manifest, made when there is none; with as many partitions as there are to be."""
        try:
            manifest = read_manifest(self._topic)
        except FileNotFoundError:
            _require_empty(self._topic)
            manifest = Manifest(id=secrets.token_hex(8), partitions=[])
        there, wanted = len(manifest.partitions), self._shape.partitions
        if there > wanted:
            raise ConfigError(f"topic {self._topic}: it has {there} partitions, expected {wanted} or fewer: keys would "
                              f"change their partition: set partitions = {there}, or more")
        if there < wanted or manifest.sync != self._shape.sync:
            for number in range(there, wanted):
                make_folder(partition_folder(self._topic, number))
            manifest = msgspec.structs.replace(
                manifest, partitions=[*manifest.partitions, *[Extent()] * (wanted - there)], sync=self._shape.sync)
            commit(self._topic, manifest)
        return manifest

    def _trim(self, now: int) -> None:
        """Let go what is too old, or too much: when a segment has become full, and at the beginning."""
        if self._has_to_trim or any(tail.has_rolled for tail in self._tails):
            self._has_to_trim = False
            for tail in self._tails:
                tail.has_rolled = False
            retention.trim(self._topic, [tail.extent for tail in self._tails], self._shape.retain_bytes,
                           self._shape.retain_s, now, self._shape.sync)


def _require_empty(topic: Path) -> None:
    """A folder without a manifest has no messages: else somebody has removed it."""
    for name in sorted(os.listdir(topic)):
        if is_partition(name) and segments_in(topic / name):
            raise ConfigError(f"topic {topic}: expected manifest.json in it, got none, and {name} has segments: put it "
                              "back, or move the folder away to begin another topic")
