"""Windows over units that are read at the same time: the watermark waits for the slowest of them."""

from __future__ import annotations

import random
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.runtime.ledger import Ledger
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Source
from actors.runtime.sections import WindowOptions
from actors.runtime.values import Chunk, Unit
from actors.testing import Faults
from actors.testing.inline import result_of
from actors.testing.world import Shape, World
from tests.properties.test_windows import KINDS, Record, line_of, make_records, oracle, parse, pipeline_of

SEEDS = range(40)


class SideBySide(World):
    """A run over units that are partitions of their own, all of them there from the beginning.

    Attributes:
        silent: what a unit does not bring before it has been silent for long: bytes that come first, by name.
        resting: the units that the source says are silent.
    """

    units: dict[str, bytes]

    def __init__(
        self, pipeline: Pipeline, units: Mapping[str, bytes], folder: Path, shape: Shape, faults: Faults,
        silent: Mapping[str, int],
    ) -> None:
        self.silent = dict(silent)
        self.resting: set[str] = set()
        super().__init__(pipeline, units, folder, shape, faults)

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return SideBySideReading(self, ledger)


class SideBySideReading(Source):
    """Reads a chunk of any unit; one that falls silent is not active, and goes on some time later."""

    def __init__(self, world: SideBySide, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        self._units: dict[str, Unit] = {}
        self._recorded: dict[str, deque[tuple[int, int]]] = {}
        self._at: dict[str, int] = {}
        for name in world.units:
            unit = self._units[name] = ledger.begin(name, "", alone=True)
            self._recorded[name] = deque(ledger.boundaries(unit))
            self._at[name] = unit.low
        self._open = [name for name, unit in self._units.items() if unit.status == "reading"]
        self.exhausted = not self._open

    def read(self) -> Chunk | None:
        """Return the next chunk of some unit."""
        world = self._world
        ready = [name for name in self._open if name not in world.resting or self._recorded[name]]
        if not ready or world.rng.random() < 0.1:
            if world.resting and world.rng.random() < 0.05:
                world.resting.discard(world.rng.choice(sorted(world.resting)))
            return None
        name = world.rng.choice(ready)
        data, at = world.units[name], self._at[name]
        if at == len(data):
            self._open.remove(name)
            self._ledger.end(self._units[name], at)
            self.exhausted = not self._open
            return None
        if at >= world.silent.get(name, len(data)) and not self._recorded[name]:
            del world.silent[name]
            world.resting.add(name)
            return None
        end = data.find(b"\n", at + world.next_size()) + 1 or len(data)
        if self._recorded[name]:
            end = self._recorded[name].popleft()[1]
        self._at[name] = end
        return Chunk(self._units[name].id, name, at, end, at, data.count(b"\n", 0, at) + 1, data[at:end])

    def first_look(self) -> tuple[int, ...]:
        """Those that have not ended."""
        return tuple(self._units[name].id for name in self._open)

    def glance(self, unit: int, most_bytes: int) -> tuple[Chunk | None, bool]:
        """Some of the first lines: another number each time."""
        (name,) = (name for name, known in self._units.items() if known.id == unit)
        data, at = self._world.units[name], self._units[name].low
        size = most_bytes * self._world.next_size() // 4096  # so most are asked several times
        end = data.find(b"\n", at + size) + 1 or len(data)
        return Chunk(unit, name, at, end, at, data.count(b"\n", 0, at) + 1, data[at:end]), end == len(data)

    def active(self) -> tuple[int, ...]:
        """Those that have not ended, and do not rest."""
        return tuple(sorted(self._units[name].id for name in self._open
                            if name not in self._world.resting or self._recorded[name]))

    def finished(self, unit: Unit) -> None:
        """Nothing is put away."""

    def stop(self) -> None:
        """Nobody asks for that."""

    def progress(self) -> tuple[int, int]:
        """Bytes read, and in all."""
        return sum(self._at.values()), sum(map(len, self._world.units.values()))

    def close(self) -> None:
        """Nothing is held."""


def some_files(rng: random.Random) -> dict[str, list[Record]]:
    """Files of which each is in order within the disorder; their times overlap, or are hours apart."""
    files = {}
    for number in range(rng.randint(2, 4)):
        shift = rng.choice((0, 0, 500, 20_000, 3_600_000))
        records = make_records(rng, rng.randint(0, 60), 2999)
        files[f"file-{number}"] = [(at + shift, key, 1000 * number + n) for at, key, n in records]
    return files


def run(tmp_path: Path, seed: int, options: WindowOptions, files: Mapping[str, list[Record]], rests: bool) -> World:
    rng = random.Random(seed + 1_000_000)
    units = {name: b"".join(line_of(record) + b"\n" for record in records) for name, records in files.items()}
    silent = {name: rng.randrange(len(data)) for name, data in units.items() if data and rests and rng.random() < 0.6}
    faults = Faults(seed, kills=rng.randint(0, 20), duplicates=0.02, outages=0.05)
    world = SideBySide(pipeline_of(options, rng.choice((1, 3))), units, tmp_path,
                       Shape(batch_bytes=120, workers=rng.choice((1, 2, 4)), fused=bool(seed % 2)), faults, silent)
    try:
        world.run()
    finally:
        world.close()
    return world


def rows_of(world: World) -> dict[Any, Any]:
    """Every row, without its revision; each was emitted once."""
    rows = world.stores["rows"].items
    assert max(Counter(window for window, _ in rows).values(), default=1) == 1
    return {tuple(window): {(kind,): numbers for kind, numbers in kinds.items()} for window, (_, kinds) in rows}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_files_read_at_the_same_time_give_the_rows_of_all_their_records_and_none_is_late(
    tmp_path: Path, kind: str, seed: int
) -> None:
    files = some_files(random.Random(seed))
    records = [record for some in files.values() for record in some]
    world = run(tmp_path, seed, KINDS[kind], files, rests=False)
    assert not result_of(world).dead_letters
    expected, _ = oracle(KINDS[kind], sorted(records))
    assert rows_of(world) == expected
    counts = result_of(world).counts
    assert counts.get("read", 0) == counts.get("folded", 0) == len(records)


@pytest.mark.parametrize("kind", ["tumbling", "hopping"])
@pytest.mark.parametrize("seed", range(15))
def test_windows_are_counted_from_the_oldest_record_of_all_files_whichever_is_read_first(
    tmp_path: Path, kind: str, seed: int
) -> None:
    files = some_files(random.Random(seed))
    records = [record for some in files.values() for record in some]
    first = min((at for at, _, _ in records), default=0)
    world = run(tmp_path, seed, msgspec.structs.replace(KINDS[kind], start="first"), files, rests=False)
    assert not result_of(world).dead_letters
    expected, _ = oracle(KINDS[kind], [(at - first, key, number) for at, key, number in sorted(records)])
    assert rows_of(world) == {(start + first, end + first, key): row for (start, end, key), row in expected.items()}
    counts = result_of(world).counts
    assert counts.get("read", 0) == counts.get("folded", 0) == len(records)


@pytest.mark.parametrize("kind", ["tumbling", "session", "global"])
@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_was_silent_and_comes_back_is_in_a_row_or_a_dead_letter(
    tmp_path: Path, kind: str, seed: int
) -> None:
    files = some_files(random.Random(seed))
    records = [record for some in files.values() for record in some]
    world = run(tmp_path, seed, KINDS[kind], files, rests=True)
    result = result_of(world)
    assert {letter.reason for letter in result.dead_letters} <= {"late"}
    late = [parse(letter.raw) for letter in result.dead_letters]
    assert set(late) <= set(records) and len(set(late)) == len(late)
    expected, _ = oracle(KINDS[kind], sorted(set(records) - set(late)))
    assert rows_of(world) == expected
    assert result.counts.get("read", 0) == len(records)
    assert result.counts.get("dead_lettered", 0) == len(late)
    assert result.counts.get("folded", 0) == len(records) - len(late)
