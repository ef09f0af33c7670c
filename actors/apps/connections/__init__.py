"""connections: who connected to whom.

    1565647204351 Aadvik Matina                         Aadvik connected to Matina
    ──▶  a report for each hour: who connected to one host, to whom another connected, who connected most
    ──▶  --query: who connected to a host in a period

The reports look at every line, on whole lists: the lines of a slice are joined, split once, and taken apart by strides,
which is exact because a mark stands between any two of them. What is unusual in any way takes the slow path, to the
same result.

The query looks at no line but those that name the host: slices are searched as bytes (``bulk``). So a bad line is
noticed, and kept as a dead letter, only when it names the host where it is looked for.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from operator import itemgetter
from typing import Any, Literal

import msgspec

from actors.apps.connections.questions import QUESTIONS
from thresher import (
    Aggregates,
    Bars,
    Bulk,
    FlowOptions,
    Fold,
    Panel,
    Pipeline,
    Reject,
    Window,
    WindowOptions,
    Windows,
    lines_with,
    per_chunk,
)
from thresher.sinks import DeadLetters, Discard, Jsonl, Stdout
from thresher.sources import Directory, Files

#: A timestamp below this is in seconds, others are in ms: the year 5138 in seconds, 1973 in ms.
FIRST_MS = 100_000_000_000
#: The end of the year 9999, in ms.
LAST_MS = 253_402_300_799_999
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_FIELDS = 3
_SHOWN = 60
#: Of ASCII.
_PRINTABLE = bytes(range(32, 127))
#: Between two lines that are taken apart together: as a newline cannot be within a line, the marks show where it ends.
_MARK = b" \n "
#: So many lines are looked at one by one when one of them is unusual.
_FEW = 32
#: So many hosts are drawn.
_MOST = 10

#: (ms since 1970, the host that connected, the host it connected to)
Connection = tuple[int, str, str]
#: (ms since 1970, the host that is asked for)
Match = tuple[int, str]
#: (key, numbers) as ``fold`` has them.
Rows = Iterable[tuple[tuple[Any, ...], list[Any]]]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is asked for. The first two are for the reports, the last four for the query.

    Attributes:
        unit: of the timestamps: ``s``, ``ms``, or ``auto``: by their size.
        into_host: report which hosts connected to this one; empty: none is reported.
        from_host: report which hosts received connections from this one.
        host: the host that the query is about.
        since: only connections at this time or later: seconds or ms since 1970, or ISO 8601 with a zone, as in
            ``2019-08-12T22:00:00Z``; empty: all from the beginning.
        until: only connections at this time or earlier.
        direction: ``to``: who connected to the host; ``from``: to whom it connected.
    """

    unit: Literal["auto", "s", "ms"] = "auto"
    into_host: str = ""
    from_host: str = ""
    host: str = ""
    since: str | int = ""
    until: str | int = ""
    direction: Literal["to", "from"] = "to"

    def __post_init__(self) -> None:
        """Refuse what cannot be a host or a time."""
        for name in ("into_host", "from_host", "host"):
            host = getattr(self, name)
            if host and (" " in host or not host.isprintable()):
                raise ValueError(f"{name}: expected a host's name, without blanks, got {host!r}")
        first, last = self.period
        if first > last:
            raise ValueError(f"until: expected a time that is not before since ({self.since}), got {str(self.until)!r}")

    @property
    def period(self) -> tuple[float, float]:
        """The first and the last ms that the query is about."""
        first = moment("since", self.since, math.ceil) if self.since != "" else -math.inf
        return first, moment("until", self.until, math.floor) if self.until != "" else math.inf


def moment(name: str, said: str | int, whole: Any = math.floor) -> int:
    """Return the ms since 1970 that a text means; ``whole`` makes parts of a ms whole.

    Raises:
        ValueError: it is no time; the text begins with ``name``.
    """
    text = str(said).strip()
    if re.fullmatch(r"[0-9]{1,15}", text):
        return in_ms(int(text))
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{name}: expected seconds or ms since 1970, or a time like 2019-08-12T22:00:00Z, "
                         f"got {text!r}") from None
    if when.tzinfo is None:
        raise ValueError(f"{name}: expected a time with its zone, e.g. {text}{'' if ':' in text else 'T00:00'}Z or "
                         f"+02:00 in place of Z, got {text!r}")
    return int(whole((when - _EPOCH) / timedelta(milliseconds=1)))


