"""A pipeline that writes down what its actors find in their environment. For tests of services."""

from __future__ import annotations

import os

from thresher import ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def parse(name: bytes) -> bytes | None:
    """A line is the name of a variable."""
    return name or None


def route(name: bytes) -> str:
    """One file."""
    return "store"


def encode(name: bytes) -> bytes:
    """What the variable is here."""
    return name + b"=" + os.environ.get(name.decode(), "unset").encode()


PIPELINE = Pipeline(name="nosy", source=Files(pattern="data/*.txt"), parse=parse, route=route, encode=encode,
                    sinks={"store": Lines()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
