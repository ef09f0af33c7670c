"""A run that is paced, and ends with so many records, takes exactly those, whoever dies."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.reader import Reader
from actors.runtime.actor import Post
from actors.runtime.counts import merged
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.pacing import CountingLedger, Paced
from actors.runtime.units import LEDGER
from actors.testing.faults import Faults
from actors.testing.memory import MemorySink, MemorySource
from actors.testing.world import RUN, Shape, World
from thresher import Pipeline

PIPELINE = Pipeline(name="paced", source=MemorySource(), parse=bytes.upper, sinks={"out": MemorySink()},
                    dead_letters=MemorySink())


class PacedWorld(World):
    """A simulated run whose source is paced."""

    def __init__(self, units: dict[str, bytes], folder: Path, shape: Shape, faults: Faults, pace: tuple[float, int]
                 ) -> None:
        self.pace = pace
        super().__init__(PIPELINE, units, folder, shape, faults)

    def make_reader(self, post: Post, ledger: Ledger) -> Reader:
        """Make the role of a new reader."""
        ledger._connection.close()
        counting = self.files["reader.1"] = CountingLedger(self.folder / LEDGER, RUN)
        source = Paced(self.open_source(counting), counting, *self.pace, lambda: self.now)
        return Reader(post, self.manifest, counting, source)


@pytest.mark.parametrize("seed", range(40))
def test_the_first_so_many_records_are_done_exactly_once_whoever_dies(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    count, most = rng.randint(2, 60), rng.randint(1, 60)
    rows = [b"row %d" % number for number in range(count)]
    units = {f"unit {start}": b"".join(row + b"\n" for row in rows[start:start + 20]) for start in range(0, count, 20)}
    world = PacedWorld(
        units, tmp_path, Shape(batch_bytes=rng.choice([8, 100, 10_000]), workers=2, fused=True),
        Faults(seed, kills=rng.randint(0, 20), duplicates=0.02, outages=0.1), (rng.choice([0.0, 20.0, 1000.0]), most))
    world.run()
    assert world.stores["out"].items == [row.upper() for row in rows[:most]]
    counts = merged(unit.counts for unit in read_units(tmp_path / LEDGER, RUN))
    assert counts["read"] == counts["written"] == min(count, most)
    world.close()
