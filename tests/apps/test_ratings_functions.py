"""ratings, its functions: reviews, what is fake, how ratings travel, and what a minute says, beside a plain program."""

from __future__ import annotations

import json
import time
from collections import defaultdict
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.apps.ratings import feed, trends
from actors.apps.ratings.messages import AverageRatings, Format, Rating, decoder, encoder
from actors.runtime.errors import Reject
from actors.runtime.framing import Record
from actors.runtime.pipeline import Window
from tests.loads import SHARED
from thresher.testing import run_inline

PUBLIC = SHARED / "data" / "ratings-gift-cards.json"
MINUTE_MS = 60_000
REVIEW = {"reviewerID": "A1", "asin": "B1", "overall": 4.5, "unixReviewTime": 1529193600, "reviewText": "Two\nlines"}
FAKE = {**REVIEW, "reviewText": "Buy this now! " * 12}
FORMATS: tuple[Format, ...] = ("protobuf", "json")

public_file = pytest.mark.skipif(not PUBLIC.exists(), reason="the public file is not here")


def line(**changes: Any) -> bytes:
    """A review as a line."""
    return json.dumps({name: value for name, value in {**REVIEW, **changes}.items() if value is not ...}).encode()


def parsed(raw: bytes) -> Any:
    (value,) = feed.parse([raw])
    return value


# Reviews ------------------------------------------------------------------------------------------------------------


def test_a_review_is_read_and_all_else_in_it_is_passed_over() -> None:
    found = parsed(line(verified=True, style={"Gift Amount:": " 50"}))
    assert found == feed.Review(reviewer="A1", asin="B1", overall=4.5, at=1529193600, text="Two\nlines")


@pytest.mark.parametrize("text", [..., None])
def test_a_review_without_a_text_is_one(text: Any) -> None:
    assert parsed(line(reviewText=text)).text is None


@pytest.mark.parametrize("raw", [b"", b"  ", b"\r"])
def test_a_blank_line_is_no_review(raw: bytes) -> None:
    assert parsed(raw) is None


@pytest.mark.parametrize(("raw", "reason", "says"), [
    (b"{", "json", "expected a review as JSON"), (b'{"asin": "\xff"}', "json", "expected a review as JSON"),
    (b"[1]", "review", "Expected `object`"), (line(asin=...), "review", "missing required field `asin`"),
    (line(asin=""), "review", "$.asin"), (line(overall=0.5), "review", "$.overall"),
    (line(overall=5.5), "review", "$.overall"), (line(overall="5"), "review", "$.overall"),
    (line(unixReviewTime=-1), "review", "$.unixReviewTime"), (line(reviewerID=...), "review", "reviewerID"),
])
def test_anything_else_is_rejected_with_what_is_wrong(raw: bytes, reason: str, says: str) -> None:
    found = parsed(raw)
    assert isinstance(found, Reject)
    assert found.reason == reason
    assert says in found.detail


def test_a_bad_line_takes_no_neighbour_with_it() -> None:
    found = feed.parse([line(), b"{", line(asin="B2"), b""])
    assert [type(value) for value in found] == [feed.Review, Reject, feed.Review, type(None)]


# What is fake -------------------------------------------------------------------------------------------------------


def test_what_says_the_same_over_and_over_is_fake_and_the_reason_says_so() -> None:
    review = parsed(json.dumps(FAKE).encode())
    with pytest.raises(Reject) as found:
        feed.check(review, feed.Options(check_cost=0.001))
    assert found.value.reason == "fake"
    assert found.value.detail == "the text says the same over and over: 3 different words of 36"


def test_without_a_cost_nothing_is_checked() -> None:
    review = parsed(json.dumps(FAKE).encode())
    assert feed.check(review, feed.Options(check_cost=0)) is review


@pytest.mark.parametrize("cost", [0.001, 0.02])
def test_what_is_found_does_not_depend_on_how_long_it_was_looked_for(cost: float) -> None:
    began = time.thread_time()
    assert feed.examined(parsed(line()), cost) == ""
    assert feed.examined(parsed(json.dumps(FAKE).encode()), cost) != ""
    assert time.thread_time() - began >= 2 * cost, "it really computes"


@public_file
def test_no_real_review_is_fake() -> None:
    reviews = feed.parse(PUBLIC.read_bytes().splitlines())
    assert len(reviews) == 2972
    assert {isinstance(review, feed.Review) and feed.why_fake(review.text or "") for review in reviews} == {""}


