"""What came of a run, and how it differs from what came of another. Pure, but for reading a state directory."""

from __future__ import annotations

import math
import sqlite3
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.framing import Record
from actors.runtime.ledger import read_units
from actors.runtime.manifest import Manifest
from actors.runtime.pipeline import Fold, Pipeline
from actors.runtime.state import merge_of, read_state
from actors.runtime.units import LEDGER
from actors.runtime.values import Unit
from actors.sinks.dead_letters import DeadLetters, read_letters
from actors.verify.plan import BATCHES, KILLED, REPEATED, SPREAD
from actors.verify.recording import path_of, read_recorded, shown

#: Sums of floats differ in their last digits with the order of the summands, which nobody promises.
_FLOAT_TOLERANCE = 1e-9
_SHOWN_CHARACTERS = 120
#: What a record has, where nobody says.
_USUAL_BYTES = 64
#: A record, what the reference has of it, and what the run has.
_Shown = tuple[str, str, str]


class Difference(msgspec.Struct, frozen=True):
    """One record, key or count that is not as in the reference.

    Attributes:
        where: ``sink NAME``, ``dead letters``, ``folded`` or ``counts``.
        record: the key or the record.
        expected: what the reference has, ``nothing`` if it has not.
        got: what this run has.
    """

    where: str
    record: str
    expected: str
    got: str


class Outcome(msgspec.Struct, frozen=True):
    """What came of a run: by place, what is there, by key or record."""

    places: dict[str, dict[Any, Any]]
    #: Sinks in which the last value of a key is what counts.
    keyed: frozenset[str]
    units: list[Unit]

    @property
    def read(self) -> int:
        """Records read."""
        return sum(unit.counts.get("read", 0) for unit in self.units)

    @property
    def sample_bytes(self) -> int:
        """Size of the input, uncompressed; where positions count records, as of a topic, about."""
        return sum(map(_bytes_of, self.units))


def _bytes_of(unit: Unit) -> int:
    """No line has less than two bytes, with its newline: what has fewer positions for each record counts those."""
    positions, read = (unit.low if unit.end is None else unit.end) - unit.base, unit.counts.get("read", 0)
    return positions if positions >= 2 * read else _USUAL_BYTES * read


def outcome_of(manifest: Manifest, pipeline: Pipeline) -> Outcome:
    """Read the state directory of a run that has ended."""
    state = Path(manifest.state)
    try:
        units = read_units(state / LEDGER, manifest.run)
    except sqlite3.Error:
        units = []
    places: dict[str, dict[Any, Any]] = {}
    keyed: set[str] = set()
    for name in manifest.sinks:
        is_keyed, places[f"sink {name}"] = read_recorded(path_of(state, name))
        if is_keyed:
            keyed.add(f"sink {name}")
    places["dead letters"] = _letters(state / DeadLetters().path)
    places["folded"] = _folded(state, manifest, pipeline.fold, units)
    places["counts"] = {(unit.name, name): n for unit in units for name, n in [*unit.counts.items()] if n}
    places["counts"] |= {(unit.name, "status"): unit.status for unit in units}
    return Outcome(places, frozenset(keyed), units)


def differences(reference: Outcome, other: Outcome) -> list[Difference]:
    """Return everything in which a run differs from the reference, in order of place and record."""
    found: list[Difference] = []
    for where, expected in reference.places.items():
        got = other.places.get(where, {})
        keys = [key for key in {**expected, **got} if not _same(expected.get(key), got.get(key))]
        show = _show_keyed if where in reference.keyed & other.keyed else _SHOWS.get(where, _show_counted)
        found += [Difference(where, *map(_shortened, show(key, expected.get(key), got.get(key)))) for key in keys]
    return found


