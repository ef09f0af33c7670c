"""How ratings and averages travel: protobuf, or JSON with the same field names; either by the protobuf library.

    Rating(asin, reviewer_id, overall, unix_review_time)      key: the product; time: when it was published
    AverageRatings(start_ms, end_ms, revision, ratings)       key: when the window begins, in ms

In JSON the library writes 64-bit numbers (``start_ms``, ``end_ms``) as text, and reads both.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeVar

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message

from actors.apps.ratings.ratings_pb2 import AverageRating, AverageRatings, Rating
from thresher import Reject

__all__ = ["LIVE", "AverageRating", "AverageRatings", "Format", "Rating", "decoder", "encoder"]

#: Where the one publishes and the other reads: beside their state directories, which are ``var/NAME``.
LIVE = "topic:../topics/live_ratings"
Format = Literal["protobuf", "json"]
M = TypeVar("M", bound=Message)


def encoder(form: Format) -> Callable[[Message], bytes]:
    """Return what makes bytes of a message; of equal messages the same."""
    return _to_json if form == "json" else _to_protobuf


def decoder(kind: type[M], form: Format) -> Callable[[bytes | None], M]:
    """Return what makes a message of bytes.

    The function raises ``Reject`` for what is no such message. (Protobuf cannot tell all of that: who uses the message
    looks at its fields.)
    """

    def decode(data: bytes | None) -> M:
        if data is None:
            raise Reject("message", f"expected a {kind.__name__}, got no value")
        try:
            if form == "json":
                return json_format.Parse(data, kind(), ignore_unknown_fields=True)
            return kind.FromString(data)
        except (DecodeError, json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
            raise Reject("message", f"expected a {kind.__name__} as {form}, got {data[:60]!r}: {error}") from None

    return decode


def _to_protobuf(message: Message) -> bytes:
    return message.SerializeToString(deterministic=True)


def _to_json(message: Message) -> bytes:
    text = json_format.MessageToJson(
        message, indent=None, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    return text.encode()
