"""ratings-feed: product reviews, read at a chosen rate, checked, and published as ratings.

    {"asin": "B004LLIL5A", "overall": 5.0, "reviewerID": …}   so many lines a second (--hz), so many in all (--n)
    ──check (half a second of CPU each)──▶ Rating, keyed by product ──▶ topic live_ratings
                                     └──▶ fake: dead-lettered, not published

The rate is that of the source (``flow.rate_hz``): reviews come when they are due, whether they can be checked as fast
or not. The time of publication is when the topic takes a rating, and is given with it: what is delivered again after a
crash is in the topic already, and stays as it was.
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import Annotated

import msgspec
from msgspec import Meta

from actors.apps.ratings.messages import LIVE, Format, Rating, encoder
from thresher import BudgetOptions, FlowOptions, ParserOptions, Pipeline, Reject, per_chunk, progress
from thresher.sinks import DeadLetters, Topic
from thresher.sources import Files

#: A text of so many words, or more, is looked at; it is fake when less than this part of its words are different ones.
#: Of the 2,972 real reviews of gift cards none has less than 0.47.
_WORDS, _DIFFERENT = 8, 0.2
#: Times that a text is hashed between two looks at the CPU's clock.
_ROUNDS = 200
_SHOWN = 60


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How reviews are checked and ratings published.

    Attributes:
        check_cost: seconds of CPU that the check of a review takes, about; 0: nothing is checked.
        format: of what is published: ``protobuf``, or ``json`` with the same field names.
    """

    check_cost: Annotated[float, Meta(ge=0)] = 0.5
    format: Format = "protobuf"


class Review(msgspec.Struct, frozen=True, kw_only=True):
    """What is read of a review. The names are those of the Amazon review data; all else in it is passed over."""

    reviewer: Annotated[str, Meta(min_length=1)] = msgspec.field(name="reviewerID")
    asin: Annotated[str, Meta(min_length=1)]
    overall: Annotated[float, Meta(ge=1, le=5)]
    at: Annotated[int, Meta(ge=0, lt=2**32)] = msgspec.field(name="unixReviewTime")
    text: str | None = msgspec.field(name="reviewText", default=None)


_review = msgspec.json.Decoder(Review)
_BAD = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


@per_chunk
def parse(lines: list[bytes]) -> list[Review | Reject | None]:
    """A review a line; blank ones are none."""
    try:
        return [_review.decode(line) for line in lines]
    except _BAD:
        return [_parse_one(line) for line in lines]


def _parse_one(line: bytes) -> Review | Reject | None:
    if not line.strip():
        return None
    try:
        return _review.decode(line)
    except msgspec.ValidationError as error:
        return Reject("review", str(error))
    except _BAD as error:
        return Reject("json", f"expected a review as JSON, got {line[:_SHOWN]!r}: {error}")


def check(review: Review, options: Options) -> Review:
    """Only what is authentic goes on."""
    if options.check_cost and (why := examined(review, options.check_cost)):
        raise Reject("fake", why)
    return review


def examined(review: Review, cpu_s: float) -> str:
    """Look at a review for so many seconds of CPU, in constant memory; say why it is fake, or nothing.

    It stands in for a classifier: it hashes the text over and over, but what it finds does not depend on for how long.
    """
    text = f"{review.reviewer} {review.asin} {review.text or ''}".encode()
    seal, until = b"", time.thread_time() + cpu_s
    while time.thread_time() < until:
        for _ in range(_ROUNDS):
            seal = sha256(seal + text).digest()
        progress()
    return why_fake(review.text or "")


def why_fake(text: str) -> str:
    """Why a text is none that a person has written, or nothing: it says the same over and over."""
    words = text.casefold().split()
    different = len(set(words))
    if len(words) < _WORDS or different >= _DIFFERENT * len(words):
        return ""
    return f"the text says the same over and over: {different} different words of {len(words)}"


@per_chunk
def encode(reviews: list[Review], options: Options) -> list[tuple[bytes, bytes]]:
    """The product, and the rating."""
    to_bytes = encoder(options.format)
    return [(review.asin.encode(), to_bytes(Rating(
        asin=review.asin, reviewer_id=review.reviewer, overall=review.overall, unix_review_time=review.at)))
        for review in reviews]


PIPELINE = Pipeline(
    name="ratings-feed",
    source=Files(pattern="data/ratings/*.json"),
    parse=parse,
    check=check,
    encode=encode,
    sinks={"live_ratings": Topic(topic=LIVE)},
    dead_letters=DeadLetters(),
    options=Options(),
    flags={"hz": "flow.rate_hz", "n": "flow.max_records", "check-cost": "options.check_cost"},
    parser=ParserOptions(workers=6),
    flow=FlowOptions(rate_hz=5.0, credit=1),
    budget=BudgetOptions(max_error_rate=0.5),  # to be fake is no error of the input
)
