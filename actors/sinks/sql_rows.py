"""Rows into a table of SQLite, in order, without those that it refuses.

A statement that SQLite refuses is undone alone, with nothing around it, so rows go one behind the other and the next is
begun behind the one that was refused: what is refused costs an exception. ``sql_pipeline`` has the same for PostgreSQL.
"""

from __future__ import annotations

import datetime
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.dialects import sqlite

from actors.runtime.errors import ConfigError

#: Rows that are sent at a time, and may take ``timeout_s``.
CHUNK_ROWS = 2000
#: The values of a row as they travel; of a deletion one more.
Row = list[Any]
#: What the database said of the rows that it refused, by their place among those that it was given.
Refused = dict[int, str]

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)


class RowTables(Protocol):
    """What is asked of the tables."""

    put: Any
    take_out: Any
    kinds: list[str]
    key_at: list[int]

    def is_gone(self, row: Row) -> bool: ...


class Rows(Protocol):
    """The rows of one table, on one connection, in the transaction that it is in."""

    def all_or_none(self, rows: Sequence[Row]) -> bool:
        """Store all of these, or, as soon as one is refused, none; say which."""
        ...

    def in_order(self, rows: Sequence[Row]) -> Refused:
        """Store one behind the other; return those that are refused."""
        ...


class RowsOfFile:
    """Those in a file of SQLite.

    Args:
        connection: in its transaction, whenever it is used.
        tables: with the statements.
        patience: called when from then on it may take ``timeout_s`` until there is an answer.
        says: what the table is called in an error.
    """

    def __init__(
        self, connection: sqlalchemy.Connection, tables: RowTables, patience: Callable[[], None], says: str
    ) -> None:
        file: Any = connection.connection.dbapi_connection
        assert isinstance(file, sqlite3.Connection)
        self._file = file
        self._tables = tables
        self._patience = patience
        self._says = says
        dialect = sqlite.dialect(paramstyle="qmark")
        both = ((False, tables.put), (True, tables.take_out))
        self._statements = {gone: str(made.compile(dialect=dialect)) for gone, made in both if made is not None}
        self._encode = Encoding(tables, {"timestamp": _text_of})

    def all_or_none(self, rows: Sequence[Row]) -> bool:
        """See ``Rows``."""
        self._file.execute("SAVEPOINT thresher")
        refused = self._store(rows, 1)
        if refused:
            self._file.execute("ROLLBACK TO thresher")
        self._file.execute("RELEASE thresher")
        return not refused

    def in_order(self, rows: Sequence[Row]) -> Refused:
        """See ``Rows``."""
        return self._store(rows, len(rows))

    def _store(self, rows: Sequence[Row], most: int) -> Refused:
        refused: Refused = {}
        for gone, part in runs_of(rows, self._tables.is_gone):
            at = part.start
            while at < part.stop and len(refused) < most:
                self._patience()
                stop = min(at + CHUNK_ROWS, part.stop)
                sent = _Counted(map(self._encode, rows[at:stop]))
                try:
                    self._file.executemany(self._statements[gone], sent)
                    at = stop
                except sqlite3.Error as error:
                    if not isinstance(error, sqlite3.IntegrityError | sqlite3.DataError):
                        raise exc.DBAPIError(self._statements[gone], None, error) from error
                    self._require_open(error)
                    at += sent.count
                    refused[at - 1] = str(error)
        return refused

    def _require_open(self, error: sqlite3.Error) -> None:
        if not self._file.in_transaction:
            raise ConfigError(f"{self._says}: {error}: a trigger or a constraint of this table ends the transaction of "
                              "all rows (ROLLBACK), so nobody can store the others: let it be ABORT")


class Encoding:
    """Makes of a row what the database takes; of a deletion the values of its key.

    Args:
        tables: with the kinds of the columns.
        by_kind: what is made of a value that is not NULL, where it is not the value itself.
    """

    def __init__(self, tables: RowTables, by_kind: Mapping[str, Callable[[Any], Any]]) -> None:
        self._is_gone = tables.is_gone
        self._key_at = tables.key_at
        self._encoders = [by_kind.get(kind, _as_it_is) for kind in tables.kinds]

    def __call__(self, row: Row) -> list[Any]:
        """The values in the order of the statement's parameters."""
        if self._is_gone(row):
            return [self._encoders[at](row[at]) for at in self._key_at]
        return [None if value is None else encode(value) for encode, value in zip(self._encoders, row, strict=True)]


def runs_of(rows: Sequence[Row], is_gone: Callable[[Row], bool]) -> Iterator[tuple[bool, range]]:
    """Rows that are next to one another and go by the same statement."""
    at = 0
    for gone, some in groupby(rows, is_gone):
        count = sum(1 for _ in some)
        yield gone, range(at, at + count)
        at += count


def moment(microseconds: int) -> datetime.datetime:
    """A time, as it travels."""
    return _EPOCH + microseconds * _MICROSECOND


def _as_it_is(value: Any) -> Any:
    return value


def _text_of(microseconds: int) -> str:
    return moment(microseconds).replace(tzinfo=None).isoformat(" ", "microseconds")


class _Counted:
    """Knows how many were taken: of those that a driver is given at once, the last is the one that it failed with."""

    def __init__(self, values: Iterator[list[Any]]) -> None:
        self._values = values
        self.count = 0

    def __iter__(self) -> Iterator[list[Any]]:
        return self

    def __next__(self) -> list[Any]:
        value = next(self._values)
        self.count += 1
        return value
