"""One way to open a SQLite file: WAL, one writer, a version brought forward in steps, errors that name the file.

The version of a file (``PRAGMA user_version``) is the number of steps that made it. A step that was released is never
changed: what is to be different is a step more, and an older file is given those that it lacks.
"""

from __future__ import annotations

import contextlib
import glob
import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from actors.runtime.disk import make_folder, why_not_written
from actors.runtime.errors import ConfigError

#: Brings a file of version i to i + 1, within a transaction that it neither begins nor ends: statements, or code.
Step = str | Callable[[sqlite3.Connection], None]


#: Where a file says that readers, and writers, use a log (2), or a journal (1): bytes 18 and 19 of its header.
_LOGGED = slice(18, 20)
_CAN_MAKE = "serialize" in vars(sqlite3.Connection)  # how SQLite was compiled


class OtherVersion(ConfigError, sqlite3.DatabaseError):
    """To those who only look, a file of another version is one that cannot be read, like others; the text says why."""


def open_database(path: Path, steps: Sequence[Step], begun: Step = "") -> sqlite3.Connection:
    """Open (or make) a database in WAL mode, in autocommit: transactions are begun by hand.

    A commit is on the disk when it returns: it survives the death of any process, and that of the machine. Who commits
    often has many changes in one commit, for each waits for the disk (``synchronous=FULL``).

    Args:
        path: the file; its folder is made, too.
        steps: how a file comes about: the first makes it, each further one brings it forward by a version. Those that
            a file lacks are done in one transaction: it has them all, or is as it was.
        begun: what a file that is made here has besides; may have, so who opens it looks.

    Raises:
        ConfigError: the file was made by a newer version.
        sqlite3.Error: it cannot be opened (which names it, and says why) or is no database, or a step failed.
    """
    try:
        make_folder(path.parent)
        _clear_leavings(path)
        if _CAN_MAKE and not any(os.path.lexists(name) for name in (path, f"{path}-wal")):
            with contextlib.suppress(OSError):  # or SQLite makes it, or says why it cannot be
                _make(path, [*steps, begun], len(steps))
        return _opened(path, steps)
    except (OSError, sqlite3.OperationalError) as error:
        raise sqlite3.OperationalError(named(path, error)) from error


def named(path: Path, error: Exception) -> str:
    """What keeps a database from being used, behind its name."""
    said = str(error)
    return said if said.startswith(f"{path}: ") else f"{path}: {why_not_written(path, error)}"


def _opened(path: Path, steps: Sequence[Step]) -> sqlite3.Connection:
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    try:
        path.chmod(0o600)  # also where it is: SQLite would open a file read-only, and stay so, when it cannot write
        if _version(connection) > len(steps):
            raise ConfigError(_newer(path, _version(connection), len(steps)))
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        if _version(connection) < len(steps):
            _bring_forward(connection, steps)
    except BaseException:
        connection.close()  # what was not committed is rolled back
        raise
    return connection


