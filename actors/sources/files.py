"""The files source: files, plain or packed, in name order; each is put away (renamed) when all of it is durable.

    match ──▶ [name order] ──▶ take up: open, fingerprint, ledger.begin ──▶ Cutter ──▶ chunks ──▶ ledger.end
                                                                 ▲ skip to ``low``         finished: x/NAME ─▶ x/.NAME

Guarantees:

* The chunks of a file, one behind the other, are the file (less a byte order mark): what is fit to parse, and what is
  not as chunks with a fault. Lines are never split, but those longer than ``max_line_bytes``.
* After a crash the ranges that were on their way are cut exactly as before, whatever ``batch_bytes`` is now. A file
  that no longer has them gives them as faults, so a consumer that knows them by position is never told otherwise.
* Only that file is put away that was read: one that was replaced, or written to, meanwhile keeps its name. ``finished``
  may be said again after a crash, for a file that was or was not renamed before it.
* A file that cannot be opened is reported, and the rest goes on. When the disk fails in the middle of a file the input
  ends there for this run: a later file must not overtake the rest of an earlier one.

What does not work: positions in compressed bytes (a decoder cannot start there); knowing a file by its inode (copies
and editors change it, and numbers come again); reading on to the next file while the end of this one is not known
(its positions would be given twice).
"""

from __future__ import annotations

import os
from collections import deque
from contextlib import ExitStack, suppress
from io import FileIO
from pathlib import Path
from typing import ClassVar, Literal, NamedTuple

from actors.runtime.disk import may_pass, sync_folder
from actors.runtime.errors import ConfigError, Retryable, plain_reason
from actors.runtime.given_again_port import GivenAgain
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, Unit
from actors.sources import inflate
from actors.sources.again import Decision, all_refused, content_of, decide, keep_content, spellings, wants_content
from actors.sources.framings.cutter import AnyCutter, cutter_for
from actors.sources.framings.options import FramedOptions
from actors.sources.inflate import Identity
from actors.sources.matching import dotted, matching_files
from actors.sources.streams import ByteStream
from actors.sources.wholeness import goes_on, not_all_read, read_before, tell_damage

#: Files and patterns that ``describe`` names before it only counts.
_NAMED = 3


