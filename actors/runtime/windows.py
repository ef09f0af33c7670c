"""Event-time windows, as workers and aggregator shards see them. Pure.

    record ─time─▶ event time ─place─▶ window(s) ──partials of each──▶ shard ─watermark─▶ closed: emitted, and done with

A window is closed by the *watermark*, never by a clock: results do not depend on the number of workers, on arrival
order within the allowed disorder, or on kills. Per partition the watermark is the largest event time among the records
before that are believed (``newest.py``), less the disorder; that of a shard is the least over the active partitions,
and never goes back (``watermark.py``).

Who is late. A record whose windows (with the ``lateness`` that they are kept for) all end at or below the watermark of
its own partition at its place there, or below what its shard has closed. The first is a property of the input alone: a
worker sees it within a batch, and the shard sees it between batches, since it takes them in order and each part says
the newest times of its batch. A shard has only partial aggregates, no records. So it refuses a part in which a record
is late, or may be, by what it knows, and says up to where it has closed, and the newest times before the batch; the
origin delivers the batch once more with that in its header, and the worker turns those records that are late into dead
letters, with their bytes and position. Another shard may have taken its part of the first delivery: what the word of
one shard makes late are records of that shard alone, so nobody counts them twice.

What does not work: wall-clock timers (a slow run and a fast one give different results); lateness judged by workers
with what they know of the watermark (they know it too late, and each another one); one watermark over all files as they
come (of two files of one day, read one after the other, the second would be late as a whole); a hint of the watermark
in each batch instead of a refusal (between the hint and the truth lies a window of batches).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any
from zlib import crc32

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.fitness import KEY, TIME, Unfit
from actors.runtime.lift import bind, lift
from actors.runtime.messages import FULLY, UNSURE, Batch, Span
from actors.runtime.newest import NEVER as NEVER
from actors.runtime.newest import Newest, Times
from actors.runtime.pipeline import Windows
from actors.runtime.sections import WindowOptions
from actors.runtime.watermark import FOREVER as FOREVER

#: Start, end (in ms) and key of a window.
WindowId = tuple[int, int, tuple[Any, ...]]
_NO_KEY: tuple[Any, ...] = ()
#: The window of kind ``global``.
ALL_TIME: WindowId = (NEVER, FOREVER, _NO_KEY)


class Layout:
    """Which windows a time belongs to. All times in ms.

    Args:
        options: kind and sizes.
    """

    def __init__(self, options: WindowOptions) -> None:
        self.kind = options.kind
        self.size = _ms(options.size_s)
        self.every = _ms(options.every_s)
        self.gap = _ms(options.gap_s)
        self.disorder = _ms(options.disorder_s)
        self.lateness = _ms(options.lateness_s)

    def windows_of(self, at: int, anchor: int) -> list[tuple[int, int]]:
        """Return (start, end) of each window that this time belongs to; of a session: what it would be alone."""
        if self.kind == "tumbling":
            start = at - (at - anchor) % self.size
            return [(start, start + self.size)]
        if self.kind == "hopping":
            last = at - (at - anchor) % self.every
            return [(start, start + self.size) for start in range(last, at - self.size, -self.every)]
        return [(at, at + self.gap)] if self.kind == "session" else [(NEVER, FOREVER)]

    def complete_up_to(self, watermark: int) -> int:
        """Windows that end there, or before, are complete. A session is a gap later: what is not late may still be
        within the gap before the watermark, and begin before the session has ended."""
        return watermark - self.gap if self.kind == "session" else watermark

    def closed_at(self, end: int) -> int:
        """The watermark at which a window that ends there is complete, and what comes for it late."""
        return end + self.gap if self.kind == "session" else end

    def oldest_end(self, start: int, end: int) -> int:
        """The end of what the oldest record of an entry would be alone: of a session it is its own, of one that several
        records of a batch make, the others may be late or not as they are."""
        return start + self.gap if self.kind == "session" else end

    def is_over(self, end: int, watermark: int) -> bool:
        """Whether a window that ends there takes nothing more."""
        return end + self.lateness <= watermark


def shards_of(options: WindowOptions, shards: int) -> int:
    """How many shards windows are spread over: one, if those without records are emitted, which one has to know."""
    return 1 if options.empty == "emit" else shards


def shard_of_window(window: WindowId, kind: str, shards: int) -> int:
    """The shard of a window; sessions of one key, which may merge, are together. The same for ever."""
    if shards == 1:
        return 0
    start, _, key = window
    return crc32(msgspec.msgpack.encode(key if kind == "session" else (start, key))) % shards


class Passage:
    """What has been seen of one batch so far, slice by slice.

    Attributes:
        is_probe: nobody knows yet what windows are counted from: the batch is looked at for its times only.
        late: what shards have said of the batch.
        unsure: shards for which a record may be late by what was before the batch, which they have not said.
        seen_ms: when the batch was issued first: what is ahead of that is ahead of the clock.
        newest: the newest times of the batch so far, as many as matter.
        highest: no record is judged by a time that is larger.
        partly_late: records that are too late for some of their windows, and were put into the others.
        unfit: what ``time`` and ``key`` have returned that is neither; ``taken``: which of them have returned what is.
    """

    def __init__(self, batch: Batch) -> None:
        self.anchor = batch.anchor or 0
        self.is_probe = batch.anchor is None
        self.late = {each.shard: each for each in batch.late}
        self.unsure: set[int] = set()
        self.seen_ms = batch.seen_ms
        self.newest: Times = ()
        self.highest = max((each.newest[0] for each in batch.late if each.newest), default=NEVER)
        self.partly_late = 0
        self.unfit: list[Unfit] = []
        self.taken: set[str] = set()
        self._first: int | None = None
        self._least = 0

    def see(self, times: Sequence[int], newest: Times, merge: Newest, disorder: int) -> None:
        """Take note of the event times of a slice, or of some of them and the newest of all."""
        if self._first is None:
            self._first = self._least = times[0]
        floor, oldest = self._first - disorder, min(times)
        self._least = min(self._least, oldest if oldest >= floor else min((at for at in times if at >= floor),
                                                                           default=self._least))
        self.newest = merge.both(self.newest, newest)
        self.highest = max(self.highest, newest[0])

    def begin(self, first: int) -> int:
        """The time of the batch's first record, which is this one unless there was one before."""
        return first if self._first is None else self._first

    def span(self) -> Span | None:
        """The event times of the batch; None when it has none."""
        if self._first is None:
            return None
        return Span(self._first, self._least, self.newest[0])

    def judged(self, shard: int) -> str:
        """How it was judged who is late for a shard."""
        if shard in self.late and self.late[shard].newest is not None:
            return FULLY
        return UNSURE if shard in self.unsure else ""


