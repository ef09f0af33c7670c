"""SQL: rows in a table of SQLite or PostgreSQL, each once, through SQLAlchemy (the extra ``sql``).

An item is a row by typed columns (``columns``). What a column cannot take is rejected in the pool, by the same rules
for both systems: they are the narrower of the two. A timestamp is kept in UTC, to the microsecond.

``Deleted(key)`` in the place of a row deletes the row of that key. It is part of the order and of the transaction as a
row is: of a row and a deletion of one key the later stands, and neither is done twice.

``sql_store`` has the opened sink, and how it writes each row once.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.extras import how_to_install
from actors.runtime.options import without_password
from actors.runtime.ports import UNFLUSHED, Repeated, Sink, SinkOptions
from actors.runtime.stored import Need, Reader
from actors.sinks.columns import Column, columns_of, require_columns, row_of, short
from actors.sinks.sql_applied import OWN_TABLES, applied_in, owner_of
from actors.sinks.sql_witness import forget

_SCHEMES = ("sqlite", "postgresql", "postgres", "postgresql+psycopg")


class Deleted:
    """In the place of a row: there is none any more for this key.

    Args:
        key: the values of the key's columns, in the order of the sink's option ``key``.

    Example::

        def encode(rating):  # a tombstone has come as (key, None)
            return (rating.key, rating.mean) if rating.mean is not None else Deleted(rating.key)
    """

    __slots__ = ("key",)

    def __init__(self, *key: Any) -> None:
        self.key = key

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Deleted) and self.key == other.key

    def __hash__(self) -> int:
        return hash((Deleted, self.key))

    def __repr__(self) -> str:
        return f"Deleted({', '.join(map(repr, self.key))})"


class Sql(SinkOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table.

    Attributes:
        url: ``sqlite:///PATH`` (relative to the state directory) or ``postgresql+psycopg://USER:PASSWORD@HOST/DATABASE``,
            the password best as ``${env:NAME}``; empty for the SQLite file ``NAME.sqlite`` in the state directory.
        table: its name, or ``schema.name``; empty for the sink's name.
        columns: types by name: text, integer, real, timestamp, json, boolean, bytes; with a ``?`` behind it, it may be
            NULL.
        key: the primary key: a later row takes the place of an earlier one, and ``Deleted(key)`` deletes it. Empty:
            rows are only added.
        create: make what is missing: the table, and those of Thresher's own.
        sync: wait for the disk at each group of batches; without it what was written survives the death of any process
            of ours, not that of the machine or of the server.
        timeout_s: longest time to connect, to wait for an answer, and for a lock that another session holds.

    Example::

        Sql(url="sqlite:///reports.db", table="reports", columns={"host": "text", "number": "integer"}, key=["host"])
    """

    ordered: ClassVar[bool] = True
    takes: ClassVar[tuple[str, ...]] = ("items",)
    guarantee: ClassVar[str] = "rows and positions in one transaction: exactly once, in source order"

    url: str = ""
    table: str = ""
    columns: dict[str, str]
    key: list[str] = []
    create: bool = True
    sync: bool = True
    timeout_s: Annotated[float, Meta(gt=0)] = 10.0

    def __post_init__(self) -> None:
        """Refuse what no table can be made of."""
        if self.url and self.url.partition("://")[0] not in _SCHEMES:
            raise ValueError("url: expected sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE, "
                             f"got {without_password(self.url)!r}")
        scheme, _, place = self.url.partition("://")
        if scheme != "sqlite" and place.count("@") > 1:  # the driver takes a piece of a password for the host
            raise ValueError("url: expected one @, before the host, got more: in user, password and names an @ is %40, "
                             "also where they come from the environment or a file")
        *schema, table = self.table.split(".")
        if self.table and (len(schema) > 1 or "" in (*schema, table)):
            raise ValueError(f"table: expected NAME or SCHEMA.NAME, got {self.table!r}")
        if table.lower() in OWN_TABLES:
            raise ValueError(f"table: {table} is one of Thresher's own: expected another name")
        require_columns(self.columns)
        for name in self.key:
            if self.columns.get(name, "json") == "json" or self.columns[name].endswith("?"):
                raise ValueError(f"key: expected columns that are never NULL and no json, got {name!r}")
        if len(set(self.key)) != len(self.key):
            raise ValueError(f"key: expected each column once, got {self.key!r}")

    def pack(self, items: Sequence[Any]) -> bytes:
        """Return the rows of these items as one payload. A deletion travels as a row of the key with one value more.

        Raises:
            Reject: a column is missing, or its value is none of its type; a deletion, and the table has no key.
        """
        columns = columns_of(self.columns)
        return msgspec.msgpack.encode([
            self._gone(item, columns) if isinstance(item, Deleted) else row_of(item, columns) for item in items])

    def _gone(self, item: Deleted, columns: list[Column]) -> list[Any]:
        if not self.key or len(item.key) != len(self.key):
            expected = f"Deleted({', '.join(self.key)})" if self.key else "a row, for there is no key to delete by"
            raise Reject("column", f"expected {expected}, got {short(item)}")
        values = dict(zip(self.key, item.key, strict=True))
        only = [column for column in columns if column.name in values]
        found = dict(zip((column.name for column in only), row_of(values, only), strict=True))
        return [*(found.get(column.name) for column in columns), True]

    def libraries(self) -> tuple[str, ...]:
        """SQLAlchemy, and the driver of PostgreSQL; that of SQLite is Python's."""
        return ("sqlalchemy", *(("psycopg",) if self.url.startswith("postgresql") else ()))

    def open(self, name: str, state: Path) -> Sink:
        """Open the database, and make the table.

        Raises:
            ConfigError: it cannot be this database, this user, or this table. A server that is down is no such error.
        """
        try:
            from actors.sinks.sql_store import open_store

            return open_store(self, name, state)  # which imports what talks to this kind of database
        except ImportError as error:
            raise ConfigError(_needs(name, error)) from error

    def check(self, name: str, state: Path) -> list[str]:
        """Say why the database cannot be used now, for ``thresher check``; no table is made.

        Raises:
            ConfigError: it cannot be this database, or this user.
        """
        try:
            from actors.sinks.sql_store import problems_of

            return problems_of(self, name, state)
        except ImportError as error:
            raise ConfigError(_needs(name, error)) from error

    def place(self, name: str, state: Path) -> Path | None:
        """The file of SQLite."""
        scheme, _, path = (self.url or f"sqlite:///{name}.sqlite").partition("://")
        return state / path.partition("?")[0].removeprefix("/") if scheme == "sqlite" else None

    def positions(self, name: str, state: Path) -> dict[str, int]:
        """What is in ``thresher_applied`` of this sink and table; nothing when there is no such table.

        Raises:
            Retryable: the database cannot be asked now.
        """
        path = self.place(name, state)
        if path is not None:
            return applied_in(path, owner_of(name, self.table))
        try:
            from actors.sinks.sql_store import Store
        except ImportError:  # said when it is opened
            return {}
        with closing(Store(self, name, state)) as store:
            return store.positions()

    def answers(self) -> tuple[Need, ...]:
        """Its rows."""
        return ("rows",)

    def reader(self, name: str, state: Path) -> Reader:
        """Open the table, to look at; a file of SQLite without SQLAlchemy.

        Raises:
            ConfigError: the library for a server is not installed.
        """
        from actors.sinks.sql_read import FileReader, ServerReader

        path = self.place(name, state)
        if path is not None:
            return FileReader(path, self.table or name, self.columns, self.timeout_s)
        try:
            return ServerReader(self, name, state)
        except ImportError as error:
            raise ConfigError(_needs(name, error)) from error

    def clear(self, name: str, state: Path) -> bool:
        """No: rows stay. What this state knew to be there it no longer asks for."""
        forget(name, state)
        return False

    def adds(self) -> bool:
        """With a key the same row takes its own place; without one it is there twice."""
        return not self.key

    def tombstones(self) -> str:
        """One of its key alone."""
        return f"Deleted({', '.join(self.key)}) deletes the row" if self.key else ""

    def loses(self) -> str:
        """Nothing, unless it does not wait for the disk."""
        if self.sync:
            return ""
        return UNFLUSHED if self.place("", Path()) else (
            "a power cut of the server takes what was written last, though it was acknowledged (sync = false)")

    def repeated(self) -> Repeated:
        """Its position is in the transaction of its rows."""
        return "skipped"

    def describe(self) -> str:
        """Say where this writes."""
        where = without_password(self.url) or "sqlite"
        return f"sql {where} table {self.table}" if self.table else f"sql {where}"


OPTIONS = Sql


def _needs(name: str, error: ImportError) -> str:
    return f"sinks.{name}: type sql needs {error.name or error}: {how_to_install('sql')}"
