"""How much work something is, in numbers that are the same on every machine: for tests of what grows with what.

Counted are the bytecodes that Python executes, the statements that SQLite is given, and the steps of its virtual
machine, in tens. A walk through everything, be it in Python or in a table, is in these; how fast the machine is, not.
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any
from unittest.mock import patch

#: SQLite says so when it has done so many steps.
_STEPS = 10


class Work:
    """What was done.

    Attributes:
        codes: bytecodes executed.
        statements: SQL statements begun, triggers and transactions included.
        steps: of SQLite's virtual machine, in tens.
    """

    def __init__(self) -> None:
        self.codes = self.statements = self.steps = 0

    def _frame(self, frame: FrameType, event: str, argument: Any) -> Callable[..., Any]:
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        self.codes += event == "opcode"
        return self._frame

    def _statement(self, _: str) -> None:
        self.statements += 1

    def _step(self) -> int:
        self.steps += 1
        return 0

    def watch(self, connection: sqlite3.Connection) -> None:
        """Count what this connection does."""
        connection.set_trace_callback(self._statement)
        connection.set_progress_handler(self._step, _STEPS)

    @contextmanager
    def counted(self) -> Iterator[Work]:
        """Count what is executed within this, in this thread."""
        before = sys.gettrace()
        sys.settrace(self._frame)
        try:
            yield self
        finally:
            sys.settrace(before)


@contextmanager
def watched() -> Iterator[Work]:
    """Have the work of every database that is opened within this counted; bytecodes only within ``counted``."""
    work, connect = Work(), sqlite3.connect

    def connected(*arguments: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*arguments, **more)
        work.watch(connection)
        return connection

    with patch.object(sqlite3, "connect", connected):
        yield work