def in_ms(stamp: int, unit: str = "auto") -> int:
    """A timestamp in ms."""
    return stamp * 1000 if unit == "s" or (unit == "auto" and stamp < FIRST_MS) else stamp


# Lines --------------------------------------------------------------------------------------------------------------


@per_chunk
def parse(lines: list[bytes], options: Options) -> list[Connection | Reject | None]:
    """Take lines apart; blank ones are no records."""
    columns = _columns(_MARK.join(lines), len(lines), options.unit)
    if columns is not None:
        return list(zip(*columns, strict=True))
    if len(lines) <= _FEW:
        return [_parse_slowly(line, options.unit) for line in lines]
    return [row for start in range(0, len(lines), _FEW) for row in parse(lines[start:start + _FEW], options)]


def _columns(joined: bytes, count: int, unit: str) -> tuple[list[int], list[str], list[str]] | None:
    """What so many lines say, joined with ``_MARK``, as columns, or None: something about them is unusual."""
    if b"\r" in joined:
        joined = joined.replace(b"\r" + _MARK, _MARK).removesuffix(b"\r")
    try:
        text = joined.decode()
        words = text.split(" ")
        if len(words) != (_FIELDS + 1) * count - 1 or words[_FIELDS::_FIELDS + 1].count("\n") != count - 1:
            return None  # not every line has three fields
        stamps, lefts, rights = words[::_FIELDS + 1], words[1::_FIELDS + 1], words[2::_FIELDS + 1]
        digits = "".join(stamps)
        if "  " in text or text[:1] == " " or text[-1:] == " " or not (digits.isascii() and digits.isdigit()):
            return None  # a field is empty, or a time is no decimal number
        if len(joined.translate(None, _PRINTABLE)) != count - 1 and not "".join(lefts + rights).isprintable():
            return None
        times = list(map(int, stamps))
    except ValueError:  # not UTF-8, or a number of thousands of digits
        return None
    least, greatest = min(times), max(times)
    if in_ms(greatest, unit) > LAST_MS:
        return None
    if in_ms(least, unit) != least:
        times = [in_ms(stamp, unit) for stamp in times]
        if max(times) > LAST_MS:
            return None
    return times, lefts, rights


def _parse_slowly(line: bytes, unit: str) -> Connection | Reject | None:
    line = line.removesuffix(b"\r")
    if not line.strip():
        return None
    fields = line.split(b" ")
    if len(fields) != _FIELDS:
        return Reject("fields", f"expected {_FIELDS} fields with one blank between them, got {len(fields)}")
    stamp, *hosts = fields
    if not stamp.isdigit():  # of bytes: ASCII digits only
        return Reject("timestamp", f"expected a time since 1970 in decimal digits, got {_shown(stamp)}")
    digits = stamp.lstrip(b"0") or b"0"
    at = in_ms(int(digits), unit) if len(digits) <= len(str(LAST_MS)) else LAST_MS + 1
    if at > LAST_MS:
        return Reject("timestamp", f"expected a time before the year 10000, got {_shown(stamp)}")
    names = [_host(host) for host in hosts]
    for host, name in zip(hosts, names, strict=True):
        if not name:
            return Reject("host", f"expected a name of printable characters in UTF-8, got {_shown(host)}")
    return at, names[0], names[1]


def _host(raw: bytes) -> str:
    """The name of a host; empty when it is none."""
    try:
        name = raw.decode()
    except UnicodeDecodeError:
        return ""
    return name if name.isprintable() else ""


def _shown(text: bytes) -> str:
    return repr(text[:_SHOWN])[1:] + ("..." if len(text) > _SHOWN else "")


# Reports ------------------------------------------------------------------------------------------------------------


