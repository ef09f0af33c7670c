"""Where a stream is read on: what a server that is slow, has let go, or has another stream, makes of it."""

from __future__ import annotations

from actors.sources.rabbitmq_place import LAST, SILENT_S, Place, Verdict

MARK, OTHER = b"of ours", b"of another"
PASS, TAKE, AGAIN, ANOTHER = Verdict.PASS, Verdict.TAKE, Verdict.AGAIN, Verdict.ANOTHER


def checking(expected: int = 10, mark: bytes = MARK) -> Place:
    """A consumer that begins at the last message that is known."""
    place = Place()
    assert place.begins(expected, mark, 0.0) == expected - 1
    return place


def probing() -> Place:
    """One of which nothing has come: it is set up again at the end of the stream."""
    place = checking()
    assert place.look(True, SILENT_S - 0.1) is PASS
    assert place.look(True, SILENT_S) is AGAIN
    assert place.begins(10, MARK, SILENT_S) == LAST
    return place


def test_a_stream_that_was_not_read_begins_where_it_is_to() -> None:
    place = Place()
    assert (place.begins(None, b"", 0.0), place.takes(7, OTHER, 0.0), place.look(True, 99.0)) == (None, TAKE, TAKE)
    assert (place.begins(0, b"", 0.0), place.takes(0, OTHER, 0.0)) == (0, TAKE)


def test_the_last_message_that_is_known_comes_once_more_and_is_not_read_again() -> None:
    place = checking()
    assert [place.takes(offset, MARK, 0.0) for offset in (8, 9, 10, 11)] == [PASS, PASS, TAKE, TAKE]
    assert checking(mark=b"").takes(9, OTHER, 0.0) is PASS, "an older version has not kept what it is known by"
    assert checking().takes(15, OTHER, 0.0) is TAKE, "retention has let it go"


def test_another_message_at_its_place_is_of_another_stream() -> None:
    assert checking().takes(9, OTHER, 0.0) is ANOTHER


def test_a_stream_that_ends_before_what_was_read_is_another_one() -> None:
    place = probing()
    assert [place.takes(offset, OTHER, 6.0 + offset) for offset in range(3)] == [PASS] * 3
    assert place.look(True, 6.0 + SILENT_S - 0.1) is PASS
    assert place.look(True, 6.0 + SILENT_S) is ANOTHER, "also when more comes all the time"
    assert place.begins(0, b"", 99.0) == 0


def test_a_server_that_was_only_slow_is_asked_again() -> None:
    place = probing()
    assert [place.takes(offset, MARK, 6.0) for offset in (8, 9)] == [PASS, AGAIN]
    assert place.begins(10, MARK, 7.0) == 9
    assert place.takes(9, MARK, 7.0) is PASS
    assert place.takes(10, OTHER, 7.0) is TAKE


def test_nothing_is_said_of_a_stream_that_is_empty_or_that_nothing_may_come_of() -> None:
    place = probing()
    assert place.look(True, 1000.0) is PASS, "what comes in it will say so"
    held = checking()
    assert held.look(False, 1000.0) is PASS
    assert held.look(True, 1000.0 + SILENT_S - 0.1) is PASS
