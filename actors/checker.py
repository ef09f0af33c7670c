"""The checker: values checked, routed, encoded and packed for their sinks; partial aggregates for the shards.

Every record of a batch leaves here with one destination that decides its outcome: the sink it is written to, the
dead-letter store, the shard it is folded into, or none (``filtered``). The destination's part carries the claim, and
brings it back in its acknowledgement when it is true.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from actors.runtime.errors import Reject
from actors.runtime.lift import bind, lift
from actors.runtime.messages import Batch, Counts
from actors.runtime.pipeline import Pipeline
from actors.runtime.ports import SinkOptions
from actors.runtime.rows import Rows, unpack_rows
from actors.runtime.worker import Made, Output, Work

STAGE = "checker"
_Rejects = list[tuple[int, Reject, str]]


class Destinations(msgspec.Struct, frozen=True):
    """Where a checker sends: the writers by sink name, with their options, and the shards in order."""

    writers: Mapping[str, str]
    sinks: Mapping[str, SinkOptions]
    dead_letters: str
    dead_letter_options: SinkOptions
    shards: Sequence[str]


def checking(check: Callable[[Rows], Made]) -> Work:
    """The work of a checker that gets its rows from a parser in another process."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        return check(unpack_rows(batch, frames))

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
        self._to = destinations

    def __call__(self, rows: Rows) -> Made:
        """Return the parts and the counts of a batch."""
        rejects: _Rejects = []
        values, indices, _ = _split(rows.values, range(len(rows.values)), rejects, rows.stage)
        read = len(values) + len(rejects)
        filtered = 0
        if self._check is not None:
            values, indices, filtered = _split(self._check(values), indices, rejects, STAGE)
        partials, values, indices = self._partials(values, indices, rejects, rows.batch.unit)
        groups, unrouted = self._group(values, indices, rejects)
        folded = unrouted if self._fold is not None else 0
        parts = [self._part(name, groups.get(name, []), rejects) for name in self._to.sinks]
        parts += self._shard_parts(partials, folded)
        if rejects:
            rejects.sort(key=lambda reject: reject[0])
            parts.append(self._dead_letter_part(rows, rejects))
        counts = {"read": read}
        if filtered + unrouted - folded:
            counts["filtered"] = filtered + unrouted - folded
        return Made(counts, [p for p in parts if p.count or p.claims or self._is_ordered(p.destination)])

    def _is_ordered(self, destination: str) -> bool:
        for name, writer in self._to.writers.items():
            if writer == destination:
                return self._to.sinks[name].ordered
        return destination != self._to.dead_letters

    def _group(
        self, values: list[Any], indices: Sequence[int], rejects: _Rejects
    ) -> tuple[dict[str, list[tuple[int, Any]]], int]:
        """Route and encode; return (index, item) by sink, and how many go to no sink."""
        names, kept, unrouted = _split(self._route(values), indices, rejects, STAGE)
        if len(kept) != len(values):
            chosen = set(kept)
            values = [value for value, index in zip(values, indices, strict=True) if index in chosen]
        items = self._encode(values)
        groups: dict[str, list[tuple[int, Any]]] = {name: [] for name in self._to.sinks}
        for name, item, index in zip(names, items, kept, strict=True):
            if isinstance(item, Reject):
                rejects.append((index, item, STAGE))
            elif name in groups:
                groups[name].append((index, item))
            else:
                rejects.append((index, Reject("route", f"no sink is called {name!r}"), STAGE))
        return groups, unrouted

    def _part(self, sink: str, entries: list[tuple[int, Any]], rejects: _Rejects) -> Output:
        writer = self._to.writers[sink]
        if not entries:
            return Output(writer, 0, {}, [])
        options = self._to.sinks[sink]
        try:
            frame = options.pack([item for _, item in entries])
        except Exception:
            entries = _packable(options, entries, rejects)
            frame = options.pack([item for _, item in entries])
        count = len(entries)
        return Output(writer, count, {"written": count, f"written.{sink}": count} if count else {}, [frame])

    def _partials(
        self, values: list[Any], indices: Sequence[int], rejects: _Rejects, unit: int
    ) -> tuple[dict[tuple[Any, ...], list[Any]], list[Any], Sequence[int]]:
        fold = self._fold
        if fold is None or not values:
            return {}, values, indices
        try:
            return fold.partials(values, unit), values, indices
        except Exception:
            probe = lift(lambda value: fold.partials([value], unit), "fold")
            good: list[int] = []
            for position, result in enumerate(probe(values)):
                if isinstance(result, Reject):
                    rejects.append((indices[position], result, STAGE))
                else:
                    good.append(position)
            values = [values[position] for position in good]
            return fold.partials(values, unit), values, [indices[position] for position in good]

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

    def _dead_letter_part(self, rows: Rows, rejects: _Rejects) -> Output:
        letters = rows.dead_letters(rejects)
        claims = {"dead_lettered": len(letters)}
        for reason, number in Counter(letter.reason for letter in letters).items():
            claims[f"rejected.{reason}"] = number
        return Output(self._to.dead_letters, len(letters), claims, [self._to.dead_letter_options.pack(letters)])


def shard_of(key: tuple[Any, ...], shards: int) -> int:
    """The shard that a key belongs to; the same for ever, in every process."""
    return crc32(msgspec.msgpack.encode(key)) % shards


def _split(
    values: list[Any], indices: Sequence[int], rejects: _Rejects, stage: str
) -> tuple[list[Any], Sequence[int], int]:
    """Take rejects and Nones out; return the values left, their indices, and the number of Nones."""
    kinds = set(map(type, values))
    if type(None) not in kinds and not any(issubclass(kind, Reject) for kind in kinds):
        return values, indices, 0
    good: list[Any] = []
    kept: list[int] = []
    nones = 0
    for value, index in zip(values, indices, strict=True):
        if value is None:
            nones += 1
        elif isinstance(value, Reject):
            rejects.append((index, value, stage))
        else:
            good.append(value)
            kept.append(index)
    return good, kept, nones


def _packable(
    options: SinkOptions, entries: list[tuple[int, Any]], rejects: _Rejects
) -> list[tuple[int, Any]]:
    """Leave out the items that this sink cannot pack, each rejected for itself."""
    probe = lift(lambda item: options.pack([item]), "encode")
    results = probe([item for _, item in entries])
    rejects += [(entry[0], result, STAGE) for entry, result in zip(entries, results, strict=True)
                if isinstance(result, Reject)]
    return [entry for entry, result in zip(entries, results, strict=True) if not isinstance(result, Reject)]
