"""The checker: values checked, routed, encoded and packed for their sinks; partial aggregates for the shards.

Every record of a batch leaves here with one destination that decides its outcome: the sink it is written to, the
dead-letter store, the shard it is folded into, or none (``filtered``). The destination's part carries the claim, and
brings it back in its acknowledgement when it is true.
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from zlib import crc32

import msgspec

from actors.runtime.errors import NO_VALUE, Finish, Reject
from actors.runtime.lift import bind, bind_partials, lift
from actors.runtime.messages import FINISH, NO_TIMES, Batch
from actors.runtime.pipeline import Bulk, Pipeline, route_of
from actors.runtime.ports import SinkOptions
from actors.runtime.rows import Rows, unpack_rows
from actors.runtime.sections import WindowOptions
from actors.runtime.state import merge_into, merge_of
from actors.runtime.values import DeadLetter, rejections
from actors.runtime.windows import Passage, Placer, WindowId, shard_of_window
from actors.runtime.worker import Checking, Made, Output, Work

STAGE = "checker"
_encoder = msgspec.msgpack.Encoder()
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
        window: kind and sizes of its windows.
    """

    def __init__(
        self, pipeline: Pipeline, options: msgspec.Struct | None, destinations: Destinations,
        window: WindowOptions = WindowOptions(),  # noqa: B008 - frozen
    ) -> None:
        self._check = None if pipeline.check is None else lift(bind(pipeline.check, options), "check")
        self._route = lift(bind(route_of(pipeline), options), "route")
        self._encode = lift(bind(pipeline.encode, options), "encode")
        self._fold = pipeline.fold
        self._partials = None if pipeline.fold is None else bind_partials(pipeline.fold.partials, options)
        self._merge = merge_of(pipeline.fold)
        self._kind = window.kind
        self._placer = None if pipeline.windows is None else Placer(
            pipeline.windows, options, window, len(destinations.shards))
        self._to = destinations

    def __call__(
        self, batch: Batch, slices: Callable[[], Iterable[Rows]],
        quick: Callable[[], Iterable[Rows | Bulk]] | None = None,
    ) -> Made:
        """Return the parts and the counts of a batch, given slice by slice (called again for a second look).

        ``quick`` gives the same slices for the first look, some of them as what the application's ``bulk`` made of
        them.
        """
        try:
            if quick is not None:
                with contextlib.suppress(_NeedsLines):
                    return self._make(batch, quick(), careful=False)
            return self._make(batch, slices(), careful=False)
        except _NeedsCare:
            return self._make(batch, slices(), careful=True)

    def _make(self, batch: Batch, slices: Iterable[Rows | Bulk], careful: bool) -> Made:
        made = _Making({name: [] for name in self._to.sinks}, Passage(batch))
        for rows in slices:
            if isinstance(rows, Bulk):
                self._take(made, rows)
            else:
                self._add(made, rows, careful)
        if self._placer is not None and made.passage.is_probe:
            return Made({}, again=made.passage.span() or NO_TIMES, records=made.read)
        parts = [self._part(name, items) for name, items in made.items.items()]
        folded = made.unrouted if self._fold is not None else 0
        parts += self._window_parts(made.partials) if self._placer is not None else self._shard_parts(made.partials)
        if made.letters:
            parts.append(self._dead_letter_part(made.letters))
        filtered = made.filtered + made.unrouted - folded
        # Not a claim of one part: when some of the batch is late for a shard, another has taken its part already.
        outcomes = {"filtered": filtered, "folded": folded, "late": made.late, FINISH: made.finishes}
        counts = {"read": made.read, **{name: number for name, number in outcomes.items() if number}}
        parts = [p for p in parts if p.count or p.claims or self._is_ordered(p.destination)]
        return Made(counts, parts, newest=made.passage.newest)

    def _take(self, made: _Making, bulk: Bulk) -> None:
        """Take over what the application made of a whole slice."""
        unrouted = bulk.read - bulk.filtered - sum(map(len, bulk.items.values()))
        if unrouted < 0 or not bulk.items.keys() <= made.items.keys():
            raise _NeedsCare
        made.read += bulk.read
        made.filtered += bulk.filtered
        made.unrouted += unrouted
        for name, items in bulk.items.items():
            made.items[name] += items
        partials = bulk.partials
        if self._placer is not None:
            windows = self._placer.place_whole(made.passage, bulk.times) if bulk.partials else ()
            if windows is None:
                raise _NeedsLines
            partials = {(window, key): numbers for window in windows for key, numbers in partials.items()}
        merge_into(made.partials, partials.items(), self._merge)

    def _add(self, made: _Making, rows: Rows, careful: bool) -> None:
        """Take one slice of a batch through check, route, encode and fold."""
        rejects: _Rejects = []
        values, indices, _ = _split(rows.values, range(len(rows.values)), rejects, rows.stage)
        made.read += len(values) + len(rejects)
        if self._check is not None:
            values, indices, filtered = _split(self._check(values), indices, rejects, STAGE)
            made.filtered += filtered
        places: list[Any] = []
        late: dict[int, Reject] = {}
        if self._placer is not None and values:
            places = self._placer.place(made.passage, values)
            if self._to.sinks:
                places, late = _without_late(places, indices)
            places, kept, _ = _split(places, indices, rejects, STAGE)
            values, indices = _chosen(values, indices, kept), kept
        fold = self._fold_each if careful else self._fold_all
        partials, values, indices = fold(values, places, indices, rejects, rows.batch.unit)
        before = len(rejects)
        made.unrouted += self._route_and_encode(made, values, indices, rejects, careful, late)
        if len(rejects) > before and self._fold is not None:  # what is rejected is in no aggregate
            if not careful:
                raise _NeedsCare
            bad = {index for index, _, _ in rejects[before:]}
            partials = [each for each, index in zip(partials, indices, strict=True) if index not in bad]
        for partial in partials:
            merge_into(made.partials, partial.items(), self._merge)
        if rejects:
            rejects.sort(key=lambda reject: reject[0])
            letters = [(index, reject, stage) for index, reject, stage in rejects if isinstance(reject, Reject)]
            made.letters += rows.dead_letters(letters)
            made.finishes += len(rejects) - len(letters)
            made.filtered += len(rejects) - len(letters)

    def _route_and_encode(
        self, made: _Making, values: list[Any], indices: Sequence[int], rejects: _Rejects, careful: bool,
        late: Mapping[int, Reject],
    ) -> int:
        """Add the items of these values, or rejects in their places; return how many have no route."""
        names = self._route(values)
        if late:  # what has a sink of its own is written: a writer may have taken it before a shard said so
            names = [late.get(index) if name is None else name for name, index in zip(names, indices, strict=True)]
        names, kept, unrouted = _split(names, indices, rejects, STAGE)
        made.late += len(late.keys() & set(kept))
        values = _chosen(values, indices, kept)
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
                if isinstance(problem, Reject) and problem.reason == "encode_error":
                    problem = Reject("encode_error", f"sink {name} cannot take what it is given, {reprlib.repr(item)} "
                                     f"of type {type(item).__name__}: {problem.detail}")
            if isinstance(problem, NO_VALUE):
                rejects.append((index, problem, STAGE))
            else:
                made.items[name].append(item)

    def _fold_all(
        self, values: list[Any], places: list[Any], indices: Sequence[int], rejects: _Rejects, unit: int
    ) -> tuple[list[_Partial], list[Any], Sequence[int]]:
        """Fold the values of a slice at once."""
        if self._partials is None or not values:
            return [], values, indices
        try:
            return [self._partials_of(values, places, unit)], values, indices
        except Exception as error:
            raise _NeedsCare from error

    def _fold_each(
        self, values: list[Any], places: list[Any], indices: Sequence[int], rejects: _Rejects, unit: int
    ) -> tuple[list[_Partial], list[Any], Sequence[int]]:
        """Fold each value for itself; reject those that cannot be folded."""
        if self._fold is None:
            return [], values, indices
        pairs = list(zip(values, places or [()] * len(values), strict=True))
        fold_one = lift(lambda pair: self._partials_of([pair[0]], [pair[1]], unit), "fold")
        partials, kept, _ = _split(fold_one(pairs), indices, rejects, STAGE)
        return partials, _chosen(values, indices, kept), kept

    def _partials_of(self, values: list[Any], places: list[Any], unit: int) -> _Partial:
        """Partial aggregates; with windows those of each, its (start, end, key) before the key."""
        assert self._partials is not None
        if self._placer is None:
            whole: _Partial = self._partials(values, unit)
            return whole
        by_window: dict[WindowId, list[Any]] = {}
        if len(set(map(id, places))) == 1:  # the usual case: the same for all
            by_window = dict.fromkeys(places[0], values)
        else:
            for value, place in zip(values, places, strict=True):
                for window in place:
                    by_window.setdefault(window, []).append(value)
        return {(window, key): numbers for window, some in by_window.items()
                for key, numbers in self._partials(some, unit).items()}

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

    def _window_parts(self, partials: Mapping[tuple[Any, ...], list[Any]]) -> list[Output]:
        """The partial aggregates of each window, encoded once: the shard keeps them as they are."""
        by_window: dict[WindowId, list[tuple[Any, Any]]] = {}
        for (window, key), numbers in partials.items():
            by_window.setdefault(window, []).append((key, numbers))
        shards = self._to.shards
        by_shard: list[list[tuple[int, int, tuple[Any, ...], bytes]]] = [[] for _ in shards]
        for window, entries in by_window.items():
            by_shard[shard_of_window(window, self._kind, len(shards))].append((*window, _encoder.encode(entries)))
        return [Output(shard, len(some), {}, [_encoder.encode(some)] if some else [])
                for shard, some in zip(shards, by_shard, strict=True)]

    def _shard_parts(self, partials: Mapping[tuple[Any, ...], list[Any]]) -> list[Output]:
        shards = self._to.shards
        if not shards:
            return []
        by_shard: list[list[tuple[tuple[Any, ...], list[Any]]]] = [[] for _ in shards]
        if len(shards) == 1:
            by_shard = [list(partials.items())]
        else:
            for key, numbers in partials.items():
                by_shard[shard_of(key, len(shards))].append((key, numbers))
        return [Output(shard, len(entries), {}, [_encoder.encode(entries)] if entries else [])
                for shard, entries in zip(shards, by_shard, strict=True)]

    def _dead_letter_part(self, letters: list[DeadLetter]) -> Output:
        frame = self._to.dead_letter_options.pack(letters)
        return Output(self._to.dead_letters, len(letters), rejections(letters), [frame])


