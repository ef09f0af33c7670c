"""CSV: one growing table, or many files by name; exact after a kill and after a power cut.

    path      an item is a row                 appended to one file that begins with the head (see ``lines``)
    folder    an item is (name, rows)          a file of that name with the head and these rows; given again it is
                                               replaced, whole, in one rename (see ``csv_files``)

Quoting is that of the standard library's ``csv``: only what needs it (the delimiter, a quote, a line break), quotes
doubled. Rows end in a newline. None is an empty field; a float is written so that it reads as the same float.

What does not work: a newline as the line terminator of the standard library's writer (before Python 3.13 it then leaves
a carriage return unquoted, and readers see a line break).
"""

from __future__ import annotations

import csv
import datetime
import decimal
import io
import itertools
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import msgspec

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.ports import UNFLUSHED, Repeated, Sink, SinkOptions
from actors.runtime.stored import Need, Reader
from actors.sinks.csv_files import CsvFolder, clear_files, index_of
from actors.sinks.lines import LinesFile, clear_lines
from actors.sinks.lines_manifest import manifest_path, read_manifest
from actors.sinks.lines_read import LinesReader

#: What a field may be; all else has no text of its own that could be read again.
_FIELDS = (str, int, float, type(None), decimal.Decimal, datetime.date, datetime.time, uuid.UUID)
#: Most bytes of a file's name: what is written beside it has six more.
_NAME_BYTES = 240
_SHOWN = 60
#: No field is longer.
_MOST_BYTES = 1 << 40
_NOT_A_DELIMITER = "\"\r\n\0"


