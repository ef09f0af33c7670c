"""Sessions: found by a fold over the lines of a process, from Start to Stop; their summaries, and series over time.

    lines of (host, pid) ──marks_of──▶ {(ms, digest): mark} ──sessions_of──▶ Session, Session, …  ──▶ summary, series

Data lines do not say which session they are of, and process numbers come back. So all that matters of a process is
gathered by time, and cut where a session starts. Lines that have the session's uuid say it; a data line is of the
session whose age is nearest to what it says to have elapsed. A line that is there twice is one mark, counted: in
whatever order lines come, and however often, the marks are the same, and so is all that is made of them.

What the numbers mean is published for ``prog t/f/e`` alone (bytes, bytes of files, microseconds); arithmetic bears out
``bl t = o + r + d``, and ``rate t/m`` as target and minimum. All else keeps the vendor's name, and no unit.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from typing import Any

import msgspec

from actors.apps.ascp import events
from actors.apps.ascp.events import Event

#: An ERR line, whatever its kind.
ERROR = "error"
#: Where a mark stands among others of the same ms: syslog knows seconds only.
_RANKS = {events.SESSION_START: 0, events.SESSION_PARAMS: 1, events.SESSION_STATISTICS: 3, events.FILES: 3,
          events.SESSION_STOP: 4}
_KINDS = frozenset((*_RANKS, events.DATA, events.TRANSFER_START, events.TRANSFER_STOP))
#: What is kept of a data line: (group, member) of each number, in the order of ``Point``.
_MEMBERS = (("prog", "t"), ("prog", "f"), ("prog", "e"), ("bl", "t"), ("bl", "r"), ("rate", "t"), ("rate", "m"),
            ("rate_rtt", "b"), ("rate_rtt", "l"), ("rate_rtt", "h"), ("rate_rtt", "s"))
#: What is kept of other lines.
_FIELDS = frozenset((
    "uuid", "id", "op", "status", "source", "dest", "peer", "user", "targetrate", "rate_policy", "file", "size",
    "elapsed", "rate", "passed", "failed", "skipped", "delay", "detail/bl_total", "detail/bl_rex", "progress/tx_bytes",
    "progress/file_bytes", "progress/tx_time"))
_DIGEST_BYTES = 8
_MICROSECONDS = 1_000_000

#: (lines that are the same, kind, side, what is kept)
Mark = list[Any]
#: By (ms since 1970, digest of the line).
Marks = Iterable[tuple[tuple[Any, ...], Mark]]


class Point(msgspec.Struct, frozen=True):
    """What a data line says of its session. None: its version does not say it.

    Attributes:
        at: ms since 1970.
        transferred: bytes so far (``prog t``).
        file_bytes: ``prog f``.
        elapsed_us: microseconds so far (``prog e``).
        blocks: ``bl t``.
        rex_blocks: ``bl r``.
        target_bps: ``rate t``, bit/s.
        minimum_bps: ``rate m``, bit/s.
        rtt_b: ``rate_rtt b``, as the vendor counts it; so are the next three.
    """

    at: int
    transferred: int | None
    file_bytes: int | None
    elapsed_us: int | None
    blocks: int | None
    rex_blocks: int | None
    target_bps: int | None
    minimum_bps: int | None
    rtt_b: int | None
    rtt_l: int | None
    rtt_h: int | None
    rtt_s: int | None


class Session:
    """One session, as far as its lines are known.

    Attributes:
        start: ms since 1970; of the first line that is known, if none says when it started.
        stop: None: nobody has said that it stopped.
        points: in the order of time.
        said: by kind of line, the fields of the last one.
    """

    def __init__(self, host: str, pid: str, start: int, uuid: str) -> None:
        self.host, self.pid, self.start, self.uuid = host, pid, start, uuid
        self.end = start
        self.stop: int | None = None
        self.side = ""
        self.points: list[Point] = []
        self.said: dict[str, dict[str, Any]] = {}
        self.transfers: list[tuple[int, dict[str, Any]]] = []
        self.errors = self.lines = self.repeated = 0

    @property
    def id(self) -> str:
        """What it is called: host, process, and when it started."""
        return f"{self.host}/{self.pid}/{self.start}"

    def add(self, at: int, mark: Mark) -> None:
        """Take the next mark."""
        count, kind, side, kept = mark
        self.lines += count
        self.repeated += count - 1
        self.side = self.side or side
        self.end = max(self.end, at)
        if kind == events.DATA:
            self.points.append(Point(at, *kept))
        elif kind == ERROR:
            self.errors += 1
        elif kind == events.TRANSFER_STOP:
            self.transfers.append((at, kept))
        elif kind == events.FILES:
            self.said.setdefault(kind, {}).update(kept)
        else:
            self.said[kind] = kept
            self.stop = at if kind == events.SESSION_STOP else self.stop

    def field(self, name: str, *kinds: str) -> Any:
        """What one of these kinds of lines has said last."""
        return next((self.said[kind][name] for kind in kinds if name in self.said.get(kind, ())), None)

    def summary(self) -> dict[str, Any]:
        """All about it in one row; None: nobody has said it."""
        start, stop, params, statistics = (
            events.SESSION_START, events.SESSION_STOP, events.SESSION_PARAMS, events.SESSION_STATISTICS)
        done, files, elapsed = self._amounts()
        blocks, again = self._blocks()
        counts = self.said.get(events.FILES, {})
        return {
            "session": self.id, "host": self.host, "pid": self.pid, "uuid": self.uuid or None,
            "start": self.start, "end": self.end if self.stop is None else self.stop, "side": self.side or None,
            "op": self.field("op", stop, start), "status": self.field("status", stop) or "open",
            "source": self.field("source", stop, start), "dest": self.field("dest", stop, start),
            "peer": self.field("peer", stop, start), "user": self.field("user", params, start),
            "rate_policy": self.field("rate_policy", params, start),
            "target_bps": self.points[-1].target_bps if self.points else self.field("targetrate", params, start),
            "bytes": done, "file_bytes": files, "elapsed_s": None if elapsed is None else elapsed / _MICROSECONDS,
            "mbps": None if done is None or not elapsed else done * 8 / elapsed,
            "blocks": blocks, "rex_blocks": again,
            "rex_ratio": None if again is None or not blocks else again / blocks,
            "delay_s": self.field("delay", statistics), "transfers": len(self.transfers),
            "passed": counts.get("passed"), "failed": counts.get("failed"), "skipped": counts.get("skipped"),
            "errors": self.errors, "lines": self.lines, "repeated": self.repeated}

    def series(self) -> list[dict[str, Any]]:
        """A row for each data line: rates and ratios are of the time since the one before."""
        rows = []
        before = (0, 0, 0, 0)
        for point in self.points:
            now = (point.transferred or 0, point.elapsed_us or 0, point.blocks or 0, point.rex_blocks or 0)
            done, elapsed, blocks, again = (b - a for a, b in zip(before, now, strict=True))
            before = now
            rows.append({
                "session": self.id, "at": point.at, "elapsed_s": (point.elapsed_us or 0) / _MICROSECONDS,
                "bytes": point.transferred,
                "bandwidth_bps": done * 8 * _MICROSECONDS / elapsed if elapsed > 0 <= done else None,
                "target_bps": point.target_bps, "minimum_bps": point.minimum_bps, "blocks": point.blocks,
                "rex_blocks": point.rex_blocks, "rex_ratio": again / blocks if blocks > 0 <= again else None,
                "rtt_b": point.rtt_b, "rtt_l": point.rtt_l, "rtt_h": point.rtt_h, "rtt_s": point.rtt_s})
        return rows

    def _amounts(self) -> tuple[int | None, int | None, int | None]:
        """Bytes, bytes of files, microseconds: of the last data line, else of the statistics."""
        if self.points:
            last = self.points[-1]
            return last.transferred, last.file_bytes, last.elapsed_us
        of = events.SESSION_STATISTICS
        return (self.field("progress/tx_bytes", of), self.field("progress/file_bytes", of),
                self.field("progress/tx_time", of))

    def _blocks(self) -> tuple[int | None, int | None]:
        of = events.SESSION_STATISTICS
        if of in self.said:
            return self.field("detail/bl_total", of), self.field("detail/bl_rex", of)
        return (self.points[-1].blocks, self.points[-1].rex_blocks) if self.points else (None, None)


def mark_of(event: Event) -> Mark | None:
    """What a session needs of a line; None: nothing."""
    if event.kind == events.DATA:
        return [1, events.DATA, event.side, [event.number(*member) for member in _MEMBERS]]
    if event.level == "ERR":
        return [1, ERROR, "", {}]
    if event.kind not in _KINDS or not event.pid:
        return None
    return [1, event.kind, event.side, {name: value for name, value, _ in event.fields if name in _FIELDS}]


def time_of(event: Event) -> int | None:
    """When a line is that a session needs; None: it belongs to no session."""
    return event.at if event.pid and (event.kind in _KINDS or event.level == "ERR") else None


def marks_of(values: Iterable[Event]) -> dict[tuple[Any, ...], Mark]:
    """The marks of some lines."""
    found: dict[tuple[Any, ...], Mark] = {}
    for event in values:
        mark = mark_of(event)
        if mark is None:
            continue
        key = (event.at, blake2b(event.raw, digest_size=_DIGEST_BYTES).hexdigest())
        known = found.get(key)
        found[key] = mark if known is None else merge(known, mark)
    return found


def merge(one: Mark, other: Mark) -> Mark:
    """The same line, once more."""
    return [one[0] + other[0], *one[1:]]


def sessions_of(host: str, pid: str, marks: Marks) -> list[Session]:
    """The sessions of a process number, in the order of their beginnings."""
    found: list[Session] = []
    for (at, *_), mark in sorted(marks, key=_order):
        _session_for(found, host, pid, at, mark).add(at, mark)
    return found


def _order(item: tuple[tuple[Any, ...], Mark]) -> tuple[Any, ...]:
    key, (_, kind, _, kept) = item
    return key[0], _RANKS.get(kind, 2), (kept[2] or 0) if kind == events.DATA else -1, key[1:]


def _session_for(found: list[Session], host: str, pid: str, at: int, mark: Mark) -> Session:
    """The session that a mark is of, which may be a new one."""
    _, kind, _, kept = mark
    uuid = "" if kind in (events.DATA, ERROR) else kept.get("uuid") or kept.get("id") or ""
    if kind != events.SESSION_START:
        if uuid and (known := next((each for each in reversed(found) if each.uuid == uuid), None)):
            return known
        opened = [each for each in found[-3:] if each.stop is None or each.stop >= at]
        if kind == events.DATA and opened and kept[2] is not None:
            return min(opened, key=lambda each: abs(kept[2] // 1000 - (at - each.start)))
        last = found[-1] if found else None
        if last is not None and not (uuid and last.uuid) and (last in opened or kind not in _BEGINS):
            last.uuid = last.uuid or uuid
            return last
    session = Session(host, pid, at, uuid)
    found.append(session)
    return session


#: What is of a session that was not seen to start, when it is behind the end of another.
_BEGINS = frozenset((events.DATA, events.TRANSFER_START, events.TRANSFER_STOP, events.SESSION_PARAMS))
