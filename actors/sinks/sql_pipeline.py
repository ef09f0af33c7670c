"""Rows into a table of PostgreSQL, in order, without those that it refuses: statements go out before answers are in.

PostgreSQL undoes a whole transaction for one row that it refuses, up to the last savepoint. So rows go in segments, and
a savepoint is behind each:

    whole   rows ─▶ SAVEPOINT s ─▶ rows ─▶ SAVEPOINT s ─▶ …     one is refused: back to s, the rows before it, go on
    each    row ─▶ SAVEPOINT s ─▶ sync ─▶ ROLLBACK TO s ─▶ row ─▶ …

They lie within one another, the last one counts, and some of them are released at a time (with ``t``, around them).

Where few are refused, segments are whole: what comes behind one that has failed is skipped by the server, the answers
say which row it was, and only the rows of its segment before it are sent again. The fewer are refused, the longer the
segments. Where many are, each row has a savepoint *behind* it: if the row is refused, so is its savepoint, and
``ROLLBACK TO s`` goes back to the one before; if it is not, that does nothing. So nobody has to wait for an answer to
know what to send next. Either way cost grows linearly with rows and with refusals, and order is kept.

What does not work: halves (each refusal costs a dozen round trips); a savepoint that is rolled back to and not released
(the next lies within it: after some thousands the server is out of shared memory, and each row costs more than the one
before); a savepoint before each row alone (what to send next depends on the answer); the pipeline of the driver's own
``executemany`` (it stops at the first error, and warns of each).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import psycopg
import sqlalchemy
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql

from actors.sinks.sql_errors import is_refused, plain
from actors.sinks.sql_line import Line
from actors.sinks.sql_rows import Encoding, Refused, Row, RowTables, moment
from actors.sinks.sql_segments import Seen, Work

#: Rows that are under way at least, while there are more: fewer would be a packet for each few.
_LEAST_ROWS = 8
#: Savepoints within one another, before all of them are released.
_DEPTH = 16
#: What is behind a segment, and what is behind the last that may be within the others.
_BEHIND: dict[bool, tuple[bytes, ...]] = {
    False: (b"SAVEPOINT s",), True: (b"RELEASE t", b"SAVEPOINT t", b"SAVEPOINT s")}
#: A segment of rows that have a savepoint each.
_EACH_ROWS = 32
_STATEMENTS = {False: b"thresher_put", True: b"thresher_take_out"}


class _Sent(NamedTuple):
    """A segment that is under way, and how many statements behind its rows; or a way back."""

    part: range
    behind: int
    is_back: bool = False


class RowsOfServer:
    """Those in a table of PostgreSQL.

    Args:
        connection: in its transaction, whenever it is used.
        tables: with the statements.
        patience: called when from then on it may take ``timeout_s`` until there is an answer.
        seen: what was refused on earlier connections.
    """

    def __init__(
        self, connection: sqlalchemy.Connection, tables: RowTables, patience: Callable[[], None], seen: Seen
    ) -> None:
        client: Any = connection.connection.dbapi_connection
        assert isinstance(client, psycopg.Connection)
        self._connection = connection
        self._tables = tables
        self._seen = seen
        self._line = Line(client.pgconn, patience)
        self._encode = Encoding(tables, {
            "integer": _number, "real": _real, "text": str.encode, "json": str.encode, "boolean": _boolean,
            "timestamp": _timestamp})
        formats = [int(kind == "bytes") for kind in tables.kinds]
        self._formats = {False: formats, True: [formats[at] for at in tables.key_at]}
        self._is_prepared = False
        self._depth = self._under_way = 0

    def all_or_none(self, rows: Sequence[Row]) -> bool:
        """See ``Rows``."""
        return not self._within(Work(rows, most=1))

    def in_order(self, rows: Sequence[Row]) -> Refused:
        """See ``Rows``."""
        return self._within(Work(rows))

    def _within(self, work: Work) -> Refused:
        try:
            self._line.begin()
            if not self._is_prepared:
                self._prepare()
            self._depth = self._under_way = 0
            for savepoint in (b"g", b"t", b"s"):
                self._line.run(b"SAVEPOINT " + savepoint)
            while not work.is_over:
                self._walk(work, self._seen.are_many)
            if work.is_spoilt:
                self._line.run(b"ROLLBACK TO g")
            self._line.run(b"RELEASE g")
            self._line.end()
        except psycopg.Error as error:
            self._connection.invalidate()  # nobody knows what is under way on it
            raise exc.DBAPIError(None, None, error, connection_invalidated=error.sqlstate is None) from error
        except BaseException:
            self._connection.invalidate()
            raise
        return work.refused

    def _prepare(self) -> None:
        make: Any = postgresql.dialect
        dialect = make(paramstyle="numeric_dollar")
        for gone, statement in ((False, self._tables.put), (True, self._tables.take_out)):
            if statement is not None:
                self._line.prepare(_STATEMENTS[gone], str(statement.compile(dialect=dialect)).encode())
        self._is_prepared = True

    def _walk(self, work: Work, each: bool) -> None:
        """Go on until there is nothing more, or it is to be done the other way."""
        pending: deque[_Sent] = deque()
        send, receive = (self._send_each, self._receive_each) if each else (self._send_whole, self._receive_whole)
        while True:
            most = _EACH_ROWS if each else self._seen.segment_rows
            if self._under_way < max(_LEAST_ROWS, most) and not work.is_over and self._seen.are_many == each:
                while self._under_way < 2 * max(_LEAST_ROWS, most) and not work.is_over:
                    pending.append(send(work.rows, part := work.take(most)))
                    self._under_way += len(part)
                self._line.flush()
            if not pending:
                return
            sent = pending.popleft()
            self._under_way -= len(sent.part)
            if not receive(work, sent):
                pending.clear()
                pending.append(self._say_back())
                if work.is_over or self._seen.are_many != each:  # else it goes with what is sent next
                    self._line.flush()

    def _send_row(self, row: Row) -> None:
        gone = self._tables.is_gone(row)
        self._line.send(_STATEMENTS[gone], self._encode(row), self._formats[gone])

    def _send_whole(self, rows: Sequence[Row], part: range) -> _Sent:
        for at in part:
            self._send_row(rows[at])
        self._depth += 1
        behind = _BEHIND[self._depth >= _DEPTH]
        if self._depth >= _DEPTH:
            self._depth = 0
        for statement in behind:
            self._line.say(statement)
        return _Sent(part, len(behind))

    def _receive_whole(self, work: Work, sent: _Sent) -> bool:
        if sent.is_back:
            self._line.synchronised()
        for at in sent.part:
            error = self._line.answer()
            if error is None:
                continue
            if not is_refused(error):
                raise error
            self._seen.learn(at - sent.part.start + 1, 1)
            work.refuse(at, plain(error, " "))
            work.go_back(sent.part.start, at)
            return False
        self._line.expect(sent.behind)
        self._seen.learn(len(sent.part), 0)
        return True

    def _say_back(self) -> _Sent:
        """What is under way was skipped: begin again behind the last segment that was stored."""
        self._line.say_sync()
        self._line.say(b"ROLLBACK TO s")
        self._under_way = 0
        self._depth = _DEPTH  # what would have released others may have been skipped, too
        return _Sent(range(0), 1, is_back=True)

    def _send_each(self, rows: Sequence[Row], part: range) -> _Sent:
        for at in part:
            self._send_row(rows[at])
            self._line.say(b"SAVEPOINT s")
            self._line.say_sync()
            self._line.say(b"ROLLBACK TO s")
        for statement in _BEHIND[True]:
            self._line.say(statement)
        return _Sent(part, len(_BEHIND[True]))

    def _receive_each(self, work: Work, sent: _Sent) -> bool:
        before = len(work.refused)
        for at in sent.part:
            error = self._line.answer()
            if error is not None and not is_refused(error):
                raise error
            self._line.synchronised()
            self._line.expect(1)
            if error is not None:
                work.refuse(at, plain(error, " "))
        self._line.expect(sent.behind)
        self._seen.learn(len(sent.part), len(work.refused) - before)
        return True


def _number(value: int) -> bytes:
    return b"%d" % value


def _real(value: float) -> bytes:
    return repr(value).encode()


def _boolean(value: bool) -> bytes:
    return b"t" if value else b"f"


def _timestamp(microseconds: int) -> bytes:
    return moment(microseconds).isoformat().encode()
