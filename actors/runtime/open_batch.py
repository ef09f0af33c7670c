"""What an origin knows of each open batch, and of each partition that has some.

Pure: no clock, no socket, no file.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType

import msgspec

from actors.runtime.counts import Counts
from actors.runtime.messages import Batch, BatchId, Late, Span
from actors.runtime.poison import Blame
from actors.runtime.values import Chunk

#: Of a batch that was never refused.
NOTHING_LATE: Mapping[int, Late] = MappingProxyType({})


class State(Enum):
    """Where an open batch is."""

    QUEUED = "queued"
    SENT = "sent"
    ACKED = "acked"
    PUT_OFF = "put off"


class Open:
    """One open batch. The halves of one that is split keep its ``turn`` (order of issue), and what is ``late``.

    ``since``: the epoch from which on it was delivered as it is now; what answers an earlier delivery is void.
    ``fell``: somebody died with it, and nobody has been told to suspect it since. ``deliveries``: how many there were.
    ``may_cut``: no reader before this one has delivered it, and it is not to stay whole.
    """

    __slots__ = ("blame", "chunk", "counts", "deliveries", "fell", "late", "may_cut", "since", "span", "state",
                 "timeless", "turn", "worker")

    def __init__(self, chunk: Chunk, blame: Blame, turn: int, late: dict[int, Late], since: int, may_cut: bool) -> None:
        self.chunk = chunk
        self.blame = blame
        self.turn = turn
        self.late = late
        self.since = since
        self.span: Span | None = None
        self.timeless = self.fell = False
        self.state = State.QUEUED
        self.worker = ""
        self.counts: Counts = {}
        self.deliveries = 0
        self.may_cut = may_cut

    def may_return(self) -> bool:
        """Whether who has it may give it back, to be cut: of what was delivered before, something may have come, and a
        sink that has refused a record of it would refuse it again, in a piece."""
        return self.may_cut and self.deliveries == 1

    def header(
        self, partition: str, low: int, epoch: int, roster: int, roll: int, active: tuple[int, ...],
        anchor: int | None, give_back_s: float, silences: int
    ) -> Batch:
        """What is said of it when it is delivered; what the origin says of all batches is given."""
        chunk = self.chunk
        return Batch(
            partition=partition, start=chunk.start, end=chunk.end, epoch=epoch, low=low, roster=roster,
            unit=chunk.unit, source=chunk.source, offset=chunk.offset, line=chunk.line, fault=chunk.fault,
            detail=chunk.detail, lines=chunk.lines, roll=roll, active=active,
            anchor=0 if anchor is None and self.timeless else anchor,
            late=tuple(self.late[shard] for shard in sorted(self.late)), framing=chunk.framing, only=chunk.only,
            give_back_s=give_back_s * self.may_return(), seen_ms=chunk.seen_ms,
            care=None if chunk.fault else self.blame.care(), silences=silences)

    def empty(self, epoch: int) -> None:
        """Nothing is in it any more; what answers a delivery before this epoch is void."""
        self.chunk = msgspec.structs.replace(
            self.chunk, data=b"", fault="", detail="", lines=0, prefix="", framing="", only="")
        self.since = epoch
        self.counts = {}
        self.late.clear()
        self.fell = self.may_cut = False


class Partition:
    """The open batches of one partition, in source order.

    Attributes:
        low: position below which everything is closed.
        committed_low: position below which everything is closed and committed: what consumers are told, and may forget.
        tip: position behind the last batch.
    """

    __slots__ = ("committed_low", "low", "open", "tip")

    def __init__(self, low: int) -> None:
        self.low = self.committed_low = self.tip = low
        self.open: dict[BatchId, Open] = {}
