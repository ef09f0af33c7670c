"""Rows into a table of PostgreSQL, in order, without those that it refuses: statements go out before answers are in.

PostgreSQL undoes a whole transaction for one row that it refuses, up to the last savepoint. So rows go in segments, and
a savepoint is behind each:

    whole   rows ─▶ RELEASE s ─▶ SAVEPOINT s ─▶ rows ─▶ …       one is refused: back to s, the rows before it, go on
    each    row ─▶ SAVEPOINT s ─▶ sync ─▶ ROLLBACK TO s ─▶ row ─▶ …

Where few are refused, segments are whole: what comes behind one that has failed is skipped by the server, the answers
say which row it was, and only the rows of its segment before it are sent again. The fewer are refused, the longer the
segments. Where many are, each row has a savepoint *behind* it: if the row is refused, so is its savepoint, and ``ROLLBACK
TO s`` goes back to the one before; if it is not, that does nothing. So nobody has to wait for an answer to know what to
send next. Either way cost grows linearly with rows and with refusals, and order is kept.

What does not work: halves (each refusal costs a dozen round trips); a savepoint that is rolled back to and not released
(the next lies within it: after some thousands the server is out of shared memory, and each row costs more than the one
before); a savepoint before each row alone (what to send next depends on the answer); the pipeline of the driver's own
``executemany`` (it stops at the first error, and warns of each).
"""

from __future__ import annotations

import math
import select
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import msgspec
import psycopg
import sqlalchemy
from psycopg import errors, pq
from sqlalchemy import exc
from sqlalchemy.dialects import postgresql

from actors.sinks.sql_errors import is_refused
from actors.sinks.sql_rows import CHUNK_ROWS, Encoding, Refused, Row, RowTables, moment

#: Segments that are under way at a time.
_AHEAD = 3
#: A segment of rows that have a savepoint each.
_EACH_ROWS = 32
#: Rows after which what was seen before counts half.
_SEEN_ROWS = 4000
#: Of so many rows one is refused: from there on each has a savepoint.
_MANY = 1 / 12
#: What a savepoint costs, in rows.
_SAVEPOINT_ROWS = 2.0
_STATEMENTS = {False: b"thresher_put", True: b"thresher_take_out"}
_Status = pq.ExecStatus
#: An answer is waited for anew, at most so often: it costs a thread.
_OFTEN_S = 0.05


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
        client = connection.connection.dbapi_connection
        assert isinstance(client, psycopg.Connection)
        self._connection = connection
        self._tables = tables
        self._seen = seen
        self._line = _Line(client.pgconn, patience)
        self._encode = Encoding(tables, {
            "integer": _number, "real": _real, "text": str.encode, "json": str.encode, "boolean": _boolean,
            "timestamp": _timestamp})
        formats = [int(kind == "bytes") for kind in tables.kinds]
        self._formats = {False: formats, True: [formats[at] for at in tables.key_at]}
        self._is_prepared = False

    def all_or_none(self, rows: Sequence[Row]) -> bool:
        """See ``Rows``."""
        return not self._within(_Work(rows, most=1))

    def in_order(self, rows: Sequence[Row]) -> Refused:
        """See ``Rows``."""
        return self._within(_Work(rows))

    def _within(self, work: _Work) -> Refused:
        try:
            self._line.begin()
            if not self._is_prepared:
                self._prepare()
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
        dialect = postgresql.dialect(paramstyle="numeric_dollar")  # type: ignore[no-untyped-call]
        for gone, statement in ((False, self._tables.put), (True, self._tables.take_out)):
            if statement is not None:
                self._line.prepare(_STATEMENTS[gone], str(statement.compile(dialect=dialect)).encode())
        self._is_prepared = True

    def _walk(self, work: _Work, each: bool) -> None:
        """Go on until there is nothing more, one of a whole segment is refused, or it is to be done the other way."""
        pending: deque[range] = deque()
        send, receive = (self._send_each, self._receive_each) if each else (self._send_whole, self._receive_whole)
        while True:
            while len(pending) < _AHEAD and not work.is_over and self._seen.are_many == each:
                pending.append(part := work.take(_EACH_ROWS if each else self._seen.segment_rows))
                send(work.rows, part)
            if not pending or not receive(work, pending.popleft()):
                return

    def _send_row(self, row: Row) -> None:
        gone = self._tables.is_gone(row)
        self._line.send(_STATEMENTS[gone], self._encode(row), self._formats[gone])

    def _send_whole(self, rows: Sequence[Row], part: range) -> None:
        for at in part:
            self._send_row(rows[at])
        self._line.say(b"RELEASE s")
        self._line.say(b"SAVEPOINT s")
        self._line.flush()

    def _receive_whole(self, work: _Work, part: range) -> bool:
        for at in (*part, -1, -1):
            error = self._line.answer()
            if error is None:
                continue
            if at < 0 or not is_refused(error):
                raise error
            self._line.synchronise()
            self._line.run(b"ROLLBACK TO s")
            self._seen.learn(at - part.start + 1, 1)
            work.refuse(at, error)
            work.go_back(part.start, at)
            return False
        self._seen.learn(len(part), 0)
        return True

    def _send_each(self, rows: Sequence[Row], part: range) -> None:
        for at in part:
            self._send_row(rows[at])
            self._line.say(b"SAVEPOINT s")
            self._line.say_sync()
            self._line.say(b"ROLLBACK TO s")
        for statement in (b"RELEASE t", b"SAVEPOINT t", b"SAVEPOINT s"):
            self._line.say(statement)
        self._line.flush()

    def _receive_each(self, work: _Work, part: range) -> bool:
        before = len(work.refused)
        for at in part:
            error = self._line.answer()
            if error is not None and not is_refused(error):
                raise error
            self._line.synchronised()
            self._line.expect(1)
            if error is not None:
                work.refuse(at, error)
        self._line.expect(3)
        self._seen.learn(len(part), len(work.refused) - before)
        return True


