"""A pipeline that ends its input at the line ``end``. For tests of the end that an application asks for."""

from __future__ import annotations

from thresher import Finish, FlowOptions, ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def parse(line: bytes) -> bytes:
    """A line; or enough."""
    if line == b"end":
        raise Finish
    return line


def route(line: bytes) -> str:
    """One file."""
    return "store"


PIPELINE = Pipeline(name="finisher", source=Files(pattern="data/*.txt"), parse=parse, route=route,
                    sinks={"store": Lines()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=2),
                    flow=FlowOptions(batch_bytes=1000, window_batches=4))
