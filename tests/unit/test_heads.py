"""Which of the files that are there at first has the oldest record, and how much of them is looked at to know it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.heads import FIRST_BYTES, Heads
from actors.runtime.messages import NO_TIMES, Span

#: Bytes of a record.
RECORD = 1000
Files = dict[int, list[int]]


def span_of(times: list[int], disorder: int) -> Span:
    if not times:
        return NO_TIMES
    return Span(times[0], min(at for at in times if at >= times[0] - disorder), max(times))


def asked(files: Files, disorder: int, most: int = 1 << 40) -> tuple[int | None, list[tuple[int, int]]]:
    """The oldest time of files with these event times, and what was asked: which file, and how many bytes of it."""
    heads, found = Heads(files, disorder, most), []
    while (wanted := heads.next()) is not None:
        unit, size = wanted
        found.append(wanted)
        known = files[unit][:max(1, size // RECORD)]
        heads.saw(unit, span_of(known, disorder), known == files[unit])
    assert heads.is_done
    return heads.least, found


def test_each_file_is_asked_once_where_their_firsts_are_further_apart_than_the_disorder() -> None:
    files = {unit: [unit * 100 + at for at in range(50)] for unit in (3, 1, 2)}
    assert asked(files, 3) == (100, [(3, FIRST_BYTES), (1, FIRST_BYTES), (2, FIRST_BYTES)])


def test_more_is_asked_only_of_a_file_that_may_have_an_older_record() -> None:
    files = {1: [100, 101, 102, 103, 104, 98, 110], 2: [99, *range(120, 160)], 3: [150] * 50, 4: []}
    least, found = asked(files, 5)
    assert least == 98
    assert found[4:] == [(1, 8 * FIRST_BYTES)], "2 knows a record that is young enough, and 3 is too young"


def test_a_file_that_begins_with_no_times_is_asked_on_and_no_file_without_end() -> None:
    assert asked({1: []}, 5) == (None, [(1, FIRST_BYTES)])
    heads = Heads([7], 5, 100 * FIRST_BYTES)
    sizes = []
    while (wanted := heads.next()) is not None:
        sizes.append(wanted[1] // FIRST_BYTES)
        heads.saw(7, NO_TIMES, False)
    assert (sizes, heads.least) == ([1, 8, 64, 100], None)


def test_what_goes_on_may_get_older_until_a_record_is_young_enough() -> None:
    heads = Heads([1], 5, FIRST_BYTES)
    assert not heads.is_done
    assert heads.next() == (1, FIRST_BYTES)
    assert not heads.is_done, "it is under way"
    heads.saw(1, Span(10, 9, 14), True)
    assert heads.is_done
    assert heads.may_get_older()
    heads.saw(1, Span(10, 9, 15), True)
    assert not heads.may_get_older()


@given(st.lists(st.integers(0, 300), min_size=1, max_size=80), st.integers(0, 60), st.integers(1, 5), st.data())
def test_logs_that_are_shuffled_within_the_disorder_and_rotated_at_any_places_have_the_oldest_record_of_all(
    times: list[int], disorder: int, files: int, data: st.DataObject
) -> None:
    delays = data.draw(st.lists(st.integers(0, disorder), min_size=len(times), max_size=len(times)))
    arrived = [at for at, _ in sorted(zip(times, delays, strict=True), key=lambda pair: (sum(pair), pair[0]))]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(times)), min_size=files - 1, max_size=files - 1)))
    pieces = [arrived[start:end] for start, end in zip([0, *cuts], [*cuts, len(times)], strict=True)]
    least, found = asked(dict(enumerate(data.draw(st.permutations(pieces)))), disorder)
    assert least == min(times)
    assert len(found) == len(set(found))
