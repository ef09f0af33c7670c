"""The lines of one session: all of them, or of a long one some at equal distances, whatever its length.

    start ─▶ all lines, up to MOST_LINES ── is it over by then? ──▶ these
                                               └─no──▶ its end is looked for in steps that double; then a data line is
                                                       read at each of SAMPLES moments, and all lines at both ends
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from typing import NamedTuple

from actors.apps.ascp import events
from actors.apps.ascp.events import Event, decode, process_prefix
from actors.apps.ascp.lookup import LAST_MS, Process, head_of, kind_of, nominal_start, segment_before
from actors.apps.ascp.sessions import time_of
from thresher import Reader

#: Most lines of a session that are read one by one; moments of a longer one.
MOST_LINES, SAMPLES = 6_000, 1_200
#: Lines at both ends of a long one; lines among which a data line is looked for.
_ENDS, _NEAR = 200, 50
_CLOSE_MS, _MOST_STEPS = 1_000, 500
_DATA = head_of(events.DATA)


class Lines(NamedTuple):
    """Lines of a process that a session is among.

    Attributes:
        events: in any order.
        is_whole: they are all that it has.
    """

    events: list[Event]
    is_whole: bool


def lines_of_session(reader: Reader, host: str, pid: str, start: int, gap_ms: int) -> Lines:
    """The lines of the session that starts then, and of those before and behind it some."""
    process = Process(reader, process_prefix(host, pid))
    found, is_over = _until_over(process, start, start, gap_ms, MOST_LINES)
    if not found or found[0].at != start:
        return Lines([], True)
    if not is_over:
        newest = max(event.at or 0 for event in found)
        end = _end(process, start, newest, gap_ms)
        tail, _ = _until_over(process, start, end, gap_ms, _ENDS)
        found = [*found[:_ENDS], *_at_moments(process, start, end), *tail]
    before = segment_before(process, start - 1, gap_ms)
    return Lines([*found, *(before.lines if before is not None else ())], is_over)


def _until_over(process: Process, start: int, first: int, gap_ms: int, most: int) -> tuple[list[Event], bool]:
    """The lines from a time on, until another session starts or nothing is said for long; whether that was so."""
    found: list[Event] = []
    newest = first
    for at, group in process.groups(first, most=most):
        if at - newest > gap_ms:
            return found, True
        found += group
        newest = at
        if at > start and any(kind_of(event) == events.SESSION_START for event in group):
            return found, True
    is_over = next(islice(process.pairs(first), most, None), None) is None
    return found, is_over


def _end(process: Process, start: int, known: int, gap_ms: int) -> int:
    """When about the last data line of a session is, of which so much is known."""
    step, last = max(_CLOSE_MS, known - start), known
    while (at := _same(process, last + step, known)) is not None:
        last, step = at, 2 * step
    beyond = last + step
    while beyond - last > _CLOSE_MS:
        middle = (last + beyond) // 2
        at = _same(process, middle, known)
        if at is not None and at < beyond:
            last = max(at, middle)
        else:
            beyond = middle
    return _before_silence(process, known, last, gap_ms)


def _same(process: Process, moment: int, known: int) -> int | None:
    """When the first data line from this moment on is; None: it is none of a session that goes on at ``known``."""
    event = _data_at(process, moment)
    began = None if event is None else nominal_start(event)
    return None if event is None or began is None or began > known else event.at


def _data_at(process: Process, moment: int) -> Event | None:
    """The first data line from this moment on, if it is near."""
    if moment > LAST_MS:
        return None
    for _, value in islice(process.pairs(moment), _NEAR):
        if value.startswith(_DATA) and time_of(event := decode(value)) is not None:
            return event
    return None


def _before_silence(process: Process, first: int, last: int, gap_ms: int) -> int:
    """The last line before the first long silence between two times; ``last`` if there is none."""
    at = first
    for _ in range(_MOST_STEPS):
        if last - at <= gap_ms:
            break
        behind = process.last_line(at + 1, at + gap_ms)
        if behind is None:
            return at
        at = behind
    return last


def _at_moments(process: Process, start: int, end: int) -> Iterable[Event]:
    """A data line at each of so many moments."""
    newest = start
    for number in range(1, SAMPLES + 1):
        moment = start + number * (end - start) // SAMPLES
        event = _data_at(process, moment) if moment > newest else None
        if event is not None and event.at is not None and event.at <= end:
            newest = event.at
            yield event
