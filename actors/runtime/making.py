"""What a checker has made of a batch so far, slice by slice: items, letters, partial aggregates, and outcomes.

Records that have one output each are only counted. Where a record of a slice has several (``outputs.py``) the records
of that slice are looked at one by one: what has become of each is the worst of what has become of its outputs.

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from actors.runtime.counts import FINISH, Counts
from actors.runtime.errors import NO_VALUE, Finish, Reject
from actors.runtime.outputs import NO_RESULT, Many, Outputs, Owner, has_any, one_each, outputs_of, refusal, sink_of
from actors.runtime.rows import Rows
from actors.runtime.values import DeadLetter, rejections
from actors.runtime.windows import Passage

#: What goes no further, by number: rejected, or the end of all input; and the stage that says so.
Rejects = list[tuple[int, Reject | Finish, str]]
#: What stops a value, or what is none.
_STOPS = (type(None), *NO_VALUE, *NO_RESULT)


class Slice:
    """One slice of a batch on its way through the functions.

    Values have numbers: the index of their record in the slice, or, where ``outputs`` is not None, that of the output.

    Attributes:
        careful: whether each record is looked at for itself.
        rejects: what goes no further so far.
        outputs: which output of which record each value is; None: each record has one.
        late: why a value is in no window, by number.
        read: how many records there are; ``filtered`` and ``unrouted``: what has become of values.
    """

    def __init__(self, rows: Rows, careful: bool) -> None:
        self.rows = rows
        self.careful = careful
        self.rejects: Rejects = []
        self.late: Mapping[int, Reject] = {}
        self.read = self.filtered = self.unrouted = self.late_and_written = 0
        only = rows.batch.only
        #: The one sink that is wanted, of a record that is sent again: nothing of it is folded.
        self.sink = sink_of(only)
        self._kinds = set(map(type, rows.values))
        self.outputs = outputs_of(rows.values, only) if only or has_any(self._kinds, Many) else None

    def begin(self) -> tuple[list[Any], Sequence[int]]:
        """Return the values that ``parse`` has made, and their numbers."""
        values = self.rows.values
        if self.outputs is not None:
            values = self.outputs.values
            self._kinds = set(map(type, values))
        values, numbers, _ = self.split(values, range(len(values)), self.rows.stage, "parse", self._kinds)
        self.read = len(values) + len(self.rejects)
        return values, numbers

    def split(
        self, values: list[Any], numbers: Sequence[int], stage: str, function: str, kinds: set[type] | None = None
    ) -> tuple[list[Any], Sequence[int], int]:
        """Take out what is no value; return the values left, their numbers, and how many were None."""
        kinds = set(map(type, values)) if kinds is None else kinds
        if not has_any(kinds, _STOPS):
            return values, numbers, 0
        if has_any(kinds, NO_RESULT):
            values = [refusal(function, value) if isinstance(value, NO_RESULT) else value for value in values]
        good: list[Any] = []
        kept: list[int] = []
        nones = 0
        for value, number in zip(values, numbers, strict=True):
            if value is None:
                nones += 1
            elif isinstance(value, NO_VALUE):
                self.rejects.append((number, value, stage))
            else:
                good.append(value)
                kept.append(number)
        return good, kept, nones

    def routed(self, names: list[Any], numbers: Sequence[int], stage: str) -> tuple[list[Any], Sequence[int]]:
        """Take out what goes to no sink; return the routes left, and their numbers."""
        kinds = set(map(type, names))
        if self.outputs is None and has_any(kinds, tuple):  # from here on records are looked at one by one
            self.outputs = one_each(len(self.rows.values))
        before = len(self.rejects)
        names, kept, self.unrouted = self.split(names, numbers, stage, "route", kinds)
        if self.late:
            self.late_and_written = len(self._owners(self.late.keys() & set(kept)))
        if self.outputs is not None and self.unrouted:
            stopped = {number for number, _, _ in self.rejects[before:]}
            self.outputs.unrouted |= self._owners(set(numbers) - set(kept) - stopped)
        return names, kept

    def _owners(self, numbers: Iterable[int]) -> set[int]:
        return set(numbers) if self.outputs is None else {self.outputs.owners[number] for number in numbers}


class Making:
    """What has been made of the slices of a batch so far.

    Attributes:
        items: by sink.
        owners: of items of records that have several outputs, by sink.
        places: positions of the records of items, by sink that names records.
        partials: partial aggregates, by key.
        letters: dead letters.
        dead: positions of records that are rejected, and of which something goes to a sink all the same.
    """

    def __init__(self, sinks: Iterable[str], passage: Passage) -> None:
        self.items: dict[str, list[Any]] = {name: [] for name in sinks}
        self.owners: dict[str, list[Owner]] = {name: [] for name in self.items}
        self.places: dict[str, list[int]] = {}
        self.passage = passage
        self.partials: dict[tuple[Any, ...], list[Any]] = {}
        self.letters: list[DeadLetter] = []
        self.dead: set[int] = set()
        self.read = self.filtered = self.unrouted = self.finishes = self.late = 0
        self._written = self._several = self._made = self._more_letters = 0

    def settle(self, some: Slice) -> None:
        """A slice has gone through all functions: count what has become of its records."""
        rejects = [(number, reject, stage) for number, reject, stage in some.rejects if isinstance(reject, Reject)]
        ends = len(some.rejects) - len(rejects)
        self.finishes += ends
        self.late += some.late_and_written
        if some.outputs is not None:
            self._settle_one_by_one(some, some.outputs, rejects)
            return
        self.read += some.read
        self.filtered += some.filtered + ends
        self.unrouted += some.unrouted
        if rejects:
            rejects.sort(key=lambda reject: reject[0])
            self.letters += some.rows.dead_letters(rejects)

    def _settle_one_by_one(self, some: Slice, outputs: Outputs, rejects: list[tuple[int, Reject, str]]) -> None:
        owners = outputs.owners
        rejects.sort(key=lambda reject: (owners[reject[0]], reject[0]))
        letters = some.rows.dead_letters([(owners[number], reject, stage) for number, reject, stage in rejects])
        self.letters += [msgspec.structs.replace(letter, output=outputs.name(number))
                         for letter, (number, _, _) in zip(letters, rejects, strict=True)]
        dead = {owners[number] for number, _, _ in rejects}
        written = outputs.written - dead
        unrouted = outputs.unrouted - dead - written
        read = len(outputs.records) or some.read  # of one value each nobody has asked
        self.read += read
        self.filtered += read - len(dead) - len(written) - len(unrouted)
        self.unrouted += len(unrouted)
        if dead & outputs.written:
            places = some.rows.positions()
            self.dead |= {places[owner] for owner in dead & outputs.written}
        self._written += len(written)
        self._several += len(outputs.several)
        self._made += outputs.made
        self._more_letters += len(letters) - len(dead)

    def counts(self, folds: bool) -> Counts:
        """What the worker itself adds to the acknowledgement; ``folds``: what goes to no sink is folded."""
        counts = {
            "written": self._written, "filtered": self.filtered + (0 if folds else self.unrouted),
            "folded": self.unrouted if folds else 0, "late": self.late, FINISH: self.finishes,
            "partly_late": self.passage.partly_late,
            "many": self._several, "made": self._made}
        return {"read": self.read, **{name: number for name, number in counts.items() if number}}

    def claims_of_letters(self) -> Counts:
        """What becomes true once the letters are stored: so many records are rejected; letters, by reason."""
        claims = rejections(self.letters)
        return {**claims, "dead_lettered": len(self.letters) - self._more_letters}
