"""The tables of the ``sql`` sink, the user's and Thresher's own: made when they are missing, compared when not."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import types
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.schema import CreateTable

from actors.runtime.errors import ConfigError
from actors.sinks.sql_applied import APPLIED, REFUSED

_TYPES: dict[str, Callable[[], Any]] = {
    "text": types.Text, "integer": types.BigInteger, "real": types.Double,
    "timestamp": lambda: types.DateTime(timezone=True), "boolean": types.Boolean, "bytes": types.LargeBinary,
    "json": lambda: types.JSON(none_as_null=True).with_variant(postgresql.JSONB(none_as_null=True), "postgresql")}
#: Families of types that a database may have in their places, the narrower first.
_FAMILIES: tuple[tuple[type[types.TypeEngine[Any]], str], ...] = (
    (types.Boolean, "boolean"), (types.JSON, "json"), (types.DateTime, "timestamp"), (types.Numeric, "real"),
    (types.Float, "real"), (types.Integer, "integer"), (types.Enum, "enum"), (types.String, "text"),
    (types.LargeBinary, "bytes"))


class TableOptions(Protocol):
    """What the tables are made from: of the options of the sink, which say what each means."""

    @property
    def table(self) -> str: ...
    @property
    def columns(self) -> dict[str, str]: ...
    @property
    def key(self) -> list[str]: ...


class Tables:
    """The tables and the statements on them.

    Args:
        options: of the sink.
        name: of the sink.
        dialect: ``sqlite`` or ``postgresql``.
    """

    def __init__(self, options: TableOptions, name: str, dialect: str) -> None:
        schema, _, table = (options.table or name).rpartition(".")
        metadata = sqlalchemy.MetaData(schema=schema or None)
        key = [sqlalchemy.PrimaryKeyConstraint(*options.key)] if options.key else []  # in the order that was given
        self.rows = sqlalchemy.Table(table, metadata, *[
            sqlalchemy.Column(
                column, _TYPES[kind.removesuffix("?")](), nullable=kind.endswith("?"), autoincrement=False)
            for column, kind in options.columns.items()], *key)
        self.applied = sqlalchemy.Table(
            APPLIED, metadata, _text("sink", key=True), _text("partition", key=True), _integer("position"),
            _integer("changed"))
        self.refused = sqlalchemy.Table(
            REFUSED, metadata, _text("sink", key=True), _text("partition", key=True), _integer("position", key=True),
            _integer("item", key=True), _text("reason"), _text("detail"),
            sqlalchemy.Column("raw", types.LargeBinary, nullable=False))
        insert = postgresql.insert if dialect == "postgresql" else sqlite.insert
        self.put = _upsert(insert, self.rows)
        self.advance = _upsert(insert, self.applied)
        self.remember = _upsert(insert, self.refused)
        self.remember_many = _upsert_arrays(self.refused) if dialect == "postgresql" else None
        self.take_out = None if not options.key else sqlalchemy.delete(self.rows).where(*(
            self.rows.c[column] == sqlalchemy.bindparam(f"gone_{at}") for at, column in enumerate(options.key)))
        self.kinds = [kind.removesuffix("?") for kind in options.columns.values()]
        columns = list(options.columns)
        self.key_at = [columns.index(column) for column in options.key]

    def is_gone(self, row: list[Any]) -> bool:
        """Whether this is no row but says that there is none for its key: it has one value more."""
        return len(row) > len(self.kinds)


def prepare(
    connection: sqlalchemy.Connection, tables: Tables, create: bool, says: str, was_written: bool = False
) -> None:
    """Make the tables that are missing; make sure that the others are what is expected.

    ``was_written``: the table of rows has to be there, for this state has written to it.

    Raises:
        ConfigError: they are not, or are missing and may not be made.
    """
    inspector = sqlalchemy.inspect(connection)
    missing: list[sqlalchemy.Table] = []
    for table in (tables.rows, tables.applied, tables.refused):
        if inspector.has_table(table.name, schema=table.schema):
            _compare(inspector, table, says)
        else:
            missing.append(table)
    statements = ";\n".join(str(CreateTable(table).compile(connection.engine)).strip() for table in missing)
    if was_written and tables.rows in missing and tables.applied not in missing:
        raise ConfigError(f"{says}: table {tables.rows.fullname}: expected the rows that were written, got no such "
                          f"table: put it back, or make another to go on without them:\n{statements};")
    if missing and not create:
        raise ConfigError(f"{says}: expected a table {missing[0].fullname}, got none: make what is missing, or set "
                          f"create = true:\n{statements};")
    for table in missing:
        table.create(connection)


def _compare(inspector: sqlalchemy.Inspector, table: sqlalchemy.Table, says: str) -> None:
    found = {column["name"]: column for column in inspector.get_columns(table.name, schema=table.schema)}
    problems: list[str] = []
    for column in table.columns:
        wanted = _kind(column.type)
        if column.name not in found:
            problems.append(f"{column.name} {wanted}, got no such column")
        elif (got := _kind(found[column.name]["type"])) != wanted:
            problems.append(f"{column.name} {wanted}, got {got}")
    for name, other in found.items():
        if name not in table.columns and not (
                other["nullable"] or other.get("default") or other.get("identity") or other.get("computed")):
            problems.append(f"no value for {name}, got a column that must have one")
    key = [column.name for column in table.primary_key]
    if key and not problems and not _is_unique(inspector, table, set(key)):
        problems.append(f"a primary key or a unique index of {', '.join(key)}, got none")
    if problems:
        raise ConfigError(f"{says}: table {table.fullname}: expected {'; expected '.join(problems)}: name another "
                          "table, or make it fit")


def _is_unique(inspector: sqlalchemy.Inspector, table: sqlalchemy.Table, key: set[str]) -> bool:
    where: dict[str, Any] = {"table_name": table.name, "schema": table.schema}
    unique: list[Sequence[str | None]] = [inspector.get_pk_constraint(**where)["constrained_columns"]]
    unique += [constraint["column_names"] for constraint in inspector.get_unique_constraints(**where)]
    unique += [index["column_names"] for index in inspector.get_indexes(**where, include_auto_indexes=True)
               if index["unique"] and not any(name.endswith("_where") for name in index.get("dialect_options", {}))]
    return any(set(columns) == key for columns in unique)


def _kind(kind: types.TypeEngine[Any]) -> str:
    return next((name for family, name in _FAMILIES if isinstance(kind, family)), str(kind).lower())


def _upsert(insert: Any, table: sqlalchemy.Table) -> Any:
    """An insert; where there is a key, what is there under it is replaced."""
    statement = insert(table)
    key = [column.name for column in table.primary_key]
    others = {column.name: statement.excluded[column.name] for column in table.columns if column.name not in key}
    if not key:
        return statement
    return (statement.on_conflict_do_update(index_elements=key, set_=others) if others
            else statement.on_conflict_do_nothing(index_elements=key))


def _upsert_arrays(table: sqlalchemy.Table) -> Any:
    """The same of many rows in one statement, each column's values as an array; no two may have the same key."""
    arrays = sqlalchemy.func.unnest(*(
        sqlalchemy.bindparam(column.name, type_=postgresql.ARRAY(column.type)) for column in table.columns))
    rows = arrays.table_valued(*(column.name for column in table.columns)).render_derived(name="given")
    statement = postgresql.insert(table).from_select([column.name for column in table.columns], sqlalchemy.select(rows))
    return statement.on_conflict_do_update(
        index_elements=[column.name for column in table.primary_key],
        set_={column.name: statement.excluded[column.name] for column in table.columns if not column.primary_key})


def _text(name: str, key: bool = False) -> sqlalchemy.Column[str]:
    return sqlalchemy.Column(name, types.Text, primary_key=key, nullable=False)


def _integer(name: str, key: bool = False) -> sqlalchemy.Column[int]:
    return sqlalchemy.Column(name, types.BigInteger, primary_key=key, nullable=False, autoincrement=False)
