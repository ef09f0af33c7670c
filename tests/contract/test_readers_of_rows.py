"""Stores of rows, looked at by a reader: each row as it was given, while somebody writes and after a kill."""

from __future__ import annotations

import csv
import datetime
import shutil
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ports import SinkOptions
from actors.runtime.stored import NothingStored
from actors.runtime.values import Payload
from actors.sinks.csv import Csv
from actors.sinks.jsonl import Jsonl
from actors.sinks.lines import Lines
from tests.contract.test_csv import FIELDS, killed
from tests.databases import Place, payload, sqlite_place

MOMENT_MS = 1_565_647_204_351
KINDS = {"i": "integer", "t": "text", "r": "real", "z": "timestamp", "j": "json", "b": "boolean", "y": "bytes"}


def rows_of(place: Place, **values: Any) -> list[dict[str, Any]]:
    with closing(place.options(**values).reader("out", place.folder)) as reader:
        return list(reader.rows())


@pytest.fixture
def sql_place(place: Place) -> Place:
    pytest.importorskip("sqlalchemy")
    return place


def test_a_row_of_sql_comes_back_as_it_was_given_with_times_in_ms(sql_place: Place) -> None:
    columns = {**KINDS, **{f"{name}_": f"{kind}?" for name, kind in KINDS.items()}, "rowid": "text"}
    options = sql_place.options(columns=columns)
    noon = datetime.datetime(2026, 5, 1, 12, tzinfo=datetime.UTC)
    first = (2**63 - 1, "ä'\"%s:x", -1.5, noon, {"a": [1, None, "ü"]}, True, bytes(range(256)))
    second: tuple[Any, ...] = (-(2**63), "", 7, MOMENT_MS, [], False, b"")
    with closing(sql_place.open(options)) as sink:
        sink.write([payload(options, [(*first, *second, "x"), (*second, *(None,) * 7, "y")])])
        found = rows_of(sql_place, columns=columns)
    of_first = (*first[:3], round(noon.timestamp() * 1000), *first[4:])
    expected = [(*of_first, *second, "x"), (*second, *(None,) * 7, "y")]
    assert [tuple(row.values()) for row in found] == expected
    assert [type(value) for value in found[0].values()] == [int, str, float, int, dict, bool, bytes,
                                                             int, str, float, int, list, bool, bytes, str]
    assert list(found[0]) == list(columns)


def test_rows_are_read_while_more_are_written_by_a_writer_who_waits_for_nobody(sql_place: Place) -> None:
    options = sql_place.options(key=["id"], timeout_s=5)
    with closing(sql_place.open(options)) as sink, closing(options.reader("out", sql_place.folder)) as reader:
        sink.write([payload(options, [(number, "a") for number in range(2500)])])
        found = reader.rows()
        assert len(list(islice(found, 10))) == 10
        sink.write([payload(options, [(number, "b") for number in range(2500)], 10)])
        assert sorted(row["id"] for row in found) == list(range(10, 2500))
        assert {row["name"] for row in reader.rows()} == {"b"}


def test_where_there_is_no_table_the_reader_says_so_and_makes_none(sql_place: Place) -> None:
    with pytest.raises(NothingStored, match=r"there is no (such file|table)"):
        rows_of(sql_place)
    assert list(sql_place.folder.iterdir()) == []
    with closing(sql_place.open(sql_place.options())):
        assert rows_of(sql_place) == []
    with pytest.raises(NothingStored, match=r"there is no table .?others"):
        rows_of(sql_place, table="others")


def test_a_file_of_sqlite_is_read_after_a_kill_and_stays_as_it_is(tmp_path: Path) -> None:
    pytest.importorskip("sqlalchemy")
    alive, dead = sqlite_place(tmp_path / "alive"), sqlite_place(tmp_path / "dead")
    alive.folder.mkdir()
    options = alive.options()
    with closing(alive.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), (2, "b")])])
        shutil.copytree(alive.folder, dead.folder)  # with a log that nobody has put into the file
    for place in (alive, dead):
        before = {path.name: path.read_bytes() for path in place.folder.iterdir() if not path.name.endswith("-shm")}
        assert ("out.sqlite-wal" in before) == (place is dead)
        assert rows_of(place) == [{"id": 1, "name": "a"}, {"id": 2, "name": "b"}]
        assert {path.name: path.read_bytes() for path in place.folder.iterdir()
                if not path.name.endswith("-shm")} == before


