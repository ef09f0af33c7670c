"""A reader that is tested alone: a real ledger, a source that the test fills, and one worker that the test plays."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

from actors.reader import Reader
from actors.runtime.errors import Retryable
from actors.runtime.ledger import Ledger
from actors.runtime.manifest import Component, Manifest
from actors.runtime.messages import Ack, Again, Batch, Credit, InputDone, Late, Member, Message, Span
from actors.runtime.ports import Source
from actors.runtime.sections import BudgetOptions, FlowOptions, WindowOptions
from actors.runtime.values import Chunk, Unit
from actors.testing import MemorySink, UnorderedMemorySink
from tests.outbox import Outbox

RUN = "run"
WORKER = "parser.1#1"
DESTINATIONS = ("writer.dead_letters", "writer.a")


class Taps(Source):
    """Lines that come in when the test says so; each name is a unit of its own, from which line after line is read.

    ``alone``: each unit is a partition of its own; else those that begin share one.
    """

    endless = True

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.exhausted = False
        self.alone = True
        self.wake: int | None = 77
        self.lines: deque[tuple[str, bytes]] = deque()
        self.at: dict[str, tuple[Unit, int]] = {}
        self.stopped = 0
        self.open_ended: tuple[int, ...] = ()
        self.put_away: list[tuple[str, str]] = []
        self.problem = ""

    def come(self, *lines: str, unit: str = "a") -> None:
        self.lines += [(unit, f"{line}\n".encode()) for line in lines]

    def end(self, unit: str) -> None:
        self._ledger.end(*self.at[unit])

    def read(self) -> Chunk | None:
        if self.problem:
            raise Retryable(self.problem)
        if not self.lines:
            self.exhausted = bool(self.stopped)
            return None
        name, line = self.lines.popleft()
        if name not in self.at:
            unit = self._ledger.begin(name, "", self.alone)
            self._ledger.boundaries(unit)  # what the test says again it says by the same lines
            self.at[name] = unit, unit.low
        unit, start = self.at[name]
        self.at[name] = unit, start + len(line)
        return Chunk(unit.id, name, start, start + len(line), start, 1, line, lines=line.count(b"\n"))

    def finished(self, unit: Unit) -> None:
        self.put_away.append((unit.name, "done"))

    def failed(self, unit: Unit) -> None:
        self.put_away.append((unit.name, "failed"))

    def stop(self) -> None:
        self.stopped += 1

    def active(self) -> tuple[int, ...]:
        return self.open_ended

    def progress(self) -> tuple[int, int]:
        return 0, 0

    def close(self) -> None:
        """Nothing is held."""


def component(kind: type) -> Component[Any]:
    return Component(f"{kind.__module__}:{kind.__qualname__}", {})


class Stage:
    """A reader with its ledger, its source and one worker that acknowledges when the test says so."""

    def __init__(
        self, folder: Path, run: str = RUN, window: int = 3, emits: tuple[str, ...] = (),
        windows: WindowOptions | None = None, source: type[Taps] = Taps, folds: bool = False,
    ) -> None:
        self.path = folder / "positions.db"
        self.post = Outbox("reader.1", Member("parser.1", 1, "parser", "", False))
        self.ledger = Ledger(self.path, run)
        self.source = source(self.ledger)
        manifest = Manifest(
            run=run, name="t", app="", state=str(folder), source=component(Taps), sinks={"a": component(MemorySink)},
            dead_letters=component(UnorderedMemorySink), folds=folds, flow=FlowOptions(window_batches=window),
            budget=BudgetOptions(max_error_rate=0.5), emit_sinks=emits, windowed=windows is not None,
            window=windows or WindowOptions())
        self.reader = Reader(self.post, manifest, self.ledger, self.source)
        self.reader.roster([Member(name, 1, "writer", "", True) for name in DESTINATIONS], [])
        self.reader.message(WORKER, Credit(100), [])
        self.now = 0.0
        #: What is under way at the worker.
        self.batches: list[Batch] = []

    def work(self, times: int = 10) -> float | None:
        wait: float | None = 0.0
        for _ in range(times):
            wait = self.reader.work(self.now)
            self.now += 0.1
        self.batches += [message for _, message in self.post.sent if isinstance(message, Batch)]
        self.post.sent.clear()
        return wait

    def ack(self, **counts: int) -> None:
        """Acknowledge the oldest batch under way."""
        batch = self.batches.pop(0)
        counts = counts or {"read": 1, "written": 1}
        self.reader.message(WORKER, Ack(*batch.id, batch.epoch, counts), [])

    def again(self, span: Span | None = None, late: tuple[Late, ...] = ()) -> None:
        """Say that the oldest batch under way is needed again."""
        batch = self.batches.pop(0)
        self.reader.message(WORKER, Again(*batch.id, batch.epoch, span, late), [])

    @property
    def end(self) -> Message | None:
        """What the reader has said at its end."""
        return next((message for message in self.post.told if isinstance(message, InputDone)), None)
