"""Records that become several things: whatever is refused by whom, and whoever dies, each output is there once, and the
sum of outcomes is one of input records."""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.outputs import Many
from actors.runtime.pipeline import Fold, Pipeline, Windows
from actors.runtime.sections import WindowOptions
from actors.testing import Faults, MemorySink, MemorySource, run_inline
from actors.testing.inline import result_of
from tests.properties.simulator import Units
from tests.properties.test_suspects_in_the_simulation import SuspiciousWorld
from tests.several import KINDS, PIPELINE, WITHOUT_FOLD, assert_comes_of, make_lines

SEEDS = range(100)
_tokens = st.builds(
    "{}{}{}".format, st.sampled_from(KINDS), st.integers(0, 9), st.sampled_from(("", "", "!a", "!b", "!ab")))
_lines = st.lists(st.one_of(
    st.builds(lambda tokens: " ".join(["many", *tokens]), st.lists(st.one_of(_tokens, st.just("-")), max_size=4)),
    st.builds("one {}".format, _tokens.filter(lambda token: token[0] != "j")), st.sampled_from(("", "whole"))),
    max_size=8)


@settings(deadline=None, max_examples=60)
@given(_lines, st.integers(1, 200), st.booleans(), st.booleans())
def test_what_comes_of_several_outputs_is_what_comes_of_each(
    lines: list[str], batch_bytes: int, is_fused: bool, folds: bool
) -> None:
    pipeline = PIPELINE if folds else WITHOUT_FOLD
    assert_comes_of(lines, run_inline(pipeline, lines, batch_bytes=batch_bytes, fused=is_fused), folds)


@pytest.mark.parametrize("seed", SEEDS)
def test_whoever_dies_whenever_each_output_is_there_once_and_the_sum_is_exact(seed: int) -> None:
    rng = random.Random(seed)
    lines = make_lines(rng, rng.randint(1, 80))
    faults = Faults(seed, kills=rng.randint(1, 30), stops=rng.randint(0, 4), delays=rng.randint(0, 20),
                    duplicates=0.02, drops=0.02 if seed % 4 == 0 else 0.0, outages=0.1)
    folds = bool(seed % 3)
    pipeline = PIPELINE if folds else WITHOUT_FOLD
    assert_comes_of(lines, run_inline(pipeline, lines, batch_bytes=rng.randint(10, 150), workers=3,
                                      fused=bool(seed % 2), faults=faults), folds)


def _by_time(parse: Callable[[bytes], Any]) -> Pipeline:
    return Pipeline(
        source=MemorySource(), parse=parse, sinks={"rows": MemorySink()}, emit_sinks=("rows",),
        fold=Fold(partials=lambda values: {(value,): [1] for value in values}, keys=("value",), fields=("number",)),
        windows=Windows(time=lambda value: 1000 * (value % 100), emit=lambda window, groups: [
            ("rows", [window.start, sorted(key for (key,), _ in groups)])]),
        window=WindowOptions(kind="hopping", size_s=10, every_s=5, disorder_s=10))


@pytest.mark.parametrize("seed", range(30))
def test_values_of_one_record_are_in_the_windows_and_as_late_as_those_of_a_record_each(seed: int) -> None:
    rng = random.Random(seed)
    values = [100 * number + min(99, max(0, number + rng.randint(-25, 10))) for number in range(rng.randint(1, 60))]
    cuts = sorted(rng.randint(0, len(values)) for _ in range(rng.randint(0, 12)))
    lines = [" ".join(map(str, values[start:end])) for start, end in pairwise([0, *cuts, len(values)])]
    one = run_inline(_by_time(int), map(str, values), batch_bytes=rng.randint(5, 100))
    many = run_inline(_by_time(lambda line: Many(map(int, line.split()))), lines, batch_bytes=rng.randint(5, 100),
                      fused=bool(seed % 2), faults=Faults(seed, kills=rng.randint(0, 10), duplicates=0.02))
    assert many.written == one.written
    late = [int(letter.raw.split()[int(letter.output)]) for letter in many.dead_letters]
    assert late == [int(letter.raw) for letter in one.dead_letters]
    assert many.counts["read"] == len(lines)
    assert many.counts.get("dead_lettered", 0) == len({letter.line for letter in many.dead_letters})


class SeveralWorld(SuspiciousWorld):
    """A run of that pipeline, whose workers die with batches in hand, so that they are split."""

    application = PIPELINE
    batch_bytes = 60

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool) -> None:
        super().__init__(faults, folder, units, fused, accusations=30)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_batch_that_is_split_after_sinks_had_the_whole_is_answered_by_its_halves(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    lines = make_lines(rng, rng.randint(1, 50))
    faults = Faults(seed, kills=rng.randint(0, 8), stops=rng.randint(0, 4), delays=rng.randint(0, 20),
                    duplicates=0.02, outages=0.05)
    world = SeveralWorld(faults, tmp_path, [("lines", "\n".join([*lines, ""]).encode())], bool(seed % 2))
    try:
        world.run()
        result = result_of(world)
        if not any(letter.reason == "worker_died" for letter in result.dead_letters):  # no record was given up
            assert_comes_of(lines, result, folds=True, is_split=True)
    finally:
        world.close()
