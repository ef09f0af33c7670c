"""Outcome counts when the reader dies between closing a range and committing it."""

from __future__ import annotations

from pathlib import Path

from actors.testing import Faults
from actors.testing.inline import result_of
from tests.properties.simulator import World, check_everything


def test_what_a_sink_refused_of_a_closed_range_is_not_counted_as_written_when_the_reader_dies_uncommitted(
    tmp_path: Path,
) -> None:
    lines = [f"k{number % 5}={number:050}" for number in range(200)]  # so long that each is a batch of its own
    lines[0] = f"k0={'refuse'}"
    world = World(Faults(1), tmp_path, [("unit", "\n".join(lines).encode())], fused=True)
    try:
        while world.alive["reader.1"].slot.batches < 20:  # time stands still, so nothing is committed
            world.deliver()
            for actor in world.alive.values():
                actor.role.work(0.0)
        world.kill("reader.1")
        world.start("reader.1")
        world.run()
        assert result_of(world).counts["rejected.refused"] == 1
        check_everything(world)
    finally:
        world.close()
