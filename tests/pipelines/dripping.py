"""Lines from TCP into a sink that is as slow as it is told to be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from thresher import FlowOptions, ParserOptions, Pipeline, extend
from thresher.sinks import DeadLetters, Payload, Refusal, Sink, SinkOptions
from thresher.sources import Tcp


class Slow(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Throws everything away, slowly.

    Attributes:
        seconds: for each call.
    """

    ordered: ClassVar[bool] = True
    guarantee: ClassVar[str] = "none"

    seconds: float = 0.5

    def pack(self, items: Sequence[Any]) -> bytes:
        """Join the lines."""
        return b"\n".join(items)

    def open(self, name: str, state: Path) -> Sink:
        """Open the sink."""
        return _Slow(self.seconds)

    def describe(self) -> str:
        """Say what it is."""
        return "slow"


class _Slow:
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Take so long for each payload."""
        for _ in payloads:
            extend(self._seconds + 5)
            time.sleep(self._seconds)
        return []

    def close(self) -> None:
        """Nothing is held."""


def parse(line: bytes) -> bytes:
    """The line itself."""
    return line


def route(line: bytes) -> str:
    """All to one."""
    return "slow"


PIPELINE = Pipeline(
    name="dripping", source=Tcp(port=0), parse=parse, route=route, sinks={"slow": Slow()}, dead_letters=DeadLetters(),
    parser=ParserOptions(workers=1),
    flow=FlowOptions(batch_bytes=64 * 1024, window_batches=16, window_bytes=1024 * 1024))