class _Before:
    """What has come of a batch before each record of a slice; looked at only where one may be late.

    Args:
        newest: the newest times before the slice.
        times: those of the slice.
    """

    def __init__(self, passage: Passage, times: Sequence[int], merge: Newest, disorder: int) -> None:
        self._passage, self._merge, self._disorder = passage, merge, disorder
        self._newest, self._times, self._at = passage.newest, times, 0
        #: The newest time by which the record may be judged that is looked at.
        self.highest = passage.highest
        self.number = 0

    def passed(self, at: int) -> None:
        """The record that has been looked at has this time."""
        self.number += 1
        if at > self.highest:
            self.highest = at

    def watermark(self, shard: int) -> int:
        """The watermark of the partition where the record stands: as it is, if the shard has said what was before the
        batch; else as far as it is for certain."""
        if self._at < self.number:
            self._newest = self._merge.both(self._newest, self._merge.of(self._times[self._at:self.number]))
            self._at = self.number
        said = self._passage.late.get(shard)
        if said is None or said.newest is None:
            return self._merge.believed(self._newest) - self._disorder
        return self._merge.judging(self._merge.both(said.newest, self._newest)) - self._disorder


class Placer:
    """Puts records into windows, in the workers.

    Args:
        windows: the application's functions.
        options: the application's options, for its functions.
        shape: kind and sizes.
        shards: how many there are.
    """

    def __init__(
        self, windows: Windows, options: msgspec.Struct | None, shape: WindowOptions, shards: int
    ) -> None:
        self._time = lift(bind(windows.time, options), "time")
        self._key = None if windows.key is None else lift(bind(windows.key, options), "key")
        self._layout = Layout(shape)
        self._newest = Newest(shape)
        self._skew = _ms(shape.disorder_s if shape.max_future_skew_s is None else shape.max_future_skew_s)
        self._shards = shards_of(shape, shards)

    def place(self, passage: Passage, values: list[Any]) -> list[Any]:
        """Return for each value the tuple of its windows (``WindowId``), or the Reject that it is."""
        times = self._time(values)
        limit = passage.seen_ms + self._skew
        places = [self._unfit(at, limit) for at in times] if _has_unfit(times, limit) else None
        good = times if places is None else [at for at, place in zip(times, places, strict=True) if place is None]
        before = _Before(passage, good, self._newest, self._layout.disorder)
        if good:
            passage.see(good, self._newest.of(good), self._newest, self._layout.disorder)
            passage.taken.add(TIME)
        passage.unfit += [place for place in places or () if isinstance(place, Unfit)]
        if passage.is_probe or not good:
            return places or [()] * len(values)
        keys = None if self._key is None else self._key(values)
        if keys is None and places is None and (one := self._only_window(passage, min(times), max(times))):
            return [one] * len(values)
        result: list[Any] = []
        for index, at in enumerate(times):
            place = None if places is None else places[index]
            key = _NO_KEY if keys is None else keys[index]
            if place is None:
                result.append(self._windows(passage, at, key, before))
                before.passed(at)
            else:
                result.append(place)
        return result

    def place_whole(
        self, passage: Passage, times: tuple[int, int, int] | None, number: int
    ) -> tuple[WindowId, ...] | None:
        """Return the windows of a whole slice, from the times of its first, oldest and newest record, and how many it
        has.

        None: they are not the same for all of its records, or some of them may be late, or all times are needed.
        """
        if self._layout.kind == "global":
            return (ALL_TIME,)
        if times is None or self._key is not None or _has_unfit(list(times), passage.seen_ms + self._skew):
            return None
        first, oldest, newest = times
        matter = self._newest.of_range(oldest, newest, number)
        if oldest < passage.begin(first) - self._layout.disorder or not matter:
            return None
        passage.see(times, matter, self._newest, self._layout.disorder)
        return () if passage.is_probe else self._only_window(passage, oldest, newest)

    def _unfit(self, at: Any, limit: int) -> Reject | tuple[()] | None:
        if isinstance(at, Reject):
            return at
        if at is None:
            return ()  # in no window
        if type(at) is not int or at <= NEVER:
            return Unfit(TIME, at, "time", f"expected an event time in ms, a whole number, got {at!r:.60}")
        if at > limit:
            return Reject("future", f"its time {iso(at)} is more than window.max_future_skew_s "
                          f"({self._skew / 1000:g} s) ahead of this machine's clock, which was at "
                          f"{iso(limit - self._skew)} when it was read")
        return None

    def _only_window(self, passage: Passage, oldest: int, newest: int) -> tuple[WindowId, ...] | None:
        """The windows of a slice that all belong to the same ones, and of which nothing can be late."""
        layout = self._layout
        if layout.kind == "session":
            return None
        found = layout.windows_of(oldest, passage.anchor)
        bound = max((passage.highest - layout.disorder, *(each.before for each in passage.late.values())))
        if layout.is_over(found[-1][1], bound) or found != layout.windows_of(newest, passage.anchor):
            return None
        return tuple((start, end, _NO_KEY) for start, end in found)

    def _windows(self, passage: Passage, at: int, key: Any, before: _Before) -> Any:
        """The windows of one record, or a Reject: it is late, by its own partition's watermark or what shards say."""
        if isinstance(key, Reject):
            return key
        if type(key) is not tuple:
            passage.unfit.append(Unfit(KEY, key, "key", f"expected a tuple as key of a window, got {key!r:.60}"))
            return passage.unfit[-1]
        passage.taken.add(KEY)
        layout, late = self._layout, passage.late
        wanted = [(start, end, key) for start, end in layout.windows_of(at, passage.anchor)]
        most = before.highest - layout.disorder
        if not late and not layout.is_over(wanted[-1][1], most):  # nor the others: the first is the last to begin
            return tuple(wanted)
        bound, result = NEVER, []
        for window in wanted:
            may_be_over = layout.is_over(window[1], most)
            closed = NEVER
            if late or may_be_over:
                shard = shard_of_window(window, layout.kind, self._shards)
                said = late.get(shard)
                closed = max(before.watermark(shard) if may_be_over else NEVER, NEVER if said is None else said.before)
            if layout.is_over(window[1], closed):
                bound = max(bound, closed)
                continue
            result.append(window)
            if may_be_over and (said is None or said.newest is None):
                passage.unsure.add(shard)
        if not result:
            return Reject("late", f"its time is {iso(at)}, its window ended at {iso(wanted[0][1])} and was closed when "
                          f"the watermark reached {iso(bound)}")
        passage.partly_late += len(result) < len(wanted)
        return tuple(result)


