"""A pipeline that writes the words of its lines as rows. For tests of the sink ``sql``."""

from __future__ import annotations

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Sql
from thresher.sources import Files


def parse(line: bytes) -> tuple[int, str]:
    """A number and a word."""
    number, _, word = line.partition(b" ")
    if not number.isdigit():
        raise Reject("number", f"expected a number, got {number!r}")
    return int(number), word.decode()


def route(row: tuple[int, str]) -> str:
    """One table."""
    return "store"


PIPELINE = Pipeline(
    name="rower", source=Files(pattern="data/*.txt"), parse=parse, route=route,
    sinks={"store": Sql(table="rows", columns={"id": "integer", "name": "text"})}, dead_letters=DeadLetters())
