"""Lines: an append-only file, exact after a kill.

    lines:     ………………………………|…………    behind the committed length: what a kill left half-way, cut off when it is opened
    manifest:  length ──────┘        and, for each partition, the position up to which it is in the file

The lines of a call are appended and synced; then the manifest is replaced, by a rename, which makes them count. A batch
that ends at or below the position of its partition is in the file and is not written again: so each line is there
exactly once, and in source order.

What does not work: the length alone (a batch that is delivered again would be appended again); positions in the lines
themselves (they are the user's, and a half-written last line has none).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime.errors import ConfigError, Reject, Retryable, plain_reason
from actors.runtime.ports import Payload, Refusal, Sink


class Lines(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines.

    Attributes:
        path: the file, relative to the state directory; empty for ``NAME.log``.
        sync: wait for the disk at each group of batches; without it what was written survives the death of any
            process, not that of the machine.
    """

    ordered: ClassVar[bool] = True
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
        return _File(state / (self.path or f"{name}.{self.suffix}"), self.sync)

    def describe(self) -> str:
        """Say where this writes."""
        kind = "json lines" if self.suffix == "jsonl" else "lines"
        return f"{kind} {self.path}" if self.path else kind


OPTIONS = Lines


class Manifest(msgspec.Struct):
    """What counts: ``length`` bytes of the file, with ``applied`` position of each partition."""

    length: int = 0
    applied: dict[str, int] = {}


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file is."""
    return path.with_name(f"{path.name}.manifest")


class _File:
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
        manifest = Manifest(self._manifest.length, dict(self._manifest.applied))
        news: list[bytes | memoryview] = []
        for payload in payloads:
            if payload.end > manifest.applied.get(payload.partition, -1):
                news.append(payload.data)
                manifest.applied[payload.partition] = payload.end
        if not news:
            return []
        data = b"".join(news)
        manifest.length += len(data)
        try:
            _write_all(descriptor, data, self._manifest.length)
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
            self._path.parent.mkdir(parents=True, exist_ok=True)
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
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(f"{self._path}: another process writes to it: give another path") from error
        where = manifest_path(self._path)
        try:
            self._manifest = msgspec.json.decode(where.read_bytes(), type=Manifest)
        except FileNotFoundError:
            self._manifest = Manifest(os.fstat(descriptor).st_size)  # what was there before us stays
            self._commit(self._manifest)  # now, or the first write that is cut short would seem to have been there
        except msgspec.MsgspecError as error:
            raise ConfigError(f"{where}: not a manifest ({error}): remove it if {self._path.name} is to be gone on "
                              "with as it is") from error
        size = os.fstat(descriptor).st_size
        if size < self._manifest.length:
            raise ConfigError(
                f"{self._path}: expected at least {self._manifest.length} bytes, as {where.name} says, got {size}: it "
                f"was cut or replaced; put it back, or remove {where.name} to go on with what is there")
        os.ftruncate(descriptor, self._manifest.length)

    def _commit(self, manifest: Manifest) -> None:
        where = manifest_path(self._path)
        unfinished = where.with_name(f"{where.name}.new")
        with unfinished.open("wb") as file:
            file.write(msgspec.json.encode(manifest))
            file.flush()
            if self._sync:
                os.fdatasync(file.fileno())
        unfinished.replace(where)
        if self._sync:
            _sync_folder(where.parent)


def _write_all(descriptor: int, data: Any, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, offset)
        view, offset = view[written:], offset + written


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
