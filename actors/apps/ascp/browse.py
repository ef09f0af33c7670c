"""The page of transfers: the sessions of a period, the newest first, and the charts of one.

    processes ──last line of each──▶ heap ──sessions_back──▶ sessions, by when they ended ──▶ a dot and a row for each
    host/pid/start ──its lines, or some of them at equal distances──▶ sessions_of ──▶ series ──▶ three charts

Guarantees:

* What a page costs does not grow with the events that are stored, nor with the length of a session: for a list a look
  at each of ``MOST_PROCESSES`` processes at most, and the few dozen lines that each listed session needs (``lookup``);
  for charts ``MOST_LINES`` lines, of longer sessions ``SAMPLES`` lines besides. What is left out is said on the page.
* Rates and ratios are means of the time between two drawn lines, from sums that ascp itself keeps: so they are exact
  where lines are left out. Of delays one is drawn that was measured.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from itertools import islice, pairwise
from statistics import median
from typing import Any, NamedTuple

from actors.apps.ascp.events import Event, host_range
from actors.apps.ascp.lookup import LAST_MS, Process, processes, sessions_back
from actors.apps.ascp.samples import MOST_LINES, SAMPLES, lines_of_session
from actors.apps.ascp.sessions import Session, marks_of, sessions_of
from thresher import Browse, Chart, Charts, Item, Items, Look, Reader, Store, WindowOptions

#: Most processes that are looked at for one list.
MOST_PROCESSES = 4_000
_EVENTS = "events"
#: A line has a gap where nothing was said for so many times as long as usual, and for so long.
_GAP_TIMES, _GAP_MS = 5, 5_000
_COLUMNS = [("started", "ms"), ("ended", "ms"), ("host", ""), ("process", ""), ("status", ""), ("operation", ""),
            ("bytes", "bytes"), ("seconds", "s"), ("rate", "bit/s"), ("target", "bit/s"), ("sent again", "ratio"),
            ("source", ""), ("destination", "")]


def transfers(store: Store, look: Look, *, window: WindowOptions) -> Items:
    """The sessions that ended in this period, the newest ones first; of those that are open the last line counts."""
    first_key, last_key = host_range(look.within) if look.within else (b"", None)
    if look.after:
        first_key = max(first_key, look.after.encode()[:-1] + b"0")
    found = newest(store[_EVENTS], first_key, last_key, look, round(window.gap_s * 1000))
    return Items(columns=_COLUMNS, items=list(map(_item, found.sessions)), y_title="mean rate", unit="bit/s",
                 older=found.older, next=found.next,
                 note=f"Only {MOST_PROCESSES:,} processes were looked at, in the order of hosts and process numbers: "
                      f"as far as {found.next.removesuffix('/')}." if found.next else "")


def _item(session: Session) -> Item:
    said = session.summary()
    rate = None if said["mbps"] is None else said["mbps"] * 1e6
    return Item(
        id=said["session"], at=session.end, height=rate, tone=_tone(said["status"]),
        cells=[said["start"], session.end, said["host"], said["pid"], said["status"], said["op"], said["bytes"],
               said["elapsed_s"], rate, said["target_bps"], said["rex_ratio"], said["source"], said["dest"]])


def _tone(status: str) -> str:
    return {"success": "ok", "open": "open"}.get(status, "bad")


class Newest(NamedTuple):
    """Sessions, the newest first.

    Attributes:
        sessions: by when they ended.
        older: there are more, which ended then or earlier; None: there are none.
        next: what the keys of the last process begin with that was looked at; empty: there are no others.
    """

    sessions: list[Session]
    older: int | None
    next: str


def newest(reader: Reader, first_key: bytes, last_key: bytes | None, look: Look, gap_ms: int) -> Newest:
    """The newest sessions of the processes between two keys."""
    first, last = look.first or 0, LAST_MS if look.last is None else min(look.last, LAST_MS)
    some = list(islice(processes(reader, first_key, last_key), MOST_PROCESSES + 1))
    behind = some[MOST_PROCESSES - 1].prefix.decode() if len(some) > MOST_PROCESSES else ""
    waiting = list(_last_lines(some[:MOST_PROCESSES], first, last, gap_ms))
    heapq.heapify(waiting)
    found: list[Session] = []
    older = None
    while waiting:
        at, number, session, before = heapq.heappop(waiting)
        if len(found) >= look.most and -at < found[-1].end:
            older = -at
            break
        if session is not None:
            found.append(session)
        following = next(before, None)
        if following is not None and following.end >= first:
            heapq.heappush(waiting, (-following.end, number, following, before))
    return Newest(found, older, behind)


def _last_lines(some: list[Process], first: int, last: int, gap_ms: int
                ) -> Iterator[tuple[int, int, Session | None, Iterator[Session]]]:
    """Of each process when its last line is (negative), its number, and its sessions, of which none is known yet."""
    for number, process in enumerate(some):
        at = process.last_line(first, last)
        if at is not None:
            yield -at, number, None, sessions_back(process, last, gap_ms)


def charts(store: Store, session: str, *, window: WindowOptions) -> Charts | None:
    """Rate, retransmission and delay of a session, by what it is called: ``host/pid/start``."""
    process, _, start = session.rpartition("/")
    host, slash, pid = process.rpartition("/")
    if not slash or not (start.isdecimal() and start.isascii()) or len(start) > len(str(LAST_MS)):
        return None
    lines = lines_of_session(store[_EVENTS], host, pid, int(start), round(window.gap_s * 1000))
    found = _session_at(lines.events, int(start))
    if found is None:
        return None
    said, series = found.summary(), found.series()
    return Charts(
        title=found.id, facts=_facts(said, found.end), is_open=said["status"] == "open", notes=_notes(lines.is_whole),
        charts=[_chart("Rate against target", "bit/s", series, {
                    "rate": "bandwidth_bps", "target": "target_bps", "minimum": "minimum_bps"}),
                _chart("Retransmission: share of blocks sent again", "ratio", series, {"sent again": "rex_ratio"}),
                _chart("Delay: rate_rtt, as the vendor counts it", "", series, {
                    "b": "rtt_b", "l": "rtt_l", "h": "rtt_h", "s": "rtt_s"})])


def _session_at(lines: list[Event], start: int) -> Session | None:
    """The session that starts then, among lines of one process."""
    if not lines:
        return None
    found = sessions_of(lines[0].host, lines[0].pid, marks_of(lines).items())
    return next((each for each in found if each.start == start), None)


def _notes(is_whole: bool) -> list[str]:
    return [] if is_whole else [
        f"It has more than {MOST_LINES:,} lines: {SAMPLES:,} moments of it are drawn, and means between them."]


def _facts(said: dict[str, Any], end: int) -> list[tuple[str, Any, str]]:
    rate = None if said["mbps"] is None else said["mbps"] * 1e6
    return [
        ("status", said["status"], ""), ("operation", said["op"], ""), ("started", said["start"], "ms"),
        ("last line", end, "ms"), ("bytes", said["bytes"], "bytes"), ("lasted", said["elapsed_s"], "s"),
        ("mean rate", rate, "bit/s"), ("target", said["target_bps"], "bit/s"), ("policy", said["rate_policy"], ""),
        ("sent again", said["rex_ratio"], "ratio"), ("delay", said["delay_s"], "s"), ("source", said["source"], ""),
        ("destination", said["dest"], ""), ("peer", said["peer"], ""), ("user", said["user"], ""),
        ("uuid", said["uuid"], "")]


def _chart(title: str, unit: str, series: list[dict[str, Any]], lines: dict[str, str]) -> Chart:
    """Some columns of a series over time, with a gap where nothing was said for long; not those that say nothing."""
    at = [row["at"] for row in series]
    steps = [after - before for before, after in pairwise(at)]
    longest = max(_GAP_MS, _GAP_TIMES * median(steps)) if steps else _GAP_MS
    gaps = [index for index, step in enumerate(steps, 1) if step > longest]
    found: dict[str, list[float | None]] = {}
    for name, column in lines.items():
        values = [row[column] for row in series]
        if any(value is not None for value in values):
            found[name] = _with_gaps(values, gaps, None)
    return Chart(title=title, unit=unit, at=_with_gaps(at, gaps, 1), lines=found)


def _with_gaps(values: list[Any], gaps: list[int], after: int | None) -> list[Any]:
    """The same with one value more before each of these places: None, or so much more than the one before."""
    found: list[Any] = []
    start = 0
    for index in gaps:
        found += [*values[start:index], None if after is None else values[index - 1] + after]
        start = index
    return found + values[start:]


BROWSE = Browse(title="Transfers", needs={_EVENTS: "range"}, items=transfers, charts=charts, noun="transfers",
                times="ended", within="host")
