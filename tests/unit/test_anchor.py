"""What windows are counted from: the least event time that is not too late, whatever the batches and the order of
answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.anchor import Anchor
from actors.runtime.messages import Span


def test_the_clock_and_a_time_are_known_from_the_beginning() -> None:
    assert Anchor("clock", 5).value == 0
    assert Anchor(-1234, 5).value == -1234
    assert not Anchor("clock", 5).decide([Span(1, 1, 100)], True)


def test_what_an_earlier_reader_decided_stands() -> None:
    anchor = Anchor("first", 5, 77)
    assert not anchor.decide([Span(1, 1, 100)], True)
    assert anchor.value == 77
    assert Anchor("clock", 5, 77).value == 0, "unless it is not asked for"


def test_it_is_not_decided_before_a_record_is_so_young_that_what_is_missing_would_be_late() -> None:
    anchor = Anchor("first", 10)
    assert not anchor.decide([], False)
    assert not anchor.decide([Span(100, 97, 105)], False)
    assert not anchor.decide([Span(100, 97, 105), Span(104, 95, 109)], False)
    assert anchor.value is None
    assert anchor.decide([Span(100, 97, 105), Span(104, 95, 109), Span(106, 106, 110)], False)
    assert anchor.value == 95
    assert not anchor.decide([Span(100, 97, 105), Span(104, 20, 109), Span(106, 106, 110)], False)


def test_when_nothing_more_can_come_it_is_the_least_there_is() -> None:
    anchor = Anchor("first", 10)
    assert not anchor.decide([], True)
    assert anchor.decide([Span(100, 97, 105), Span(104, 95, 109)], True)
    assert anchor.value == 95


def test_what_is_older_than_the_disorder_allows_is_late_and_no_anchor() -> None:
    anchor = Anchor("first", 10)
    assert anchor.decide([Span(100, 99, 105), Span(89, 89, 89), Span(90, 90, 120)], False)
    assert anchor.value == 90


def test_what_comes_behind_the_record_that_decides_does_not_count() -> None:
    spans = [Span(100, 100, 111), Span(95, 95, 95)]
    for known in (spans[:1], spans):
        anchor = Anchor("first", 10)
        assert anchor.decide(known, False)
        assert anchor.value == 100


def cut(times: list[int], sizes: list[int], disorder: int) -> list[Span]:
    """The spans of the batches that times are cut into."""
    spans: list[Span] = []
    while times:
        size = sizes[len(spans) % len(sizes)]
        some, times = times[:size], times[size:]
        least = min(time for time in some if time >= some[0] - disorder)
        spans.append(Span(some[0], least, max(some)))
    return spans


SIZES = st.lists(st.integers(1, 7), min_size=1)


@given(st.lists(st.integers(0, 50), min_size=1), SIZES, st.integers(0, 20))
def test_the_more_answers_are_known_the_more_is_decided_but_never_something_else(
    times: list[int], sizes: list[int], disorder: int
) -> None:
    spans = cut(times, sizes, disorder)
    whole = Anchor("first", disorder)
    assert whole.decide(spans, True)
    for known in range(len(spans) + 1):
        anchor = Anchor("first", disorder)
        if anchor.decide(spans[:known], False):
            assert anchor.value == whole.value


@given(st.lists(st.integers(0, 1000), min_size=1), st.integers(0, 60), SIZES, st.data())
def test_of_records_within_the_allowed_disorder_it_is_the_least_however_they_are_cut(
    times: list[int], disorder: int, sizes: list[int], data: st.DataObject
) -> None:
    delays = data.draw(st.lists(st.integers(0, disorder), min_size=len(times), max_size=len(times)))
    arrivals = sorted(zip(times, delays, strict=True), key=lambda pair: (pair[0] + pair[1], pair[0]))
    anchor = Anchor("first", disorder)
    assert anchor.decide(cut([time for time, _ in arrivals], sizes, disorder), True)
    assert anchor.value == min(times)