@given(words=st.lists(st.sampled_from(["buy", "this", "now", "Great", "great", "card"]), max_size=60))
def test_a_text_is_fake_by_its_words_whatever_their_order_and_case(words: list[str]) -> None:
    verdict = bool(feed.why_fake(" ".join(words)))
    assert bool(feed.why_fake(" \n".join(sorted(words)).upper())) == verdict
    assert verdict == (len(words) >= 8 and 5 * len({word.lower() for word in words}) < len(words))


# Messages -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMATS)
@given(asin=st.text(), reviewer=st.text(), overall=st.floats(1, 5), at=st.integers(0, 2**32 - 1))
def test_a_rating_is_what_it_was_after_its_travel(
    form: Format, asin: str, reviewer: str, overall: float, at: int
) -> None:
    rating = Rating(asin=asin, reviewer_id=reviewer, overall=overall, unix_review_time=at)
    assert decoder(Rating, form)(encoder(form)(rating)) == rating


def test_in_json_the_fields_have_the_names_of_the_schema() -> None:
    (item,) = feed.encode([parsed(line())], feed.Options(format="json"))
    assert item[0] == b"B1"
    assert json.loads(item[1]) == {"asin": "B1", "reviewer_id": "A1", "overall": 4.5, "unix_review_time": 1529193600}


@pytest.mark.parametrize(("form", "raw"), [
    ("protobuf", None), ("protobuf", b"\xff"), ("protobuf", b"\x0a\x05abc"), ("json", b"{"), ("json", b"\xff"),
    ("json", b'{"overall": "x"}'), ("json", b"5")])
def test_what_is_no_rating_is_rejected(form: Format, raw: bytes | None) -> None:
    with pytest.raises(Reject) as found:
        decoder(Rating, form)(raw)
    assert found.value.reason == "message"


def seen(options: trends.Options, *records: Record) -> list[Any]:
    return trends.parse([record.value for record in records], list(records), options)


@pytest.mark.parametrize("form", FORMATS)
def test_the_minute_is_that_of_publication_or_of_the_review(form: Format) -> None:
    value = encoder(form)(Rating(asin="B1", overall=4.5, unix_review_time=1529193600))
    record = Record(0, value, time=1_764_400_000_123)
    assert seen(trends.Options(format=form), record) == [(1_764_400_000_123, "B1", 4_500_000)]
    assert seen(trends.Options(format=form, time="review"), record) == [(1529193600000, "B1", 4_500_000)]


@pytest.mark.parametrize(("rating", "at", "reason"), [
    (Rating(overall=4), 1, "rating"), (Rating(asin="B1"), 1, "rating"), (Rating(asin="B1", overall=5.1), 1, "rating"),
    (Rating(asin="B1", overall=float("nan")), 1, "rating"), (Rating(asin="B1", overall=4), None, "time")])
def test_a_rating_that_cannot_be_counted_is_rejected_alone(rating: Rating, at: int | None, reason: str) -> None:
    good = Record(1, encoder("protobuf")(Rating(asin="B2", overall=3)), time=5)
    bad, kept = seen(trends.Options(), Record(0, encoder("protobuf")(rating), time=at), good)
    assert isinstance(bad, Reject)
    assert bad.reason == reason
    assert kept == (5, "B2", 3_000_000)


# Minutes ------------------------------------------------------------------------------------------------------------


def emitted(rows: list[tuple[str, list[float]]], start: int = 0, end: int = MINUTE_MS, top: int = 5) -> dict[str, Any]:
    """What a window emits, by sink."""
    values = [(0, asin, round(overall * 1_000_000)) for asin, each in rows for overall in each]
    found: dict[str, Any] = defaultdict(list)
    groups = sorted(trends.partials(values).items())
    for sink, item in trends.emit(Window(start, end, (), 2), groups, trends.Options(top=top)):
        found[sink].append(item)
    return found


def test_products_are_ordered_by_count_then_mean_then_name() -> None:
    found = emitted([("D", [5]), ("C", [5, 4]), ("B", [4, 5]), ("A", [4, 4]), ("E", [1, 1, 1])])
    order = [("E", 1.0, 3), ("B", 4.5, 2), ("C", 4.5, 2), ("A", 4.0, 2), ("D", 5.0, 1)]
    assert found["minutes"] == [("1970_01_01_00_00_00.csv", order)]
    assert [(row["asin"], row["mean_overall"], row["count"]) for row in found["averages"]] == order
    assert {(row["minute"], row["revision"]) for row in found["averages"]} == {(0, 2)}


