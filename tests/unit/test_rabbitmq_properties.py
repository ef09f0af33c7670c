"""A record that is published to RabbitMQ reads back the same, whatever it has; what others publish is read as well."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from actors.rabbitmq.decoding import UNDECODED, properties_in
from actors.rabbitmq.properties import KEY, NONE, OURS, TIME_MS, record_of, seconds_of, table_of
from actors.runtime.framing import Record, pack_records, records_in
from actors.sources.framings.enveloped import packed
from actors.sources.rabbitmq_messages import message_of
from actors.sources.rabbitmq_seen import known_by

pytest.importorskip("pika")
from pika.spec import BasicProperties

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda name: name not in OURS and not name.startswith("x-"))
VALUES = st.none() | st.binary(max_size=30)


def over_the_wire(table: dict[str, Any], seconds: int | None) -> BasicProperties:
    """The client's own encoding, and back."""
    encoded = b"".join(BasicProperties(headers=table, timestamp=seconds).encode())
    return BasicProperties(**properties_in(encoded))


@given(VALUES, VALUES, st.none() | st.integers(-(1 << 61), 1 << 61), st.lists(st.tuples(NAMES, VALUES), max_size=6))
def test_a_record_reads_back_the_same(
    value: bytes | None, key: bytes | None, time: int | None, headers: list[tuple[str, bytes | None]]
) -> None:
    record = Record(17, value, time=time, key=key, headers=tuple(headers))
    properties = over_the_wire(table_of(key, record.headers, time, value is None), seconds_of(time))
    found = record_of(17, properties, value or b"")
    assert (found.value, found.key, found.time, found.offset) == (value, key, time, 17)
    assert records_in(pack_records([found])) == [found]
    by_name = {name: [each for other, each in headers if other == name] for name, _ in headers}
    assert {name: [each for other, each in found.headers if other == name] for name, _ in found.headers} == by_name


def test_a_time_is_a_plain_number_which_can_be_written_down_not_the_clients_own_class() -> None:
    found = record_of(0, over_the_wire(table_of(None, (), 1_764_417_600_123, False), None), b"")
    assert type(found.time) is int
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(found), type=Record) == found


def test_a_value_that_is_none_is_told_from_one_that_is_empty() -> None:
    assert record_of(0, over_the_wire(table_of(None, (), None, True), None), b"").value is None
    assert record_of(0, over_the_wire(table_of(None, (), None, False), None), b"").value == b""
    assert record_of(0, over_the_wire({NONE: True}, None), b"there is one").value == b"there is one"


def test_text_goes_as_text_so_that_a_headers_exchange_can_match_it() -> None:
    assert table_of(b"k", (("a", b"text"), ("b", b"\xff"), ("c", None)), 5, True) == {
        "a": "text", "b": b"\xff", "c": None, KEY: "k", TIME_MS: 5, NONE: True}


@pytest.mark.parametrize(("value", "expected"), [
    (7, b"7"), (1 << 40, b"1099511627776"), (True, b"true"),
    (Decimal("1.5"), b"1.5"), ({"a": [1, "x"]}, b'{"a":[1,"x"]}'),
    (datetime(2026, 11, 29, tzinfo=UTC), b"2026-11-29T00:00:00+00:00"), ("text", b"text"), (b"\xff", b"\xff")])
def test_headers_of_another_producer_are_read_as_text(value: Any, expected: bytes) -> None:
    record = record_of(0, over_the_wire({"theirs": value}, 1_700_000_000), b"x")
    assert record.headers == (("theirs", expected),)
    assert record.time == 1_700_000_000_000


def test_what_the_server_adds_is_no_header_of_the_record() -> None:
    found = record_of(0, over_the_wire({"x-delivery-count": 3, "x-stream-offset": 7, "x-death": "kept"}, None), b"x")
    assert found.headers == (("x-death", b"kept"),)


