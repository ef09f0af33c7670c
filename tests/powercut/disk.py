"""What a power cut leaves of a folder: made from a record of what was done to it (``record.c``).

    record ──▶ what every process saw          names ─▶ inode ─▶ bytes
               what the disk is sure to hold   names ─▶ inode ─▶ bytes   + what waits: changes not flushed, in order

A flush of a file puts its waiting changes on the disk, a flush of a folder the names in it; nothing else does, also
where most file systems do more (ext4 keeps the name of a new file with its bytes). At a cut each folder keeps its
waiting names up to some point, and each file some of its waiting changes: none, all, or any of them, torn at pages, as
a disk that writes in an order of its own does. What is chosen is chosen by a seed.
"""

from __future__ import annotations

import os
import random
import struct
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

_HEADER = struct.Struct("<B3xIII QQ".replace(" ", ""))
PAGE = 4096


class Op(NamedTuple):
    """One record: its kind (a letter, as in ``record.c``), names, bytes, inode, offset or length."""

    kind: str
    path: str
    data: bytes
    inode: int
    offset: int


def read_record(path: Path) -> Iterator[Op]:
    """The records of a log, in order."""
    log = path.read_bytes()
    at = 0
    while at < len(log):
        kind, named, length, _, inode, offset = _HEADER.unpack_from(log, at)
        at += _HEADER.size
        name = os.fsdecode(log[at:at + named])
        at += named
        yield Op(chr(kind), name, log[at:at + length], inode, offset)
        at += length


class Change(NamedTuple):
    """Bytes that are written at an offset; or (no bytes) the length that a file is cut to."""

    offset: int
    data: bytes | None

    def apply(self, content: bytearray) -> None:
        """Do it."""
        if self.data is None:
            del content[self.offset:]
            content.extend(bytes(self.offset - len(content)))
            return
        content.extend(bytes(max(0, self.offset - len(content))))
        content[self.offset:self.offset + len(self.data)] = self.data


class File:
    """One file: what the disk holds, and what waits."""

    def __init__(self, content: bytes = b"") -> None:
        self.content = bytearray(content)
        self.waiting: list[Change] = []

    def flush(self) -> None:
        """All of it is on the disk."""
        for change in self.waiting:
            change.apply(self.content)
        self.waiting.clear()

    def after_a_cut(self, chance: random.Random) -> bytes:
        """What may be left of it."""
        content = bytearray(self.content)
        share = chance.choice((0.0, 0.5, 1.0))
        for change in self.waiting:
            for part in _torn(change) if share == 0.5 else (change,):
                if chance.random() < share:
                    part.apply(content)
        return bytes(content)


def _torn(change: Change) -> Iterator[Change]:
    """What is written, page by page of the file."""
    if change.data is None:
        yield change
        return
    at = 0
    while at < len(change.data):
        until = at + PAGE - (change.offset + at) % PAGE
        yield Change(change.offset + at, change.data[at:until])
        at = until


class Disk:
    """A folder on a disk, as it was when recording began, and what is done to it from then on.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = os.fspath(root.resolve())
        self.files: dict[int, File] = {}
        #: An inode is given again when its file is gone, and a name that is not flushed still means the old one.
        self._number_of: dict[int, int] = {}
        self.folders = {self.root}
        self.seen: dict[str, int] = {}
        #: By folder, names in order, and the file's number; 0: a name that is taken away, -1: that of a folder.
        self.waiting: dict[str, list[tuple[str, int]]] = defaultdict(list)
        for folder, folders, names in os.walk(self.root):
            self.folders |= {os.path.join(folder, name) for name in folders}
            for name in names:
                path = os.path.join(folder, name)
                self.seen[path] = self._new(os.stat(path).st_ino, Path(path).read_bytes())
        self.named = dict(self.seen)

    def do(self, op: Op) -> None:
        """One record more."""
        match op.kind:
            case "w":
                self._file(op).waiting.append(Change(op.offset, op.data))
            case "t":
                self._file(op).waiting.append(Change(op.offset, None))
            case "f":
                self._file(op).flush()
            case "F":
                for path, inode in self.waiting.pop(op.path, ()):
                    self._keep(self.named, self.folders, path, inode)
            case "c":
                self._name(op.path, self._new(op.inode))
            case "l":
                self._name(os.fsdecode(op.data), self._number_of[op.inode])
            case "r":
                self._name(os.fsdecode(op.data), self._number_of[op.inode])
                self._name(op.path, 0)
            case "u" | "x":
                self._name(op.path, 0)
            case "d":
                self._name(op.path, -1)
            case _:
                raise AssertionError(f"no such record: {op}")

    def _new(self, inode: int, content: bytes = b"") -> int:
        number = self._number_of[inode] = len(self.files) + 1
        self.files[number] = File(content)
        return number

    def _file(self, op: Op) -> File:
        return self.files[self._number_of[op.inode]]

    def _name(self, path: str, inode: int) -> None:
        self._keep(self.seen, set(), path, inode)
        self.waiting[os.path.dirname(path)].append((path, inode))

    @staticmethod
    def _keep(names: dict[str, int], folders: set[str], path: str, inode: int) -> None:
        if inode > 0:
            names[path] = inode
        elif inode < 0:
            folders.add(path)
        else:
            names.pop(path, None)
            folders.discard(path)

    def leave(self, target: Path, seed: int) -> None:
        """Make ``target`` what a cut now may leave."""
        chance = random.Random(seed)
        names, folders = dict(self.named), set(self.folders)
        for waiting in self.waiting.values():
            for path, inode in waiting[:chance.choice((0, len(waiting), chance.randint(0, len(waiting))))]:
                self._keep(names, folders, path, inode)
        target.mkdir(parents=True)
        for folder in sorted(folders - {self.root}):
            if os.path.dirname(folder) in folders:
                (target / os.path.relpath(folder, self.root)).mkdir(mode=0o700)
        left = {inode: self.files[inode].after_a_cut(chance) for inode in sorted(set(names.values()))}
        for path, inode in names.items():
            place = target / os.path.relpath(path, self.root)
            if place.parent.is_dir():
                place.write_bytes(left[inode])
                place.chmod(0o600)