class Csv(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table that grows, or CSV files by name.

    Attributes:
        columns: names of the columns, in their order.
        path: the file of a table, relative to the state directory; empty for ``NAME.csv``.
        folder: the folder of many files, relative to the state directory; empty: there is one table.
        header: each file begins with the names of the columns.
        delimiter: what is between two fields, one character.
        sync: wait for the disk at each group of batches; without it what was written survives the death of any
            process, not that of the machine.

    Example::

        Csv(columns=["asin", "count"])  # items are rows: ("B004LLIL5A", 3), or {"asin": "B004LLIL5A", "count": 3}
        Csv(columns=["asin", "count"], folder="minutes")  # items are files: ("11_04.csv", [("B004LLIL5A", 3)])
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = ("a table: length and positions in a manifest; files: replaced by a rename; either way "
                                "exactly once, in source order")

    columns: list[str]
    path: str = ""
    folder: str = ""
    header: bool = True
    delimiter: str = ","
    sync: bool = True

    def __post_init__(self) -> None:
        """Refuse what no table can be made of."""
        if not self.columns or len(set(self.columns)) != len(self.columns) or "" in self.columns:
            raise ValueError(f"columns: expected one or more, with different names, got {self.columns!r}")
        if self.path and self.folder:
            raise ValueError("path, folder: expected one of them: path for a table that grows, folder for many files")
        if len(self.delimiter) != 1 or self.delimiter in _NOT_A_DELIMITER:
            raise ValueError(f"delimiter: expected one character, no quote or line break, got {self.delimiter!r}")

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return rows as lines of CSV; of files, each with its name.

        Raises:
            Reject: a row has other columns, a field is no text, number, time or None, or a name is none of a file.
        """
        if not self.folder:
            return self._lines(items)
        head = self._head()
        return msgspec.msgpack.encode([(name, head + self._lines(rows)) for name, rows in map(_file, items)])

    def unpack(self, data: bytes) -> list[Any]:
        """Return the rows, or (name, rows) of each file, with every field as text."""
        if not self.folder:
            return self._rows(data)
        start = 1 if self.header else 0
        return [(name, self._rows(text)[start:]) for name, text in msgspec.msgpack.decode(data, type=list[_Packed])]

    def open(self, name: str, state: Path) -> Sink:
        """Open the table, or the folder; made when it is missing, and brought to what counts."""
        if self.folder:
            return CsvFolder(self.place(name, state), name, self.sync)
        return LinesFile(self.place(name, state), self.sync, self._head())

    def clear(self, name: str, state: Path) -> bool:
        """Remove the table, as ``Lines`` does its file; or the files that the sink of this name has written.

        Raises:
            ConfigError: somebody writes to it; or it cannot be removed.
        """
        if self.folder:
            clear_files(self.place(name, state), name)
        else:
            clear_lines(self.place(name, state))
        return True

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What the manifest says; nothing when there is none."""
        place = self.place(name, state)
        try:
            return read_manifest(index_of(place, name) if self.folder else place).applied
        except (OSError, ConfigError):
            return {}

    def check(self, name: str, state: Path) -> list[str]:
        """What lies where this is to be, and cannot be written to.

        Raises:
            ConfigError: the table that is there has other columns.
        """
        place = self.place(name, state)
        folder = place if self.folder else place.parent
        if not self.folder and manifest_path(place).is_file() and place.is_file():
            _expect_head(place, self._head())
        nearest = next(path for path in (folder, *folder.parents) if path.exists())
        if not nearest.is_dir():
            return [f"{nearest}: expected a folder, got a file: move it away"]
        if not os.access(nearest, os.W_OK | os.X_OK):
            return [f"{nearest}: this user may not write there: give another place, or leave to write"]
        if not self.folder and place.is_dir():
            return [f"{place}: expected a file, got a folder: move it away, or give another path"]
        return []

    def adds(self) -> bool:
        """A table only grows; a file takes the place of the one of its name."""
        return not self.folder

    def place(self, name: str, state: Path) -> Path:
        """Where the table, or the folder, is."""
        return state / (self.folder or self.path or f"{name}.csv")

    def answers(self) -> tuple[Need, ...]:
        """The rows of a table."""
        return () if self.folder else ("rows",)

    def reader(self, name: str, state: Path) -> Reader:
        """Open the table, to look at: every field is text, or None where it is empty."""
        return LinesReader(self.place(name, state), self._read)

    def _read(self, lines: Iterable[bytes]) -> Iterator[dict[str, str | None]]:
        csv.field_size_limit(_MOST_BYTES)
        found = csv.reader((f"{line.decode()}\n" for line in lines), delimiter=self.delimiter)
        for row in itertools.islice(found, 1 if self.header else 0, None):
            yield {column: field or None for column, field in zip(self.columns, row, strict=False)}

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        return "" if self.sync else UNFLUSHED

    def repeated(self) -> Repeated:
        """A file takes the place of the one of its name; of a table the position is in the manifest."""
        return "replaced" if self.folder else "skipped"

    def describe(self) -> str:
        """Say where this writes."""
        if self.folder:
            return f"csv files in {self.folder}"
        return f"csv {self.path}" if self.path else "csv"

    def _head(self) -> bytes:
        return self._lines([self.columns]) if self.header else b""

    def _lines(self, rows: Sequence[Any]) -> bytes:
        return lines_of([_row(row, self.columns) for row in rows], self.delimiter).encode()

    def _rows(self, data: bytes) -> list[tuple[str, ...]]:
        csv.field_size_limit(max(len(data), csv.field_size_limit()))
        return [tuple(row) for row in csv.reader(io.StringIO(data.decode(), newline=""), delimiter=self.delimiter)]


OPTIONS = Csv
#: A file as it travels.
_Packed = tuple[str, bytes]


def lines_of(rows: Iterable[Sequence[Any]], delimiter: str = ",") -> str:
    """Rows as lines of CSV, each with a newline behind it."""
    lines = _Lines()
    csv.writer(lines, delimiter=delimiter, lineterminator="\r\n").writerows(rows)
    return "".join(lines.found)


class _Lines:
    """Takes the rows of a writer, each with the end that has its line breaks quoted, and gives it a newline instead."""

    def __init__(self) -> None:
        self.found: list[str] = []

    def write(self, row: str) -> None:
        """Take one row."""
        self.found += row.removesuffix("\r\n"), "\n"


def _row(item: Any, columns: Sequence[str]) -> Sequence[Any]:
    """The fields of a row, in the order of the columns.

    Raises:
        Reject: there are others, or one has no text.
    """
    if isinstance(item, (tuple, list)):
        fields: Sequence[Any] = item
        if len(fields) != len(columns):
            raise Reject("columns", f"expected {len(columns)} ({', '.join(columns)}), got {len(fields)}")
    else:
        named = _named(item)
        if set(named) != set(columns):
            raise Reject("columns", f"expected {', '.join(columns)}, got {', '.join(map(str, named))}")
        fields = [named[column] for column in columns]
    for column, field in zip(columns, fields, strict=True):
        if not isinstance(field, _FIELDS):
            raise Reject("field", f"{column}: expected text, a number, a time or None, got {_shown(field)}")
    return fields


def _named(item: Any) -> Mapping[str, Any]:
    if isinstance(item, Mapping):
        return item
    if isinstance(item, msgspec.Struct):
        return msgspec.structs.asdict(item)
    raise Reject("row", f"expected a tuple, a list, a mapping or a struct, got {_shown(item)}")


def _file(item: Any) -> tuple[str, Sequence[Any]]:
    """Name and rows of a file.

    Raises:
        Reject: it is no file's name, or there are no rows.
    """
    match item:
        case (str(name), (list() | tuple()) as rows):
            _expect_name(name)
            return name, rows
    raise Reject("file", f"expected (name, rows), got {_shown(item)}")


def _expect_name(name: str) -> None:
    """Raise Reject for what is no plain name: in no other folder, not hidden, on one line."""
    if not name or "/" in name or name.startswith(".") or not name.isprintable():
        raise Reject("name", f"expected the name of a file, without a folder and not hidden, got {_shown(name)}")
    if len(name.encode()) > _NAME_BYTES:
        raise Reject("name", f"expected a name of at most {_NAME_BYTES} bytes, got {_shown(name)}")


def _expect_head(path: Path, head: bytes) -> None:
    with path.open("rb") as file:
        first = file.read(len(head))
    if first and first != head:
        raise ConfigError(f"{path}: expected it to begin with {head.decode()!r}, got "
                          f"{first.decode(errors='replace')!r}: give another path, begin anew (--fresh), or let the "
                          "columns be what they were")


def _shown(value: Any) -> str:
    shown = f"{type(value).__name__} {value!r}"
    return shown if len(shown) <= _SHOWN else f"{shown[:_SHOWN - 1]}…"
