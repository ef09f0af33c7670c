"""The checker: values checked, routed, encoded and packed for their sinks; partial aggregates for the shards.

Every record of a batch leaves here with one destination that decides its outcome: the sink it is written to, the
dead-letter store, the shard it is folded into, or none (``filtered``). The destination's part carries the claim, and
brings it back in its acknowledgement when it is true. A record that several things are made of may have several
destinations, which decide together (``runtime/outputs.py``).
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from actors.runtime.errors import NO_VALUE, Finish, Reject
from actors.runtime.fitness import FOLD, Fitness, Unfit
from actors.runtime.folding import Folding, Partial
from actors.runtime.framing import places_in
from actors.runtime.lift import bind, lift
from actors.runtime.making import Making, Slice
from actors.runtime.messages import NO_TIMES, Batch
from actors.runtime.outputs import Outputs, only_to, pack_owners, pack_places
from actors.runtime.pipeline import Bulk, Pipeline, route_of
from actors.runtime.ports import SinkOptions
from actors.runtime.rows import Rows, unpack_rows
from actors.runtime.sections import WindowOptions
from actors.runtime.state import merge_into, merge_of
from actors.runtime.windows import Passage, Placer, shards_of
from actors.runtime.worker import Checking, Made, Output, Work
from actors.spread import shard_parts, window_parts

STAGE, NEWLINE = "checker", "\n"
_encoder = msgspec.msgpack.Encoder()


class Destinations(msgspec.Struct, frozen=True):
    """Where a checker sends: the writers by sink name, with their options, and the shards in order.

    ``was_taken``: whether a sink, the fold or the windows have taken something in this state; see ``Fitness``.
    """

    writers: Mapping[str, str]
    sinks: Mapping[str, SinkOptions]
    dead_letters: str
    dead_letter_options: SinkOptions
    shards: Sequence[str]
    was_taken: Callable[[str], bool] = lambda place: True


def checking(check: Checking, decoder: msgspec.msgpack.Decoder[Any]) -> Work:
    """The work of a checker that gets its rows from a parser in another process; ``decoder`` is of one value."""

    def make(batch: Batch, frames: list[bytes]) -> Made:
        rows = unpack_rows(batch, frames, decoder)
        return check(batch, lambda: [rows])

    return make


class TrialOfRows:
    """What a parser has made of records; some of them are checked. See ``runtime/examine.py``.

    Args:
        check: the work.
        decoder: of one value.
        batch, frames: what is tried.
    """

    def __init__(self, check: Checking, decoder: msgspec.msgpack.Decoder[Any], batch: Batch,
                 frames: list[bytes]) -> None:
        self._check = check
        self._rows = unpack_rows(batch, frames, decoder)
        self.places = places_in(frames[0], batch.framing, batch.start, batch.end, batch.offset)

    def run(self, first: int, last: int) -> None:
        """Check some."""
        rows, base = self._rows, self.places[0]
        some = Rows(rows.batch, rows.lines[first:last], rows.values[first:last], rows.stage,
                    (self.places[first] - base, first))
        self._check(rows.batch, lambda: [some])


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
        self._fold = None if pipeline.fold is None else Folding(
            pipeline.fold, options, window.kind if pipeline.windows is not None else "")
        self._merge = merge_of(pipeline.fold)
        self._kind, self._spread = window.kind, shards_of(window, len(destinations.shards))
        self._placer = None if pipeline.windows is None else Placer(
            pipeline.windows, options, window, len(destinations.shards))
        self._to = destinations
        self._fitness = Fitness(destinations.was_taken)
        self._naming = frozenset(name for name, sink in destinations.sinks.items() if sink.names_records)

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
        made = Making(self._to.sinks, Passage(batch))
        for rows in slices:
            if isinstance(rows, Bulk):
                self._take(made, rows)
            else:
                self._add(made, rows, careful)
        if self._placer is not None and made.passage.is_probe:
            return Made({}, again=made.passage.span() or NO_TIMES, records=made.read)
        parts = [self._part(name, made) for name in made.items]
        try:
            parts += (shard_parts(made.partials, self._to.shards) if self._placer is None
                      else window_parts(made, self._kind, self._to.shards, self._spread))
        except (TypeError, OverflowError) as error:  # a number or a member of a key that cannot travel
            if careful:
                raise
            raise _NeedsCare from error
        self._fitness.judge(made.passage.unfit, made.passage.taken)
        if made.letters:
            parts.append(self._dead_letter_part(made))
        # Not a claim of one part: when some of the batch is late for a shard, another has taken its part already.
        counts = made.counts(folds=self._fold is not None)
        parts = [p for p in parts if p.count or p.claims or self._is_ordered(p.destination)]
        return Made(counts, parts, newest=made.passage.newest, dead=sorted(made.dead))

    def _take(self, made: Making, bulk: Bulk) -> None:
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
        if self._fold is not None:
            try:
                self._fold.require(partials)
            except Unfit as error:
                raise _NeedsCare from error
        if self._placer is not None:
            number = bulk.read - bulk.filtered
            windows = self._placer.place_whole(made.passage, bulk.times, number) if bulk.partials else ()
            if windows is None:
                raise _NeedsLines
            partials = {(window, key): numbers for window in windows for key, numbers in partials.items()}
        merge_into(made.partials, partials.items(), self._merge)

    def _add(self, made: Making, rows: Rows, careful: bool) -> None:
        """Take one slice of a batch through check, route, encode and fold."""
        some = Slice(rows, careful)
        values, indices = some.begin()
        if self._check is not None:
            values, indices, some.filtered = some.split(self._check(values), indices, STAGE, "check")
        places: list[Any] = []
        if self._placer is not None and values and not some.sink:
            places = self._placer.place(made.passage, values)
            if self._to.sinks:
                places, some.late = _without_late(places, indices)
            places, kept, _ = some.split(places, indices, STAGE, "time")
            values, indices = _chosen(values, indices, kept), kept
        partials: list[Partial] = []
        if not some.sink:  # else it was folded when all of its record was sent
            fold = self._fold_each if careful else self._fold_all
            partials, values, indices = fold(values, places, indices, some)
        before = len(some.rejects)
        self._route_and_encode(made, values, indices, some)
        if len(some.rejects) > before and partials:  # what is rejected is in no aggregate
            if not careful:
                raise _NeedsCare
            bad = {index for index, _, _ in some.rejects[before:]}
            partials = [each for each, index in zip(partials, indices, strict=True) if index not in bad]
        for partial in partials:
            merge_into(made.partials, partial.items(), self._merge)
        made.settle(some)

    def _route_and_encode(self, made: Making, values: list[Any], indices: Sequence[int], some: Slice) -> None:
        """Add the items of these values, or rejects in their places."""
        names = self._route(values)
        if some.late:  # what has a sink of its own is written: a writer may have taken it before a shard said so
            names = [some.late.get(index) if name is None or (isinstance(name, tuple) and not name) else name
                     for name, index in zip(names, indices, strict=True)]
        if some.sink:
            names = [only_to(name, some.rows.batch.only) for name in names]
        names, kept = some.routed(names, indices, STAGE)
        encoded = self._encode(_chosen(values, indices, kept))
        if some.outputs is not None:
            self._add_outputs(made, names, encoded, kept, some, some.outputs)
        elif some.careful or any(issubclass(kind, NO_VALUE) for kind in set(map(type, encoded))) or (
                not self._are_sinks(names)):
            self._add_carefully(made, names, encoded, kept, some)
        else:
            items = made.items
            for name, item in zip(names, encoded, strict=True):
                items[name].append(item)
            self._place(made, names, kept, some)

    def _place(self, made: Making, names: Sequence[str], kept: Sequence[int], some: Slice) -> None:
        """Say where the records are whose items go to sinks that name them; each has one."""
        if not self._naming.isdisjoint(names):
            places = some.rows.positions()
            for name, index in zip(names, kept, strict=True):
                if name in self._naming:
                    made.places.setdefault(name, []).append(places[index])

    def _are_sinks(self, names: list[str]) -> bool:
        try:
            return set(names) <= self._to.sinks.keys()
        except TypeError:  # something that is not even hashable
            return False

    def _add_carefully(
        self, made: Making, names: list[Any], encoded: list[Any], kept: Sequence[int], some: Slice
    ) -> None:
        """Take over each item that its sink can pack; reject the others, each for itself."""
        fit: dict[int, str] = {}
        for name, item, index in zip(names, encoded, kept, strict=True):
            problem = item if isinstance(item, NO_VALUE) else self._misrouted(name) or self._unfit(name, item)
            if problem is not None:
                some.rejects.append((index, problem, STAGE))
            else:
                self._fitness.took(f"sinks.{name}")
                made.items[name].append(item)
                fit[index] = name
        self._place(made, list(fit.values()), list(fit), some)

    def _add_outputs(
        self, made: Making, names: list[Any], encoded: list[Any], kept: Sequence[int], some: Slice, outputs: Outputs
    ) -> None:
        """Take over the items of records each of which may have several outputs; say whose they are."""
        places = some.rows.positions()
        for name, item, index in zip(names, encoded, kept, strict=True):
            problem = item if isinstance(item, NO_VALUE) else self._misrouted(name)
            if problem is not None:
                some.rejects.append((index, problem, STAGE))
                continue
            owner, sinks = outputs.owners[index], name if isinstance(name, tuple) else (name,)
            outputs.goes_to(index, sinks)
            for sink in sinks:
                if some.careful and (problem := self._unfit(sink, item)) is not None:
                    some.rejects.append((outputs.for_sink(index, sink) if len(sinks) > 1 else index, problem, STAGE))
                    continue
                items = made.items[sink]
                made.owners[sink].append((len(items), places[owner], outputs.name(index, sink if sinks[1:] else "")))
                items.append(item)
                outputs.written.add(owner)
                if sink in self._naming:
                    made.places.setdefault(sink, []).append(places[owner])

    def _misrouted(self, name: Any) -> Reject | None:
        """Why this is no route: the name of a sink, or a tuple of several names."""
        if isinstance(name, str) and name in self._to.sinks:
            return None
        if isinstance(name, tuple):
            unknown = [each for each in name if not isinstance(each, str) or each not in self._to.sinks]
            if unknown:
                return Reject("route", f"no sink is called {unknown[0]!r}")
            return Reject("route", f"a sink is named twice in {name!r}") if len(set(name)) < len(name) else None
        several = "" if isinstance(name, str) else f": route returned a {type(name).__name__}; for several sinks " \
            "return a tuple of their names"
        return Reject("route", f"no sink is called {name!r}{several}")

    def _unfit(self, sink: str, item: Any) -> Reject | Finish | None:
        """Why this sink cannot take an item."""
        (problem,) = lift(lambda each: self._to.sinks[sink].pack([each]), "encode")([item])
        if isinstance(problem, Reject) and problem.reason == "encode_error":
            self._fitness.refused(f"sinks.{sink}", type(item).__name__, f"encode returns {type(item).__name__} "
                                  f"{reprlib.repr(item)}, which {self._to.sinks[sink].describe()} cannot take "
                                  f"({problem.detail.rpartition(NEWLINE)[2]})")
            several = " (if it is meant as several values, return Many([...]) from parse)" if (
                isinstance(item, list)) else ""
            return Reject("encode_error", f"sink {sink} cannot take what it is given, {reprlib.repr(item)} "
                          f"of type {type(item).__name__}{several}: {problem.detail}")
        return problem if isinstance(problem, NO_VALUE) else None

    def _fold_all(
        self, values: list[Any], places: list[Any], indices: Sequence[int], some: Slice
    ) -> tuple[list[Partial], list[Any], Sequence[int]]:
        """Fold the values of a slice at once."""
        if self._fold is None or not values:
            return [], values, indices
        try:
            found = self._fold(values, places, some.rows.batch.unit)
        except Exception as error:
            raise _NeedsCare from error
        self._fitness.took(FOLD)
        return [found], values, indices

    def _fold_each(
        self, values: list[Any], places: list[Any], indices: Sequence[int], some: Slice
    ) -> tuple[list[Partial], list[Any], Sequence[int]]:
        """Fold each value for itself; reject those that cannot be folded."""
        if self._fold is None:
            return [], values, indices
        pairs = list(zip(values, places or [()] * len(values), strict=True))
        unit = some.rows.batch.unit
        fold = self._fold

        def fold_one(pair: tuple[Any, Any]) -> Partial:
            found = fold([pair[0]], [pair[1]], unit)
            _encoder.encode(list(found.items()))
            return found

        found = lift(fold_one, "fold")(pairs)
        for each in found:
            if isinstance(each, Unfit):
                self._fitness.refused(FOLD, each.kind, each.why)
            elif not isinstance(each, NO_VALUE):
                self._fitness.took(FOLD)
        partials, kept, _ = some.split(found, indices, STAGE, "fold")
        return partials, _chosen(values, indices, kept), kept

    def _is_ordered(self, destination: str) -> bool:
        for name, writer in self._to.writers.items():
            if writer == destination:
                return self._to.sinks[name].ordered
        return destination != self._to.dead_letters

    def _part(self, sink: str, made: Making) -> Output:
        writer, items, owners = self._to.writers[sink], made.items[sink], made.owners[sink]
        if not items:
            return Output(writer, 0, {}, [])
        try:
            frame = self._to.sinks[sink].pack(items)
        except Exception as error:
            raise _NeedsCare from error
        self._fitness.took(f"sinks.{sink}")
        frames = [frame, pack_owners(owners)] if owners else [frame]
        places = made.places.get(sink, ())
        if len(places) == len(items):  # of what was made of a whole slice nobody says of which record it is
            frames = [frame, pack_owners(owners), pack_places(places)]
        return Output(writer, len(items), {"written": len(items) - len(owners), f"written.{sink}": len(items)}, frames)

    def _dead_letter_part(self, made: Making) -> Output:
        frame = self._to.dead_letter_options.pack(made.letters)
        return Output(self._to.dead_letters, len(made.letters), made.claims_of_letters(), [frame])


class _NeedsCare(Exception):
    """Some record of the batch cannot be folded, routed, encoded or packed: look at each for itself."""


class _NeedsLines(Exception):
    """What an application made of a whole slice belongs to several windows, or some of it may be late."""


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
