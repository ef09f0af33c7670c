"""Rows in SQLite and in a real PostgreSQL: what is written, what is refused, what can never work."""

from __future__ import annotations

import datetime
import math
import random
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Reject
from actors.runtime.values import Refusal
from actors.sinks.sql import Sql
from actors.sinks.sql_engine import make_engine
from tests.databases import COLUMNS, Place, payload
from tests.loads import ROOT

pytest.importorskip("sqlalchemy")

UTC = datetime.UTC


# What is written ----------------------------------------------------------------------------------------------------


def test_rows_are_added_in_order_and_a_range_that_comes_again_is_not(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        assert sink.write([payload(options, [(1, "a"), (1, "a")]), payload(options, [[2, "ä"]], 10)]) == []
        assert sink.write([payload(options, [(2, "ä")], 10), payload(options, [(3, "c")], 20)]) == []
        assert sink.write([payload(options, [(4, "d")], 0, "q")]) == []
    with closing(place.open(options)) as again:
        again.write([payload(options, [(3, "c")], 20), payload(options, [(5, "e")], 30)])
    assert place.rows() == [(1, "a"), (1, "a"), (2, "ä"), (3, "c"), (4, "d"), (5, "e")]
    assert place.ask("SELECT sink, partition, position FROM thresher_applied ORDER BY 2")[:2] == [
        ("out rows", "p", 40), ("out rows", "q", 10)]
    assert place.ask("SELECT position FROM thresher_applied WHERE partition LIKE 'state %'") == [(4,)]


def test_the_later_row_of_a_key_stands_within_a_batch_a_group_and_over_time(place: Place) -> None:
    options = place.options(key=["id"])
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), (2, "a"), (1, "b")]), payload(options, [(2, "c"), (3, "c")], 10)])
        sink.write([payload(options, [(3, "d")], 20)])
    assert place.rows() == [(1, "b"), (2, "c"), (3, "d")]


def test_a_key_may_be_all_there_is_and_may_have_several_columns(place: Place) -> None:
    options = place.options(key=["name", "id"])
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), (1, "a"), (1, "b")])])
        sink.write([payload(options, [(1, "a"), (2, "a")], 10)])
    assert place.rows() == [(1, "a"), (1, "b"), (2, "a")]


class Item(msgspec.Struct):
    """An item with more than the table has."""

    name: str
    id: int
    more: int = 0


def test_items_are_rows_mappings_or_structs(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), [2, "b"], {"name": "c", "id": 3, "x": 0}, Item("d", 4)])])
    assert place.rows() == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]


def test_every_type_comes_back_as_it_was(place: Place) -> None:
    kinds = {"i": "integer", "t": "text", "r": "real", "z": "timestamp", "j": "json", "b": "boolean", "y": "bytes"}
    options = place.options(columns={**kinds, **{f"{name}_": f"{kind}?" for name, kind in kinds.items()}})
    noon = datetime.datetime(2026, 5, 1, 12, 0, 0, 123456, UTC)
    first = (2**63 - 1, "ä\\u0000'\"%s:x\n🎉", -1.5, noon, {"a": [1, None, "ü\\u0000"]}, True, bytes(range(256)))
    second: tuple[Any, ...] = (-(2**63), "", 7, 1_565_647_204_351, [], False, b"")
    with closing(place.open(options)) as sink:
        assert sink.write([payload(options, [first + second, second + (None,) * 7])]) == []
    found = place.ask("SELECT * FROM rows ORDER BY i DESC")
    if place.server is None:
        found = [tuple(_from_sqlite(name, value) for name, value in zip(kinds | dict.fromkeys(
            f"{name}_" for name in kinds), row, strict=True)) for row in found]
    moment = datetime.datetime(2019, 8, 12, 22, 0, 4, 351000, UTC)
    assert found == [(*first, *second[:3], moment, *second[4:]),
                     (*second[:3], moment, *second[4:], *(None,) * 7)]


