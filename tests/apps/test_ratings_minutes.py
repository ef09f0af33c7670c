"""ratings-trends over records with a time of publication: minutes, late ratings, and the last 60 s, whoever dies."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
import pytest

from actors.apps.ratings import trends
from actors.apps.ratings.messages import AverageRatings, Rating, encoder
from actors.testing import Faults
from thresher import Bars, Record, Window, WindowOptions
from thresher.testing import InlineResult, run_inline

NOON = 1_764_417_600_000
MINUTE_MS = 60_000
Row = tuple[str, float, int]


def record(offset: int, at: int, asin: str, overall: float) -> Record:
    value = encoder("protobuf")(Rating(asin=asin, reviewer_id="A1", overall=overall, unix_review_time=1529193600))
    return Record(offset, value, key=asin.encode(), time=NOON + at)


def records(rows: Iterable[tuple[int, str, float]]) -> list[Record]:
    """Ratings of (ms since noon, product, rating), in this order; offsets have gaps."""
    return [record(3 * number, *row) for number, row in enumerate(rows)]


def counted(given: Sequence[Record], faults: Faults | None = None, **window: Any) -> InlineResult:
    options = msgspec.structs.replace(trends.PIPELINE.window, **window)
    return run_inline(msgspec.structs.replace(trends.PIPELINE, window=options), given, batch_bytes=100, faults=faults)


def tops(result: InlineResult, sink: str = "top_ratings") -> list[tuple[int, int, list[Row]]]:
    """(ms since noon, revision, products) of each message."""
    found = [AverageRatings.FromString(value) for _, value in result.written[sink]]
    return [(top.start_ms - NOON, top.revision, [(one.asin, one.mean_overall, one.count) for one in top.ratings])
            for top in found]


def expected(given: Iterable[Record], size_ms: int, every_ms: int) -> dict[int, list[Row]]:
    """By the beginning of each window, in ms since noon, all products in order."""
    found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in given:
        rating, at = Rating.FromString(one.value or b""), (one.time or 0) - NOON
        for start in range(at - at % every_ms, at - size_ms, -every_ms):
            found[start][rating.asin].append(rating.overall)
    return {start: sorted(((asin, sum(some) / len(some), len(some)) for asin, some in products.items()),
                          key=lambda row: (-row[2], -row[1], row[0])) for start, products in found.items()}


def test_a_minute_has_its_late_ratings_and_there_is_none_without_ratings() -> None:
    result = counted(records([
        (1_000, "A", 5), (2_000, "A", 4), (59_999, "B", 3), (62_500, "A", 1), (30_000, "B", 5), (200_000, "A", 5)]),
        kind="tumbling", disorder_s=2, lateness_s=600)
    assert {start: rows for start, _, rows in tops(result)} == {
        0: [("A", 4.5, 2), ("B", 4.0, 2)], 60_000: [("A", 1.0, 1)], 180_000: [("A", 5.0, 1)]}
    assert result.stores["minutes"] == {
        "2025_11_29_12_00_00.csv": [("A", 4.5, 2), ("B", 4.0, 2)], "2025_11_29_12_01_00.csv": [("A", 1.0, 1)],
        "2025_11_29_12_03_00.csv": [("A", 5.0, 1)]}
    assert result.stores["shop"] == result.stores["top_ratings"]
    assert result.dead_letters == []


def test_what_is_too_late_even_for_a_revision_is_a_dead_letter_as_it_came() -> None:
    given = records([(0, "A", 5), (700_000, "A", 5), (1_000, "B", 4)])
    result = counted(given, kind="tumbling", disorder_s=2, lateness_s=600)
    assert [(letter.reason, letter.raw) for letter in result.dead_letters] == [("late", given[2].value)]
    assert result.counts["folded"] == 2


def test_a_rating_that_is_late_for_its_minute_alone_is_told() -> None:
    given = records([(0, "A", 5), (63_000, "A", 5), (58_000, "B", 4)])
    result = counted(given, disorder_s=0, lateness_s=0)
    assert (result.counts["folded"], result.counts["partly_late"], result.dead_letters) == (3, 1, [])
    assert sum(count for _, _, rows in tops(result) for _, _, count in rows) == 2


def test_the_shop_has_the_last_minute_every_five_seconds() -> None:
    given = records([(at, "AB"[at % 2], 1 + at % 5) for at in range(0, 130_000, 1_777)])
    result = counted(given)
    shop = {start: rows for start, revision, rows in tops(result, "shop") if revision == 1}
    assert shop == expected(given, MINUTE_MS, 5_000)
    assert {start for start, _, _ in tops(result)} == {0, 60_000, 120_000}


def rounded(products: Iterable[Row]) -> list[Row]:
    """A plain program sums floats, whose last digits depend on the order."""
    return [(asin, round(mean, 9), count) for asin, mean, count in products]


@pytest.mark.parametrize("seed", range(12))
def test_minutes_are_those_of_a_plain_program_in_any_order_within_the_disorder_whoever_dies(seed: int) -> None:
    rng = random.Random(seed)
    rows = [(at, rng.choice("ABCDEFG"), rng.choice([1.0, 2.5, 4.3, 5.0])) for at in range(0, 400_000, 4_001)]
    rows.sort(key=lambda row: row[0] + rng.random() * 9_000)
    given = records(rows)
    kind = rng.choice(["tumbling", "hopping"])
    result = counted(given, Faults(seed, kills=rng.randint(0, 15), duplicates=0.02, outages=0.1), kind=kind,
                     disorder_s=10)
    found = tops(result)
    assert {start: rounded(products) for start, _, products in found} == {
        start: rounded(products[:5]) for start, products in expected(given, MINUTE_MS, MINUTE_MS).items()}
    assert {revision for _, revision, _ in found} == {1}, "nobody was late, and no minute came twice"
    assert sum(count for rows in result.stores["minutes"].values() for _, _, count in rows) == len(given)


@pytest.mark.parametrize("form", ["protobuf", "json"])
def test_the_plot_has_five_bars_with_product_and_mean_for_each_minute(form: Any) -> None:
    options = trends.Options(format=form)
    groups = [((f"P{number}",), [4_260_000 * (9 - number), 9 - number]) for number in range(7)]
    messages = [Record(0, b"\xff")] + [
        Record(number, item[1], key=item[0]) for number, (sink, item) in enumerate(
            trends.emit(Window(NOON, NOON + MINUTE_MS), groups, options), 1) if sink == "top_ratings"]
    (bars,) = trends.draw(messages, options)
    assert bars == Bars(
        bars=[(str(place), 10 - place, "4.3") for place in range(1, 6)], above=["P0", "P1", "P2", "P3", "P4"],
        label="2025-11-29 12:00:00 to 12:01:00 UTC", unit="ratings", x_title="place", y_title="number of ratings")


def test_a_revision_of_an_earlier_minute_takes_its_place_in_time_and_not_the_end() -> None:
    options = trends.Options()

    def message(minute: int, revision: int, count: int) -> Record:
        start = NOON + minute * MINUTE_MS
        items = trends.emit(Window(start, start + MINUTE_MS, revision=revision), [(("P",), [count, count])], options)
        ((key, value),) = [item for sink, item in items if sink == "top_ratings"]
        return Record(0, value, key=key)

    drawn = trends.draw([message(0, 1, 1), message(1, 1, 2), message(2, 1, 3), message(0, 2, 9)], options)
    assert [(bars.label[11:19], bars.bars[0][1]) for bars in drawn] == [
        ("12:00:00", 1), ("12:00:00", 9), ("12:01:00", 2), ("12:02:00", 3)]


def test_the_shipped_windows_are_minutes_and_the_last_sixty_seconds() -> None:
    assert trends.PIPELINE.window == WindowOptions(
        kind="hopping", size_s=60, every_s=5, disorder_s=2, lateness_s=600)
