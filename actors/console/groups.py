"""What was folded, for people: the largest groups and how many there are, and all of them, one after the other.

Groups are read one by one from the shards' files: memory is bounded, however many there are.
"""

from __future__ import annotations

import heapq
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.state import FoldState, Key, Merge, Numbers, merge_of, packed_rows, rows_of_state
from actors.runtime.values import Unit

#: Groups of all units, or of one, that a report shows; when there are more, those with the largest first number.
MOST_SHOWN = 100
#: Groups that are merged over units in memory; more of them are merged in a file.
_MOST_MERGED = 50_000


class Group(msgspec.Struct, frozen=True):
    """One row of the folded statistics: what they are grouped by, and the numbers."""

    keys: dict[str, str]
    numbers: dict[str, float]


class Groups(msgspec.Struct, frozen=True):
    """Groups to show, and how many there are."""

    shown: list[Group] = []
    count: int = 0


class _Top:
    """The rows with the largest first number, of those that were added; all, as long as they are few."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[tuple[Any, Numbers]] = []
        self._least = float("-inf")  # what is not more than this is not among them

    def add(self, key: Any, numbers: Numbers) -> None:
        self.count += 1
        if not numbers or numbers[0] != self._least or len(self._rows) < MOST_SHOWN:  # quick, for very many that are 1
            self._may_be_one(key, numbers)

    def _may_be_one(self, key: Any, numbers: Numbers) -> None:
        if self._least < _rank((key, numbers)):
            self._rows.append((key, numbers))
            if len(self._rows) > 2 * MOST_SHOWN:
                self._rows = heapq.nlargest(MOST_SHOWN, self._rows, key=_rank)
                self._least = _rank(self._rows[-1])

    def rows(self) -> list[tuple[Any, Numbers]]:
        return self._rows if self.count <= MOST_SHOWN else heapq.nlargest(MOST_SHOWN, self._rows, key=_rank)


def folded_groups(
    manifest: Manifest, pipeline: Pipeline, units: Sequence[Unit]
) -> tuple[Groups, Mapping[int, Groups]]:
    """Return the groups of these units together, and those of each (none, where nobody knows what came from which)."""
    fold = pipeline.fold
    if fold is None:
        return Groups(), {}
    if "unit" in fold.keys:
        return _by_unit(manifest, fold, fold.keys.index("unit"), {unit.id for unit in units})
    top = _Top()
    for shard in _shards(manifest):
        for packed, numbers in packed_rows(shard, merge_of(fold)):
            top.add(packed, numbers)
    decode = msgspec.msgpack.decode
    return _groups(fold.keys, fold, top.count, ((tuple(decode(key)), numbers) for key, numbers in top.rows())), {}


def all_groups(manifest: Manifest, pipeline: Pipeline, units: Iterable[Unit]) -> Iterator[Group]:
    """Give every group; a unit's number is shown as its name, where it is known."""
    fold = pipeline.fold
    if fold is None:
        return
    names = {unit.id: unit.name for unit in units}
    for shard in _shards(manifest):
        for key, numbers in rows_of_state(shard, merge_of(fold)):
            members = {name: str(names.get(member, member) if name == "unit" else member)
                       for name, member in zip(fold.keys, key, strict=True)}
            yield Group(members, dict(zip(fold.fields, numbers, strict=True)))


def _by_unit(
    manifest: Manifest, fold: Fold, position: int, wanted: set[int]
) -> tuple[Groups, Mapping[int, Groups]]:
    names, of_unit = tuple(name for name in fold.keys if name != "unit"), dict[int, _Top]()
    with _Merged(merge_of(fold)) as merged:
        for shard in _shards(manifest):
            for full, numbers in rows_of_state(shard, merge_of(fold)):
                if full[position] in wanted:
                    key = full[:position] + full[position + 1:]
                    of_unit.setdefault(full[position], _Top()).add(key, numbers)
                    merged.add(key, numbers)
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
    ordered = sorted(rows) if count <= MOST_SHOWN else rows
    return Groups([Group(dict(zip(names, map(str, key), strict=True)), dict(zip(fold.fields, numbers, strict=True)))
                   for key, numbers in ordered], count)