def test_the_top_five_are_published_and_fewer_where_there_are_fewer() -> None:
    for products in (2, 9):
        found = emitted([(f"P{number}", [5] * (number + 1)) for number in range(products)])
        ((key, value),) = found["top_ratings"]
        message = AverageRatings.FromString(value)
        assert key == b"0"
        assert (message.start_ms, message.end_ms, message.revision) == (0, MINUTE_MS, 2)
        assert [each.asin for each in message.ratings] == [f"P{number}" for number in range(products)][::-1][:5]


def test_a_window_that_begins_within_a_minute_is_the_shops_alone() -> None:
    assert set(emitted([("A", [5])], 5_000, 65_000)) == {"shop"}
    assert set(emitted([("A", [5])], MINUTE_MS, 2 * MINUTE_MS)) == {"averages", "minutes", "top_ratings", "shop"}


@settings(max_examples=50)
@given(parts=st.lists(st.lists(st.tuples(st.sampled_from("ABC"), st.decimals(1, 5, places=2)), max_size=8), max_size=6))
def test_a_mean_is_that_of_all_ratings_however_they_came_in_parts(parts: list[list[tuple[str, Any]]]) -> None:
    merged: dict[tuple[Any, ...], list[int]] = {}
    for part in parts:
        for key, numbers in trends.partials([(0, asin, round(float(x) * 1_000_000)) for asin, x in part]).items():
            merged[key] = [a + b for a, b in zip(merged.get(key, [0, 0]), numbers, strict=True)]
    for asin, mean, count in trends.ranked(merged.items()):
        ratings = [Fraction(x) for part in parts for name, x in part if name == asin]
        assert (mean, count) == (float(sum(ratings) / len(ratings)), len(ratings))


def expected_days(lines: list[bytes]) -> dict[str, list[tuple[str, float, int]]]:
    """What a plain program finds for each day of a file of reviews, by the name of the minute's file."""
    days: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for raw in lines:
        review = json.loads(raw)
        days[review["unixReviewTime"]][review["asin"]].append(review["overall"])
    found = {}
    for day, products in days.items():
        rows = [(asin, sum(ratings) / len(ratings), len(ratings)) for asin, ratings in products.items()]
        name = datetime.fromtimestamp(day, UTC).strftime("%Y_%m_%d_%H_%M_%S.csv")
        found[name] = sorted(rows, key=lambda row: (-row[2], -row[1], row[0]))
    return found


@public_file
@pytest.mark.parametrize("kind", ["tumbling", "hopping"])
def test_the_public_file_has_the_minutes_that_a_plain_program_finds(kind: Any) -> None:
    lines = PUBLIC.read_bytes().splitlines()
    published = run_inline(msgspec.structs.replace(
        feed.PIPELINE, options=feed.Options(check_cost=0, format="json"),
        flow=msgspec.structs.replace(feed.PIPELINE.flow, rate_hz=0.0)), lines, batch_bytes=20_000)
    assert published.counts == {"read": 2972, "written": 2972, "written.live_ratings": 2972}
    window = msgspec.structs.replace(trends.PIPELINE.window, kind=kind, disorder_s=10 * 366 * 86_400)
    counted = run_inline(
        msgspec.structs.replace(trends.PIPELINE, window=window),
        [value for _, value in published.written["live_ratings"]],
        options=trends.Options(format="json", time="review"), batch_bytes=20_000)
    assert counted.counts["folded"] == 2972
    expected = expected_days(lines)
    assert dict(counted.written["minutes"]) == expected
    assert sum(row["count"] for row in counted.written["averages"]) == 2972
    tops = [decoder(AverageRatings, "json")(value) for _, value in counted.written["top_ratings"]]
    assert {top.start_ms: [(each.asin, each.mean_overall, each.count) for each in top.ratings] for top in tops} == {
        int(datetime.strptime(f"{name}Z", "%Y_%m_%d_%H_%M_%S.csv%z").timestamp()) * 1000: rows[:5]
        for name, rows in expected.items()}
    assert len(counted.written["shop"]) == len(expected) * (1 if kind == "tumbling" else 12)

