"""ratings-trends: count and mean of each product in every minute, and the products that are rated most.

    topic live_ratings ──▶ (sum, count) of each product and window ──▶ averages     a row for each product and minute
                           minutes, and the last 60 s every 5 s      ├▶ minutes      a CSV file for each minute
                                                                     ├▶ top_ratings  the top five of each minute
                                                                     └▶ shop         the top five of the last 60 s

Windows of 60 s begin every 5 s; those that begin with a minute are the minutes. With ``window.kind = "tumbling"`` there
are the minutes only. A minute is one of publication; with ``time = "review"`` it is one of the review's own time.

Means are made of sums and counts, never of means. Sums are of whole numbers (millionths), so they are the same in any
order, whoever is killed: a minute that is made again is the same, byte for byte. What comes late for a minute, but
within ``window.lateness_s``, gives it a further revision, which takes the place of the one before in table, file and
topic.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from operator import attrgetter
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from actors.apps.ratings.messages import LIVE, AverageRating, AverageRatings, Format, Rating, decoder, encoder
from thresher import (
    Bars,
    Fold,
    Moment,
    Panel,
    Pipeline,
    Question,
    Record,
    Reject,
    Store,
    Window,
    WindowOptions,
    Windows,
    drop,
    per_chunk,
    sinks,
    sources,
)
from thresher.sinks import Csv, DeadLetters, Jsonl

#: Ratings are summed in whole numbers of so many to 1.
_UNITS = 1_000_000
_LEAST, _MOST = 1.0, 5.0
#: The name of a minute's file.
_FILE = "%Y_%m_%d_%H_%M_%S.csv"

#: (ms since 1970, product, rating in millionths)
Seen = tuple[int, str, int]
#: (key, numbers) as ``fold`` has them.
Rows = Iterable[tuple[tuple[Any, ...], list[Any]]]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is counted, and how it is published.

    Attributes:
        time: which time decides the minute: that of ``publication``, or the ``review``'s own (which knows days only).
        top: how many products are published of each window.
        format: of what is read and published: ``protobuf``, or ``json`` with the same field names.
    """

    time: Literal["publication", "review"] = "publication"
    top: Annotated[int, Meta(ge=1)] = 5
    format: Format = "protobuf"


@per_chunk
def parse(values: list[bytes | None], records: list[Record], options: Options) -> list[Seen | Reject]:
    """A rating, with the time that counts."""
    decode = decoder(Rating, options.format)
    of_review = options.time == "review"
    found: list[Seen | Reject] = []
    for value, record in zip(values, records, strict=True):
        try:
            rating = decode(value)
        except Reject as reject:
            found.append(reject)
            continue
        at = rating.unix_review_time * 1000 if of_review else record.time
        if not rating.asin or not _LEAST <= rating.overall <= _MOST:
            found.append(Reject("rating", f"expected a product and a rating of {_LEAST:g} to {_MOST:g}, "
                                f"got {rating.asin!r} and {rating.overall!r}"))
        elif at is None:
            found.append(Reject("time", "expected the time of publication with the record, got none: "
                                'set options.time = "review" for input that has none'))
        else:
            found.append((at, rating.asin, round(rating.overall * _UNITS)))
    return found


@per_chunk
def time_of(values: list[Seen]) -> list[int]:
    """The event time."""
    return [at for at, _, _ in values]


def partials(values: list[Seen]) -> dict[tuple[Any, ...], list[Any]]:
    """Sum and count of each product."""
    found: dict[tuple[Any, ...], list[Any]] = {}
    for _, asin, overall in values:
        numbers = found.get((asin,))
        if numbers is None:
            found[(asin,)] = [overall, 1]
        else:
            numbers[0] += overall
            numbers[1] += 1
    return found


def ranked(rows: Rows) -> list[tuple[str, float, int]]:
    """(product, mean, count) of each: by count, then mean, descending, then product."""
    order = sorted((-count, -total, asin) for (asin,), (total, count) in rows)
    return [(asin, total / (_UNITS * count), -count) for count, total, asin in order]


def emit(window: Window, rows: Rows, options: Options) -> list[tuple[str, Any]]:
    """What is stored and published of a closed window; there is none without ratings."""
    averages = ranked(rows)
    top = encoder(options.format)(AverageRatings(
        start_ms=window.start, end_ms=window.end, revision=window.revision,
        ratings=[AverageRating(asin=asin, mean_overall=mean, count=count)
                 for asin, mean, count in averages[:options.top]]))
    message = (b"%d" % window.start, top)
    if window.start % (window.end - window.start):
        return [("shop", message)]
    return [
        *(("averages", {"minute": window.start, "asin": asin, "mean_overall": mean, "count": count,
                        "revision": window.revision}) for asin, mean, count in averages),
        ("minutes", (datetime.fromtimestamp(window.start / 1000, UTC).strftime(_FILE), averages)),
        ("top_ratings", message), ("shop", message)]


