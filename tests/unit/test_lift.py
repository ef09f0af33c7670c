"""Application functions over lists: one bad record never takes its neighbours with it."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from actors.runtime.errors import Finish, Reject
from actors.runtime.lift import bind, lift
from actors.runtime.outputs import Many
from actors.runtime.pipeline import per_chunk
from actors.runtime.progress import listen
from tests.fakes import Signs


class Options(msgspec.Struct, frozen=True):
    factor: int = 10


def inverse(value: int) -> float:
    if value < 0:
        raise Reject("negative", f"got {value}")
    return 1 / value


@per_chunk
def inverses(values: list[int]) -> list[Any]:
    return [Reject("negative", f"got {value}") if value < 0 else 1 / value for value in values]


def times(value: int, options: Options) -> int:
    return value * options.factor


@per_chunk
def all_times(values: list[int], options: Options) -> list[int]:
    return [value * options.factor for value in values]


def shapes(results: list[Any]) -> list[Any]:
    return [(result.reason, result.detail.splitlines()[-1]) if isinstance(result, Reject) else result
            for result in results]


@pytest.mark.parametrize("function", [inverse, inverses])
def test_one_bad_record_is_rejected_alone_in_its_place(function: Any) -> None:
    assert shapes(lift(function, "parse")([1, 0, -1, 2])) == [
        1.0, ("parse_error", "ZeroDivisionError: division by zero"), ("negative", "got -1"), 0.5]


@pytest.mark.parametrize("function", [inverse, inverses])
def test_no_records_give_no_results(function: Any) -> None:
    assert lift(function, "parse")([]) == []


def test_the_detail_of_an_unexpected_error_ends_with_the_traceback_of_the_function() -> None:
    (result,) = lift(inverse, "check")([0])
    assert result.reason == "check_error"
    assert "in inverse" in result.detail
    assert result.detail.endswith("ZeroDivisionError: division by zero")


def test_a_reject_that_is_returned_by_a_function_over_records_stays_in_its_place() -> None:
    reject = Reject("odd")
    assert lift(lambda value: reject if value % 2 else value, "check")([1, 2]) == [reject, 2]


def test_a_function_over_chunks_that_loses_records_is_called_record_by_record() -> None:
    @per_chunk
    def drops_odd(values: list[int]) -> list[int]:
        return [value for value in values if value % 2 == 0]

    assert shapes(lift(drops_odd, "parse")([2, 3, 4])) == [
        2, ("parse_error", "returned 0 results for 1 records"), 4]


def test_a_function_over_chunks_that_returns_no_list_rejects_everything() -> None:
    @per_chunk
    def nothing(values: list[int]) -> Any:
        return None

    results = lift(nothing, "parse")([1, 2])
    assert [result.reason for result in results] == ["parse_error", "parse_error"]


def test_values_that_are_none_stay_none() -> None:
    assert lift(lambda value: None, "parse")([1, 2]) == [None, None]


@pytest.mark.parametrize("function", [times, all_times])
def test_a_function_with_a_parameter_called_options_gets_them(function: Any) -> None:
    assert lift(bind(function, Options(3)), "parse")([1, 2]) == [3, 6]


def test_a_function_without_such_a_parameter_is_left_alone() -> None:
    assert bind(inverse, Options()) is inverse
    assert bind(times, None) is times
    assert bind(int, Options()) is int
    assert bind(dict.fromkeys, Options()) is not None


def test_running_out_of_the_stack_rejects_one_record() -> None:
    def deep(value: int) -> int:
        return deep(value) if value else 0

    first, second = lift(deep, "parse")([0, 1])
    assert first == 0
    assert second.reason == "parse_error"
    assert "RecursionError" in second.detail


@pytest.mark.parametrize(("seconds", "least"), [(0.06, 12), (0.0, 1)])
def test_records_that_take_long_each_give_a_sign_each(seconds: float, least: int) -> None:
    def slow(value: int) -> int:
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            pass
        return value

    signs = Signs()
    listen(signs)
    try:
        assert lift(slow, "parse")(list(range(12))) == list(range(12))
    finally:
        listen(None)
    assert signs.given >= least


def ends(value: int) -> int:
    if value == 9:
        raise Finish
    return 1 // value


@per_chunk
def all_end(values: list[int]) -> list[Any]:
    return [Finish() if value == 9 else 1 // value for value in values]


@pytest.mark.parametrize("function", [ends, all_end])
def test_the_end_of_all_input_stands_in_the_place_of_its_record_alone(function: Any) -> None:
    first, end, error, last = lift(function, "parse")([1, 9, 0, 1])
    assert (first, last, error.reason) == (1, 1, "parse_error")
    assert isinstance(end, Finish)


def test_an_error_is_told_once_with_the_frames_of_the_application_alone() -> None:
    def parse(value: bytes) -> Many[Any]:
        return Many([Many([value])])

    rejected, = lift(parse, "parse")([b"x"])
    assert isinstance(rejected, Reject)
    lines = rejected.detail.splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert [line for line in lines if line.startswith("  File")] == [
        line for line in lines if "test_lift.py" in line and "in parse" in line]
    assert lines[-1] == "TypeError: Many: expected values, got a Many among them: make one list of all"
    assert rejected.detail.count("TypeError") == 1


def test_what_an_error_was_raised_from_is_told_too() -> None:
    def parse(value: bytes) -> int:
        try:
            return int(value)
        except ValueError as error:
            raise KeyError("no number") from error

    rejected, = lift(parse, "parse")([b"x"])
    assert isinstance(rejected, Reject)
    assert "ValueError" in rejected.detail
    assert "KeyError" in rejected.detail.splitlines()[-1]


def test_an_error_that_quotes_a_long_record_is_told_with_the_beginning_and_the_end_of_what_it_says() -> None:
    def parse(value: bytes) -> int:
        try:
            raise KeyError(value)
        except KeyError as error:
            raise ValueError(f"cannot parse {value!r}, which is no number") from error

    rejected, = lift(parse, "parse")([b"\xff" * 2_000_000])
    assert isinstance(rejected, Reject)
    assert len(rejected.detail) < 8300
    assert "KeyError: b'\\xff" in rejected.detail
    assert "ValueError: cannot parse b'\\xff" in rejected.detail
    assert rejected.detail.endswith("xff', which is no number")
    assert "in parse" in rejected.detail


@pytest.mark.parametrize("text", ["x" * 3_000_000, "\udcff" * 3_000_000, "é" * 9000])
def test_what_an_application_says_of_a_reject_is_cut(text: str) -> None:
    rejected = Reject(f"bad: {text}", text)
    assert len(rejected.reason) <= 1400
    assert len(rejected.detail) < 8300
    f"{rejected.reason}{rejected.detail}".encode()
