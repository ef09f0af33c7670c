"""An origin that tells what happens to its batches, as spans.

    batch ●──delivered──failed──delivered──────────────────────────────● closed     root, from issue to close
             └─ delivery ✗ ┘                                                        only of one that failed
    batch ●──delivered──suspect──(three times)──split──────────────────● closed
                                            ├─ half ●──delivered──● closed          part of the root, linked to what
                                            └─ half ●──delivered──suspect──split    it was cut from
                                                                        ├─ half …

The root is open until all of the batch is closed, also when it is closed in halves, so the outcomes of the roots add up
to those of the run. All deliveries of a batch are in one trace, for the origin that holds the batch holds the span. It
is held in memory: the next generation of a reader delivers what is open in new traces.

A batch that is not sampled has no piece here and an empty header. When nothing is traced there is only ``Origin``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import msgspec

from actors.runtime.counts import Counts, merge
from actors.runtime.messages import Batch, BatchId, Late, Span
from actors.runtime.open_batch import NOTHING_LATE
from actors.runtime.origin import Origin
from actors.runtime.poison import Blame
from actors.runtime.tracing import Fact, Tracer
from actors.runtime.tracing import Span as TraceSpan
from actors.runtime.values import Chunk

#: A piece is known by its unit, start and end: chunks do not name their partition.
_Place = tuple[int, int, int]


class _Trace:
    """A traced batch, with all that it was split in.

    Attributes:
        open: pieces of it that are not closed.
        counts: outcomes of those that are.
    """

    __slots__ = ("counts", "open", "root")

    def __init__(self, root: TraceSpan) -> None:
        self.root = root
        self.open = 1
        self.counts: Counts = {}


class _Piece:
    """A traced batch, or a half of one. ``worker``: who has it, and has not answered."""

    __slots__ = ("deliveries", "sent_ns", "span", "trace", "worker")

    def __init__(self, trace: _Trace, span: TraceSpan) -> None:
        self.trace = trace
        self.span = span
        self.deliveries = 0
        self.sent_ns = 0
        self.worker = ""


class TracedOrigin(Origin):
    """See above.

    Args:
        tracer: whom spans are told to.
        generation, window_batches, window_bytes: see ``Origin``.
    """

    def __init__(self, tracer: Tracer, generation: int, window_batches: int, window_bytes: int) -> None:
        super().__init__(generation, window_batches, window_bytes)
        self._tracer = tracer
        self._pieces: dict[_Place, _Piece] = {}

    def issue(
        self, partition: str, chunk: Chunk, blame: Blame = Blame(), late: Mapping[int, Late] = NOTHING_LATE,  # noqa: B008
        may_cut: bool = False,
    ) -> None:
        """Open a batch; its trace begins, if it is sampled."""
        root = self._tracer.begin(
            "batch", partition=partition, start=chunk.start, end=chunk.end, source=chunk.source, unit=chunk.unit,
            bytes=len(chunk.data), fault=chunk.fault)
        if root is not None:
            self._pieces[_place(chunk)] = _Piece(_Trace(root), root)
        super().issue(partition, chunk, blame, late, may_cut)

    def assign(self) -> Iterator[tuple[str, Batch, bytes]]:
        """Yield what to send; the headers of traced batches name their spans."""
        for worker, header, data in super().assign():
            piece = self._pieces.get((header.unit, header.start, header.end))
            if piece is None:
                yield worker, header, data
                continue
            piece.deliveries += 1
            piece.worker, piece.sent_ns = worker, self._tracer.now_ns()
            piece.span.event("delivered", worker=worker, delivery=piece.deliveries, epoch=header.epoch)
            yield worker, msgspec.structs.replace(header, trace=piece.span.context), data

    def ack(self, key: BatchId, epoch: int, counts: Counts) -> bool:
        """Take an acknowledgement; whoever has the batch dies without it."""
        return self._noted(key, super().ack(key, epoch, counts), "acknowledged")

    def put_off(self, key: BatchId, epoch: int, worker: str, span: Span) -> bool:
        """Nothing can be made of a batch yet."""
        return self._noted(key, super().put_off(key, epoch, worker, span), "put_off")

    def again(
        self, key: BatchId, epoch: int, worker: str, late: tuple[Late, ...]
    ) -> tuple[Chunk, dict[int, Late]] | None:
        """A batch is to be delivered once more, with more in its header."""
        found = super().again(key, epoch, worker, late)
        self._noted(key, found is not None, "again")
        return found

    def failed(self, key: BatchId, epoch: int, worker: str, cause: str = "") -> bool:
        """What was made of a batch was lost."""
        is_news = super().failed(key, epoch, worker, cause)
        piece = self._piece(key)
        if is_news and piece is not None and piece.worker:  # else a suspicion has told it
            self._fell(piece, cause)
        return is_news

    def lost(self, worker: str) -> None:
        """A worker died, and its deliveries have failed."""
        self._all_fell(f"{worker} died", worker)
        super().lost(worker)

    def deliver_again(self) -> None:
        """Nobody has answered for long."""
        self._all_fell("no answer")
        super().deliver_again()

    def new_epoch(self) -> None:
        """An ordered consumer has a new generation: what is under way is delivered again."""
        self._all_fell("an ordered consumer has died")
        super().new_epoch()

    def void(self, name: str) -> list[Chunk]:
        """Another run goes on with a partition."""
        before = super().void(name)
        for chunk in before if self._pieces else ():
            if (piece := self._pieces.get(_place(chunk))) is not None:
                piece.worker = ""
                piece.span.event("handed_over")
        return before

    def replace(self, key: BatchId, instead: list[tuple[Chunk, Blame]]) -> None:
        """Somebody died with a batch: it is suspect, split, or given up."""
        piece, batch = self._piece(key), self._find(key)
        if piece is not None and batch is not None:
            blame = instead[0][1]
            if blame.reason:
                piece.span.event("suspect", deaths=batch.blame.marks + 1, reason=blame.reason,
                                 detail=blame.detail.partition("\n")[0])
            if piece.worker and not self.is_with_another(key) and (blame.reason or len(instead) > 1):
                self._fell(piece, blame.reason or "it takes too long")
            if len(instead) > 1:
                self._split(key, piece, [chunk for chunk, _ in instead])
        super().replace(key, instead)

    def advance(self) -> list[tuple[Chunk, Counts]]:
        """Close what is acknowledged; its spans are over."""
        closed = super().advance()
        for chunk, counts in closed if self._pieces else ():
            piece = self._pieces.pop(_place(chunk), None)
            if piece is not None:
                self._close(piece, counts)
        return closed

    def _piece(self, key: BatchId) -> _Piece | None:
        batch = self._find(key) if self._pieces else None
        return None if batch is None else self._pieces.get(_place(batch.chunk))

    def _noted(self, key: BatchId, is_news: bool, event: str) -> bool:
        piece = self._piece(key) if is_news else None
        if piece is not None:
            piece.worker = ""
            piece.span.event(event)
        return is_news

    def _all_fell(self, cause: str, worker: str = "") -> None:
        for piece in self._pieces.values():
            if piece.worker and worker in ("", piece.worker):
                self._fell(piece, cause)

    def _fell(self, piece: _Piece, cause: str) -> None:
        """A delivery has failed: that is a span of its own, so that it can be found."""
        piece.span.event("failed", worker=piece.worker, cause=cause)
        delivery = self._tracer.begin("delivery", piece.span.context, since_ns=piece.sent_ns, worker=piece.worker,
                                      delivery=piece.deliveries)
        if delivery is not None:
            delivery.end(cause or "failed")
        piece.worker = ""

    def _split(self, key: BatchId, piece: _Piece, halves: list[Chunk]) -> None:
        piece.span.event("split", halves=len(halves))
        trace = piece.trace
        trace.open += len(halves) - 1
        for chunk in halves:
            span = self._tracer.begin(
                "half", trace.root.context, piece.span.context, partition=key[0], start=chunk.start, end=chunk.end,
                source=chunk.source, unit=chunk.unit, bytes=len(chunk.data))
            if span is not None:
                self._pieces[_place(chunk)] = _Piece(trace, span)
        del self._pieces[halves[0].unit, key[1], key[2]]
        if piece.span is not trace.root:
            piece.span.end()

    def _close(self, piece: _Piece, counts: Counts) -> None:
        trace = piece.trace
        trace.open -= 1
        merge(trace.counts, counts)
        if piece.span is not trace.root:
            piece.span.end("", **_outcomes(counts))
        if not trace.open:
            trace.root.end("", **_outcomes(trace.counts))


def _place(chunk: Chunk) -> _Place:
    return chunk.unit, chunk.start, chunk.end


def _outcomes(counts: Counts) -> dict[str, Fact]:
    return {"records": counts.get("read", 0),
            **{f"outcome.{name}": number for name, number in counts.items() if name != "read"}}


def make_origin(tracer: Tracer, generation: int, window_batches: int, window_bytes: int) -> Origin:
    """Return an origin; one that traces, if this tracer does."""
    if tracer.is_on:
        return TracedOrigin(tracer, generation, window_batches, window_bytes)
    return Origin(generation, window_batches, window_bytes)
