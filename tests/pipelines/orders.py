"""A pipeline whose lines hold several words each: for one store, for the other, for both, or for none."""

from __future__ import annotations

from thresher import BudgetOptions, FlowOptions, Fold, Many, ParserOptions, Pipeline, Reject
from thresher.sinks import Lmdb
from thresher.sources import Files


def parse(line: bytes) -> Many[bytes]:
    """All its words; one with a question mark is none."""
    return Many([Reject("question") if word.endswith(b"?") else word for word in line.split()])


def route(word: bytes) -> str | tuple[str, ...] | None:
    """By its first letter."""
    routes: dict[bytes, str | tuple[str, ...]] = {b"l": "left", b"r": "right", b"b": ("left", "right")}
    return routes.get(word[:1])


def partials(words: list[bytes]) -> dict[tuple[str], list[int]]:
    """How many words there are."""
    return {("words",): [len(words)]}


PIPELINE = Pipeline(
    name="orders", source=Files(rename="none"), parse=parse, route=route, encode=lambda word: (word, b"here"),
    sinks={"left": Lmdb(), "right": Lmdb()}, fold=Fold(partials=partials, keys=("what",), fields=("number",)),
    parser=ParserOptions(workers=2), flow=FlowOptions(batch_bytes=4096), budget=BudgetOptions(max_error_rate=0.5))
