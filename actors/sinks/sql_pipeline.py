"""Rows into a table of PostgreSQL, in order, without those that it refuses.

PostgreSQL undoes a whole transaction for one row that it refuses, up to the last savepoint. So rows go in parts with a
savepoint around each, and a part goes in one of three ways:

    block   the server goes through the rows by itself, and says which it refuses (``sql_block``)
    whole   rows ─▶ sync: all of them, or none
    each    row ─▶ SAVEPOINT s ─▶ sync ─▶ ROLLBACK TO s ─▶ row ─▶ …

The block is the way. Where this user may write none (PL/pgSQL is not there, or not for all), rows go whole, and each by
itself where some were refused of late. So does a part that ended the block: with a row that a policy refuses, for the
block cannot tell that from a right that is missing, or a value that the server's encoding has no letters for, for then
nothing of it was handed over. Rows so large that the server should not hold copies of them go so, too.

In *each* a savepoint is behind each row: if the row is refused, so is its savepoint, and ``ROLLBACK TO s`` goes back to
the one before; if it is not, that does nothing. So nobody has to wait for an answer to know what to send next. They lie
within one another, the last one counts, and some of them are released at a time (with ``t``, around them).

Any way cost grows linearly with rows and with refusals, and order is kept.

What does not work: halves (each refusal costs a dozen round trips); a savepoint that is rolled back to and not released
(the next lies within it: after some thousands the server is out of shared memory, and each row costs more than the one
before); a savepoint before each row alone (what to send next depends on the answer); the pipeline of the driver's own
``executemany`` (it stops at the first error, and warns of each).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import psycopg
import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql

from actors.sinks import sql_block
from actors.sinks.sql_block import Block
from actors.sinks.sql_errors import is_refused, plain
from actors.sinks.sql_line import Line
from actors.sinks.sql_rows import CHUNK_ROWS, Encoding, Refused, Row, RowTables, moment
from actors.sinks.sql_segments import Seen

#: A block is given as many rows as this has, by those before, and no more than so many.
_GIVEN_BYTES, _GIVEN_ROWS, _FIRST_ROWS = 1 << 20, 4000, 500
#: What is larger is not given to a block.
_MOST_BYTES = 16 << 20
#: A block gives up after so much of ``timeout_s``: then a row may still wait for a lock as long as it may alone.
_SHARE = 1 / 40
#: Rows that are sent, each with its savepoint, before answers are waited for; savepoints within one another.
_EACH_ROWS, _DEPTH = 256, 32
_DEEP = (b"RELEASE t", b"SAVEPOINT t", b"SAVEPOINT s")
_STATEMENTS = {False: b"thresher_put", True: b"thresher_take_out"}


class RowsOfServer:
    """Those in a table of PostgreSQL.

    Args:
        connection: in its transaction, whenever it is used.
        tables: with the statements.
        patience: called when from then on it may take ``timeout_s`` until there is an answer.
        seen: what was refused on earlier connections.
        timeout_s: how long a statement may take.
    """

    def __init__(
        self, connection: sqlalchemy.Connection, tables: RowTables, patience: Callable[[], None], seen: Seen,
        timeout_s: float
    ) -> None:
        client: Any = connection.connection.dbapi_connection
        assert isinstance(client, psycopg.Connection)
        self._connection = connection
        self._tables = tables
        self._seen = seen
        self._timeout_s = timeout_s
        self._line = Line(client.pgconn, patience)
        self._encode = Encoding(tables, {
            "integer": _number, "real": _real, "text": str.encode, "json": str.encode, "boolean": _boolean,
            "timestamp": _timestamp})
        formats = [int(kind == "bytes") for kind in tables.kinds]
        self._formats = {False: formats, True: [formats[at] for at in tables.key_at]}
        self._is_prepared = False
        self._block: Block | None = None
        self._given_rows = _FIRST_ROWS

    def all_or_none(self, rows: Sequence[Row]) -> bool:
        """See ``Rows``."""
        return not self._within(rows, all_or_none=True)

    def in_order(self, rows: Sequence[Row]) -> Refused:
        """See ``Rows``."""
        return self._within(rows)

    def _within(self, rows: Sequence[Row], all_or_none: bool = False) -> Refused:
        refused: Refused = {}
        try:
            if not self._is_prepared:
                self._prepare()
            self._line.begin()
            if all_or_none:
                self._line.run(b"SAVEPOINT g")
            at = 0
            while at < len(rows) and not (refused and all_or_none):
                done, found = self._part(rows, at)
                self._seen.learn(done, len(found))
                refused.update((at + one, text) for one, text in found.items())
                at += done
            if refused and all_or_none:
                self._line.run(b"ROLLBACK TO g")
            self._line.end()
        except psycopg.Error as error:
            self._connection.invalidate()  # nobody knows what is under way on it
            raise exc.DBAPIError(None, None, error, connection_invalidated=error.sqlstate is None) from error
        except BaseException:
            self._connection.invalidate()
            raise
        return refused

    def _prepare(self) -> None:
        make: Any = postgresql.dialect
        dialect = make(paramstyle="numeric_dollar")
        put, take_out = (str(one.compile(dialect=dialect)) if one is not None else ""
                         for one in (self._tables.put, self._tables.take_out))
        self._line.begin()
        for name, statement in ((_STATEMENTS[False], put), (_STATEMENTS[True], take_out)):
            if statement:
                self._line.prepare(name, statement.encode())
        self._line.end()
        if self._connection.scalar(sqlalchemy.text(sql_block.MAY)):
            names = {name.decode(): gone for gone, name in _STATEMENTS.items()}
            found = self._connection.execute(sqlalchemy.text(sql_block.TYPES), {"names": list(names)})
            types = {names[name]: list(kinds) for name, kinds in found}
            self._block = Block(self._tables, put, take_out, types, self._timeout_s * _SHARE)
            self._line.begin()
            for name, made in ((b"thresher_give", sql_block.GIVE), (b"thresher_do", self._block.statement),
                               (b"thresher_ask", sql_block.ASK)):
                self._line.prepare(name, made)
            self._line.end()
        self._is_prepared = True

    def _part(self, rows: Sequence[Row], at: int) -> tuple[int, Refused]:
        """Store some; return how many rows are behind it, and which of them are refused."""
        if self._block is None:
            part = rows[at:at + CHUNK_ROWS]
            return len(part), self._without_block(part)
        part, given = self._given(self._block, rows, at)
        said = self._by_block(self._block, given) if len(given) <= _MOST_BYTES else None
        return (len(part), self._each(part)) if said is None else said

    def _given(self, block: Block, rows: Sequence[Row], at: int) -> tuple[Sequence[Row], bytes]:
        """As many rows as a block is to be given, and what it is given."""
        while True:
            part = rows[at:at + self._given_rows]
            given = block.given(part)
            fit = len(part) * _GIVEN_BYTES // len(given)
            self._given_rows = max(1, min(_GIVEN_ROWS, fit))
            if len(part) == 1 or len(given) < 2 * _GIVEN_BYTES:
                return part, given

    def _by_block(self, block: Block, given: bytes) -> tuple[int, Refused] | None:
        """Store what is given; None: something else than the block has refused it, and nothing is stored."""
        line = self._line
        line.say(b"SAVEPOINT s")
        line.send(b"thresher_give", (given, b"%d" % self._seen.segment_rows), (0, 0))
        line.send(b"thresher_do", (), ())
        line.send(b"thresher_ask", (), ())
        line.say(b"RELEASE s")
        line.flush()
        line.expect(1)
        error = line.answer() or line.answer()
        if error is None:
            said = line.value()
            line.expect(1)
            return block.said(said)
        if not is_refused(error):
            raise error
        line.synchronise()
        line.run(b"ROLLBACK TO s")
        line.run(b"RELEASE s")
        return None

    def _without_block(self, part: Sequence[Row]) -> Refused:
        if self._seen.are_some or not self._whole(part):
            return self._each(part)
        return {}

    def _whole(self, part: Sequence[Row]) -> bool:
        """Store all of them, or none; say which."""
        self._line.say(b"SAVEPOINT s")
        for row in part:
            self._send_row(row)
        self._line.flush()
        self._line.expect(1)
        for _ in part:
            error = self._line.answer()
            if error is not None:
                if not is_refused(error):
                    raise error
                self._line.synchronise()
                self._line.run(b"ROLLBACK TO s")
                break
        self._line.run(b"RELEASE s")
        return error is None

    def _each(self, part: Sequence[Row]) -> Refused:
        """Store one behind the other, each with a savepoint of its own."""
        line, refused = self._line, Refused()
        for savepoint in (b"g", b"t", b"s"):
            line.run(b"SAVEPOINT " + savepoint)
        for start in range(0, len(part), _EACH_ROWS):
            some = range(start, min(start + _EACH_ROWS, len(part)))
            for at in some:
                self._send_row(part[at])
                line.say(b"SAVEPOINT s")
                line.say_sync()
                line.say(b"ROLLBACK TO s")
                for statement in _DEEP if at % _DEPTH == 0 else ():
                    line.say(statement)
            line.flush()
            for at in some:
                error = line.answer()
                if error is not None and not is_refused(error):
                    raise error
                line.synchronised()
                line.expect(1 + len(_DEEP) * (at % _DEPTH == 0))
                if error is not None:
                    refused[at] = plain(error, " ")
        line.run(b"RELEASE g")
        return refused

    def _send_row(self, row: Row) -> None:
        gone = self._tables.is_gone(row)
        self._line.send(_STATEMENTS[gone], self._encode(row), self._formats[gone])


def _number(value: int) -> bytes:
    return b"%d" % value


def _real(value: float) -> bytes:
    return repr(value).encode()


def _boolean(value: bool) -> bytes:
    return b"t" if value else b"f"


def _timestamp(microseconds: int) -> bytes:
    return moment(microseconds).isoformat().encode()
