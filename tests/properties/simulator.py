"""The pipeline that the protocol is simulated with, inputs for it, and what must come of them. The world that runs it
is the one that ``actors.testing`` gives to every pipeline.
"""

from __future__ import annotations

import random
import re
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.reader import Reader
from actors.runtime.actor import Post
from actors.runtime.errors import Finish, Reject
from actors.runtime.framing import records_in
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.messages import NO_TIMES, Batch, Span
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.ports import Source
from actors.runtime.sections import FlowOptions, WindowOptions
from actors.runtime.too_long import TooLong
from actors.runtime.values import Chunk, DeadLetter, Unit
from actors.runtime.worker import Made, Work
from actors.testing import Faults, MemorySink, MemorySource, UnorderedMemorySink
from actors.testing import world as testing_world
from actors.testing.inline import result_of
from actors.testing.simulated import SimulatedActor
from actors.testing.world import RUN, Shape

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
    """Drop what asks for it, reject what is wrong, and end when it is asked for."""
    key, value = row
    if value == "drop":
        return None
    if value == "finish":
        raise Finish
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
    """A run of this pipeline, or of that of a subclass.

    Args:
        faults: or a seed, for the kills that are given apart.
        folder: for the ledger and the aggregators' state.
        units: name and content of each input.
        fused: parsers that check, or checkers of their own.
        kills: how many actors are killed, when ``faults`` is a seed.

    Attributes:
        given_back: batches that were cut when they were open.
    """

    units: dict[str, bytes]
    application: ClassVar[Pipeline] = PIPELINE
    batch_bytes: ClassVar[int] = 30

    def __init__(self, faults: Faults | int, folder: Path, units: Units, fused: bool, kills: int = 0) -> None:
        if isinstance(faults, int):
            faults = Faults(faults, kills, duplicates=0.02 if kills else 0.0, outages=0.1 if kills else 0.0)
        learns = faults.seed // 4 % 2  # what records cost, which is random: so batches are cut otherwise each time
        shape = Shape(
            batch_bytes=self.batch_bytes * (4 if learns else 1), workers=3, fused=fused, batch_s=0.2 * learns)
        self.given_back = 0
        super().__init__(self.application, dict(units), folder, shape, faults)

    def line_of(self, letter: DeadLetter) -> int:
        """Which line of its unit a dead letter is about, from 0."""
        return letter.line - 1

    def adapt(self, work: Work) -> Work:
        """Give some batches back, as if they took too long; a delivery that is repeated each time."""
        def make(batch: Batch, frames: list[bytes]) -> Made:
            records = len(records_in(frames[0])) if batch.framing else frames[0].count(b"\n")
            if batch.give_back_s and records > 1 and (batch.start + batch.epoch) % 7 == 0:
                self.given_back += 1
                raise TooLong(1, self.rng.choice((0.001, 0.1, 1.0)))
            return work(batch, frames)

        return make

    def accepted(self) -> dict[str, bytes]:
        """What was taken of each input: all of it, unless a record has asked for the end."""
        taken = {unit.name: self.units[unit.name][:unit.low - unit.base]
                 for unit in read_units(self.folder / "positions.db", RUN)}
        if not any(b"=finish" in data for data in taken.values()):
            assert taken == self.units
        return taken

    def in_order(self) -> list[Units]:
        """What was taken, in groups within which the order of input holds."""
        return [list(self.accepted().items())]


