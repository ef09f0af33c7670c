"""Lines of ascp logs, taken apart in one pass: prefix, level, then by the table of what a line begins with.

    Jan 23 10:47:43 elsaspera03 ascp[5276]: LOG Receiver bl t/o/r/d=5292/5292/0/0 rex_rtt l/h/s/o=0/0/67/8 …
    2020-08-21 19:48:44.622 [112c-00001cf0] LOG FASP Session Statistics [Sender] id=029c1333-… delay=64ms …
    LOG FASP Transfer Stop uuid=a9063e44-… op=recv status=success file="/tmp/1GB" size=1048576000 …

A prefix of syslog has no year: it is the latest one that puts the line at most a day after a reference. Its time, and
that of the second prefix, is read as UTC, less ``utc_offset_s``. What no rule takes apart is kept as ``text``; a group
that is malformed is no text: it is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import TypeVar

from actors.apps.ascp import events
from actors.apps.ascp.events import Event
from actors.apps.ascp.fields import NONE, Field, Forms, fields_of, form_of_fields, typed
from actors.apps.ascp.groups import Malformed, groups_of, known_groups
from actors.apps.ascp.pieces import Pieces
from thresher import Reject

T = TypeVar("T")
#: So much is remembered of each kind, each of so many bytes at most.
_MOST, _LONGEST_KEPT = 1 << 16, 256
_RETURN, _BLANK = ord("\r"), ord(" ")
#: A line may be so much after the reference, in ms.
_AHEAD_MS = 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = {name: number for number, name in enumerate(
    (b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul", b"Aug", b"Sep", b"Oct", b"Nov", b"Dec"), 1)}
#: So many years back there is a 29th of February.
_YEARS = 9
_SYSLOG = re.compile(rb"[A-Z][a-z]{2} [ 0-9][0-9] [0-9]{2}:[0-9]{2}:[0-9]{2}")
_HEADER = re.compile(rb" ([\x21-\x7e]+) ascp4?\[([0-9]{1,10})")
_DATED = re.compile(rb"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}")
_MS = re.compile(rb"\.[0-9]{3}")
_THREAD = re.compile(rb" \[([0-9A-Fa-f]{1,16})-([0-9A-Fa-f]{1,16})")
_SECOND_CHARS, _MS_CHARS = 15, 23
_STATE = re.compile(r"ds_id ([0-9]{1,18}) (\S+) (\S+) \(size ([0-9]{1,18}) thresh ([0-9]{1,18})\)", re.ASCII)
_COUNT = re.compile(r"(passed|failed|skipped) : ([0-9]{1,18})", re.ASCII)

#: Groups, numbers, fields, side, text: what a rule makes of the rest of a line; None: it does not fit.
_Found = tuple[tuple[str, ...], list[int], list[Field], str, str]
#: What a line begins with, where the rest begins, kind, side, what takes the rest apart.
_Rule = tuple[bytes, int, str, str, Callable[[bytes], _Found | None]]
#: Kind, side, groups, numbers, fields, text.
_Said = tuple[str, str, tuple[str, ...], list[int], list[Field], str]
#: Where the level stands, ms since 1970, host, process, thread.
_Prefix = tuple[int, int | None, str, str, str]
_LEVELS = {b"LOG ": "LOG", b"ERR ": "ERR"}
#: What most lines begin with behind their prefix: level, kind, side, where their groups begin. Of groups that are known
#: those with a ``b`` there begin with ``bl``, those with a ``D`` with ``DS Qs``.
_USUAL_CHARS = len(b"LOG Receiver b")
_USUAL = {level.encode() + begins: (level, kind, begins.split()[0].decode(), behind) for level in ("LOG", "ERR")
          for begins, kind, behind in ((b" Receiver b", events.DATA, 13), (b" Receiver D", events.QUEUES, 13),
                                       (b" Sender bl ", events.DATA, 11), (b" Sender DS ", events.QUEUES, 11))}
_NO_PREFIX: _Prefix = (0, None, "", "", "")


def parse_lines(lines: Sequence[bytes | None], host: str, reference_ms: int, offset_ms: int = 0
                ) -> list[Event | Reject | None]:
    """Take lines apart; blank ones are none.

    Args:
        lines: without newlines; None: a message without a value.
        host: of lines whose prefix has none.
        reference_ms: what the year of a line is found by, ms since 1970.
        offset_ms: what the clocks of the hosts are ahead of UTC.
    """
    moments = _moments(reference_ms + offset_ms + _AHEAD_MS)
    found: list[Event | Reject | None] = []
    for given in lines:
        if not given or (given[0] <= _BLANK and given.isspace()):
            found.append(None)
            continue
        line = given[:-1] if given[-1] == _RETURN else given
        start, at, name, pid, thread = _prefix(line, moments)
        if offset_ms and at is not None:
            at -= offset_ms
        usual = _USUAL.get(line[start:start + _USUAL_CHARS])
        if usual is not None:  # most lines are: this is what the table below says of them, with no step between
            level, kind, side, behind = usual
            some = known_groups(line[start + behind:])
            if some is not None:
                groups, numbers, fields = some
                found.append(Event(name or host, pid, thread, at, level, kind, side, groups, numbers, fields, "", line))
                continue
        level = _LEVELS.get(line[start:start + 4], "")
        try:
            kind, side, groups, numbers, fields, text = _said(line, start + 4) if level else _text(line, start)
        except Malformed as error:
            found.append(Reject("group", str(error)))
            continue
        found.append(Event(name or host, pid, thread, at, level, kind, side, groups, numbers, fields, text, line))
    return found


class _Table(dict[bytes, T]):
    """What is made of some bytes, made once; a look-up that finds it is one of a dict.

    Args:
        make: makes it.
    """

    def __init__(self, make: Callable[[bytes], T]) -> None:
        self._make = make

    def __missing__(self, key: bytes) -> T:
        value = self._make(key)
        if len(key) <= _LONGEST_KEPT:  # however long lines are, what is remembered is small
            if len(self) >= _MOST:
                self.clear()
            self[key] = value
        return value


# The prefix ----------------------------------------------------------------------------------------------------------


def _prefix(line: bytes, moments: _Table[int | None]) -> _Prefix:
    """What stands before the level; nothing is known of a line that has none of the prefixes."""
    if line[3:4] == b" ":  # a level has the blank there, too: it is no month
        end = line.find(b"]: ", _SECOND_CHARS)
        process = _PROCESSES[line[_SECOND_CHARS:end]] if end > 0 else None
        if process is not None and (at := moments[line[:_SECOND_CHARS]]) is not None:
            return end + 3, at, process[0], process[1], ""
    elif line[4:5] == b"-":
        end = line.find(b"] ", _MS_CHARS)
        thread = _THREADS[line[_MS_CHARS:end]] if end > 0 else None
        second = _SECONDS[line[:_MS_CHARS - 4]] if thread is not None else None
        if thread is not None and second is not None and _MS.fullmatch(line[19:_MS_CHARS]):
            return end + 2, second + int(line[20:_MS_CHARS]), "", thread[0], thread[1]
    return _NO_PREFIX


def _process(header: bytes) -> tuple[str, str] | None:
    """Host and process of `` host ascp[5276``."""
    found = _HEADER.fullmatch(header)
    return None if found is None else (found[1].decode(), found[2].decode())


def _thread(header: bytes) -> tuple[str, str] | None:
    """Process and thread of `` [112c-00001cf0``."""
    found = _THREAD.fullmatch(header)
    return None if found is None else (found[1].decode(), found[2].decode())


@lru_cache(maxsize=4)
def _moments(limit: int) -> _Table[int | None]:
    """The ms of ``Jan 23 10:47:43`` in the latest year that puts it at ``limit`` or before; None: it is no time."""
    return _Table(partial(_moment, limit))


def _moment(limit: int, stamp: bytes) -> int | None:
    month = _MONTHS.get(stamp[:3])
    if month is None or not _SYSLOG.fullmatch(stamp):
        return None
    day, hour, minute, second = (int(stamp[at:at + 2]) for at in (4, 7, 10, 13))
    latest = (_EPOCH + timedelta(milliseconds=limit)).year
    for year in range(latest, latest - _YEARS, -1):
        at = _ms(year, month, day, hour, minute, second)
        if at is not None and at <= limit:
            return at
    return None


def _second(stamp: bytes) -> int | None:
    """The ms of ``2020-08-21 19:48:44``; None: it is no time, or one before 1970."""
    if not _DATED.fullmatch(stamp):
        return None
    numbers = [int(stamp[start:end]) for start, end in ((0, 4), (5, 7), (8, 10), (11, 13), (14, 16), (17, 19))]
    at = _ms(*numbers)
    return at if at is not None and at >= 0 else None


def _ms(year: int, month: int, day: int, hour: int, minute: int, second: int) -> int | None:
    try:
        when = datetime(year, month, day, hour, minute, tzinfo=UTC)
    except ValueError:
        return None
    # A leap second is the first of the next minute.
    return round((when - _EPOCH).total_seconds() + second) * 1000 if second <= 60 else None


_PROCESSES, _THREADS, _SECONDS = _Table(_process), _Table(_thread), _Table(_second)


# What is said --------------------------------------------------------------------------------------------------------


def _text(line: bytes, start: int) -> _Said:
    return events.TEXT, "", (), [], [], line[start:].decode("utf-8", "replace")


def _said(line: bytes, start: int) -> _Said:
    """Take apart what stands behind the level, by the table.

    Raises:
        Malformed: a group is.
    """
    for begins, behind, kind, side, take in _RULES.get(line[start:start + 1], ()):
        if line.startswith(begins, start):
            found = take(line[start + behind:])
            if found is not None:
                return kind, found[3] or side, found[0], found[1], found[2], found[4]
    return _text(line, start)


def _groups(rest: bytes) -> _Found | None:
    return *groups_of(rest), "", ""


def _pairs() -> Callable[[bytes], _Found | None]:
    fields_like = Forms(fields_of, form_of_fields, typed)

    def take(rest: bytes) -> _Found | None:
        fields = fields_like(rest.decode("utf-8", "replace"))
        return None if fields is None else ((), [], fields, "", "")

    return take


def _state(rest: bytes) -> _Found | None:
    text = rest.decode("utf-8", "replace")
    found = _STATE.fullmatch(text)
    if found is None:
        return (), [], [], "", text
    ds_id, state, direction, size, thresh = found.groups()
    return (), [], [("ds_id", int(ds_id), NONE), ("state", state, NONE), ("direction", direction, NONE),
                    ("size", int(size), NONE), ("thresh", int(thresh), NONE)], "", ""


def _files(rest: bytes) -> _Found | None:
    found = _COUNT.fullmatch(rest.decode("utf-8", "replace"))
    return None if found is None else ((), [], [(found[1], int(found[2]), NONE)], "", "")


def _statistics() -> Callable[[bytes], _Found | None]:
    pieces_of = Pieces()

    def take(rest: bytes) -> _Found | None:
        side, fields = pieces_of(rest.decode("utf-8", "replace"))
        return (), [], fields, side, ""

    return take


def _by_first_byte(*rules: tuple[bytes, bytes, str, str, Callable[[bytes], _Found | None]]
                   ) -> dict[bytes, tuple[_Rule, ...]]:
    found: dict[bytes, tuple[_Rule, ...]] = {}
    for begins, rest, kind, side, take in rules:
        found[begins[:1]] = (*found.get(begins[:1], ()), (begins + rest, len(begins), kind, side, take))
    return found


#: What a line begins with, behind its level; what begins the rest, which is taken apart; its kind and side; by what.
_RULES = _by_first_byte(
    (b"Receiver ", b"bl ", events.DATA, "Receiver", _groups),
    (b"Receiver ", b"DS Qs ", events.QUEUES, "Receiver", _groups),
    (b"Sender ", b"bl ", events.DATA, "Sender", _groups),
    (b"Sender ", b"DS Qs ", events.QUEUES, "Sender", _groups),
    (b"State: ", b"", events.STATE, "", _state),
    (b"Source file transfers ", b"", events.FILES, "", _files),
    (b"FASP Transfer Start ", b"", events.TRANSFER_START, "", _pairs()),
    (b"FASP Transfer Stop ", b"", events.TRANSFER_STOP, "", _pairs()),
    (b"FASP Session Start ", b"", events.SESSION_START, "", _pairs()),
    (b"FASP Session Stop ", b"", events.SESSION_STOP, "", _pairs()),
    (b"FASP Session Params ", b"", events.SESSION_PARAMS, "", _pairs()),
    (b"FASP Session Statistics ", b"", events.SESSION_STATISTICS, "", _statistics()),
)