def _from_sqlite(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name.startswith("z"):
        return datetime.datetime.fromisoformat(value).replace(tzinfo=UTC)
    return msgspec.json.decode(value) if name.startswith("j") else bool(value) if name.startswith("b") else value


@pytest.mark.parametrize(("kind", "value", "expected"), [
    ("integer", 2**63, "an integer"), ("integer", True, ""), ("integer", 1.0, ""), ("integer", "1", "got str '1'"),
    ("text", "a\0b", "text without a NUL character, got str"), ("text", b"a", "got bytes"), ("text", "\ud800", ""),
    ("text", None, "got NoneType None"), ("real", math.nan, "a finite number, got float nan"), ("real", math.inf, ""),
    ("real", True, ""), ("real", 10**400, ""), ("timestamp", datetime.datetime(2026, 1, 1), "a datetime with a zone"),
    ("timestamp", 2**60, ""), ("timestamp", "2026-01-01", ""), ("json", object(), ""), ("json", {"a": "\0"}, ""),
    ("boolean", 1, ""), ("bytes", "a", ""), ("bytes", bytearray(b"a"), "")])
def test_what_a_column_cannot_take_is_rejected_in_the_pool(kind: str, value: Any, expected: str) -> None:
    options = Sql(columns={"id": "integer", "x": kind})
    with pytest.raises(Reject) as rejection:
        options.pack([(1, value)])
    assert rejection.value.reason == "column"
    assert rejection.value.detail.startswith(f"x: expected {kind}")
    assert expected.removeprefix("an integer") in rejection.value.detail


@pytest.mark.parametrize("item", [(1,), (1, "a", 2), {"id": 1}, 17, None, Place])
def test_an_item_that_lacks_a_column_is_rejected(item: Any) -> None:
    with pytest.raises(Reject, match=r"^column: expected .*id, name"):
        Sql(columns=COLUMNS).pack([item])


@pytest.mark.parametrize(("values", "problem"), [
    ({"table": "a.b.c"}, "table: expected NAME or SCHEMA.NAME"), ({"table": "a."}, "table: expected NAME"),
    ({"table": "own.Thresher_applied"}, "table: Thresher_applied is one of Thresher's own: expected another name"),
    ({"columns": {}}, "columns: expected one or more"), ({"columns": {"a": "text", "A": "text"}}, "columns: expected"),
    ({"columns": {"a": "varchar"}}, "columns: a: expected text, integer"), ({"key": ["x"]}, "key: expected columns"),
    ({"columns": {"a": "json"}, "key": ["a"]}, "key: "), ({"columns": {"a": "text?"}, "key": ["a"]}, "key: "),
    ({"key": ["id", "id"]}, "key: expected each column once"),
    ({"url": "mysql://u:secret@h/d"}, r"url: expected sqlite.*got 'mysql://u:\*\*\*@h/d'")])
def test_options_that_make_no_table_are_refused(values: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        Sql(**{"columns": COLUMNS, **values})


def test_the_password_is_shown_to_nobody() -> None:
    for url in ("postgresql+psycopg://u:s3cret@h:5432/d", "postgresql://u@h/d?password=s3cret&x=1",
                "postgresql://u:s3/cr:s3cret@h/d"):
        assert "s3" not in Sql(url=url, columns=COLUMNS).describe()
    assert Sql(url="postgresql+psycopg://u:x@h/d", table="t", columns=COLUMNS).describe() == (
        "sql postgresql+psycopg://u:***@h/d table t")


@given(middle=st.text("ab1:/?#[]@,&=%", max_size=8))
@example(middle="@")
@settings(deadline=None)  # the first imports what talks to databases
def test_no_piece_of_a_password_that_is_not_encoded_is_taken_for_the_host(middle: str) -> None:
    for password in (f"{middle}S3cret", f"S3cret{middle}Pw0rd"):
        try:
            options = Sql(url=f"postgresql://me:{password}@h:5432/d", columns=COLUMNS)
            url = make_engine(options, "out", Path(), "").url
            said = f"{options.describe()} {url.host} {url.port} {url.database}"
        except ValueError as refused:
            said = str(refused)
        assert ("h 5432 d" in said) != ("@" in password)
        assert "S3cret" not in said and "Pw0rd" not in said


# What is refused ----------------------------------------------------------------------------------------------------


def refusing(place: Place, **values: Any) -> Sql:
    """Options of a table that was made with a rule that the sink does not know."""
    place.ask("CREATE TABLE rows (id bigint NOT NULL PRIMARY KEY, name text NOT NULL CHECK (name <> 'bad'))")
    return place.options(key=["id"], **values)


def test_the_rows_that_are_refused_are_found_and_no_other(place: Place) -> None:
    options = refusing(place)
    items = [(number, "bad" if number in (3, 700, 701) else "good") for number in range(1500)]
    with closing(place.open(options)) as sink:
        refusals = sink.write([payload(options, items[:1000]), payload(options, items[1000:], 10),
                               payload(options, [(5000, "bad")], 20)])
        assert [(one.payload, one.item) for one in refusals] == [(0, 3), (0, 700), (0, 701), (2, 0)]
        assert {one.reason for one in refusals} == {"sink_rejected"}
        assert "check" in refusals[0].detail.lower()
        assert msgspec.msgpack.decode(refusals[1].raw) == [[700, "bad"]]
    assert place.rows() == [item for item in items if item[1] == "good"]


def test_when_the_later_row_of_a_key_is_refused_the_earlier_stands(place: Place) -> None:
    options = refusing(place)
    with closing(place.open(options)) as sink:
        (refusal,) = sink.write([payload(options, [(1, "first"), (1, "second"), (1, "bad"), (2, "x")])])
        assert refusal.item == 2
    assert place.rows() == [(1, "second"), (2, "x")]


def test_a_range_that_comes_again_is_refused_again(place: Place) -> None:
    options = refusing(place)
    first, second = payload(options, [(1, "a"), (2, "bad")]), payload(options, [(3, "bad"), (4, "b")], 10)
    with closing(place.open(options)) as sink:
        before = sink.write([first, second])
    with closing(place.open(options)) as again:
        assert again.write([first, second]) == before
        assert again.write([second]) == [Refusal(0, *msgspec.structs.astuple(before[1])[1:])]
    assert place.rows() == [(1, "a"), (4, "b")]


def test_a_row_for_which_there_is_no_room_in_an_index_is_refused(in_postgres: Place) -> None:
    options = in_postgres.options(key=["name"])
    chance = random.Random(1)
    long = "".join(chr(chance.randrange(0x4E00, 0x9FFF)) for _ in range(20_000))
    with closing(in_postgres.open(options)) as sink:
        (refusal,) = sink.write([payload(options, [(1, "a"), (2, long), (3, "c")])])
        assert (refusal.item, "index row" in refusal.detail) == (1, True)
    assert in_postgres.rows() == [(1, "a"), (3, "c")]


def test_a_constraint_that_waits_for_the_commit_and_a_trigger_name_their_row(in_postgres: Place) -> None:
    in_postgres.ask("CREATE TABLE known (name text PRIMARY KEY)")
    in_postgres.ask("INSERT INTO known VALUES ('a'), ('b'), ('c')")
    in_postgres.ask("CREATE TABLE rows (id bigint, name text REFERENCES known DEFERRABLE INITIALLY DEFERRED)")
    in_postgres.ask("CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS "
                    "$$ BEGIN IF NEW.id < 0 THEN RAISE EXCEPTION 'too low'; END IF; RETURN NEW; END $$")
    in_postgres.ask("CREATE TRIGGER t BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION no()")
    options = in_postgres.options()
    with closing(in_postgres.open(options)) as sink:
        refusals = sink.write([payload(options, [(1, "a"), (2, "x"), (-1, "b"), (3, "c")])])
        assert [(one.item, one.detail.split(" CONTEXT")[0][:20]) for one in refusals] == [
            (1, "insert or update on "), (2, "too low")]
    assert in_postgres.rows() == [(1, "a"), (3, "c")]


# What can never work ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("change", "message"), [
    ({"password": "wrong"}, "password authentication failed"), ({"user": "nobody"}, "password authentication failed"),
    ({"database": "nowhere"}, 'database "nowhere" does not exist')])
