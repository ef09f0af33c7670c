"""Rows by typed columns: what each type takes, and how it travels; the same for all sinks of columns.

An item is a tuple or list in the order of the columns, or a mapping or struct that has them by name. What a column
cannot take is rejected in the pool, by the narrower rules of all systems that such rows go to.

    text        no NUL character               (PostgreSQL has none)
    integer     64 bits
    real        finite                         (NaN would be NULL in SQLite)
    timestamp   an aware datetime, or milliseconds since 1970; travels as microseconds since 1970
    json        plain data or structs, without NUL characters; NaN is null; travels as text
    boolean     bytes
    TYPE?       the same, or None
"""

from __future__ import annotations

import datetime
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache, partial
from typing import Any

import msgspec

from actors.runtime.errors import Reject

Check = Callable[[Any], Any]
_MIN_INT, _MAX_INT = -(2**63), 2**63 - 1
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
_MIN_TIME = (datetime.datetime.min.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
_MAX_TIME = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // _MICROSECOND
#: A NUL character as JSON writes it, behind an even number of backslashes.
_JSON_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
_SHOWN = 60


class Column(msgspec.Struct, frozen=True):
    """A column: its type without the ``?``, and what takes a value of it.

    ``check`` returns the value as it travels, and raises ValueError, OverflowError or TypeError for what is none.
    """

    name: str
    kind: str
    nullable: bool
    check: Check


def require_columns(columns: Mapping[str, str]) -> None:
    """Make sure that these can be the columns of a table, types by name.

    Raises:
        ValueError: there is none, two have one name, or a type is unknown.
    """
    if not columns or len({name.lower() for name in columns}) != len(columns) or "" in columns:
        raise ValueError(f"columns: expected one or more, with different names, got {list(columns)!r}")
    for name, kind in columns.items():
        if kind.removesuffix("?") not in _CHECKS:
            raise ValueError(f"columns: {name}: expected {', '.join(_CHECKS)}, with a ? where it may be NULL, "
                             f"got {kind!r}")


def columns_of(columns: Mapping[str, str]) -> list[Column]:
    """The columns of these types by name, in their order."""
    return _plan(tuple(columns.items()))


@lru_cache(maxsize=64)
def _plan(columns: tuple[tuple[str, str], ...]) -> list[Column]:
    return [Column(name, kind.removesuffix("?"), kind.endswith("?"), _CHECKS[kind.removesuffix("?")])
            for name, kind in columns]


def row_of(item: Any, columns: list[Column]) -> list[Any]:
    """The values of an item in the order of the columns, as they travel.

    Raises:
        Reject: a column is missing, or its value is none of its type.
    """
    row: list[Any] = []
    for column, value in zip(columns, _values(item, columns), strict=True):
        if value is None and column.nullable:
            row.append(None)
            continue
        try:
            row.append(column.check(value))
        except (ValueError, OverflowError, TypeError) as error:
            raise Reject("column", f"{column.name}: expected {column.kind}{_HINTS.get(column.kind, '')}, "
                                   f"got {short(value)}") from error
    return row


def laid_out(items: Sequence[Any], columns: list[Column]) -> list[Sequence[Any]]:
    """The values of items by column, as they travel: what ``row_of`` makes of each item.

    Fast: a column whose values are all of the usual type is checked as a whole. Where anything is unusual each item is
    looked at by itself, to the same result or to the reason why one is rejected.

    Raises:
        Reject: as ``row_of``, of the first item that is.
    """
    try:
        return [_whole(column, values) for column, values in zip(columns, _by_column(items, columns), strict=True)]
    except (ValueError, OverflowError, TypeError, LookupError, AttributeError):
        rows = [row_of(item, columns) for item in items]
        return list(zip(*rows, strict=True)) if rows else [()] * len(columns)


def _by_column(items: Sequence[Any], columns: list[Column]) -> Iterable[Sequence[Any]]:
    """The values of items that are all of one type."""
    (kind,) = set(map(type, items))
    if issubclass(kind, (tuple, list)):
        if set(map(len, items)) != {len(columns)}:
            raise ValueError
        return zip(*items, strict=True)
    if issubclass(kind, dict):
        return [[item[column.name] for item in items] for column in columns]
    return [[getattr(item, column.name) for item in items] for column in columns]


def _whole(column: Column, values: Sequence[Any]) -> Sequence[Any]:
    """The values of a column, as they travel."""
    kinds = set(map(type, values))
    if type(None) in kinds and column.nullable:
        there = _whole(column, [value for value in values if value is not None])
        if column.kind in _AS_THEY_ARE:
            return values
        rest = iter(there)
        return [None if value is None else next(rest) for value in values]
    usual = _USUAL.get(column.kind)
    if usual is None or not kinds <= usual[0]:
        check = column.check
        return [check(value) for value in values]
    return usual[1](values)


def _values(item: Any, columns: list[Column]) -> Sequence[Any]:
    if isinstance(item, tuple | list):
        if len(item) != len(columns):
            raise Reject("column", f"expected {len(columns)} values ({', '.join(c.name for c in columns)}), "
                                   f"got {len(item)}")
        return item
    try:
        if isinstance(item, dict):
            return [item[column.name] for column in columns]
        return [getattr(item, column.name) for column in columns]
    except (KeyError, AttributeError) as error:
        raise Reject("column", f"expected an item with {', '.join(c.name for c in columns)}, got {short(item)}"
                     ) from error


def short(value: Any) -> str:
    """A value for a person: its type, and the beginning of it."""
    text = repr(value)
    return f"{type(value).__name__} {text[:_SHOWN]}{'...' if len(text) > _SHOWN else ''}"


# What each type takes, and how it travels ---------------------------------------------------------------------------


def _text(value: Any) -> str:
    if type(value) is not str or "\0" in value:
        raise TypeError
    if not value.isascii():
        value.encode()  # half a surrogate pair is no text
    return value


def _integer(value: Any) -> int:
    if type(value) is not int or not _MIN_INT <= value <= _MAX_INT:
        raise TypeError
    return value


def _real(value: Any) -> float:
    if type(value) not in (float, int) or not math.isfinite(value):
        raise TypeError
    return float(value)


def _timestamp(value: Any) -> int:
    if isinstance(value, datetime.datetime):
        if value.tzinfo is None:
            raise TypeError
        return (value - _EPOCH) // _MICROSECOND
    if type(value) is not int or not _MIN_TIME <= value * 1000 <= _MAX_TIME:
        raise TypeError
    return value * 1000


def _json(value: Any) -> str:
    text = msgspec.json.encode(value).decode()
    if _JSON_NUL.search(text):
        raise TypeError
    return text


def _boolean(value: Any) -> bool:
    if type(value) is not bool:
        raise TypeError
    return value


def _bytes(value: Any) -> bytes:
    if type(value) is not bytes:
        raise TypeError
    return value


_CHECKS: dict[str, Check] = {"text": _text, "integer": _integer, "real": _real, "timestamp": _timestamp, "json": _json,
                             "boolean": _boolean, "bytes": _bytes}


def _texts(values: Sequence[str]) -> Sequence[str]:
    _text("".join(values))
    return values


def _within(least: int, most: int, factor: int, values: Sequence[int]) -> Sequence[int]:
    if values and not least <= min(values) * factor <= max(values) * factor <= most:
        raise TypeError
    return values if factor == 1 else [value * factor for value in values]


def _reals(values: Sequence[float]) -> Sequence[float]:
    found = list(map(float, values))
    if not all(map(math.isfinite, found)):
        raise TypeError
    return found


def _plain(values: Sequence[Any]) -> Sequence[Any]:
    return values


#: By kind, the types that values usually have, and what checks all of them at once.
_USUAL: dict[str, tuple[set[type], Callable[[Sequence[Any]], Sequence[Any]]]] = {
    "text": ({str}, _texts), "integer": ({int}, partial(_within, _MIN_INT, _MAX_INT, 1)),
    "real": ({float, int}, _reals), "timestamp": ({int}, partial(_within, _MIN_TIME, _MAX_TIME, 1000)),
    "boolean": ({bool}, _plain), "bytes": ({bytes}, _plain)}
#: Kinds whose values travel as they are.
_AS_THEY_ARE = frozenset(("text", "integer", "boolean", "bytes"))
_HINTS = {"text": " without a NUL character", "integer": " of at most 64 bits", "real": ", a finite number",
          "timestamp": ": a datetime with a zone, or milliseconds since 1970",
          "json": ": plain data without a NUL character"}
