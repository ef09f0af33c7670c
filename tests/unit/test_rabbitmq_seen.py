"""What is known of messages that may come again: by their ids, over deaths, and never for another one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.errors import Retryable
from actors.sources import rabbitmq_seen
from actors.sources.framings.enveloped import Message, packed
from actors.sources.framings.writes import header_of
from actors.sources.rabbitmq_seen import BEFORE, FILE, KEPT, Known, Seen, known_by

SEGMENT = "000001-0123456789abcdef.messages"


def message(name: str, value: bytes = b"v", queue: str = "q", offset: int | None = None) -> Known:
    return known_by(delivered(name, value, queue, offset))


def delivered(name: str, value: bytes | None = b"v", queue: str = "q", offset: int | None = None) -> Message:
    headers = [("amqp-queue", queue.encode())]
    if name:
        headers.append(("amqp-message-id", name.encode()))
    if offset is not None:
        headers.append(("amqp-stream-offset", b"%d" % offset))
    return Message(value, None, b"k", tuple(headers))


def test_one_that_was_delivered_before_or_over_another_connection_is_a_repeat(tmp_path: Path) -> None:
    seen = Seen(tmp_path, False)
    assert not seen.is_repeat(message("a"), 1, True)
    seen.add([(message("a"), 1)])
    assert seen.is_repeat(message("a"), 1, True)
    assert seen.is_repeat(message("a"), 2, False)
    assert not seen.is_repeat(message("a"), 1, False)  # a producer that gives two messages one id


@pytest.mark.parametrize("other", [message("b"), message("a", b"w"), message("a", queue="r"), message("")])
def test_another_message_is_never_taken_for_it(tmp_path: Path, other: Known) -> None:
    seen = Seen(tmp_path, False)
    seen.add([(message("a"), 1)])
    assert not seen.is_repeat(other, 2, True)


def test_none_and_nothing_are_not_the_same() -> None:
    assert known_by(delivered("a", None)) != known_by(delivered("a", b""))


def test_what_the_segments_have_is_known_after_a_death_and_what_they_had_by_the_file(tmp_path: Path) -> None:
    seen = Seen(tmp_path, True)
    seen.add([(message("a"), 1), (message("", offset=6), 1)])
    seen.keep()
    written = packed([delivered("b"), delivered("", queue="s", offset=8)])
    (tmp_path / SEGMENT).write_bytes(header_of(written, 0, SEGMENT[7:23]) + written + b"\0\0\0\xffhalf")
    again = Seen(tmp_path, True)
    assert again.is_repeat(message("a"), 1, False)
    assert again.is_repeat(message("b"), 1, False)
    assert again.streams == {"q": 7, "s": 9}


@pytest.mark.parametrize("spoil", [lambda data: b"", lambda data: data[:-1], lambda data: data[:9] + b"?" + data[10:]])
def test_a_file_that_is_not_what_was_written_is_told_and_kept_aside(
    tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    seen = Seen(tmp_path, False)
    seen.add([(message("a"), 1), (message("", offset=6), 1)])
    seen.keep()
    assert Seen(tmp_path, False).problem == ""
    spoiled = spoil((tmp_path / FILE).read_bytes())
    (tmp_path / FILE).write_bytes(spoiled)
    again = Seen(tmp_path, False)
    assert again.streams == {} and not again.is_repeat(message("a"), 2, True)
    assert again.problem == (
        f"{tmp_path / FILE}: it is not what was written: something has changed it: which messages "
        "come again, and how far streams were read, is known of what the journal has only; it is kept as "
        f"{FILE}.damaged")
    assert (tmp_path / f"{FILE}.damaged").read_bytes() == spoiled


def test_only_so_many_are_kept_the_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rabbitmq_seen, "KEPT", 80)
    seen = Seen(tmp_path, False)
    for number in range(500):
        seen.add([(message(str(number)), 1)])
    assert len(seen._sessions) <= 90
    seen.keep()
    again = Seen(tmp_path, False)
    assert all(again.is_repeat(message(str(number)), 2, False) for number in range(420, 500))
    assert not again.is_repeat(message("419"), 2, False)
    assert KEPT > 2 * 2000  # than the prefetch, which bounds what is un-acknowledged


def test_a_full_disk_is_waited_for_and_the_old_file_stays(tmp_path: Path) -> None:
    seen = Seen(tmp_path, False)
    seen.add([(message("a"), 1)])
    seen.keep()
    before = (tmp_path / FILE).read_bytes()
    seen.add([(message("b"), 1)])
    (tmp_path / f"{FILE}.new").mkdir()
    with pytest.raises(Retryable, match="is a directory"):
        seen.keep()
    assert (tmp_path / FILE).read_bytes() == before
    (tmp_path / f"{FILE}.new").rmdir()
    seen.keep()
    assert Seen(tmp_path, False).is_repeat(message("b"), 1, False)


@given(st.lists(st.tuples(st.sampled_from("abc"), st.sampled_from(["journal", "lose ack", "die"])), max_size=30))
def test_whatever_is_delivered_again_over_whatever_deaths_each_id_is_journalled_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str]]
) -> None:
    """A server that delivers what is un-acknowledged again; a reader that dies with the connection."""
    folder = tmp_path_factory.mktemp("journal")
    seen, session = Seen(folder, False), 1
    journalled: list[str] = []
    acknowledged: set[str] = set()
    delivered: set[str] = set()
    for name, step in steps:
        if name in acknowledged:
            continue
        if not seen.is_repeat(message(name), session, name in delivered):
            journalled.append(name)
            seen.add([(message(name), session)])
            seen.keep()
        delivered.add(name)
        if step == "journal":
            acknowledged.add(name)
        else:  # the connection is lost; the server delivers all of them again, and says so or not
            session += 1
            delivered -= {"b"}
        if step == "die":
            seen, session = Seen(folder, False), 1
            assert session > BEFORE
    assert len(journalled) == len(set(journalled))
