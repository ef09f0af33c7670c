"""Rows that SQLite and a real PostgreSQL refuse: few, many, all; what stands is what one row after the other leaves."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from contextlib import closing
from typing import Any

import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.sinks.sql import Deleted, Sql
from tests.databases import Place, payload

pytest.importorskip("sqlalchemy")

Item = tuple[int, str] | Deleted


def made(place: Place, key: str = "PRIMARY KEY", more: str = "") -> Sql:
    """Options of a table that was made with a rule that the sink does not know."""
    place.ask(f"CREATE TABLE rows (id bigint NOT NULL {key}, name text NOT NULL CHECK (name <> 'bad') {more})")
    return place.options(key=["id"] if key else [])


def drawn(chance: random.Random, count: int, share: float, keys: int) -> list[Item]:
    """Rows and deletions of few keys; a share of them is refused."""
    found: list[Item] = []
    for number in range(count):
        key = chance.randrange(keys)
        if chance.random() < 0.1:
            found.append(Deleted(key))
        else:
            found.append((key, "bad" if chance.random() < share else f"w{number}"))
    return found


@pytest.mark.parametrize("keys", [40, 10**9])
def test_what_stands_is_what_one_row_after_the_other_leaves_whatever_is_refused(
    place: Place, keys: int, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    options, chance = made(place), random.Random(keys)
    stands: dict[int, str] = {}
    with closing(place.open(options)) as sink:
        for turn, share in enumerate((0.0, 0.003, 0.05, 0.3, 1.0, 0.01, 0.0)):
            items = drawn(chance, 1500, share, keys)
            start = 20 * turn
            refusals = sink.write([payload(options, items[:700], start), payload(options, items[700:], start + 10)])
            refused = {one.payload * 700 + one.item for one in refusals}
            bad = {at for at, item in enumerate(items) if not isinstance(item, Deleted) and item[1] == "bad"}
            assert refused <= bad
            if refused or keys > 40:  # else each of them was replaced within the group, and never tried
                assert refused == bad
            for at, item in enumerate(items):
                if isinstance(item, Deleted):
                    stands.pop(item.key[0], None)
                elif at not in bad:
                    stands[item[0]] = item[1]
            assert dict(place.rows()) == stands, share
    assert [record for record in caplog.records if record.name.startswith(("psycopg", "sqlalchemy"))] == []
    assert "error ignored" not in "".join(capfd.readouterr())


def test_rows_without_a_key_are_added_in_order_around_those_that_are_refused(place: Place) -> None:
    kind = "integer PRIMARY KEY AUTOINCREMENT" if place.server is None else "bigserial PRIMARY KEY"
    options, chance = made(place, "", f", number {kind}" if place.server else ""), random.Random(3)
    items = [(number, "bad" if chance.random() < (0.02, 0.5)[number // 2000 % 2] else "x") for number in range(8000)]
    with closing(place.open(options)) as sink:
        sink.write([payload(options, items[:5000]), payload(options, items[5000:], 10)])
    order = "rowid" if place.server is None else "number"
    assert place.ask(f"SELECT id FROM rows ORDER BY {order}") == [(number,) for number, name in items if name != "bad"]


def test_every_second_of_many_rows_may_be_refused_in_one_transaction(place: Place) -> None:
    options = made(place)
    items = [(number, "bad" if number % 2 else "x") for number in range(16_000)]
    with closing(place.open(options)) as sink:
        refusals = sink.write([payload(options, items)])
        assert [one.item for one in refusals] == list(range(1, 16_000, 2))
        assert sink.write([payload(options, items)]) == refusals
    assert place.ask("SELECT count(*), sum(id % 2) FROM rows") == [(8000, 0)]


def test_a_row_makes_room_for_one_behind_it_also_where_others_are_refused(place: Place) -> None:
    options = made(place, more=", UNIQUE (name)")
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), (2, "b")])])
        refusals = sink.write([payload(options, [(2, "c"), (1, "b"), (3, "a"), (4, "a"), (2, "bad"), (1, "z")], 10)])
        assert [one.item for one in refusals] == [3, 4]
    assert place.rows() == [(1, "z"), (2, "c"), (3, "a")]


def test_a_row_that_ends_the_transaction_of_all_others_is_told(place: Place) -> None:
    if place.server is not None:
        pytest.skip("PostgreSQL has no such rule")
    options = made(place)
    place.ask("CREATE TRIGGER t BEFORE INSERT ON rows WHEN NEW.id < 0 BEGIN SELECT RAISE(ROLLBACK, 'too low'); END")
    with closing(place.open(options)) as sink, pytest.raises(ConfigError, match=r"too low.*let it be ABORT"):
        sink.write([payload(options, [(1, "a"), (-1, "b"), (2, "c")])])
    assert place.rows() == []


# What is to be done once more at once -------------------------------------------------------------------------------


def raising(place: Place, condition: str, code: str) -> None:
    """Have the table's trigger say so, for new rows."""
    place.ask(f"CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF {condition} THEN "
              f"RAISE EXCEPTION 'no' USING ERRCODE = '{code}'; END IF; RETURN NEW; END $$")
    place.ask("CREATE TRIGGER t BEFORE INSERT ON rows FOR EACH ROW EXECUTE FUNCTION no()")