def partials(values: list[Connection], options: Options) -> dict[tuple[Any, ...], list[Any]]:
    """Count, in one window: connections of each host, into the one asked for, from the other one asked for.

    Whom was asked for is part of the key: a later run on the same state may ask for another, in the same hour.
    """
    counts: dict[tuple[Any, ...], list[Any]] = {
        ("out", host): [number] for host, number in Counter(map(itemgetter(1), values)).items()}
    if asked := options.into_host:
        into = Counter(left for _, left, right in values if right == asked)
        counts |= {(f"into {asked}", host): [number] for host, number in into.items()}
    if asked := options.from_host:
        received = Counter(right for _, left, right in values if left == asked)
        counts |= {(f"from {asked}", host): [number] for host, number in received.items()}
    return counts


def bulk_partials(data: bytes, lines: int, options: Options) -> Bulk | None:
    """The same for a whole slice. None: something about its lines is unusual."""
    columns = _columns(data.removesuffix(b"\n").replace(b"\n", _MARK), lines, options.unit)
    if columns is None:
        return None
    times, lefts, rights = columns
    counted = [("out", Counter(lefts))]
    if (asked := options.into_host) in rights and asked:
        counted.append((f"into {asked}", Counter(who for who, to in zip(lefts, rights, strict=True) if to == asked)))
    if (asked := options.from_host) in lefts and asked:
        counted.append((f"from {asked}", Counter(to for who, to in zip(lefts, rights, strict=True) if who == asked)))
    return Bulk(
        read=lines, times=(times[0], min(times), max(times)),
        partials={(what, host): [number] for what, counts in counted for host, number in counts.items()})


def emit(window: Window, rows: Rows, options: Options) -> list[tuple[str, Any]]:
    """The report of a window: as text, and twice as a record."""
    into, received = f"into {options.into_host}", f"from {options.from_host}"
    hosts: dict[str, list[str]] = {into: [], received: []}
    top: list[str] = []
    most = 0
    for (what, host), (number,) in rows:  # sorted, so what is made of them is
        if what in hosts:
            hosts[what].append(host)
        elif what == "out" and number >= most:
            top = [*top, host] if number == most else [host]
            most = number
    record = {
        "start": window.start, "end": window.end, "into_host": options.into_host, "into": hosts[into],
        "from_host": options.from_host, "received": hosts[received], "top": top, "top_connections": most,
    }
    return [("report", _text(window, record)), ("hours", record), ("rows", record)]


def _text(window: Window, record: dict[str, Any]) -> str:
    again = f", revision {window.revision}" if window.revision > 1 else ""
    lines = [f"{_iso(window.start)} to {_iso(window.end)} ({window.start} to {window.end} ms{again})"]
    if record["into_host"]:
        lines.append(f"  connected to {record['into_host']}: {_names(record['into'])}")
    if record["from_host"]:
        lines.append(f"  received connections from {record['from_host']}: {_names(record['received'])}")
    lines.append(f"  most connections, {record['top_connections']:,}: {_names(record['top'])}")
    return "\n".join(lines)


def _names(hosts: list[str]) -> str:
    return ", ".join(hosts) or "(none)"


