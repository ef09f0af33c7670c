"""A pipeline that writes what TCP clients send, line by line. For tests of sources without end."""

from __future__ import annotations

from thresher import Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Tcp


def parse(line: bytes) -> bytes:
    """A line as it is."""
    return line


def route(line: bytes) -> str:
    """One file."""
    return "store"


PIPELINE = Pipeline(name="listener", source=Tcp(port=0, line="[0-9]{9}|terminate", max_line_bytes=10), parse=parse,
                    route=route, sinks={"store": Lines(sync=False)}, dead_letters=DeadLetters())
