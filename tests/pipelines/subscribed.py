"""A pipeline that follows the topic of ``published``: its numbers as lines, and summed up by key."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thresher import Fold, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Topic


def parse(value: bytes, record: Any) -> tuple[str, int]:
    """Key and number."""
    return record.key.decode(), int(value)


def encode(value: tuple[str, int]) -> str:
    """As a line."""
    return f"{value[0]} {value[1]}"


def partials(values: Iterable[tuple[str, int]]) -> dict[tuple[Any, ...], list[Any]]:
    """How many, and their sum, by key."""
    sums: dict[tuple[Any, ...], list[Any]] = {}
    for key, number in values:
        found = sums.setdefault((key,), [0, 0])
        found[0] += 1
        found[1] += number
    return sums


PIPELINE = Pipeline(
    name="subscribed", source=Topic(topics=["topic:../topic"], poll_s=0.05), parse=parse, encode=encode,
    fold=Fold(partials=partials, keys=("key",), fields=("numbers", "sum")), sinks={"lined": Lines()},
    dead_letters=DeadLetters())
