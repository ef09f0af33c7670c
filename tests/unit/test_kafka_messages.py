"""The messages of a group on their way to Kafka: their ids, what cannot be said, from where they are sent again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from actors.runtime.errors import Reject
from actors.runtime.framing import Record
from actors.runtime.values import Payload
from actors.sinks.kafka import Kafka
from actors.sinks.kafka_messages import Group, pack, refusals_again
from actors.topics.blocks import Message, unpack_items

pytest.importorskip("confluent_kafka")


class Error:
    """An error of the library."""

    def __init__(self, name: str) -> None:
        self._name = name

    def name(self) -> str:
        return self._name

    def str(self) -> str:
        return f"Broker: {self._name}"


class Taker:
    """What a group is sent to: takes so many, then its queue is full once."""

    def __init__(self, room: int = 10**9) -> None:
        self.room = room
        self.taken: list[dict[str, Any]] = []

    def produce(self, topic: str, value: bytes | None, key: bytes | None, **rest: Any) -> None:
        if len(self.taken) == self.room:
            self.room = 10**9
            raise BufferError
        self.taken.append({"topic": topic, "value": value, "key": key, **rest})

    def ids(self) -> list[str]:
        return [one["headers"][-1][1] for one in self.taken]

    def report(self, at: int, error: Error | None) -> None:
        self.taken[at]["on_delivery"](error, None)


def payload(start: int, end: int, *items: Any) -> Payload:
    return Payload("run/7", start, end, len(items), pack(items, {}))


def no_wait() -> None:
    raise AssertionError("there is room")


def sent(group: Group, room: int = 10**9, wait: Callable[[], None] = no_wait) -> Taker:
    taker = Taker(room)
    group.send(taker, "t", wait)  # type: ignore[arg-type]
    return taker


def test_the_id_of_a_message_is_the_place_of_its_record_and_which_of_it_whatever_stands_beside_it() -> None:
    many = Payload("run/7", 0, 40, 4, pack([b"a", b"b", b"c", b"d"], {}), (3, 9, 9, 30))
    fewer = Payload("run/7", 0, 40, 3, pack([b"b", b"c", b"d"], {}), (9, 9, 30))
    assert sent(Group([many])).ids() == ["run/7:3:0", "run/7:9:0", "run/7:9:1", "run/7:30:0"]
    assert sent(Group([fewer])).ids() == ["run/7:9:0", "run/7:9:1", "run/7:30:0"]


def test_the_id_of_what_is_of_no_single_record_is_its_batch_and_its_place_in_that() -> None:
    taker = sent(Group([payload(0, 40, b"a", b"b"), payload(40, 90, b"c")]))
    assert taker.ids() == ["run/7:0-40:0", "run/7:0-40:1", "run/7:40-90:0"]


def test_a_message_has_its_key_value_time_and_headers_and_one_id_whatever_it_had_before() -> None:
    message = Message(None, "k", 5, (("a", b"1"), ("thresher-id", b"of another"), ("a", None)))
    one = sent(Group([payload(0, 1, message)])).taken[0]
    assert (one["topic"], one["key"], one["value"], one["timestamp"]) == ("t", b"k", None, 5)
    assert one["headers"] == [("a", b"1"), ("a", None), ("thresher-id", "run/7:0-1:0")]


def test_items_are_what_the_sink_topic_takes() -> None:
    data = pack([(b"k", b"v"), ["k", None], "text", Record(7, b"v", -1, 3, b"k", (("h", b"x"),))], {})
    assert unpack_items(data) == [Message(b"v", b"k"), Message(None, b"k"), Message(b"text"),
                            Message(b"v", b"k", 3, (("h", b"x"),))]


@pytest.mark.parametrize(("item", "reason"), [
    (7, "no_message"), ((b"k",), "no_message"), (Message(b"v", b"k", 0), "no_message"),
    (Message(b"v", b"k", -5), "no_message"), (Message(b"v", b"k", None, (("a\0b", b""),)), "no_message"),
    ((b"k", b"v" * 1_000_000), "too_large"), (Message(b"", None, None, (("h", b"x" * 1_000_001),)), "too_large")])
def test_what_cannot_be_sent_is_rejected_where_it_is_packed(item: Any, reason: str) -> None:
    with pytest.raises(Reject) as error:
        Kafka(topic="kafka://host/t").pack([item])
    assert error.value.reason == reason


def test_many_messages_that_are_large_together_are_not_too_large() -> None:
    items = [(b"k", b"v" * 100_000)] * 30
    assert len(unpack_items(Kafka(topic="kafka://host/t").pack(items))) == 30


def test_a_client_that_takes_more_packs_more() -> None:
    for said in (2_000_000, "2000000"):
        Kafka(topic="kafka://host/t", client={"message.max.bytes": said}).pack([(b"k", b"v" * 1_500_000)])


@pytest.mark.parametrize("said", ["lots", True, -1, 0, 2.5e6, "", 999, 1_000_000_001])
def test_a_largest_message_that_is_none_is_refused_before_anything_is_packed(said: Any) -> None:
    with pytest.raises(ValueError, match=r"^client: message\.max\.bytes: expected a whole number of bytes, 1,000 to"):
        Kafka(topic="kafka://host/t", client={"message.max.bytes": said})


def test_a_full_queue_is_waited_for_and_nothing_is_sent_twice_or_left_out() -> None:
    waited: list[int] = []
    taker = sent(Group([payload(0, 9, *(b"%d" % number for number in range(5)))]), 2, lambda: waited.append(1))
    assert [one["value"] for one in taker.taken] == [b"0", b"1", b"2", b"3", b"4"]
    assert waited == [1]


def test_a_group_whose_sending_was_broken_off_goes_on_with_the_message_that_found_no_room() -> None:
    group = Group([payload(0, 9, *(b"%d" % number for number in range(5)))])
    taker = Taker(3)

    def gives_up() -> None:
        raise TimeoutError

    with pytest.raises(TimeoutError):
        group.send(taker, "t", gives_up)  # type: ignore[arg-type]
    group.send(taker, "t", no_wait)  # type: ignore[arg-type]
    assert [one["value"] for one in taker.taken] == [b"0", b"1", b"2", b"3", b"4"]


def test_a_group_is_sent_again_from_the_first_message_on_that_failed_so_the_order_of_keys_stands() -> None:
    group = Group([payload(0, 2, b"0", b"1"), payload(2, 4, b"2", b"3")])
    taker = sent(group)
    for at, name in ((3, "_PURGE_QUEUE"), (1, "NOT_ENOUGH_REPLICAS"), (0, None), (2, None)):
        taker.report(at, Error(name) if name else None)
    group.begin()
    assert sent(group).ids() == ["run/7:0-2:1", "run/7:2-4:0", "run/7:2-4:1"]
    assert not group.failed


def test_a_message_that_is_refused_alone_is_a_refusal_with_its_place_and_bytes_and_is_not_sent_again() -> None:
    group = Group([payload(0, 2, b"0", (b"k", b"1")), payload(2, 4, b"2", b"3")])
    taker = sent(group)
    taker.report(1, Error("MSG_SIZE_TOO_LARGE"))
    taker.report(3, Error("_TIMED_OUT"))
    assert not group.refuse_failed()
    refusal, = group.refusals()
    assert (refusal.payload, refusal.item, refusal.reason) == (0, 1, "too_large")
    assert refusal.detail == "Broker: MSG_SIZE_TOO_LARGE (2 bytes)"
    assert unpack_items(refusal.raw) == [Message(b"1", b"k")]
    group.begin()
    assert sent(group).ids() == ["run/7:2-4:1"]


def test_of_what_is_sent_alone_only_what_had_failed_and_what_of_its_key_is_behind_it_is_sent_again() -> None:
    items = [("a", b"0"), ("b", b"1"), ("a", b"2"), b"3", ("b", b"4"), ("c", b"5"), b"6"]
    group = Group([payload(0, 9, *items)])
    taker = sent(group)
    for at, name in ((0, "MSG_SIZE_TOO_LARGE"), (1, "_INVALID_DIFFERENT_RECORD"), (3, "_INVALID_DIFFERENT_RECORD")):
        taker.report(at, Error(name))
    group.narrow()
    group.begin()
    alone = sent(group)
    assert [one["value"] for one in alone.taken] == [b"0", b"1", b"3"]
    alone.report(0, Error("MSG_SIZE_TOO_LARGE"))
    assert group.refuse_failed()
    assert group.follows()
    assert [one["value"] for one in sent(group).taken] == [b"4"], "2 is where it was: 0 is nowhere"
    assert not group.follows()
    assert [one.item for one in group.refusals()] == [0]


def test_when_what_is_sent_alone_is_broken_off_all_from_there_on_is_sent_again() -> None:
    group = Group([payload(0, 9, ("a", b"0"), ("b", b"1"), ("b", b"2"), ("b", b"3"))])
    taker = sent(group)
    for at in (1, 2):
        taker.report(at, Error("_INVALID_DIFFERENT_RECORD"))
    group.narrow()
    group.begin()
    sent(group).report(1, Error("_PURGE_QUEUE"))  # the first of them is there now, behind the last one
    group.begin()
    assert [one["value"] for one in sent(group).taken] == [b"1", b"2", b"3"]
    assert not group.follows()


def test_a_batch_that_comes_again_with_fewer_messages_has_the_refusals_that_are_there() -> None:
    known = [(0, "too_large", "by much"), (2, "too_large", "by more")]
    (refusal,) = refusals_again(3, payload(0, 9, b"0", b"1"), known)
    assert (refusal.payload, refusal.item, refusal.detail) == (3, 0, "by much")


def test_a_group_knows_the_batches_that_it_is_of() -> None:
    group = Group([payload(0, 2, b"0")])
    assert group.is_of([payload(0, 2, b"0")])
    assert not group.is_of([payload(0, 3, b"0")])
    assert not group.is_of([payload(0, 2, b"0"), payload(2, 3, b"1")])
