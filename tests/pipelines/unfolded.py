"""The smallest pipeline: nothing is folded."""

from __future__ import annotations

from thresher import Pipeline
from thresher.sinks import Discard
from thresher.sources import Files

PIPELINE = Pipeline(name="unfolded", source=Files(pattern="*.log"), parse=bytes.strip, sinks={"out": Discard()})
