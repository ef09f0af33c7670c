"""A pipeline that ends its input at the line ``end``. For tests of the end that an application asks for."""

from __future__ import annotations

from actors.runtime.errors import Finish
from actors.runtime.pipeline import FlowOptions, ParserOptions, Pipeline
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.lines import Lines
from actors.sources.files import Files


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
