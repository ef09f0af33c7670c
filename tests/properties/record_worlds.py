"""The simulated pipeline over records instead of lines: with keys, gaps between their places, newlines, no values."""

from __future__ import annotations

import random
import zlib
from pathlib import Path
from typing import Any, ClassVar, cast

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.framing import Record, unwrap
from actors.runtime.ledger import Ledger, read_units
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import Source, UnitLedger
from actors.runtime.values import Chunk, DeadLetter, Unit
from actors.testing import Faults
from actors.testing.inline import result_of
from actors.testing.reading_memory import MemoryReading
from actors.testing.world import RUN
from tests.properties import simulator
from tests.properties.simulator import PIPELINE, Units, World, with_own_keys

#: What a record without a value comes to: it says that a key is gone.
GONE = "k0=drop"


def key_of(value: bytes | None) -> bytes:
    """The key that goes with a value."""
    return b"none" if value is None else b"%08x" % zlib.crc32(value)


def parse(value: bytes | None, record: Record) -> Any:
    """A line with newlines around it, and the key that belongs to it."""
    if record.value != value or record.key != key_of(value):
        raise Reject("key", "the value of one record has the key of another")
    return simulator.parse(GONE.encode() if value is None else value.strip(b"\n"))


class RecordWorld(World):
    """A run over records made of these lines. ``units`` are the lines: what must come of the records."""

    application: ClassVar[Pipeline] = msgspec.structs.replace(PIPELINE, parse=parse)

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool, *more: int) -> None:
        rng = random.Random(faults.seed)
        made = {name: _records_of(rng, data) for name, data in units}
        self.records = {name: records for name, (records, _) in made.items()}
        super().__init__(faults, folder, [(name, text) for name, (_, text) in made.items()], fused, *more)

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return MemoryReading(self.records, ledger, self.next_size)

    def line_of(self, letter: DeadLetter) -> int:
        """Which record of its unit a dead letter is about, from 0."""
        (found,) = [number for number, record in enumerate(self.records[letter.source])
                    if record.offset == letter.offset]
        return found

    def accepted(self) -> dict[str, bytes]:
        """What was taken of each input: all of it, unless a record has asked for the end."""
        taken: dict[str, bytes] = {}
        for unit in read_units(self.folder / "positions.db", RUN):
            records = [record for record in self.records[unit.name] if record.offset < unit.low - unit.base]
            lines = self.units[unit.name].split(b"\n")[:len(records)]
            taken[unit.name] = b"\n".join(lines)
        if not any(b"=finish" in data for data in taken.values()):
            assert taken == self.units
        return taken

    def check_letters(self) -> None:
        """Every letter that is no writer's is a whole record, from the place where it was."""
        bases = {unit.name: unit.base for unit in read_units(self.folder / "positions.db", RUN)}
        for letter in result_of(self).dead_letters:
            if letter.stage.startswith("writer."):
                assert letter.envelope == b""
                continue
            record = self.records[letter.source][self.line_of(letter)]
            assert unwrap(letter.envelope, letter.raw, letter.offset, letter.line) == record
            assert letter.position == bases[letter.source] + record.offset


class SideBySideRecordWorld(RecordWorld):
    """Records of units that are partitions of their own, as those of a topic, read in turns; no key is in two."""

    def __init__(self, faults: Faults, folder: Path, units: Units, fused: bool, *more: int) -> None:
        super().__init__(faults, folder, with_own_keys(units), fused, *more)

    def open_source(self, ledger: Ledger) -> Source:
        """Open the source of a new reader."""
        return SideBySide(self, ledger)

    def in_order(self) -> list[Units]:
        """Each for itself."""
        return [[unit] for unit in self.accepted().items()]


class SideBySide(Source):
    """Reads a chunk of any unit that has more."""

    def __init__(self, world: RecordWorld, ledger: Ledger) -> None:
        self._rng = world.rng
        alone = cast(UnitLedger, _Alone(ledger))
        self._readings = [MemoryReading({name: records}, alone, world.next_size)
                          for name, records in world.records.items()]
        self.exhausted = False

    def read(self) -> Chunk | None:
        """Return the next chunk of some unit."""
        left = [reading for reading in self._readings if not reading.exhausted]
        while left:
            chunk = left.pop(self._rng.randrange(len(left))).read()
            if chunk is not None:
                return chunk
        self.exhausted = all(reading.exhausted for reading in self._readings)
        return None

    def stop(self) -> None:
        """Hand out only what an earlier generation had handed out."""
        for reading in self._readings:
            reading.stop()

    def progress(self) -> tuple[int, int]:
        """Positions read, and in all."""
        read, total = zip(*(reading.progress() for reading in self._readings), strict=True)
        return sum(read), sum(total)


class _Alone:
    """A ledger in which every unit is begun as a partition of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger

    def begin(self, name: str, fingerprint: str) -> Unit:
        return self._ledger.begin(name, fingerprint, alone=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)


def _records_of(rng: random.Random, data: bytes) -> tuple[list[Record], bytes]:
    """Records of lines, and the lines again; some blank ones among them are no values."""
    records: list[Record] = []
    lines = data.split(b"\n")
    offset = rng.randint(0, 5)
    for number, line in enumerate(lines):
        value: bytes | None = b"\n" * rng.randint(0, 2) + line + b"\n" * rng.randint(0, 2)
        if not line and rng.random() < 0.5:
            value, lines[number] = None, GONE.encode()
        records.append(Record(offset, value, -1, 10 * offset, key_of(value), (("n", b"%d" % number), ("n", None))))
        offset += 1 + (rng.randint(1, 9) if rng.random() < 0.3 else 0)
    return records, b"\n".join(lines)
