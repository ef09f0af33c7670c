"""numbers: clients send nine-digit numbers over TCP; each number is logged once, and counted every ten seconds.

    314159265\\n ──▶ the journal ──▶ distinct ──▶ numbers.log
    terminate\\n ──▶ no more input; what was accepted is logged, and the run ends

The source checks the form of every line as it comes in, and closes a client that sends anything else. So the functions
here see good lines; they check them all the same, since a journal, or another source, may hold others.

What a client sends behind ``terminate`` was received when it came in the same packet, and is logged like what came
before; of what comes later nothing is read.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Any

from thresher import (
    Aggregates,
    AggregatorOptions,
    Bulk,
    Curves,
    Distinct,
    Finish,
    FlowOptions,
    Fold,
    Panel,
    ParserOptions,
    Pipeline,
    Reject,
    RunOptions,
    Totals,
)
from thresher.sinks import DeadLetters, Lines, Packed, Stdout
from thresher.sources import Tcp

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

DIGITS = 9
_LINE_BYTES = DIGITS + 1
_KEY = ("numbers",)


def parse(line: bytes) -> int:
    """Nine decimal digits; leading zeros belong to the number."""
    if line.endswith(b"\r"):
        line = line[:-1]
    if line == b"terminate":
        raise Finish
    if len(line) != DIGITS or not line.isdigit():  # bytes' isdigit knows ASCII digits only
        raise Reject("not_a_number", f"expected {DIGITS} decimal digits, got {line[:40]!r}")
    return int(line)


def partials(values: list[int]) -> dict[tuple[Any, ...], list[Any]]:
    """The numbers, packed."""
    numbers = array("I", values)
    return {_KEY: [numbers.tobytes()]}


def bulk(data: bytes) -> Bulk | None:
    """All lines of a slice at once, if all of them are numbers."""
    import numpy as np

    count, rest = divmod(len(data), _LINE_BYTES)
    if rest or not count:
        return None
    digits = np.frombuffer(data, np.uint8).reshape(count, _LINE_BYTES)
    if (digits[:, DIGITS] != 0x0A).any():
        return None
    digits = digits[:, :DIGITS] - np.uint8(0x30)
    if (digits > 9).any():
        return None
    # Not as a product with the powers of ten: the library's threads, which it would go to, spin on all cores.
    numbers = digits[:, 0].astype("<u4")
    for column in range(1, DIGITS):
        numbers *= np.uint32(10)
        numbers += digits[:, column]
    return Bulk(read=count, partials={_KEY: [numbers.tobytes()]})


def emit(numbers: NDArray[np.uint32]) -> list[tuple[str, Packed]]:
    """New numbers as lines."""
    import numpy as np

    lines = np.empty((len(numbers), _LINE_BYTES), np.uint8)
    rest = numbers
    for column in range(DIGITS - 1, -1, -1):
        rest, digit = np.divmod(rest, np.uint32(10))
        lines[:, column] = digit
    lines += np.uint8(0x30)
    lines[:, DIGITS] = 0x0A
    return [("log", Packed(len(numbers), lines.tobytes()))]


def report(totals: Totals) -> list[tuple[str, str]]:
    """What is printed every ten seconds."""
    return [("report", f"Received {totals.new} unique numbers, {totals.duplicates} duplicates. "
             f"Unique total: {totals.total}")]


def since_the_report(aggregates: Aggregates) -> Curves:
    """What has come since the last report, for the dashboard."""
    totals = aggregates.totals or Totals(0, 0, 0)
    return Curves(values={"unique": totals.new, "duplicates": totals.duplicates}, unit="numbers")


PIPELINE = Pipeline(
    name="numbers",
    source=Tcp(port=4000, max_clients=5, line=r"[0-9]{9}|terminate", max_line_bytes=_LINE_BYTES),
    parse=parse,
    bulk=bulk,
    fold=Fold(partials=partials, keys=("kind",), fields=("numbers",)),
    distinct=Distinct(limit=10**DIGITS, emit=emit, report=report),
    sinks={"log": Lines(path="numbers.log"), "report": Stdout()},
    emit_sinks=("log", "report"),
    panel=Panel(title="Since the last report", draw=since_the_report),
    dead_letters=DeadLetters(),
    parser=ParserOptions(workers=1),
    aggregator=AggregatorOptions(report_s=10.0),
    flow=FlowOptions(batch_bytes=1 << 19, window_batches=32, window_bytes=8 << 20),
    run=RunOptions(resume=False),
)
