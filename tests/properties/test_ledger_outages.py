"""A ledger that cannot be written for a while, at the end of a drain: the reader waits, as in the middle of a run."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from actors.runtime.ledger import Ledger
from actors.testing import Faults
from tests.properties.simulator import World


def test_a_reader_that_cannot_commit_the_end_of_its_drain_tries_again(tmp_path: Path) -> None:
    lines = "\n".join(f"k{number % 5}={number:050}" for number in range(100))
    world = World(Faults(1), tmp_path, [("unit", lines.encode())], fused=True)
    try:
        while world.alive["reader.1"].slot.batches < 10:
            world.deliver()
            for actor in world.alive.values():
                actor.role.work(0.0)
        ledger = world.files["reader.1"]
        assert isinstance(ledger, Ledger)
        ledger._connection.execute("PRAGMA busy_timeout=0")
        other = sqlite3.connect(tmp_path / "positions.db", isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        reader = world.alive["reader.1"]
        reader.role.drain()
        for _ in range(2000):  # time stands still, so that nothing is committed before the end
            world.deliver()
            for actor in world.alive.values():
                actor.role.work(0.0)
        assert reader.slot.note == f"positions: {tmp_path}/positions.db: database is locked"
        assert not world.done
        other.close()
        reader.role.work(10.0)
        assert world.done
        assert reader.slot.note == ""
    finally:
        world.close()
