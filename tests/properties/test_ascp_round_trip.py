"""ascp: what is written as a line is read back; known forms and unknown ones are read alike; nothing is too odd."""

from __future__ import annotations

import os
import random
from itertools import islice
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.apps.ascp import groups, pieces
from actors.apps.ascp.events import Event, decode, encode
from actors.apps.ascp.fields import KNOWN, PATHS, TEXTS, Forms, fields_of, form_of_fields, typed
from actors.apps.ascp.lines import parse_lines
from scripts.make_ascp import make_lines
from tests.ascp import PREFIX, REFERENCE_MS, one, spoilt, written_fields, written_groups
from thresher import Reject

#: So many spoilt lines; a million were tried.
FUZZED = int(os.environ.get("THRESHER_FUZZED_LINES", "20000"))

NAME = st.from_regex(r"[a-z][a-z_]{0,8}", fullmatch=True)
MEMBERS = st.lists(st.from_regex(r"[a-z][a-z0-9]{0,2}", fullmatch=True), min_size=1, max_size=8)
NUMBER = st.integers(min_value=-(1 << 63), max_value=(1 << 63) - 1) | st.integers(min_value=0, max_value=9)


@st.composite
def group(draw: st.DrawFn) -> tuple[str, list[int]]:
    """A group, and its values."""
    members = draw(MEMBERS)
    words = draw(st.lists(NAME, min_size=1, max_size=2))
    return f"{' '.join(words)} {'/'.join(members)}", [draw(NUMBER) for _ in members]


@st.composite
def backlog(draw: st.DrawFn) -> list[list[int]] | None:
    """The triples of a backlog, or none."""
    triples: list[list[int]] | None = draw(
        st.none() | st.lists(st.lists(NUMBER, min_size=3, max_size=3), max_size=2))
    return triples


@given(st.lists(group(), max_size=6), st.lists(st.tuples(NAME, NUMBER), max_size=2), backlog(), st.booleans())
def test_groups_are_read_back_as_they_were_written(
    some: list[tuple[str, list[int]]], pairs: list[tuple[str, int]], triples: list[list[int]] | None, is_sender: bool
) -> None:
    side = "Sender" if is_sender else "Receiver"
    first = ("bl t/o/r/d", [3, 2, 1, 0])
    if triples is not None:
        first, pairs = ("DS Qs ds/n/rq", [3, 2, 1]), []
    line = f"{PREFIX}LOG {side} {written_groups([first, *some], pairs, triples)}"
    for _ in range(2):  # the first makes it known, the second is read as a known one
        event = one(line)
        assert event.side == side and event.raw == line.encode()
        assert event.groups == (first[0], *(title for title, _ in some), *["mgmt backlog i/s/n"] * len(triples or ()))
        assert event.numbers == [*first[1], *(n for _, values in some for n in values),
                                 *(n for triple in triples or () for n in triple)]
        assert event.fields == [(name, value, 0) for name, value in pairs]
        assert decode(encode(event)[1]) == event


TEXT = st.text(st.characters(codec="utf-8", exclude_characters='"=\n\r'), max_size=12)


@st.composite
def field(draw: st.DrawFn) -> tuple[str, str, bool]:
    """A key, its value, and whether it has quotation marks."""
    name = draw(st.sampled_from(sorted(KNOWN)))
    if draw(st.booleans()):
        return name, draw(TEXT), True
    text = draw(TEXT).replace(" ", "_")
    if name in PATHS and draw(st.booleans()):
        text = f"{text} a b".strip(" ")
    return name, text, False


@given(st.lists(field(), min_size=1, max_size=8, unique_by=lambda one: one[0]))
def test_fields_are_read_back_as_they_were_written(some: list[tuple[str, str, bool]]) -> None:
    line = f"LOG FASP Session Start {written_fields(some)}".rstrip(" ")
    for _ in range(2):
        event = one(line)
        assert [name for name, _, _ in event.fields] == [name for name, _, _ in some]
        for (name, value, _), (_, text, is_quoted) in zip(event.fields, some, strict=True):
            if is_quoted or name in TEXTS or isinstance(value, str):
                assert value == text
            else:
                assert value == int(text) or text[-1:] in "s%"
        assert decode(encode(event)[1]) == event


