"""A pipeline whose functions print, as people's functions do when they look for a fault. For tests of output."""

from __future__ import annotations

import sys
import traceback

from actors.runtime.pipeline import Pipeline
from actors.runtime.sections import FlowOptions, ParserOptions
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.stdout import Stdout
from actors.sources.files import Files


def parse(line: bytes) -> bytes | None:
    """Say on both streams which line it is, a word at a time, and where something went wrong."""
    print("parsing", line.decode(), "next")
    print("parsing", line.decode(), "next", file=sys.stderr)
    try:
        int(line)
    except ValueError:
        traceback.print_exc()
    return line


def route(line: bytes) -> str:
    """One destination."""
    return "out"


def encode(line: bytes) -> bytes:
    """As it is."""
    return line


PIPELINE = Pipeline(name="talkative", source=Files(pattern="data/*.txt"), parse=parse, route=route, encode=encode,
                    sinks={"out": Stdout()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=2),
                    flow=FlowOptions(batch_bytes=100))
