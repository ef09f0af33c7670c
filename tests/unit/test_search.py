"""Lines that hold a few bytes, found in a whole slice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.search import lines_with

LINE = st.lists(st.sampled_from([b"a", b"b", b" ", b"\r", b"\xff"]), max_size=12).map(b"".join)
NEEDLE = st.lists(st.sampled_from([b"a", b"b", b" "]), min_size=1, max_size=3).map(b"".join)


@settings(deadline=None)
@given(lines=st.lists(LINE, max_size=200), needle=NEEDLE, at_end=st.booleans(), tail=st.integers(0, 20_000))
def test_those_lines_are_found_that_hold_the_bytes(
    lines: list[bytes], needle: bytes, at_end: bool, tail: int
) -> None:
    data = b"".join(line + b"\n" for line in lines) + b"x" * tail + b"\n"
    found = lines_with(data, needle + b"\n" if at_end else needle)
    assert found == [line for line in lines if (line.endswith(needle) if at_end else needle in line)]


@pytest.mark.parametrize("between", [0, 10_000])
@pytest.mark.parametrize("needle", [b" H", b" H\n", b" H "])
def test_many_matches_and_few_are_found_alike(between: int, needle: bytes) -> None:
    lines = [b"1 A H", b"2 H B", b"3 A B", b"4 H H", b"5 A HH", b"6 H H H H", b"z" * between] * 100
    data = b"".join(line + b"\n" for line in lines)
    assert lines_with(data, needle) == [line for line in lines if needle in line + b"\n"]


def test_nothing_is_found_in_nothing() -> None:
    assert lines_with(b"", b"a") == []
