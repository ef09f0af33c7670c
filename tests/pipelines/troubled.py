"""A pipeline in which one role can be made to fall once, in the middle of a load. For tests of faults.

The environment says who and how: ``TROUBLE="WHO WHAT MARK"``, WHO being an actor without its number. The
trouble is made when a line of ``LINES_OF_TROUBLE`` comes by, and only as long as the file MARK does not exist. A
``gate`` is no fault: there the load waits for the file ``MARK.open``.

A line is ``key number``. A writer falls after it has written and before it has said so; a reader after it has read.
"""

from __future__ import annotations

import ctypes
import os
import re
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from thresher import CheckerOptions, FlowOptions, Fold, ParserOptions, Pipeline, Reject, progress
from thresher.sinks import DeadLetters, Lmdb, Payload, Refusal, Sink
from thresher.sources import Chunk, Files, Source, Unit, UnitLedger

RECORDS = 6000
KEYS = 997
_TROUBLE = b"trouble"
#: One that is stored, and one that is rejected.
LINES_OF_TROUBLE = {3000: b"trouble 3000", 3020: b"trouble"}
Value = tuple[bytes, int]


def line(number: int) -> bytes:
    """The line of this number: to be stored (a key comes again and again), rejected, filtered, or only folded."""
    if number in LINES_OF_TROUBLE:
        return LINES_OF_TROUBLE[number]
    match number % 20:
        case 0:
            return b"bad%d" % number
        case 7:
            return b"skip %d" % number
        case 13:
            return b"fold %d" % number
    return b"k%d %d" % (number % KEYS, number)


def trouble(who: str, data: bytes | memoryview) -> None:
    """Make trouble if it is this actor's, a line of trouble is in ``data``, and it was not made before."""
    told = os.environ.get("TROUBLE", "").split()
    if told[:1] != [who] or _TROUBLE not in bytes(data):
        return
    try:
        Path(told[2]).touch(exist_ok=False)
    except FileExistsError:
        return
    match told[1]:
        case "segfault":
            ctypes.string_at(0)
        case "deadlock":
            lock = threading.Lock()
            lock.acquire()
            lock.acquire()
        case "loop":
            while True:
                pass
        case "regex":  # holds the GIL from its beginning to its end
            re.match(r"(a+)+$", "a" * _letters_for(1.6) + "b")
        case "gate":
            while not Path(f"{told[2]}.open").exists():
                threading.Event().wait(0.005)
                progress()
        case unknown:
            raise AssertionError(f"no such trouble: {unknown}")


def _letters_for(seconds: float) -> int:
    """So many letters keep that expression busy for this long or up to twice as long, on this machine."""
    letters, began = 18, time.process_time()
    re.match(r"(a+)+$", "a" * letters + "b")
    took = time.process_time() - began
    while took < seconds:
        letters, took = letters + 1, 2 * took
    return letters


def parse(raw: bytes) -> Value:
    """``key number``."""
    trouble("parser", raw)
    key, blank, number = raw.partition(b" ")
    if not blank:
        raise Reject("form", "no blank")
    return key, int(number)


def check(value: Value) -> Value | None:
    """Filter ``skip``."""
    trouble("checker", value[0])
    return None if value[0] == b"skip" else value


def route(value: Value) -> Any:
    """One store; ``fold`` is in no store."""
    return None if value[0] == b"fold" else "store"


def encode(value: Value) -> tuple[bytes, bytes]:
    """The number as text."""
    return value[0], b"%d" % value[1]


def partials(values: list[Value], unit: int) -> dict[tuple[object, ...], list[int]]:
    """Records, their sum and those of trouble, by the remainder of three."""
    found: dict[tuple[object, ...], list[int]] = {}
    for key, number in values:
        sums = found.setdefault((number % 3,), [0, 0, 0])
        found[number % 3,] = [sums[0] + 1, sums[1] + number, sums[2] + (key == _TROUBLE)]
    return found


def merge(left: list[int], right: list[int]) -> list[int]:
    """Sums. A batch is one slice, so checkers never call it."""
    if right[2]:
        trouble("aggregator", _TROUBLE)
    return [a + b for a, b in zip(left, right, strict=True)]


class TroubledFiles(Files, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Files whose reader can fall."""

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:  # type: ignore[override]
        """Open them."""
        return _TroubledSource(super().open(ledger, batch_bytes, state))


class _TroubledSource(Source):
    def __init__(self, source: Source) -> None:
        self._source = source
        self.exhausted = source.exhausted

    def read(self) -> Chunk | None:
        chunk = self._source.read()
        self.exhausted = self._source.exhausted
        trouble("reader", b"" if chunk is None else chunk.data)
        return chunk

    def finished(self, unit: Unit) -> None:
        self._source.finished(unit)

    def progress(self) -> tuple[int, int]:
        return self._source.progress()

    def close(self) -> None:
        self._source.close()


class TroubledLmdb(Lmdb, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A store whose writer can fall."""

    def open(self, name: str, state: Path) -> Sink:
        """Open it."""
        return _TroubledSink(f"writer.{name}", super().open(name, state))


class TroubledLetters(DeadLetters, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A dead-letter store whose writer can fall."""

    def open(self, name: str, state: Path) -> Sink:
        """Open it."""
        return _TroubledSink(f"writer.{name}", super().open(name, state))


class _TroubledSink:
    def __init__(self, who: str, sink: Sink) -> None:
        self._who = who
        self._sink = sink

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        refusals = self._sink.write(payloads)
        for payload in payloads:
            trouble(self._who, payload.data)
        return refusals

    def close(self) -> None:
        self._sink.close()


PIPELINE = Pipeline(
    name="troubled",
    source=TroubledFiles(pattern="data/*.txt"),
    parse=parse,
    check=check,
    route=route,
    encode=encode,
    sinks={"store": TroubledLmdb(sync=False)},
    dead_letters=TroubledLetters(),
    fold=Fold(partials=partials, keys=("remainder",), fields=("records", "sum", "trouble"), merge=merge),
    parser=ParserOptions(workers=2),
    checker=CheckerOptions(workers=2),
    flow=FlowOptions(batch_bytes=600, window_batches=16),
)
