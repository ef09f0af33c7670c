"""What can be asked of the transfers that are stored: how many, which were the longest, how one of them went.

    events, in order of keys ──▶ lines of (host, pid), cut where it is silent ──▶ sessions ──▶ rows

Sessions are found in the events by the same function as in a run (``sessions_of``), so an answer has what was stored a
moment ago, and the same numbers once the run has summed up: but for ``lines`` and ``repeated``, as a store by keys has
equal lines once. In memory are the lines of one process between two silences. Where the store of the events has no
order (memcached), the rows that the run has summed up are looked at (``sessions``, ``series``): what is over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from heapq import nlargest
from operator import itemgetter
from typing import Any

import msgspec

from actors.apps.ascp.events import decode, host_range, range_of
from actors.apps.ascp.sessions import Mark, Session, mark_of, sessions_of, time_of
from thresher import Moment, Question, Store, WindowOptions

_EVENTS, _SESSIONS, _SERIES = "events", "sessions", "series"
_FOREVER = 10**13 - 1


class Summary(msgspec.Struct, frozen=True):
    """What is asked of a session's row, whatever it was stored as; see ``Session.summary``."""

    session: str
    start: int
    end: int
    status: str
    source: str | None = None
    dest: str | None = None
    bytes: int | None = None
    elapsed_s: float | None = None
    mbps: float | None = None
    target_bps: int | None = None
    rex_ratio: float | None = None
    transfers: int = 0

    @property
    def seconds(self) -> float:
        """How long it took, as it says; else from its first line to its last."""
        return (self.end - self.start) / 1000 if self.elapsed_s is None else self.elapsed_s

    def shown(self) -> dict[str, Any]:
        """It as a row of an answer."""
        return {"session": self.session, "start": datetime.fromtimestamp(self.start / 1000, UTC),
                "seconds": self.seconds, "bytes": self.bytes, "mbps": self.mbps, "target_bps": self.target_bps,
                "rex_ratio": self.rex_ratio, "status": self.status, "source": self.source, "dest": self.dest}


def sessions_in(store: Store, gap_ms: int, first: bytes = b"", last: bytes | None = None) -> Iterator[Session]:
    """The sessions among the events between two keys, in the order of host, process and time.

    Args:
        store: with ``events`` in order.
        gap_ms: a process that is silent for longer has ended: its number may be another's.
        first: of the keys.
        last: the first key that is none of them; None: there are no more.
    """
    process: tuple[str, str] = ("", "")
    marks: dict[tuple[Any, ...], Mark] = {}
    newest = 0
    for key, value in store[_EVENTS].range(first, last):
        event = decode(value)
        at, mark = time_of(event), mark_of(event)
        if at is None or mark is None:
            continue
        if (event.host, event.pid) != process or at - newest > gap_ms:
            yield from sessions_of(*process, marks.items())
            process, marks = (event.host, event.pid), {}
        marks[at, key.rpartition(b"/")[2].decode()] = mark
        newest = at
    yield from sessions_of(*process, marks.items())


def summaries(
    store: Store, window: WindowOptions, host: str = "", since: Moment | None = None, until: Moment | None = None
) -> Iterator[Summary]:
    """A summary of each session that starts in this time."""
    for row in _summary_rows(store, window, host):
        found = msgspec.convert(row, Summary, strict=False)
        if (since is None or found.start >= since) and (until is None or found.start <= until):
            yield found


def _summary_rows(store: Store, window: WindowOptions, host: str) -> Iterator[dict[str, Any]]:
    if _EVENTS not in store:
        yield from (row for row in store[_SESSIONS].rows() if not host or row["host"] == host)
        return
    keys = host_range(host) if host else ()
    yield from (found.summary() for found in sessions_in(store, _gap_ms(window), *keys) if host in ("", found.host))


def _gap_ms(window: WindowOptions) -> int:
    return round(window.gap_s * 1000)


