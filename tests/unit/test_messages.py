"""Every message over the wire and back, and what is not a message."""

from __future__ import annotations

import pickle
from typing import get_args

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.runtime.codec import MAX_HEADER_BYTES, VERSION, decode, encode, unbundled
from actors.runtime.counts import merge, merged
from actors.runtime.errors import DecodeError
from actors.runtime.messages import (
    UNSURE,
    Ack,
    Again,
    AnyMessage,
    Batch,
    Booted,
    Bundle,
    Command,
    Credit,
    Drain,
    Drained,
    Failed,
    Hello,
    Hold,
    InputDone,
    Late,
    LeftOut,
    Linked,
    Lost,
    Member,
    Message,
    Outage,
    Part,
    Ready,
    Reply,
    Roll,
    Roster,
    Serving,
    Span,
    Start,
    Stop,
    Suspect,
    Tap,
)
from actors.runtime.parcels import Parcel

V = bytes([VERSION])
EVERY: list[Message] = [
    Bundle([Credit(2), Part("p", 0, 10, 1, 0, 3, {"written": 3}), Ack("p", 0, 10, 1, {})], [[], [3, 0], []]),
    Hold("parser.1#2", True), Suspect("p", 0, 10, "timeout", "stack"), Tap("/x", 5.0), Drained(),
    Command("scale", ("parser", "4")),
    Reply(True, "parser: 4 workers"), Hello("run"),
    Batch("p", 0, 10, 2**33, 0, 3, 7, "ä.tsv", 0, 1, "truncated_gzip", "why"),
    Batch("p", 0, 10, 1, 0, 3, 7, "ä.tsv", 0, 1, roll=2**33, active=(7, 9), anchor=-1,
          late=(Late(0, 2**41), Late(2, 0, (7, -1)))),
    Part("p", 0, 10, 1, 0, 3, {"written": 3}, "ä.tsv", 7, 2**33, (7, 9), (2**41, -1), judged=UNSURE),
    Part("p", 0, 10, 1, 0, 3, {"written": 3}, "ä.tsv"), Credit(2), Ack("p", 0, 10, 1, {"read": 1}),
    Ack("p", 0, 10, 1, {"written.a": 1}, (3, 0, 5)),
    Failed("p", 0, 10, 1, "writer.a#1 died"), Again("p", 0, 10, 1, Span(5, -3, 2**41)),
    Again("p", 0, 10, 1, late=(Late(1, 2**41, ()),)), Roll(3, (1, 2)), Booted(77),
    Ready("ipc:///x"), Serving("http://127.0.0.1:8686/"), Outage("down", 1.5), Lost("a.log", 3, 9), LeftOut(7),
    InputDone(True),
    Start(), Roster(3, (Member("writer.a", 2, "writer", "ipc:///y", True),)), Drain(), Stop(),
]


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    assert decode(encode(message)) == message
    assert decode(memoryview(encode(message))) == message


def test_every_kind_of_message_is_tested_here() -> None:
    assert {type(message) for message in EVERY} == set(get_args(AnyMessage))


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
def test_no_beginning_of_a_message_is_a_message(message: Message) -> None:
    header = encode(message)
    for length in range(len(header)):
        with pytest.raises(DecodeError):
            decode(header[:length])


@pytest.mark.parametrize("message", EVERY, ids=lambda message: type(message).__name__)
def test_a_message_with_something_behind_it_is_not_a_message(message: Message) -> None:
    with pytest.raises(DecodeError):
        decode(encode(message) + b"\x00")


def test_another_version_is_refused_by_name() -> None:
    with pytest.raises(DecodeError, match=f"protocol version 9, expected {VERSION}"):
        decode(b"\x09" + encode(Start())[1:])


@pytest.mark.parametrize("header", [
    b"", V, V + b"\xc0", V + b"\x90", V + b"\x91\xa7unknown", V + b"\x92\xa6credit\xa1x",
    V + msgspec.msgpack.encode(["ack", "p", 0, 10, 1, {"read": "many"}]),
    V + msgspec.msgpack.encode(["hello", b"\xff\xfe"]),
    V + b"\x92\xa5hello\xa2\xff\xfe",
    V + b"\x91" * 100_000,
    V + msgspec.msgpack.encode({"type": "start"}),
    V + msgspec.msgpack.encode(["bundle", [["start"]], [[]]]),
    V + msgspec.msgpack.encode(["bundle", [["bundle", [], []]], [[]]]),
], ids=repr)
def test_what_is_not_a_message_is_one_kind_of_error(header: bytes) -> None:
    with pytest.raises(DecodeError):
        decode(header)


def test_a_header_that_is_too_long_is_not_even_looked_at() -> None:
    with pytest.raises(DecodeError, match=f"a header of {MAX_HEADER_BYTES + 1} bytes"):
        decode(V * (MAX_HEADER_BYTES + 1))


class Exploding:
    """What a pickle can do to who opens it."""

    def __reduce__(self) -> tuple[object, ...]:
        return (pytest.fail, ("it was unpickled",))


def test_nothing_is_ever_unpickled() -> None:
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        data = pickle.dumps(Exploding(), protocol)
        for header in (data, bytes([VERSION]) + data):
            with pytest.raises(DecodeError):
                decode(header)


LINKED = [message for message in EVERY if isinstance(message, Linked)]
SOME = st.lists(st.tuples(st.sampled_from(LINKED), st.lists(st.binary(max_size=5), max_size=3)), max_size=9)


@given(some=SOME)
def test_a_bundle_is_its_messages_each_with_its_payload(some: list[tuple[Linked, list[bytes]]]) -> None:
    parcel = Parcel()
    for message, frames in some:
        parcel.add(encode(message), frames, sum(map(len, frames)))
    header, *frames = parcel.wire()
    whole = decode(header)
    if isinstance(whole, Bundle):
        assert unbundled(whole, frames) == some
    else:
        assert [(whole, frames)] == some


@pytest.mark.parametrize(("sizes", "frames"), [
    ([[1], [1]], [b"x"]), ([[1]], [b"x"]), ([[1], [2]], [b"x"]), ([[1], []], []), ([[1], []], [b"x", b""]),
    ([[2], [-1]], [b"x"]), ([[], [], []], [b""]), ([[], []], [b"x"]),
])
def test_a_bundle_that_does_not_say_what_its_payload_is_is_no_message(
    sizes: list[list[int]], frames: list[bytes]
) -> None:
    with pytest.raises(DecodeError):
        unbundled(Bundle([Credit(1), Credit(2)], sizes), frames)


def test_what_is_made_from_a_batch_keeps_its_id() -> None:
    batch = Batch("p", 5, 10, 1, 0, 0, 1, "s", 0, 1)
    assert batch.id == ("p", 5, 10)
    assert Part(*batch.id, 1, 0, 0, {}).id == Ack(*batch.id, 1, {}).id == Failed(*batch.id, 1, "").id == batch.id
    assert Again(*batch.id, 1).id == batch.id


def test_an_address_names_the_generation() -> None:
    assert Member("parser.1", 3, "parser", "", False).address == "parser.1#3"


def test_counts_are_added_by_name() -> None:
    total = {"read": 1}
    assert merge(total, {"read": 2, "written": 3}) is total
    assert total == {"read": 3, "written": 3}
    assert merged([]) == {}
    assert merged([{"a": 1}, {"b": 1}, {"a": 1}]) == {"a": 2, "b": 1}
