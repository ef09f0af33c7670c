"""A pipeline that publishes numbers to a topic beside its state directory, by key."""

from __future__ import annotations

from thresher import Pipeline, Reject
from thresher.sinks import DeadLetters, Topic
from thresher.sources import Files

#: Numbers with the same rest have one key.
KEYS = 7


def parse(line: bytes) -> int:
    """A number."""
    if not line.isdigit():
        raise Reject("number", f"expected a number, got {line!r}")
    return int(line)


def encode(number: int) -> tuple[bytes, bytes]:
    """Under its rest."""
    return b"%d" % (number % KEYS), b"%d" % number


PIPELINE = Pipeline(
    name="published", source=Files(pattern="data/*.txt", rename="none"), parse=parse, encode=encode,
    sinks={"words": Topic(topic="topic:../topic", partitions=2, segment_bytes=2000)}, dead_letters=DeadLetters())
