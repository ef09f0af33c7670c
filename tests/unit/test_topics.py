"""The parts of a topic that need no process: blocks, places, what is let go, where a moment is."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from zlib import crc32

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, DecodeError, Reject
from actors.runtime.framing import Record
from actors.sources.topic import moment_of
from actors.topics.blocks import (
    ANY,
    HEADER_BYTES,
    MAX_MESSAGE_BYTES,
    Header,
    Message,
    messages_in,
    pack_items,
    partition_of,
    pieces_in,
)
from actors.topics.places import topic_folder
from actors.topics.retention import Kept, chosen

KEYS = st.none() | st.binary(max_size=8)
MESSAGES = st.builds(
    Message, st.none() | st.binary(max_size=40), key=KEYS, time=st.none() | st.integers(0, 1 << 50),
    headers=st.lists(st.tuples(st.text(max_size=4), st.none() | st.binary(max_size=4)), max_size=3).map(tuple))


def block(body: bytes, count: int, offset: int = 0, time: int = 5) -> tuple[Header, bytes]:
    return Header(len(body), crc32(body), offset, count, time, time), body


@given(st.lists(MESSAGES, max_size=30), st.integers(1, 5), st.integers(0, 1 << 60))
def test_messages_come_out_as_they_went_in_and_those_of_a_key_in_one_partition_in_order(
    messages: list[Message], partitions: int, offset: int
) -> None:
    found: dict[int, list[Record]] = {}
    for piece in pieces_in(pack_items(messages, partitions)):
        got = messages_in(*block(piece.body, piece.count, offset))
        assert [record.offset for record in got] == list(range(offset, offset + piece.count))
        found.setdefault(piece.partition, []).extend(got)
    expected: dict[int, list[Message]] = {}
    for message in messages:
        assert not isinstance(message.key, str)
        number = 0 if partitions == 1 else ANY if message.key is None else partition_of(message.key, partitions)
        expected.setdefault(number, []).append(message)
    assert {number: [Message(one.value, one.key, one.time, one.headers) for one in some]
            for number, some in found.items()} == {
        number: [Message(one.value, one.key, 5 if one.time is None else one.time, one.headers) for one in some]
        for number, some in expected.items()}


@pytest.mark.parametrize(("item", "value", "key"), [
    (b"v", b"v", None), ("v\u00e4", "v\u00e4".encode(), None), (None, None, None), ((b"k", b"v"), b"v", b"k"),
    (["k", None], None, b"k"), ((None, "v"), b"v", None), (Message("v", "k"), b"v", b"k"),
    (bytearray(b"v"), b"v", None), (Record(7, b"v", key=b"k"), b"v", b"k")])
def test_an_item_is_a_value_or_key_and_value_or_a_message(item: Any, value: bytes | None, key: bytes | None) -> None:
    piece, = pieces_in(pack_items([item], 1))
    record, = messages_in(*block(piece.body, 1))
    assert (record.value, record.key) == (value, key)


@pytest.mark.parametrize(("item", "problem"), [
    (1, "message: expected bytes, text or None, got int"), ((b"k", b"v", b"x"), "expected (key, value), got 3 fields"),
    ((1, b"v"), "key: expected bytes, text or None, got int"), (Message(b"v", time=1.5), "time: expected"),  # type: ignore[arg-type]
    (Message(b"v", time=1 << 70), "time: expected"), (Message(b"v", headers=((b"x", b"y"),)), "headers: expected"),  # type: ignore[arg-type]
    (Message(b"v", headers=(("x", 5),)), "header x: expected")])  # type: ignore[arg-type]
def test_what_is_no_message_is_rejected_and_said(item: Any, problem: str) -> None:
    with pytest.raises(Reject) as caught:
        pack_items([b"good", item], 2)
    assert (caught.value.reason, problem in caught.value.detail) == ("no_message", True), caught.value.detail


def test_a_message_that_is_too_long_is_rejected() -> None:
    with pytest.raises(Reject, match="too_large"):
        pack_items([bytes(MAX_MESSAGE_BYTES + 1)], 1)


def test_many_messages_are_several_blocks_and_none_is_cut() -> None:
    items = [b"%d" % number + bytes(100_000) for number in range(10)]
    pieces = pieces_in(pack_items(items, 1))
    assert [piece.count for piece in pieces] == [3, 3, 3, 1]
    assert [record.value for piece in pieces for record in messages_in(*block(piece.body, piece.count))] == items


def test_the_partition_of_a_key_is_the_same_for_ever() -> None:
    assert [partition_of(key, 7) for key in (b"", b"a", b"B004LLIKVU", "ü".encode())] == [0, 4, 4, 4]


def test_a_flipped_bit_anywhere_in_a_block_is_found() -> None:
    piece, = pieces_in(pack_items([b"one", (b"k", b"two")], 1))
    header, body = block(piece.body, 2, offset=9)
    data = header.packed() + body
    assert Header.read(data) == header
    for bit in range(8 * len(data)):
        torn = bytearray(data)
        torn[bit // 8] ^= 1 << bit % 8
        found = Header.read(bytes(torn))
        assert found is None or found == header
        if found is not None:
            with pytest.raises(DecodeError):
                messages_in(found, bytes(torn[HEADER_BYTES:]))


@pytest.mark.parametrize(("text", "folder"), [
    ("topic:///var/topics/a", "/var/topics/a"), ("topic:a", "/state/a"), ("a/b", "/state/a/b"), ("/x/a/", "/x/a"),
    ("topic:../a", "/a"), ("topic:/x", "/x")])
def test_a_topic_is_named_by_its_folder(text: str, folder: str) -> None:
    assert topic_folder(text, Path("/state")) == Path(folder)


@pytest.mark.parametrize("text", ["topic://host/a", "kafka://host:9092/a", "topic:", "", "topic:///", "topic:///a?x=1"])
def test_what_names_no_folder_is_refused_with_what_is_expected(text: str) -> None:
    with pytest.raises(ConfigError, match="expected topic:///path/name"):
        topic_folder(text, Path("/state"))


@pytest.mark.parametrize(("start", "moment"), [
    ("earliest", None), ("latest", None), ("1700000000000", 1_700_000_000_000),
    ("2023-11-14T22:13:20", 1_700_000_000_000), ("2023-11-14T23:13:20+01:00", 1_700_000_000_000)])
def test_a_reader_begins_at_an_end_or_at_a_moment(start: str, moment: int | None) -> None:
    assert moment_of(start) == moment


def test_a_beginning_that_is_no_moment_is_refused() -> None:
    with pytest.raises(ConfigError, match="expected earliest, latest"):
        moment_of("yesterday")


def kept(*segments: tuple[int, int, int, int]) -> list[Kept]:
    """Segments as (partition, first, size, until); the last of each partition is not full."""
    last = {partition: first for partition, first, _, _ in segments}
    return [Kept(partition, first, first + 10, size, until, first != last[partition])
            for partition, first, size, until in segments]


def test_what_is_too_much_goes_the_oldest_first_whatever_its_partition() -> None:
    segments = kept((0, 0, 100, 1), (0, 10, 100, 4), (0, 20, 100, 9), (1, 0, 100, 2), (1, 10, 100, 3), (1, 20, 100, 9))
    for most, gone in ((600, []), (599, [(0, 0)]), (400, [(0, 0), (1, 0)]), (1, [(0, 0), (1, 0), (1, 10), (0, 10)])):
        assert [(one.partition, one.first) for one in chosen(segments, most, 0, 10)] == gone


def test_what_is_too_old_goes_and_never_the_segment_that_is_appended_to() -> None:
    segments = kept((0, 0, 1, 1000), (0, 10, 1, 2000), (0, 20, 1, 3000))
    for now, gone in ((11_000, []), (11_001, [0]), (12_001, [0, 10]), (99_000, [0, 10])):
        assert [one.first for one in chosen(segments, 0, 10.0, now)] == gone


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(1, 50), st.integers(0, 99)), max_size=30),
       st.integers(0, 200), st.integers(0, 99))
def test_what_goes_is_at_the_beginning_of_its_partition(
    made: list[tuple[int, int, int]], most: int, age_s: int
) -> None:
    segments = kept(*((partition, 10 * at, size, until) for at, (partition, size, until) in enumerate(sorted(
        made, key=lambda one: one[0]))))
    gone = chosen(segments, most, age_s / 1000, 100)
    for partition in range(4):
        there = [one.first for one in segments if one.partition == partition]
        went = sorted(one.first for one in gone if one.partition == partition)
        assert went == there[:len(went)]
        assert not there or len(went) < len(there)
