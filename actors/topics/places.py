"""Where a topic lies: the spellings of its folder, and the names in it."""

from __future__ import annotations

import os
import re
from pathlib import Path

from actors.runtime.errors import ConfigError

MANIFEST, LOCK = "manifest.json", "lock"
_SCHEME = "topic:"
_SEGMENT = re.compile(r"([0-9]{20})\.log")
_PARTITION = re.compile(r"[0-9]{4,}")


def without_scheme(text: str) -> str:
    """Return the path in ``topic:///path/name``, ``topic:name`` or a plain path.

    Raises:
        ConfigError: it names a host, a query, or nothing.
    """
    path = text.removeprefix(_SCHEME)
    if path.startswith("//"):
        path = path[2:]
        if not path.startswith("/"):
            host = path.partition("/")[0]
            raise ConfigError(f"topic {text!r}: expected topic:///path/name (three slashes), topic:name or a path, got "
                              f"a host, {host!r}: a topic lies on this machine's disk")
    scheme, colon, _ = path.partition("://")
    if colon and scheme.isalnum():
        raise ConfigError(f"topic {text!r}: expected topic:///path/name, topic:name or a path, got {scheme}://")
    if not path.strip("/") or "\0" in path or "?" in path:
        raise ConfigError(f"topic {text!r}: expected topic:///path/name, topic:name or a path")
    return path.rstrip("/")


def topic_folder(text: str, state: Path) -> Path:
    """Return the folder of a topic; a relative path is below the state directory.

    Raises:
        ConfigError: it is no place of a topic.
    """
    return Path(os.path.normpath(state / without_scheme(text)))


def partition_folder(topic: Path, number: int) -> Path:
    """Return the folder of a partition."""
    return topic / f"{number:04d}"


def is_partition(name: str) -> bool:
    """Whether a name in a topic is that of a partition."""
    return _PARTITION.fullmatch(name) is not None


def segment_file(folder: Path, first: int) -> Path:
    """Return the file of the segment that begins with this offset."""
    return folder / f"{first:020d}.log"


def index_file(folder: Path, first: int) -> Path:
    """Return the file of a segment's index."""
    return folder / f"{first:020d}.index"


def segments_in(folder: Path) -> list[int]:
    """Return the first offsets of the segments in a partition's folder, in order; none when there is no folder."""
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return []
    return sorted(int(found[1]) for name in names if (found := _SEGMENT.fullmatch(name)))
