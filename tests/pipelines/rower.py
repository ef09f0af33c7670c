"""A pipeline that writes the words of its lines as rows. For tests of the sink ``sql``."""

from __future__ import annotations

import os
import time

import msgspec

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Sql
from thresher.sources import Files


class Options(msgspec.Struct, frozen=True):
    """``gate``: a file; numbers from ``GATED`` on wait until it is there, so that no run ends before; empty: none."""

    gate: str = ""


GATED = 10_000


def parse(line: bytes, options: Options) -> tuple[int, str]:
    """A number and a word."""
    number, _, word = line.partition(b" ")
    if not number.isdigit():
        raise Reject("number", f"expected a number, got {number!r}")
    while options.gate and int(number) >= GATED and not os.path.exists(options.gate):
        time.sleep(0.01)
    return int(number), word.decode()


def route(row: tuple[int, str]) -> str:
    """One table."""
    return "store"


PIPELINE = Pipeline(
    name="rower", source=Files(pattern="data/*.txt"), parse=parse, route=route,
    sinks={"store": Sql(table="rows", columns={"id": "integer", "name": "text"})}, dead_letters=DeadLetters(),
    options=Options())
