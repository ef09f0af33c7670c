"""The table that the sql sink makes."""

from __future__ import annotations

from pathlib import Path

import pytest
import sqlalchemy

from actors.sinks.sql import Sql
from actors.sinks.sql_tables import Tables, prepare


def test_the_primary_key_has_its_columns_in_the_order_in_which_they_were_given() -> None:
    options = Sql(columns={"day": "text", "host": "text", "hits": "integer"}, key=["host", "day"])
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.begin() as connection:
        prepare(connection, Tables(options, "visits", "sqlite"), True, "sinks.visits")
        found = sqlalchemy.inspect(connection).get_pk_constraint("visits")
    engine.dispose()
    assert found["constrained_columns"] == ["host", "day"]


@pytest.mark.parametrize(("url", "expected"), [
    ("", "state/rows.sqlite"), ("sqlite:///reports.db", "state/reports.db"),
    ("sqlite:////var/lib/x.db", "/var/lib/x.db"),
    ("sqlite:///reports.db?timeout=3", "state/reports.db"), ("postgresql+psycopg://me:secret@host/db", None)])
def test_the_report_says_which_file_of_sqlite_it_is(url: str, expected: str | None) -> None:
    place = Sql(url=url, columns={"id": "integer"}).place("rows", Path("state"))
    assert place == (None if expected is None else Path(expected))
