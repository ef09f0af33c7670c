"""Files by name in a folder: each is replaced as a whole, none is seen half-written, and those of ours are known.

    .NAME.index             the names of all files that were ever written, one a line; only appended to
    .NAME.index.manifest    for each partition, the position up to which its files are there
    minute.csv              ◀──rename── .minute.csv.new, written and flushed

One group of batches: (1) its names are appended to the index and flushed; (2) each file is written beside its place,
flushed and renamed, and the folder flushed; (3) the manifest is replaced, by a rename. A process that is killed at any
moment leaves whole files; what is behind the manifest comes again, and is written again, to the same names. So every
file that is there is in the index, and ``clear`` removes those and no others.

What does not work: the index last (files of a group that was not finished would be nobody's, and stay for ever); no
positions (after a crash an earlier version of a file would take the place of a later one, until that comes again, also
long after it was there); names in the manifest, which is written with every group: there is no bound on them.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from actors.runtime.disk import sync_folder, write_all
from actors.runtime.errors import Retryable, plain_reason
from actors.runtime.values import Payload, Refusal
from actors.sinks.held_file import HeldFile
from actors.sinks.lines_manifest import (
    Manifest,
    clear_made,
    lock,
    news_of,
    read_manifest,
    write_manifest,
)

#: So much of the index is read at once, for where its last whole line ends.
_TAIL_BYTES = 64 * 1024


def index_of(folder: Path, name: str) -> Path:
    """Where the names of the files are that the sink of this name has written."""
    return folder / f".{name}.index"


class CsvFolder(HeldFile):
    """The opened folder.

    Args:
        folder: where the files are.
        name: of the sink.
        sync: wait for the disk.

    Raises:
        ConfigError: somebody else writes there under this name, or the manifest is none.
    """

    def __init__(self, folder: Path, name: str, sync: bool) -> None:
        self._folder = folder
        super().__init__(index_of(folder, name), sync)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Write the files of all batches that are not there yet; of two of one name the later one stands."""
        descriptor = self._opened()
        news, applied = news_of(payloads, self._manifest.applied)
        if not news:
            return []
        files: dict[str, bytes] = {}
        for payload in news:
            files.update(msgspec.msgpack.decode(payload.data, type=list[tuple[str, bytes]]))
        try:
            manifest = Manifest(self._announce(descriptor, list(files)), applied)
            for name, data in files.items():
                _replace(self._folder / name, data, self._sync)
            if self._sync and files:
                sync_folder(self._folder)
            write_manifest(self._path, manifest, self._sync)
        except OSError as error:
            self.close()
            raise self._unusable(error) from error
        self._manifest = manifest
        return []

    def _announce(self, descriptor: int, names: Sequence[str]) -> int:
        """Append names to the index; return how long it is then."""
        if names:
            self._require_whole(descriptor)
            write_all(descriptor, ["".join(f"{name}\n" for name in names).encode()], self._manifest.length)
            if self._sync:
                os.fdatasync(descriptor)
            self._require_in_place(descriptor)
        self._manifest.length = os.fstat(descriptor).st_size  # these are in it, whatever comes next
        return self._manifest.length

    def _take(self, descriptor: int) -> None:
        lock(self._path, descriptor)
        try:
            self._manifest = read_manifest(self._path)
        except FileNotFoundError:
            self._manifest = Manifest()
            if self._sync:
                sync_folder(self._folder)  # no file that it names is there before it
        length = _whole_lines(descriptor)
        os.ftruncate(descriptor, length)
        self._manifest.length = length

    def _unusable(self, error: OSError) -> Retryable:
        """What is wrong, and with what: the folder, or what lies where a file is to be."""
        return Retryable(_says(self._folder, error))


def clear_files(folder: Path, name: str) -> None:
    """Remove the files that are in the index, and then the index.

    Raises:
        ConfigError: somebody writes there; or one of them cannot be removed.
    """
    clear_made(folder, index_of(folder, name), "index", lambda index: (
        path for written in _names(index) for path in (folder / written, _unfinished(folder / written))))


def _names(descriptor: int) -> Iterator[str]:
    """The names in an index, as far as they are whole."""
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        for line in file:
            name = line.rstrip(b"\n").decode(errors="replace")
            if line.endswith(b"\n") and name.isprintable() and name and "/" not in name:
                yield name


def _whole_lines(descriptor: int) -> int:
    """Where the last whole line ends: behind it is what a crash has left."""
    end = os.fstat(descriptor).st_size
    while end:
        start = max(0, end - _TAIL_BYTES)
        at = os.pread(descriptor, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.name}.new")


def _replace(path: Path, data: bytes, sync: bool) -> None:
    """Write a file beside its place, and put it there."""
    unfinished = _unfinished(path)
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    descriptor = os.open(unfinished, flags, 0o644)
    try:
        write_all(descriptor, [data], 0)
        if sync:
            os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            unfinished.unlink()  # what it has taken of a full disk is given back
        raise
    finally:
        os.close(descriptor)
    unfinished.replace(path)


def _says(folder: Path, error: OSError) -> str:
    """What is wrong, and with what: the folder, or what lies where a file is to be."""
    is_in_the_way = isinstance(error, IsADirectoryError) and error.filename2
    return f"{Path(os.fsdecode(error.filename2)) if is_in_the_way else folder}: {plain_reason(error)}"
