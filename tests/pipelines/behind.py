"""A pipeline that follows the topic of a test and stores each message under its key in a memcached that may be down."""

from __future__ import annotations

from typing import Any

from thresher import Pipeline, Record
from thresher.sinks import DeadLetters, Memcached
from thresher.sources import Topic


def parse(value: bytes | None, record: Record) -> Any:
    """Key and value."""
    return record.key, value


PIPELINE = Pipeline(
    name="behind", source=Topic(topics=["topic:../topic"], poll_s=0.05), parse=parse,
    sinks={"store": Memcached(server="127.0.0.1:1")}, dead_letters=DeadLetters())
