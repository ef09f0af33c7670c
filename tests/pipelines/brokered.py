"""Pipelines that read numbers from Kafka: `PIPELINE` writes lines and sums up, `GROUPED` (of a group, which cannot
fold) writes them by key."""

from __future__ import annotations

from typing import Any

from tests.pipelines.subscribed import encode, partials
from thresher import Fold, Pipeline, Reject
from thresher.sinks import DeadLetters, Lines, Lmdb
from thresher.sources import Kafka


def parse(value: bytes | None, record: Any) -> tuple[str, int]:
    """Key and number."""
    if value is None or not value.isdigit():
        raise Reject("number", f"expected a number, got {value!r}")
    return (record.key or b"").decode(), int(value)


def keyed(value: tuple[str, int]) -> tuple[bytes, bytes]:
    """By number."""
    return b"%d" % value[1], value[0].encode()


PIPELINE = Pipeline(
    name="brokered", source=Kafka(topics=["kafka://127.0.0.1:1/numbers"], look_s=0.1), parse=parse, encode=encode,
    fold=Fold(partials=partials, keys=("key",), fields=("numbers", "sum")), sinks={"lined": Lines()},
    dead_letters=DeadLetters())

GROUPED = Pipeline(
    name="grouped", source=Kafka(topics=["kafka://127.0.0.1:1/numbers"], look_s=0.1), parse=parse, encode=keyed,
    sinks={"keyed": Lmdb()}, dead_letters=DeadLetters())
