"""The protocol holds its promises in a simulated world of delays, repetitions and deaths."""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import pytest

from tests.properties.simulator import World, make_units, records_of

SEEDS = range(150)


def _check_everything(world: World) -> None:
    records = list(records_of(world.units))
    stored = {key: value for key, value in records if value.isdigit()}
    assert {**world.stores["even"].values, **world.stores["odd"].values} == stored
    live = [key for key, value in records if value not in ("drop", "bad")]
    assert world.folded() == dict(Counter(live))
    lines = [line for _, data in world.units for line in data.decode().split("\n") if line]
    expected = Counter(lines)
    wrong = Counter({line: n for line, n in expected.items() if "=" not in line or line[-3:] in ("bad", "use")})
    raw = Counter(letter.raw.decode() for letter in world.letters.rows.values())
    assert raw == wrong
    counts = world.counts()
    assert counts["read"] == len(lines)
    assert counts["dead_lettered"] == wrong.total()
    assert counts["filtered"] == sum(line.endswith("=drop") for line in lines)
    assert counts["written"] == len(lines) - counts["dead_lettered"] - counts["filtered"]
    assert world.max_open <= world.manifest.flow.window_batches


@pytest.mark.parametrize("fuse", [True, False], ids=["fused", "unfused"])
def test_a_run_without_faults_does_everything_exactly_once(tmp_path: Path, fuse: bool) -> None:
    world = World(1, tmp_path, make_units(random.Random(1), 2, 100), fuse, kills=0)
    world.run()
    _check_everything(world)


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_whenever_the_results_are_those_of_a_run_without_deaths(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 150))
    world = World(seed, tmp_path, units, fuse=bool(seed % 2), kills=rng.randint(1, 40))
    world.run()
    _check_everything(world)
