"""How a database is reached: a file of SQLite, a server of PostgreSQL, and what a session there is told of us.

A session of ours must not outlive us at the other end, whatever becomes of this one: one that waits for somebody else's
lock is a connection less for all others, and one that holds a lock keeps our successor out. So the server is told to
give up for itself: a lock and a statement after ``timeout_s``, a transaction in which nothing comes a while later, and
all of it when the connection is gone (Linux tells at once when a process dies, keep-alive probes when a machine does).
What does not work: to hang up (the server does not look at a connection on which it has nothing to say).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Protocol

import sqlalchemy
from sqlalchemy import exc

from actors.runtime.disk import make_folder
from actors.runtime.errors import ConfigError
from actors.sinks.sql_errors import plain

#: Of ``timeout_s``: a lock is given up before a statement is, so that it is said which it was.
_LOCK_SHARE = 0.9
#: Beyond ``timeout_s``: an idle transaction of ours is none that works.
_IDLE_S = 5.0
#: A machine that is gone is noticed after some half a minute.
_PROBES = {"tcp_keepalives_idle": "15", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3",
           "tcp_user_timeout": "30000"}


class EngineOptions(Protocol):
    """What is asked of the options of the sink, which say what each means."""

    @property
    def url(self) -> str: ...
    @property
    def sync(self) -> bool: ...
    @property
    def timeout_s(self) -> float: ...


def hang_up_s(timeout_s: float) -> float:
    """How long an answer may take that the server itself was to give after ``timeout_s``."""
    return 1.2 * timeout_s + 1.0


def make_engine(options: EngineOptions, name: str, state: Path, says: str) -> sqlalchemy.Engine:
    """Return what connects to the database.

    Raises:
        ConfigError: the address is none.
    """
    try:
        url = sqlalchemy.make_url(options.url or f"sqlite:///{name}.sqlite")
        if url.get_backend_name() == "sqlite":
            return _file_engine(url, options, state)
        if url.drivername in ("postgres", "postgresql"):
            url = url.set(drivername="postgresql+psycopg")
        return sqlalchemy.create_engine(
            url, poolclass=sqlalchemy.NullPool, hide_parameters=True, json_serializer=str,
            connect_args={"connect_timeout": max(2, round(options.timeout_s)), "application_name": f"thresher {name}",
                          "client_encoding": "utf8"})  # whatever the database has: rows travel so
    except (exc.ArgumentError, ValueError) as error:
        raise ConfigError(f"sinks.{name}: {says}: url: expected sqlite:///PATH or "
                          f"postgresql+psycopg://USER:PASSWORD@HOST/DATABASE ({plain(error)})") from error


def greet(connection: sqlalchemy.Connection, options: EngineOptions) -> None:
    """Say once how a session of PostgreSQL is meant; in a transaction of its own."""
    milliseconds = options.timeout_s * 1000
    wanted = {
        "timezone": "UTC",  # of times in columns without a zone
        "lock_timeout": str(max(1, round(milliseconds * _LOCK_SHARE))),
        "statement_timeout": str(max(1, round(milliseconds))),
        "idle_in_transaction_session_timeout": str(round(milliseconds + _IDLE_S * 1000)),
        "idle_session_timeout": "0", **_PROBES}
    if not options.sync:
        wanted["synchronous_commit"] = "off"
    names = [row.name for row in connection.execute(  # an older server has not all of them
        sqlalchemy.text("SELECT name FROM pg_settings WHERE name = ANY(:names)"), {"names": list(wanted)})]
    for setting in names:
        connection.execute(sqlalchemy.text("SELECT set_config(:name, :value, false)"),
                           {"name": setting, "value": wanted[setting]})
    try:
        with connection.begin_nested():
            connection.execute(sqlalchemy.text("SET client_connection_check_interval = 1000"))
    except exc.DBAPIError as error:  # before version 14, or no system that can tell
        if error.connection_invalidated:
            raise


def _file_engine(url: sqlalchemy.URL, options: EngineOptions, state: Path) -> sqlalchemy.Engine:
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
