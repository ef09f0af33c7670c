"""A pipeline whose input may be given again: numbers in a store with keys, and counted for each file."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from thresher import Fold, Pipeline, Reject
from thresher.sinks import DeadLetters, Lmdb
from thresher.sources import Files


def parse(line: bytes) -> int:
    """A number."""
    if not line.isdigit():
        raise Reject("number", f"expected a number, got {line!r}")
    return int(line)


def encode(number: int) -> tuple[bytes, bytes]:
    """Under itself."""
    return b"%d" % number, b"%d" % -number


def partials(values: Iterable[int], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """How many, and their sum, of each file."""
    numbers = list(values)
    return {(unit,): [len(numbers), sum(numbers)]}


PIPELINE = Pipeline(
    name="given", source=Files(pattern="data/*.txt"), parse=parse, encode=encode, sinks={"keyed": Lmdb()},
    fold=Fold(partials=partials, keys=("unit",), fields=("numbers", "sum")), dead_letters=DeadLetters())
