"""The opened ``sql`` sink: how rows get into a table once, whoever dies when.

    one transaction:   lock ─▶ positions ─▶ rows of the ranges beyond them ─▶ refusals ─▶ positions ─▶ commit

``thresher_applied`` says up to which position the ranges of each partition are in the table. It is read and written in
the transaction of the rows, so both are there or neither; a range at or below it is not written again.

Guarantees:

* The lock comes first, and is released with the transaction. What a writer that was killed has sent may still be
  committed by the server a moment later; its successor reads the positions after that, not before.
* A row that the database refuses for good is found by halves (each try in a savepoint) and handed back as a refusal.
  It is in ``thresher_refused`` before the position passes it: when the writer dies before the dead-letter store has the
  row, the range that comes again is refused again.
* Positions are those of (sink and table, partition), and a partition's name is used once in the world, so many state
  directories may write to one database.

What does not work: to read the positions once, when it is opened (see the lock); ``SELECT ... FOR UPDATE`` in the place
of the lock (a partition's first row is not there to be locked); one statement for many rows with ``ON CONFLICT`` (a key
may come twice in it); to leave deferred constraints for the commit (nobody could say which row it was).

A partition leaves a row in ``thresher_applied``: ``changed`` (seconds since 1970) tells which may be deleted, those of
runs that will not be resumed.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any, Protocol

import msgspec
import sqlalchemy
from sqlalchemy import exc

from actors.runtime.disk import make_folder, why_not_written
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.options import without_password
from actors.runtime.progress import extend
from actors.runtime.values import Payload, Refusal
from actors.sinks.sql_applied import owner_of
from actors.sinks.sql_tables import TableOptions, Tables, prepare
from actors.sinks.sql_watch import Watch

#: Rows that are sent at a time, and may take ``timeout_s``.
_CHUNK_ROWS = 2000
#: For what is not waiting: hang detection begins later by so much.
_MARGIN_S = 5.0
#: Refused for good: data, integrity, a view's check, limits of the program, a trigger that says so.
_REFUSED = ("22", "23", "44", "54", "P0001")
#: What no retry mends at the start: a wrong user or password, no such database, no right to. Without a connection the
#: server's words are all that there is.
_HOPELESS_STATES = ("28", "3D", "42501")
_HOPELESS_WORDS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
                   "is not permitted to log in", "permission denied for database")
_Row = tuple[int, int, list[Any]]


class StoreOptions(TableOptions, Protocol):
    """What the store asks of the options of the sink, which say what each means."""

    @property
    def url(self) -> str: ...
    @property
    def create(self) -> bool: ...
    @property
    def sync(self) -> bool: ...
    @property
    def timeout_s(self) -> float: ...


def open_store(options: StoreOptions, name: str, state: Path) -> Store:
    """Open the sink; a server that is down is tried again by ``write``.

    Raises:
        ConfigError: it can never work.
    """
    store = Store(options, name, state)
    try:
        store.connected()
    except Retryable as error:
        if _is_hopeless(error.__cause__):
            raise ConfigError(f"sinks.{name}: {error}: mend url, or the database") from error
    return store


def problems_of(options: StoreOptions, name: str, state: Path) -> list[str]:
    """What would keep a server from being used now; a file is made by the run, in a directory that it makes.

    Raises:
        ConfigError: it can never work.
    """
    says = f"sql {without_password(options.url) or f'{name}.sqlite'}"
    engine = _engine(options, name, state, says)
    if engine.dialect.name != "postgresql":
        return []
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except exc.SQLAlchemyError as error:
        text = _plain(error, " ")
        if _is_hopeless(error):
            raise ConfigError(f"sinks.{name}: {says}: {text}: mend url, or the database") from error
        return [f"{text}: start it, or set sinks.{name}.url to where it is"]
    return []


class Store:
    """A table and the connection to its database.

    Args:
        options: of the sink.
        name: of the sink.
        state: the state directory.
    """

    def __init__(self, options: StoreOptions, name: str, state: Path) -> None:
        self._options = options
        self._says = f"sql {without_password(options.url) or f'{name}.sqlite'}"
        self._owner = owner_of(name, options.table)
        self._decoder = msgspec.msgpack.Decoder(list[list[Any]])
        self._engine = _engine(options, name, state, self._says)
        self._tables = Tables(options, name, self._engine.dialect.name)
        self._connection: sqlalchemy.Connection | None = None
        self._is_server = self._engine.dialect.name == "postgresql"
        self._watch = Watch(options.timeout_s)

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Put the rows of all ranges that are not in the table yet, and their positions, in one transaction."""
        groups = [self._decoder.decode(payload.data) for payload in payloads]
        connection = self.connected()
        with self._retryable(), connection.begin():
            refusals = self._apply(connection, payloads, groups)
            self._patience(connection)
        return sorted(refusals, key=lambda refusal: (refusal.payload, refusal.item))

    def positions(self) -> dict[str, int]:
        """Up to where each partition is in the table; no table is made.

        Raises:
            Retryable: the database cannot be asked now.
        """
        table = self._tables.applied
        with self._retryable(), self._engine.connect() as connection:
            self._patience(connection)
            if not sqlalchemy.inspect(connection).has_table(table.name, schema=table.schema):
                return {}
            return {row.partition: row.position for row in connection.execute(sqlalchemy.select(
                table.c.partition, table.c.position).where(table.c.sink == self._owner))}

    def close(self) -> None:
        """Close the connection; a transaction that did not end is rolled back."""
        self._watch.end()
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError, OSError):
                connection.close()

    def connected(self) -> sqlalchemy.Connection:
        """Return the connection; a new one has seen to it that the tables are there.

        Raises:
            Retryable: there is none to be had now.
            ConfigError: the tables are others.
        """
        if self._connection is None:
            with self._retryable():
                extend(self._options.timeout_s + _MARGIN_S)
                self._connection = self._engine.connect()
                with self._connection.begin():
                    self._greet(self._connection)
                    self._lock(self._connection, "thresher")
                    prepare(self._connection, self._tables, self._options.create, self._says)
        return self._connection

    @contextlib.contextmanager
    def _retryable(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            why = f"no answer for {self._options.timeout_s:g} s" if self._watch.has_hung_up else self._why(error)
            self.close()
            raise Retryable(f"{self._says}: {why}") from error
        except BaseException:
            self.close()
            raise
        finally:
            self._watch.end()

    def _why(self, error: Exception) -> str:
        if self._is_server:
            return _plain(error)
        path = Path(str(self._engine.url.database))
        said = why_not_written(path, error)
        return _plain(error) if said == str(error) else f"{path}: {said}"

    # One transaction --------------------------------------------------------------------------------------------------

    def _apply(
        self, connection: sqlalchemy.Connection, payloads: Sequence[Payload], groups: Sequence[list[list[Any]]]
    ) -> list[Refusal]:
        self._lock(connection, self._owner)
        applied = self._positions(connection, {payload.partition for payload in payloads})
        rows: list[_Row] = []
        refusals: list[Refusal] = []
        news: dict[str, int] = {}
        for index, (payload, group) in enumerate(zip(payloads, groups, strict=True)):
            if payload.end <= applied.get(payload.partition, -1):
                refusals += self._remembered(connection, index, payload)
            else:
                applied[payload.partition] = news[payload.partition] = payload.end
                rows += [(index, item, row) for item, row in enumerate(group)]
        refused = self._put(connection, rows)
        self._remember(connection, payloads, refused)
        if news:
            now = int(time.time())
            connection.execute(self._tables.advance, [
                {"sink": self._owner, "partition": partition, "position": position, "changed": now}
                for partition, position in news.items()])
        return refusals + refused

    def _lock(self, connection: sqlalchemy.Connection, what: str) -> None:
        """Let nobody else in until the end of the transaction; SQLite's was begun so."""
        self._patience(connection)
        if self._is_server:
            connection.execute(sqlalchemy.text("SELECT pg_advisory_xact_lock(hashtextextended(:what, 0))"),
                               {"what": f"thresher {what}"})
            connection.execute(sqlalchemy.text("SET CONSTRAINTS ALL IMMEDIATE"))

    def _positions(self, connection: sqlalchemy.Connection, partitions: set[str]) -> dict[str, int]:
        table = self._tables.applied
        found = connection.execute(sqlalchemy.select(table.c.partition, table.c.position).where(
            table.c.sink == self._owner, table.c.partition.in_(partitions)))
        return {row.partition: row.position for row in found}

    def _put(self, connection: sqlalchemy.Connection, rows: list[_Row]) -> list[Refusal]:
        """Store rows; return those that are refused."""
        if not rows:
            return []
        try:
            self._store(connection, sorted(self._latest(rows), key=lambda row: not self._tables.is_gone(row[2])))
        except exc.DBAPIError as error:
            if not _is_refused(error):
                raise
            return self._by_halves(connection, rows)  # all of them: when the later is refused the earlier stands
        return []

    def _latest(self, rows: list[_Row]) -> list[_Row]:
        """Of the rows of one key, the last. No two of these meet, so all that is to be deleted may go first."""
        if not self._tables.key_at:
            return rows
        return list({tuple(row[2][at] for at in self._tables.key_at): row for row in rows}.values())

    def _by_halves(self, connection: sqlalchemy.Connection, rows: list[_Row]) -> list[Refusal]:
        try:
            self._store(connection, rows)
        except exc.DBAPIError as error:
            if not _is_refused(error):
                raise
            if len(rows) > 1:
                half = len(rows) // 2
                return self._by_halves(connection, rows[:half]) + self._by_halves(connection, rows[half:])
            payload, item, row = rows[0]
            return [Refusal(payload, item, "sink_rejected", _plain(error, " "), msgspec.msgpack.encode([row]))]
        return []

    def _store(self, connection: sqlalchemy.Connection, rows: list[_Row]) -> None:
        """Store all of these rows, or none; those that are deletions delete."""
        with connection.begin_nested():
            for is_gone, some in groupby((row for _, _, row in rows), self._tables.is_gone):
                statement, left = self._tables.take_out if is_gone else self._tables.put, list(some)
                for start in range(0, len(left), _CHUNK_ROWS):
                    self._patience(connection)
                    connection.execute(statement, list(map(self._tables.parameters, left[start:start + _CHUNK_ROWS])))

    def _remember(
        self, connection: sqlalchemy.Connection, payloads: Sequence[Payload], refusals: list[Refusal]
    ) -> None:
        if refusals:
            connection.execute(self._tables.remember, [{
                "sink": self._owner, "partition": payloads[one.payload].partition,
                "position": payloads[one.payload].start, "item": one.item, "reason": one.reason, "detail": one.detail,
                "raw": one.raw} for one in refusals])

    def _remembered(self, connection: sqlalchemy.Connection, index: int, payload: Payload) -> list[Refusal]:
        table = self._tables.refused
        found = connection.execute(sqlalchemy.select(
            table.c.item, table.c.reason, table.c.detail, table.c.raw).where(
                table.c.sink == self._owner, table.c.partition == payload.partition,
                table.c.position == payload.start).order_by(table.c.item))
        return [Refusal(index, item, reason, detail, raw) for item, reason, detail, raw in found]

    # Waiting ----------------------------------------------------------------------------------------------------------

    def _greet(self, connection: sqlalchemy.Connection) -> None:
        """Say once how this connection is meant."""
        if self._is_server:
            self._patience(connection)
            connection.execute(sqlalchemy.text("SET timezone = 'UTC'"))  # of times in columns without a zone
            if not self._options.sync:
                connection.execute(sqlalchemy.text("SET synchronous_commit = off"))

    def _patience(self, connection: sqlalchemy.Connection) -> None:
        """From here on it may take ``timeout_s`` until there is an answer."""
        extend(self._options.timeout_s + _MARGIN_S)
        if self._is_server:
            self._watch.expect(connection.connection.dbapi_connection)


def _engine(options: StoreOptions, name: str, state: Path, says: str) -> sqlalchemy.Engine:
    try:
        url = sqlalchemy.make_url(options.url or f"sqlite:///{name}.sqlite")
        if url.get_backend_name() == "sqlite":
            return _file_engine(url, options, state)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        return sqlalchemy.create_engine(
            url, poolclass=sqlalchemy.NullPool, hide_parameters=True, json_serializer=str,
            connect_args={"connect_timeout": max(2, round(options.timeout_s)), "application_name": f"thresher {name}"})
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError(f"sinks.{name}: {says}: url: expected sqlite:///PATH or "
                          f"postgresql+psycopg://USER:PASSWORD@HOST/DATABASE ({_plain(error)})") from error


def _file_engine(url: sqlalchemy.URL, options: StoreOptions, state: Path) -> sqlalchemy.Engine:
    if url.database in (None, "", ":memory:"):
        raise ValueError("rows in memory are gone with their writer")
    path = state / str(url.database)
    engine = sqlalchemy.create_engine(
        url.set(database=os.fspath(path)), poolclass=sqlalchemy.NullPool, hide_parameters=True, json_serializer=str,
        connect_args={"timeout": options.timeout_s})

    def connected(connection: Any, record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction: `begun` does
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"PRAGMA synchronous={'FULL' if options.sync else 'NORMAL'}")

    def begun(connection: sqlalchemy.Connection) -> None:
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    def connecting(dialect: object, record: object, arguments: object, parameters: object) -> None:
        make_folder(path.parent)
        path.touch(mode=0o600)

    sqlalchemy.event.listen(engine, "do_connect", connecting)
    sqlalchemy.event.listen(engine, "connect", connected)
    sqlalchemy.event.listen(engine, "begin", begun)
    return engine


def _is_refused(error: exc.DBAPIError) -> bool:
    """Whether it is for the rows that they were not stored, whatever the number of tries."""
    state = getattr(error.orig, "sqlstate", None)
    return isinstance(error, exc.IntegrityError | exc.DataError) or (state is not None and state.startswith(_REFUSED))


def _is_hopeless(error: BaseException | None) -> bool:
    if not isinstance(error, exc.DBAPIError):
        return False
    state, text = getattr(error.orig, "sqlstate", None), str(error.orig)
    return (state or "").startswith(_HOPELESS_STATES) or (
        "FATAL:" in text and any(words in text for words in _HOPELESS_WORDS))


def _plain(error: BaseException, between: str = "") -> str:
    """What the database says: its first line, or all of them in one."""
    lines = str(getattr(error, "orig", None) or error).split("\n")
    return between.join(line.strip() for line in lines if line.strip()) if between else lines[0]
