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

from actors.rabbitmq.properties import KEY, NONE, OURS, TIME_MS, record_of, seconds_of, table_of
from actors.runtime.framing import Record, pack_records, records_in

pytest.importorskip("pika")
from pika.spec import BasicProperties

NAMES = st.text(st.characters(exclude_categories=["Cs"]), max_size=20).filter(
    lambda name: name not in OURS and not name.startswith("x-"))
VALUES = st.none() | st.binary(max_size=30)


def over_the_wire(table: dict[str, Any], seconds: int | None) -> BasicProperties:
    """The client's own encoding, and back."""
    encoded = b"".join(BasicProperties(headers=table, timestamp=seconds).encode())
    return BasicProperties().decode(encoded)


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
