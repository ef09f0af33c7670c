"""Rows that a real PostgreSQL refuses, found by a block within it, and where it can have none: the same is left."""

from __future__ import annotations

import random
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest

from actors.runtime.errors import Retryable
from actors.sinks import sql_block, sql_pipeline
from actors.sinks.sql import Deleted, Sql
from actors.sinks.sql_block import Block
from actors.sinks.sql_store import Store
from actors.sinks.sql_tables import Tables
from tests.databases import COLUMNS, Place, Rows, payload, postgres_place

pytest.importorskip("sqlalchemy")

Item = tuple[int, str] | Deleted
DENIED = ('new row for relation "rows" violates check constraint "rows_name_check" '
          "DETAIL:  Failing row contains ({}, bad).")


def has_block(sink: Store) -> bool:
    """Whether what was written went by the block."""
    return getattr(sink._rows, "_block", None) is not None


def refusing(place: Place) -> Sql:
    """Options of a table that was made with a rule that the sink does not know."""
    place.ask("CREATE TABLE rows (id bigint NOT NULL PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'))")
    return place.options(key=["id"])


def other(place: Place, folder: str) -> Place:
    """Another database of the same server."""
    assert place.server is not None
    (place.folder / folder).mkdir()
    return postgres_place(place.folder / folder, place.server)


def raising(place: Place, condition: str, code: str, more: str = "") -> None:
    """Have the table's trigger say so, for new rows."""
    place.ask(f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {more} IF {condition} THEN "
              f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}', HINT = 'why'; END IF; RETURN NEW; END $$")
    place.ask("CREATE TRIGGER t BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION no()")


# Where there is no block --------------------------------------------------------------------------------------------


def without_language(place: Place) -> Sql:
    options = refusing(place)
    place.ask("DROP EXTENSION plpgsql")
    return options


def without_right(place: Place) -> Sql:
    options, database = refusing(place), place.url.rpartition("/")[2]
    with closing(place.open(options)):
        pass
    place.ask("REVOKE USAGE ON LANGUAGE plpgsql FROM PUBLIC")
    place.ask(f"CREATE ROLE u{database} LOGIN PASSWORD 'open'")
    place.ask(f"GRANT ALL ON rows, thresher_applied, thresher_refused TO u{database}")
    assert place.server is not None
    return msgspec.structs.replace(options, url=place.server.url(database, f"u{database}", "open"))


@pytest.mark.parametrize("make", [refusing, without_language, without_right])
def test_whatever_is_refused_the_same_stands_and_the_same_is_said_with_a_block_and_without_one(
    in_postgres: Place, make: Any
) -> None:
    options, chance = make(in_postgres), random.Random(5)
    stands: dict[int, str] = {}
    with closing(in_postgres.open(options)) as sink:
        for turn, share in enumerate((0.0, 0.01, 0.25, 1.0, 0.0)):
            items: list[Item] = [
                Deleted(chance.randrange(500)) if chance.random() < 0.1
                else (chance.randrange(10**6), "bad" if chance.random() < share else f"w{number}")
                for number in range(2600)]
            refusals = sink.write([payload(options, items[:1700], 20 * turn), payload(
                options, items[1700:], 20 * turn + 10)])
            expected = [(at, DENIED.format(item[0])) for at, item in enumerate(items)
                        if not isinstance(item, Deleted) and item[1] == "bad"]
            assert [(one.payload * 1700 + one.item, one.detail) for one in refusals] == expected
            for item in items:
                if isinstance(item, Deleted):
                    stands.pop(item.key[0], None)
                elif item[1] != "bad":
                    stands[item[0]] = item[1]
            assert dict(in_postgres.rows()) == stands
        assert has_block(sink) == (make is refusing)


# What JSON cannot say, and what a column is -------------------------------------------------------------------------

KINDS = {"i": "integer", "$1": "text", "given": "text", "value_at": "real", "y": "bytes", "j": "json", "k": "json",
         "b": "boolean", "z": "timestamp"}
KINDS |= {f"{name}_": f"{kind}?" for name, kind in KINDS.items()}
#: Narrower than what the sink knows of them.
TYPES = ["int", "varchar(5)", "char(3)", "numeric(6,2)", "bytea", "json", "jsonb", "boolean", "timestamp"]
GOOD = [-7, "a'\"\\", "ä", 12.345, b"\\x00\x00\xff", {"a": "\\u0000 \U0001f389"}, [1.5, None], True, 1_565_647_204_351]
WRONG = {"i": 2**31, "$1": "abcdef", "given": "abcd", "value_at": 1e300, "b": False}


def written(place: Place, folder: str) -> tuple[list[tuple[int, str]], Rows]:
    """What is refused, and what is left, of a table whose columns have odd names and narrow types."""
    where = other(place, folder)
    columns = [f'"{name}" {kind}{"" if name.endswith("_") else " NOT NULL"}'
               for name, kind in zip(KINDS, TYPES * 2, strict=True)]
    where.ask(f"CREATE TABLE rows ({', '.join(columns)}, CHECK (\"y\" <> '\\x01'), PRIMARY KEY (\"given\", \"i\"))")
    raising(where, "NOT NEW.b", "P0001")
    options = where.options(columns=KINDS, key=["given", "i"])
    names, rows = list(KINDS), []
    for number, (name, value) in enumerate([("z", 0), *WRONG.items(), ("y", b"\x01"), ("z", 0)]):
        row = [number, *GOOD[1:], *([None] * 9 if number % 2 else GOOD)]
        row[names.index(name)] = value
        rows.append(tuple(row))
    with closing(where.open(options)) as sink:
        found = sink.write([payload(options, [*rows, Deleted("ä", 0), Deleted("abcd", 3), Deleted("ä", 2**40)])])
        assert has_block(sink) == (folder == "block")
    return [(one.item, one.detail) for one in found], where.rows()