def _make(path: Path, steps: Sequence[Step], version: int) -> None:
    """Make the file whole, with one flush: SQLite would wait for the disk eight times. Its name is flushed with the
    first commit, for SQLite flushes the folder with its log; until then it may be gone, as if nobody had made it.

    Raises:
        sqlite3.Error: a step failed.
        OSError: it cannot be made, or not so (a file system without links).
    """
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        _take_steps(connection, steps, version)
        image = bytearray(connection.serialize())
    image[_LOGGED] = b"\x02\x02"
    new = _unfinished(path, str(os.getpid()))
    try:
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(image)
            file.flush()
            os.fsync(file.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(new, path)  # not a rename, which would take the place of what somebody else has just made
    finally:
        new.unlink(missing_ok=True)


def _unfinished(path: Path, pid: str) -> Path:
    """What a process makes the file as, before it has its name."""
    return path.with_name(f"{path.name}.{pid}.new")


def _clear_leavings(path: Path) -> None:
    """Remove what processes have left that were killed while they made the file. (Were one alive that is not seen from
    here, in another container, SQLite would make the file for it.)"""
    before, after = str(_unfinished(path, "\0")).split("\0")
    for found in glob.glob(f"{glob.escape(before)}*{after}"):
        pid = found.removeprefix(before).removesuffix(after)
        if pid.isdecimal() and not os.path.exists(f"/proc/{pid}"):
            with contextlib.suppress(OSError):
                os.unlink(found)


def _bring_forward(connection: sqlite3.Connection, steps: Sequence[Step]) -> None:
    connection.execute("BEGIN IMMEDIATE")
    _take_steps(connection, steps[_version(connection):], max(_version(connection), len(steps)))  # none: others did
    connection.execute("COMMIT")


def _take_steps(connection: sqlite3.Connection, steps: Sequence[Step], version: int) -> None:
    for step in steps:
        if isinstance(step, str):
            for statement in _statements(step):
                connection.execute(statement)
        else:
            step(connection)
    connection.execute(f"PRAGMA user_version={version}")


def _statements(script: str) -> Iterator[str]:
    """The statements of a script, one by one: ``executescript`` would commit the transaction that is open."""
    statement = ""
    for piece in f"{script};".split(";"):
        statement += f"{piece};"
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""


def _version(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _newer(path: Path, found: int, version: int) -> str:
    return (f"{path}: made by a newer version of Thresher (schema {found}, expected at most {version}): "
            "upgrade Thresher, or give another --state")


def open_for_reading(
    path: Path, steps: Sequence[Step] | None = None, oldest: int | None = None
) -> sqlite3.Connection:
    """Open an existing database read-only, also while its owner writes to it.

    Args:
        path: the file.
        steps: what its owner opens it with; None: its tables may be anything. A file that its owner is just making
            (version 0) is opened whatever they are.
        oldest: the oldest version that the caller can read; by default the newest.

    Raises:
        OtherVersion: it was made by a newer version, or by an older one and nobody has brought it forward yet.
        sqlite3.Error: there is no such file, or it is no database.
    """
    connection = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True, timeout=5.0)
    try:
        connection.execute("PRAGMA query_only=1")
        if steps is not None:
            found = _version(connection)
            if found > len(steps):
                raise OtherVersion(_newer(path, found, len(steps)))
            if 0 < found < (len(steps) if oldest is None else oldest):
                raise OtherVersion(
                    f"{path}: made by an older version of Thresher (schema {found}, expected {len(steps)}): "
                    "the next `thresher run` with this --state brings it forward")
    except BaseException:
        connection.close()
        raise
    return connection


@contextmanager
def transaction(connection: sqlite3.Connection) -> Iterator[sqlite3.Connection]:
    """Within it a file is written to; at its end that is durable as a whole, or not at all.

    Raises:
        sqlite3.OperationalError: it cannot be written now; names the file, and says why.
    """
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield connection
        connection.execute("COMMIT")
    except BaseException as error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        if isinstance(error, sqlite3.OperationalError):
            raise sqlite3.OperationalError(named(_path_of(connection), error)) from error
        raise


def _path_of(connection: sqlite3.Connection) -> Path:
    return Path(connection.execute("PRAGMA database_list").fetchone()[2])


def require_database(path: Path, table: str) -> None:
    """Make sure that what is called ``path``, if anything, is a database with this table, or without any.

    Raises:
        ConfigError: it is something else, so it is not ours to remove.
    """
    if not path.exists() or not path.stat().st_size:
        return
    try:
        with closing(open_for_reading(path)) as connection:
            tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    except sqlite3.Error as error:
        raise ConfigError(_not_ours(path, table, str(error))) from error
    if tables and table not in tables:
        raise ConfigError(_not_ours(path, table, f"tables {', '.join(sorted(tables))}"))


def _not_ours(path: Path, table: str, got: str) -> str:
    return (f"{path}: expected a database of Thresher, with a table {table!r}, got {got}: what Thresher did not make "
            "is not removed: move it away, or give another --state")


def remove_database(path: Path) -> None:
    """Remove a database that nobody has open, with its log."""
    for each in (Path(f"{path}-wal"), Path(f"{path}-shm"), path):
        each.unlink(missing_ok=True)