def hints(differing: Sequence[str], kinds: Sequence[str]) -> list[str]:
    """Say what is likely the cause, from the kinds of runs that differ and of all that were made."""
    if REPEATED in differing:
        return ["the same run again gave other results: a function is not deterministic (random numbers, the time, "
                "the order of a set, hash(), the process id)"]
    told: list[str] = []
    if BATCHES in differing:
        told.append("with other batches and nothing else changed the results are others: a per_chunk function (or "
                    "fold.partials) takes its list for more than any part of the lines, or a function keeps state "
                    "between calls, or merge is not associative")
    if SPREAD in differing:
        told.append("with the same batches on more workers, parse and check in one process or in two, the results are "
                    "others: a function keeps state between calls, or a value does not survive the way from parse to "
                    "check (plain data does), or merge is not commutative")
    if differing and not told:
        told.append(
            "only runs with kills differ: a function has effects of its own or keeps state between calls" if (
                {BATCHES, SPREAD} <= set(kinds)) else
            "a function is not deterministic, depends on where batches end, or keeps state between calls: "
            f"more runs (--runs 6) tell which; these differed: {', '.join(sorted(set(differing)))}")
    if told and REPEATED not in kinds and KILLED in differing:
        told.append("or a function is not deterministic: no run was simply repeated, --runs 4 does that")
    return told


def _letters(path: Path) -> dict[Any, int]:
    try:
        return dict(Counter((x.source, x.line, x.reason, x.record or x.raw, x.output) for x in read_letters(path)))
    except sqlite3.Error:  # nothing was rejected
        return {}


def _folded(state: Path, manifest: Manifest, fold: Fold | None, units: Sequence[Unit]) -> dict[Any, Any]:
    if fold is None:
        return {}
    names = {unit.id: unit.name for unit in units}  # the ledger's numbers are this run's own
    folded: dict[Any, Any] = {}
    for shard in range(1, manifest.aggregator.shards + 1):
        for key, numbers in read_state(state / f"aggregator.{shard}.db", merge_of(fold)).items():
            named = tuple(names.get(member, member) if of == "unit" else member
                          for of, member in zip(fold.keys, key, strict=False))
            folded[named] = numbers
    return folded


def _same(expected: Any, got: Any) -> bool:
    if isinstance(expected, float) or isinstance(got, float):
        return (isinstance(expected, int | float) and isinstance(got, int | float)
                and (math.isclose(expected, got, rel_tol=_FLOAT_TOLERANCE, abs_tol=_FLOAT_TOLERANCE)
                     or (math.isnan(expected) and math.isnan(got))))
    if isinstance(expected, list) and isinstance(got, list):
        return len(expected) == len(got) and all(map(_same, expected, got))
    return bool(expected == got)


def _show_keyed(key: bytes, expected: bytes | None, got: bytes | None) -> _Shown:
    return shown(key), _or_nothing(expected, shown), _or_nothing(got, shown)


def _show_counted(key: bytes, expected: Any, got: Any) -> _Shown:
    return shown(key), _or_nothing(expected, _times), _or_nothing(got, _times)


def _show_letter(
    key: tuple[str, int, str, bytes | Record, str], expected: int | None, got: int | None
) -> _Shown:
    source, line, reason, what, output = key
    place = f"{source} line {line}" if line >= 0 or isinstance(what, bytes) else source
    said = f"{place}{output and f' output {output}'}: {reason}: {what!r}"
    return said, _or_nothing(expected, _times), _or_nothing(got, _times)


def _show_folded(key: tuple[Any, ...], expected: Any, got: Any) -> _Shown:
    return repr(key), _or_nothing(expected, repr), _or_nothing(got, repr)


def _show_count(key: tuple[str, str], expected: Any, got: Any) -> _Shown:
    return f"{key[0]}: {key[1]}", _or_nothing(expected, str), _or_nothing(got, str)


def _or_nothing(value: Any, show: Callable[[Any], str]) -> str:
    return "nothing" if value is None else show(value)


_SHOWS: dict[str, Callable[[Any, Any, Any], _Shown]] = {
    "dead letters": _show_letter, "folded": _show_folded, "counts": _show_count}


def _times(number: Any) -> str:
    return f"{number} time{'' if number == 1 else 's'}" if isinstance(number, int) else shown(number)


def _shortened(text: str) -> str:
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"
