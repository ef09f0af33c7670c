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

import itertools
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import msgspec

from actors.runtime.errors import ConfigError, Reject, plain_reason
from actors.runtime.following import Follower
from actors.runtime.ports import UNFLUSHED, Repeated, Sink, SinkOptions
from actors.runtime.stored import Need, Reader
from actors.sinks.growing_file import GrowingFile
from actors.sinks.lines_manifest import lock, manifest_path, read_manifest, unfinished_path
from actors.sinks.lines_read import LinesFollower, LinesReader


class Lines(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A file of lines.

    Whoever moves it away, removes, replaces or cuts it while it is written to (a rotation of logs does) ends the run,
    with exit code 78: nothing is acknowledged that is not in the file at its path. Stop the run before, and move the
    manifest with it.

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
        return LinesFile(self.place(name, state), self.sync)

    def clear(self, name: str, state: Path) -> bool:
        """Remove the file and its manifest; what was in the file before its first line of ours stays.

        A file without a manifest is not known to be ours: it is renamed, to ``NAME.1`` or the first number that is
        free, so that the new one begins empty and nothing is lost.

        Raises:
            ConfigError: somebody writes to it; or it cannot be renamed.
        """
        clear_lines(self.place(name, state))
        return True

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What the manifest says; nothing when there is none."""
        try:
            return read_manifest(self.place(name, state)).applied
        except (OSError, ConfigError):
            return {}

    def follow(self, name: str, state: Path, most: int) -> Follower:
        """Read back the lines, each as it was given, as bytes."""
        return LinesFollower(self.place(name, state), most, list)

    def answers(self) -> tuple[Need, ...]:
        """Its lines."""
        return ("rows",)

    def reader(self, name: str, state: Path) -> Reader:
        """Open the file, to look at: a row is a line, as text."""
        return LinesReader(self.place(name, state),
                           lambda lines: ({"line": line.decode(errors="replace")} for line in lines))

    def place(self, name: str, state: Path) -> Path:
        """Where the file is."""
        return state / (self.path or f"{name}.{self.suffix}")

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        return "" if self.sync else UNFLUSHED

    def repeated(self) -> Repeated:
        """Its position is in the manifest."""
        return "skipped"

    def describe(self) -> str:
        """Say where this writes."""
        kind = "json lines" if self.suffix == "jsonl" else "lines"
        return f"{kind} {self.path}" if self.path else kind


OPTIONS = Lines


class LinesFile(GrowingFile):
    """The opened file.

    Args:
        path: the file.
        sync: wait for the disk.
        head: what the file begins with, whole lines; written before anything else.

    Raises:
        ConfigError: it is not the file that the manifest is about, it begins with something else, or somebody else
            writes to it.
    """

    def __init__(self, path: Path, sync: bool, head: bytes = b"") -> None:
        self._head = head
        super().__init__(path, sync)

    def _begin(self, descriptor: int) -> None:
        """Have the file begin as it is to begin, and go on with a line of its own."""
        length = self._manifest.length
        first = os.pread(descriptor, len(self._head), 0)
        if not length:
            missing = self._head
        elif first != self._head:
            raise ConfigError(
                f"{self._path}: expected it to begin with {self._head.decode()!r}, got "
                f"{first.decode(errors='replace')!r}: give another path, begin anew (--fresh), or let the columns be "
                "what they were")
        else:
            missing = b"" if os.pread(descriptor, 1, length - 1) == b"\n" else b"\n"
        if missing:
            manifest = msgspec.structs.replace(self._manifest, length=length + len(missing))
            self._append(descriptor, [missing], manifest)


def clear_lines(path: Path) -> None:
    """Remove a file of lines and its manifest: see ``Lines.clear``."""
    where = manifest_path(path)
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        where.unlink(missing_ok=True)
        unfinished_path(path).unlink(missing_ok=True)
        return
    except OSError as error:
        raise ConfigError(f"{path}: {plain_reason(error)}: expected a file of lines to empty") from error
    try:
        lock(path, descriptor)
        if not where.exists():
            if os.fstat(descriptor).st_size:
                _put_aside(path)
            return
        before = read_manifest(path).before
        if before:
            os.ftruncate(descriptor, before)
        else:
            path.unlink()
        unfinished_path(path).unlink(missing_ok=True)
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
