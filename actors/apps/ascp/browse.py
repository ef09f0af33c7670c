"""The page of transfers: the sessions of a period, and the charts of one, from the store of events alone.

    host/pid/time/digest   the last line of each process ─▶ its session ─▶ the one before … the newest of all first
                           host/pid/start … stop ─▶ marks ─▶ sessions_of ─▶ series ─▶ three charts

Guarantees: a session, its summary and its series are what the fold makes of the same lines (``sessions_of``), in a run
that goes on as after it. A list costs a look at each process and some twenty lines for each session that is listed,
however long they are and however many events there are: keys are in order of time, and a data line says how long its
session has lasted, so the beginning is looked for there. A chart costs a look at each line of its session; of more than
``MOST_POINTS`` data lines every second one is taken apart, or every fourth, and so on, and the page says so.

What does not work: to look through the events of the period for beginnings (10^7 of them are 6 GB); an index of
beginnings beside them (each batch with one goes the long way of records with several outputs, and stores of before have
none).
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Mapping
from statistics import median
from typing import Any

from actors.apps.ascp import ascp_pb2, events
from actors.apps.ascp.events import Event, decode
from actors.apps.ascp.sessions import Session, marks_of, sessions_of
from thresher import Browse, Chart, Charts, Items, Reader

#: Most data lines of a session that are taken apart; most lines that are looked at, of one, and for a beginning.
MOST_POINTS, MOST_LINES, MOST_BACK = 20_000, 1_000_000, 4_000
_LAST_MS = 9_999_999_999_999
#: Times may be rounded to a second, and clocks are set: so much behind the beginning it is looked for.
_MARGIN_MS, _DRIFT = 2000, 1000
_GAP_TIMES, _GAP_MS = 5, 5000
_COLUMNS = [("started", "ms"), ("host", ""), ("process", ""), ("status", ""), ("operation", ""), ("bytes", "bytes"),
            ("seconds", "s"), ("rate", "bit/s"), ("target", "bit/s"), ("sent again", "ratio"), ("source", ""),
            ("destination", "")]

#: What the message of a kind begins with.
_HEADS = {kind: ascp_pb2.AscpEvent(kind=kind).SerializeToString() for kind in (
    events.DATA, events.SESSION_START, events.SESSION_PARAMS, events.SESSION_STATISTICS, events.SESSION_STOP,
    events.FILES, events.TRANSFER_START, events.TRANSFER_STOP)}
_DATA = _HEADS[events.DATA]
_NEEDED = tuple(_HEADS.values())
#: Of these there are few.
_FEW = tuple(_HEADS[kind] for kind in (
    events.SESSION_START, events.SESSION_PARAMS, events.SESSION_STATISTICS, events.SESSION_STOP, events.FILES))

#: What a session may begin with that was not seen to start.
_BEGINS = frozenset((events.DATA, events.TRANSFER_START, events.TRANSFER_STOP, events.SESSION_PARAMS))
#: Microseconds that a session has not lasted yet in the second in which it starts.
_YOUNG_US = 2_000_000

Store = Mapping[str, Reader]


def transfers(store: Store, first: int | None, last: int | None, most: int) -> Items:
    """The sessions with lines in this period, the newest ones first."""
    found, more = newest(store["events"], first or 0, _LAST_MS if last is None else last, most)
    rows = [_row(session.summary()) for session in found]
    span = (min(row[1] for row in rows), max(session.end for session in found)) if rows else None
    return Items(columns=_COLUMNS, rows=rows, y_title="mean rate", unit="bit/s", more=more, span=span)


def _row(said: dict[str, Any]) -> tuple[str, int, float | None, str, list[Any]]:
    rate = None if said["mbps"] is None else said["mbps"] * 1e6
    tone = {"success": "ok", "open": "open"}.get(said["status"], "bad")
    return said["session"], said["start"], rate, tone, [
        said["start"], said["host"], said["pid"], said["status"], said["op"], said["bytes"], said["elapsed_s"], rate,
        said["target_bps"], said["rex_ratio"], said["source"], said["dest"]]


def newest(reader: Reader, first: int, last: int, most: int) -> tuple[list[Session], int]:
    """The newest sessions with lines from ``first`` to ``last`` (ms), by their last line, and how many more there are at
    least: as many as there are processes that have more."""
    waiting: list[tuple[int, bytes, int]] = []  # (less its time, process, when the session behind it starts)
    for process in _processes(reader):
        if (at := _last_before(reader, process, first, last)) is not None:
            waiting.append((-at, process, -1))
    heapq.heapify(waiting)
    found: list[Session] = []
    while waiting and len(found) < most:
        at, process, behind = heapq.heappop(waiting)
        session = _session_before(reader, process, -at, behind)
        if session is None:
            continue
        if session.end >= first:
            found.append(session)
        if (before := _last_before(reader, process, first, session.start - 1)) is not None:
            heapq.heappush(waiting, (-before, process, session.start))
    return found, len(waiting)


def _processes(reader: Reader) -> Iterator[bytes]:
    """What the keys of each process begin with, ``host/pid/``: one look at the store for each."""
    at = b""
    while (pair := next(reader.range(at), None)) is not None:
        process = pair[0][:pair[0].rindex(b"/", 0, pair[0].rindex(b"/")) + 1]
        if not process.endswith(b"/-/"):
            yield process
        at = process[:-1] + b"0"  # 0 is behind /


def _time(process: bytes, key: bytes) -> int:
    return int(key[len(process):len(process) + 13])


def _back(reader: Reader, process: bytes, last: int, first: int = 0) -> Iterator[tuple[bytes, bytes]]:
    """The lines of a process from ``last`` back to ``first``, ms, both included."""
    return reader.range(b"%b%013d" % (process, first), b"%b%013d0" % (process, last), backwards=True)


def _last_before(reader: Reader, process: bytes, first: int, last: int) -> int | None:
    pair = next(_back(reader, process, last, first), None)
    return None if pair is None else _time(process, pair[0])


class _Search:
    """Goes back from the last line of a session to its first one.

    Args:
        reader: the store of events.
        process: what the keys of its lines begin with.
    """

    def __init__(self, reader: Reader, process: bytes) -> None:
        self._reader = reader
        self._process = process
        self._events: list[Event] = []
        self._start: Event | None = None
        #: The earliest line that a session may begin with that was not seen to start.
        self._earliest: Event | None = None
        self._left = MOST_BACK

    def look_at(self, at: int) -> None:
        """Take what stands in this ms, in which the next session starts: data and end of the one before may be there,
        and ``sessions_of`` knows which is whose."""
        process = self._process
        pairs = self._reader.range(b"%b%013d" % (process, at), b"%b%013d0" % (process, at))
        self._events += [decode(value) for _, value in pairs if value.startswith(_NEEDED)]

    def back_from(self, last: int) -> None:
        """Take what is needed of the lines from here back to the first one of the session."""
        until: int | None = last
        while until is not None:
            until = self._step(until)

    def _step(self, last: int) -> int | None:
        """The same, until a line says that much can be left out: return from where to go on; None: it is done."""
        for key, value in _back(self._reader, self._process, last):
            self._left -= 1
            if value.startswith(_NEEDED):
                event = decode(value)
                if self._is_over(event):
                    return None
                began = _beginning(event)
                if began is not None and began < _time(self._process, key) - 1:
                    return began
            if self._left < 0:
                return None
        return None

    def _is_over(self, event: Event) -> bool:
        """Take a line that is older than those before; return whether it is the first, or of the session before."""
        earliest = self._earliest
        if event.kind == events.SESSION_STOP and earliest is not None and (event.at or 0) < (earliest.at or 0):
            return True
        self._events.append(event)
        if event.kind == events.SESSION_START:
            self._start = event
        elif event.kind in _BEGINS:
            self._earliest = event
        return self._start is not None

    def session(self) -> Session | None:
        """The session of these lines."""
        first = self._start or self._earliest
        if first is None:
            return None
        marks = marks_of(self._events)
        return next((each for each in sessions_of(first.host, first.pid, marks.items())
                     if each.start == first.at and each.uuid == (first.field("uuid") or each.uuid)), None)


def _session_before(reader: Reader, process: bytes, last: int, behind: int) -> Session | None:
    """The session that the last line of a process until ``last`` is of; None: of none. ``behind``: when the next one
    starts, or -1."""
    search = _Search(reader, process)
    if behind >= 0:
        search.look_at(behind)
    search.back_from(last)
    return search.session()


def _beginning(event: Event) -> int | None:
    """When the session of a data line began at the latest, in ms; None: it does not say."""
    elapsed_us = event.number("prog", "e") if event.kind == events.DATA else None
    if elapsed_us is None or event.at is None:
        return None
    elapsed_ms = elapsed_us // 1000
    return event.at - elapsed_ms + _MARGIN_MS + elapsed_ms // _DRIFT


def charts(store: Store, session: str) -> Charts | None:
    """Rate, retransmission and delay of a session, by what it is called: ``host/pid/start``."""
    host, pid, start = session.rsplit("/", 2) if session.count("/") > 1 else ("", "", "")
    if not (start.isdecimal() and start.isascii()) or len(start) > len(str(_LAST_MS)):
        return None
    lines = _Lines(host, pid, int(start))
    lines.read(store["events"])
    found = lines.session()
    if found is None:
        return None
    said, series = found.summary(), found.series()
    return Charts(
        title=found.id, facts=_facts(said), is_open=said["status"] == "open", notes=lines.notes(), charts=[
            _chart("Rate against target", "bit/s", series, {
                "rate": "bandwidth_bps", "target": "target_bps", "minimum": "minimum_bps"}),
            _chart("Retransmission: blocks sent again", "ratio", series, {"sent again": "rex_ratio"}),
            _chart("Delay: rate_rtt, as the vendor counts it", "", series, {
                "b": "rtt_b", "l": "rtt_l", "h": "rtt_h", "s": "rtt_s"})])


def _facts(said: dict[str, Any]) -> list[tuple[str, Any, str]]:
    rate = None if said["mbps"] is None else said["mbps"] * 1e6
    return [
        ("status", said["status"], ""), ("operation", said["op"], ""), ("started", said["start"], "ms"),
        ("last line", said["end"], "ms"), ("bytes", said["bytes"], "bytes"), ("lasted", said["elapsed_s"], "s"),
        ("mean rate", rate, "bit/s"), ("target", said["target_bps"], "bit/s"), ("policy", said["rate_policy"], ""),
        ("sent again", said["rex_ratio"], "ratio"), ("delay", said["delay_s"], "s"), ("source", said["source"], ""),
        ("destination", said["dest"], ""), ("peer", said["peer"], ""), ("user", said["user"], ""),
        ("uuid", said["uuid"], "")]


class _Lines:
    """The lines of one session, as many of them as are drawn."""

    def __init__(self, host: str, pid: str, start: int) -> None:
        self._host, self._pid, self._start = host, pid, start
        self._few: list[Event] = []
        self._data: list[bytes] = []
        self._number = self._every = 0
        self._is_cut = False
        self._uuid: Any = None

    def read(self, reader: Reader) -> None:
        """Look at each line until the session has stopped, or another one starts; to the end of that ms."""
        process = events.process_prefix(self._host, self._pid)
        end, self._every = _LAST_MS, 1
        pairs = reader.range(b"%b%013d" % (process, self._start), b"%b%013d0" % (process, _LAST_MS))
        for number, (key, value) in enumerate(pairs):
            at = _time(process, key)
            self._is_cut = number >= MOST_LINES
            if at > end or self._is_cut:
                break
            if value.startswith(_DATA):
                self._take(value)
            elif value.startswith(_FEW):
                event = decode(value)
                self._few.append(event)
                end = min(end, at) if self._is_last(event) else end

    def _take(self, value: bytes) -> None:
        if self._number % self._every == 0:
            self._data.append(value)
        self._number += 1
        if len(self._data) > MOST_POINTS:
            self._data, self._every = self._data[::2], 2 * self._every

    def _is_last(self, event: Event) -> bool:
        uuid = event.field("uuid")
        if event.kind == events.SESSION_START:
            if event.at == self._start and self._uuid is None:
                self._uuid = uuid
                return False
            return True
        return event.kind == events.SESSION_STOP and uuid in (self._uuid, None)

    def session(self) -> Session | None:
        """The session; in the second in which it starts, what is much older than it is of the one before."""
        data = [event for event in map(decode, self._data)
                if event.at != self._start or (event.number("prog", "e") or 0) < _YOUNG_US]
        found = sessions_of(self._host, self._pid, marks_of([*self._few, *data]).items())
        return next((each for each in found if each.start == self._start), None)

    def notes(self) -> list[str]:
        """What is left out."""
        notes = [f"More than {MOST_POINTS:,} data lines: one of {self._every} is drawn."] * (self._every > 1)
        return notes + [f"Only the first {MOST_LINES:,} lines of it are drawn."] * self._is_cut


def _chart(title: str, unit: str, series: list[dict[str, Any]], lines: dict[str, str]) -> Chart:
    """Some columns of a series over time, with a gap where nothing was said for long; not those that say nothing."""
    at = [row["at"] for row in series]
    steps = [after - before for before, after in zip(at, at[1:], strict=False)]
    longest = max(_GAP_MS, _GAP_TIMES * median(steps)) if steps else _GAP_MS
    gaps = [index for index, step in enumerate(steps, 1) if step > longest]
    for index in reversed(gaps):
        at.insert(index, at[index - 1] + 1)
    found: dict[str, list[float | None]] = {}
    for name, column in lines.items():
        values = [row[column] for row in series]
        if any(value is not None for value in values):
            for index in reversed(gaps):
                values.insert(index, None)
            found[name] = values
    return Chart(title=title, unit=unit, at=at, lines=found)


BROWSE = Browse(title="Transfers", noun="transfers", needs={"events": "range"}, items=transfers, charts=charts)
