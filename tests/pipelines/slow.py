"""A pipeline that takes its time over every line. For tests of what waits."""

from __future__ import annotations

import time

from thresher import ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines
from thresher.sources import Files


def parse(line: bytes) -> bytes | None:
    """The line, in no hurry."""
    time.sleep(0.05)
    return line or None


PIPELINE = Pipeline(name="slow", source=Files(pattern="data/*.txt"), parse=parse, sinks={"store": Lines()},
                    dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
