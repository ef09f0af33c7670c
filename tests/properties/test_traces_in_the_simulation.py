"""Traces of the simulated run: whoever dies, each is one tree, and tracing changes nothing."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from actors.testing import Faults
from tests.properties.simulator import World, make_units, simulate
from tests.spans import Keeper

#: What may be the parent of what.
PARENTS = {
    "half": {"batch"}, "delivery": {"batch", "half"}, "parse": {"batch", "half"}, "check": {"parse"},
    "write": {"parse", "check"}, "commit": {"parse", "check"}}


class TracedWorld(World):
    """A run in which one batch in ``every`` is traced."""

    def __init__(self, faults: Faults, folder: Path, units: list[tuple[str, bytes]], fused: bool, every: int) -> None:
        self.tracer = self.kept = Keeper(every)
        super().__init__(faults, folder, units, fused)


@pytest.mark.parametrize("seed", range(60))
def test_every_batch_is_one_trace_and_its_spans_nest_by_stage_whoever_dies(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, rng.randint(1, 3), rng.randint(1, 100))
    faults = Faults(seed, kills=rng.randint(0, 20), stops=rng.randint(0, 3), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.1)
    world = TracedWorld(faults, tmp_path, units, bool(seed % 2), every=rng.choice((1, 1, 3)))
    simulate(world)
    spans = world.kept.spans
    for span in spans:
        assert span.ended <= 1
        assert (span.parent is None) == (span.name == "batch")
        if span.parent is not None:
            below = PARENTS[span.name] - ({"parse"} if not seed % 2 and span.name in ("write", "commit") else set())
            assert span.parent.name in below
            assert span.trace == span.parent.trace
    assert [span for span in spans if span.error and span.name not in ("delivery", "write")] == []


@pytest.mark.parametrize("seed", range(20))
def test_the_roots_account_for_every_record_when_the_reader_lives(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    units = make_units(rng, 2, 100)
    world = TracedWorld(Faults(seed, duplicates=0.02, delays=20, outages=0.1), tmp_path, units, bool(seed % 2), 1)
    simulate(world)
    roots = world.kept.named("batch")
    assert all(root.ended for root in roots)
    lines = [line for _, data in units for line in data.split(b"\n") if line]
    assert sum(int(root.facts["records"]) for root in roots) == len(lines)
    made = [span.parent for span in world.kept.named("parse")]
    assert set(map(id, made)) >= set(map(id, roots)), "and the pieces of those that were given back"
