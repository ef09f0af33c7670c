"""Bisection: whatever records kill, each is found alone, and every other one is delivered."""

from __future__ import annotations

import math
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.framing import is_alone, split
from actors.runtime.ledger import Ledger
from actors.runtime.origin import Origin
from actors.runtime.poison import ALLOWED, Blame, blame, given_up
from actors.runtime.values import Chunk

LINES = st.lists(st.binary(max_size=12).map(lambda line: line.replace(b"\n", b"x")), min_size=1, max_size=60)


def chunk_of(lines: list[bytes], newline_at_end: bool = True) -> Chunk:
    data = b"\n".join(lines) + (b"\n" if newline_at_end else b"")
    data = data or b"\n"
    return Chunk(1, "s", 1000, 1000 + len(data), 500, 7, data)


@given(LINES, st.booleans())
def test_halves_are_the_whole_cut_at_a_line_end(lines: list[bytes], newline_at_end: bool) -> None:
    chunk = chunk_of(lines, newline_at_end)
    halves = split(chunk)
    assert b"".join(half.data for half in halves) == chunk.data
    assert (len(halves) == 1) == is_alone(chunk)
    position, offset, line = chunk.start, chunk.offset, chunk.line
    for half in halves:
        assert (half.start, half.offset, half.line) == (position, offset, line)
        position, offset, line = half.end, offset + len(half.data), line + half.data.count(b"\n")
    assert position == chunk.end
    assert all(half.data.endswith(b"\n") for half in halves[:-1])


@given(LINES, st.sets(st.integers(0, 59), max_size=4))
def test_exactly_the_records_that_kill_are_given_up_after_a_bounded_number_of_deaths(
    lines: list[bytes], bad: set[int]
) -> None:
    lines = [b"%d %s" % (number, line) for number, line in enumerate(lines)]
    poison = {lines[number] for number in bad if number < len(lines)}
    queue: list[tuple[Chunk, Blame]] = [(chunk_of(lines), Blame())]
    delivered: list[bytes] = []
    letters: list[bytes] = []
    deaths = 0
    while queue:
        chunk, blamed = queue.pop(0)
        if chunk.fault:
            letters.append(chunk.data.removesuffix(b"\n"))
        elif poison & set(chunk.data.split(b"\n")):
            deaths += 1
            queue = [*blame(chunk, blamed, "worker_died", "how"), *queue]
        else:
            delivered += chunk.data.removesuffix(b"\n").split(b"\n")
    assert set(letters) == poison
    assert [*delivered] == [line for line in lines if line not in poison]
    assert deaths <= len(poison) * (2 * ALLOWED + 2 + math.ceil(math.log2(len(lines) + 1)))


@settings(max_examples=40, deadline=None)
@given(LINES, st.integers(0, 59), st.lists(st.booleans(), max_size=30))
def test_the_ledger_gives_back_what_was_learned_after_any_restart(
    tmp_path_factory: object, lines: list[bytes], bad: int, restarts: list[bool]
) -> None:
    folder = Path(tmp_path_factory.mktemp("ledger"))  # type: ignore[attr-defined]
    lines = [b"%d %s" % (number, line) for number, line in enumerate(lines)]
    poison = lines[bad % len(lines)]
    whole = chunk_of(lines)
    ledger = Ledger(folder / "positions.db", "run")
    unit = ledger.begin("s", "f")
    data = whole.data
    ledger.issue(Chunk(unit.id, "s", 0, len(data), 0, 1, data))
    ledger.flush()
    letters: list[bytes] = []
    deaths = 0
    for restart in [*restarts, *([False] * 100)]:
        if restart:
            ledger._connection.close()
            ledger = Ledger(folder / "positions.db", "run")
            unit = ledger.begin("s", "f")
        origin = Origin(1, 1000, 10**9)
        chunks: list[tuple[Chunk, Blame]] = []
        for start, end in ledger.boundaries(unit):
            chunk = Chunk(unit.id, "s", start, end, start, 1, data[start:end])
            blamed = ledger.issue(chunk).blame
            chunks.append((given_up(chunk, blamed), blamed))
            origin.issue("run", *chunks[-1])
        assert b"".join(chunk.data for chunk, _ in chunks) == data
        culprit = next((chunk for chunk, _ in chunks if poison in chunk.data.split(b"\n") and not chunk.fault), None)
        if culprit is None:
            letters = [chunk.data.removesuffix(b"\n") for chunk, _ in chunks if chunk.fault]
            break
        deaths += 1
        suspect = origin.suspect(("run", culprit.start, culprit.end))
        assert suspect is not None
        ledger.issued.blamed(blame(*suspect, "worker_died", "how"))
        ledger.flush()
    ledger._connection.close()
    assert letters == [poison]
    assert deaths <= 2 * ALLOWED + 1 + math.ceil(math.log2(len(lines) + 1))
