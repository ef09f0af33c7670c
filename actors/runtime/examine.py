"""A batch that somebody may have died of is tried, records one by one, before it is worked on as any other.

    named (care)     the one record in hand at the last death: alone, then a second of silence
                     several: in eighths, then a second of silence
    done before it   in eighths, a second of silence behind each
    all              one by one; in eighths where a function takes whole chunks

What is tried is under a mark on the board, so whoever reads it after a death knows what was in hand (``poison.py``
decides). What comes out of a trial is thrown away: the batch is then worked on whole, and nothing that can be seen
depends on how it was cut for this. The functions of an application see each record twice.

A second of silence is what a death may be late: by a thread that the record has started, say. Who closes descriptors
that are not its own dies later still, when its process wants to use one, or never: so these are looked at behind each
trial, and if one is gone the process ends at once.

Pure, but for the pauses and the look at the descriptors, which are given.
"""

from __future__ import annotations

import os
import time
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from actors.runtime.framing import RECORDS, pack_records, places_in, records_or_one
from actors.runtime.marks import NO_MARK, Care, Mark
from actors.runtime.messages import Batch

#: Seconds by which a death may come late.
LATE_S = 1.0
#: Several records are tried in so many parts.
PARTS = 8
#: Seconds between two signs that a pause is one.
_SIGN_S = 0.05


class Trial(Protocol):
    """A batch whose records can be tried."""

    @property
    def places(self) -> Sequence[int]:
        """The position of each record, and the one behind the last."""
        ...

    def run(self, first: int, last: int) -> None:
        """Work on the records from one index to another."""
        ...


#: Makes one of a batch and its payload.
MakeTrial = Callable[[Batch, list[bytes]], Trial]


class TrialOfPayload:
    """Records as they came: they are tried as batches of their own.

    Args:
        make: the work.
        batch, frames: what is tried.
    """

    def __init__(self, make: Callable[[Batch, list[bytes]], object], batch: Batch, frames: list[bytes]) -> None:
        self._make = make
        self._batch = batch
        self._data = frames[0] if frames else b""
        self._records = records_or_one(self._data, batch.offset, batch.line) if batch.framing == RECORDS else []
        self.places = places_in(self._data, batch.framing, batch.start, batch.end, batch.offset)

    def run(self, first: int, last: int) -> None:
        """Work on some."""
        batch, start, end = self._batch, self.places[first], self.places[last]
        if self._records:
            some = self._records[first:last]
            data, offset, line = pack_records(some), some[0].offset, some[0].line
        else:
            base = self.places[0]
            data, offset, line = self._data[start - base:end - base], batch.offset + start - base, batch.line + first
        self._make(msgspec.structs.replace(batch, start=start, end=end, offset=offset, line=line, lines=-1, trace=""),
                   [data])


class Examined(Protocol):
    """Where it is said what is in hand: the slot on the board."""

    note: str

    def mark(self, mark: Mark) -> None:
        """This is in hand."""
        ...

    def phase(self, phase: str) -> None:
        """Enter a phase, or write the slot."""
        ...


class Examination:
    """See above.

    Args:
        slot: where marks are made.
        trial: the records.
        care: what is named.
        in_parts: some function takes whole chunks: one record may cost as much as hundreds.
        pause: waits so many seconds, and shows that it does.
        look: ends the process when it has not all that it had.
        clock: monotonic seconds.
    """

    def __init__(self, slot: Examined, trial: Trial, care: Care, in_parts: bool, pause: Callable[[float], None],
                 look: Callable[[], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._slot = slot
        self._trial = trial
        self._places = trial.places
        self._care = care
        self._in_parts = in_parts
        self._pause = pause
        self._look = look
        self._clock = clock

    def go(self) -> None:
        """Try all of it; whoever returns has survived."""
        since, start, end = (bisect_left(self._places, place) for place in self._care_of())
        if end - start == 1:
            self._try_alone(start)
        elif start < end:
            for first, last in _parts(start, end):
                self._try(Mark(self._places[since], self._places[first], self._places[last]), first, last)
            self._wait(self._late(start, end))
        if since < start:
            for first, last in _parts(since, start):
                if last - first == 1:
                    self._try_alone(first)
                else:
                    self._try(self._late(first, last), first, last)
                    self._wait(self._late(first, last))
        self._try_all()
        self._slot.mark(NO_MARK)

    def _care_of(self) -> tuple[int, int, int]:
        care, least, most = self._care, self._places[0], self._places[-1]
        since, start, end = (min(max(place, least), most) for place in (care.since, care.start, care.end))
        return (since, start, end) if care.end else (least, least, least)

    def _try_alone(self, index: int) -> None:
        mark = Mark(self._places[index], self._places[index], self._places[index + 1], alone=True)
        self._try(mark, index, index + 1)
        self._wait(mark)

    def _try_all(self) -> None:
        count = len(self._places) - 1
        begun: list[float] = []
        late, places = 0, self._places
        for first, last in _parts(0, count) if self._in_parts else _one_by_one(count):
            now = self._clock()
            begun += [now] * (last - first)
            while begun[late] < now - LATE_S:
                late += 1
            self._try(Mark(places[late], places[first], places[last]), first, last)

    def _late(self, first: int, last: int) -> Mark:
        """These were done within the last second, and nothing is in hand now."""
        return Mark(self._places[first], self._places[last], self._places[last])

    def _try(self, mark: Mark, first: int, last: int) -> None:
        self._slot.mark(mark)
        self._trial.run(first, last)
        self._look()

    def _wait(self, mark: Mark) -> None:
        self._slot.mark(mark)
        self._pause(LATE_S)


def _one_by_one(count: int) -> Iterator[tuple[int, int]]:
    for index in range(count):
        yield index, index + 1


def _parts(first: int, last: int) -> Iterator[tuple[int, int]]:
    """Cut a range into parts that are as large as each other, about."""
    count = min(PARTS, last - first)
    for part in range(count):
        yield first + (last - first) * part // count, first + (last - first) * (part + 1) // count


def pausing(progress: Callable[[], None]) -> Callable[[float], None]:
    """Return what waits, and gives signs meanwhile that this is no hang."""

    def pause(seconds: float) -> None:
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(_SIGN_S, left))
            progress()

    return pause


class Descriptors:
    """Those that the threads of the mailbox wait at: the process needs them all, and nobody opens or closes one while
    it lives. Sockets and signals of its links come and go with who is at their other end, whatever a record does, and
    files may be the application's own: none of these says anything.

    Args:
        slot: where it is said that some are gone.
    """

    def __init__(self, slot: Examined) -> None:
        self._slot = slot
        self._known = [fd for fd in map(int, os.listdir("/proc/self/fd")) if _is_waited_at(fd)]

    def look(self) -> None:
        """End the process when one was closed, or is something else now."""
        gone = [fd for fd in self._known if not _is_waited_at(fd)]
        if gone:
            self._slot.note = f"descriptors of its worker were closed: {', '.join(map(str, gone[:20]))}, and others"
            self._slot.phase("WORK")
            os.abort()


def _is_waited_at(fd: int) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{fd}") == "anon_inode:[eventpoll]"
    except OSError:
        return False