class _NeedsCare(Exception):
    """Some record of the batch cannot be folded, routed, encoded or packed: look at each for itself."""


class _NeedsLines(Exception):
    """What an application made of a whole slice belongs to several windows, or some of it may be late."""


class _Making:
    """What has been made of the slices of a batch so far."""

    def __init__(self, items: dict[str, list[Any]], passage: Passage) -> None:
        self.items = items
        self.passage = passage
        self.partials: dict[tuple[Any, ...], list[Any]] = {}
        self.letters: list[DeadLetter] = []
        self.read = self.filtered = self.unrouted = self.finishes = self.late = 0


def _without_late(places: list[Any], indices: Sequence[int]) -> tuple[list[Any], dict[int, Reject]]:
    """Return the places with none for those that are late, and the late ones by index."""
    late = {index: place for place, index in zip(places, indices, strict=True)
            if isinstance(place, Reject) and place.reason == "late"}
    return [() if index in late else place for place, index in zip(places, indices, strict=True)], late


def _chosen(values: list[Any], indices: Sequence[int], kept: Sequence[int]) -> list[Any]:
    """Those of the values, which have these indices, whose index was kept."""
    if len(kept) == len(values):
        return values
    chosen = set(kept)
    return [value for value, index in zip(values, indices, strict=True) if index in chosen]


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