def test_a_table_that_somebody_else_has_locked_is_not_waited_for_longer_than_was_said(in_postgres: Place) -> None:
    pytest.importorskip("psycopg")
    assert in_postgres.server is not None
    with closing(in_postgres.open(in_postgres.options())):
        pass
    database = in_postgres.url.rpartition("/")[2]
    with in_postgres.server.connect(database) as other, other.transaction():
        other.execute("LOCK TABLE rows IN ACCESS EXCLUSIVE MODE")
        with pytest.raises(Retryable, match="timeout"):
            rows_of(in_postgres, timeout_s=0.2)
    assert rows_of(in_postgres, timeout_s=20) == []


def test_a_server_of_sql_that_is_not_there_or_lets_nobody_in_is_told_apart(in_postgres: Place) -> None:
    pytest.importorskip("psycopg")
    assert in_postgres.server is not None
    gone = in_postgres.url.replace(f":{in_postgres.server.port}/", ":9/")
    with pytest.raises(Retryable, match="refused"):
        rows_of(in_postgres, url=gone, timeout_s=2)
    wrong = in_postgres.url.replace("correct%20horse", "wrong").replace("correct horse", "wrong")
    assert wrong != in_postgres.url
    with pytest.raises(ConfigError, match=r"sinks\.out: sql .*password") as raised:
        rows_of(in_postgres, url=wrong, timeout_s=2)
    assert "wrong" not in str(raised.value)


# Files of lines ------------------------------------------------------------------------------------------------------


def read(options: SinkOptions, folder: Path) -> list[dict[str, Any]]:
    with closing(options.reader("out", folder)) as reader:
        return list(reader.rows())


def given_to(options: SinkOptions, items: list[Any], start: int) -> Payload:
    return Payload("p", start, start + 1, len(items), options.pack(items))


@pytest.mark.parametrize(("options", "items", "expected"), [
    (Jsonl(), [{"a": [1, None], "at": MOMENT_MS}, "text\nof two lines"],
     [{"a": [1, None], "at": MOMENT_MS}, {"value": "text\nof two lines"}]),
    (Lines(), [b"a", "ä", b"\xff"], [{"line": "a"}, {"line": "ä"}, {"line": "\ufffd"}]),
    (Csv(columns=["a", "b"]), [("x\ny", 1), ('",', None)], [{"a": "x\ny", "b": "1"}, {"a": '",', "b": None}]),
    (Csv(columns=["a", "b"], header=False, delimiter=";"), [("x;y", 1.5)], [{"a": "x;y", "b": "1.5"}]),
])
def test_lines_that_count_are_rows_while_there_is_a_writer_and_after_a_kill(
    tmp_path: Path, options: SinkOptions, items: list[Any], expected: list[dict[str, Any]]
) -> None:
    with pytest.raises(NothingStored, match=r"out\.\w+: nothing was written there"):
        read(options, tmp_path)
    assert list(tmp_path.iterdir()) == []
    sink: Any = options.open("out", tmp_path)
    assert read(options, tmp_path) == []
    sink.write([given_to(options, items, 0)])
    assert read(options, tmp_path) == expected
    sink.write([given_to(options, items, 1)])
    place = options.place("out", tmp_path)
    assert place is not None
    with place.open("ab") as file:
        file.write(b'"half of a\nline"\n')  # what a kill leaves: no manifest says that it counts
    killed(sink)
    assert read(options, tmp_path) == 2 * expected


@settings(max_examples=100)
@given(st.lists(st.tuples(FIELDS, FIELDS), max_size=5))
def test_fields_of_csv_are_what_any_reader_of_csv_finds(
    tmp_path_factory: pytest.TempPathFactory, items: list[tuple[Any, Any]]
) -> None:
    folder = tmp_path_factory.mktemp("csv")
    options = Csv(columns=["a", "b"], sync=False)
    with closing(options.open("out", folder)) as sink:
        sink.write([given_to(options, items, 0)])
    with (folder / "out.csv").open(newline="", encoding="utf-8") as file:
        expected = [{name: text or None for name, text in row.items()} for row in csv.DictReader(file)]
    assert read(options, folder) == expected


@pytest.mark.parametrize("options", [Jsonl(), Csv(columns=["a"])])
def test_a_file_that_something_else_has_written_is_refused_in_a_sentence(tmp_path: Path, options: SinkOptions) -> None:
    place = options.place("out", tmp_path)
    assert place is not None
    with closing(options.open("out", tmp_path)) as sink:
        sink.write([given_to(options, [{"a": "bbbb"}], 0)])
    place.write_bytes(b"\xff" * place.stat().st_size)
    with pytest.raises(ConfigError, match=r"out\.\w+: expected what this sink writes, got something else"):
        read(options, tmp_path)