def test_every_kind_of_value_is_stored_or_refused_by_the_block_as_without_one(
    in_postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused, rows = written(in_postgres, "block")
    monkeypatch.setattr(sql_block, "MAY", "SELECT false")
    plain, same = written(in_postgres, "plain")
    assert rows == same
    assert [(at, text.partition(" CONTEXT:  unnamed portal")[0]) for at, text in plain] == refused
    assert [at for at, _ in refused] == [1, 2, 3, 4, 5, 6]
    said = dict(refused)
    assert said[2] == "value too long for type character varying(5)"
    assert said[5] == "no HINT:  why CONTEXT:  PL/pgSQL function no() line 1 at RAISE"


def test_a_letter_that_the_encoding_of_the_database_does_not_have_is_the_letter_of_its_row(in_postgres: Place) -> None:
    assert in_postgres.server is not None
    database = f"{in_postgres.url.rpartition('/')[2]}latin"
    in_postgres.ask(f"CREATE DATABASE {database} ENCODING 'LATIN1' TEMPLATE template0")
    options = in_postgres.options(url=in_postgres.server.url(database))
    with closing(in_postgres.open(options)) as sink:
        for start in (0, 10):
            (refusal,) = sink.write([payload(options, [(1, "ä"), (2, "🎉"), (3, "b")], start)])
            assert (refusal.item, "has no equivalent in encoding" in refusal.detail) == (1, True)
    with in_postgres.server.connect(database) as connection:
        assert connection.execute("SELECT id, name FROM rows").fetchall() == [(1, "ä"), (3, "b")] * 2


def test_rows_that_are_too_large_for_a_block_go_beside_it_in_their_order(
    in_postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_pipeline, "_GIVEN_BYTES", 3000)
    monkeypatch.setattr(sql_pipeline, "_MOST_BYTES", 9000)
    options, chance = refusing(in_postgres), random.Random(2)
    items = [(number % 150, "bad" if number % 9 == 0 else "x" * chance.choice((3, 500, 5000, 20_000)))
             for number in range(300)]
    with closing(in_postgres.open(options)) as sink:
        refusals = sink.write([payload(options, items)])
        assert has_block(sink)
    assert [one.item for one in refusals] == list(range(0, 300, 9))
    assert in_postgres.rows() == sorted(dict(item for item in items if item[1] != "bad").items())


# What is for no row's sake ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("code", ["57014", "53100", "55P03"])
def test_a_time_out_a_full_disk_and_a_lock_among_rows_that_are_refused_are_no_refusals(
    in_postgres: Place, code: str
) -> None:
    options = refusing(in_postgres)
    raising(in_postgres, "NEW.id = 70", code)
    items = [(number, "bad" if number % 3 == 0 else "x") for number in range(100)]
    with closing(in_postgres.open(options)) as sink:
        with pytest.raises(Retryable, match=r"no\b"):
            sink.write([payload(options, items)])
        assert in_postgres.rows() == []
        in_postgres.ask("DROP TRIGGER t ON rows")
        assert [one.item for one in sink.write([payload(options, items)])] == list(range(0, 100, 3))


def test_rows_that_take_longer_together_than_a_statement_may_are_stored_all_the_same(in_postgres: Place) -> None:
    options = msgspec.structs.replace(refusing(in_postgres), timeout_s=1.0)
    raising(in_postgres, "NEW.id % 7 = 3", "P0001", more="PERFORM pg_sleep(0.02);")
    items = [(number, "x") for number in range(70)]
    with closing(in_postgres.open(options)) as sink:
        refusals = sink.write([payload(options, items)])
        assert has_block(sink)
    assert [one.item for one in refusals] == list(range(3, 70, 7))
    assert in_postgres.rows() == [item for item in items if item[0] % 7 != 3]


# What it says -------------------------------------------------------------------------------------------------------


def test_a_row_that_was_refused_and_is_tried_once_more_is_what_it_is_at_last(tmp_path: Path) -> None:
    tables = Tables(Sql(columns=COLUMNS), "out", "postgresql")
    block = Block(tables, "INSERT INTO rows (id, name) VALUES ($1, $2)", "", {False: ["int", "text"]}, 1.0)
    answer = [8, [[5, "a", "", "", ""], [3, "b", "d", "", ""], [5, "c", "", "", ""], [9, "later", "", "", ""]]]
    assert block.said(msgspec.json.encode(answer)) == (8, {3: "b DETAIL:  d", 5: "c"})
    answer = [6, [[5, "a", "", "", ""], [3, "b", "", "", ""]]]  # the second time it was stored
    assert block.said(msgspec.json.encode(answer)) == (6, {3: "b"})
