"""What was folded, for people: the largest groups and how many there are, and all of them, one after the other.

Groups are read one by one from the shards' files: memory is bounded, however many there are.
"""

from __future__ import annotations

import heapq
import sqlite3
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.emitter import sorted_items
from actors.runtime.errors import ConfigError
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.runs import Block
from actors.runtime.state import FoldState, Key, Merge, Numbers, merge_of, packed_blocks, rows_of_state
from actors.runtime.values import Unit

#: Groups of all units, or of one, that a report shows; when there are more, those with the largest first number.
MOST_SHOWN = 100
#: Groups of single units that a report shows in all: of very many units fewer of each, at least one.
_MOST_OF_UNITS = 10_000
#: Groups that are merged over units in memory; more of them are merged in a file.
_MOST_MERGED = 50_000
#: Packed numbers that are known not to be among the largest.
_MOST_DULL = 4096
_numbers = msgspec.msgpack.Decoder(list[Any])


class Group(msgspec.Struct, frozen=True):
    """One row of the folded statistics: what they are grouped by, and the numbers."""

    keys: dict[str, str]
    numbers: dict[str, float]


class Groups(msgspec.Struct, frozen=True):
    """Groups to show, and how many there are."""

    shown: list[Group] = []
    count: int = 0


class _Top:
    """The rows with the largest first number, of those that were added; all, as long as they are at most ``most``."""

    def __init__(self, most: int = MOST_SHOWN) -> None:
        self.count = 0
        self._most = most
        self._rows: list[tuple[Any, Numbers]] = []
        self._least = float("-inf")  # what is not more than this is not among them

    def add(self, key: Any, numbers: Numbers) -> None:
        self.count += 1
        if not numbers or numbers[0] != self._least or len(self._rows) < self._most:  # quick, for very many that are 1
            self._may_be_one(key, numbers)

    def _may_be_one(self, key: Any, numbers: Numbers) -> None:
        if self._least < _rank((key, numbers)):
            self._rows.append((key, numbers))
            if len(self._rows) > 2 * self._most:
                self._rows = heapq.nlargest(self._most, self._rows, key=_rank)
                self._least = _rank(self._rows[-1])

    def is_dull(self, numbers: Numbers) -> bool:
        """Whether rows with these numbers are not among them, whatever comes."""
        return len(self._rows) >= self._most and self._least >= _rank((None, numbers))

    def rows(self) -> list[tuple[Any, Numbers]]:
        return self._rows if self.count <= self._most else heapq.nlargest(self._most, self._rows, key=_rank)


class _PackedTop(_Top):
    """The same, of packed rows: most of them are like others that are not among the largest, and are not unpacked."""

    def __init__(self) -> None:
        super().__init__()
        self._dull: set[bytes] = set()

    def add_all(self, block: Block) -> None:
        dull, decode = self._dull, _numbers.decode
        some = [row for row in zip(*block, strict=True) if row[1] not in dull]
        self.count += len(block[0]) - len(some)
        for key, packed in some:
            numbers = decode(packed)
            self.add(key, numbers)
            if len(dull) < _MOST_DULL and self.is_dull(numbers):
                dull.add(packed)


def folded_groups(
    manifest: Manifest, pipeline: Pipeline, units: Sequence[Unit]
) -> tuple[Groups, Mapping[int, Groups]]:
    """Return the groups of these units together, and those of each (none, where nobody knows what came from which).

    Raises:
        ConfigError: the application's functions do not fit what they have folded.
    """
    fold = pipeline.fold
    if fold is None:
        return Groups(), {}
    with _fitting(fold):
        return _found(manifest, fold, units)


def _found(manifest: Manifest, fold: Fold, units: Sequence[Unit]) -> tuple[Groups, Mapping[int, Groups]]:
    if "unit" in fold.keys:
        return _by_unit(manifest, fold, fold.keys.index("unit"), {unit.id for unit in units})
    top = _PackedTop()
    for shard in _shards(manifest):
        for block in packed_blocks(shard, merge_of(fold)):
            top.add_all(block)
    decode = msgspec.msgpack.decode
    return _groups(fold.keys, fold, top.count, ((tuple(decode(key)), numbers) for key, numbers in top.rows())), {}


