"""The pipeline that the protocol is simulated with, inputs for it, and what must come of them. The world that runs it
is the one that ``actors.testing`` gives to every pipeline.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from actors.runtime.errors import Reject
from actors.runtime.pipeline import FlowOptions, Fold, Pipeline
from actors.testing import Faults, MemorySink, MemorySource, UnorderedMemorySink
from actors.testing import world as testing_world
from actors.testing.inline import result_of
from actors.testing.simulated import SimulatedActor
from actors.testing.world import Shape

__all__ = ["SimulatedActor", "World", "check_everything", "make_units", "records_of", "simulate"]

Units = Sequence[tuple[str, bytes]]


class Store(MemorySink, frozen=True):
    """A key-value store that refuses values that say so."""

    def refuses(self, item: Any) -> str:
        return "refused" if item[1] == "refuse" else ""


def parse(line: bytes) -> Any:
    """``key=value``; blank lines are no records."""
    if not line:
        return None
    key, equals, value = line.decode().partition("=")
    if not equals:
        raise Reject("form", "no =")
    return key, value


def check(row: Any) -> Any:
    """Drop what asks for it, reject what is wrong."""
    key, value = row
    if value == "drop":
        return None
    if value == "bad":
        raise Reject("value")
    return key, value


def route(value: Any) -> str:
    """Two stores, by the key's last digit."""
    return "even" if int(value[0][1:]) % 2 == 0 else "odd"


def partials(values: list[Any], unit: int) -> dict[tuple[Any, ...], list[Any]]:
    """How many records of each key."""
    return {(key,): [count] for key, count in Counter(value[0] for value in values).items()}


PIPELINE = Pipeline(
    name="simulated", source=MemorySource(), parse=parse, check=check, route=route, encode=lambda value: value,
    sinks={"even": Store(), "odd": Store()}, dead_letters=UnorderedMemorySink(),
    fold=Fold(partials=partials, keys=("key",), fields=("records",)), flow=FlowOptions(window_batches=6))


class World(testing_world.World):
    """A run of this pipeline.

    Args:
        faults: or a seed, for the kills that are given apart.
        folder: for the ledger and the aggregators' state.
        units: name and content of each input.
        fuse: parsers that check, or checkers of their own.
        kills: how many actors are killed, when ``faults`` is a seed.
    """

    def __init__(self, faults: Faults | int, folder: Path, units: Units, fuse: bool, kills: int = 0) -> None:
        if isinstance(faults, int):
            faults = Faults(faults, kills, duplicates=0.02 if kills else 0.0, outages=0.1 if kills else 0.0)
        super().__init__(PIPELINE, dict(units), folder, Shape(batch_bytes=30, workers=3, fuse=fuse), faults)


def simulate(world: World) -> None:
    """Run to the end, and compare everything with what must come of the input."""
    try:
        world.run()
        check_everything(world)
    finally:
        world.close()


def check_everything(world: World) -> None:
    """Nothing is lost, nothing has happened twice, and of two values for one key the later stands."""
    records = list(records_of(list(world.units.items())))
    result = result_of(world)
    stored = {key: value for key, value in records if value.isdigit()}
    assert {**world.stores["even"].values, **world.stores["odd"].values} == stored
    for name, written in result.written.items():
        assert written == [record for record in records if record[1].isdigit() and route(record) == name]
    live = [key for key, value in records if value not in ("drop", "bad")]
    assert result.folded == {(key,): [count] for key, count in Counter(live).items()}
    lines = [line for data in world.units.values() for line in data.decode().split("\n") if line]
    wrong = [line for line in lines if "=" not in line or line[-3:] in ("bad", "use")]
    raw = [letter.raw.decode() for letter in result.dead_letters]
    assert Counter(line for line in raw if "(" not in line) == Counter(line for line in wrong if line[-3:] != "use")
    assert sum("(" in line for line in raw) == sum(line[-3:] == "use" for line in wrong)
    assert result.counts["read"] == len(lines)
    assert result.counts.get("dead_lettered", 0) == len(wrong)
    assert result.counts.get("filtered", 0) == sum(line.endswith("=drop") for line in lines)
    assert world.max_open <= world.manifest.flow.window_batches


def make_units(rng: random.Random, units: int, records: int) -> list[tuple[str, bytes]]:
    """Inputs in which keys come again, with blank, dropped, bad, malformed and refused records among them."""
    result: list[tuple[str, bytes]] = []
    for unit in range(units):
        lines = [f"k{rng.randint(0, 12)}={_value(rng, unit * records + n)}" for n in range(records)]
        lines = [rng.choice(("", "nonsense")) if rng.random() < 0.05 else line for line in lines]
        result.append((f"unit-{unit}", "\n".join(lines).encode()))
    return result


def _value(rng: random.Random, number: int) -> str:
    return rng.choice(("drop", "bad", "refuse")) if rng.random() < 0.1 else str(number)


def records_of(units: Units) -> Iterator[tuple[str, str]]:
    """(key, value) of every well-formed line, in source order."""
    for _, data in units:
        for line in data.decode().split("\n"):
            if "=" in line:
                key, _, value = line.partition("=")
                yield key, value
