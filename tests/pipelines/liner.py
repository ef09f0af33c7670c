"""A pipeline that writes its lines as they are. For tests of sinks."""

from __future__ import annotations

from thresher import Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def parse(line: bytes) -> bytes | None:
    """A line that is not blank."""
    return line or None


def route(line: bytes) -> str:
    """One file."""
    return "store"


def encode(line: bytes) -> bytes:
    """As it is."""
    return line


PIPELINE = Pipeline(name="liner", source=Files(pattern="data/*.txt"), parse=parse, route=route, encode=encode,
                    sinks={"store": Lines()}, dead_letters=DeadLetters())
