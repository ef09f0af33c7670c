"""A source without end that has lost some of its records before they were read, and whose tick may block."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

from thresher import Pipeline
from thresher.sinks import Lines
from thresher.sources import Chunk, Source, SourceOptions, UnitLedger

#: What there is: lines by their numbers; those from 3 to 40 are gone.
GONE, END = range(3, 40), 50


class Losing(SourceOptions, frozen=True, kw_only=True):
    """See above. ``blocks``: as long as there is such a file a tick does not come back."""

    guarantee: ClassVar[str] = "read again"
    max_outage_s: ClassVar[float] = 0.0

    blocks: str = ""

    def open(self, ledger: UnitLedger, batch_bytes: int, state: Path) -> Source:
        return LosingSource(self, ledger)

    def describe(self) -> str:
        return "what is left"


class LosingSource(Source):
    endless = True

    def __init__(self, options: Losing, ledger: UnitLedger) -> None:
        self.blocks = Path(options.blocks) if options.blocks else None
        self.unit = ledger.begin("topic/0", "losing", alone=True)
        self.at = self.unit.low

    def tick(self, now: float) -> float | None:
        while self.blocks is not None and self.blocks.exists():
            time.sleep(0.01)
        return now + 0.05

    def read(self) -> Chunk | None:
        start, self.exhausted = self.at, self.at == END
        if self.exhausted:
            return None
        if start in GONE:
            self.at = GONE.stop
            return Chunk(self.unit.id, "topic/0", start, self.at, start, 1 + start, b"", "source_lost",
                         f"{self.at - start} records are gone: retention took them")
        self.at += 1
        return Chunk(self.unit.id, "topic/0", start, self.at, start, 1 + start, b"%d\n" % start)


PIPELINE = Pipeline(name="losing", source=Losing(), parse=bytes.strip, sinks={"out": Lines()})
