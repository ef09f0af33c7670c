#!/usr/bin/env python3
"""What the page of transfers costs, by how many events are stored: it must not grow with them.

    python benchmarks/ascp_pages.py [--events 100000 1000000] [--long 10000 1000000] [--rounds 9] [--json]

Makes stores (LMDB) of so many events, of 32 processes whose numbers come back, and of a process for each session; and
one with a single session of so many data lines (``--long``). Asks each as the page does: the newest transfers, those
that ended before the middle of all, and the charts of the one in the midst of the list, each from opening the store to
the JSON that is sent. Says the median of the rounds with the least and the most, in ms, and how many lines were given
by the store. The lists, the bytes of each transfer, and the points of each chart must be those of the fold over all
lines; exit code 1 when they are not. 10^7 events take 7 GB of disk.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[0] = str(ROOT)  # not this folder, whose ``numbers`` is not the module that Python knows by this name

import argparse  # noqa: E402
import json  # noqa: E402
import os  # noqa: E402
import platform  # noqa: E402
import statistics  # noqa: E402
import tempfile  # noqa: E402
import time  # noqa: E402
from collections.abc import Callable, Iterator  # noqa: E402
from itertools import islice  # noqa: E402
from typing import Any, NamedTuple  # noqa: E402

import lmdb  # noqa: E402
import msgspec  # noqa: E402

from actors.apps.ascp import PIPELINE  # noqa: E402
from actors.apps.ascp.browse import charts, transfers  # noqa: E402
from actors.apps.ascp.events import DATA, Event, encode  # noqa: E402
from actors.apps.ascp.lines import parse_lines  # noqa: E402
from actors.apps.ascp.lookup import uuid_of  # noqa: E402
from actors.apps.ascp.sessions import Session, marks_of, sessions_of  # noqa: E402
from actors.runtime.browse import thinned  # noqa: E402
from actors.runtime.stored import Reader  # noqa: E402
from actors.sinks.lmdb_read import LmdbReader  # noqa: E402
from scripts.make_ascp import START, make_lines  # noqa: E402
from thresher import Charts, Look  # noqa: E402

START_MS = int(START.timestamp() * 1000)
#: Events of a block, which is made once and stored again and again, each time later than before.
BLOCK = 50_000
_AWAY_MS = 2 * 3_600_000


class Counted(Reader):
    """A store that counts the lines that it gives."""

    def __init__(self, path: Path) -> None:
        self._reader = LmdbReader(path)
        self.given = 0

    def range(self, first: bytes = b"", last: bytes | None = None, backwards: bool = False
              ) -> Iterator[tuple[bytes, bytes]]:
        for pair in self._reader.range(first, last, backwards):
            self.given += 1
            yield pair

    def close(self) -> None:
        self._reader.close()


class Block(NamedTuple):
    """Events that are stored again and again, and the sessions that the fold finds in them.

    Attributes:
        items: key and message of each, where the time stands in the message, and the number of the process.
        sessions: by id, what a row has of each: when it ends, and bytes.
        length_ms: from one block to the next one.
    """

    items: list[tuple[bytes, bytes, int, int]]
    sessions: list[Session]
    length_ms: int


def block_of(each_its_own: bool) -> Block:
    """Events of several hosts; each session of its own process, or of few."""
    lines = [line[:-1] for line in islice(make_lines(1), BLOCK)]
    events = [each for each in parse_lines(lines, "", START_MS + 86_400_000) if isinstance(each, Event)]
    events = list(_renumbered(events) if each_its_own else (_in_six_digits(each, each.pid) for each in events))
    by_process: dict[tuple[str, str], list[Event]] = {}
    for event in events:
        by_process.setdefault((event.host, event.pid), []).append(event)
    sessions = [session for (host, pid), some in by_process.items()
                for session in sessions_of(host, pid, marks_of(some).items())]
    last = max(event.at or 0 for event in events)
    items = []
    for event in events:
        key, value = encode(event)
        items.append((key, value, value.index(b"\x38" + _varint(event.at or 0)) + 1,
                      value.index(b"\x2a\x06" + event.pid.encode()) + 2))
    return Block(items, sessions, last - START_MS + _AWAY_MS)


def _renumbered(events: list[Event]) -> Iterator[Event]:
    """The same, each session with a process of its own."""
    now: dict[tuple[str, str], int] = {}
    seen: set[str] = set()
    for event in events:
        process, uuid = (event.host, event.pid), uuid_of(event)
        if uuid and uuid not in seen:
            seen.add(uuid)
            now[process] = len(seen)
        yield _in_six_digits(event, str(now.get(process, 0)))


def _in_six_digits(event: Event, pid: str) -> Event:
    return msgspec.structs.replace(event, pid=f"{int(pid):06d}")


def _varint(number: int) -> bytes:
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*found, number])


def store_blocks(path: Path, block: Block, count: int, each_its_own: bool) -> int:
    """Store so many events; return the number of blocks."""
    blocks = -(-count // len(block.items))
    with lmdb.open(os.fspath(path), map_size=1 << 36, sync=False, writemap=True) as store:
        for number in range(blocks):
            with store.begin(write=True) as transaction, transaction.cursor() as cursor:
                cursor.putmulti([_later(item, number, block.length_ms, each_its_own) for item in block.items])
    return blocks


def _later(item: tuple[bytes, bytes, int, int], number: int, length_ms: int, each_its_own: bool) -> tuple[bytes, bytes]:
    """An item of the block of this number."""
    key, value, time_at, pid_at = item
    head, pid, at, digest = key.rsplit(b"/", 3)
    when = int(at) + number * length_ms
    pid = b"%06d" % ((int(pid) + 2_000 * number) % 1_000_000) if each_its_own else pid
    changed = bytearray(value)
    changed[time_at:time_at + 6] = _varint(when)
    changed[pid_at:pid_at + 6] = pid
    return b"%b/%b/%013d/%b" % (head, pid, when, digest), bytes(changed)


def asked(path: Path, ask: Callable[[Counted], Any], rounds: int) -> tuple[Any, dict[str, Any]]:
    """Ask so many times; return the last answer, and what it took."""
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        reader = Counted(path)
        answer = ask(reader)
        msgspec.json.encode(answer)
        reader.close()
        took.append(1000 * (time.perf_counter() - began))
    return answer, {"ms": round(statistics.median(took), 1), "least_ms": round(min(took), 1),
                    "most_ms": round(max(took), 1), "lines": reader.given}


def newest(look: Look) -> Callable[[Counted], Any]:
    """A list."""
    return lambda reader: transfers({"events": reader}, look, window=PIPELINE.window)


def drawn(session: str) -> Callable[[Counted], Any]:
    """The charts of one."""
    def draw(reader: Counted) -> Charts:
        found = charts({"events": reader}, session, window=PIPELINE.window)
        if found is None:
            raise LookupError(session)
        return msgspec.structs.replace(found, charts=[thinned(each) for each in found.charts])

    return draw


def of_blocks(folder: Path, count: int, each_its_own: bool, rounds: int) -> dict[str, Any]:
    """Make a store, and ask it."""
    path = folder / f"{count}-{each_its_own}.lmdb"
    block = block_of(each_its_own)
    blocks = store_blocks(path, block, count, each_its_own)
    last = (blocks - 1) * block.length_ms
    ends = sorted((each.end for each in block.sessions), reverse=True)
    middle = last + ends[len(ends) // 2]
    lists = {"newest": Look(most=100), "before the middle": Look(most=100, last=middle)}
    found: dict[str, Any] = {"events": blocks * len(block.items), "processes": "one each" if each_its_own else "few",
                             "exact": True}
    for name, look in lists.items():
        answer, found[name] = asked(path, newest(look), rounds)
        if answer.next:
            found[name]["processes_left_out"] = True
            continue
        expected = sorted((each.end + last, _number(each.summary()["bytes"])) for each in block.sessions
                          if look.last is None or each.end + last <= look.last)
        least = expected[-100][0]
        rows = sorted((each.at, _number(each.cells[6])) for each in answer.items)
        found["exact"] &= rows == [row for row in expected if row[0] >= least]
    of = answer.items[len(answer.items) // 2]
    chart, found["charts"] = asked(path, drawn(of.id), rounds)
    points = {(each.end + last, each.summary()["bytes"]): len(each.points) for each in block.sessions}
    found["exact"] &= bool(answer.next) or len(chart.charts[0].at) == points[of.at, of.cells[6]]
    return found


def _number(said: int | None) -> int:
    """Bytes; -1 where nobody has said how many."""
    return -1 if said is None else said


def of_one(folder: Path, count: int, rounds: int) -> dict[str, Any]:
    """A store with one session of so many data lines, and its charts."""
    path = folder / f"long-{count}.lmdb"
    text = b"Oct 10 13:00:00 h ascp[1]: LOG Receiver bl t/o/r/d=1/1/0/0 rate t/m=300/50 prog t/f/e=1/1/1"
    (data,) = (each for each in parse_lines([text], "", START_MS + 86_400_000) if isinstance(each, Event))
    assert data.kind == DATA
    with lmdb.open(os.fspath(path), map_size=1 << 36, sync=False, writemap=True) as store, \
            store.begin(write=True) as transaction:
        for second in range(1, count + 1):
            event = msgspec.structs.replace(data, at=START_MS + 1000 * second, numbers=[
                9 * second, 8 * second, second, 0, 300, 50, 1000 * second, 0, 1_000_000 * second])
            transaction.put(*encode(event))
    chart, took = asked(path, drawn(f"h/1/{START_MS + 1000}"), rounds)
    facts = {name: value for name, value, _ in chart.facts}
    rates = set(chart.charts[0].lines["rate"])
    return {"data lines": count, "charts": took, "exact": facts["bytes"] == 1000 * count and rates == {8000.0}
            and facts["last line"] == START_MS + 1000 * count}


def main() -> int:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--events", type=int, nargs="*", default=[100_000, 1_000_000])
    parser.add_argument("--long", type=int, nargs="*", default=[10_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows: list[dict[str, Any]] = []
    for count in options.events:
        for each_its_own in (False, True):
            with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
                rows.append(of_blocks(Path(folder), count, each_its_own, options.rounds))
                _say(rows[-1], options.json)
    for count in options.long:
        with tempfile.TemporaryDirectory(prefix="thresher-bench-") as folder:
            rows.append(of_one(Path(folder), count, options.rounds))
            _say(rows[-1], options.json)
    if options.json:
        print(json.dumps({"python": platform.python_version(), "cores": os.cpu_count(),
                          "load": os.getloadavg()[0], "rows": rows}))
    return 0 if all(row["exact"] for row in rows) else 1


def _say(row: dict[str, Any], as_json: bool) -> None:
    if as_json:
        return
    what = (f"{row['events']:>10,} events, processes: {row['processes']}" if "events" in row
            else f"{row['data lines']:>10,} data lines of one session")
    print(what + ("" if row["exact"] else "   WRONG"), flush=True)
    for name, took in row.items():
        if isinstance(took, dict):
            left = ", more processes than are looked at" if took.get("processes_left_out") else ""
            print(f"    {name:<18} {took['ms']:>8,.1f} ms ({took['least_ms']:,.1f} to {took['most_ms']:,.1f}), "
                  f"{took['lines']:,} lines{left}")


if __name__ == "__main__":
    sys.exit(main())