def why_not(window: WindowOptions) -> str:
    """Each minute has to be a window: ``emit`` knows it by when it begins, and leaves out all others."""
    if window.kind not in ("tumbling", "hopping"):
        return f"kind: expected 'hopping' or 'tumbling', for averages are of minutes, got {window.kind!r}"
    if window.start != "clock":
        return f"start: expected 'clock', for minutes are counted from full ones, got {window.start!r}"
    size, every = round(window.size_s * 1000), round(window.every_s * 1000)
    if size % 1000:
        return f"size_s: expected whole seconds, for a minute's file is named by the second, got {window.size_s:g}"
    if window.kind == "hopping" and size % every:
        return (f"every_s: expected a part of size_s ({window.size_s:g}) that goes into it without a rest, "
                f"got {window.every_s:g}")
    return ""


def draw(messages: Sequence[Record], options: Options) -> list[Bars]:
    """A picture of each window of a topic, in the order of time; of several revisions the last one stands, which is
    published when others were long after it. Other messages are no pictures."""
    decode = decoder(AverageRatings, options.format)
    found = []
    for message in messages:
        try:
            found.append(decode(message.value))
        except Reject:  # published in the other format, before it was changed
            continue
    return list(map(_bars, sorted(found, key=attrgetter("start_ms"))))


def _bars(top: AverageRatings) -> Bars:
    start, end = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (top.start_ms, top.end_ms))
    return Bars(
        bars=[(str(place), each.count, f"{each.mean_overall:.1f}") for place, each in enumerate(top.ratings, 1)],
        above=[each.asin for each in top.ratings], label=f"{start:%Y-%m-%d %H:%M:%S} to {end:%H:%M:%S} UTC",
        unit="ratings", x_title="place", y_title="number of ratings")


class _Average(msgspec.Struct, frozen=True):
    """A row of the table, whatever it was stored as."""

    minute: int
    asin: str
    mean_overall: float
    count: int
    revision: int


def most_rated(
    store: Store, *, top: int = 5, since: Moment | None = None, until: Moment | None = None
) -> list[dict[str, Any]]:
    """The products that were rated most, of all minutes that are over.

    Args:
        top: so many.
        since: only minutes that begin then or later.
        until: only minutes that begin then or earlier.
    """
    newest: dict[tuple[int, str], _Average] = {}
    for row in store["averages"].rows():
        each = msgspec.convert(row, _Average, strict=False)
        if (since is None or each.minute >= since) and (until is None or each.minute <= until):
            before = newest.get((each.minute, each.asin), each)
            newest[each.minute, each.asin] = max(before, each, key=attrgetter("revision"))
    totals: dict[tuple[Any, ...], list[Any]] = {}
    for each in newest.values():
        total = totals.setdefault((each.asin,), [0, 0])
        total[0] += round(each.mean_overall * each.count * _UNITS)
        total[1] += each.count
    return [{"asin": asin, "count": count, "mean_overall": mean}
            for asin, mean, count in ranked(totals.items())[:max(0, top)]]


PIPELINE = Pipeline(
    name="ratings-trends",
    source=sources.Topic(topics=[LIVE]),
    parse=parse,
    route=drop,
    fold=Fold(partials=partials, keys=("asin",), fields=("millionths", "count")),
    windows=Windows(time=time_of, emit=emit, why_not=why_not),
    sinks={
        "averages": Jsonl(),
        "minutes": Csv(columns=["asin", "mean_overall", "count"], folder="minutes"),
        "top_ratings": sinks.Topic(topic="topic:../topics/top_ratings"),
        "shop": sinks.Topic(topic="topic:../topics/shop_ratings"),
    },
    emit_sinks=("averages", "minutes", "top_ratings", "shop"),
    dead_letters=DeadLetters(),
    options=Options(),
    questions={"top": Question(answer=most_rated, needs={"averages": "rows"})},
    panel=Panel(title="Most ranked products", draw=draw, sink="top_ratings"),
    feeds={"shop": Panel(title="Most ranked products of the last 60 s", draw=draw, sink="shop")},
    window=WindowOptions(kind="hopping", size_s=60, every_s=5, disorder_s=2, lateness_s=600),
)