def all_groups(manifest: Manifest, pipeline: Pipeline, units: Iterable[Unit]) -> Iterator[Group]:
    """Give every group; a unit's number is shown as its name, where it is known.

    Raises:
        ConfigError: the application's functions do not fit what they have folded.
    """
    fold = pipeline.fold
    if fold is None:
        return
    names = {unit.id: unit.name for unit in units}
    with _fitting(fold):
        for shard in _shards(manifest):
            for key, numbers in rows_of_state(shard, merge_of(fold)):
                members = {name: str(names.get(member, member) if name == "unit" else member)
                           for name, member in zip(fold.keys, key, strict=True)}
                yield Group(members, dict(zip(fold.fields, numbers, strict=True)))


@contextmanager
def _fitting(fold: Fold) -> Iterator[None]:
    """What the application's merge raises, or a number of members that is another, is said in a sentence."""
    try:
        yield
    except (ConfigError, sqlite3.Error, OSError):
        raise
    except Exception as error:
        raise ConfigError(
            f"fold: what was folded does not fit keys ({', '.join(fold.keys)}), fields ({', '.join(fold.fields)}) and "
            f"merge, expected a member of each key for each of keys, a number for each of fields "
            f"({type(error).__name__}: {error}): mend partials or merge, and begin anew with --fresh") from error


def _by_unit(
    manifest: Manifest, fold: Fold, position: int, wanted: set[int]
) -> tuple[Groups, Mapping[int, Groups]]:
    names, of_unit = tuple(name for name in fold.keys if name != "unit"), dict[int, _Top]()
    most = max(1, min(MOST_SHOWN, _MOST_OF_UNITS // max(1, len(wanted))))
    with _Merged(merge_of(fold)) as merged:
        for shard in _shards(manifest):
            for full, numbers in rows_of_state(shard, merge_of(fold)):
                if (unit := full[position]) in wanted:
                    key = full[:position] + full[position + 1:]
                    if unit not in of_unit:
                        of_unit[unit] = _Top(most)
                    of_unit[unit].add(key, numbers)
                    if len(wanted) > 1:
                        merged.add(key, numbers)
        if len(wanted) == 1:
            each = {unit: _groups(names, fold, of.count, of.rows()) for unit, of in of_unit.items()}
            return next(iter(each.values()), Groups()), each
        top = _Top()
        for key, numbers in merged.rows():
            top.add(key, numbers)
    return (_groups(names, fold, top.count, top.rows()),
            {unit: _groups(names, fold, of.count, of.rows()) for unit, of in of_unit.items()})


class _Merged:
    """Rows merged by key, in memory, or in a file when they are many."""

    def __init__(self, merge: Merge) -> None:
        self._merge = merge
        self._rows: dict[Key, Numbers] = {}
        self._stack = ExitStack()
        self._state: FoldState | None = None
        self._path = Path()

    def __enter__(self) -> _Merged:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def add(self, key: Key, numbers: Numbers) -> None:
        known = self._rows.get(key)
        self._rows[key] = numbers if known is None else self._merge(known, numbers)
        if len(self._rows) > _MOST_MERGED:
            self._spill()

    def rows(self) -> Iterator[tuple[Key, Numbers]]:
        if self._state is None:
            yield from self._rows.items()
            return
        self._spill()
        self._state.end(True)
        yield from rows_of_state(self._path, self._merge)

    def _spill(self) -> None:
        if self._state is None:
            self._path = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="thresher-"))) / "merged.db"
            self._state = FoldState(self._path, 1, self._merge)
            self._stack.callback(self._state.close)
        self._state.fold(self._rows.items())
        self._state.commit({})
        self._rows = {}


def _shards(manifest: Manifest) -> Iterator[Path]:
    return (Path(manifest.state) / f"aggregator.{shard}.db" for shard in range(1, manifest.aggregator.shards + 1))


def _rank(row: tuple[Any, Numbers]) -> float:
    numbers = row[1]
    return numbers[0] if numbers and isinstance(numbers[0], int | float) else 0


def _groups(names: Sequence[str], fold: Fold, count: int, rows: Iterable[tuple[Key, Numbers]]) -> Groups:
    found = list(rows)
    ordered = found if count > len(found) else sorted_items(dict(found))
    return Groups([Group(dict(zip(names, map(str, key), strict=True)), dict(zip(fold.fields, numbers, strict=True)))
                   for key, numbers in ordered], count)
