"""One way to open a SQLite file: WAL, one writer, a schema version, errors that name the file."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from actors.runtime.errors import ConfigError


def open_database(path: Path, schema: str, version: int) -> sqlite3.Connection:
    """Open (or make) a database in WAL mode, in autocommit: transactions are begun by hand.

    A commit survives the death of any process at once; the death of the machine up to the last WAL checkpoint,
    and never leaves half a transaction (``synchronous=NORMAL``).

    Raises:
        ConfigError: the file was made by a newer version.
        sqlite3.Error: it cannot be opened or is no database.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=5.0, isolation_level=None)
    path.chmod(0o600)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > version:
        connection.close()
        raise ConfigError(
            f"{path}: made by a newer version of Thresher (schema {found}, expected at most {version}): "
            "upgrade Thresher, or give another --state"
        )
    if found < version:
        connection.executescript(f"BEGIN; {schema}; PRAGMA user_version={version}; COMMIT")
    return connection


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Open an existing database read-only, also while its owner writes to it.

    Raises:
        sqlite3.Error: there is no such file, or it is no database.
    """
    connection = sqlite3.connect(path.absolute().as_uri() + "?mode=ro", uri=True, timeout=5.0)
    connection.execute("PRAGMA query_only=1")
    return connection


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
