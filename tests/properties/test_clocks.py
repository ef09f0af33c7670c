"""What a clock decides about a record is decided once, however often it is delivered, and whatever its shard has taken
before it died."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from actors.runtime.sections import WindowOptions
from actors.testing import Faults
from actors.testing.inline import result_of
from actors.testing.world import Shape, World
from tests.properties.test_windows import KINDS, line_of, make_records, oracle, parse, pipeline_of, rows_of

BEGAN = 1_565_647_204_351


class Hurrying(World):
    """A run on a machine whose clock goes on by seconds each time that somebody looks at it, and back now and then."""

    def wall_ms(self) -> int:
        """What the reader's clock says."""
        self.said = getattr(self, "said", BEGAN) + self.rng.choice((-1000, 0, 3000, 20_000))
        return self.said


def options_of(kind: str) -> WindowOptions:
    return msgspec.structs.replace(KINDS[kind], disorder_s=10_000, max_future_skew_s=0)


@pytest.mark.parametrize("kind", ["tumbling", "session"])
@pytest.mark.parametrize("seed", range(30))
def test_a_record_is_in_a_window_or_in_the_future_and_never_both_though_its_shard_dies_between_two_deliveries(
    tmp_path: Path, kind: str, seed: int
) -> None:
    rng = random.Random(seed)
    options = options_of(kind)
    records = make_records(rng, 60, 2999)
    world = Hurrying(
        pipeline_of(options, rng.choice((1, 3))), {"one": b"\n".join(map(line_of, records))}, tmp_path,
        Shape(batch_bytes=120, workers=rng.choice((1, 2)), fused=bool(seed % 2)),
        Faults(seed, kills=rng.randint(5, 30), duplicates=0.02, stops=3))
    try:
        world.run()
    finally:
        world.close()
    result = result_of(world)
    assert {letter.reason for letter in result.dead_letters} <= {"future"}
    ahead = {parse(letter.raw) for letter in result.dead_letters}
    expected, _ = oracle(options, sorted(set(records) - ahead))
    assert rows_of(world) == expected
    assert result.counts.get("folded", 0) + len(ahead) == result.counts["read"] == len(records)
