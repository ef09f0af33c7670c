"""What is seen of an item that a sink has refused: its key, headers and time, where the sink can take it apart."""

from __future__ import annotations

from typing import Any

import pytest

from actors.console.letters import fields
from actors.console.packed_items import item_in
from actors.runtime.framing import Record, envelope_of
from actors.runtime.manifest import Component, component_of
from actors.runtime.ports import SinkOptions
from actors.sinks.csv import Csv
from actors.sinks.dead_letters import StoredLetter
from actors.sinks.kafka import Kafka
from actors.sinks.lines import Lines
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.rabbitmq import RabbitMQ
from actors.sinks.sql import Sql
from actors.topics.blocks import Message

KAFKA, RABBITMQ = Kafka(topic="kafka://h:1/t"), RabbitMQ(topic="amqp://h:1/?queue=q")
MESSAGE = Message(b"value", b"\xff", 5, (("trace", b"7f"), ("none", None)))
SEEN = Record(-1, b"value", key=b"\xff", headers=(("trace", b"7f"), ("none", None)), time=5)


def letter(raw: bytes, stage: str = "writer.out", **more: Any) -> StoredLetter:
    return StoredLetter(1, "p", 0, "writer.out", 3, stage, "now", "too_large", "", "live/0", -1, -1, 0, "open", "", raw,
                        **more)


def sinks(options: SinkOptions) -> dict[str, Component[SinkOptions]]:
    return {"out": component_of(options)}


@pytest.mark.parametrize(("options", "item", "seen"), [
    (KAFKA, MESSAGE, SEEN), (RABBITMQ, MESSAGE, SEEN),
    (KAFKA, ("key", None), Record(-1, None, key=b"key")), (RABBITMQ, "alone", Record(-1, b"alone")),
    (Lmdb(), (b"k" * 600, b"v"), Record(-1, b"v", key=b"k" * 600)), (Lmdb(), (b"k", None), Record(-1, None, key=b"k")),
    (Memcached(server="h:1"), (b"k", b"v"), Record(-1, b"v", key=b"k")),
    (Sql(columns={"a": "text"}), ("x",), None), (Lines(), b"line", None),
    (Csv(columns=["a", "b"]), ("x", "y"), None)])
def test_what_a_sink_can_take_apart_is_seen(options: SinkOptions, item: Any, seen: Record | None) -> None:
    assert item_in(letter(options.pack([item])), sinks(options)) == seen


@pytest.mark.parametrize("options", [KAFKA, RABBITMQ, Lmdb(), Memcached(server="h:1"), Sql(columns={"a": "text"})])
@pytest.mark.parametrize("raw", [b"", b"\xff\x00 nothing of the kind", b"set a 0 0 9\r\n"])
def test_bytes_that_another_sink_has_packed_are_shown_as_bytes_alone(options: SinkOptions, raw: bytes) -> None:
    assert item_in(letter(raw), sinks(options)) is None


def test_a_letter_of_no_writer_or_of_a_sink_that_is_not_there_any_more_has_no_item() -> None:
    raw = KAFKA.pack([MESSAGE])
    assert item_in(letter(raw, "checker"), sinks(KAFKA)) is None
    assert item_in(letter(raw, "writer.other"), sinks(KAFKA)) is None
    assert item_in(letter(raw, envelope=envelope_of(Record(0, raw, key=b"k"))), sinks(KAFKA)) is None


def test_machines_are_told_it_beside_the_bytes() -> None:
    data = fields(letter(b"x"), SEEN)
    assert data["packed"] == {
        "time": 5, "key": {"encoding": "base64", "value": "/w=="},
        "headers": [{"name": "trace", "encoding": "utf-8", "value": "7f"},
                    {"name": "none", "encoding": None, "value": None}]}
    assert (data["item"], data["record"], data["raw"]) == (3, None, "x")
    assert fields(letter(b"x"))["packed"] is None
