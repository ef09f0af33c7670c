"""Rows laid out by column are those that are laid out one by one, or rejected for the same reason."""

from __future__ import annotations

import datetime
from typing import Any, NamedTuple

import msgspec
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.runtime.errors import Reject
from actors.sinks.columns import columns_of, laid_out, row_of

KINDS = ("text", "integer", "real", "timestamp", "json", "boolean", "bytes")
NOON = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
USUAL: dict[str, list[Any]] = {
    "text": ["", "a", "ä"], "integer": [0, -(2**63), 2**63 - 1], "real": [0, -0.0, 2.5, 10**300],
    "timestamp": [0, -5, 1_565_647_204_351, NOON], "json": [[], {"a": None}, "x", float("nan")],
    "boolean": [True, False], "bytes": [b"", b"\xff"]}
ODD: list[Any] = ["a\0b", "\ud83d", 2**63, -(2**63) - 1, 10**400, float("nan"), float("inf"), 10**17, -(10**17), True,
                  1, 1.5, b"b", "t", datetime.datetime(2026, 5, 1), {"a": "\0"}, object(), [], None]


class Named(NamedTuple):
    """A row with names."""

    a: Any
    b: Any


class Struct(msgspec.Struct):
    """A row as a struct."""

    a: Any
    b: Any


MAKES: list[Any] = [lambda a, b: (a, b), lambda a, b: [a, b], lambda a, b: {"a": a, "b": b, "c": 1}, Named, Struct,
                    lambda a, b: (a,), lambda a, b: {"a": a}]


@st.composite
def tables(draw: st.DrawFn) -> tuple[dict[str, str], list[Any]]:
    """Columns, and items for them: mostly usual ones, and all of one form."""
    kinds = [draw(st.sampled_from(KINDS)) for _ in "ab"]
    columns = {name: kind + draw(st.sampled_from(["", "?"])) for name, kind in zip("ab", kinds, strict=True)}
    odd, other = draw(st.integers(0, 9)) == 0, draw(st.integers(0, 9)) == 0
    make, items = draw(st.sampled_from(MAKES[:5])), []
    for _ in range(draw(st.integers(0, 6))):
        values = [draw(st.sampled_from([*USUAL[kind], *[None] * columns[name].endswith("?"), *(ODD if odd else [])]))
                  for name, kind in zip("ab", kinds, strict=True)]
        items.append((draw(st.sampled_from(MAKES)) if other else make)(*values))
    return columns, items


def taken(make: Any) -> Any:
    """What comes of it, or why it is rejected."""
    try:
        return repr(make())
    except Reject as error:
        return error.reason, error.detail


@settings(max_examples=1000)
@given(tables())
@example(({"a.b": "text", "c": "text"}, [Struct("a", "b")]))
@example(({"a": "text", "b": "text"}, [("\ud83d", ""), ("\ude00", "")]))
def test_rows_by_column_are_those_that_are_made_one_by_one(table: tuple[dict[str, str], list[Any]]) -> None:
    columns, items = columns_of(table[0]), table[1]
    one_by_one = taken(lambda: [list(row) for row in zip(*[row_of(item, columns) for item in items], strict=True)])
    assert taken(lambda: [list(column) for column in laid_out(items, columns) if items]) == one_by_one
