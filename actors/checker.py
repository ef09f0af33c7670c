"""The checker: values checked, routed, encoded and packed for their sinks; partial aggregates for the shards.

Every record of a batch leaves here with one destination that decides its outcome: the sink it is written to, the
dead-letter store, the shard it is folded into, or none (``filtered``). The destination's part carries the claim, and
brings it back in its acknowledgement when it is true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from actors.runtime.errors import NO_VALUE, Finish, Reject
from actors.runtime.lift import bind, lift
from actors.runtime.messages import FINISH, Batch, Counts
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import DeadLetter, SinkOptions, rejections
from actors.runtime.rows import Rows, unpack_rows
from actors.runtime.state import merge_of
from actors.runtime.worker import Checking, Made, Output, Work

STAGE = "checker"
#: Records that go no further, by index: rejected, or the end of all input.
_Rejects = list[tuple[int, Reject | Finish, str]]
_Partial = dict[tuple[Any, ...], list[Any]]


class Destinations(msgspec.Struct, frozen=True):
    """Where a checker sends: the writers by sink name, with their options, and the shards in order."""

    writers: Mapping[str, str]
    sinks: Mapping[str, SinkOptions]
    dead_letters: str
    dead_letter_options: SinkOptions
    shards: Sequence[str]


def checking(check: Checking, decoder: msgspec.msgpack.Decoder[Any]) -> Work:
    """The work of a checker that gets its rows from a parser in another process; ``decoder`` is of one value."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        rows = unpack_rows(batch, frames, decoder)
        return check(batch, lambda: [rows])

    return make


