"""One record that several things are made of: which output of which record each is, and what has become of the record.

    record ──parse──▶ Many([a, b, c])   a ──check, route──▶ x             output "0"
                                        b ──check, route──▶ (x, y)        outputs "1/x" and "1/y"
                                        c ──check──▶ rejected             output "2": a dead letter of its own

A record is in the sum of outcomes once, however much is made of it: ``dead_lettered`` if any of its outputs is, else
``written`` if any is, else ``folded``, else ``filtered``. Its outputs are with several sinks, each of which may refuse
its own for good when the others have long taken theirs. So a part says which record each of these items is of
(``Owner``); a writer that has to refuse one names the record in its acknowledgement (``Ack.failed``) and counts
nothing; and the worker that made the parts, which waits for all of them in any case, counts once each record that
anybody has named. Upstream nothing is different. A batch whose records have one output each carries none of this.

A record is named by its position: that is the same in a batch and in the halves that it is split in, so a sink that
has taken the whole can answer for a half.

What does not work: writers that count (of two that refuse an output of the same record, neither knows of the other);
records named by their number in the batch (a half counts from its own beginning); answers with what is left of each
record (every ordinary batch would pay for it).

Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, Generic, TypeVar

import msgspec

from actors.runtime.errors import NO_VALUE, Finish, Reject

T = TypeVar("T")
#: Between the number of a value and the sink that it goes to, in the name of an output.
_TO = "/"
#: The number of a value that is the only one of its record.
_ALONE = -1
#: What nobody means as a value: what would make some if it were asked to.
_MAKERS = (GeneratorType, AsyncGeneratorType, CoroutineType)


class Many(Generic[T]):
    """Several values of one record, returned from ``parse`` (per chunk: put in the record's place).

    Each value goes on for itself, as if it had been returned alone: it is checked, folded, routed, written, filtered or
    rejected. A ``Reject`` among them is a value that is rejected, a ``Finish`` asks for the end of the input, None is
    nothing. Of no values at all the record is ``filtered``. The record counts once; see ``docs/many.md``.

    Args:
        values: in order; any number.

    Raises:
        TypeError: that is a text, or a map, whose parts are not meant; or there is a ``Many`` among them.

    Example::

        def parse(line):
            number, *items = line.split(b" ")
            return Many([(number, item) for item in items])
    """

    __slots__ = ("values",)
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, values: Iterable[T | Reject | Finish | None]) -> None:
        if isinstance(values, str | bytes | bytearray | memoryview | Mapping):
            raise TypeError(f"Many: expected a list of values, got one {type(values).__name__}: Many([value]) has one")
        self.values: list[T | Reject | Finish | None] = list(values)
        if Many in map(type, self.values):
            raise TypeError("Many: expected values, got a Many among them: make one list of all")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Many) and self.values == other.values

    def __repr__(self) -> str:
        return f"Many({self.values!r})"


#: What is no value, in a list of them.
UNUSUAL = (*NO_VALUE, Many, *_MAKERS)
#: What no function but ``parse`` may return, and no function at all.
NO_RESULT = (Many, *_MAKERS)


def has_any(kinds: Iterable[type], wanted: type | tuple[type, ...]) -> bool:
    """Whether one of these types is one of those, or of a kind of it."""
    return any(issubclass(kind, wanted) for kind in kinds)


def refusal(function: str, value: Any) -> Reject:
    """Why a record is rejected of which a function has returned what is no value."""
    if isinstance(value, Many):
        return Reject(f"{function}_error", f"{function} returned Many: only parse may return Many([...]); "
                      + ("route returns a tuple of names for several sinks" if function == "route" else
                         f"{function} returns one value for each"))
    kind = "a generator" if isinstance(value, GeneratorType) else f"{type(value).__name__}"
    instead = {"parse": "for several values of one record, return Many([...])",
               "route": "for several sinks, return a tuple of their names"}
    return Reject(f"{function}_error", f"{function} returned {kind}: " + instead.get(
        function, "return one value; for several values of one record, return Many([...]) from parse"))


class Outputs:
    """What is made of the records of one slice, each with a number, in the order of records.

    Attributes:
        values: what ``parse`` has made.
        owners: of which record (index in the slice) each is.
        records: records that are some: of None nothing counts.
        several: records that became several, or none.
        made: what was made of those.
        written: records of which something goes to a sink.
        unrouted: records of which something goes to no sink.
    """

    def __init__(self, only: str = "") -> None:
        self.values: list[Any] = []
        self.owners: list[int] = []
        self.records: set[int] = set()
        self.several: set[int] = set()
        self.made = 0
        self.written: set[int] = set()
        self.unrouted: set[int] = set()
        self._only = only
        self._ordinals: list[int] = []
        self._sinks: dict[int, str] = {}

    def add(self, owner: int, value: Any, ordinal: int = _ALONE) -> None:
        """Take the next value."""
        self.values.append(value)
        self.owners.append(owner)
        self._ordinals.append(ordinal)
        if value is not None:
            self.records.add(owner)
            self.made += ordinal != _ALONE

    def add_all(self, owner: int, values: Sequence[Any]) -> None:
        """Take all values of a ``Many``."""
        self.several.add(owner)
        self.records.add(owner)
        self.values += values
        self.owners += [owner] * len(values)
        self._ordinals += range(len(values))
        self.made += len(values) - sum(value is None for value in values)

    def goes_to(self, number: int, sinks: Sequence[str]) -> None:
        """This value goes to these sinks."""
        if len(sinks) == 1:
            return
        owner = self.owners[number]
        if not sinks:
            self.unrouted.add(owner)
            return
        if owner not in self.several:
            self.several.add(owner)
            self.made += 1
        self.made += len(sinks) - 1

    def for_sink(self, number: int, sink: str) -> int:
        """The number of what goes to this sink of a value that goes to several."""
        self.owners.append(self.owners[number])
        self._ordinals.append(self._ordinals[number])
        self._sinks[len(self.owners) - 1] = sink
        return len(self.owners) - 1

    def name(self, number: int, sink: str = "") -> str:
        """What an output is called in a dead letter; empty: it is all that was made of its record.

        ``sink``: of a value that goes to several, the one that is meant.
        """
        if self._only:
            return self._only
        ordinal, sink = self._ordinals[number], sink or self._sinks.get(number, "")
        return named("" if ordinal == _ALONE else str(ordinal), sink)


def outputs_of(values: Sequence[Any], only: str = "") -> Outputs:
    """Return what was made of each record of a slice; of a ``Many`` each value.

    ``only``: the name of the one output that is wanted, of a record that is sent again. If it is not there any more,
    a ``Reject`` is in its place.
    """
    wanted = only.partition(_TO)[0]
    outputs = Outputs(only)
    for owner, value in enumerate(values):
        if isinstance(value, Many) and not only:
            outputs.add_all(owner, value.values)
        elif isinstance(value, Many):
            outputs.several.add(owner)
            ordinal, each = next((pair for pair in enumerate(value.values) if str(pair[0]) == wanted), (0, _gone(only)))
            outputs.records.add(owner)
            outputs.add(owner, each, ordinal)
        elif wanted and value is not None and not isinstance(value, NO_VALUE):
            outputs.add(owner, _gone(only))
        else:
            outputs.add(owner, value)
    return outputs


def one_each(records: int) -> Outputs:
    """Outputs of so many records with one value each, before some go to several sinks."""
    outputs = Outputs()
    for owner in range(records):
        outputs.add(owner, None)
    return outputs


def named(value: str, sink: str) -> str:
    """What an output is called: the number of its value, and the sink, where that goes to several."""
    return f"{value}{_TO}{sink}" if sink else value


def order_of(output: str) -> tuple[int, str]:
    """What to sort the outputs of a record by: the number of the value, then the sink."""
    value, _, sink = output.partition(_TO)
    return int(value) if value.isdigit() else _ALONE, sink


def sink_of(only: str) -> str:
    """The sink that the one output that is wanted goes to; empty: wherever its value goes."""
    return only.partition(_TO)[2]


def only_to(name: Any, only: str) -> Any:
    """The route of a value of which only this output is wanted, instead of its whole route."""
    sink = sink_of(only)
    if isinstance(name, NO_VALUE):
        return name
    return sink if name == sink or (isinstance(name, tuple) and sink in name) else _gone(only)


def _gone(only: str) -> Reject:
    return Reject("no_output", f"of this record output {only} is to be sent again, and it is not made any more")


#: Of an item in a part: its index there, the position of its record, and the name of the output.
Owner = tuple[int, int, str]
_owners = msgspec.msgpack.Decoder(list[Owner])
_places = msgspec.msgpack.Decoder(list[int])


def pack_owners(owners: Sequence[Owner]) -> bytes:
    """Return the second payload frame of a part that has items of records with several outputs."""
    return msgspec.msgpack.encode(owners)


def owners_in(frames: Sequence[bytes]) -> dict[int, tuple[int, str]]:
    """From the payload frames of a part: position and output of each of these items, by its index."""
    if len(frames) < 2:
        return {}
    return {item: (position, output) for item, position, output in _owners.decode(frames[1])}


def pack_places(places: Sequence[int]) -> bytes:
    """Return the third payload frame of a part for a sink that names records: where the record of each item is."""
    return msgspec.msgpack.encode([place - before for before, place in zip([0, *places], places, strict=False)])


def places_in(frames: Sequence[bytes]) -> tuple[int, ...]:
    """From the payload frames of a part: the position of the record of each item; none: nobody says."""
    return tuple(positions_of(_places.decode(frames[2]), 0)) if len(frames) > 2 else ()


def gaps_of(positions: Iterable[int], start: int, end: int) -> tuple[int, ...]:
    """Those of the positions that lie in a range, as they travel: each less the one before it, the first less start."""
    within = sorted(position for position in positions if start <= position < end)
    return tuple(position - before for before, position in zip([start, *within], within, strict=False))


def positions_of(gaps: Sequence[int], start: int) -> list[int]:
    """The positions that ``gaps_of`` was given."""
    return list(accumulate(gaps, initial=start))[1:]
