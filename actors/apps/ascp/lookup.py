"""Sessions, looked up in the store of events without reading all of it: keys are ``host/pid/time/digest``, in order.

    last line of a process ◀── back, line by line ──  the last data line says how long its session has lasted:
            │                                          the beginning is looked for there, what lies between is not read
            ▼
    the lines at the end and at the beginning ──sessions_of──▶ the session; then the same from the line before it

Guarantees:

* A session that is found has the beginning, the end, and the summary that the fold gives it (``sessions_of`` over all
  lines of its process); only what counts lines in its midst is less: files, errors.
* It costs a few dozen lines, however long it is and however much is stored. A look at each process comes before.
* Where sessions lack their beginning or their end, or start at the same time, *and* follow one another closely, a line
  may be given to another one than by the fold, which has seen all lines before.
* Silence (``window.gap_s``) cuts a session here as in a run. A stretch that is not read is looked at in steps of that
  length; there a line of any kind breaks silence, where the fold wants one that it makes sessions of.

What does not work: to read the events of the period (10^7 of them are 6 GB); an index of beginnings beside them (each
batch that has one would go the long way of records with several outputs, and stores of before have none); to begin at
once where a data line says that its session began (clocks are set, the first data line is late): it may be another's.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby, islice
from typing import NamedTuple

from actors.apps.ascp import ascp_pb2, events
from actors.apps.ascp.events import Event, decode
from actors.apps.ascp.sessions import ERROR, Session, marks_of, sessions_of, time_of
from thresher import Reader

LAST_MS = 9_999_999_999_999
#: Most lines that are looked at for the beginning of one session; most steps of silence.
MOST_BACK, _MOST_STEPS = 2_000, 500
#: Lines among which one is looked for that comes soon after another.
_NEAR = 50
#: A beginning is looked for so much behind where it should be: times may be whole seconds, clocks are set.
_MARGIN_MS, _DRIFT = 2_000, 1_000

_KINDS = (events.DATA, events.SESSION_START, events.SESSION_PARAMS, events.SESSION_STATISTICS, events.SESSION_STOP,
          events.FILES, events.TRANSFER_START, events.TRANSFER_STOP)


def head_of(kind: str, level: str = "") -> bytes:
    """What the messages of a kind begin with."""
    return ascp_pb2.AscpEvent(kind=kind, level=level).SerializeToString()


#: What the messages begin with that sessions are made of.
_NEEDED = tuple(map(head_of, _KINDS)) + tuple(head_of(kind, "ERR") for kind in (
    events.QUEUES, events.STATE, events.TEXT))
#: Lines that a session may begin with which was not seen to start; others are of the one before.
_BEGINS = frozenset((events.DATA, events.TRANSFER_START, events.TRANSFER_STOP, events.SESSION_PARAMS))
#: Lines of one time, and when that is.
Group = tuple[int, list[Event]]


class Process:
    """The lines of a process, by time.

    Args:
        reader: the store of events.
        prefix: what the keys of its lines begin with: ``host/pid/``.
    """

    def __init__(self, reader: Reader, prefix: bytes) -> None:
        self._reader = reader
        self.prefix = prefix

    def time(self, key: bytes) -> int:
        """The time of a line, ms since 1970."""
        return int(key[len(self.prefix):len(self.prefix) + 13])

    def pairs(self, first: int, last: int = LAST_MS, backwards: bool = False) -> Iterator[tuple[bytes, bytes]]:
        """Keys and messages from one time to another, ms, both included."""
        # 0 is behind /
        return self._reader.range(b"%b%013d/" % (self.prefix, first), b"%b%013d0" % (self.prefix, last), backwards)

    def groups(self, first: int, last: int = LAST_MS, backwards: bool = False, most: int = MOST_BACK
               ) -> Iterator[Group]:
        """What sessions are made of, all lines of a ms together; of so many lines at most."""
        found = ((self.time(key), event) for key, value in islice(self.pairs(first, last, backwards), most)
                 if value.startswith(_NEEDED) and time_of(event := decode(value)) is not None)
        for at, pairs in groupby(found, key=lambda pair: pair[0]):
            yield at, [event for _, event in pairs]

    def last_line(self, first: int, last: int) -> int | None:
        """When the last line of this period is; None: there is none."""
        pair = next(self.pairs(max(0, first), last, backwards=True), None) if first <= last else None
        return None if pair is None else self.time(pair[0])

    def first_line(self, first: int, last: int) -> int | None:
        """When the first line of this period is; None: there is none."""
        pair = next(self.pairs(max(0, first), last), None) if first <= last else None
        return None if pair is None else self.time(pair[0])

    def silence(self, first: int, last: int, gap_ms: int) -> int | None:
        """The last line of a period that comes after a silence; None: none does. ``last`` is the time of a line."""
        at = last
        for _ in range(_MOST_STEPS):
            if at - first <= gap_ms:
                return None
            before = self.first_line(at - gap_ms, at - 1)
            if before is None:
                return at
            at = before
        return None


def processes(reader: Reader, first: bytes = b"", last: bytes | None = None) -> Iterator[Process]:
    """The processes with keys from one to another: a look at the store for each."""
    while (pair := next(reader.range(first, last), None)) is not None:
        key = pair[0]
        prefix = key[:key.rindex(b"/", 0, key.rindex(b"/")) + 1]
        if not prefix.endswith(b"/-/"):
            yield Process(reader, prefix)
        first = prefix[:-1] + b"0"


def sessions_back(process: Process, last: int, gap_ms: int) -> Iterator[Session]:
    """The sessions of a process that end at this time or earlier, the last one first."""
    segment, end = segment_before(process, last, gap_ms), last + 1
    carried = [] if segment is None else _behind(process, last, max(event.at or 0 for event in segment.lines) + gap_ms)
    while segment is not None:
        before = segment_before(process, segment.start - 1, gap_ms) if segment.is_shared else None
        lines = [*carried, *segment.lines, *(before.lines if before is not None else ())]
        found = sessions_of(lines[-1].host, lines[-1].pid, marks_of(lines).items())
        yield from (each for each in reversed(found) if segment.start <= each.start < end and each.end <= last)
        end, carried = segment.start, segment.of_the_one_before()
        segment = before if segment.is_shared else segment_before(process, segment.start - 1, gap_ms)


def _behind(process: Process, last: int, until: int) -> list[Event]:
    """The next lines: whether a session goes on beyond ``last`` is known by these."""
    return next(process.groups(last + 1, until, most=50), (0, []))[1] if last < until else []


class Segment(NamedTuple):
    """The lines of one session, as far as they are needed.

    Attributes:
        start: when it begins.
        lines: the last one first.
    """

    start: int
    lines: list[Event]

    @property
    def is_shared(self) -> bool:
        """Whether lines of the session before may be in the ms in which it begins."""
        first = [kind_of(event) for event in self.lines if event.at == self.start]
        return events.SESSION_START in first and any(
            kind not in (events.SESSION_START, events.SESSION_PARAMS) for kind in first)

    def of_the_one_before(self) -> list[Event]:
        """Those lines that may be of the session before, or say which lines are not."""
        own = {uuid_of(event) for event in self.lines if kind_of(event) == events.SESSION_START} | {""}
        return [event for event in self.lines if (event.at == self.start and self.is_shared)
                or (len(own) > 1 and uuid_of(event) not in own)]


def kind_of(event: Event) -> str:
    """What a line is for the fold."""
    return ERROR if event.level == "ERR" and event.kind != events.DATA else event.kind


def uuid_of(event: Event) -> str:
    """The session that a line is of, as it says; empty: it does not."""
    return "" if kind_of(event) in (events.DATA, ERROR) else str(event.field("uuid") or event.field("id") or "")


def nominal_start(event: Event) -> int | None:
    """When the session of a data line should have begun, ms since 1970; None: it does not say."""
    elapsed_us = event.number("prog", "e") if event.kind == events.DATA else None
    return None if elapsed_us is None or event.at is None else event.at - elapsed_us // 1000


class _Taken:
    """What is known of a session that is looked for from its end back.

    Args:
        gap_ms: a process that is silent for longer has ended.
    """

    def __init__(self, gap_ms: int) -> None:
        self._gap_ms = gap_ms
        self.lines: list[Event] = []
        self._oldest = LAST_MS
        #: Where nothing was read: from a line back to a time.
        self.jumps: list[tuple[int, int]] = []
        self._has_just_jumped = False
        self._nominal = 0
        #: The end of the session before, if that was seen.
        self._stop: Event | None = None

    def is_before(self, at: int, group: list[Event]) -> bool:
        """Whether these lines are of the session before, and none is of this one."""
        if not self.lines:
            return False
        if not self._has_just_jumped and self._oldest - at > self._gap_ms:
            return True
        if _has_start(group):
            return False
        self._stop = next((event for event in group if kind_of(event) == events.SESSION_STOP and any(
            _is_behind(each, event) for each in self.lines)), None)
        return self._stop is not None

    def doubts(self, at: int, group: list[Event]) -> bool:
        """Whether these lines, behind which nothing was read, may be of the session before: they say so, or a clock was
        set meanwhile."""
        return self._has_just_jumped and any(
            start < self._nominal - _margin(at - start) for start in _nominal_starts(group))

    def take(self, at: int, group: list[Event]) -> bool:
        """Take lines that are older than those before; return whether the session begins there."""
        if self._has_just_jumped:
            self.jumps[-1] = self.jumps[-1][0], at
        self.lines += group
        self._oldest, self._has_just_jumped = at, False
        return _has_start(group)

    def jump(self, group: list[Event]) -> int | None:
        """From where to go on, as these lines say; None: from the next one."""
        nominal = max(_nominal_starts(group), default=None)
        if nominal is None:
            return None
        until = nominal + _margin(self._oldest - nominal)
        if until >= self._oldest - 1:
            return None
        self.jumps.append((self._oldest, until))
        self._nominal, self._has_just_jumped = nominal, True
        return until

    def begins(self, event: Event) -> bool:
        """Whether the session may begin with this line."""
        return self._stop is None or _is_behind(event, self._stop)

    def first(self) -> int | None:
        """When it begins, as far as it was read without a gap; None: it was not."""
        landing = self.jumps[-1][1] if self.jumps else LAST_MS
        return min((event.at for event in self.lines if event.at is not None and event.at <= landing
                    and self.begins(event)), default=None)

    def since(self, first: int) -> list[Event]:
        """Its lines from there on."""
        return [event for event in self.lines if event.at is not None and event.at >= first]


def _has_start(group: list[Event]) -> bool:
    return any(kind_of(event) == events.SESSION_START for event in group)


def _is_behind(event: Event, stop: Event) -> bool:
    """Whether a line that comes after the end of a session is no more of that."""
    said, ended = uuid_of(event), uuid_of(stop)
    return said != ended if said and ended else kind_of(event) in _BEGINS


def _nominal_starts(group: list[Event]) -> list[int]:
    return [start for event in group if (start := nominal_start(event)) is not None]


def _margin(elapsed_ms: int) -> int:
    return _MARGIN_MS + elapsed_ms // _DRIFT


def segment_before(process: Process, last: int, gap_ms: int) -> Segment | None:
    """The lines of the session that the last one until then is of; None: there are none."""
    taken = _Taken(gap_ms)
    until: int | None = last
    before = -1
    while until is not None:
        until, before = _step(process, taken, until)
    first = taken.first()
    if first is None:
        first = _forward(process, taken, before + 1)
    if first is None:
        return None
    for newer, older in taken.jumps:
        cut = process.silence(max(older, first), newer, gap_ms)
        if cut is not None:
            taken.lines = taken.since(cut)
            first = _forward(process, taken, cut) or cut
            break
    return Segment(first, taken.since(first))


def _step(process: Process, taken: _Taken, last: int) -> tuple[int | None, int]:
    """Take lines from here back until the session begins. Return from where to go on, where a line says that much can
    be left out (None: it is done), and the last time that is before the session (-1: none was seen)."""
    for at, group in process.groups(0, last, backwards=True):
        if taken.is_before(at, group):
            return None, at
        if taken.doubts(at, group) and (start := _start_between(process, at, taken.jumps[-1][0])) is not None:
            taken.take(*start)
            return None, -1
        if taken.take(at, group):
            return None, -1
        if (until := taken.jump(group)) is not None:
            return until, -1
    return None, -1


def _start_between(process: Process, first: int, last: int) -> Group | None:
    """The lines with which a session starts soon after a time, and before another; None: none does."""
    return next((group for group in process.groups(first + 1, last, most=_NEAR) if _has_start(group[1])), None)


def _forward(process: Process, taken: _Taken, first: int) -> int | None:
    """Take the first lines from here on that the session may begin with; return when they are."""
    if not taken.lines:
        return None
    for at, group in process.groups(first):
        if any(map(taken.begins, group)):
            known = {event.raw for event in taken.lines}
            taken.lines += [event for event in group if event.raw not in known]
            return at
    return None
