"""Rows of an answer, written as they come: a table for people, CSV, or JSON lines. Memory does not grow with the rows.

The columns are those of the first row. A table is as wide as the first ``_SAMPLE`` rows want it to be; an answer of one
row is shown from top to bottom.
"""

from __future__ import annotations

import datetime
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Literal, TextIO

import msgspec

from actors.runtime.errors import ConfigError
from actors.runtime.printable import one_line
from actors.sinks.csv import lines_of

Form = Literal["table", "csv", "json"]
Row = Mapping[str, Any]
#: So many rows say how wide a table is; so many are written at once.
_SAMPLE, _TOGETHER = 500, 200
#: Most characters of a cell in a table.
_WIDEST = 100


def write_rows(rows: Iterable[Row], form: Form, out: TextIO) -> int:
    """Write rows; return how many there were.

    Raises:
        ConfigError: a row has columns that the first one has not, and the form has no place for them.
        OSError: it cannot be written.
    """
    count = 0

    def counted() -> Iterator[Row]:
        nonlocal count
        for row in rows:
            count += 1
            yield row

    lines = {"table": _table, "csv": _csv, "json": _json}[form](counted())
    while some := "".join(itertools.islice(lines, _TOGETHER)):
        out.write(some)
        out.flush()
    return count


def _json(rows: Iterator[Row]) -> Iterator[str]:
    for row in rows:
        yield msgspec.json.encode({name: _of_bytes(value) for name, value in row.items()}).decode() + "\n"


def _csv(rows: Iterator[Row]) -> Iterator[str]:
    columns, rows = _columns(rows)
    if columns:
        yield lines_of([columns])
    for number, row in enumerate(rows, 1):
        yield lines_of([[_field(value) for value in _values(row, columns, number)]])


def _table(rows: Iterator[Row]) -> Iterator[str]:
    columns, rows = _columns(rows)
    sample = list(itertools.islice(rows, _SAMPLE))
    if len(sample) == 1:
        width = max(map(len, columns))
        yield from (f"{name:<{width}}  {one_line(_shown(value))}".rstrip() + "\n" for name, value in sample[0].items())
        return
    if not sample:
        return
    cells = [[_cell(value) for value in _values(row, columns, number)] for number, row in enumerate(sample, 1)]
    widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
    is_number = [all(isinstance(row.get(name), int | float | None) for row in sample) for name in columns]
    line = _line(widths, is_number)
    yield line(columns)
    yield from map(line, cells)
    for number, row in enumerate(rows, _SAMPLE + 1):
        yield line([_cell(value) for value in _values(row, columns, number)])


def _line(widths: Sequence[int], is_number: Sequence[bool]) -> Callable[[Sequence[str]], str]:
    def line(cells: Sequence[str]) -> str:
        return "  ".join(cell.rjust(width) if right else cell.ljust(width) for cell, width, right in zip(
            cells, widths, is_number, strict=True)).rstrip() + "\n"

    return line


def _columns(rows: Iterator[Row]) -> tuple[list[str], Iterator[Row]]:
    """The columns of the first row, and all rows."""
    first = list(itertools.islice(rows, 1))
    return [str(name) for row in first for name in row], itertools.chain(first, rows)


def _values(row: Row, columns: Sequence[str], number: int) -> list[Any]:
    if len(row) > len(columns) or any(name not in columns for name in row):
        more = next(name for name in row if name not in columns)
        raise ConfigError(f"row {number} has a column {more!r} that the first row has not: --json has a place for it")
    return [row.get(name) for name in columns]


def _cell(value: Any) -> str:
    text = one_line(_shown(value))
    return text if len(text) <= _WIDEST else f"{text[:_WIDEST - 1]}…"


def _shown(value: Any) -> str:
    """A value for people."""
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, list | tuple) and all(isinstance(each, str | int) for each in value):
        return ", ".join(map(str, value))
    return str(_field(value))


def _field(value: Any) -> Any:
    """A value as CSV has it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, datetime.datetime):
        return msgspec.to_builtins(value)
    value = _of_bytes(value)
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


def _of_bytes(value: Any) -> Any:
    return value.decode(errors="backslashreplace") if isinstance(value, bytes) else value