class Seen(msgspec.Struct):
    """How many rows were refused of late, of how many."""

    rows: float = 0.0
    refused: float = 0.0

    def learn(self, rows: int, refused: int) -> None:
        """So many were seen."""
        self.rows += rows
        self.refused += refused
        if self.rows > _SEEN_ROWS:
            self.rows, self.refused = self.rows / 2, self.refused / 2

    @property
    def are_many(self) -> bool:
        """So many that each row is to have a savepoint."""
        return self.refused > self.rows * _MANY

    @property
    def segment_rows(self) -> int:
        """Where a savepoint more costs what it saves: in a segment that fails half of it is sent again."""
        if not self.refused:
            return CHUNK_ROWS
        return max(1, min(CHUNK_ROWS, round(math.sqrt(2 * _SAVEPOINT_ROWS * self.rows / self.refused))))


class _Work:
    """Which rows are next, and which were refused.

    Args:
        rows: all of them.
        most: with so many refusals it is over, and spoilt.
    """

    def __init__(self, rows: Sequence[Row], most: int = 0) -> None:
        self.rows = rows
        self.refused: Refused = {}
        self._most = most
        self._at = 0
        self._again = range(0)

    @property
    def is_spoilt(self) -> bool:
        return 0 < self._most <= len(self.refused)

    @property
    def is_over(self) -> bool:
        return self.is_spoilt or (not self._again and self._at >= len(self.rows))

    def take(self, most: int) -> range:
        """The next segment."""
        if self._again:
            part, self._again = self._again, range(0)
            return part
        part = range(self._at, min(self._at + most, len(self.rows)))
        self._at = part.stop
        return part

    def refuse(self, at: int, error: psycopg.Error) -> None:
        """This one is refused."""
        self.refused[at] = " ".join(line.strip() for line in str(error).split("\n") if line.strip())

    def go_back(self, start: int, at: int) -> None:
        """Of the segment from ``start`` on all before ``at`` is to be sent once more, then what is behind it."""
        self._again = range(start, at)
        self._at = at + 1


