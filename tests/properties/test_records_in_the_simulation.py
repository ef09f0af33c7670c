"""Records in the simulated world: what lines are promised is promised to them, with gaps, newlines and no values."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.testing import Faults
from tests.properties.record_worlds import RecordWorld, SideBySideRecordWorld
from tests.properties.simulator import check_everything, make_units, with_finish
from tests.properties.test_suspects_in_the_simulation import SuspiciousWorld, check_suspects, poisoned

SEEDS = range(40)


class SuspiciousRecordWorld(RecordWorld, SuspiciousWorld):
    """Records in a world whose supervisor accuses, holds and retires."""


def _simulate(world: RecordWorld) -> None:
    try:
        world.run()
        check_everything(world)
        world.check_letters()
    finally:
        world.close()


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_a_run_over_records_without_faults_does_everything_exactly_once(tmp_path: Path, fused: bool) -> None:
    world = RecordWorld(Faults(1), tmp_path, make_units(random.Random(1), 2, 100), fused)
    assert any(record.value is None for records in world.records.values() for record in records)
    _simulate(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_the_results_over_records_are_those_of_a_run_without_deaths(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 80))
    if seed % 3 == 0:
        units = with_finish(rng, units)
    faults = Faults(seed, kills=rng.randint(1, 30), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.1)
    kind = (RecordWorld, SideBySideRecordWorld)[seed // 2 % 2]
    _simulate(kind(faults, tmp_path, units, bool(seed % 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_of_poison_ends_alone_in_the_dead_letters_as_it_came(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units, poison = poisoned(rng, make_units(rng, rng.randint(1, 2), rng.randint(1, 60)), rng.randint(0, 2))
    faults = Faults(seed, kills=rng.randint(0, 10), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.05)
    world = SuspiciousRecordWorld(faults, tmp_path, units, bool(seed % 2), rng.randint(0, 20), rng.randint(0, 10))
    check_suspects(world, poison)
    world.check_letters()
