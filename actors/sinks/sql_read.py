"""The rows of a table of the ``sql`` sink, looked at while it is written to.

A file of SQLite is read with the standard library, so many rows at a time, by ``rowid``: a connection that reads on and
on would keep the log of the writer from being used again. Each time it is decided anew how:

    there is a log (``….sqlite-wal``)    somebody writes, or was killed: read-only, as SQLite has it
    there is none                        the file alone, taken for one that does not change (``immutable``); if it has
                                         changed all the same, or a log has come, those rows are read once more

What does not work: to open a file read-only that has no log (SQLite makes one, and leaves it: who asks would write).
A table of PostgreSQL is read in one transaction that only reads, by a cursor of the server's: no writer waits for it,
but what others delete meanwhile the server keeps until the answer has been read to its end.
"""

from __future__ import annotations

import datetime
import os
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Protocol

import msgspec

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.stored import NothingStored, Reader

_ROWS = 1000
#: Of the transaction: nobody is waited for longer, be it a lock or the next rows.
_LIMITS = "SELECT set_config('lock_timeout', :limit, true), set_config('statement_timeout', :limit, true)"
#: What SQLite calls the number of a row, where no column has that name.
_NUMBERS = ("rowid", "_rowid_", "oid")
_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MS = datetime.timedelta(milliseconds=1)


class ReadOptions(Protocol):
    """What is used of the sink's options."""

    @property
    def url(self) -> str: ...
    @property
    def table(self) -> str: ...
    @property
    def columns(self) -> dict[str, str]: ...
    @property
    def key(self) -> list[str]: ...
    @property
    def sync(self) -> bool: ...
    @property
    def timeout_s(self) -> float: ...


def in_ms(value: datetime.datetime | str) -> int:
    """A time in ms since 1970; one without a zone is UTC."""
    when = datetime.datetime.fromisoformat(value) if isinstance(value, str) else value
    return ((when.replace(tzinfo=datetime.UTC) if when.tzinfo is None else when) - _EPOCH) // _MS


#: What is made of a value as SQLite has it.
_FROM_FILE: dict[str, Callable[[Any], Any]] = {
    "timestamp": in_ms, "boolean": bool, "json": msgspec.json.decode, "real": float}


class FileReader(Reader):
    """Reads a table in a file of SQLite.

    Args:
        path: the file.
        table: its name, perhaps with a schema.
        columns: types by name.
        timeout_s: longest time to wait for a lock.
    """

    def __init__(self, path: Path, table: str, columns: Mapping[str, str], timeout_s: float) -> None:
        self._path = path
        self._table = ".".join(map(_quoted, table.rsplit(".", 1)))
        self._columns = columns
        self._timeout_s = timeout_s

    def rows(self) -> Iterator[dict[str, Any]]:
        """In the order in which they were first there."""
        names = list(self._columns)
        makes = [_FROM_FILE.get(kind.removesuffix("?")) for kind in self._columns.values()]
        number = next(name for name in _NUMBERS if name not in {name.lower() for name in names})
        select = (f"SELECT {number}, {', '.join(map(_quoted, names))} FROM {self._table} WHERE {number} > ? "
                  f"ORDER BY {number} LIMIT {_ROWS}")
        at = -(1 << 63)
        while found := self._read(select, at):
            for _, *values in found:
                yield {name: value if make is None or value is None else make(value)
                       for name, make, value in zip(names, makes, values, strict=True)}
            at = found[-1][0]

    def _read(self, select: str, at: int) -> list[tuple[Any, ...]]:
        while True:
            before = self._looks()
            immutable = "" if before[0] else "&immutable=1"
            try:
                with closing(sqlite3.connect(f"{self._path.absolute().as_uri()}?mode=ro{immutable}", uri=True,
                                             timeout=self._timeout_s)) as connection:
                    found = connection.execute(select, (at,)).fetchall()
            except sqlite3.Error as error:
                if self._looks() != before:
                    continue
                if "no such table" in str(error):
                    raise NothingStored(f"sql {self._path}: there is no table {self._table}") from error
                raise Retryable(f"sql {self._path}: {error}") from error
            if before[0] or self._looks() == before:
                return found

    def _looks(self) -> tuple[Any, ...]:
        """Whether there is a log, and what the file is."""
        try:
            about = self._path.stat()
        except OSError as error:
            raise NothingStored(f"sql {self._path}: there is no such file") from error
        return os.path.exists(f"{self._path}-wal"), about.st_ino, about.st_size, about.st_mtime_ns


class ServerReader(Reader):
    """Reads a table of a server.

    Args:
        options: of the sink.
        name: of the sink.
        state: the state directory.
    """

    def __init__(self, options: ReadOptions, name: str, state: Path) -> None:
        from actors.sinks.sql_engine import make_engine
        from actors.sinks.sql_tables import Tables

        self._says = f"sql {make_says(options)}"
        self._name = name
        self._engine = make_engine(options, name, state, self._says)
        self._table = Tables(options, name, self._engine.dialect.name).rows
        self._kinds = [kind.removesuffix("?") for kind in options.columns.values()]
        self._columns = list(options.columns)
        self._timeout_s = options.timeout_s

    def rows(self) -> Iterator[dict[str, Any]]:
        """In whatever order the server gives them."""
        import sqlalchemy
        from sqlalchemy import exc

        try:
            with self._engine.connect() as connection:
                connection.execution_options(postgresql_readonly=True)
                connection.execute(sqlalchemy.text(_LIMITS), {"limit": str(max(1, round(self._timeout_s * 1000)))})
                for values in connection.execute(sqlalchemy.select(self._table), execution_options={
                        "stream_results": True, "yield_per": _ROWS}):
                    yield dict(zip(self._columns, self._made(values), strict=True))
        except exc.DBAPIError as error:
            raise self._failed(error) from error

    def _made(self, values: Sequence[Any]) -> Iterator[Any]:
        for kind, value in zip(self._kinds, values, strict=True):
            yield in_ms(value) if kind == "timestamp" and value is not None else value

    def _failed(self, error: Exception) -> Exception:
        from actors.sinks.sql_errors import is_hopeless, is_missing, plain

        if is_missing(error):
            return NothingStored(f"{self._says}: there is no table {self._table.fullname}")
        text = f"{self._says}: {plain(error, ' ')}"
        return ConfigError(f"sinks.{self._name}: {text}") if is_hopeless(error) else Retryable(text)


def make_says(options: ReadOptions) -> str:
    """The address, without a password."""
    from actors.runtime.options import without_password

    return without_password(options.url)


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