@given(st.text(st.sampled_from('ab=" x/1()'), max_size=40))
@example('uuid="a" x="b" size=1')
def test_known_forms_of_fields_are_read_as_unknown_ones(text: str) -> None:
    known = Forms(fields_of, form_of_fields, typed)
    for body in (f"uuid={text} size=1", f'file="{text}" size=1', f'source={text} dest="{text}"'):
        for _ in range(2):
            assert known(body) == fields_of(body)


def test_known_forms_of_groups_are_read_as_unknown_ones_and_nothing_is_too_odd() -> None:
    rng = random.Random(7)
    lines = [line[:-1] for line in islice(make_lines(7), 300)] + [
        line[:-1] for line in islice(make_lines(8, is_syslog=False), 300)]
    seen: dict[str, int] = {}
    for start in range(0, FUZZED, 1000):
        some = [rng.choice(lines) if rng.random() < 0.1 else spoilt(rng.choice(lines), rng).replace(b"\n", b"")
                for _ in range(min(1000, FUZZED - start))]
        found = parse_lines(some, "h", REFERENCE_MS)
        assert len(found) == len(some)
        for line, outcome in zip(some, found, strict=True):
            seen[_kind(outcome)] = seen.get(_kind(outcome), 0) + 1
            if isinstance(outcome, Event):
                assert outcome.raw == line.removesuffix(b"\r")
                key, value = encode(outcome)
                assert len(key) < 250 and decode(value) == outcome
            elif outcome is None:
                assert not line.strip()
            else:
                assert outcome.reason == "group" and outcome.detail
            body = line.partition(b"LOG Receiver ")[2]
            if body.startswith((b"bl ", b"DS Qs ")):
                assert _taken(groups.groups_of, body) == _taken(groups._by_words, body), body
    assert {"data", "queues", "text", "group", "transfer_stop", "session_start"} <= seen.keys()


def _kind(outcome: Event | Reject | None) -> str:
    return outcome.kind if isinstance(outcome, Event) else "" if outcome is None else outcome.reason


def _taken(take: Any, body: Any) -> Any:
    """What is found, or nothing where it is malformed."""
    try:
        return take(body)
    except groups.Malformed:
        return None


def test_known_forms_of_statistics_are_read_as_unknown_ones() -> None:
    rng = random.Random(8)
    lines = [line.rpartition(b"Statistics ")[2].rstrip() for line in islice(make_lines(9, longest_s=3), 600)
             if b"Statistics" in line]
    odd = (b"(x: 5 7) a=1", b"(x: 5 bytes) a=1", b"(x: a 7) a=1", b"(x: a bytes) a=1", b"(x: 1.5 bytes) a=1",
           b"a 1  b=2 ")
    known = pieces.Pieces()
    for number in range(FUZZED // 10):
        line = odd[number % len(odd)] if number < 3 * len(odd) else rng.choice(lines)
        body = (line if number < 100 or rng.random() < 0.1 else spoilt(line, rng)).decode("utf-8", "replace")
        side, mark, rest = body.rstrip(" ").partition("] ")
        if side not in ("[Sender", "[Receiver") or not mark:
            side, rest = "", body.rstrip(" ")
        found = _taken(pieces.pieces, rest)
        assert _taken(known, body) == (None if found is None else (side[1:], found)), body


@settings(max_examples=30)
@given(st.integers(min_value=0, max_value=1 << 32))
def test_made_lines_say_what_they_were_made_of(seed: int) -> None:
    for line in islice(make_lines(seed, hosts=2, processes=2, longest_s=5), 60):
        event = one(line[:-1])
        assert event.kind != "text" and event.host.startswith("host-") and event.at is not None
        if event.kind == "data":
            assert event.number("bl", "t") == sum(event.number("bl", m) or 0 for m in "ord")
