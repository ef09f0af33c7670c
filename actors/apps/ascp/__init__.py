"""ascp: transfer logs as structured data.

    Jan 23 10:47:43 elsaspera03 ascp[5276]: LOG Receiver bl t/o/r/d=5292/5292/0/0 … prog t/f/e=7683984/385957572/1000142
    ──▶  store "events":  host/pid/time/digest ──▶ AscpEvent{groups, numbers, fields, raw line}
    ──▶  "sessions": a row for each session, from Start to Stop; "series": a row for each of its data lines

Files, or a stream (``ascp-live``): the same functions and the same keys, so that what was streamed and is read once
more from files changes nothing. What a session is lies in ``sessions``, how a line is taken apart in ``lines``.
"""

from __future__ import annotations

from datetime import UTC, datetime
from operator import attrgetter
from typing import Any

import msgspec

from actors.apps.ascp import sessions
from actors.apps.ascp.browse import BROWSE
from actors.apps.ascp.events import Event, encode, listed_under
from actors.apps.ascp.lines import parse_lines
from actors.apps.ascp.questions import QUESTIONS
from thresher import (
    FlowOptions,
    Fold,
    InputUnit,
    Pipeline,
    Reject,
    Window,
    WindowOptions,
    Windows,
    per_chunk,
)
from thresher.sinks import DeadLetters, Discard, Indexed, Jsonl, Lmdb
from thresher.sources import Directory

#: The store that all events go to.
EVENTS = "events"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How lines are read that do not say all of it.

    Attributes:
        host: of lines whose prefix has none.
        reference: the year of a line that has none is the latest one that puts it at most a day after this time:
            ISO 8601 with a zone, as in ``2018-10-11T00:00:00Z``; empty: after the line was first read.
        utc_offset_s: seconds that the clocks of the hosts are ahead of UTC: 7200 for UTC+2.
    """

    host: str = ""
    reference: str = ""
    utc_offset_s: int = 0

    def __post_init__(self) -> None:
        """Refuse what is no time, and no host."""
        if any(not each.isprintable() or each.isspace() for each in self.host):
            raise ValueError(f"host: expected a host's name, without blanks, got {self.host!r}")
        if abs(self.utc_offset_s) > 86_400:
            raise ValueError(f"utc_offset_s: expected at most a day, got {self.utc_offset_s}")
        if self.reference and self.reference_ms is None:
            raise ValueError("reference: expected a time with its zone, as in 2018-10-11T00:00:00Z, "
                             f"got {self.reference!r}")

    @property
    def reference_ms(self) -> int | None:
        """The reference, in ms since 1970; None: there is none."""
        try:
            when = datetime.fromisoformat(self.reference)
        except ValueError:
            return None
        return None if when.tzinfo is None else int((when - _EPOCH).total_seconds() * 1000)


@per_chunk
def parse(lines: list[bytes | None], unit: InputUnit, options: Options) -> list[Event | Reject | None]:
    """Take lines apart; blank ones are no records."""
    reference = options.reference_ms
    return parse_lines(
        lines, options.host, unit.seen_ms if reference is None else reference, options.utc_offset_s * 1000)


@per_chunk
def route(values: list[Event]) -> list[str]:
    """All of them are stored."""
    return [EVENTS] * len(values)


@per_chunk
def items(values: list[Event]) -> list[tuple[bytes, bytes] | Indexed]:
    """Keys and messages; by time in the sets of their host and their process, in a store that has such."""
    return [pair if event.at is None else Indexed(*pair, event.at, listed_under(event.host, event.pid))
            for event, pair in zip(values, map(encode, values), strict=True)]


@per_chunk
def times(values: list[Event]) -> list[int | None]:
    """When each is that sessions are made of."""
    return list(map(sessions.time_of, values))


@per_chunk
def processes(values: list[Event]) -> list[tuple[str, str]]:
    """Sessions are looked for among the lines of a process."""
    return list(map(attrgetter("host", "pid"), values))


def partials(values: list[Event]) -> dict[tuple[Any, ...], list[Any]]:
    """What sessions need of these lines."""
    return sessions.marks_of(values)


def emit(window: Window, rows: sessions.Marks) -> list[tuple[str, Any]]:
    """The sessions among the lines of a process: a summary of each, and its series."""
    host, pid = window.key
    found = sessions.sessions_of(host, pid, rows)
    return [("sessions", session.summary()) for session in found] + [
        ("series", row) for session in found for row in session.series()]


PIPELINE = Pipeline(
    name="ascp",
    source=Directory(follow=False),
    parse=parse,
    route=route,
    encode=items,
    fold=Fold(partials=partials, keys=("at", "line"), fields=("lines", "kind", "side", "said"), merge=sessions.merge),
    windows=Windows(time=times, key=processes, emit=emit),
    # A process that is silent for an hour has ended: its number may be another's. Years are found by a day's grace, so
    # a time may be a day ahead.
    window=WindowOptions(kind="session", gap_s=3600, disorder_s=300, max_future_skew_s=2 * 86_400),
    sinks={EVENTS: Lmdb(), "sessions": Jsonl(), "series": Discard()},
    emit_sinks=("sessions", "series"),
    dead_letters=DeadLetters(),
    options=Options(),
    questions=QUESTIONS,
    browse=BROWSE,
    flags={"host": "options.host", "reference": "options.reference"},
    flow=FlowOptions(batch_bytes=512 * 1024),
)
