"""A pipeline that reads the topic of a test: each message to a store and to a table, and tombstones delete in both."""

from __future__ import annotations

from typing import Any

from thresher import Many, Pipeline, Record
from thresher.sinks import DeadLetters, Deleted, Lmdb, Sql
from thresher.sources import Topic


def parse(value: bytes | None, record: Record) -> Any:
    """The key, and the value or none, for both sinks. What has no key raises, and so does a value that is none."""
    assert record.key is not None
    if value is not None:
        value.decode("ascii")
    return Many([("store", record.key, value), ("table", record.key, value)])


def parse_values(value: bytes, record: Record) -> Any:
    """The same, of one who has not thought of tombstones."""
    return ("store", record.key, value.upper())


def route(value: tuple[str, bytes, bytes | None]) -> str:
    """The sink."""
    return value[0]


def encode(value: tuple[str, bytes, bytes | None]) -> Any:
    """As each sink takes it."""
    sink, key, data = value
    if sink == "store":
        return key, data
    return Deleted(key.decode()) if data is None else (key.decode(), data.decode())


SOURCE = Topic(topics=["topic:../topic"], follow=False)
PIPELINE = Pipeline(
    name="erased", source=SOURCE, parse=parse, route=route, encode=encode, dead_letters=DeadLetters(),
    sinks={"store": Lmdb(), "table": Sql(columns={"key": "text", "value": "text"}, key=["key"])})
VALUES = Pipeline(
    name="values", source=SOURCE, parse=parse_values, route=route, encode=encode, dead_letters=DeadLetters(),
    sinks={"store": Lmdb()})
