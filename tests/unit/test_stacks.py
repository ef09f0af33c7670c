"""Exceptions of applications are told with the application's own frames, and come to one line with its place."""

from __future__ import annotations

import json
import traceback
from collections.abc import Callable
from typing import Any

import pytest

from actors.runtime.errors import Reject
from actors.runtime.lift import lift
from actors.runtime.stacks import Cause, cause


def _detail(function: Callable[[Any], Any], value: object) -> str:
    rejected, = lift(function, "parse")([value])
    assert isinstance(rejected, Reject)
    return rejected.detail


def _files(detail: str) -> list[str]:
    return [line.split(", ")[2].strip() for line in detail.splitlines() if line.startswith("  File")]


def test_an_exception_of_a_library_is_told_with_the_line_that_called_it() -> None:
    def parse(value: bytes) -> Any:
        return json.loads(value)

    detail = _detail(parse, b'{"a": ')
    assert _files(detail) == ["in parse", "in raw_decode"]
    assert cause(detail) == Cause("json.decoder.JSONDecodeError: Expecting value: line 1 column 7 (char 6)", __file__,
                                  parse.__code__.co_firstlineno + 1)


def test_of_frames_of_the_application_the_last_are_told() -> None:
    def deeper(depth: int) -> float:
        return deeper(depth - 1) if depth else 1 / depth

    detail = _detail(deeper, 9)
    assert _files(detail) == ["in deeper"] * 3
    assert detail.splitlines()[-1] == cause(detail).what == "ZeroDivisionError: division by zero"


def test_an_exception_without_frames_of_the_application_is_told() -> None:
    assert cause(_detail(int, b"x")).what == "ValueError: invalid literal for int() with base 10: b'x'"
    assert _files(_detail(json.loads, b"{")) == ["in loads", "in raw_decode"]
    assert cause(_detail(json.loads, b"{"))[1:] == ("", 0)  # Python's own line is nobody's to change


@pytest.mark.parametrize(("text", "what"), [
    ("expected digits\nand more", "expected digits"), ("", ""),
    ('Traceback (most recent call last):\n  File "/app/a.py", line 3, in f\n    g()\n    ^^^\n'
     "pkg.ValidationError: 2 problems\nname\n  is missing", "pkg.ValidationError: 2 problems"),
])
def test_an_exception_that_says_several_lines_comes_to_the_first(text: str, what: str) -> None:
    assert cause(text).what == what


def test_of_two_exceptions_the_last_is_the_cause() -> None:
    def parse(value: bytes) -> int:
        try:
            return int(value)
        except ValueError as error:
            raise KeyError("no number") from error

    assert cause(_detail(parse, b"x")) == Cause("KeyError: 'no number'", __file__, parse.__code__.co_firstlineno + 4)


def test_a_line_that_rejects_many_records_is_parsed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    def parse(value: bytes) -> Any:
        return json.loads(value)

    first = _detail(parse, b"{")
    monkeypatch.setattr(traceback, "format_tb", None)  # Python parses the line there, for 100 µs and more
    details = {rejected.detail for rejected in lift(parse, "parse")([b"{"] * 1000)}
    assert details == {first}
