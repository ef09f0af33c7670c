"""The manifest beside what a sink has written: what of it counts, and up to where each partition is in it.

It is replaced in one rename. One that holds the file that it is about is the only one who writes either.
"""

from __future__ import annotations

import fcntl
import itertools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import msgspec

from actors.runtime.disk import sync_folder
from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.values import Payload

#: Most partitions in a manifest, which is written with every group: some 400 KB then.
MAX_PARTITIONS = 8192


class Made(msgspec.Struct, frozen=True):
    """What has been made of a journal.

    Attributes:
        id: in the names of its files, and of no others.
        files: so many were made; what is in the journal is in none of them.
        rows: so many are in the journal.
        since: when the first of them was appended, in s since 1970.
    """

    id: str
    files: int = 0
    rows: int = 0
    since: float = 0.0


class Manifest(msgspec.Struct):
    """What counts: ``length`` bytes of the file, with ``applied`` position of each partition, the last written to last.

    ``before``: how many of the bytes were there before there was a manifest. ``made``: of a journal.
    """

    length: int = 0
    applied: dict[str, int] = {}
    before: int = 0
    made: Made | msgspec.UnsetType = msgspec.UNSET


def manifest_path(path: Path) -> Path:
    """Where the manifest of a file is."""
    return path.with_name(f"{path.name}.manifest")


def unfinished_path(path: Path) -> Path:
    """Where the next manifest of a file is written."""
    return path.with_name(f"{path.name}.manifest.new")


def write_manifest(path: Path, manifest: Manifest, sync: bool) -> None:
    """Replace the manifest of a file, in one rename: from here on it counts.

    Raises:
        OSError: it cannot be written; the one before stands.
    """
    where, unfinished = manifest_path(path), unfinished_path(path)
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        if sync:
            os.fdatasync(file.fileno())
    unfinished.replace(where)
    if sync:
        sync_folder(where.parent)


def news_of(payloads: Sequence[Payload], applied: Mapping[str, int]) -> tuple[list[Payload], dict[str, int]]:
    """Return the payloads that end above the position of their partition, and the positions with them applied."""
    positions = dict(applied)
    news: list[Payload] = []
    for payload in payloads:
        if payload.end > positions.get(payload.partition, -1):
            news.append(payload)
            positions.pop(payload.partition, None)
            positions[payload.partition] = payload.end
    for partition in list(itertools.islice(positions, max(0, len(positions) - MAX_PARTITIONS))):
        del positions[partition]
    return news, positions


def lock(path: Path, descriptor: int) -> None:
    """Hold a file until the descriptor is closed.

    Raises:
        ConfigError: another process holds it.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise ConfigError(f"{path}: another process writes to it: give another path") from error


def clear_made(folder: Path, kept: Path, noun: str, made: Callable[[int], Iterable[Path]]) -> None:
    """Remove the files that were made in a folder, and then what a sink keeps of them there, with its manifest.

    Args:
        folder: where they are.
        kept: the file that says which they are; without it there are none.
        noun: what that file is called.
        made: is given its descriptor, and says which; one that is gone already is passed over.

    Raises:
        ConfigError: somebody writes to it; or one of them cannot be removed.
    """
    try:
        descriptor = os.open(kept, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise ConfigError(f"{kept}: {plain_reason(error)}: expected the {noun} of the files to remove") from error
    try:
        lock(kept, descriptor)
        for path in itertools.chain(made(descriptor), (unfinished_path(kept), manifest_path(kept), kept)):
            path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"{folder}: {plain_reason(error)}: expected to remove what was written there") from error
    finally:
        os.close(descriptor)


def read_manifest(path: Path) -> Manifest:
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
