"""Lines: an append-only file, exact after a kill.

    lines:     ………………………………|…………    behind the committed length: what a kill left half-way, cut off when it is opened
    manifest:  length ──────┘        and, for each partition, the position up to which it is in the file

The lines of a call are appended and synced; then the manifest is replaced, by a rename, which makes them count. A batch
that ends at or below the position of its partition is in the file and is not written again: so each line is there
exactly once, and in source order.

A manifest knows the partitions written to last, at most ``MAX_PARTITIONS`` of them: one that is older has been
committed by its origin since, for an origin has no more than its window of batches (and what a commit waits for) beyond
what is committed. Whatever is written to such a partition later is new.

What does not work: the length alone (a batch that is delivered again would be appended again); positions in the lines
themselves (they are the user's, and a half-written last line has none).
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from actors.runtime.disk import make_folder, sync_folder, write_all
from actors.runtime.errors import ConfigError, Reject, Retryable, plain_reason
from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.values import Payload, Refusal

#: Most partitions in a manifest, which is written with every group: some 400 KB then.
MAX_PARTITIONS = 8192


class Lines(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines.

    Attributes:
        path: the file, relative to the state directory; empty for ``NAME.log``.
        sync: wait for the disk at each group of batches; without it what was written survives the death of any
            process, not that of the machine.

    Example::

        Lines(path="clean.log")  # items are bytes, without a newline
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = "length and positions in a manifest, in one rename: exactly once, in source order"
    suffix: ClassVar[str] = "log"

    path: str = ""
    sync: bool = True

    def pack(self, items: Sequence[bytes | str]) -> bytes:
        """Return the items as lines.

        Raises:
            Reject: an item has a newline in it.
        """
        lines = [item.encode() if isinstance(item, str) else item for item in items]
        joined = b"\n".join(lines)
        if lines and joined.count(b"\n") != len(lines) - 1:
            raise Reject("newline", "an item of a file of lines has a newline in it")
        return joined + b"\n" if lines else b""

    def open(self, name: str, state: Path) -> Sink:
        """Open the file, made when it is missing, and cut off what a kill left behind its committed length."""
        return _File(self.place(name, state), self.sync)

    def clear(self, name: str, state: Path) -> bool:
        """Remove the file and its manifest; what was in the file before its first line of ours stays.

        A file without a manifest is not known to be ours: it is renamed, to ``NAME.1`` or the first number that is
        free, so that the new one begins empty and nothing is lost.

        Raises:
            ConfigError: somebody writes to it; or it cannot be renamed.
        """
        _clear(self.place(name, state))
        return True

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What the manifest says; nothing when there is none."""
        try:
            return _read_manifest(self.place(name, state)).applied
        except (OSError, ConfigError):
            return {}

    def place(self, name: str, state: Path) -> Path:
        """Where the file is."""
        return state / (self.path or f"{name}.{self.suffix}")

    def describe(self) -> str:
        """Say where this writes."""
        kind = "json lines" if self.suffix == "jsonl" else "lines"
        return f"{kind} {self.path}" if self.path else kind


OPTIONS = Lines