def test_what_no_retry_mends_is_a_clear_error_at_the_start(
    in_postgres: Place, change: dict[str, str], message: str
) -> None:
    assert in_postgres.server is not None
    options = in_postgres.options(url=in_postgres.server.url(**change))
    with pytest.raises(ConfigError) as error:
        in_postgres.open(options)
    assert message in str(error.value)
    assert str(error.value).startswith("sinks.out: sql postgresql+psycopg://")
    assert "mend url" in str(error.value)
    assert change.get("password", "correct") not in str(error.value)


@pytest.mark.parametrize(("url", "message"), [
    ("sqlite://", "rows in memory"), ("postgresql+psycopg://u:p@[::1/d", "url: expected"),
    ("postgresql+psycopg://u:p@h:port/d", "url: expected")])
def test_an_address_that_is_none_is_said_with_what_was_expected(tmp_path: Path, url: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as error:
        Sql(url=url, columns=COLUMNS).open("out", tmp_path)
    assert ":p@" not in str(error.value)


@pytest.mark.parametrize(("missing", "url"), [("sqlalchemy", ""), ("psycopg", "postgresql+psycopg://me@localhost/no")])
def test_a_missing_library_is_said_with_how_to_get_it(missing: str, url: str) -> None:
    program = (f"import sys; sys.modules[{missing!r}] = None; from pathlib import Path\n"
               "from actors.sinks.sql import Sql\n"
               f"options = Sql(url={url!r}, columns={{'id': 'integer'}}); options.pack([(1,)])\n"
               "for call in (options.open, options.check):\n"
               "    try: call('out', Path('.'))\n"
               "    except Exception as error: print(type(error).__name__, error)")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == 2 * (f"ConfigError sinks.out: type sql needs {missing}: "
                               "pip install 'sqlalchemy>=2.0' 'psycopg[binary]>=3.1'\n")


def test_packing_imports_no_library_of_databases() -> None:
    program = ("import sys; from actors.sinks.sql import Sql; Sql(columns={'id': 'integer'}).pack([(1,)])\n"
               "print({'sqlalchemy', 'psycopg'} & sys.modules.keys())")
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"


@pytest.mark.parametrize(("made", "values", "message"), [
    ("id bigint", {}, "table rows: expected name text, got no such column: name another table"),
    ("id text, name text", {}, "expected id integer, got text"),
    ("id bigint, name text, more text NOT NULL", {}, "expected no value for more, got a column that must have one"),
    ("id bigint, name text", {"key": ["id"]}, "expected a primary key or a unique index of id, got none")])
def test_a_table_that_does_not_fit_is_a_clear_error(
    place: Place, made: str, values: dict[str, Any], message: str
) -> None:
    place.ask(f"CREATE TABLE rows ({made})")
    with pytest.raises(ConfigError, match=message):
        place.open(place.options(**values))


def test_a_table_that_has_more_and_fills_it_itself_will_do(place: Place) -> None:
    place.ask("CREATE TABLE rows (id int, name varchar(20) UNIQUE, more text, number int NOT NULL DEFAULT 7)")
    options = place.options(key=["name"])
    with closing(place.open(options)) as sink:
        assert sink.write([payload(options, [(1, "a")])]) == []
    assert place.rows() == [(1, "a", None, 7)]


def test_what_is_missing_and_may_not_be_made_is_said_as_sql(place: Place) -> None:
    options = place.options(create=False, key=["id"])
    with pytest.raises(ConfigError, match="expected a table rows, got none: make what is missing") as error:
        place.open(options)
    for statement in str(error.value).partition(":\n")[2].split(";"):
        if statement.strip():
            place.ask(statement)
    with closing(place.open(options)) as sink:
        assert sink.write([payload(options, [(1, "a")])]) == []
    assert place.rows() == [(1, "a")]


def test_a_table_in_a_schema_of_its_own(in_postgres: Place) -> None:
    in_postgres.ask("CREATE SCHEMA far")
    options = in_postgres.options(table="far.rows", key=["id"])
    for start in (0, 10):
        with closing(in_postgres.open(options)) as sink:
            sink.write([payload(options, [(1, f"a{start}")], start)])
    assert in_postgres.ask("SELECT * FROM far.rows") == [(1, "a10")]
    assert in_postgres.ask("SELECT position FROM far.thresher_applied WHERE partition = 'p'") == [(20,)]