def _iso(ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def busiest(aggregates: Aggregates) -> Bars:
    """The hosts that connected most in the newest hour that is open, for the dashboard."""
    window, rows = aggregates.windows[-1]
    most = sorted((-number, host) for (what, host), (number,) in rows if what == "out")[:_MOST]
    start, end = (_EPOCH + timedelta(milliseconds=ms) for ms in (window.start, window.end))
    return Bars(bars=[(host, -number, f"{-number:,}") for number, host in most], unit="connections",
                label=f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC")


# The query ----------------------------------------------------------------------------------------------------------


class _Query(msgspec.Struct, frozen=True):
    """What is looked for, ready for use: the bytes that name the host (its line's end comes behind them, if it is the
    right one), and whether the answer is the right host of the line or the left one."""

    needle: bytes
    takes_right: bool
    first: float
    last: float
    unit: str


@lru_cache(maxsize=4)
def _query(options: Options) -> _Query:
    first, last = options.period
    name = b" " + options.host.encode()
    takes_right = options.direction == "from"
    return _Query(name + b" " if takes_right else name, takes_right, first, last, options.unit)


@per_chunk
def find(lines: list[bytes], options: Options) -> list[Match | Reject | None]:
    """Filter what does not name the host where it is looked for, or is not of the period."""
    query = _query(options)
    if query.takes_right:
        found = [query.needle in line for line in lines]
    else:
        ends = (query.needle, query.needle + b"\r")
        found = [line.endswith(ends) for line in lines]
    rows = iter(parse([line for line, is_found in zip(lines, found, strict=True) if is_found], options))
    return [_match(next(rows), query) if is_found else None for is_found in found]


def _match(row: Connection | Reject | None, query: _Query) -> Match | Reject | None:
    if row is None or isinstance(row, Reject):
        return row
    at, left, right = row
    return (at, right if query.takes_right else left) if query.first <= at <= query.last else None


def bulk(data: bytes, lines: int, options: Options) -> Bulk | None:
    """The same for a whole slice, searched as bytes. None: a line that names the host is no connection."""
    query = _query(options)
    if not data.endswith(b"\n"):
        data += b"\n"
    if query.takes_right:
        found = lines_with(data, query.needle)
    else:
        found = lines_with(data, query.needle + b"\n")
        if b"\r" in data:
            found += lines_with(data, query.needle + b"\r\n")
    columns = _columns(_MARK.join(found), len(found), query.unit) if found else ([], [], [])
    if columns is None:
        return None
    times, lefts, rights = columns
    hosts = rights if query.takes_right else lefts
    if times and not query.first <= min(times) <= max(times) <= query.last:
        hosts = [host for at, host in zip(times, hosts, strict=True) if query.first <= at <= query.last]
    return Bulk(read=lines, filtered=lines - len(hosts), partials=_counted(hosts))


def count(values: Sequence[Match]) -> dict[tuple[Any, ...], list[Any]]:
    """Count the connections of each host that was found."""
    return _counted(map(itemgetter(1), values))


def _counted(hosts: Iterable[str]) -> dict[tuple[Any, ...], list[Any]]:
    return {(host,): [number] for host, number in Counter(hosts).items()}


def answer(window: Window, rows: Rows) -> list[tuple[str, Any]]:
    """The hosts, sorted."""
    return [("hosts", host) for (host,), _ in rows]


@per_chunk
def as_it_is(lines: list[bytes]) -> list[bytes]:
    """Every line is a record for the query, whatever is in it."""
    return lines


QUERY = Pipeline(
    name="connections", source=Files(rename="none"), parse=as_it_is, check=find, bulk=bulk,
    fold=Fold(partials=count, keys=("host",), fields=("connections",)),
    windows=Windows(time=itemgetter(0), emit=answer),
    window=WindowOptions(kind="global", max_future_skew_s=1e10),  # whole files are asked about, of whatever time
    sinks={"hosts": Stdout()}, emit_sinks=("hosts",), dead_letters=DeadLetters(), options=Options(),
    flags={"host": "options.host", "from": "options.since", "to": "options.until", "direction": "options.direction",
           "unit": "options.unit"},
    required=("options.host",),
    # Measured: a fifth less than with batches of 1 MiB, each of which costs switches; 4 MiB take more memory only.
    flow=FlowOptions(batch_bytes=2 * 1024 * 1024, window_bytes=10 * 1024 * 1024))

PIPELINE = Pipeline(
    name="connections", source=Directory(), parse=parse, bulk=bulk_partials,
    fold=Fold(partials=partials, keys=("what", "host"), fields=("connections",)),
    windows=Windows(time=itemgetter(0), emit=emit),
    window=WindowOptions(size_s=3600, disorder_s=300, start="first"),
    emit_sinks=("report", "hours", "rows"), sinks={"report": Stdout(), "hours": Jsonl(), "rows": Discard()},
    dead_letters=DeadLetters(), options=Options(),
    flags={"into-host": "options.into_host", "from-host": "options.from_host", "unit": "options.unit"},
    panel=Panel(title="Hosts with most connections", draw=busiest), query=QUERY, questions=QUESTIONS)
