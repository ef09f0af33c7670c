"""Application functions over lists: one bad record never takes its neighbours with it."""

from __future__ import annotations

import functools
import inspect
import time
from collections.abc import Callable
from typing import Any, get_origin, get_type_hints

import msgspec

from actors.runtime import stacks
from actors.runtime.copies import end_copy
from actors.runtime.errors import NO_VALUE, Finish, Reject
from actors.runtime.framing import Record
from actors.runtime.messages import Batch
from actors.runtime.progress import progress
from actors.runtime.too_long import Pace
from actors.runtime.values import InputUnit

#: A list in, a list of the same length out; a ``Reject`` in the place of each record that was rejected, a ``Finish`` in
#: that of a record which is the end of all input.
Lifted = Callable[[list[Any]], list[Any]]
#: What makes partial aggregates of values, and of the number of their unit.
Partials = Callable[[list[Any], int], dict[tuple[Any, ...], list[Any]]]
#: A sign of progress is given after at most so many calls for one record each; fewer, when they take longer than this.
_SIGN_RECORDS, _SIGN_S = 64, 0.05
_most_records = _SIGN_RECORDS


def one_at_a_time() -> None:
    """From here on functions are called for a record once, in this process; else they are called again for records
    whose neighbour has raised an exception."""
    global _most_records
    _most_records = 1


def bind(function: Callable[..., Any], options: msgspec.Struct | None) -> Callable[..., Any]:
    """Give the application's options to a function that has a parameter called ``options``."""
    if options is None or "options" not in _parameters(function):
        return function
    bound = functools.partial(function, options=options)
    if getattr(function, "__per_chunk__", False):
        bound.__per_chunk__ = True  # type: ignore[attr-defined]
    return bound


def bind_partials(function: Callable[..., Any], options: msgspec.Struct | None) -> Partials:
    """Return ``fold.partials`` as a function of values and unit, whether it has a parameter ``unit`` or not."""
    bound = bind(function, options)
    if "unit" in _parameters(function)[1:]:
        return lambda values, unit: bound(values, unit=unit)
    return lambda values, unit: bound(values)


def lift(function: Callable[..., Any], name: str) -> Lifted:
    """Return ``function`` as a function over lists, in which any exception rejects one record alone.

    ``name`` is the stage, for the reason of records that an unexpected exception rejects: ``parse_error``.
    """
    if getattr(function, "__per_chunk__", False):
        return functools.partial(_per_chunk, function, f"{name}_error")
    return functools.partial(_per_record, function, f"{name}_error")


class OfRecords:
    """A lifted ``parse`` that has a parameter ``record`` (``records``, per chunk): it is given whole records, which
    have a key, headers and a time, and not their values only.

    Args:
        function: ``parse``, with its options.
        name: the stage.
    """

    def __init__(self, function: Callable[..., Any], name: str) -> None:
        def one(record: Record) -> Any:
            return function(record.value, record=record)

        def some(records: list[Record]) -> Any:
            return function([record.value for record in records], records=records)

        self._lifted: Lifted = functools.partial(_per_record, one, f"{name}_error")
        if getattr(function, "__per_chunk__", False):
            self._lifted = functools.partial(_per_chunk, some, f"{name}_error")

    def __call__(self, values: list[Any]) -> list[Any]:
        """Return what is made of these records."""
        return self._lifted(values)


class OfUnits:
    """A ``parse`` that has a parameter ``unit``: it is lifted for each batch, with the unit that this is of.

    Args:
        function: ``parse``, with its options.
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def of(self, unit: InputUnit) -> Lifted:
        """Return it for records of this unit."""
        bound = functools.partial(self._function, unit=unit)
        if is_per_chunk(self._function):
            bound.__per_chunk__ = True  # type: ignore[attr-defined]
        return _lifted(bound)

    def __call__(self, values: list[Any]) -> list[Any]:
        """Return what is made of values of no unit in particular."""
        return self.of(InputUnit(0, "", 0))(values)


def of_batch(parse: Lifted, batch: Batch) -> Lifted:
    """Return what ``lift_parse`` gave for the records of this batch."""
    return parse.of(InputUnit(batch.unit, batch.source, batch.seen_ms)) if isinstance(parse, OfUnits) else parse


def asks_for_unit(parse: Callable[..., Any]) -> bool:
    """Whether a ``parse`` has a parameter ``unit``."""
    return "unit" in _parameters(parse)[1:]


def lift_parse(function: Callable[..., Any], options: msgspec.Struct | None) -> Lifted:
    """Return ``parse`` over lists: of values, or (``OfRecords``) of whole records; ``OfUnits``: of each batch anew."""
    bound = bind(function, options)
    return OfUnits(bound) if asks_for_unit(bound) else _lifted(bound)


def _lifted(bound: Callable[..., Any]) -> Lifted:
    wanted = "records" if is_per_chunk(bound) else "record"
    return OfRecords(bound, "parse") if wanted in _parameters(bound)[1:] else lift(bound, "parse")


def said_to_return(function: Callable[..., Any] | None) -> Any:
    """The class of what a function returns for one record, by its annotation; None: it does not say."""
    while isinstance(function, functools.partial):
        function = function.func
    try:
        kind = None if getattr(function, "__per_chunk__", False) else get_type_hints(function).get("return")
    except Exception:  # an annotation that only a type checker sees, or nothing of the kind
        return None
    return get_origin(kind) or kind


def is_per_chunk(function: Callable[..., Any] | None) -> bool:
    """Whether a function is marked ``@per_chunk``."""
    return bool(getattr(function, "__per_chunk__", False))


def _parameters(function: Callable[..., Any]) -> tuple[str, ...]:
    try:
        return tuple(inspect.signature(function).parameters)
    except (TypeError, ValueError):  # a built-in without a signature
        return ()


def _per_record(function: Callable[[Any], Any], reason: str, values: list[Any]) -> list[Any]:
    results: list[Any] = []
    size, began, pace = 1, time.monotonic(), Pace()
    while len(results) < len(values):
        some = values[len(results):len(results) + size]
        made: list[Any] = []
        if size > 1:
            try:
                made = [function(value) for value in some]  # the usual case: no exception at all
            except Exception:
                end_copy()
        # Not within the except: each error would be told as one that came while that one was dealt with.
        results += made or [_one(function, reason, value) for value in some]
        end_copy()
        progress()
        now = time.monotonic()
        if len(results) < len(values):
            pace.check(len(results), now)
        size, began = (1 if now - began > _SIGN_S else min(2 * size, _most_records)), now
    return results


def _per_chunk(function: Callable[[list[Any]], list[Any]], reason: str, values: list[Any]) -> list[Any]:
    try:
        results = function(values)
        if len(results) == len(values):
            return results
        problem = f"returned {len(results)} results for {len(values)} records"
    except Exception as error:
        end_copy()
        if len(values) == 1:
            return [_rejected(error, reason)]
        problem = ""
    if len(values) == 1:
        return [Reject(reason, problem)]
    return _per_record(lambda value: _per_chunk(function, reason, [value])[0], reason, values)


def _one(function: Callable[[Any], Any], reason: str, value: Any) -> Any:
    try:
        return function(value)
    except Exception as error:
        end_copy()
        return _rejected(error, reason)


def _rejected(error: Exception, reason: str) -> Reject | Finish:
    if isinstance(error, NO_VALUE):
        return error
    if type(error).__module__ == "bdb":  # a debugger was left, or has nobody to ask
        raise error
    return Reject(reason, stacks.told(error))
