"""Why records were rejected: of each reason the newest letter that is open, in one line.

A few rows of an index are looked at, however many letters there are.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

import msgspec

from actors.runtime import stacks
from actors.runtime.database import open_for_reading

_STAGE = "SELECT min(stage) FROM letters WHERE status='open' AND reason=? AND stage>?"
_NEWEST = "SELECT max(id) FROM letters WHERE status='open' AND reason=? AND stage=?"
#: Most characters of a cause.
_WIDTH = 160


class Cause(msgspec.Struct, frozen=True):
    """Why the newest record was rejected for a reason.

    Attributes:
        text: what was wrong: the type of an exception and the first line of what it says, or of what ``Reject`` says.
        at: the file and line of the application that raised it; empty: not known.
        letter: its number.
    """

    text: str
    at: str
    letter: int


def newest_causes(path: Path, reasons: Iterable[str]) -> dict[str, Cause]:
    """By reason, why the newest record was rejected; a store that cannot be read now, or is none, knows nothing."""
    found: dict[str, Cause] = {}
    try:
        with closing(open_for_reading(path)) as connection:
            for reason in reasons:
                if cause := _newest(connection, reason):
                    found[reason] = cause
    except (sqlite3.Error, OSError):
        return found
    return found


def _newest(connection: sqlite3.Connection, reason: str) -> Cause | None:
    stage, letter = "", -1
    while (stage := connection.execute(_STAGE, (reason, stage)).fetchone()[0]) is not None:
        letter = max(letter, connection.execute(_NEWEST, (reason, stage)).fetchone()[0])
    row = connection.execute("SELECT detail FROM letters WHERE id=?", (letter,)).fetchone()
    return None if row is None else Cause(*_told(row[0]), letter)


def _told(detail: str) -> tuple[str, str]:
    """The line that says what is wrong, and where."""
    what, file, line = stacks.cause(detail)
    return what if len(what) <= _WIDTH else f"{what[:_WIDTH - 1]}…", f"{_near(file)}:{line}" if file else ""


def _near(path: str) -> str:
    """A path as short as can be: from here, if it is below."""
    near = os.path.relpath(path)
    return path if near.startswith("..") else near