class InterleavedWorld(World):
    """A run over units that are partitions of their own, read in turns, and that grow while they are read.

    No key is in two of the units, for between two there is no order.

    Attributes:
        visible: how many bytes of each unit are there by now.
        is_stopped: whether there will be no more.
    """

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool) -> None:
        self.visible: dict[str, int] = {name: 0 for name, _ in units}
        self.is_stopped = False
        super().__init__(faults, folder, with_own_keys(units), fused)

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return InterleavedReading(self, ledger)

    def accepted(self) -> dict[str, bytes]:
        """All that was there before a record has asked for the end."""
        taken = super().accepted()
        assert taken == {name: data[:self.visible[name]] for name, data in self.units.items()}
        return taken

    def in_order(self) -> list[Units]:
        """Each for itself."""
        return [[unit] for unit in self.accepted().items()]

    def grow(self) -> None:
        """Now and then, some lines more."""
        if self.is_stopped:
            return
        growing = [name for name, data in self.units.items() if self.visible[name] < len(data)]
        if growing and self.rng.random() < 0.3:
            name = self.rng.choice(growing)
            data = self.units[name]
            wanted = self.visible[name] + self.rng.randint(1, max(1, len(data) // 3))
            self.visible[name] = data.find(b"\n", wanted) + 1 or len(data)


class InterleavedReading(Source):
    """Reads a chunk of each unit in turn. A unit ends when all of it was there, and is read."""

    def __init__(self, world: InterleavedWorld, ledger: Ledger) -> None:
        self._world = world
        self._ledger = ledger
        self._turns = deque(world.units)
        self._units: dict[str, Unit] = {}
        self._recorded: dict[str, deque[tuple[int, int]]] = {}
        self._at: dict[str, int] = {}
        self.exhausted = False

    def read(self) -> Chunk | None:
        """Return the next chunk of the unit whose turn it is, or of one behind it."""
        self._world.grow()
        for name in list(self._turns):
            self._turns.rotate(-1)
            unit = self._units.get(name) or self._take_up(name)
            data = self._world.units[name]
            if self._world.is_stopped:
                data = data[:self._world.visible[name]]
            if self._at[name] == len(data):
                self._turns.remove(name)
                if unit.status == "reading":
                    self._ledger.end(unit, len(data))
            elif self._at[name] < self._world.visible[name]:
                return self._cut(unit, data)
        self.exhausted = not self._turns
        return None

    def active(self) -> tuple[int, ...]:
        """The units that have not ended."""
        return tuple(sorted(self._units[name].id for name in self._turns if name in self._units))

    def finished(self, unit: Unit) -> None:
        """Nothing is put away."""
        assert unit.low == unit.end

    def stop(self) -> None:
        """What is there is still read."""
        self._world.is_stopped = True

    def progress(self) -> tuple[int, int]:
        """Bytes read, and how many there will be is not known."""
        return sum(self._at.values()), 0

    def close(self) -> None:
        """Nothing is held."""

    def _take_up(self, name: str) -> Unit:
        unit = self._units[name] = self._ledger.begin(name, "", alone=True)
        self._recorded[name] = deque(self._ledger.boundaries(unit))
        self._at[name] = unit.low
        return unit

    def _cut(self, unit: Unit, data: bytes) -> Chunk:
        start, visible = self._at[unit.name], self._world.visible[unit.name]
        if self._recorded[unit.name]:
            end = self._recorded[unit.name].popleft()[1]
        else:
            end = min(data.find(b"\n", start + self._world.next_size()) + 1 or len(data), visible)
        self._at[unit.name] = end
        return Chunk(unit.id, unit.name, start, end, start, data.count(b"\n", 0, start) + 1, data[start:end])


class AnchoredWorld(World):
    """A run whose records have event times: the numbers that they hold. Who checks needs to know the anchor.

    Attributes:
        anchors: all that were said to anybody.
    """

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool, disorder: int) -> None:
        self.disorder = disorder
        self.anchors: set[int | None] = set()
        super().__init__(faults, folder, units, fused)

    def make_reader(self, post: Post, ledger: Ledger) -> Reader:
        """Make a reader that is told to look for the anchor."""
        window = WindowOptions(start="first", disorder_s=self.disorder / 1000)
        manifest = msgspec.structs.replace(self.manifest, windowed=True, window=window)
        return Reader(post, manifest, ledger, self.open_source(ledger))

    def adapt(self, work: Work) -> Work:
        """Do nothing with a batch that has event times before there is an anchor."""
        def make(batch: Batch, frames: list[bytes]) -> Made:
            times = [int(value) for _, value in records_of([("", frames[0])]) if value.isdigit()]
            if batch.anchor is None and not times:
                return Made({}, again=NO_TIMES)
            if batch.anchor is None:
                least = min(time for time in times if time >= times[0] - self.disorder)
                return Made({}, again=Span(times[0], least, max(times)))
            if times:
                self.anchors.add(batch.anchor)
            return adapted(batch, frames)

        adapted = super().adapt(work)
        return make


def simulate(world: World) -> None:
    """Run to the end, and compare everything with what must come of the input."""
    try:
        world.run()
        check_everything(world)
    finally:
        world.close()


def check_everything(world: World) -> None:
    """Nothing is lost, nothing has happened twice, and of two values for one key the later stands."""
    accepted = world.accepted()
    records = list(records_of(list(accepted.items())))
    result = result_of(world)
    stored = {key: value for key, value in records if value.isdigit()}
    assert {**world.stores["even"].values, **world.stores["odd"].values} == stored
    for name, written in result.written.items():
        for unit in world.in_order():
            keys = {key for key, _ in records_of(unit)}
            assert [item for item in written if item[0] in keys] == [
                record for record in records_of(unit) if record[1].isdigit() and route(record) == name]
    live = [key for key, value in records if value not in ("drop", "bad", "finish")]
    assert result.folded == {(key,): [count] for key, count in Counter(live).items()}
    lines = [line for data in accepted.values() for line in data.decode().split("\n") if line]
    wrong = [line for line in lines if "=" not in line or line[-3:] in ("bad", "use")]
    raw = [letter.raw.decode().strip("\n") for letter in result.dead_letters]
    assert Counter(line for line in raw if "(" not in line) == Counter(line for line in wrong if line[-3:] != "use")
    assert sum("(" in line for line in raw) == sum(line[-3:] == "use" for line in wrong)
    assert result.counts["read"] == len(lines)
    assert result.counts.get("dead_lettered", 0) == len(wrong)
    assert result.counts.get("filtered", 0) == sum(line.endswith(("=drop", "=finish")) for line in lines)
    assert "finish" not in result.counts
    assert world.max_open <= world.manifest.flow.window_batches + world.given_back


def make_units(rng: random.Random, units: int, records: int) -> list[tuple[str, bytes]]:
    """Inputs in which keys come again, with blank, dropped, bad, malformed and refused records among them."""
    result: list[tuple[str, bytes]] = []
    for unit in range(units):
        lines = [f"k{rng.randint(0, 12)}={_value(rng, unit * records + n)}" for n in range(records)]
        lines = [rng.choice(("", "nonsense")) if rng.random() < 0.05 else line for line in lines]
        result.append((f"unit-{unit}", "\n".join(lines).encode()))
    return result


def with_own_keys(units: Units) -> list[tuple[str, bytes]]:
    """The same inputs, with no key in two of them."""
    return [(name, re.sub(rb"(?m)^k(?=\d+=)", b"k%d0" % (number + 1), data))
            for number, (name, data) in enumerate(units)]


def with_finish(rng: random.Random, units: Units) -> list[tuple[str, bytes]]:
    """The same inputs, with a record somewhere that asks for the end."""
    result = list(units)
    number = rng.randrange(len(result))
    lines = result[number][1].split(b"\n")
    lines.insert(rng.randrange(len(lines) + 1), b"k0=finish")
    result[number] = (result[number][0], b"\n".join(lines))
    return result


def with_disorder(rng: random.Random, units: Units, disorder: int) -> list[tuple[str, bytes]]:
    """The same inputs, their lines shuffled, but none by more than the allowed disorder."""
    result: list[tuple[str, bytes]] = []
    for name, data in units:
        lines = sorted(enumerate(data.split(b"\n")), key=lambda line: line[0] + rng.random() * disorder)
        result.append((name, b"\n".join(line for _, line in lines)))
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
