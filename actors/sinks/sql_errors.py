"""What the errors of a database mean for who writes to it: read from their codes."""

from __future__ import annotations

from typing import Any

from sqlalchemy import exc

#: Refused for good: data, integrity, a view's check, limits of the program, a trigger that says so.
_REFUSED = ("22", "23", "44", "54", "P0001")
#: The same for the handler of a block of PL/pgSQL, where a code that ends in three zeros stands for its class.
CONDITIONS = " OR ".join(f"SQLSTATE '{state:0<5}'" for state in _REFUSED)
#: Not allowed: to this user, as a rule; a policy for rows or a trigger says it of one row. Who says it is in the error.
_DENIED, _OF_ONE_ROW = "42501", ("ExecWithCheckOptions", "exec_stmt_raise")
#: A serialization failure, a deadlock: the transaction has to be done once more, and there is nothing to wait for.
_AGAIN = ("40001", "40P01")
#: The server has ended this session: an operator, a time-out for idle ones.
_ENDED = ("57P01", "57P05", "25P03")
_LOCKED = "55P03"
_MISSING = ("42P01", "3F000")
#: What no retry mends at the start: a wrong user or password, no such database, no right to. Without a connection the
#: server's words are all that there is.
_HOPELESS_STATES = ("28", "3D", "42501")
_HOPELESS_WORDS = ("password authentication failed", "no password supplied", "does not exist", "no pg_hba.conf entry",
                   "is not permitted to log in", "permission denied for database")


def is_refused(error: BaseException | None) -> bool:
    """Whether it is for a row that it was not stored, whatever the number of tries."""
    state = _state(error)
    return state.startswith(_REFUSED) or (state == _DENIED and _who(error) in _OF_ONE_ROW)


def is_denied(error: BaseException | None) -> bool:
    """Whether this user may not do what was asked."""
    return _state(error) == _DENIED and _who(error) not in _OF_ONE_ROW


def is_again(error: BaseException | None) -> bool:
    """Whether the transaction was in the way of another one, and has only to be done once more."""
    return _state(error) in _AGAIN


def is_missing(error: BaseException | None) -> bool:
    """Whether there is no such table, or schema."""
    return _state(error) in _MISSING


def has_ended(error: BaseException | None) -> bool:
    """Whether the connection is lost: its server, or what is between, has ended it."""
    return _state(error) in _ENDED or (isinstance(error, exc.DBAPIError) and error.connection_invalidated)


def is_locked(error: BaseException | None) -> bool:
    """Whether somebody else has held a lock for too long."""
    return _state(error) == _LOCKED


def is_hopeless(error: BaseException | None) -> bool:
    """Whether no retry mends it at the start."""
    if not isinstance(error, exc.DBAPIError):
        return False
    text = str(error.orig)
    return _state(error).startswith(_HOPELESS_STATES) or (
        "FATAL:" in text and any(words in text for words in _HOPELESS_WORDS))


def plain(error: BaseException, between: str = "") -> str:
    """What the database says: its first line, or all of them in one."""
    text = str(_original(error))
    return in_one_line(text, between) if between else text.split("\n")[0]


def in_one_line(text: str, between: str = " ") -> str:
    """All lines of a text in one."""
    return between.join(line.strip() for line in text.split("\n") if line.strip())


def _state(error: BaseException | None) -> str:
    original = _original(error)
    return getattr(original, "sqlstate", None) or ""


def _who(error: BaseException | None) -> str:
    return _original(error).diag.source_function or "" if _state(error) else ""


def _original(error: Any) -> Any:
    return error.orig if isinstance(error, exc.DBAPIError) and error.orig is not None else error