def count(
    store: Store, *, host: str = "", since: Moment | None = None, until: Moment | None = None, window: WindowOptions
) -> list[dict[str, Any]]:
    """How many transfers there are, and what they have moved together.

    Args:
        host: only those that this host has logged.
        since: only sessions that start then or later.
        until: only sessions that start then or earlier.
    """
    number = is_open = files = moved = 0
    seconds = 0.0
    for each in summaries(store, window, host, since, until):
        number += 1
        is_open += each.status == "open"
        files += each.transfers
        if each.bytes is not None and each.elapsed_s:
            moved += each.bytes
            seconds += each.elapsed_s
    return [{"sessions": number, "open": is_open, "transfers": files, "bytes": moved, "seconds": seconds,
             "mbps": moved * 8 / seconds / 1e6 if seconds else None}]


def transfers(
    store: Store, *, host: str = "", since: Moment | None = None, until: Moment | None = None, window: WindowOptions
) -> Iterator[dict[str, Any]]:
    """Each session with its average rate.

    Args:
        host: only those that this host has logged.
        since: only sessions that start then or later.
        until: only sessions that start then or earlier.
    """
    return (each.shown() for each in summaries(store, window, host, since, until))


def _ranked(text: str, by: Callable[[Summary], float | None]) -> Callable[..., list[dict[str, Any]]]:
    """The question for the first by this number."""
    def answer(
        store: Store, *, top: int = 10, host: str = "", since: Moment | None = None, until: Moment | None = None,
        window: WindowOptions
    ) -> list[dict[str, Any]]:
        return _most(summaries(store, window, host, since, until), top, by)

    answer.__doc__ = f"""{text}

    Args:
        top: so many.
        host: only those that this host has logged.
        since: only sessions that start then or later.
        until: only sessions that start then or earlier.
    """
    return answer


longest = _ranked("The sessions that took longest.", lambda each: each.seconds)
largest = _ranked("The sessions that moved most bytes.", lambda each: each.bytes)
fastest = _ranked("The sessions with the highest average rate.", lambda each: each.mbps)


def _most(found: Iterable[Summary], top: int, by: Callable[[Summary], float | None]) -> list[dict[str, Any]]:
    """The first of those of which it is known; of equal ones that which comes first."""
    known = ((number, each) for each in found if (number := by(each)) is not None)
    return [each.shown() for _, each in nlargest(max(0, top), known, key=itemgetter(0))]


def session(store: Store, session: str, *, window: WindowOptions) -> Iterator[dict[str, Any]]:
    """All that is known of one session.

    Args:
        session: as the column of that name has it: HOST/PID/START.
    """
    if _EVENTS in store:
        yield from (found.summary() for found in _called(store, session, window))
    else:
        yield from (row for row in store[_SESSIONS].rows() if row["session"] == session)


def series(store: Store, session: str, *, window: WindowOptions) -> Iterator[dict[str, Any]]:
    """One session over time: rate against target, blocks sent again, delay.

    Args:
        session: as the column of that name has it: HOST/PID/START.
    """
    if _EVENTS in store:
        for found in _called(store, session, window):
            yield from found.series()
    else:
        yield from (row for row in store[_SERIES].rows() if row["session"] == session)


def _called(store: Store, name: str, window: WindowOptions) -> Iterator[Session]:
    """The session of this name, looked for among the lines of its process."""
    process, _, start = name.rpartition("/")
    host, slash, pid = process.rpartition("/")
    if slash and start.isdecimal():
        found = sessions_in(store, _gap_ms(window), *range_of(host, pid, 0, _FOREVER))
        yield from (each for each in found if each.id == name)


def _question(answer: Callable[..., Iterable[Any]], otherwise: str = _SESSIONS) -> Question:
    return Question(answer=answer, needs={_EVENTS: "range"}, or_needs={otherwise: "rows"})


QUESTIONS = {
    "count": _question(count), "transfers": _question(transfers), "longest": _question(longest),
    "largest": _question(largest), "fastest": _question(fastest), "session": _question(session),
    "series": _question(series, _SERIES)}
