"""A sink's file that one process holds, with its manifest: opened when it is needed, let go after any failure."""

from __future__ import annotations

import contextlib
import os
from abc import abstractmethod
from pathlib import Path

from actors.runtime.disk import is_at, make_folder
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.ports import Sink
from actors.sinks.lines_manifest import Manifest, manifest_path


class HeldFile(Sink):
    """Inherit from this: ``write`` and ``_take`` have to be given.

    Args:
        path: the file; its folder is made.
        sync: wait for the disk.

    Raises:
        ConfigError: as ``_take`` does.
    """

    def __init__(self, path: Path, sync: bool) -> None:
        self._path = path
        self._sync = sync
        self._descriptor: int | None = None
        self._manifest = Manifest()
        with contextlib.suppress(Retryable):  # `write` says what is wrong, and tries again
            self._opened()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    @abstractmethod
    def _take(self, descriptor: int) -> None:
        """Hold the open file, read its manifest, and cut off what does not count.

        Raises:
            ConfigError: it is not ours to write to.
            OSError: it cannot be used now.
        """

    def _opened(self) -> int:
        """Return the open file.

        Raises:
            Retryable: it cannot be used now.
        """
        if self._descriptor is not None:
            return self._descriptor
        try:
            self._require_there()
            make_folder(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as error:
            raise self._unusable(error) from error
        try:
            self._take(descriptor)
        except BaseException as error:
            os.close(descriptor)
            if isinstance(error, OSError):
                raise self._unusable(error) from error
            raise
        self._descriptor = descriptor
        return descriptor

    def _require_there(self) -> None:
        """Refuse a path without a file where one has to be, before one is made: a refusal changes nothing."""

    def _require_whole(self, descriptor: int) -> None:
        """What was written before is in the file still: else what comes next would lie behind a hole.

        Raises:
            ConfigError: it was cut.
        """
        size = os.fstat(descriptor).st_size
        if size < self._manifest.length:
            raise ConfigError(f"{self._path}: expected at least {self._manifest.length} bytes, as were written, got "
                              f"{size}: it was cut while it was written to: {self._mend()}")

    def _require_in_place(self, descriptor: int) -> None:
        """The open file is the one at the path: else what was written counts, and is on no disk, or in another file.

        Raises:
            ConfigError: it was removed, moved away (as logs are rotated) or replaced.
        """
        if not is_at(self._path, descriptor):
            raise ConfigError(f"{self._path}: it was removed, moved away or replaced while it was written to, and "
                              f"nothing is written on: {self._mend()}")

    def _mend(self) -> str:
        return (f"put it back, or remove {manifest_path(self._path).name} to go on with what is there (stop the run "
                "before files are rotated)")

    def _unusable(self, error: OSError) -> Retryable:
        """What is wrong, for the operator."""
        return Retryable(f"{self._path}: {plain_reason(error)}")
