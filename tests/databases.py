"""Databases for tests of the sink ``sql``: a file of SQLite, or a database of a real PostgreSQL."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from actors.runtime.values import Payload
from actors.sinks.sql import Sql
from actors.sinks.sql_store import Store
from tests.postgres import Postgres

Rows = list[tuple[Any, ...]]
COLUMNS = {"id": "integer", "name": "text"}


class Place(msgspec.Struct):
    """A database: its address, and how to ask it something behind the sink's back."""

    url: str
    folder: Path
    ask: Callable[[str], Rows]
    server: Postgres | None = None

    def options(self, **values: Any) -> Sql:
        return Sql(**{"url": self.url, "table": "rows", "columns": COLUMNS, "sync": False, **values})

    def open(self, options: Sql) -> Store:
        store = options.open("out", self.folder)
        assert isinstance(store, Store)
        return store

    def rows(self) -> Rows:
        return self.ask("SELECT * FROM rows ORDER BY 1, 2")


def sqlite_place(folder: Path) -> Place:
    def ask(statement: str) -> Rows:
        with closing(sqlite3.connect(folder / "out.sqlite")) as connection, connection:
            return [tuple(row) for row in connection.execute(statement)]

    return Place("", folder, ask)


def postgres_place(folder: Path, server: Postgres) -> Place:
    database = server.make_database()

    def ask(statement: str) -> Rows:
        with server.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return Place(server.url(database), folder, ask, server)


def payload(options: Sql, items: list[Any], start: int = 0, partition: str = "p") -> Payload:
    return Payload(partition, start, start + 10, len(items), options.pack(items))
