"""A file that only grows, exact after a kill: its manifest says how much of it counts, and where each partition is.

What is appended is flushed before the manifest counts it; what a kill left behind the committed length is cut off when
the file is opened. Files of lines, tables of CSV and the journals of Parquet files are such.
"""

from __future__ import annotations

import os
from abc import abstractmethod
from collections.abc import Sequence

import msgspec

from actors.runtime.disk import write_all
from actors.runtime.errors import ConfigError
from actors.runtime.values import Payload, Refusal
from actors.sinks.held_file import HeldFile
from actors.sinks.lines_manifest import Manifest, lock, manifest_path, news_of, read_manifest, write_manifest


class GrowingFile(HeldFile):
    """Inherit from this: ``_begin`` has to be given. ``HeldFile`` says what it is made of."""

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Append all batches that are not in the file yet."""
        descriptor = self._opened()
        news, applied = news_of(payloads, self._manifest.applied)
        if not news:
            return []
        data = [payload.data for payload in news]
        try:
            self._append(descriptor, data, self._longer(news, applied))
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        return []

    def _require_there(self) -> None:
        where = manifest_path(self._path)
        if not self._path.exists() and where.exists() and (length := read_manifest(self._path).length):
            raise ConfigError(f"{self._path}: expected at least {length} bytes, as {where.name} says, got no file: it "
                              f"was removed or moved away; put it back, or remove {where.name} to begin another")

    def _take(self, descriptor: int) -> None:
        lock(self._path, descriptor)
        where = manifest_path(self._path)
        try:
            self._manifest = read_manifest(self._path)
        except FileNotFoundError:
            self._manifest = self._first_manifest(os.fstat(descriptor).st_size)
            # now, or the first write that is cut short would seem to have been there
            write_manifest(self._path, self._manifest, self._sync)
        size = os.fstat(descriptor).st_size
        if size < self._manifest.length:
            raise ConfigError(
                f"{self._path}: expected at least {self._manifest.length} bytes, as {where.name} says, got {size}: it "
                f"was cut or replaced; put it back, or remove {where.name} to go on with what is there")
        os.ftruncate(descriptor, self._manifest.length)
        self._begin(descriptor)

    def _first_manifest(self, size: int) -> Manifest:
        """That of a file that has none, and is so long: what was there before us stays.

        Raises:
            ConfigError: it is not ours to go on with.
        """
        return Manifest(size, before=size)

    def _longer(self, news: Sequence[Payload], applied: dict[str, int]) -> Manifest:
        """The manifest with these appended."""
        length = self._manifest.length + sum(len(payload.data) for payload in news)
        return msgspec.structs.replace(self._manifest, length=length, applied=applied)

    @abstractmethod
    def _begin(self, descriptor: int) -> None:
        """Have the file, cut to what counts, begin as it is to begin, and end where more can be appended.

        Raises:
            ConfigError: it begins with something else.
            OSError: it cannot be used now.
        """

    def _append(self, descriptor: int, data: Sequence[bytes | memoryview], manifest: Manifest) -> None:
        """Append, and have it count."""
        self._require_whole(descriptor)
        write_all(descriptor, data, self._manifest.length)
        if self._sync:
            os.fdatasync(descriptor)
        self._require_in_place(descriptor)
        write_manifest(self._path, manifest, self._sync)
        self._manifest = manifest
