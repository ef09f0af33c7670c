"""How long batches are open, and how long an origin waits before it asks again."""

from __future__ import annotations

import msgspec

from actors.runtime.durations import Ages, Silence
from actors.runtime.values import Chunk

CHUNK = Chunk(1, "in", 0, 100, 0, 1, b"x")


def test_the_oldest_is_the_one_that_was_issued_first_of_those_that_are_open() -> None:
    ages = Ages()
    other = msgspec.structs.replace(CHUNK, unit=2)
    assert ages.oldest() == 0.0
    ages.issued(CHUNK, 5.0)
    ages.issued(other, 7.0)
    assert ages.oldest() == 5.0
    assert ages.closed(CHUNK, 8.0) == 3.0
    assert ages.oldest() == 7.0
    assert ages.closed(other, 8.0) == 1.0
    assert ages.oldest() == 0.0


def test_a_batch_that_was_split_is_as_old_as_the_whole_until_its_last_half_is_closed() -> None:
    ages = Ages()
    ages.issued(CHUNK, 5.0)
    assert ages.closed(msgspec.structs.replace(CHUNK, end=40), 6.0) is None
    assert ages.oldest() == 5.0
    assert ages.closed(msgspec.structs.replace(CHUNK, start=40), 9.0) == 4.0
    assert ages.oldest() == 0.0


def test_silence_is_too_long_after_the_patience_and_then_after_twice_as_much() -> None:
    silence = Silence(10.0)
    assert not silence.is_too_long(True, 0.0)
    assert silence.until == 10.0
    assert not silence.is_too_long(False, 9.9)
    assert silence.is_too_long(False, 10.0)
    assert silence.until == 30.0
    assert not silence.is_too_long(False, 29.9)
    assert silence.is_too_long(False, 30.0)
    assert not silence.is_too_long(True, 31.0)
    assert silence.until == 41.0
