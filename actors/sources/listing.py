"""What is in the directories now: one look, by inode, so that two names of one file are one file."""

from __future__ import annotations

import contextlib
import glob
import os
import stat
from collections import deque
from collections.abc import Iterator
from fnmatch import fnmatchcase
from typing import NamedTuple

from actors.runtime.errors import plain_reason
from actors.sources.marks import Key


class Seen(NamedTuple):
    """A regular file.

    Attributes:
        key: device and inode.
        paths: its names, those as given: ``logs/access.log``.
        size: in bytes.
        modified_ns: when it was last written to.
        changed_ns: when anything about it was changed.
        target: where it is, when it was found by a link, or through one; else empty.
    """

    key: Key
    paths: list[str]
    size: int
    modified_ns: int
    changed_ns: int
    target: str = ""


class Listing:
    """The files and directories that paths and a pattern name at this moment.

    Args:
        paths: directories, files, or patterns of these.
        pattern: which names in a directory.
        recursive: whether directories in directories are looked through.

    Attributes:
        files: the regular files, by inode.
        directories: where files may appear, as given.
        problems: what cannot be read, by path, and why.
        missing: what was named without a pattern and is not there.
    """

    def __init__(self, paths: list[str], pattern: str, recursive: bool) -> None:
        self.files: dict[Key, Seen] = {}
        self.directories: dict[str, None] = {}
        self.problems: dict[str, str] = {}
        self.missing: list[str] = []
        self._pattern = pattern
        self._recursive = recursive
        self._real: dict[str, str] = {}
        for path in paths:
            if os.path.lexists(path) or not glob.has_magic(path):
                self._name(path, is_named=True)
            else:
                self.directories[_fixed_part(path)] = None
                for found in sorted(glob.glob(path, recursive=True)):
                    self._name(found, is_named=False)
        for seen in self.files.values():
            seen.paths.sort()

    def _name(self, path: str, is_named: bool) -> None:
        try:
            status = os.stat(path)
        except OSError as error:
            if isinstance(error, FileNotFoundError):
                self.missing += [path] if is_named else []
            else:
                self.problems[path] = plain_reason(error)
            status = None
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._walk(path)
            return
        self.directories[os.path.dirname(path) or "."] = None
        if status is None or (os.path.basename(path).startswith(".") and not is_named):
            return
        if stat.S_ISREG(status.st_mode):
            self._see(path, status, os.path.islink(path))
        elif is_named:
            self.problems[path] = "it is a pipe or a device, which cannot be read again after a crash"

    def _walk(self, directory: str) -> None:
        waiting, links, walked = [directory], deque[str](), set[str]()
        while waiting or links:  # links last, for what is also there without one
            directory = waiting.pop() if waiting else links.popleft()
            self.directories[directory] = None
            if self._real_of(directory) in walked:  # by another link, which may lead round in a circle
                continue
            walked.add(self._real_of(directory))
            try:
                with os.scandir(directory) as entries:
                    below = self._entries(entries)
                waiting += [path for path in below if not os.path.islink(path)]
                links += sorted(path for path in below if os.path.islink(path))
            except OSError as error:
                if not isinstance(error, FileNotFoundError):  # it went while we looked
                    self.problems[directory] = plain_reason(error)

    def _entries(self, entries: Iterator[os.DirEntry[str]]) -> list[str]:
        """See the files of a directory; return the directories in it that are to be looked through."""
        below = []
        for entry in entries:
            if entry.name.startswith("."):
                continue
            try:
                if entry.is_dir():
                    below += [entry.path] if self._recursive else []
                elif fnmatchcase(entry.name, self._pattern):
                    status = entry.stat()
                    if stat.S_ISREG(status.st_mode):
                        self._see(entry.path, status, entry.is_symlink())
            except OSError:  # it went while we looked, or a link that leads nowhere
                continue
        return below

    def _see(self, path: str, status: os.stat_result, is_link: bool) -> None:
        key = (status.st_dev, status.st_ino)
        seen = self.files.get(key)
        if seen is None:
            target = self._target_of(path, is_link)
            seen = self.files[key] = Seen(
                key, [], status.st_size, status.st_mtime_ns, status.st_ctime_ns, target)
        if path not in seen.paths:
            seen.paths.append(path)

    def _target_of(self, path: str, is_link: bool) -> str:
        if is_link:
            return os.path.realpath(path)
        directory, name = os.path.split(path)
        real = self._real_of(directory or ".")
        return "" if real == os.path.abspath(directory or ".") else os.path.join(real, name)

    def _real_of(self, directory: str) -> str:
        if directory not in self._real:
            self._real[directory] = os.path.realpath(directory)
        return self._real[directory]


def beside(paths: list[str]) -> list[Seen]:
    """The files beside these whose names a rotation may have made of theirs, and these themselves."""
    found: dict[Key, Seen] = {}
    for path in paths:
        with contextlib.suppress(OSError), os.scandir(os.path.dirname(path) or ".") as entries:
            for entry in entries:
                if entry.name.startswith(".") or not is_related(path, entry.name) or not entry.is_file():
                    continue
                status = entry.stat()
                key = (status.st_dev, status.st_ino)
                target = os.path.realpath(entry.path) if entry.is_symlink() else ""
                found.setdefault(key, Seen(
                    key, [entry.path], status.st_size, status.st_mtime_ns, status.st_ctime_ns, target))
    return list(found.values())


def is_related(one: str, other: str) -> bool:
    """Whether a rotation may have made one name of the other: what is before the first dot is the same."""
    first, second = sorted((os.path.basename(one), os.path.basename(other)), key=len)
    stem = first.partition(".")[0]
    return second.startswith(stem) and not second[len(stem):len(stem) + 1].isalnum()


def concerns(path: str, paths: list[str], pattern: str) -> bool:
    """Whether a file of this path may be one of those that are read (it may be said of too many)."""
    name = os.path.basename(path)
    if name.startswith("."):
        return False
    folder = os.path.dirname(path)
    if path in paths or any(fnmatchcase(part, wanted.rstrip("/")) for wanted in paths for part in (path, folder)):
        return True
    return fnmatchcase(name, pattern) and any(path.startswith(f"{wanted.rstrip('/')}/") for wanted in paths)


def _fixed_part(pattern: str) -> str:
    """The directory above the first part of a pattern that is one."""
    path = pattern
    while glob.has_magic(path):
        path = os.path.dirname(path)
    return path or "."


def by_name(seen: Seen) -> tuple[str, str]:
    """A key to sort files by name: in chronological order for stamps."""
    return os.path.basename(seen.paths[0]), seen.paths[0]
