"""The page of transfers, as functions of a store: what it shows is what the fold makes of all the lines."""

from __future__ import annotations

import random
from bisect import bisect_left
from collections.abc import Iterator
from itertools import islice

import pytest

from actors.apps.ascp import PIPELINE, browse, samples
from actors.apps.ascp.browse import charts, transfers
from actors.apps.ascp.events import Event, encode
from actors.apps.ascp.lines import parse_lines
from actors.apps.ascp.questions import sessions_in
from actors.apps.ascp.sessions import Session
from scripts.make_ascp import make_lines
from tests.ascp import PREFIX, REFERENCE_MS
from thresher import Charts, Items, Look, Reader

GAP_MS = 3_600_000


class Sorted(Reader):
    """Keys in order, in memory; counts the items that it has given."""

    def __init__(self, lines: list[bytes]) -> None:
        events = (event for event in parse_lines(lines, "", REFERENCE_MS) if isinstance(event, Event))
        self.items = dict(sorted(map(encode, events)))
        self.keys = list(self.items)
        self.read = 0

    def range(self, first: bytes = b"", last: bytes | None = None, backwards: bool = False
              ) -> Iterator[tuple[bytes, bytes]]:
        start = bisect_left(self.keys, first)
        end = len(self.keys) if last is None else bisect_left(self.keys, last)
        for index in range(end - 1, start - 1, -1) if backwards else range(start, end):
            self.read += 1
            yield self.keys[index], self.items[self.keys[index]]


def listed(reader: Reader, look: Look) -> Items:
    return transfers({"events": reader}, look, window=PIPELINE.window)


def drawn(reader: Reader, session: str) -> Charts | None:
    return charts({"events": reader}, session, window=PIPELINE.window)


def folded(reader: Reader) -> list[Session]:
    """All sessions, as the fold finds them in all lines; the newest first."""
    return sorted(sessions_in({"events": reader}, GAP_MS), key=lambda each: -each.end)


def shown(session: Session) -> tuple[object, ...]:
    """What a row has of a session."""
    said = session.summary()
    return (session.id, session.end, said["status"], said["op"], said["bytes"], said["elapsed_s"], said["target_bps"],
            said["source"])


def rows(items: Items) -> list[tuple[object, ...]]:
    return [(each.id, each.at, *(each.cells[index] for index in (4, 5, 6, 7, 9, 11))) for each in items.items]


def history(seed: int, sessions: int = 12) -> list[bytes]:
    """Lines of one process, of sessions that follow one another closely, lack a beginning or an end, fall silent,
    fail, or are set to another time."""
    rng = random.Random(seed)
    at, pause = 0, 5000
    lines: list[bytes] = []

    def say(text: str) -> None:
        seconds = at % 86_400
        lines.append(f"Oct {1 + at // 86_400:2d} {seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d} "
                     f"h ascp[7]: {text}".encode())

    for number in range(sessions):
        uuid = f"00000000-0000-0000-0000-{number:012d}"
        who = f"uuid={uuid} op=send status="
        sent, late = 0, rng.choice((0, 0, 0, 1, 3))
        has_start = pause < 5000 or rng.random() < 0.5
        if has_start:
            say(f"LOG FASP Session Start {who}started source=s{number} dest=/tmp")
            say(f"LOG FASP Session Params uuid={uuid} targetrate={number + 1} user=\"a\"")
        seconds = rng.choice((0, 1, 4, 40, 400) if has_start else (9, 90))
        for second in range(1, seconds + 1):
            at += 1 if rng.random() < 0.998 else rng.choice((20, 4000))
            sent += rng.randint(0, 9)
            if second > late:
                say(f"LOG Receiver bl t/o/r/d={sent}/{sent}/0/0 rate t/m=300/50 "
                    f"prog t/f/e={sent}/{sent}/{(second - late) * 1_000_000}")
            if rng.random() < 0.1:
                say("LOG State: ds_id 1 SINK_READ_Q <-- (size 1 thresh 0)")
            if rng.random() < 0.02:
                say(f"ERR something is wrong {second}")
        if rng.random() < 0.85:
            at += rng.choice((0, 1))
            say(f"LOG FASP Session Stop {who}{rng.choice(('success', 'failed'))} source=s{number} dest=/tmp")
            if rng.random() < 0.7:
                at += rng.choice((0, 0, 1))
                say(f"LOG Source file transfers passed : {number}")
        pause = rng.choice((0, 0, 1, 5, 100, 5000) if has_start and seconds else (5, 100, 5000))
        at += pause
    return lines


@pytest.mark.parametrize("is_syslog", [True, False])
def test_a_list_has_all_sessions_page_by_page_each_once_and_as_the_fold_has_them(is_syslog: bool) -> None:
    reader = Sorted([line[:-1] for line in islice(make_lines(3, hosts=3 if is_syslog else 1, processes=2, longest_s=20, is_syslog=is_syslog), 4000)])
    expected = list(map(shown, folded(reader)))
    found: list[tuple[object, ...]] = []
    last: int | None = None
    while True:
        page = listed(reader, Look(last=last, most=7))
        found += rows(page)
        if page.older is None:
            break
        last = page.older
    assert len(found) == len(set(found)) > 30
    assert sorted(map(repr, found)) == sorted(map(repr, expected))
    assert [row[1] for row in found] == [row[1] for row in expected]


def test_whatever_a_process_has_gone_through_a_list_has_what_the_fold_has() -> None:
    differ = []
    for seed in range(150):
        reader = Sorted(history(seed))
        expected = sorted(map(repr, map(shown, folded(reader))))
        if sorted(map(repr, rows(listed(reader, Look(most=1000))))) != expected:
            differ.append(seed)
    assert differ == []