class Manifest(msgspec.Struct):
    """What counts: ``length`` bytes of the file, with ``applied`` position of each partition, the last written to last.

    ``before``: how many of the bytes were there before there was a manifest.
    """

    length: int = 0
    applied: dict[str, int] = {}
    before: int = 0


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file is."""
    return path.with_name(f"{path.name}.manifest")


def _unfinished_path(path: Path) -> Path:
    """Where the next manifest of a file is written."""
    return path.with_name(f"{path.name}.manifest.new")


class _File(Sink):
    """The opened file.

    Args:
        path: the file.
        sync: wait for the disk.

    Raises:
        ConfigError: it is not the file that the manifest is about, or somebody else writes to it.
    """

    def __init__(self, path: Path, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._descriptor: int | None = None
        self._manifest = Manifest()
        with contextlib.suppress(Retryable):  # `write` says what is wrong, and tries again
            self._opened()

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Append the lines of all batches that are not in the file yet."""
        descriptor = self._opened()
        applied = dict(self._manifest.applied)
        news: list[bytes | memoryview] = []
        for payload in payloads:
            if payload.end > applied.get(payload.partition, -1):
                news.append(payload.data)
                applied.pop(payload.partition, None)
                applied[payload.partition] = payload.end
        if not news:
            return []
        for partition in list(itertools.islice(applied, max(0, len(applied) - MAX_PARTITIONS))):
            del applied[partition]
        before = self._manifest
        manifest = Manifest(before.length + sum(map(len, news)), applied, before.before)
        try:
            write_all(descriptor, news, before.length)
            if self._sync:
                os.fdatasync(descriptor)
            self._commit(manifest)
        except OSError as error:
            self.close()
            raise Retryable(f"{self._path}: {plain_reason(error)}") from error
        self._manifest = manifest
        return []

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _opened(self) -> int:
        """Return the open file, cut to what counts."""
        if self._descriptor is not None:
            return self._descriptor
        try:
            make_folder(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise Retryable(f"{self._path}: {plain_reason(error)}") from error
        try:
            self._take(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise Retryable(f"{self._path}: {plain_reason(error)}") from error
            raise
        self._descriptor = descriptor
        return descriptor

    def _take(self, descriptor: int) -> None:
        _lock(self._path, descriptor)
        where = manifest_path(self._path)
        try:
            self._manifest = _read_manifest(self._path)
        except FileNotFoundError:
            size = os.fstat(descriptor).st_size
            self._manifest = Manifest(size, before=size)  # what was there before us stays
            self._commit(self._manifest)  # now, or the first write that is cut short would seem to have been there
        size = os.fstat(descriptor).st_size
        if size < self._manifest.length:
            raise ConfigError(
                f"{self._path}: expected at least {self._manifest.length} bytes, as {where.name} says, got {size}: it "
                f"was cut or replaced; put it back, or remove {where.name} to go on with what is there")
        os.ftruncate(descriptor, self._manifest.length)

    def _commit(self, manifest: Manifest) -> None:
        where, unfinished = manifest_path(self._path), _unfinished_path(self._path)
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(manifest))
            file.flush()
            if self._sync:
                os.fdatasync(file.fileno())
        unfinished.replace(where)
        if self._sync:
            sync_folder(where.parent)


def _clear(path: Path) -> None:
    where = manifest_path(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        where.unlink(missing_ok=True)
        _unfinished_path(path).unlink(missing_ok=True)
        return
    except OSError as error:
        raise ConfigError(f"{path}: {plain_reason(error)}: expected a file of lines to empty") from error
    try:
        _lock(path, descriptor)
        if not where.exists():
            if os.fstat(descriptor).st_size:
                _put_aside(path)
            return
        before = _read_manifest(path).before
        if before:
            os.ftruncate(descriptor, before)
        else:
            path.unlink()
        _unfinished_path(path).unlink(missing_ok=True)
        where.unlink()
    finally:
        os.close(descriptor)


def _put_aside(path: Path) -> None:
    """Rename a file that is not ours; say so."""
    for number in itertools.count(1):
        aside = path.with_name(f"{path.name}.{number}")
        try:
            os.link(path, aside, follow_symlinks=False)  # unlike a rename it never replaces
            path.unlink()
        except FileExistsError:
            continue
        except OSError as error:
            raise ConfigError(f"{path}: expected {manifest_path(path).name} beside it, got none, and the file cannot "
                              f"be renamed ({plain_reason(error)}): what Thresher did not write is not removed: move "
                              "it away, or resume, to go on behind what is there") from error
        print(f"{path}: not known to be written by Thresher (there is no {manifest_path(path).name}): kept as "
              f"{aside.name}", file=sys.stderr, flush=True)
        return


def _lock(path: Path, descriptor: int) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{path}: another process writes to it: give another path") from error


def _read_manifest(path: Path) -> Manifest:
    """Return the manifest of a file.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is none.
    """
    where = manifest_path(path)
    try:
        return msgspec.json.decode(where.read_bytes(), type=Manifest)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{where}: not a manifest ({error}): remove it if {path.name} is to be gone on "
                          "with as it is") from error
