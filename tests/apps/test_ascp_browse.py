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
            step = 1 if rng.random() < 0.998 else rng.choice((20, 4000))
            at, has_start = at + step, has_start and step < 4000
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
    lines = make_lines(3, hosts=3 if is_syslog else 1, processes=2, longest_s=20, is_syslog=is_syslog)
    reader = Sorted([line[:-1] for line in islice(lines, 4000)])
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
    for seed in range(80):
        reader = Sorted(history(seed))
        expected = sorted(map(repr, map(shown, folded(reader))))
        if sorted(map(repr, rows(listed(reader, Look(most=1000))))) != expected:
            differ.append(seed)
    assert differ == []


def test_a_period_has_those_that_ended_in_it_whatever_comes_behind() -> None:
    reader = Sorted([line[:-1] for line in islice(make_lines(5, hosts=2, processes=2, longest_s=20), 3000)])
    every = folded(reader)
    first, last = every[2 * len(every) // 3].end, every[len(every) // 3].end
    expected = [shown(each) for each in every if first <= each.end <= last]
    assert sorted(map(repr, rows(listed(reader, Look(first=first, last=last))))) == sorted(map(repr, expected))
    assert len(expected) > 5
    (host,) = {each.cells[2] for each in listed(reader, Look(within="host-1")).items}
    assert host == "host-1"
    assert listed(reader, Look(within="host-")).items == listed(reader, Look(first=last + 10**9)).items == []


def test_charts_have_the_series_that_the_fold_makes_and_a_gap_where_nothing_was_said() -> None:
    for seed in (2, 3, 7):
        reader = Sorted(history(seed))
        for session in folded(reader):
            found = drawn(reader, session.id)
            assert found is not None and found.title == session.id and not found.notes
            points = [row["at"] for row in session.series()]
            rate = found.charts[0]
            assert [at for at in rate.at if at in set(points)] == points
            assert {"target", "minimum"} <= set(rate.lines) or not points
            known = dict(zip(rate.at, rate.lines.get("rate", []), strict=False))
            assert [known.get(row["at"]) for row in session.series()] == [
                row["bandwidth_bps"] for row in session.series()]
            assert all(rate.lines["target"][index] is None for index, at in enumerate(rate.at) if at not in set(points))
            facts = {name: value for name, value, _ in found.facts}
            assert (facts["bytes"], facts["last line"]) == (session.summary()["bytes"], session.end)
    for wrong in ("", "h", "h/7", "h/7/x", "h/7/1", "h/8/1538352000000", "h/7/" + "9" * 40, "h/7/²", "/////"):
        assert drawn(reader, wrong) is None


def long_session(seconds: int) -> list[bytes]:
    """A session that says each second where it is, between two short ones."""
    uuid = "uuid=00000000-0000-0000-0000-000000000001"
    short = [f"{PREFIX}LOG FASP Session {what} uuid=0-{{}} status=success" for what in ("Start", "Stop")]
    lines = [line.format(1).replace("13:21:08", "13:00:00") for line in short]
    sent = 0

    def at(second: int) -> str:
        return PREFIX.replace("13:21:08", f"{13 + second // 3600}:{second // 60 % 60:02d}:{second % 60:02d}")

    lines.append(f"{at(5)}LOG FASP Session Start {uuid} status=started source=a")
    for second in range(1, seconds):
        sent += second % 1000
        lines.append(f"{at(second + 5)}LOG Receiver bl t/o/r/d={9 * second}/{8 * second}/{second}/0 rate t/m=300/50 "
                     f"prog t/f/e={sent}/{sent}/{second * 1_000_000}")
    lines.append(f"{at(seconds + 5)}LOG FASP Session Stop {uuid} status=success source=a dest=b")
    return [line.encode() for line in [*lines, *(line.replace("0-{}", "0-2").replace("13:21:08", "23:30:00")
                                                  for line in short)]]


def test_of_a_long_session_some_moments_are_drawn_with_the_means_between_them(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = long_session(20_000)
    reader = Sorted(lines)
    (session,) = (each for each in folded(reader) if each.uuid.endswith("001"))
    exact = {point.at: point for point in session.points}
    found = drawn(reader, session.id)
    assert found is not None and len(found.notes) == 1 and "more than 6,000 lines" in found.notes[0]
    facts = {name: value for name, value, _ in found.facts}
    said = session.summary()
    assert (facts["status"], facts["bytes"], facts["last line"]) == ("success", said["bytes"], session.end)
    rate = found.charts[0]
    assert 1_000 < len(rate.at) < 2_000 and set(rate.at) <= set(exact)
    for index in range(1, len(rate.at)):
        before, now = exact[rate.at[index - 1]], exact[rate.at[index]]
        assert None not in (before.transferred, now.transferred, before.elapsed_us, now.elapsed_us)
        moved = (now.transferred or 0) - (before.transferred or 0)
        assert rate.lines["rate"][index] == moved * 8e6 / ((now.elapsed_us or 0) - (before.elapsed_us or 0))
    reader.read = 0
    drawn(reader, session.id)
    assert reader.read < 20_000
    monkeypatch.setattr(samples, "MOST_LINES", 100_000)
    whole = drawn(reader, session.id)
    assert whole is not None and whole.notes == [] and len(whole.charts[0].at) == 19_999


def test_what_a_page_reads_does_not_grow_with_what_is_stored() -> None:
    read = []
    for count in (4_000, 40_000):
        reader = Sorted([line[:-1] for line in islice(make_lines(1, hosts=2, processes=2), count)])
        reader.read = 0
        page = listed(reader, Look(most=10))
        chart = drawn(reader, page.items[-1].id)
        assert len(page.items) >= 10 and chart is not None
        read.append(reader.read)
    assert read[1] < 1.3 * read[0] < 2_600, read


def test_more_processes_than_are_looked_at_are_told_of_and_follow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browse, "MOST_PROCESSES", 3)
    reader = Sorted([line[:-1] for line in islice(make_lines(1, hosts=2, processes=4, longest_s=9), 900)])
    found: set[str] = set()
    after, pages = "", 0
    while True:
        page = listed(reader, Look(after=after))
        found |= {each.id for each in page.items}
        pages += 1
        after = page.next
        if not after:
            break
        assert page.note.endswith(f"as far as {after[:-1]}.")
    assert pages == 3 and found == {each.id for each in folded(reader)}
