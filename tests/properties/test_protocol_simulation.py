"""The protocol holds its promises in a simulated world of delays, repetitions and deaths."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.testing import Faults
from tests.properties.simulator import (
    AnchoredWorld,
    InterleavedWorld,
    World,
    make_units,
    simulate,
    with_disorder,
    with_finish,
)

SEEDS = range(150)


@pytest.mark.parametrize("fused", [True, False], ids=["fused", "unfused"])
def test_a_run_without_faults_does_everything_exactly_once(tmp_path: Path, fused: bool) -> None:
    simulate(World(Faults(1), tmp_path, make_units(random.Random(1), 2, 100), fused))


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_whenever_the_results_are_those_of_a_run_without_deaths(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 150))
    faults = Faults(seed, kills=rng.randint(1, 40), duplicates=0.02, outages=0.1)
    simulate(World(faults, tmp_path, units, fused=bool(seed % 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_actors_that_stand_still_and_links_that_lag_change_nothing(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 100))
    faults = Faults(seed, kills=rng.randint(0, 10), stops=rng.randint(1, 10), delays=rng.randint(1, 60),
                    duplicates=0.05, outages=0.1)
    simulate(World(faults, tmp_path, units, fused=bool(seed % 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_units_that_are_partitions_of_their_own_and_grow_late_are_each_in_order_whoever_dies(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    units = [unit for number in range(rng.randint(1, 6)) for unit in make_units(rng, 1, rng.randint(1, 60))]
    units = [(f"unit-{number}", data) for number, (_, data) in enumerate(units)]
    faults = Faults(seed, kills=rng.randint(0, 30), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.1)
    simulate(InterleavedWorld(faults, tmp_path, units, fused=bool(seed % 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_when_a_record_asks_for_the_end_all_that_was_accepted_is_done_exactly_once_whoever_dies(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    units = with_finish(rng, make_units(rng, rng.randint(1, 4), rng.randint(1, 80)))
    faults = Faults(seed, kills=rng.randint(0, 30), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.1)
    kind = (World, InterleavedWorld)[seed // 2 % 2]
    simulate(kind(faults, tmp_path, units, fused=bool(seed % 2)))


@pytest.mark.parametrize("seed", SEEDS)
def test_the_anchor_is_the_least_time_whoever_dies_and_nothing_is_made_of_a_batch_before(
    tmp_path: Path, seed: int
) -> None:
    rng = random.Random(seed)
    disorder = rng.randint(0, 12)
    units = with_disorder(rng, make_units(rng, rng.randint(1, 3), rng.randint(1, 80)), disorder)
    times = [int(line.partition(b"=")[2]) for _, data in units for line in data.split(b"\n")
             if line.partition(b"=")[2].isdigit()]
    faults = Faults(seed, kills=rng.randint(0, 30), stops=rng.randint(0, 5), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.1)
    world = AnchoredWorld(faults, tmp_path, units, bool(seed % 2), disorder)
    simulate(world)
    assert world.anchors == ({min(times)} if times else set())
