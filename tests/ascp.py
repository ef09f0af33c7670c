"""Lines of ascp logs for tests: written from what they are to say, and drawn at random."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from actors.apps.ascp.events import Event
from actors.apps.ascp.lines import parse_lines
from actors.apps.ascp.sessions import Session, marks_of, sessions_of
from tests.loads import SHARED
from thresher import Reject

REAL = [SHARED / "data" / "ascp-sample.log", SHARED / "data" / "ascp-more.log"]
#: 2018-10-11 00:00 UTC, in ms.
REFERENCE_MS = 1_539_216_000_000
REFERENCE = "2018-10-11T00:00:00Z"
PREFIX = "Oct 10 13:21:08 src-3 ascp[21736]: "
DATA = ("Receiver bl t/o/r/d/ts=1006/1005/1/0/1007 rate_rtt b/l/h/s/r/f=2/2/296/5/0/1 bl l/d=1548/57 "
        "rate t/m/c=300/50/299 prog t/f/e=1417238305/1417238305/41180198 rcvD=6")


def one(line: str | bytes, host: str = "", reference_ms: int = REFERENCE_MS, offset_ms: int = 0) -> Event:
    """The event of a line."""
    event = outcome(line, host, reference_ms, offset_ms)
    assert isinstance(event, Event), event
    return event


def outcome(line: str | bytes, host: str = "", reference_ms: int = REFERENCE_MS, offset_ms: int = 0
            ) -> Event | Reject | None:
    """What becomes of a line."""
    (found,) = parse_lines([line.encode() if isinstance(line, str) else line], host, reference_ms, offset_ms)
    return found


def fields(event: Event) -> dict[str, Any]:
    """The values by name; the last of those that have the same."""
    return {name: value for name, value, _ in event.fields}


def sessions(lines: Sequence[bytes]) -> list[Session]:
    """The sessions of all processes in these lines."""
    events = [event for event in parse_lines(list(lines), "", REFERENCE_MS) if isinstance(event, Event) and event.pid]
    found = []
    for process in sorted({(event.host, event.pid) for event in events}):
        marks = marks_of(event for event in events if (event.host, event.pid) == process)
        found += sessions_of(*process, marks.items())
    return found


def written_groups(groups: Sequence[tuple[str, Sequence[int]]], pairs: Sequence[tuple[str, int]] = (),
                   backlog: Sequence[Sequence[int]] | None = None) -> str:
    """Groups as a line has them, each ``(name and members, values)``; plain pairs; triples of the backlog, if any."""
    words = [f"{title}={'/'.join(map(str, values))}" for title, values in groups]
    words += [f"{name}={value}" for name, value in pairs]
    if backlog is not None:
        words.append("mgmt backlog i/s/n =" + "".join(f" {'/'.join(map(str, triple))}" for triple in backlog))
    return " ".join(words)


def written_fields(values: Sequence[tuple[str, str, bool]]) -> str:
    """Fields as a line has them, each ``(name, value, whether it has quotation marks)``."""
    return " ".join(f'{name}="{value}"' if is_quoted else f"{name}={value}" for name, value, is_quoted in values)


def spoilt(line: bytes, rng: random.Random) -> bytes:
    """A line with something done to it: cut, doubled, bytes changed, words moved."""
    what, at = rng.randrange(7), rng.randrange(len(line) + 1)
    if what == 0:
        return line[:at]
    if what == 1:
        return line[at:]
    if what == 2:
        return line[:at] + bytes([rng.randrange(256)]) + line[at + 1:]
    if what == 3:
        return line[:at] + rng.choice((b" ", b"=", b"/", b'"', b"(", b")", b"0", b"-", b"\xff", b"\0")) + line[at:]
    if what == 4:
        words = line.split(b" ")
        rng.shuffle(words)
        return b" ".join(words)
    if what == 5:
        new = rng.choice((b"", b"9" * 30, b"  ", b"=", b"-0", b"-1"))
        return line.replace(rng.choice((b"=", b"/", b" ", b"1", b'"')), new, 2)
    return rng.randbytes(rng.randrange(200))
