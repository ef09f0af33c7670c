"""The smallest pipeline there is: what ``thresher doctor`` runs to see whether runs work here at all."""

from __future__ import annotations

from actors.runtime.pipeline import Pipeline
from actors.runtime.sections import ParserOptions
from actors.sinks.dead_letters import DeadLetters
from actors.sinks.discard import Discard
from actors.sources.files import Files

#: Records of a self test.
RECORDS = 1000


def parse(line: bytes) -> int:
    """A number."""
    return int(line)


def route(value: int) -> str:
    """All to one sink."""
    return "nowhere"


PIPELINE = Pipeline(
    name="selftest", source=Files(rename="none"), parse=parse, route=route, sinks={"nowhere": Discard()},
    dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
