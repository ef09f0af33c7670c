"""The form of a line, checked in bulk, against what it means: each line by itself."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.sources.lineform import LineForm
from tests.growth import Work

NINE = "[0-9]{9}|terminate"
PIECES = ["a", "b", ".", "[ab]", "[a-c ]", "[^a]", r"\d", r"\S", r"\s", r"\W", "(?:ab)", "(a|b)", "|", "*", "+", "?",
          "{2}", "{1,2}", "^", "$", "\r", r"\n", r"\.", "(?=a)", r"\b", "(?:", ")", "*+"]


def sifted(form: LineForm, block: bytes) -> tuple[bytes, bool]:
    buffer = bytearray(b"before\n" + block + b"after")
    end, is_good = form.sift(buffer, 7, 7 + len(block))
    assert buffer[:7] == b"before\n" and buffer.endswith(b"after")
    return bytes(buffer[7:end]), is_good


def one_by_one(pattern: str, longest: int, block: bytes) -> tuple[bytes, bool]:
    good = b""
    for line in block.split(b"\n")[:-1]:
        if len(line) >= longest or not re.fullmatch(pattern.encode(), line):
            return good, False
        good += line + b"\n"
    return good, True


@pytest.mark.parametrize(("block", "good"), [
    (b"", 0), (b"123456789\n", 1), (b"123456789\nterminate\n007007009\n", 3), (b"12345678\n", 0), (b"+12345678\n", 0),
    (b"1234567890\n", 0),
    ("١٢٣٤٥٦٧٨٩\n".encode(), 0), (b"123456789\n\n", 1), (b"123456789\r\n", 0), (b" 12345678\n", 0),
    (b"123456789\nterminat\n123456789\n", 1), (b"Terminate\n", 0), (b"12345678\x00\n", 0), (b"1234\n56789\n", 0),
])  # fmt: skip
def test_nine_digits_or_one_word_and_nothing_else(block: bytes, good: int) -> None:
    kept = b"".join(block.splitlines(keepends=True)[:good])
    assert sifted(LineForm(NINE, "lf", 10), block) == (kept, kept == block)


@pytest.mark.parametrize("pattern", [
    "[^x]{3}", r"a\s*b", r"\W+", "(?s:a.b)", "(?s)a.b", r"a\nb", r"a\x0ab", r"[a\n]+b", r"\D{3}"])
def test_a_pattern_that_could_match_a_newline_does_not_make_two_lines_one(pattern: str) -> None:
    assert sifted(LineForm(pattern, "lf", 100), b"a\nb\n") == (b"", False)


@given(pattern=st.lists(st.sampled_from(PIECES), min_size=1, max_size=6).map("".join),
       lines=st.lists(st.text("ab1. \r", max_size=4).map(str.encode), max_size=5), longest=st.integers(1, 6))
@settings(max_examples=1000, deadline=None)
def test_all_at_once_is_one_by_one(pattern: str, lines: list[bytes], longest: int) -> None:
    block = b"".join(line + b"\n" for line in lines)
    try:
        re.compile(pattern.encode())
    except re.error:
        return
    assert sifted(LineForm(pattern, "lf", longest), block) == one_by_one(pattern, longest, block)


@given(lines=st.lists(st.text("ab\r", max_size=4).map(str.encode), max_size=5))
@settings(max_examples=300, deadline=None)
@pytest.mark.parametrize("pattern", ["", ".{3}", "[^c]{3}", "(a|b)*"])
def test_a_carriage_return_before_the_newline_is_no_part_of_the_line(pattern: str, lines: list[bytes]) -> None:
    block = b"".join(line + b"\n" for line in lines)
    assert sifted(LineForm(pattern, "any", 4), block) == one_by_one(pattern or ".*", 4, block.replace(b"\r\n", b"\n"))


def test_the_longest_line_counts_its_newline() -> None:
    for pattern in ("", "a*", "(a)*"):
        form = LineForm(pattern, "lf", 5)
        assert sifted(form, b"aaaa\naaaa\naaaaa\n") == (b"aaaa\naaaa\n", False)
        assert form.longest_tail == 4
    assert LineForm("", "any", 5).longest_tail == 5


def test_plain_forms_cost_no_step_of_python_a_line() -> None:
    form = LineForm(NINE, "any", 10)
    codes: list[int] = []
    for lines in (10, 100_000):
        buffer = bytearray(b"123456789\n" * lines)
        with Work().counted() as work:
            assert form.sift(buffer, 0, len(buffer)) == (len(buffer), True)
        codes.append(work.codes)
    assert codes[0] == codes[1] > 0


@pytest.mark.parametrize("pattern", ["(", "a**", "[a"])
def test_what_is_no_regular_expression_is_refused(pattern: str) -> None:
    with pytest.raises(re.error):
        LineForm(pattern, "lf", 10)
