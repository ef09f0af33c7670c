"""The directory source: files that are read as they are written, for ever or once.

    inotify, poll ──▶ look: what is there? ──▶ which unit is it? ──▶ tails that have grown, in turn ──▶ chunks
                      (listing.py)             (recognise.py)        (tail.py)

Each file is a unit, and a partition of its own: its positions are offsets in it, whatever its name is meanwhile.

Guarantees:

* Each line of each file is handed out once, whatever is done to the files the way log rotation does it: renamed, and
  another made in its place; copied, and cut to nothing; deleted. A file goes on being read by its descriptor after its
  name is gone. Also over restarts, as long as what was not read is still in some file that is looked at.
* What was seen to be there and can no longer be read (a file deleted, or cut short, before it was read, in a run or
  between two) is a dead letter ``file_lost`` with its range, an event, and a unit that has failed. Given again, it is
  read from there on.
* No file is changed. No more than 256 are open, and all are looked at only when the kernel says that a name has come
  or gone, and every ``poll_s``.

Three things end a unit: with ``follow = false`` the end of its file; otherwise that its file was deleted, or cut short;
or that it was renamed and nothing more has come for ``idle_timeout_s``. Then a last line without its newline is a line.
To stop ends no unit: the next run goes on where this one was.

What does not work: knowing a file by its inode (the numbers come again at once, and a copy has another); by its name
(rotation gives the name to another file); by how it begins (many begin with the same header, of any length); to be told
by inotify what has happened (notices are merged, reordered and dropped when many come: they only say that it is time
to look).
"""

from __future__ import annotations

import math
import os
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from msgspec import Meta

from actors.runtime.errors import ConfigError, plain_reason
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import FILE_LOST, Chunk, Unit
from actors.sources import inflate
from actors.sources.files import Files
from actors.sources.framings.options import FramedOptions
from actors.sources.glance import glance
from actors.sources.listing import Listing
from actors.sources.lookout import Lookout
from actors.sources.packed import Packed
from actors.sources.streams import is_damage
from actors.sources.tail import Changed, Tail

#: Paths that ``describe`` names before it only counts.
_NAMED = 3


