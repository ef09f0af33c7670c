"""A source as its reader uses it: with the real ledger, each range recorded before the next one is asked for."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from actors.runtime.framing import RECORDS, Record, records_in
from actors.runtime.ledger import Ledger
from actors.runtime.ports import Source, SourceOptions, unfit
from actors.runtime.units import LEDGER
from actors.runtime.values import Chunk, Revoked, Unit

#: A line, or the value of a record, or a record with all that it came with.
Given = bytes | Record | None
#: Seconds that nothing here takes.
_WATCHDOG_S = 20.0
#: Most milliseconds until the next look at a source that had nothing.
_LOOK_MS = 20


class Reading:
    """An opened source, and what it has handed out. Leaving it is the reader's death: nothing else is committed.

    Args:
        options: of the source.
        state: the state directory; the ledger in it is the real one.
        batch_bytes: size of a chunk, about.

    Attributes:
        chunks: what was handed out, in order.
        progress: what the source has said of it, before the first and after each.
        finished: the units that were said to be finished.
        ticks: when each tick came, and when the source wants the next.
        revoked: what it said is taken away from it.
        has_nothing_now: whether the last look found nothing.
    """

    def __init__(self, options: SourceOptions, state: Path, batch_bytes: int) -> None:
        self.options = options
        self.state = state
        self.chunks: list[Chunk] = []
        self.finished: list[Unit] = []
        self.ticks: list[tuple[float, float | None]] = []
        self.revoked: list[Revoked] = []
        self.has_nothing_now = False
        state.mkdir(parents=True, exist_ok=True)
        self.ledger = Ledger(state / LEDGER, "contract")
        try:
            self.source = options.open(self.ledger, batch_bytes, state)
            problem = unfit(self.source, Source, options)
            assert not problem, problem
            self.progress = [self.source.progress()]
        except BaseException:
            self.ledger.close_file()
            raise

    def __enter__(self) -> Reading:
        return self

    def __exit__(self, *exc: object) -> None:
        self.source.close()
        self.ledger.close_file()

    def read_until(self, is_so: Callable[[Reading], bool]) -> None:
        """Read until something is so.

        Raises:
            AssertionError: it never is.
        """
        end = time.monotonic() + _WATCHDOG_S
        while not is_so(self):
            assert time.monotonic() < end, (
                f"not within {_WATCHDOG_S:g} s: {len(self.chunks)} chunks, exhausted is {self.source.exhausted}")
            self._read_once()
            if self.has_nothing_now and not is_so(self):
                assert not self.source.exhausted, f"exhausted after {len(self.chunks)} chunks: expected more"
                self._wait()

    def commit(self, *chunks: Chunk) -> None:
        """All of these chunks is durable."""
        for chunk in chunks:
            self.ledger.close(chunk, {"read": 1 if chunk.fault else len(records_of(chunk))})
        self.ledger.commit()
        self.source.committed([unit for unit in self.ledger.taken_up() if unit.status == "reading"])

    def hand_over(self) -> list[Unit]:
        """Release all units that were said to be taken away; return them."""
        units = [unit for said in self.revoked for unit in said.units if not said.is_lost]
        for unit in units:
            self.ledger.hand_over(unit, unit.low, 0, is_lost=False)
        self.ledger.commit()
        self.source.released(units)
        self.revoked.clear()
        return units

    def finish(self) -> None:
        """All units are durable, within their budget, and put away, one after the other."""
        self.finished = self.finished or self.ledger.taken_up()
        for unit in self.finished:
            self.ledger.settle(unit, "loaded")
            self.source.finished(unit)
            self.ledger.settle(unit, "done")

    def fail(self) -> None:
        """All units have more errors than their budget allows."""
        for unit in self.ledger.taken_up():
            self.ledger.settle(unit, "failed")
            self.source.failed(unit)

    def tick(self) -> None:
        """What comes before each look at the source."""
        now = time.monotonic()
        self.ticks.append((now, self.source.tick(now)))
        for said in self.source.revoked():
            for unit in said.units if said.is_lost else ():
                if all(unit.id != each.id for each in self.ledger.taken_up()):
                    self.ledger.resume(unit, unit.name, unit.fingerprint)
                self.ledger.hand_over(unit, unit.low, 0, is_lost=True)
            self.revoked.append(said)

    def _read_once(self) -> None:
        self.tick()
        chunk = self.source.read()
        self.has_nothing_now = chunk is None
        if chunk is not None:
            self.chunks.append(chunk)
            self.ledger.issue(chunk)
            self.ledger.flush()
        self.progress.append(self.source.progress())

    def _wait(self) -> None:
        """Until the source wakes its reader, or for a moment."""
        wake = [] if self.source.wake is None else [self.source.wake]
        select.select(wake, [], [], _LOOK_MS / 1000)


def records_of(chunk: Chunk) -> Sequence[Given]:
    """What a chunk holds: its lines without their newlines, of which the last one of an input may have none; or its
    records."""
    if chunk.framing == RECORDS:
        return records_in(chunk.data)
    return chunk.data.removesuffix(b"\n").split(b"\n") if chunk.data else []
