"""The opened ``sql`` sink: how rows get into a table once, whoever dies when.

    one transaction:   lock ─▶ positions ─▶ rows of the ranges beyond them ─▶ refusals ─▶ positions ─▶ commit

``thresher_applied`` says up to which position the ranges of each partition are in the table. It is read and written in
the transaction of the rows, so both are there or neither; a range at or below it is not written again.

Guarantees:

* The lock comes first, and is released with the transaction. What a writer that was killed has sent may still be
  committed by the server a moment later; its successor reads the positions after that, not before.
* A row that the database refuses for good is found where it is (``sql_rows``, ``sql_pipeline``) and handed back as a
  refusal. It is in ``thresher_refused`` before the position passes it: when the writer dies before the dead-letter
  store has the row, the range that comes again is refused again.
* Positions are those of (sink and table, partition), and a partition's name is used once in the world, so many state
  directories may write to one database.
* A database that has less than was committed is told (``sql_witness``), not written on.
* Nothing of ours is left in the server for long by a session that is gone (``sql_engine``).

What does not work: to read the positions once, when it is opened (see the lock); ``SELECT ... FOR UPDATE`` in the place
of the lock (a partition's first row is not there to be locked); one statement for many rows with ``ON CONFLICT`` (a key
may come twice in it); to leave deferred constraints for the commit (nobody could say which row it was).

A partition leaves a row in ``thresher_applied``: ``changed`` (seconds since 1970) tells which may be deleted, those of
runs that will not be resumed.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import msgspec
import sqlalchemy
from sqlalchemy import exc

from actors.runtime.disk import Place, why_not_written
from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.options import without_password
from actors.runtime.progress import extend
from actors.runtime.values import Payload, Refusal
from actors.sinks.sql_applied import owner_of
from actors.sinks.sql_engine import greet, hang_up_s, make_engine
from actors.sinks.sql_errors import has_ended, is_again, is_denied, is_hopeless, is_locked, plain
from actors.sinks.sql_rows import CHUNK_ROWS, Rows, RowsOfFile
from actors.sinks.sql_segments import Seen
from actors.sinks.sql_tables import TableOptions, Tables, prepare
from actors.sinks.sql_watch import Watch
from actors.sinks.sql_witness import MARK, NEVER, Witness, witness_path

#: For what is not waiting: hang detection begins later by so much.
_MARGIN_S = 5.0
#: So often a transaction that was in the way of another is done once more before that is an outage.
_AT_ONCE = 10
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
        if is_hopeless(error.__cause__):
            raise ConfigError(f"sinks.{name}: {error}: mend url, or the database") from error
    return store


def problems_of(options: StoreOptions, name: str, state: Path) -> list[str]:
    """What would keep a server from being used now; a file is made by the run, in a directory that it makes.

    Raises:
        ConfigError: it can never work.
    """
    says = f"sql {without_password(options.url) or f'{name}.sqlite'}"
    engine = make_engine(options, name, state, says)
    if engine.dialect.name != "postgresql":
        return []
    try:
        with engine.connect() as connection:
            connection.execute(sqlalchemy.text("SELECT 1"))
    except exc.SQLAlchemyError as error:
        text = plain(error, " ")
        if is_hopeless(error):
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
        self._engine = make_engine(options, name, state, self._says)
        self._tables = Tables(options, name, self._engine.dialect.name)
        self._connection: sqlalchemy.Connection | None = None
        self._is_server = self._engine.dialect.name == "postgresql"
        self._hang_up_s = hang_up_s(options.timeout_s)
        self._watch = Watch(self._hang_up_s)
        self._witness = Witness(witness_path(name, state), f"{self._says} table {self._tables.rows.fullname}")
        self._rows: Rows | None = None
        self._place: Place | None = None
        self._seen = Seen()

    def write(self, payloads: Sequence[Payload]) -> list[Refusal]:
        """Put the rows of all ranges that are not in the table yet, and their positions, in one transaction."""
        groups = [self._decoder.decode(payload.data) for payload in payloads]
        for left in reversed(range(_AT_ONCE)):
            was_open = self._connection is not None
            try:
                refusals = self._transaction(payloads, groups)
                return sorted(refusals, key=lambda refusal: (refusal.payload, refusal.item))
            except Retryable as error:
                cause = error.__cause__
                was_lost = was_open and has_ended(cause) and not self._watch.has_hung_up
                if not left or not (was_lost or is_again(cause)):
                    raise
        raise AssertionError("left is 0 in the last turn")

    def _transaction(self, payloads: Sequence[Payload], groups: Sequence[list[list[Any]]]) -> list[Refusal]:
        connection, rows = self._opened()
        with self._retryable():
            with connection.begin():
                refusals, count, news = self._apply(connection, rows, payloads, groups)
                self._patience(connection)
            if self._place is not None:
                self._place.require()
            if news:
                self._witness.wrote(count, news)
        return refusals

    def positions(self) -> dict[str, int]:
        """Up to where each partition is in the table; no table is made.

        Raises:
            Retryable: the database cannot be asked now.
        """
        table = self._tables.applied
        with self._retryable(), self._engine.connect() as connection:
            self._greet(connection)
            if not sqlalchemy.inspect(connection).has_table(table.name, schema=table.schema):
                return {}
            return {row.partition: row.position for row in connection.execute(sqlalchemy.select(
                table.c.partition, table.c.position).where(table.c.sink == self._owner))
                if not row.partition.startswith(MARK)}

    def close(self) -> None:
        """Close the connection; a transaction that did not end is rolled back."""
        self._watch.end()
        connection, self._connection, self._rows = self._connection, None, None
        if connection is not None:
            with contextlib.suppress(exc.SQLAlchemyError, OSError):
                connection.close()

    def connected(self) -> None:
        """See to it that there is a connection, and that what is there is what was written.

        Raises:
            Retryable: there is none to be had now.
            ConfigError: the tables are others, or lack what was written.
        """
        self._opened()

    def _opened(self) -> tuple[sqlalchemy.Connection, Rows]:
        if self._connection is None or self._rows is None:
            self.close()
            with self._retryable():
                extend(self._hang_up_s + _MARGIN_S)
                connection = self._connection = self._engine.connect()
                self._greet(connection)
                with connection.begin():
                    self._lock(connection, "thresher")
                    prepare(connection, self._tables, self._options.create, self._says, self._witness.has_written)
                    known = self._witness.partitions
                    self._witness.require(self._positions(connection, known), known)
                self._rows = self._rows_of(connection)
            return connection, self._rows
        return self._connection, self._rows

    def _rows_of(self, connection: sqlalchemy.Connection) -> Rows:
        if not self._is_server:
            self._place = Place(Path(str(self._engine.url.database)))
            return RowsOfFile(connection, self._tables, lambda: self._patience(connection), self._says)
        from actors.sinks.sql_pipeline import RowsOfServer  # with what only a server needs

        return RowsOfServer(
            connection, self._tables, lambda: self._patience(connection), self._seen, self._options.timeout_s)

    @contextlib.contextmanager
    def _retryable(self) -> Iterator[None]:
        try:
            yield
        except (exc.SQLAlchemyError, OSError) as error:
            why = self._why(error)
            self.close()
            if is_denied(error):
                raise ConfigError(f"{self._says}: {why}: this user needs to read, insert, update and delete in "
                                  f"{self._tables.rows.fullname}, {self._tables.applied.fullname} and "
                                  f"{self._tables.refused.fullname}: grant it") from error
            raise Retryable(f"{self._says}: {why}") from error
        except BaseException:
            self.close()
            raise
        finally:
            self._watch.end()

    def _why(self, error: Exception) -> str:
        if self._watch.has_hung_up:
            return f"no answer for {self._hang_up_s:g} s"
        if is_locked(error):
            return f"another session holds a lock for more than {self._options.timeout_s:g} s ({plain(error)})"
        if self._is_server:
            return plain(error)
        path = Path(str(self._engine.url.database))
        said = why_not_written(path, error)
        return plain(error) if said == str(error) else f"{path}: {said}"

    # One transaction --------------------------------------------------------------------------------------------------

    def _apply(
        self, connection: sqlalchemy.Connection, store: Rows, payloads: Sequence[Payload],
        groups: Sequence[list[list[Any]]]
    ) -> tuple[list[Refusal], int, dict[str, int]]:
        """Return what is refused, how many transactions there are with this one, and where partitions are now."""
        self._lock(connection, self._owner)
        partitions = {payload.partition for payload in payloads}
        applied = self._positions(connection, partitions | {self._witness.mark})
        self._witness.require(applied, partitions)
        rows: list[_Row] = []
        refusals: list[Refusal] = []
        news: dict[str, int] = {}
        for index, (payload, group) in enumerate(zip(payloads, groups, strict=True)):
            if payload.end <= applied.get(payload.partition, -1):
                refusals += self._remembered(connection, index, payload)
            else:
                applied[payload.partition] = news[payload.partition] = payload.end
                rows += [(index, item, row) for item, row in enumerate(group)]
        refused = self._put(store, rows)
        self._remember(connection, payloads, refused)
        count = applied.get(self._witness.mark, 0) + 1
        if news:
            self._advance(connection, news, count)
        return refusals + refused, count, news

    def _advance(self, connection: sqlalchemy.Connection, news: dict[str, int], count: int) -> None:
        now = int(time.time())
        connection.execute(self._tables.advance, [
            {"sink": self._owner, "partition": partition, "position": position, "changed": now}
            for partition, position in news.items()])
        # One statement by itself: behind several that came together a server (15) takes no idle transaction for one.
        connection.execute(self._tables.advance, {
            "sink": self._owner, "partition": self._witness.mark, "position": count, "changed": NEVER})

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

    def _put(self, store: Rows, rows: list[_Row]) -> list[Refusal]:
        """Store rows; return those that are refused."""
        latest = self._latest(rows)
        if len(latest) < len(rows) and store.all_or_none(
                sorted((row for _, _, row in latest), key=lambda row: not self._tables.is_gone(row))):
            return []
        # All of them: when the later is refused the earlier stands.
        refused = store.in_order([row for _, _, row in rows]) if rows else {}
        return [Refusal(*rows[at][:2], "sink_rejected", detail, msgspec.msgpack.encode([rows[at][2]]))
                for at, detail in refused.items()]

    def _latest(self, rows: list[_Row]) -> list[_Row]:
        """Of the rows of one key, the last. No two of these meet, so all that is to be deleted may go first."""
        if not self._tables.key_at:
            return rows
        return list({tuple(row[2][at] for at in self._tables.key_at): row for row in rows}.values())

    def _remember(
        self, connection: sqlalchemy.Connection, payloads: Sequence[Payload], refusals: list[Refusal]
    ) -> None:
        for start in range(0, len(refusals), CHUNK_ROWS):
            self._patience(connection)
            rows = [{
                "sink": self._owner, "partition": payloads[one.payload].partition,
                "position": payloads[one.payload].start, "item": one.item, "reason": one.reason, "detail": one.detail,
                "raw": one.raw} for one in refusals[start:start + CHUNK_ROWS]]
            if self._tables.remember_many is None:
                connection.execute(self._tables.remember, rows)
            else:
                connection.execute(self._tables.remember_many, {name: [row[name] for row in rows] for name in rows[0]})

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
            with connection.begin():
                greet(connection, self._options)

    def _patience(self, connection: sqlalchemy.Connection) -> None:
        """From here on it may take ``timeout_s`` until there is an answer."""
        extend(self._hang_up_s + _MARGIN_S)
        if self._is_server:
            self._watch.expect(connection.connection.dbapi_connection)
