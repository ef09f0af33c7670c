"""A pipeline whose sink takes its time to open: until the file that ``LATE`` names is there. For tests of starts."""

from __future__ import annotations

import os
import threading
from pathlib import Path

from thresher import ParserOptions, Pipeline
from thresher.sinks import DeadLetters, Lines, Sink
from thresher.sources import Files


class Late(Lines, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Lines, later."""

    def open(self, name: str, state: Path) -> Sink:
        """Wait, then open it."""
        while not Path(os.environ["LATE"]).exists():
            threading.Event().wait(0.01)
        return super().open(name, state)


def parse(line: bytes) -> bytes | None:
    """A line that is not blank."""
    return line or None


def route(line: bytes) -> str:
    """One file."""
    return "store"


def encode(line: bytes) -> bytes:
    """As it is."""
    return line


PIPELINE = Pipeline(name="latecomer", source=Files(pattern="data/*.txt"), parse=parse, route=route, encode=encode,
                    sinks={"store": Late()}, dead_letters=DeadLetters(), parser=ParserOptions(workers=1))