class Files(FramedOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read files, plain or packed (gzip, xz, bzip2, zstd), in the order of their names.

    Names that begin with a dot are never matched: those files are finished.

    Attributes:
        pattern: which files, e.g. ``data/appsinstalled/*.tsv.gz``; ``**`` stands for any number of folders.
        paths: more files or patterns. A file that is named here and does not exist is reported.
        rename: what becomes of a finished file: ``dot`` puts a dot before its name, ``none`` leaves it.
        damaged: what becomes of a packed file that is cut short or damaged, when all that can be read of it is loaded:
            ``fail``: it keeps its name and the exit code is 4, however few records are missing; given again whole
            under its name, it goes on behind what was read. ``accept``: it is put away, if its error rate allows.
        again: what becomes of a file that was finished, or has failed, and is given again under its name with the same
            content: ``load``: it is loaded again, in the place of the first load. ``skip``: it is left as it is. By
            default (empty) it is loaded where that changes nothing; where it would count twice (a fold without
            ``unit`` among its keys, a sink without a key) it is refused: it keeps its name, exit code 4.

    Example::

        Files(pattern="logs/*.tsv.gz", rename="dot")
    """

    guarantee: ClassVar[str] = (
        "resumes at the last committed position; a file is put away only when all of it is durable")
    takes_files: ClassVar[bool] = True

    pattern: str = ""
    paths: list[str] = []
    rename: Literal["dot", "none"] = "dot"
    damaged: Literal["fail", "accept"] = "fail"
    again: Literal["", "load", "skip"] = ""

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> FilesSource:
        """Match the files; they are opened one at a time, when their turn comes.

        Raises:
            ConfigError: neither a pattern nor paths are given.
        """
        self._require_names()
        return FilesSource(self, ledger, batch_bytes)

    def _require_names(self) -> None:
        if not self.pattern and not self.paths:
            raise ConfigError("the files source has nothing to read: pattern is empty and so is paths; "
                              "expected files on the command line, or e.g. pattern = \"data/*.tsv.gz\"")

    def check(self, state: Path) -> list[str]:
        """Say what of the input cannot be read now, for ``thresher check``.

        Raises:
            ConfigError: neither a pattern nor paths are given.
        """
        self._require_names()
        files = matching_files(self.pattern, self.paths)
        if not files:
            return [f"no file matches {', '.join(name for name in (self.pattern, *self.paths) if name)}: put files "
                    "there, or set source.pattern (a name that begins with a dot is of a finished file)"]
        return [f"{path}: {problem}: mend it, or take it out of source.paths" for path in files
                if (problem := inflate.why_not_lines(path))]

    def all_given_again(self, given: GivenAgain) -> str:
        """Why each of the files would be refused."""
        files = [(path, given.known_as(spellings(path))) for path in matching_files(self.pattern, self.paths)]
        return all_refused(given, files, self.again, self.rename == "dot")

    def describe(self) -> str:
        """Say where this reads: ``files data/*.tsv.gz``."""
        names = [name for name in (self.pattern, *self.paths) if name]
        more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
        return f"files {', '.join(names[:_NAMED])}{more}{self.framed_as()}"


OPTIONS = Files


class _Reading(NamedTuple):
    """The file that is read now."""

    size: int
    file: FileIO
    unit: Unit
    stream: ByteStream
    cutter: AnyCutter


class FilesSource(Source):
    """The opened source. Reads one file after the other.

    Args:
        options: which files.
        ledger: what is known about them.
        batch_bytes: size of a chunk, about.
    """

    def __init__(self, options: Files, ledger: UnitLedger, batch_bytes: int) -> None:
        self._options = options
        self._ledger = ledger
        self._limits = options.limits(batch_bytes)
        self._queue = deque((path, _size(path)) for path in matching_files(options.pattern, options.paths))
        self._total = sum(size for _, size in self._queue)
        self._passed = 0
        self._reading: _Reading | None = None
        self._read: dict[int, tuple[str, Identity]] = {}
        #: Units that are put away, and where their files were.
        self._put_away: set[int] = set()
        self._left: set[str] = set()
        self._renamed_in: set[str] = set()
        #: Folders in which files could be renamed when they were taken up: when they no longer can, that is waited for.
        self._writable: set[str] = set()
        #: As long as all that was handed out had been on its way before.
        self._is_replaying = True
        self._stopping = False
        self.exhausted = not self._queue

    def read(self) -> Chunk | None:
        """Return the next chunk, or None: all is read, or (with the problem in the ledger) the disk has failed."""
        while not self.exhausted:
            reading = self._reading
            if reading is not None:
                replayed = reading.cutter.has_recorded
                try:
                    chunk = reading.cutter.next()
                except OSError as error:
                    self._stop(reading, error)
                    return None
                if chunk is not None and not replayed:
                    self._is_replaying = False
                    if self._stopping:
                        self.exhausted = True
                        return None
                if chunk is not None and chunk.fault:
                    tell_damage(self._ledger, reading.unit, reading.file, chunk, self._options.damaged)
                if reading.cutter.finished:
                    self._end(reading)
                if chunk is not None:
                    return chunk
            elif self._queue:
                self._take_up(*self._queue[0])
            else:
                self.exhausted = True
        return None

    def judged(self, unit: Unit) -> None:
        """Keep what is asked for when the same is given again, as long as the file is what was read."""
        path, identity = self._read.get(unit.id, (unit.name, None))
        with suppress(OSError):
            if identity is not None and identity == inflate.identity_of(os.stat(path)):
                keep_content(unit, path)

    def finished(self, unit: Unit) -> None:
        """Put a dot before the name of the unit's file, unless it is no longer the file that was read.

        A unit that this source has not read was loaded before a crash: if its file is no longer under its name, it was
        put away already.
        """
        if self._options.rename == "none":
            self.failed(unit)
            return
        if unit.id in self._put_away:
            return
        path, identity = self._read.get(unit.id, (unit.name, None))
        try:
            if identity is None:
                if not _is_still(path, unit.fingerprint):
                    return
            elif change := inflate.change_of(identity, inflate.identity_of(os.stat(path))):
                self._ledger.broken(unit.name, _keeps_its_name(unit.name, change))
                return
            os.replace(path, dotted(path))
        except OSError as error:
            why = plain_reason(error)
            if may_pass(error) and os.path.dirname(path) in self._writable:
                raise Retryable(f"{path}: loaded, and cannot be renamed: {why}") from error
            self._ledger.broken(unit.name, f"{unit.name} is loaded but cannot be renamed to {dotted(path)}: {why} "
                                "(rename it by hand, or make its folder writable and run again)")
            return
        self._put_away.add(unit.id)
        self._left.add(os.path.abspath(path))
        self._renamed_in.add(os.path.dirname(path))
        self._read.pop(unit.id, None)

    def failed(self, unit: Unit) -> None:
        """The file keeps its name, and may be given again."""
        self._read.pop(unit.id, None)

    def settle(self) -> None:
        """The names are on the disk: else a power cut would undo a rename, and the file be loaded again."""
        for folder in list(self._renamed_in):
            try:
                sync_folder(Path(folder))
            except OSError as error:
                raise Retryable(f"{folder or '.'}: {plain_reason(error)}") from error
            self._renamed_in.discard(folder)

    def stop(self) -> None:
        """Read no further: the rest of the file, and what comes after it, stay for the next run.

        What an earlier generation had handed out is handed out again.
        """
        self._stopping = True
        self.exhausted |= not self._is_replaying

    def progress(self) -> tuple[int, int]:
        """Bytes on disk read so far, files that needed no reading included, and in all at the start of the run."""
        reading = self._reading
        here = min(reading.stream.consumed, reading.size) if reading is not None else 0
        return self._passed + here, self._total

    def close(self) -> None:
        """Close the open file."""
        if self._reading is not None:
            self._reading.file.close()
            self._reading = None

    def _take_up(self, path: str, size: int) -> None:
        name = self._ledger.given.known_as(spellings(path))
        with ExitStack() as stack:
            try:
                file = stack.enter_context(inflate.open_regular(path))
                identity = inflate.identity_of(os.fstat(file.fileno()))
                known_by = inflate.fingerprint(file)
                stream = inflate.byte_stream(file, name)
                after = read_before(self._ledger, name, file)
                folder = os.path.dirname(path)
                if folder not in self._writable and os.access(folder or ".", os.W_OK):
                    self._writable.add(folder)
            except OSError as error:
                if os.path.abspath(path) not in self._left:
                    self._ledger.broken(name, inflate.why_unreadable(name, error))
                self._pass(size)
                return
            found = decide(self._ledger.given, name, known_by, file, self._options.again, after[0],
                           self._options.rename == "dot")
            if found.verb != "load":
                self._leave(name, found)
                self._pass(size)
                return
            unit = self._ledger.begin(name, known_by, after=after, instead_of=found.instead_of)
            goes_on(self._ledger, unit, after)
            if found.note:
                self._ledger.noted(unit, found.note)
            self._read[unit.id] = (path, identity)
            if unit.status == "reading" and (unit.end is None or unit.low < unit.end):
                recorded = self._ledger.boundaries(unit)
                cutter = cutter_for(stream, unit, recorded, self._limits)
                self._reading = _Reading(size, file, unit, stream, cutter)
                stack.pop_all()
                return
        if unit.status == "loaded":
            self.finished(unit)
        self._pass(size)

    def _leave(self, name: str, found: Decision) -> None:
        """Do not load this file, and say so."""
        if found.verb == "refuse":
            self._ledger.given.refuse(name, found.why)
        else:
            self._ledger.given.skip(name)

    def _pass(self, size: int) -> None:
        self._queue.popleft()  # not before: a ledger on a full disk raises, and then the same file is tried again
        self._passed += size

    def _end(self, reading: _Reading) -> None:
        unit = reading.unit
        if wants_content(self._ledger.given, self._options.again):
            unit.content = content_of(reading.file)
        self._ledger.end(unit, reading.cutter.position)
        if reading.stream.note:
            self._ledger.noted(unit, reading.stream.note)
        path, identity = self._read[unit.id]
        try:
            now = os.stat(path)
        except OSError:  # moved or deleted: all of it was read, and to put it away will fail
            now = os.fstat(reading.file.fileno())
        change = inflate.change_of(identity, inflate.identity_of(now))
        if change:
            self._ledger.broken(unit.name, _keeps_its_name(unit.name, change))
        elif why := not_all_read(reading.stream, now.st_size):
            self._ledger.damaged(unit, why, "")
        self._pass(reading.size)
        self.close()

    def _stop(self, reading: _Reading, error: OSError) -> None:
        """Leave the rest of this file, and what comes after it, to the next run."""
        name, why = reading.unit.name, plain_reason(error)
        self._ledger.broken(name, f"cannot read {name} beyond byte {reading.stream.consumed}: {why}; "
                            "the input ends here for now, run again to read the rest")
        self.close()
        self.exhausted = True


def _is_still(path: str, fingerprint: str) -> bool:
    """Whether the file at this path has the content that is known by this fingerprint."""
    try:
        with inflate.open_regular(path) as file:
            return inflate.fingerprint(file) == fingerprint
    except FileNotFoundError:
        return False


def _keeps_its_name(name: str, change: str) -> str:
    return (f"{name} {change} while it was loaded: what was read is loaded, the file keeps its name; "
            "run again to load it as it is now")


def _size(path: str) -> int:
    try:
        return os.stat(path).st_size
    except OSError:
        return 0  # reported when its turn comes
