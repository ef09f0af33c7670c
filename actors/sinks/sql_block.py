"""Rows that PostgreSQL stores one behind the other by itself: a block of PL/pgSQL finds those that it refuses.

The block is given some thousands of rows as a flat list in JSON, and goes through them in segments. Behind ``BEGIN`` is
a savepoint. What is refused is known by its number when its segment was rolled back: the rows before it are done once
more, it is left out, and nobody had to wait for an answer. The fewer are refused, the longer the segments.

    rows ─▶ set_config ─▶ DO: │ row row row │ row row ✗ ─▶ row row │ row row row │ … ─▶ current_setting ─▶ refused

Each value goes as text and is cast to the type that the server has found for the parameter of the statement in its
place, so whatever can be said of a value is said at its row. The block gives up after a while, behind some row, and
says how far it has come: a statement may take ``timeout_s``, also where a trigger is slow or somebody holds a lock.

It catches what is for a row's sake, and nothing else: a deadlock, a lock, a time-out and a server that shuts down end
it. A right that is missing may be that of one row (a policy) or of all; the block cannot tell, and is ended by it, too.

What does not work: parameters (a ``DO`` has none, hence the settings of the transaction); a function (it needs the
right to make one, and is there for others to see); one ``INSERT`` of many rows (a trigger, a constraint that looks at
other rows and a key that comes twice see another order).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec
from psycopg import sql

from actors.sinks.sql_errors import CONDITIONS, in_one_line
from actors.sinks.sql_rows import Refused, Row, RowTables, moment

#: How the block is handed rows and the length of segments, and what it is asked for.
GIVE = b"SELECT set_config('thresher.rows', $1, true) IS NULL, set_config('thresher.segment_rows', $2, true) IS NULL"
ASK = b"SELECT current_setting('thresher.refused')"
#: What parameters are, by the name of a prepared statement. Of a text of n characters there is one without the n.
TYPES = ("SELECT name, ARRAY(SELECT format_type(one, -1) FROM unnest(parameter_types::oid[]) WITH ORDINALITY AS all_of "
         "(one, at) ORDER BY at) FROM pg_prepared_statements WHERE name = ANY(:names)")
#: Whether this user may write a block.
MAY = "SELECT has_language_privilege(oid, 'USAGE') FROM pg_language WHERE lanname = 'plpgsql'"

#: A parameter, and what looks like one in the name of a table or column.
_PARAMETER = re.compile(r'"(?:[^"]|"")*"|\$(\d+)')
_BLOCK = """
#variable_conflict use_column
<<thresher_block>>
DECLARE
  given CONSTANT text[] := ARRAY(SELECT json_array_elements_text(current_setting('thresher.rows')::json));
  width CONSTANT int := {width};
  rows CONSTANT int := cardinality(given) / width;
  most CONSTANT int := current_setting('thresher.segment_rows');
  until CONSTANT timestamptz := clock_timestamp() + interval '{seconds:f} s';
  first int := 0; stop int; bad int; row_at int; value_at int;
  message text; detail text; hint text; context text;
  refused json[] := '{{}}';
BEGIN
  LOOP
    stop := coalesce(bad, least(first + most, rows));
    BEGIN
      row_at := first;
      WHILE row_at < stop LOOP
        value_at := row_at * width;
        {store}
        row_at := row_at + 1;
        EXIT WHEN clock_timestamp() > until;
      END LOOP;
      first := row_at;
      IF row_at = bad THEN
        first := row_at + 1;
      END IF;
      bad := NULL;
    EXCEPTION WHEN {conditions} THEN
      GET STACKED DIAGNOSTICS message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL, hint = PG_EXCEPTION_HINT,
        context = PG_EXCEPTION_CONTEXT;
      refused := refused || json_build_array(row_at, message, detail, hint, context);
      bad := row_at;
    END;
    EXIT WHEN first >= rows OR (bad IS NULL AND clock_timestamp() > until);
  END LOOP;
  PERFORM set_config('thresher.refused', json_build_array(first, refused)::text, true);
END thresher_block"""


class Block:
    """The block for a table, what it is given, and what it says.

    Args:
        tables: with the kinds of the columns.
        put: the statement that stores a row, with ``$1`` for its first value.
        take_out: the one that deletes by the key; empty: there is none.
        types: of the parameters of both.
        seconds: after so long it gives up.
    """

    def __init__(
        self, tables: RowTables, put: str, take_out: str, types: Mapping[bool, Sequence[str]], seconds: float
    ) -> None:
        self._tables = tables
        self._has_key = bool(take_out)
        self._dressed = [(at, _DRESS[kind]) for at, kind in enumerate(tables.kinds) if kind in _DRESS]
        width = len(tables.kinds)
        store = f"{_with_values(put, range(width), types[False])};"
        if take_out:
            store = (f"IF given[value_at + {width + 1}] IS NULL THEN {store} "
                     f"ELSE {_with_values(take_out, tables.key_at, types[True])}; END IF;")
        body = _BLOCK.format(width=width + self._has_key, store=store, seconds=seconds, conditions=CONDITIONS)
        self.statement = f"DO {sql.Literal(body).as_string().strip()}".encode()

    def given(self, rows: Iterable[Row]) -> bytes:
        """What it is given: the values of all rows, and behind those of each, where there is a key, whether it is to
        be deleted."""
        flat: list[Any] = []
        for row in rows:
            start = len(flat)
            flat += row
            if self._has_key and not self._tables.is_gone(row):
                flat.append(None)
            for at, dress in self._dressed:
                if row[at] is not None:
                    flat[start + at] = dress(row[at])
        return msgspec.json.encode(flat)

    def said(self, answer: bytes) -> tuple[int, Refused]:
        """How many rows it has gone through, and what was said of those that were refused."""
        done, refused = msgspec.json.decode(answer, type=tuple[int, list[tuple[int, str, str, str, str]]])
        found: list[tuple[int, str]] = []
        for at, message, detail, hint, context in refused:
            while found and found[-1][0] >= at:  # it was tried once more, behind this one
                found.pop()
            parts = ("", message), ("DETAIL:  ", detail), ("HINT:  ", hint), ("CONTEXT:  ", _outside(context))
            found.append((at, in_one_line("\n".join(name + text for name, text in parts if text))))
        return done, {at: text for at, text in found if at < done}


def _outside(context: str) -> str:
    """Where it was, without what is only of the block."""
    lines = context.split("\n")
    while lines and ("inline_code_block" in lines[-1] or "thresher_block.given[" in lines[-1]):
        lines.pop()
    return "\n".join(lines)


def _with_values(statement: str, columns: Sequence[int], types: Sequence[str]) -> str:
    """A statement with a value of the row in the place of each parameter."""
    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return found[0]
        at = int(found[1]) - 1
        return f"thresher_block.given[thresher_block.value_at + {columns[at] + 1}]::{types[at]}"

    return _PARAMETER.sub(value, statement)


def _timestamp(microseconds: int) -> str:
    return moment(microseconds).isoformat()


def _hex(value: bytes) -> str:
    return f"\\x{value.hex()}"


#: What JSON has no text for that the server reads.
_DRESS: dict[str, Callable[[Any], str]] = {"timestamp": _timestamp, "bytes": _hex}
