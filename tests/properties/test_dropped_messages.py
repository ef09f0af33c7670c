"""Messages between living actors that are lost: the reader notices that nothing moves, and asks and delivers anew."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.testing import Faults
from tests.properties.simulator import World, make_units, simulate

SEEDS = range(150)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_message_is_dropped_repeated_or_overtaken_nothing_is_lost_and_nothing_done_twice(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 2), rng.randint(1, 80))
    faults = Faults(seed, kills=rng.randint(0, 5), stops=rng.randint(0, 3), delays=rng.randint(0, 20),
                    duplicates=0.02, drops=rng.choice((0.002, 0.01, 0.05)), outages=0.05)
    simulate(World(faults, tmp_path, units, fused=bool(seed % 2)))
