"""The manifest of a topic: what of its files counts, and up to where each batch is in them.

    partition 0   000…0000.log ██████████   000…8123.log ████|░░       ░: behind ``length``: not committed
    manifest      segment = 8123, length ─────────────────────┘  next: the offset behind its last message
                  applied: for each partition of the batches, the position up to which they are in the topic

It is replaced by a rename, so all partitions move together: a batch is in the topic whole, once, or not at all. A
reader has what the manifest says once the folder is flushed, by itself where the writer has not come to that: what was
handed out before could be gone after a power cut, and other messages stand in its place.

What does not work: a manifest a partition (a batch that is in one and not yet in the other cannot be told from one that
has nothing for the other); the lengths alone (a batch that is delivered again would be appended again).
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import NamedTuple, TypeVar

import msgspec

from actors.runtime.disk import sync_folder
from actors.runtime.errors import ConfigError
from actors.topics.places import MANIFEST

_T = TypeVar("_T", bound="View")
#: What this version writes.
FORMAT = 1


class Extent(msgspec.Struct, frozen=True):
    """How far a partition goes.

    Attributes:
        segment: first offset of the segment that is appended to.
        length: bytes of it that count.
        next: the offset of the next message.
        time: when the last block was appended, in ms since 1970; 0: none was.
        newest: the largest time of a message, in ms since 1970; 0: there is none.
        began: ``time`` of the first block in the segment; 0: it is empty.
    """

    segment: int = 0
    length: int = 0
    next: int = 0
    time: int = 0
    newest: int = 0
    began: int = 0


class View(msgspec.Struct, frozen=True, kw_only=True):
    """What readers need of a manifest.

    Attributes:
        id: of this topic and no other, also not of one that is made in its place.
        partitions: by number.
        sync: its writer waits for the disk.
        format: version of the files.
    """

    id: str
    partitions: list[Extent]
    sync: bool = True
    format: int = FORMAT


class Manifest(View, frozen=True, kw_only=True):
    """All of it.

    Attributes:
        applied: the position up to which the batches of a partition are in the topic, the last written to last.
        turn: so many batches with messages without a key were appended.
    """

    applied: dict[str, int] = {}
    turn: int = 0


class Stamp(NamedTuple):
    """What tells one manifest from another without reading it."""

    inode: int
    modified_ns: int


_view = msgspec.json.Decoder(View)
_manifest = msgspec.json.Decoder(Manifest)


def read_manifest(topic: Path) -> Manifest:
    """Return the manifest of a topic.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is none, or of a newer version.
    """
    path = topic / MANIFEST
    return _decoded(path, path.read_bytes(), _manifest)


def stamp_of(topic: Path) -> Stamp | None:
    """Return the stamp of the manifest of a topic; None: there is none."""
    try:
        status = os.stat(topic / MANIFEST)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stamp(status.st_ino, status.st_mtime_ns)


def read_view(topic: Path) -> tuple[View, Stamp]:
    """Return how far a topic goes: all of it is on the disk when this returns.

    Raises:
        FileNotFoundError: there is none.
        ConfigError: it is none, or of a newer version.
    """
    path = topic / MANIFEST
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        view = _decoded(path, file.read(), _view)
    if view.sync:
        with contextlib.suppress(OSError):  # a file system that is read-only has nothing that waits
            sync_folder(topic)
    return view, Stamp(status.st_ino, status.st_mtime_ns)


def commit(topic: Path, manifest: Manifest) -> None:
    """Replace the manifest; with ``sync`` it is on the disk when this returns.

    Raises:
        OSError: it may be the old one or the new one.
    """
    path, unfinished = topic / MANIFEST, topic / f"{MANIFEST}.new"
    with unfinished.open("wb") as file:
        file.write(msgspec.json.encode(manifest))
        file.flush()
        if manifest.sync:
            os.fdatasync(file.fileno())
    unfinished.replace(path)
    if manifest.sync:
        sync_folder(topic)


def _decoded(path: Path, data: bytes, decoder: msgspec.json.Decoder[_T]) -> _T:
    try:
        found = decoder.decode(data)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{path}: not the manifest of a topic ({error}): give another path, or put it "
                          "back") from error
    if found.format > FORMAT:
        raise ConfigError(f"{path}: made by a newer version of Thresher (format {found.format}, this one knows "
                          f"{FORMAT}): use that version")
    return found