@pytest.mark.parametrize("share", [0, 2])
def test_a_serialization_failure_is_tried_again_at_once(in_postgres: Place, share: int) -> None:
    options = made(in_postgres)
    in_postgres.ask("CREATE SEQUENCE tries")  # what it gives is not rolled back
    raising(in_postgres, "NEW.id = 70 AND nextval('tries') < 4", "40001")
    items = [(number, "bad" if share and number % share else "x") for number in range(200)]
    with closing(in_postgres.open(options)) as sink:
        assert len(sink.write([payload(options, items)])) == (100 if share else 0)
    assert in_postgres.ask("SELECT count(*) FROM rows") == [(100 if share else 200,)]


def test_what_fails_so_again_and_again_is_an_outage(in_postgres: Place) -> None:
    options = made(in_postgres)
    raising(in_postgres, "NEW.id = 7", "40001")
    with closing(in_postgres.open(options)) as sink:
        with pytest.raises(Retryable, match=r"no$"):
            sink.write([payload(options, [(number, "x") for number in range(9)])])
        in_postgres.ask("DROP TRIGGER t ON rows")
        assert sink.write([payload(options, [(number, "x") for number in range(9)])]) == []


def test_a_deadlock_is_tried_again_at_once(in_postgres: Place) -> None:
    options, server = made(in_postgres), in_postgres.server
    assert server is not None
    written: list[Any] = []

    def write(do: Callable[[Any], Any]) -> None:
        try:
            written.append(do([payload(options, [(1, "ours"), (2, "ours")], 10)]))
        except Exception as error:
            written.append(error)

    with closing(in_postgres.open(options)) as sink, server.connect(options.url.rpartition("/")[2]) as other:
        sink.write([payload(options, [(1, "a"), (2, "a")])])
        other.execute("SET deadlock_timeout = '100s'")  # so that it is ours that is given up
        other.execute("BEGIN")
        other.execute("UPDATE rows SET name = 'theirs' WHERE id = 2")
        thread = threading.Thread(target=write, args=(sink.write,))
        thread.start()
        while not in_postgres.ask("SELECT 1 FROM pg_stat_activity WHERE application_name = 'thresher out' "
                                  "AND datname = current_database() AND wait_event_type = 'Lock'"):
            assert thread.is_alive()
        other.execute("UPDATE rows SET name = 'theirs' WHERE id = 1")  # waits for ours, which waits for this one
        other.execute("COMMIT")
        thread.join(60)
    assert written == [[]]
    assert in_postgres.rows() == [(1, "ours"), (2, "ours")]


# What is not allowed ------------------------------------------------------------------------------------------------


@pytest.fixture
def as_user(in_postgres: Place) -> Place:
    """The same database, for a user who may do what the sink does in its tables."""
    made(in_postgres)
    with closing(in_postgres.open(in_postgres.options(key=["id"]))):
        pass
    database = in_postgres.url.rpartition("/")[2]
    in_postgres.ask(f"CREATE ROLE u{database} LOGIN PASSWORD 'open'")
    in_postgres.ask(f"GRANT ALL ON rows, thresher_applied, thresher_refused TO u{database}")
    assert in_postgres.server is not None
    return Place(in_postgres.server.url(database, f"u{database}", "open"), in_postgres.folder, in_postgres.ask,
                 in_postgres.server)


@pytest.mark.parametrize("table", ["rows", "thresher_applied"])
def test_a_right_that_is_taken_away_is_told_as_such(as_user: Place, table: str) -> None:
    options = as_user.options(key=["id"])
    user = options.url.rpartition("/")[2]
    with closing(as_user.open(options)) as sink:
        assert sink.write([payload(options, [(1, "a")])]) == []
        as_user.ask(f"REVOKE INSERT ON {table} FROM u{user}")
        with pytest.raises(ConfigError) as error:
            sink.write([payload(options, [(2, "b")], 10)])
    assert f"permission denied for table {table}: this user needs to read, insert, update" in str(error.value)
    assert "open" not in str(error.value).partition("@")[0]
    assert as_user.rows() == [(1, "a")]


def test_a_row_that_a_policy_refuses_is_a_refusal_and_no_right_that_is_missing(as_user: Place) -> None:
    as_user.ask("ALTER TABLE rows ENABLE ROW LEVEL SECURITY")
    as_user.ask("CREATE POLICY mine ON rows USING (true) WITH CHECK (id < 100)")
    options = as_user.options(key=["id"])
    with closing(as_user.open(options)) as sink:
        (refusal,) = sink.write([payload(options, [(1, "a"), (200, "b"), (2, "c")])])
    assert (refusal.item, "row-level security policy" in refusal.detail) == (1, True)
    assert as_user.rows() == [(1, "a"), (2, "c")]