class Check:
    """From the rows of a batch to the parts for every destination. A pure function with its tables made once.

    Args:
        pipeline: the application's functions.
        options: the application's options, or None.
        destinations: where parts go.
    """

    def __init__(self, pipeline: Pipeline, options: msgspec.Struct | None, destinations: Destinations) -> None:
        self._check = None if pipeline.check is None else lift(bind(pipeline.check, options), "check")
        self._route = lift(bind(pipeline.route, options), "route")
        self._encode = lift(bind(pipeline.encode, options), "encode")
        self._fold = pipeline.fold
        self._merge = merge_of(pipeline.fold)
        self._to = destinations

    def __call__(self, batch: Batch, slices: Callable[[], Iterable[Rows]]) -> Made:
        """Return the parts and the counts of a batch, given slice by slice (called again for a second look)."""
        try:
            return self._make(batch, slices(), careful=False)
        except _NeedsCare:
            return self._make(batch, slices(), careful=True)

    def _make(self, batch: Batch, slices: Iterable[Rows], careful: bool) -> Made:
        made = _Making({name: [] for name in self._to.sinks})
        for rows in slices:
            self._add(made, rows, careful)
        parts = [self._part(name, items) for name, items in made.items.items()]
        folded = made.unrouted if self._fold is not None else 0
        parts += self._shard_parts(made.partials, folded)
        if made.letters:
            parts.append(self._dead_letter_part(made.letters))
        filtered = made.filtered + made.unrouted - folded
        counts = {"read": made.read, "filtered": filtered} if filtered else {"read": made.read}
        if made.finishes:
            counts[FINISH] = made.finishes
        return Made(counts, [p for p in parts if p.count or p.claims or self._is_ordered(p.destination)])

    def _add(self, made: _Making, rows: Rows, careful: bool) -> None:
        """Take one slice of a batch through check, route, encode and fold."""
        rejects: _Rejects = []
        values, indices, _ = _split(rows.values, range(len(rows.values)), rejects, rows.stage)
        made.read += len(values) + len(rejects)
        if self._check is not None:
            values, indices, filtered = _split(self._check(values), indices, rejects, STAGE)
            made.filtered += filtered
        fold = self._fold_each if careful else self._fold_all
        partials, values, indices = fold(values, indices, rejects, rows.batch.unit)
        before = len(rejects)
        made.unrouted += self._route_and_encode(made, values, indices, rejects, careful)
        if len(rejects) > before and self._fold is not None:  # what is rejected is in no aggregate
            if not careful:
                raise _NeedsCare
            bad = {index for index, _, _ in rejects[before:]}
            partials = [each for each, index in zip(partials, indices, strict=True) if index not in bad]
        for partial in partials:
            for key, numbers in partial.items():
                known = made.partials.get(key)
                made.partials[key] = numbers if known is None else self._merge(known, numbers)
        if rejects:
            rejects.sort(key=lambda reject: reject[0])
            letters = [(index, reject, stage) for index, reject, stage in rejects if isinstance(reject, Reject)]
            made.letters += rows.dead_letters(letters)
            made.finishes += len(rejects) - len(letters)
            made.filtered += len(rejects) - len(letters)

    def _route_and_encode(
        self, made: _Making, values: list[Any], indices: Sequence[int], rejects: _Rejects, careful: bool
    ) -> int:
        """Add the items of these values, or rejects in their places; return how many have no route."""
        names, kept, unrouted = _split(self._route(values), indices, rejects, STAGE)
        if len(kept) != len(values):
            chosen = set(kept)
            values = [value for value, index in zip(values, indices, strict=True) if index in chosen]
        encoded = self._encode(values)
        if careful or any(issubclass(kind, NO_VALUE) for kind in set(map(type, encoded))) or not self._are_sinks(names):
            self._add_carefully(made, names, encoded, kept, rejects)
        else:
            items = made.items
            for name, item in zip(names, encoded, strict=True):
                items[name].append(item)
        return unrouted

    def _are_sinks(self, names: list[str]) -> bool:
        try:
            return set(names) <= self._to.sinks.keys()
        except TypeError:  # something that is not even hashable
            return False

    def _add_carefully(
        self, made: _Making, names: list[Any], encoded: list[Any], kept: Sequence[int], rejects: _Rejects
    ) -> None:
        """Take over each item that its sink can pack; reject the others, each for itself."""
        for name, item, index in zip(names, encoded, kept, strict=True):
            problem = item
            if not isinstance(name, str) or name not in self._to.sinks:
                problem = Reject("route", f"no sink is called {name!r}")
            elif not isinstance(item, NO_VALUE):
                (problem,) = lift(lambda each, sink=name: self._to.sinks[sink].pack([each]), "encode")([item])
            if isinstance(problem, NO_VALUE):
                rejects.append((index, problem, STAGE))
            else:
                made.items[name].append(item)

    def _fold_all(
        self, values: list[Any], indices: Sequence[int], rejects: _Rejects, unit: int
    ) -> tuple[list[_Partial], list[Any], Sequence[int]]:
        """Fold the values of a slice at once."""
        if self._fold is None or not values:
            return [], values, indices
        try:
            return [self._fold.partials(values, unit)], values, indices
        except Exception as error:
            raise _NeedsCare from error

    def _fold_each(
        self, values: list[Any], indices: Sequence[int], rejects: _Rejects, unit: int
    ) -> tuple[list[_Partial], list[Any], Sequence[int]]:
        """Fold each value for itself; reject those that cannot be folded."""
        fold = self._fold
        if fold is None:
            return [], values, indices
        partials, kept, _ = _split(lift(lambda value: fold.partials([value], unit), "fold")(values), indices, rejects,
                                   STAGE)
        chosen = set(kept)
        return partials, [value for value, index in zip(values, indices, strict=True) if index in chosen], kept

    def _is_ordered(self, destination: str) -> bool:
        for name, writer in self._to.writers.items():
            if writer == destination:
                return self._to.sinks[name].ordered
        return destination != self._to.dead_letters

    def _part(self, sink: str, items: list[Any]) -> Output:
        writer = self._to.writers[sink]
        if not items:
            return Output(writer, 0, {}, [])
        try:
            frame = self._to.sinks[sink].pack(items)
        except Exception as error:
            raise _NeedsCare from error
        return Output(writer, len(items), {"written": len(items), f"written.{sink}": len(items)}, [frame])

    def _shard_parts(self, partials: Mapping[tuple[Any, ...], list[Any]], folded: int) -> list[Output]:
        shards = self._to.shards
        if not shards:
            return []
        by_shard: list[list[tuple[tuple[Any, ...], list[Any]]]] = [[] for _ in shards]
        for key, numbers in partials.items():
            by_shard[shard_of(key, len(shards))].append((key, numbers))
        claims: list[Counts] = [{} for _ in shards]
        if folded:
            claims[0]["folded"] = folded
        return [
            Output(shard, len(entries), claim, [msgspec.msgpack.encode(entries)] if entries else [])
            for shard, entries, claim in zip(shards, by_shard, claims, strict=True)
        ]

    def _dead_letter_part(self, letters: list[DeadLetter]) -> Output:
        frame = self._to.dead_letter_options.pack(letters)
        return Output(self._to.dead_letters, len(letters), rejections(letters), [frame])


class _NeedsCare(Exception):
    """Some record of the batch cannot be folded, routed, encoded or packed: look at each for itself."""


class _Making:
    """What has been made of the slices of a batch so far."""

    def __init__(self, items: dict[str, list[Any]]) -> None:
        self.items = items
        self.partials: dict[tuple[Any, ...], list[Any]] = {}
        self.letters: list[DeadLetter] = []
        self.read = self.filtered = self.unrouted = self.finishes = 0


def shard_of(key: tuple[Any, ...], shards: int) -> int:
    """The shard that a key belongs to; the same for ever, in every process."""
    return crc32(msgspec.msgpack.encode(key)) % shards


def _split(
    values: list[Any], indices: Sequence[int], rejects: _Rejects, stage: str
) -> tuple[list[Any], Sequence[int], int]:
    """Take rejects, ends of input and Nones out; return the values left, their indices, and the number of Nones."""
    kinds = set(map(type, values))
    if type(None) not in kinds and not any(issubclass(kind, NO_VALUE) for kind in kinds):
        return values, indices, 0
    good: list[Any] = []
    kept: list[int] = []
    nones = 0
    for value, index in zip(values, indices, strict=True):
        if value is None:
            nones += 1
        elif isinstance(value, NO_VALUE):
            rejects.append((index, value, stage))
        else:
            good.append(value)
            kept.append(index)
    return good, kept, nones
