"""``run_inline``: a pipeline from its lines to what comes of them, in the calling process, as plain data."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.counts import OUTCOMES, Counts, merged
from actors.runtime.framing import Record
from actors.runtime.ledger import read_units
from actors.runtime.outputs import order_of
from actors.runtime.pipeline import Pipeline
from actors.runtime.state import merge_of, read_state
from actors.runtime.topology import DEAD_LETTERS, aggregator_names
from actors.runtime.units import LEDGER
from actors.runtime.values import DeadLetter, Unit
from actors.testing.faults import Faults
from actors.testing.reading_memory import Content, require_order
from actors.testing.world import RUN, Shape, World

#: The unit that lines without a name make, and the one that records make.
_UNIT, _UNIT_OF_RECORDS = "lines", "records"


class InlineResult(msgspec.Struct, frozen=True):
    """What came of a run.

    Attributes:
        written: the items of each sink, as ``encode`` made them, in the order applied.
        stores: the last value of each key, for each sink whose items are all (key, value); else an empty dict.
        dead_letters: what was rejected, in the order of input.
        folded: the numbers of each key; a key's member called ``unit`` is the unit's name.
        counts: the outcomes: ``read``, ``written``, ``written.SINK``, ``folded``, ``filtered``, ``dead_lettered``,
            ``rejected.REASON``; ``many`` (records that became several, or none) and ``made`` (what was made of
            those). Those that are 0 may be missing.

    Example::

        pipeline = Pipeline(name="upper", source=Files(pattern="*.log"), parse=bytes.upper, route=lambda record: "out",
                            sinks={"out": Lines()}, dead_letters=DeadLetters())

        result: InlineResult = run_inline(pipeline, ["a", "b"])
        assert result.written == {"out": [b"A", b"B"]}
        assert result.counts["written"] == 2
    """

    written: dict[str, list[Any]]
    stores: dict[str, dict[Any, Any]]
    dead_letters: list[DeadLetter]
    folded: dict[tuple[Any, ...], list[Any]]
    counts: Counts

    def __repr__(self) -> str:
        outcomes = ", ".join(f"{name} {self.counts[name]}" for name in OUTCOMES if self.counts.get(name))
        lines = [f"InlineResult: read {self.counts.get('read', 0)}: {outcomes or 'nothing'}"]
        lines += [f"  {name}: {items!r}" for name, items in self.written.items() if items]
        lines += [f"  rejected: {letter.source} {_place(letter)}: {letter.reason}: {letter.raw!r}"
                  for letter in self.dead_letters]
        lines += [f"  folded: {key!r}: {numbers!r}" for key, numbers in self.folded.items()]
        return "\n".join(lines)


def _place(letter: DeadLetter) -> str:
    return f"record {letter.offset}" if letter.envelope and letter.line < 0 else f"line {letter.line}"


def run_inline(
    pipeline: Pipeline, lines: Iterable[bytes | str | Record] | Mapping[str, bytes | Sequence[Record]], *,
    options: msgspec.Struct | None = None, batch_bytes: int = 256, workers: int = 2, fused: bool | None = None,
    faults: Faults | None = None,
) -> InlineResult:
    """Run a pipeline over lines, or records, in this process and return what came of them.

    The roles, the ledger, the folded state and the protocol between them are the real ones. The source and the sinks
    are replaced by ones in memory; a replaced sink still rejects what it cannot pack. Nothing outside is touched.

    Args:
        pipeline: a PIPELINE.
        lines: lines, with or without their newlines, or records; or the content of each input unit by name, bytes of
            lines or a list of records, as it comes. Offsets of records grow, and may have gaps.
        options: in place of the pipeline's own ``options``.
        batch_bytes: size of a batch, about; small, so that few lines already make several.
        workers: parsers, and checkers if they are not fused.
        fused: parse and check in one actor or in two; by default what the pipeline says.
        faults: what happens to actors and messages; by default nothing.

    Raises:
        TypeError: ``lines`` is one text, or one unit has both lines and records.
        ConfigError: the pipeline has no route and several sinks.
        ValueError: a line has a newline in it, offsets of records do not grow, or a number is below 1.
        AssertionError: the run does not come to its end, or its outcomes do not add up. Without a pipeline that does
            forbidden things (global state, a ``merge`` that is not associative) this is an error of Thresher.

    Example::

        pipeline = Pipeline(name="upper", source=Files(pattern="*.log"), parse=bytes.upper, route=lambda record: "out",
                            sinks={"out": Lines()}, dead_letters=DeadLetters())

        assert run_inline(pipeline, ["a", "b"]).written["out"] == [b"A", b"B"]
    """
    if batch_bytes < 1 or workers < 1:
        raise ValueError(f"expected batch_bytes and workers of 1 or more, got {batch_bytes} and {workers}")
    if options is not None:
        pipeline = msgspec.structs.replace(pipeline, options=options)
    shape = Shape(batch_bytes=batch_bytes, workers=workers, fused=pipeline.parser.fused if fused is None else fused)
    with tempfile.TemporaryDirectory(prefix="thresher-inline-") as folder:
        world = World(pipeline, units_of(lines), Path(folder), shape, faults or Faults(0))
        try:
            world.run()
            return result_of(world)
        finally:
            world.close()


def units_of(lines: Iterable[bytes | str | Record] | Mapping[str, bytes | Sequence[Record]]) -> dict[str, Content]:
    """Return the content of each input unit by name."""
    if isinstance(lines, str | bytes):
        raise TypeError(f"lines: expected an iterable of lines, or a mapping of unit name to bytes, got one "
                        f"{type(lines).__name__}: split it, e.g. with splitlines()")
    units = dict(lines) if isinstance(lines, Mapping) else _unit_of(list(lines))
    for name, content in units.items():
        require_order(name, content)
    return units


def _unit_of(given: list[bytes | str | Record]) -> dict[str, Content]:
    """The one unit that is made of lines, or of records, without a name."""
    records = [each for each in given if isinstance(each, Record)]
    lines = [each for each in given if not isinstance(each, Record)]
    if records:
        if lines:
            raise TypeError(f"lines: expected lines or records, got {len(lines)} lines among {len(records)} records: "
                            "give them as units of their own, {name: content}")
        return {_UNIT_OF_RECORDS: records}
    whole: list[bytes] = []
    for number, line in enumerate(lines, 1):
        raw = (line.encode() if isinstance(line, str) else line).removesuffix(b"\n")
        if b"\n" in raw:
            raise ValueError(f"lines: expected no newline within line {number}, got {raw[:60]!r}")
        whole.append(raw + b"\n")
    return {_UNIT: b"".join(whole)}


def result_of(world: World) -> InlineResult:
    """Return what came of a run that is done.

    Raises:
        AssertionError: the outcomes do not add up to what was read.
    """
    units = read_units(world.folder / LEDGER, RUN)
    counts = merged(unit.counts for unit in units)
    outcomes = sum(counts.get(name, 0) for name in OUTCOMES)
    if counts.get("read", 0) != outcomes:
        raise AssertionError(f"the outcomes do not add up: {counts}; {world.describe()}")
    return InlineResult(
        written={name: world.stores[name].items for name in world.sinks},
        stores={name: world.stores[name].values for name in world.sinks},
        dead_letters=letters_of(world), folded=_folded(world, units), counts=counts)


def letters_of(world: World) -> list[DeadLetter]:
    """Return the dead letters in the order of input, each once, however often it was stored."""
    letters = {(x.partition, x.position, x.stage, x.index, order_of(x.output)): x
               for x in world.stores[DEAD_LETTERS].log}
    return [letters[key] for key in sorted(letters)]


def _folded(world: World, units: list[Unit]) -> dict[tuple[Any, ...], list[Any]]:
    fold = world.pipeline.fold
    if fold is None:
        return {}
    names = {unit.id: unit.name for unit in units}
    folded: dict[tuple[Any, ...], list[Any]] = {}
    for shard in aggregator_names(world.manifest):
        for key, numbers in read_state(world.folder / f"{shard}.db", merge_of(fold)).items():
            named = tuple(names.get(member, member) if of == "unit" else member
                          for of, member in zip(fold.keys, key, strict=True))
            folded[named] = numbers
    return dict(sorted(folded.items(), key=lambda item: tuple(map(str, item[0]))))