class Directory(FramedOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Read files as they are written: those that are in directories, and those that come.

    Names that begin with a dot are never read. A file is read once, whatever number of names it has.

    Attributes:
        paths: directories, files, or patterns of these, e.g. ``logs`` or ``logs/*.log``.
        pattern: which names in a directory.
        follow: False: read what is there to its end, and end.
        recursive: also what is in directories in directories.
        idle_timeout_s: a file that has been silent for so long is not waited for by the watermark; one that was
            renamed or deleted has ended then; a compressed one is complete then; with ``framing = "multiline"`` the
            last record is whole then, and what follows is a record of its own.
        damaged: what becomes of a packed file that is cut short or damaged, when all that can be read of it is loaded:
            ``fail``: the exit code is 4, however few records are missing; given again whole, it goes on behind what
            was read. ``accept``: it is judged by its error rate, as any other.
        again: what becomes of a file that an earlier run has read to its end, and that has nothing more: ``skip``: it
            is left alone, whatever its name is by now. ``load``: it is read again from its beginning, in the place of
            the first load.
        poll_s: look so often even when the kernel says nothing of changes; less often when a look at all files takes
            more than a fifth of it.

    Example::

        Directory(paths=["/var/log/app"], pattern="*.log", follow=True)
    """

    guarantee: ClassVar[str] = (
        "resumes at the last committed position of each file, known by its content over renames, copies and runs")
    takes_files: ClassVar[bool] = True
    follows: ClassVar[bool] = True

    paths: list[str] = []
    pattern: str = "*"
    follow: bool = True
    recursive: bool = False
    idle_timeout_s: Annotated[float, Meta(ge=0)] = 60.0
    poll_s: Annotated[float, Meta(ge=0)] = 1.0
    damaged: Literal["fail", "accept"] = "fail"
    again: Literal["load", "skip"] = "skip"

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path | None = None) -> DirectorySource:
        """Begin to watch.

        Raises:
            ConfigError: nothing is named, or something whose directory does not exist.
        """
        self._require_places()
        return DirectorySource(self, ledger, batch_bytes)

    def check(self, state: Path) -> list[str]:
        """Say what of the input cannot be read now, for ``thresher check``. A file that is followed may come later.

        Raises:
            ConfigError: nothing is named, or something whose directory does not exist.
        """
        self._require_places()
        found = Listing(self.paths, self.pattern, self.recursive)
        files = ((path, inflate.why_not_lines(path)) for seen in found.files.values() for path in seen.paths[:1])
        problems = [f"{path}: {problem}: mend it, or take it out of source.paths"
                    for path, problem in (*found.problems.items(), *files) if problem]
        if not self.follow:
            problems += [f"{path}: there is no such file or directory" for path in found.missing]
            if not found.files and not problems:
                problems.append(f"no file is in {', '.join(self.paths)} (pattern {self.pattern}): put files there")
        return problems

    def _require_places(self) -> None:
        if not self.paths:
            raise ConfigError("the directory source has nothing to read: paths is empty; expected files or directories "
                              "on the command line, or e.g. paths = [\"logs\"]")
        for path in Listing(self.paths, self.pattern, self.recursive).missing:
            parent = os.path.dirname(path) or "."
            if self.follow and not os.path.isdir(parent):
                raise ConfigError(f"the directory source cannot read {path}: there is no such file or directory, and "
                                  f"no {parent} in which it could appear")

    def describe(self) -> str:
        """Say where this reads: ``paths logs, followed``."""
        more = f" and {len(self.paths) - _NAMED} more" if len(self.paths) > _NAMED else ""
        named = f"paths {', '.join(self.paths[:_NAMED])}{more}" if self.paths else "no paths"
        return f"{named}{', followed' if self.follow else ''}{self.framed_as()}"

    def sample(self) -> Files:
        """The files that are there now, as a source that gives the same again and again; perhaps none."""
        found = Listing(self.paths, self.pattern, self.recursive).files.values()
        return Files(paths=[seen.paths[0] for seen in found], rename="none", damaged=self.damaged, **self.framing_set())


OPTIONS = Directory


class DirectorySource(Source):
    """The opened source.

    Args:
        options: which files, and for how long.
        ledger: what is known about them.
        batch_bytes: size of a chunk, about.
        clock: monotonic seconds.
    """

    def __init__(
        self, options: Directory, ledger: UnitLedger, batch_bytes: int, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.exhausted = False
        self.endless = options.follow
        self._options = options
        self._ledger = ledger
        self._clock = clock
        limits = options.limits(batch_bytes)
        self._lookout = Lookout(options, ledger, limits)
        self._packed = Packed(ledger, limits)
        self._waiting: dict[int, Tail] = {}  # hold a record back that would be whole if nothing more came
        self._waiting_until = math.inf
        self.wake = self._lookout.wake
        self._turns: deque[Tail] = deque()
        self._active: tuple[int, ...] = ()
        self._active_until = 0.0

    def read(self) -> Chunk | None:
        """Return the next chunk, of the file whose turn it is; None: no file has a whole line more."""
        while not self.exhausted:
            now = self._clock()
            self._take_turns(self._lookout.look_if_due(now))
            self.has_looked = True
            if now >= self._waiting_until:
                self._take_turns(self._idle(now))
            while self._turns:
                tail = self._turns.popleft()
                tail.queued = False
                chunk = self._turn(tail)
                if chunk is not None:
                    return chunk
            if not self._options.follow and not self._lookout.is_asked and not self._lookout.live:
                self.exhausted = True
            elif not self._lookout.is_asked:
                break
        return None

    def _take_turns(self, tails: list[Tail]) -> None:
        for tail in tails:
            if tail.live and not tail.queued:
                tail.queued = True
                self._turns.append(tail)

    def _turn(self, tail: Tail) -> Chunk | None:
        if not tail.live:
            return None
        try:
            if tail.packed:
                chunk, is_over = self._packed.cut(tail, self._lookout.file_of)
            else:
                tail.idle = tail.idle and tail.touched <= self._clock() - self._options.idle_timeout_s
                file, has_ended = self._lookout.file_of(tail), tail.ending or not self._options.follow
                chunk = tail.cut(None if file is None else file.fileno(), has_ended)
                is_over = has_ended and chunk is None
        except Changed:
            self._lookout.lose(tail)
            return None
        except OSError as error:
            name = tail.unit.name
            self._ledger.broken(name, f"cannot read {name} beyond byte {tail.position}: {plain_reason(error)}; "
                                "run again to read the rest")
            self._lookout.leave(tail)
            return None
        self._lookout.remark(tail)
        if chunk is not None and (chunk.fault == FILE_LOST or is_damage(chunk.fault, self._options.damaged)):
            self._ledger.damaged(tail.unit, chunk.detail, tail.unit.prefix)
        if is_over:
            self._lookout.end(tail)
        elif chunk is not None:
            self._take_turns([tail])
        elif tail.waits and not tail.idle:
            self._waiting[tail.unit.id] = tail
            self._waiting_until = min(self._waiting_until, tail.touched + self._options.idle_timeout_s)
        self._lookout.has_news |= chunk is None
        return chunk

    def _idle(self, now: float) -> list[Tail]:
        """Units that hold a record back, and have been silent for so long that it is whole."""
        since = now - self._options.idle_timeout_s
        silent = [tail for tail in self._waiting.values() if tail.touched <= since]
        for tail in silent:
            del self._waiting[tail.unit.id]
            tail.idle = True
        self._waiting_until = min((tail.touched for tail in self._waiting.values()), default=math.inf)
        self._waiting_until += self._options.idle_timeout_s
        return silent

    def first_look(self) -> tuple[int, ...]:
        """The units that have something to read, in the order of their turns; those that are there before any is read.
        """
        self._take_turns(self._lookout.look_if_due(self._clock()))
        return tuple(tail.unit.id for tail in self._turns)

    def glance(self, unit: int, most_bytes: int) -> tuple[Chunk | None, bool]:
        """The first records of a unit that is read in this run."""
        tail = self._lookout.live.get(unit)
        if tail is None:
            return None, True
        return glance(tail, self._lookout.file_of, self._options.limits(most_bytes), not self._options.follow)

    def finished(self, unit: Unit) -> None:
        """Nothing to put away: the ledger knows what was read."""

    def stop(self) -> None:
        """Read no further: what is not read stays for the next run."""
        self.exhausted = True

    def active(self) -> tuple[int, ...]:
        """The ids of those units that have something unread, or have grown within ``idle_timeout_s``."""
        now = self._clock()
        if now >= self._active_until or self._lookout.has_news:
            self._lookout.has_news = False
            since = now - self._options.idle_timeout_s
            tails = [tail for tail in self._lookout.live.values() if tail.queued or tail.touched > since]
            self._active = tuple(sorted(tail.unit.id for tail in tails))
            self._active_until = now + min(1.0, self._options.idle_timeout_s / 10)
        return self._active

    def progress(self) -> tuple[int, int]:
        """Bytes read, and known to be there, of the files that this run reads."""
        return self._lookout.progress()

    def close(self) -> None:
        """Close the files, and watch no more."""
        self._packed.close()
        self._lookout.close()
