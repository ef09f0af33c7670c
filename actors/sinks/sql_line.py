"""A connection to PostgreSQL on which statements are sent before the answers to those before them are in.

This is libpq's pipeline, by itself: the driver's own ends at the first error, and warns of each. Whoever waits here
both sends and receives, or two sides that only send would wait for each other for ever; and other threads go on.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence
from typing import Any

import psycopg
from psycopg import errors, pq

_Status = pq.ExecStatus
#: An answer is waited for anew, at most so often: it costs a thread.
_OFTEN_S = 0.2


class Line:
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

    def value(self) -> bytes:
        """The next answer: its only value.

        Raises:
            psycopg.Error: it is an error.
        """
        result = self._result()
        if result.status != _Status.TUPLES_OK:
            raise errors.error_from_result(result)
        return result.get_value(0, 0) or b""

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
                said = client.error_message.decode(errors="replace")
                raise psycopg.OperationalError(said or "the connection is lost")

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
