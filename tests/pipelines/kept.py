"""A pipeline that keeps numbers in Redis, the last one of each key, and where they are found by their hundreds."""

from __future__ import annotations

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Indexed, Redis
from thresher.sources import Files

#: Numbers with the same rest have one key.
KEYS = 500


def parse(line: bytes) -> int:
    """A number."""
    if not line.isdigit():
        raise Reject("number", f"expected a number, got {line!r}")
    return int(line)


def encode(number: int) -> Indexed:
    """Under its rest, in the set of its hundred."""
    return Indexed(b"%d" % (number % KEYS), b"%d" % number, number, (b"%d" % (number // 100),))


PIPELINE = Pipeline(
    name="kept", source=Files(pattern="data/*.txt", rename="none"), parse=parse, encode=encode,
    sinks={"store": Redis(url="redis://127.0.0.1:1", index="by-")}, dead_letters=DeadLetters())