def _has_unfit(times: list[Any], limit: int) -> bool:
    return set(map(type, times)) != {int} or max(times) > limit or min(times) <= NEVER


def by_sessions(values: Sequence[Any], places: Sequence[Sequence[WindowId]]) -> dict[WindowId, list[Any]]:
    """Return the values of each session that these make, in their order; each comes with what it would be alone.

    So a shard is given one entry for a session, however many of its records are in a batch. Which sessions there are in
    the end does not depend on it: what touches becomes one, here or there.
    """
    by_key: dict[tuple[Any, ...], list[tuple[int, int, Any]]] = {}
    for value, place in zip(values, places, strict=True):
        for start, end, key in place:
            by_key.setdefault(key, []).append((start, end, value))
    found: dict[WindowId, list[Any]] = {}
    for key, some in by_key.items():
        spans = _touching(sorted([start, end] for start, end, _ in some)) if some[1:] else [some[0][:2]]
        if len(spans) == 1:
            found[spans[0][0], spans[0][1], key] = [value for _, _, value in some]
            continue
        starts = [start for start, _ in spans]
        for start, _, value in some:
            first, last = spans[bisect_right(starts, start) - 1]
            found.setdefault((first, last, key), []).append(value)
    return found


def _touching(spans: list[list[int]]) -> list[tuple[int, int]]:
    """What these make, in order of their starts, where those that overlap are one."""
    joined = [spans[0]]
    for span in spans[1:]:
        if span[0] < joined[-1][1]:
            joined[-1][1] = max(joined[-1][1], span[1])
        else:
            joined.append(span)
    return [(start, end) for start, end in joined]


def iso(at: int) -> str:
    """An event time for people: ``2019-08-12T22:00:04.351Z``."""
    try:
        return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    except (OverflowError, ValueError, OSError):
        return f"{at} ms"


def _ms(seconds: float) -> int:
    return round(seconds * 1000)

