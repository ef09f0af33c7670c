"""A journal on disk: what a source has accepted and cannot be given again. The journal is the partition.

    accepted lines ──one write──▶ 000003-9f….log   the segment that grows: a unit of the ledger, like a file
                                  000002-71….log   full: ended, and deleted once all of it is durable elsewhere
    after a restart: what is left, in order, from the committed position on, cut as it was cut before; then new segments

Guarantees:

* Nothing is handed out that is not in the journal: what the reader issues survives the death of any process (with
  ``sync``: of the machine), and a restart hands out exactly what was not committed, in the same ranges.
* A write is of whole lines, at the place where the last whole write ended. A write that fails (disk full) or is cut
  short by a kill has not happened: it is written again there, or its end is cut off when the segment is opened.
* A segment is known to the ledger by the random id in its name: none is mistaken for another, whatever becomes of the
  folder. What the ledger has open and is gone, shorter than what was issued of it, or (records and messages) not what
  was written by its checksum, is told as faults with their ranges, and fails its unit; what is behind it is read. The
  file of such a unit is kept, as ``….damaged``.
* What is not found: lines that are other lines now (they lie as they came, without a checksum); a last segment that is
  removed before anything of it was issued.
* On disk there is no more than the window and the segments that it touches.

What does not work: a file for each connection (the order between them is lost, and thousands of short ones are
thousands of files); one file that is cut at its front (no file system does that everywhere); a length or checksum
before each group of lines (lines could no longer be cut anywhere, and read by other programs; records can, and have it:
``framings.writes``).
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections import deque
from io import FileIO
from pathlib import Path
from typing import NamedTuple

import msgspec

from actors.runtime.disk import is_at, make_folder, may_pass, sync_folder, write_all
from actors.runtime.errors import ConfigError, Fatal, Retryable, plain_reason
from actors.runtime.ports import UnitLedger
from actors.runtime.values import SOURCE_DAMAGED, SOURCE_LOST, Chunk, Unit
from actors.sources.cutter import Cutter
from actors.sources.framings import enveloped, journalled
from actors.sources.framings.cutter import AnyCutter
from actors.sources.framings.writes import MarkedStream, header_of, look_through, marks_of
from actors.sources.inflate import PlainStream
from actors.sources.streams import Fault

#: Of lines, of records with their lengths, or of messages with all that they came with: told by the name, for the next
#: run may be framed in another way.
LINES, RECORDS, MESSAGES = ".log", ".records", ".messages"
#: What the files of a journal are called.
SEGMENT = re.compile(r"([0-9]{6,})-([0-9a-f]{16})(\.log|\.records|\.messages)")
#: What the name of a segment ends with that is kept because it is damaged.
KEPT = ".damaged"
#: Bytes that are looked at, at a time, for the last newline of a segment.
_BLOCK_BYTES = 64 * 1024
#: How long a line may be was decided when it was accepted.
_ANY_LENGTH = 1 << 62


class _Growing:
    """The segment that is written to: ``size`` bytes of it count."""

    def __init__(self, number: int, path: Path, segment: str) -> None:
        self.number = number
        self.path = path
        self.segment = segment
        self.descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self.unit: Unit | None = None
        self.size = 0
        self.lines = 0


class _Left(NamedTuple):
    """A segment of an earlier generation, or run, that is read now."""

    unit: Unit
    file: FileIO
    cutter: AnyCutter


class Journal:
    """The journal of one source.

    Args:
        state: the state directory.
        folder: where the segments are, relative to it.
        ledger: what is known about them.
        batch_bytes: size of the chunks that are cut anew, about.
        segment_bytes: size at which a segment is full.
        sync: wait for the disk at each write.
        form: what is written from here on: ``LINES``, ``RECORDS`` or ``MESSAGES``.

    Raises:
        ConfigError: the folder cannot be made.
    """

    def __init__(
        self, state: Path, folder: str, ledger: UnitLedger, batch_bytes: int, segment_bytes: int, sync: bool,
        form: str = LINES,
    ) -> None:
        self.folder = state / folder
        self._named = folder
        self._ledger = ledger
        self._batch_bytes = batch_bytes
        self._segment_bytes = segment_bytes
        self._sync = sync
        self._form = form
        self._growing: _Growing | None = None
        self._waiting: deque[tuple[int, Path]] | None = None  # None: nobody has looked yet
        self._left: _Left | None = None
        self._number = 0  # of the last segment
        self._has_deleted = False
        self._is_open = False  # the segment before was not all durable when this generation began
        try:
            make_folder(self.folder, mode=0o700)
        except OSError as error:
            raise ConfigError(f"journal {self.folder}: {plain_reason(error)}: expected a folder that can be written "
                              "to; set source.journal, or give another --state") from error

    def left(self) -> Chunk | None:
        """Return the next chunk of what was accepted before, or None when all of it was handed out.

        Raises:
            Retryable: the folder, or a segment, cannot be opened.
            Fatal: a segment cannot be read on.
        """
        waiting = self._segments()
        while True:
            if self._left is None:
                if not waiting:
                    return None
                self._take_up(*waiting[0])
                waiting.popleft()
                continue
            unit, file, cutter = self._left
            try:
                chunk = cutter.next()
            except OSError as error:
                raise Fatal(f"{unit.name}: cannot be read beyond byte {cutter.position - unit.base}: "
                            f"{plain_reason(error)}") from error
            if cutter.finished:
                self._ledger.end(unit, cutter.position)
                file.close()
                self._left = None
            if chunk is not None:
                return self._told(unit, chunk) if chunk.fault else chunk

    def append(self, data: bytes) -> Chunk:
        """Write whole lines, or records as ``journalled`` packs them (messages: ``enveloped``), and return them as a
        chunk. Call it when nothing is ``left``.

        Raises:
            Retryable: the disk is full, or failed; nothing is written, call again.
        """
        try:
            self._require_in_place()
            growing = self._growing or self._begin()
            unit = growing.unit = growing.unit or self._ledger.begin(*self._known_as(growing.path))
            head = b"" if self._form == LINES else header_of(data, growing.size, growing.segment)
            write_all(growing.descriptor, [head, data] if head else [data], growing.size)
            if self._sync:
                os.fdatasync(growing.descriptor)
        except OSError as error:
            raise Retryable(f"journal {self.folder}: {plain_reason(error)}") from error
        chunk = self._chunk(unit, growing, data)
        growing.size += len(head) + len(data)
        growing.lines += chunk.lines
        if growing.size >= self._segment_bytes:
            self.end()
        return chunk

    def end(self) -> None:
        """The segment that grows is complete; the next ``append`` begins another."""
        if self._growing is not None:
            if self._growing.unit is not None:
                self._ledger.end(self._growing.unit, self._growing.unit.base + self._growing.size)
            self._let_go()

    def put_away(self, unit: Unit) -> None:
        """All of this segment is durable elsewhere: delete it, or keep it aside when it is damaged. It may be gone
        already.

        Raises:
            Retryable: its file system is read-only now.
        """
        path = self.folder / os.path.basename(unit.name)
        if not SEGMENT.fullmatch(path.name) or unit.name != self._name(path):
            return  # of another source that was read with this state directory
        try:
            if unit.damage:
                with contextlib.suppress(FileNotFoundError):
                    path.rename(path.with_name(path.name + KEPT))
            path.unlink(missing_ok=True)
            self._has_deleted = True
        except OSError as error:
            if may_pass(error):
                raise Retryable(f"journal {self.folder}: {plain_reason(error)}") from error
            self._ledger.broken(unit.name, f"{path} is loaded but cannot be deleted: {plain_reason(error)} "
                                "(make its folder writable and run again)")

    def settle(self) -> None:
        """What was deleted stays deleted, also after a power cut."""
        if self._has_deleted and self._sync:
            try:
                sync_folder(self.folder)
            except OSError as error:
                raise Retryable(f"journal {self.folder}: {plain_reason(error)}") from error
        self._has_deleted = False

    def close(self) -> None:
        """Close the files. What is in them stays for the next one who opens them."""
        self._let_go()
        if self._left is not None:
            self._left.file.close()
            self._left = None
        with contextlib.suppress(OSError):  # there is something in it
            self.folder.rmdir()

    def _chunk(self, unit: Unit, growing: _Growing, data: bytes) -> Chunk:
        if self._form != LINES:
            of = journalled.chunk_of if self._form == RECORDS else enveloped.chunk_of
            return of(unit, growing.size, data)
        start = unit.base + growing.size
        return Chunk(unit.id, unit.name, start, start + len(data), growing.size, growing.lines + 1, data,
                     lines=data.count(b"\n"))

    def _segments(self) -> deque[tuple[int, Path]]:
        """What is there, or has to be, in order. Not looked at before: what an earlier run has loaded is deleted
        first."""
        if self._waiting is None:
            try:
                names = {path.name for path in self.folder.iterdir()}
            except OSError as error:
                raise Retryable(f"journal {self.folder}: {plain_reason(error)}") from error
            for unit in self._ledger.unfinished(os.path.join(self._named, "")):
                path = self.folder / os.path.basename(unit.name)
                if SEGMENT.fullmatch(path.name) and self._known_as(path) == (unit.name, unit.fingerprint):
                    names.add(path.name)
            found = [(int(of[1]), self.folder / of[0]) for of in map(SEGMENT.fullmatch, names) if of is not None]
            self._waiting = deque(sorted(found))
        return self._waiting

    def _known_as(self, path: Path) -> tuple[str, str]:
        """Name and fingerprint in the ledger."""
        parts = SEGMENT.fullmatch(path.name)
        assert parts is not None
        return self._name(path), parts[2]

    def _name(self, path: Path) -> str:
        """The name in the ledger. It is relative as the option is: a state directory may be moved."""
        return os.path.join(self._named, path.name)

    def _begin(self) -> _Growing:
        """Make the next segment. The file first: a unit without one could never be finished."""
        number, segment = self._number + 1, secrets.token_hex(8)
        growing = _Growing(number, self.folder / f"{number:06d}-{segment}{self._form}", segment)
        self._growing, self._number = growing, number
        if self._sync:
            sync_folder(self.folder)
        return growing

    def _take_up(self, number: int, path: Path) -> None:
        """Open a segment that was left, at the place from which on it is not committed; one that is gone is empty.

        Raises:
            Retryable: it cannot be opened.
        """
        try:
            file = FileIO(path, "r+") if path.exists() else FileIO(os.devnull)
        except OSError as error:
            raise Retryable(f"{path}: {plain_reason(error)}: it has lines that were accepted and are not loaded") \
                from error
        with contextlib.ExitStack() as stack:
            stack.enter_context(file)
            if self._is_open and number > self._number + 1:
                missing = f"{self._number + 1:06d}" + (f" to {number - 1:06d}" if number > self._number + 2 else "")
                self._ledger.broken(self._name(Path(missing)), f"{self.folder}: there is no "
                                    f"segment {missing}: somebody has removed it, and what was in it is lost")
            unit = self._ledger.begin(*self._known_as(path))
            self._number = number
            self._is_open = unit.status == "reading" and (unit.end is None or unit.low < unit.end)
            if self._is_open:
                self._left = _Left(unit, file, self._cutter(file, unit, path))
                stack.pop_all()
        if unit.status in ("done", "failed"):  # settled by the generation before, which died before it was deleted
            self.put_away(unit)

    def _cutter(self, file: FileIO, unit: Unit, path: Path) -> AnyCutter:
        """What reads a segment on, whose end is cut off when the write that it is from was never finished."""
        recorded = self._ledger.boundaries(unit)
        size = os.fstat(file.fileno()).st_size
        known = max([unit.low, *(end for _, end in recorded), unit.end or 0]) - unit.base
        if path.suffix == LINES:
            stream = PlainStream(file)
            _cut_half_line(file, known)
        else:
            looked = look_through(file, self._known_as(path)[1], unit.low - unit.base, known, self._batch_bytes)
            if looked.end < size:
                os.ftruncate(file.fileno(), looked.end)
            if looked.is_odd:
                self._ledger.noted(unit, f"{path}: {size - looked.end} bytes at its end are no whole write: none was "
                                   "finished there, or something has changed them: they are not read")
            ranges = [(start - unit.base, end - unit.base) for start, end in recorded]
            stream = MarkedStream(file, marks_of(looked.damaged, ranges))
        if not path.exists():
            stream.fault = Fault(SOURCE_LOST, f"it is gone; what was in it behind byte {unit.low - unit.base}, and not "
                                 "loaded, is lost")
            self._ledger.damaged(unit, unit.damage or f"{path}: {stream.fault.detail}", "")
        elif size < known:
            stream.fault = Fault(SOURCE_LOST, f"it has {size} bytes, and had {known} or more; what was in them, and "
                                 "not loaded, is lost")
            self._ledger.damaged(unit, unit.damage or f"{path}: {stream.fault.detail}", "")
        if path.suffix == LINES:
            return Cutter(stream, unit, recorded, self._batch_bytes, _ANY_LENGTH, False)
        of = journalled.cutter_of if path.suffix == RECORDS else enveloped.cutter_of
        return of(stream, unit, recorded, self._batch_bytes)

    def _told(self, unit: Unit, chunk: Chunk) -> Chunk:
        """What is not there, or not what was written, fails its unit: nobody but us writes here."""
        fault = SOURCE_LOST if chunk.fault in (SOURCE_LOST, "file_changed") else SOURCE_DAMAGED
        detail = f"{self.folder / os.path.basename(unit.name)}: {chunk.detail}"
        self._ledger.damaged(unit, unit.damage or detail, "")
        return msgspec.structs.replace(chunk, fault=fault, detail=detail)

    def _require_in_place(self) -> None:
        """Nothing is handed out that a restart would not find: when somebody has removed the segment, another is begun.
        What was handed out of it is under way, and lost only if that is interrupted; so it is told."""
        growing = self._growing
        if growing is not None and not is_at(growing.path, growing.descriptor):
            if growing.unit is not None:
                self._ledger.noted(growing.unit, f"{growing.path} was removed, moved away or replaced while it was "
                                   "written to: another was begun; what was under way of it is lost if it is "
                                   "interrupted")
            self.end()

    def _let_go(self) -> None:
        if self._growing is not None:
            os.close(self._growing.descriptor)
            self._growing = None


def _cut_half_line(file: FileIO, known: int) -> None:
    """Cut off what is behind the last newline, and behind what is known to have been whole: the write that it is from
    was never finished."""
    end = size = os.fstat(file.fileno()).st_size
    while end:
        start = max(0, end - _BLOCK_BYTES)
        newline = os.pread(file.fileno(), end - start, start).rfind(b"\n")
        end = start + newline + 1 if newline >= 0 else start
        if newline >= 0:
            break
    end = max(end, known)
    if end < size:
        os.ftruncate(file.fileno(), end)