@pytest.mark.parametrize("table", [None, {}, {TIME_MS: "soon"}, {TIME_MS: True}, {TIME_MS: 1 << 62}])
def test_a_time_that_is_none_is_passed_over(table: dict[str, Any] | None) -> None:
    assert record_of(0, SimpleNamespace(headers=table, timestamp=None), b"x").time is None
    assert record_of(0, SimpleNamespace(headers=table, timestamp=3), b"x").time == 3000


def test_a_time_before_1970_has_no_seconds_in_amqp() -> None:
    assert seconds_of(-1) is None
    assert seconds_of(1999) == 1
    assert seconds_of(None) is None


FIELDS = st.recursive(
    st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.text(st.characters(exclude_categories=["Cs"]))
    | st.binary() | st.decimals(-2_000_000, 2_000_000, places=2)
    | st.datetimes(timezones=st.just(UTC)).map(lambda at: at.replace(microsecond=0)).filter(lambda at: at.year > 1970),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8)
ODD = b"".join(BasicProperties(content_type="a", headers={"a": [1, {"b": "c"}], "t": datetime(2026, 1, 1)},
                               message_id="m", timestamp=7, app_id="app").encode())


def delivered(encoded: bytes) -> Any:
    return SimpleNamespace(exchange=b"\xe4", routing_key=b"\xe4", body=b"x",
                           properties=BasicProperties(**properties_in(encoded)))


@given(st.dictionaries(NAMES, FIELDS, max_size=5), st.none() | st.text(max_size=20, alphabet="abü"))
def test_what_the_client_can_decode_is_decoded_as_the_client_does(table: dict[str, Any], name: str | None) -> None:
    encoded = b"".join(BasicProperties(headers=table, message_id=name, priority=3, cluster_id=name).encode())
    assert BasicProperties(**properties_in(encoded)) == BasicProperties().decode(encoded)


@given(st.binary(max_size=200) | st.tuples(st.integers(0, len(ODD) - 1), st.binary(min_size=1, max_size=4)).map(
    lambda change: ODD[:change[0]] + change[1] + ODD[change[0] + len(change[1]):]))
def test_no_properties_keep_a_message_from_being_journalled(encoded: bytes) -> None:
    message = message_of(delivered(encoded), b"q", False, "")
    known_by(message)
    assert packed([message])
    assert (message.value, dict(message.headers)["amqp-routing-key"]) == (b"x", b"\xe4")


def nested(depth: int) -> bytes:
    inside = b"V"
    for _ in range(depth):
        inside = b"A" + len(inside).to_bytes(4) + inside
    return inside


@pytest.mark.parametrize(("value", "expected"), [
    (b"T" + (1_700_000_000_000).to_bytes(8), b"1700000000000"), (b"d\x7f\xf8" + bytes(6), b"nan"),
    (b"d" + bytes.fromhex("400599999999999a"), b"2.7"), (b"f\x7f\x80\0\0", b"inf"), (b"D\xff\0\0\0\1", b"1E-255"),
    (b"F\0\0\0\4\1\xe4I\0", b'{"headers":"SQA=","amqp-undecoded":"headers"}'), (b"?what", b"?what")])
def test_what_the_client_cannot_decode_is_text_or_the_bytes_that_it_is_and_what_is_beside_it_is_read(
    value: bytes, expected: bytes
) -> None:
    table = b"\1wS\0\0\0\1w" + b"\1h" + value
    encoded = b"\x20\x80" + len(table).to_bytes(4) + table + b"\2id"
    found = message_of(delivered(encoded), b"q", False, "")
    headers = dict(found.headers)
    assert (headers["w"], headers["amqp-message-id"]) == (b"w", b"id")
    assert headers["h"] == expected or b"\\xe4" in (headers["h"] or b"")
    assert (UNDECODED in headers) == (value == b"?what")


def test_tables_in_tables_are_read_so_deep_and_no_deeper() -> None:
    for depth in (3, 17, 5000):
        value = nested(depth)
        table = b"\1h" + value
        assert dict(message_of(delivered(b"\x20\0" + len(table).to_bytes(4) + table), b"q", False, "").headers)["h"]
