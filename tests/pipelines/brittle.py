"""A pipeline whose consumers a record can kill: a sink of one's own in its ``write``, a shard in its ``merge``.

A line is ``key value``. Values that begin with ``write-`` are trouble for the writer, those with ``merge-`` for the
shard, ``emit-`` for who makes the rows of its window: what kind of trouble, see ``treacherous``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from tests.pipelines.treacherous import Options, trouble
from thresher import FlowOptions, Fold, ParserOptions, Pipeline, Window, WindowOptions, Windows, drop
from thresher.sinks import DeadLetters, Payload, Refusal, Sink, SinkOptions
from thresher.sources import Files


class Brittle(SinkOptions, frozen=True, kw_only=True):
    """Rows by key in a file of SQLite."""

    guarantee: ClassVar[str] = "by key: what is written again replaces itself"

    def adds(self) -> bool:
        return False

    def pack(self, items: Sequence[Any]) -> bytes:
        return msgspec.msgpack.encode(items)

    def open(self, name: str, state: Path) -> Sink:
        return BrittleSink(state / f"{name}.db")

    def describe(self) -> str:
        return "rows"


class Unordered(Brittle, frozen=True, kw_only=True):
    """The same, in any order."""

    ordered: ClassVar[bool] = False


class BrittleSink(Sink):
    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("CREATE TABLE IF NOT EXISTS stored (key TEXT PRIMARY KEY, value TEXT)")

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        self._connection.execute("BEGIN IMMEDIATE")
        for payload in payloads:
            for key, value in msgspec.msgpack.decode(payload.data):
                if value.startswith("write-"):
                    trouble(value.removeprefix("write-"), Options())
                self._connection.execute("INSERT OR REPLACE INTO stored VALUES (?, ?)", (key, value))
        self._connection.execute("COMMIT")
        return []

    def close(self) -> None:
        self._connection.close()


def parse(line: bytes) -> tuple[str, str]:
    """``key value``."""
    key, _, value = line.decode().partition(" ")
    return key, value


def partials(values: list[tuple[str, str]]) -> dict[tuple[object, ...], list[object]]:
    """How many, and what is to happen to the shard."""
    what = [value for _, value in values if value.startswith(("merge-", "emit-"))]
    return {("all",): [len(values), "".join(what[:1])]}


def merge(left: list[Any], right: list[Any]) -> list[Any]:
    """The sum; trouble in a shard, if there is to be any."""
    what = left[1] or right[1]
    if what.startswith("merge-") and b"aggregator" in Path("/proc/self/cmdline").read_bytes():
        trouble(what.removeprefix("merge-"), Options())
    return [left[0] + right[0], what]


def emit(window: Window, rows: list[tuple[tuple[str, ...], list[Any]]]) -> list[tuple[str, Any]]:
    """How many there were in a window."""
    ((_, (number, what)),) = rows
    if what.startswith("emit-"):
        trouble(what.removeprefix("emit-"), Options())
    return [("store", (str(window.start), str(number)))]


PIPELINE = Pipeline(
    name="brittle",
    source=Files(pattern="data/*.txt"),
    parse=parse,
    route=lambda value: "store",
    encode=lambda value: value,
    sinks={"store": Brittle()},
    dead_letters=DeadLetters(),
    parser=ParserOptions(workers=2),
    flow=FlowOptions(batch_bytes=8_000, window_batches=16),
)
UNORDERED = msgspec.structs.replace(PIPELINE, sinks={"store": Unordered()})
FOLDED = msgspec.structs.replace(
    PIPELINE, route=drop, sinks={}, fold=Fold(partials=partials, keys=("what",), fields=("n", "trouble"), merge=merge))
WINDOWS = msgspec.structs.replace(
    FOLDED, sinks={"store": Brittle()}, emit_sinks=("store",), window=WindowOptions(size_s=50),
    windows=Windows(time=lambda value: int(value[0][1:]) * 100, emit=emit))
