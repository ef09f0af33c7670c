"""What must hold of ratings, whoever was killed. Problems are found as text; where all is well there is none.

    messages of live_ratings ──a plain program──▶ windows: count and mean of each product
                                                    │ the same?
    averages.jsonl, minutes/*.csv, top_ratings, shop_ratings ── and no revision of a window has two contents
"""

from __future__ import annotations

import csv
import json
import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from actors.apps.ratings.messages import AverageRatings, Format, Rating, decoder
from actors.runtime.framing import Record
from actors.runtime.units import ANY_RUN, LEDGER, read_units
from actors.topics.reading import read_topic

MINUTE_MS = 60_000
TOP = 5
_FILE = "%Y_%m_%d_%H_%M_%S.csv"
_HEAD = ["asin", "mean_overall", "count"]
#: Differences of one kind that are shown.
_SHOWN = 3

#: (product, mean, count), in the order in which they are stored and published.
Rows = list[tuple[str, float, int]]


def records_of(topic: Path) -> list[Record]:
    """What is in a topic on this disk."""
    return [record for _, record in read_topic(topic)]


def counts_of(state: Path) -> Counter[str]:
    """What a ledger has committed, of all runs together; nothing where there is none yet."""
    found: Counter[str] = Counter()
    if (state / LEDGER).exists():
        try:
            for unit in read_units(state / LEDGER, ANY_RUN):
                found.update(unit.counts)
        except sqlite3.Error:  # it is being made
            return Counter()
    return found


class Published:
    """What the messages of ``live_ratings`` say, added up as a plain program does it.

    Args:
        records: the messages.
        size_ms: length of a window; windows that begin with one of these are the minutes.
        every_ms: one begins every so often; 0: ``size_ms``.
        form: of the messages.

    Attributes:
        reviewers: how often a rating of each was published.
        products: how often each was rated.
        windows: the rows of each window that has ratings, by its start in ms.
    """

    def __init__(self, records: Iterable[Record], size_ms: int = MINUTE_MS, every_ms: int = 0,
                 form: Format = "protobuf") -> None:
        self.reviewers: Counter[str] = Counter()
        self.products: Counter[str] = Counter()
        self.size_ms = size_ms
        self._every_ms = every_ms or size_ms
        found: dict[int, dict[str, list[float]]] = defaultdict(lambda: defaultdict(lambda: [0.0, 0]))
        decode = decoder(Rating, form)
        for record in records:
            rating = decode(record.value)
            self.reviewers[rating.reviewer_id] += 1
            self.products[rating.asin] += 1
            assert record.time is not None
            for start in self._starts(record.time):
                numbers = found[start][rating.asin]
                numbers[0] += rating.overall
                numbers[1] += 1
        self.windows: dict[int, Rows] = {
            start: sorted(((asin, total / count, int(count)) for asin, (total, count) in products.items()),
                          key=lambda row: (-row[2], -row[1], row[0])) for start, products in found.items()}

    @property
    def minutes(self) -> dict[int, Rows]:
        """The rows of each minute that has ratings, by its start in ms."""
        return {start: rows for start, rows in self.windows.items() if not start % self.size_ms}

    def _starts(self, at: int) -> range:
        """The starts of all windows that this time is in."""
        return range(at - at % self._every_ms, at - self.size_ms, -self._every_ms)


def problems_of_ids(published: Published, reviewers: Iterable[str]) -> list[str]:
    """Whether a rating of each of these was published once, and of nobody else."""
    expected = Counter(reviewers)
    missing, more = expected - published.reviewers, published.reviewers - expected
    return [f"{some.total()} ratings {word}, the first of them by {min(some)}"
            for some, word in ((missing, "were not published"), (more, "were published once too often")) if some]


def problems_of_minutes(state: Path, tops: Path, shop: Path | None, published: Published,
                        form: Format = "protobuf") -> list[str]:
    """Whether rows, files and messages say of each window what was published in it.

    Args:
        state: the state directory of ratings-trends.
        tops: the topic ``top_ratings``.
        shop: the topic ``shop_ratings``; None: it is not looked at.
        published: what they have to say.
        form: of the messages.
    """
    found = _of_rows(state / "averages.jsonl", published.minutes) + _of_files(state / "minutes", published.minutes)
    found += of_tops("top_ratings", records_of(tops), published.minutes, form)
    return found if shop is None else found + of_tops("shop_ratings", records_of(shop), published.windows, form)


def _of_rows(path: Path, minutes: Mapping[int, Rows]) -> list[str]:
    contents: dict[tuple[int, str, int], set[tuple[float, int]]] = defaultdict(set)
    last: dict[tuple[int, str], tuple[int, float, int]] = {}
    with path.open() as file:
        for row in map(json.loads, file):
            key = row["minute"], row["asin"]
            contents[*key, row["revision"]].add((row["mean_overall"], row["count"]))
            last[key] = max(last.get(key, (0, 0.0, 0)), (row["revision"], row["mean_overall"], row["count"]))
    expected = {(minute, asin): (mean, count) for minute, rows in minutes.items() for asin, mean, count in rows}
    return _twice("averages", contents) + differences(
        "averages", expected, {key: (mean, count) for key, (_, mean, count) in last.items()})


def _of_files(folder: Path, minutes: Mapping[int, Rows]) -> list[str]:
    expected = {datetime.fromtimestamp(minute / 1000, UTC).strftime(_FILE): rows for minute, rows in minutes.items()}
    found: dict[str, Any] = {}
    for path in folder.glob("*.csv"):
        with path.open(newline="") as file:
            head, *rows = csv.reader(file)
        found[path.name] = ([(asin, float(mean), int(count)) for asin, mean, count in rows] if head == _HEAD else head)
    return differences("minutes", expected, found)


def of_tops(name: str, records: Iterable[Record], windows: Mapping[int, Rows], form: Format) -> list[str]:
    """Whether the last revision of each window is its top five; no revision was published with two contents."""
    decode = decoder(AverageRatings, form)
    contents: dict[tuple[int, int], set[bytes]] = defaultdict(set)
    tops: dict[int, AverageRatings] = {}
    for record in records:
        top = decode(record.value)
        contents[top.start_ms, top.revision].add(record.value or b"")
        if top.start_ms not in tops or top.revision >= tops[top.start_ms].revision:
            tops[top.start_ms] = top
    return _twice(name, contents) + differences(
        name, {start: rows[:TOP] for start, rows in windows.items()},
        {start: [(each.asin, each.mean_overall, each.count) for each in top.ratings] for start, top in tops.items()})


def _twice(name: str, contents: Mapping[Any, set[Any]]) -> list[str]:
    several = [key for key, some in contents.items() if len(some) > 1]
    return [f"{name}: {key} was published with {len(contents[key])} contents" for key in several[:_SHOWN]]


def differences(name: str, expected: Mapping[Any, Any], got: Mapping[Any, Any]) -> list[str]:
    """Say where two mappings differ, the first places of them."""
    places = [key for key in {**expected, **got} if expected.get(key) != got.get(key)]
    said = [f"{name}: {key}: expected {str(expected.get(key))[:200]}, got {str(got.get(key))[:200]}"
            for key in places[:_SHOWN]]
    return said + [f"{name}: {len(places) - _SHOWN} more places differ"] * (len(places) > _SHOWN)
