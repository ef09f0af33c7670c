"""Windows as workers and shards see them: which a record belongs to, who is late, when a window is closed."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.messages import FULLY, UNSURE, Batch, Late, Part, Span
from actors.runtime.newest import Newest
from actors.runtime.pipeline import Windows
from actors.runtime.sections import WindowOptions
from actors.runtime.watermark import Watermark
from actors.runtime.windows import FOREVER, NEVER, Layout, Passage, Placer, by_sessions, iso, shard_of_window

#: When the batches were issued first.
NOW = 1_700_000_000_000
HOUR = WindowOptions(size_s=3600, disorder_s=300)
#: Nothing was before the batch.
FIRST = Late(0, NEVER, ())


def batch(anchor: int | None = 0, late: tuple[Late, ...] = (FIRST,)) -> Batch:
    return Batch("p", 0, 10, 0, 0, 0, 1, "u", 0, 1, anchor=anchor, late=late, seen_ms=NOW)


def placer(options: WindowOptions, key: Any = None, shards: int = 1) -> Placer:
    return Placer(Windows(time=lambda value: value, key=key, emit=lambda *_: []), None, options, shards)


def place(options: WindowOptions, times: list[Any], **header: Any) -> list[Any]:
    return placer(options).place(Passage(batch(**header)), times)


def ends(places: list[Any]) -> list[Any]:
    return [place.reason if isinstance(place, Reject) else tuple(end for _, end, _ in place) for place in places]


@given(st.integers(-10**13, 10**13), st.integers(-10**13, 10**13), st.integers(1, 10**8))
def test_a_time_lies_in_its_tumbling_window_which_begins_a_whole_number_of_sizes_from_the_anchor(
    at: int, anchor: int, size_ms: int
) -> None:
    layout = Layout(WindowOptions(size_s=size_ms / 1000))
    ((start, end),) = layout.windows_of(at, anchor)
    assert start <= at < end
    assert end - start == layout.size
    assert (start - anchor) % layout.size == 0


@given(st.integers(-10**10, 10**10), st.integers(1, 50), st.integers(1, 50))
def test_a_time_lies_in_every_hopping_window_around_it_and_in_no_other(at: int, every: int, more: int) -> None:
    size = every + more
    layout = Layout(WindowOptions(kind="hopping", size_s=size / 1000, every_s=every / 1000))
    all_starts = range((at - 3 * size) // every * every, at + size, every)
    starts = [start for start in all_starts if start <= at < start + size]
    assert sorted(layout.windows_of(at, 0)) == [(start, start + size) for start in starts]


def test_a_record_4_59_older_than_the_newest_is_in_its_hour_and_one_5_01_older_is_late() -> None:
    hour = 3_600_000
    assert ends(place(HOUR, [hour + 298_000, hour - 1000])) == [(2 * hour,), (hour,)]
    assert ends(place(HOUR, [hour + 300_000, hour - 1000])) == [(2 * hour,), "late"]
    assert ends(place(HOUR, [hour + 900_000, hour + 1])) == [(2 * hour,), (2 * hour,)]  # its hour is still open


def seen(options: WindowOptions, times: list[int], *late: Late, shards: int = 1) -> tuple[list[Any], list[str]]:
    passage = Passage(batch(late=late))
    found = placer(options, shards=shards).place(passage, times)
    return ends(found), [passage.judged(shard) for shard in range(shards)]


def test_one_wrong_year_makes_nobody_late_wherever_it_is() -> None:
    minute = 60_000
    usual = [number * minute for number in range(10, 200)]
    for at in (0, 3, len(usual)):
        times = [*usual[:at], usual[0] + 365 * 1440 * minute, *usual[at:]]
        whole = ends(place(HOUR, times))
        assert whole.count("late") == (at == 0), "of too few records the oldest judges: one comes behind it alone"
        cut = [found for first in range(0, len(times), 7) for found in seen(
            HOUR, times[first:first + 7], Late(0, NEVER, Newest(HOUR).of(times[:first])))[0]]
        assert cut == whole


def test_a_batch_says_when_it_depends_on_what_was_before_it_whether_a_record_is_late() -> None:
    hour = 3_600_000
    times = [2 * hour + 300_000, 2 * hour - 1]
    assert seen(HOUR, times[::-1]) == ([(2 * hour,), (3 * hour,)], [""])
    assert seen(HOUR, times) == ([(3 * hour,), (2 * hour,)], [UNSURE])
    assert seen(HOUR, [*times[:1] * 4, times[1]]) == ([*[(3 * hour,)] * 4, "late"], [""])
    for before, found in (((), "late"), ((hour + 300_000,) * 4, "late"), ((hour,) * 4, (2 * hour,)),
                          ((9 * hour, *[2 * hour + 1] * 3), "late")):
        assert seen(HOUR, times, Late(0, NEVER, before)) == ([(3 * hour,), found], [FULLY])
    assert seen(HOUR, times, Late(0, NEVER, None)) == ([(3 * hour,), (2 * hour,)], [UNSURE]), "a piece of the batch"


def test_what_is_late_does_not_depend_on_how_a_batch_is_sliced() -> None:
    times = [1000, 4_000_000, 3_000_000, 3_599_999, 7_900_000, 1, 7_700_000]
    options = msgspec.structs.replace(HOUR, jump_confirm=0)
    whole = ends(place(options, times))
    passage, sliced = Passage(batch()), []
    for at in times:
        sliced += placer(options).place(passage, [at])
    assert ends(sliced) == whole == [
        (3_600_000,), (7_200_000,), "late", "late", (10_800_000,), "late", (10_800_000,)]


def test_what_a_shard_has_closed_is_late_for_its_own_windows_only() -> None:
    options = WindowOptions(size_s=1, disorder_s=1000)
    keyed = placer(options, key=lambda value: (value % 7,), shards=3)
    times = list(range(1000, 5000, 13))
    places = keyed.place(Passage(batch(late=(Late(1, 3000),))), times)
    for at, found in zip(times, places, strict=True):
        window = (at // 1000 * 1000, at // 1000 * 1000 + 1000, (at % 7,))
        is_late = shard_of_window(window, "tumbling", 3) == 1 and window[1] <= 3000
        assert isinstance(found, Reject) == is_late
        assert is_late or found == (window,)


def test_lateness_keeps_a_closed_window_open_for_late_records() -> None:
    options = WindowOptions(size_s=10, disorder_s=2, lateness_s=30)
    assert ends(place(options, [50_000, 9_000, 1])) == [(60_000,), "late", "late"]
    assert ends(place(options, [41_999, 9_000])) == [(50_000,), (10_000,)]


def test_a_record_that_is_late_for_some_of_its_windows_is_in_the_others_and_is_counted() -> None:
    options = WindowOptions(kind="hopping", size_s=10, every_s=5, disorder_s=2)
    passage = Passage(batch())
    assert ends(placer(options).place(passage, [17_000, 14_000, 9_000, 4_999])) == [
        (25_000, 20_000), (20_000,), "late", "late"]
    assert passage.partly_late == 1


def test_a_record_far_ahead_of_the_reader_s_clock_is_a_dead_letter_and_moves_nothing() -> None:
    passage = Passage(batch())
    places = placer(HOUR).place(passage, [NOW, NOW + 10**9, NOW + 1000])
    assert ends(places)[1] == "future"
    assert passage.newest == (NOW + 1000, NOW)


@pytest.mark.parametrize("bad", ["x", 1.5, True, NEVER])
def test_what_is_no_event_time_is_a_dead_letter(bad: Any) -> None:
    (first, second) = place(HOUR, [bad, 1000])
    assert isinstance(first, Reject)
    assert first.reason == "time"
    assert not isinstance(second, Reject)


def test_what_has_no_event_time_is_in_no_window_and_moves_no_watermark() -> None:
    passage = Passage(batch())
    first, second, third = placer(HOUR).place(passage, [None, 1000, None])
    assert first == third == () and ends([second]) == ends(placer(HOUR).place(Passage(batch()), [1000]))
    assert passage.newest == (1000,)
    assert placer(HOUR).place(Passage(batch()), [None, None]) == [(), ()]


def test_a_key_that_is_no_tuple_is_a_dead_letter() -> None:
    (found,) = placer(HOUR, key=lambda value: "text").place(Passage(batch()), [1000])
    assert isinstance(found, Reject)
    assert found.reason == "key"


def test_a_batch_without_an_anchor_is_looked_at_for_its_times_only() -> None:
    passage = Passage(batch(anchor=None))
    assert placer(HOUR).place(passage, [400_000, 100_000, 99_999, 500_000]) == [()] * 4
    assert passage.is_probe
    assert passage.span() == Span(400_000, 100_000, 500_000)  # 99,999 is more than the disorder before the first


def watermark(disorder: int, times: dict[str, int], units: dict[int, str], reached: int) -> Watermark:
    """Each partition has had four records, which came at the same time."""
    return Watermark(disorder, Newest(WindowOptions()), {name: (at,) * 4 for name, at in times.items()}, units, reached)


def test_the_watermark_is_the_least_of_the_active_partitions_and_never_goes_back() -> None:
    mark = watermark(10, {}, {}, NEVER)
    assert mark.advance("a", 1, (100,) * 4, 1, (1, 2)) == NEVER  # the second was announced and has brought nothing
    assert mark.advance("b", 2, (60,) * 3, 1, (1, 2)) == NEVER
    assert mark.advance("b", 2, (60,), 1, (1, 2)) == 50
    assert mark.advance("a", 1, (200,), 1, (1, 2)) == 50
    assert mark.advance("b", 2, (40,), 1, (1, 2)) == 50
    assert mark.advance("a", 1, (), 2, (1,)) == 190  # the second is silent
    assert mark.advance("b", 2, (70,) * 4, 3, (1, 2)) == 190


def test_a_jump_moves_the_watermark_with_the_fourth_record_behind_it() -> None:
    mark, hours = watermark(10, {"a": 100}, {1: "a"}, 90), 5 * 3_600_000
    assert mark.advance("a", 1, (hours + 9, hours + 2, hours + 1), 1, (1,)) == 90
    assert mark.advance("a", 1, (150,), 1, (1,)) == 140
    assert mark.advance("a", 1, (hours,), 1, (1,)) == hours - 1


def test_a_shard_knows_what_may_be_late_in_a_part_by_how_it_was_judged() -> None:
    hours = 5 * 3_600_000
    mark = watermark(10, {"a": 100, "b": 70}, {1: "a", 2: "b"}, 60)

    def closed(newest: int, judged: str = "", partition: str = "a") -> int:
        return mark.closed_for(Part(partition, 0, 1, 0, 0, 1, {}, newest=(newest,) * 4, judged=judged))

    assert [closed(300), closed(300, UNSURE), closed(300, FULLY), closed(300, "", "c")] == [90, FOREVER, 60, 60]
    mark.advance("a", 1, (hours, 200), 1, (1, 2))
    assert closed(300) == 190, "what is not confirmed by then judges nobody"
    assert closed(hours + 1) == hours - 9, "it is confirmed within the batch, and where is not known"


def test_an_older_word_on_who_is_active_is_not_believed() -> None:
    mark = watermark(0, {}, {}, NEVER)
    mark.advance("a", 1, (100,) * 4, 5, (1, 2))
    assert mark.advance("a", 1, (150,), 4, (1,)) == NEVER


def test_when_one_falls_silent_and_nothing_comes_the_others_are_gone_by() -> None:
    mark = watermark(10, {"a": 100, "b": 60}, {1: "a", 2: "b"}, 50)
    assert mark.roll(1, (1, 2)) == 50
    assert mark.roll(2, (1,)) == 90
    assert mark.roll(1, (2,)) == 90
    assert mark.roll(3, (), 1) == 90
    assert mark.roll(4, (3,)) == 90  # one that has brought nothing yet


def test_when_all_are_silent_the_watermark_is_the_largest_and_the_last_window_stays_open() -> None:
    mark = watermark(10, {"a": 100, "b": 60}, {1: "a", 2: "b"}, 50)
    assert mark.roll(1, (1, 2)) == 50
    assert mark.roll(2, (), 1) == 90, "no clock closes what is behind it"
    assert mark.roll(3, (1, 2)) == 90
    assert watermark(10, {}, {}, NEVER).roll(1, (), 1) == NEVER


def test_of_partitions_one_behind_the_other_only_the_last_counts() -> None:
    mark = watermark(0, {}, {}, NEVER)
    assert mark.advance("a", 1, (100,) * 4, 0, ()) == 100
    assert mark.advance("b", 2, (50,) * 4, 0, ()) == 100
    assert mark.advance("b", 2, (150,), 0, ()) == 150


def test_a_watermark_goes_on_where_it_was() -> None:
    mark = watermark(10, {"a": 100}, {1: "a"}, 70)
    assert mark.of("a") == 90
    assert mark.of("b") == NEVER
    mark.end()
    assert mark.reached == FOREVER


@pytest.mark.parametrize(("wrong", "text"), [
    ({"kind": "hopping", "size_s": 10.0}, "every_s: expected at least 0.001 and at most size_s"),
    ({"kind": "hopping", "size_s": 10.0, "every_s": 11.0}, "every_s"),
    ({"kind": "session"}, "gap_s: expected at least 0.001"),
])
def test_sizes_that_make_no_windows_are_refused(wrong: dict[str, Any], text: str) -> None:
    with pytest.raises((ConfigError, ValueError, msgspec.ValidationError), match=text):
        WindowOptions(**wrong)


@pytest.mark.parametrize(("time", "key", "place", "detail"), [
    (lambda value: value, lambda value: value, "windows.key", "expected a tuple as key of a window, got 2"),
    (lambda value: value / 1000, None, "windows.time", "expected an event time in ms, a whole number, got 0.002")])
def test_what_is_no_time_and_no_key_at_all_is_told_apart_from_what_the_application_rejects(
    time: Any, key: Any, place: str, detail: str
) -> None:
    passage = Passage(batch())
    placed = Placer(Windows(time=time, key=key, emit=lambda *_: []), None, HOUR, 1).place(passage, [1, 2])
    assert placed == passage.unfit
    assert [(each.place, each.detail) for each in passage.unfit[1:]] == [(place, detail)]
    assert place not in passage.taken


def test_a_key_that_is_wrong_for_some_records_rejects_them_alone() -> None:
    keys = {1: None, 2: Reject("host", ""), 3: 3, 4: (4,), 5: 5}
    passage = Passage(batch())
    placed = placer(HOUR, keys.get).place(passage, [1, 2, 3, 4, 5])
    assert (passage.taken, len(passage.unfit)) == ({"windows.time", "windows.key"}, 3)
    assert [place.reason if isinstance(place, Reject) else "" for place in placed] == ["key", "host", "key", "", "key"]


@given(st.lists(st.tuples(st.integers(0, 60), st.sampled_from("ab")), min_size=1, max_size=30))
def test_the_records_of_a_session_in_one_slice_are_one_entry_and_keep_their_order(some: list[tuple[int, str]]) -> None:
    values = [(at, key, number) for number, (at, key) in enumerate(some)]
    found = by_sessions(values, [((at, at + 5, (key,)),) for at, key, _ in values])
    for (start, end, key), within in found.items():
        times = sorted(at for at, _, _ in within)
        assert (start, end) == (times[0], times[-1] + 5)
        assert all(second - first < 5 for first, second in pairwise(times))
        assert within == sorted(within, key=lambda value: value[2]) and {key for _, key, _ in within} == set(key)
        assert not any(start < other[1] and other[0] < end for other in found if other != (start, end, key)
                       and other[2] == key)
    assert sorted(value for within in found.values() for value in within) == sorted(values)


def test_times_are_shown_in_utc() -> None:
    assert iso(1565647204351) == "2019-08-12T22:00:04.351Z"
    assert iso(1 << 61) == f"{1 << 61} ms"