class _Line:
    """A connection on which statements are sent without waiting for the answers to those before.

    Args:
        client: libpq's connection.
        patience: called when an answer is waited for.
    """

    def __init__(self, client: Any, patience: Callable[[], None]) -> None:
        self._client = client
        self._patience = patience
        self._heard_at = 0.0

    def begin(self) -> None:
        """From here on this is the one who uses the connection."""
        self._client.enter_pipeline_mode()
        self._heard()

    def end(self) -> None:
        """Others may use it again."""
        self.synchronise()
        self._client.exit_pipeline_mode()

    def prepare(self, name: bytes, statement: bytes) -> None:
        """Make a statement known by a name."""
        self._client.send_prepare(name, statement)
        self._client.send_flush_request()
        self.expect(1)

    def run(self, statement: bytes) -> None:
        """Send a statement without parameters, and wait until it is done."""
        self.say(statement)
        self.flush()
        self.expect(1)

    def say(self, statement: bytes) -> None:
        """Send a statement without parameters; its answer is to come."""
        self._client.send_query_params(statement, None)

    def send(self, name: bytes, values: Sequence[bytes | None], formats: Sequence[int]) -> None:
        """Send a statement that was prepared; its answer is to come. ``formats``: 1 where a value is not text."""
        self._client.send_query_prepared(name, values, formats)

    def say_sync(self) -> None:
        """Up to here the server skips what is behind an error."""
        self._client.pipeline_sync()

    def flush(self) -> None:
        """What was sent is to be answered without waiting for more."""
        self._client.send_flush_request()
        self._client.flush()

    def answer(self) -> psycopg.Error | None:
        """The next answer: the error in it, if it is one.

        Raises:
            psycopg.OperationalError: the connection is lost.
        """
        result = self._result()
        if result.status in (_Status.COMMAND_OK, _Status.TUPLES_OK):
            return None
        if result.status == _Status.FATAL_ERROR:
            return errors.error_from_result(result)
        raise psycopg.OperationalError(f"an answer out of turn: {_Status(result.status).name}")

    def expect(self, count: int) -> None:
        """So many answers, none of them an error."""
        for _ in range(count):
            error = self.answer()
            if error is not None:
                raise error

    def synchronise(self) -> None:
        """Leave behind all that is under way."""
        self._client.pipeline_sync()
        self.synchronised()

    def synchronised(self) -> None:
        """The answers up to the next ``say_sync``: where a statement has failed those behind it were skipped.

        Raises:
            psycopg.Error: one behind it has failed.
        """
        while (result := self._result()).status != _Status.PIPELINE_SYNC:
            if result.status == _Status.FATAL_ERROR:
                raise errors.error_from_result(result)

    def _result(self) -> Any:
        client = self._client
        missing = 0
        while True:
            if client.is_busy():
                self._turn()
                continue
            result = client.get_result()
            if result is not None:
                return result
            missing += 1  # one is between the answers to two statements
            if missing > 2:
                raise psycopg.OperationalError(client.error_message.decode(errors="replace") or "the connection is lost")

    def _turn(self) -> None:
        """Send and receive what can be."""
        events = select.POLLIN | (select.POLLOUT if self._client.flush() else 0)
        poll = select.poll()
        poll.register(self._client.socket, events)
        poll.poll()
        self._client.consume_input()
        if time.monotonic() - self._heard_at > _OFTEN_S:
            self._heard()

    def _heard(self) -> None:
        self._heard_at = time.monotonic()
        self._patience()


def _number(value: int) -> bytes:
    return b"%d" % value


def _real(value: float) -> bytes:
    return repr(value).encode()


def _boolean(value: bool) -> bytes:
    return b"t" if value else b"f"


def _timestamp(microseconds: int) -> bytes:
    return moment(microseconds).isoformat().encode()
