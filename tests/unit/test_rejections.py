"""The counts of dead letters travel in a header, so they are bounded, whatever an application calls its reasons."""

from __future__ import annotations

import msgspec

from actors.runtime.codec import decode, encode
from actors.runtime.messages import Part
from actors.runtime.values import DeadLetter, rejections


def _letter(reason: str) -> DeadLetter:
    return DeadLetter("parser", reason, "", "source", "p", 0, 0, 1, b"")


def test_reasons_are_counted_by_their_names() -> None:
    letters = [_letter("columns"), _letter("latitude"), _letter("columns")]
    assert rejections(letters) == {"dead_lettered": 3, "rejected.columns": 2, "rejected.latitude": 1}


def test_reasons_made_from_records_fit_into_a_header_and_every_letter_is_counted() -> None:
    letters = [_letter("columns")] * 7 + [_letter(f"{number} cannot be parsed: {'x' * 300}") for number in range(9000)]
    claims = rejections(letters)
    assert claims["rejected.columns"] == 7
    assert claims["dead_lettered"] == 9007 == sum(claims.values()) - 9007
    part = Part("p", 0, 1, 0, 0, 9007, claims)
    assert decode(encode(part)) == part


def test_a_letter_can_be_stored_and_sent_whatever_its_maker_says() -> None:
    """A sink of one's own makes refusals with whatever it was told."""
    reason, detail = "refused: " + "\udcff" * 500_000, "no " * 4_000_000 + "room"
    letter = DeadLetter("writer.own", reason, detail, "s", "p", 0, 0, 1, b"x")
    assert len(letter.reason) <= 1400
    assert letter.detail.startswith("no no")
    assert letter.detail.endswith("room")
    assert len(msgspec.msgpack.encode(letter)) < 10_000
    assert DeadLetter("writer.own", "none", None, "s", "p", 0, 0, 1, b"x").detail == "None"  # type: ignore[arg-type]
