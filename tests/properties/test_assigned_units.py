"""Partitions that go from run to run while both work, and while everybody dies: each record has one outcome."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.testing import Faults
from tests.properties.group import Group, Member, check_together, run_together
from tests.properties.simulator import make_units

SEEDS = range(40)


def simulate(folder: Path, seed: int, moves: int, **faults: float) -> Group:
    """Run two members to the end, and compare what their ledgers say with what each has committed."""
    rng = random.Random(seed)
    group = Group(rng, dict(make_units(rng, rng.randint(1, 4), rng.randint(1, 120))), ["one", "two"], moves)
    worlds: list[Member] = []
    try:
        for number, member in enumerate(group.members):
            worlds.append(Member(group, member, Faults(2 * seed + number, **faults),  # type: ignore[arg-type]
                                 folder / member, fused=bool((seed + number) % 2)))
        run_together(group, worlds)
        check_together(group, worlds)
    finally:
        for world in worlds:
            world.close()
    return group


def test_two_runs_share_the_partitions_of_a_group(tmp_path: Path) -> None:
    group = simulate(tmp_path, 3, moves=0)
    assert {commit.member for commit in group.commits} == {"one", "two"}


@pytest.mark.parametrize("seed", SEEDS)
def test_partitions_that_move_all_the_time_are_read_once(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, seed, moves=30)


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_while_partitions_move_each_record_has_one_outcome(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, seed, moves=30, kills=15, stops=3, delays=5, duplicates=0.02, outages=0.05)


@pytest.mark.parametrize("seed", SEEDS[:15])
def test_messages_that_are_lost_change_nothing(tmp_path: Path, seed: int) -> None:
    simulate(tmp_path, seed, moves=20, kills=5, drops=0.03)
