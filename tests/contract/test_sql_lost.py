"""A database that lacks what was acknowledged: dropped and made anew, put back, emptied; told with what is missing."""

from __future__ import annotations

import shutil
from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime.errors import ConfigError
from tests.databases import Place, payload

pytest.importorskip("sqlalchemy")

LOST = "rows that were acknowledged are not there"
TABLES = ("rows", "thresher_applied", "thresher_refused")


def drop(place: Place, *tables: str) -> None:
    for table in tables:
        place.ask(f"DROP TABLE {table}")


def test_tables_that_are_made_anew_between_two_writes_are_told_with_the_range(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")]), payload(options, [(2, "b")], 10)])
        sink.write([payload(options, [(3, "c")], 0, "q")])
        drop(place, *TABLES)
        anew = place.options(url=place.url or f"sqlite:///{place.folder / 'out.sqlite'}")
        with closing(anew.open("out", place.folder / "another")):  # who makes them anew
            pass
        with pytest.raises(ConfigError, match=LOST) as error:
            sink.write([payload(options, [(4, "d")], 20)])
    assert "expected 2 transactions of this state in thresher_applied, got 0" in str(error.value)
    assert "expected q up to 10, got nothing; p up to 20, got nothing" in str(error.value)
    assert place.rows() == []


def test_a_database_that_is_made_anew_between_two_runs_is_told_before_anything_is_written(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
    drop(place, *TABLES)
    for _ in range(2):
        with pytest.raises(ConfigError, match=f"{LOST}.*p up to 10, got nothing.*--fresh.*remove .*out.applied"):
            place.open(options)
        with pytest.raises(Exception, match="rows"):  # a refusal changes nothing
            place.rows()
    assert not options.clear("out", place.folder)  # --fresh
    with closing(place.open(options)) as anew:
        anew.write([payload(options, [(1, "a")], 0, "new")])
    assert place.rows() == [(1, "a")]


def test_a_table_of_rows_that_is_gone_alone_is_told_with_how_to_make_it(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
    drop(place, "rows")
    with pytest.raises(ConfigError, match="table rows: expected the rows that were written, got no such") as error:
        place.open(options)
    place.ask(str(error.value).partition(":\n")[2].rstrip(";"))
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(2, "b")], 10)])
    assert place.rows() == [(2, "b")]


def test_a_database_of_an_earlier_moment_is_told(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        place.ask("CREATE TABLE backup AS SELECT * FROM thresher_applied")
        sink.write([payload(options, [(2, "b")], 10)])
        place.ask("DELETE FROM thresher_applied")
        place.ask("INSERT INTO thresher_applied SELECT * FROM backup")  # a replica that was behind has taken over
        for _ in range(2):
            with pytest.raises(ConfigError, match=f"{LOST}.*2 transactions.*got 1; expected p up to 20, got up to 10"):
                sink.write([payload(options, [(3, "c")], 20)])
    with pytest.raises(ConfigError, match=LOST):
        place.open(options)


def test_a_partition_that_is_put_back_alone_is_told(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")]), payload(options, [(2, "b")], 10)])
        place.ask("UPDATE thresher_applied SET position = 10 WHERE partition = 'p'")
        with pytest.raises(ConfigError, match=f"{LOST}.*p up to 20, got up to 10"):
            sink.write([payload(options, [(3, "c")], 20)])


def test_rows_of_runs_that_are_over_may_be_deleted(place: Place) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        place.ask(f"DELETE FROM thresher_applied WHERE changed < {10**11}")  # as old ones are deleted
        sink.write([payload(options, [(2, "b")], 0, "next")])
    with closing(place.open(options)) as again:
        again.write([payload(options, [(3, "c")], 10, "next")])
    assert place.rows() == [(1, "a"), (2, "b"), (3, "c")]


def test_another_state_another_table_and_a_state_that_knows_less_are_not_refused(place: Place, tmp_path: Path) -> None:
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        shutil.copy(place.folder / "out.applied", place.folder / "before")
        sink.write([payload(options, [(2, "b")], 10)])
    shutil.copy(place.folder / "before", place.folder / "out.applied")  # it died before it was written
    with closing(place.open(options)) as again:
        assert again.write([payload(options, [(2, "b")], 10), payload(options, [(3, "c")], 20)]) == []
    (place.folder / "out.applied").write_bytes(b'{"where":')  # as a power cut may leave it
    with closing(place.open(options)) as again:
        again.write([payload(options, [(4, "d")], 30)])
    assert place.rows() == [(1, "a"), (2, "b"), (3, "c"), (4, "d")]
    other = place.options(table="others")
    with closing(other.open("out", place.folder)) as beside:
        beside.write([payload(other, [(1, "a")], 0, "p2")])


def test_a_file_of_sqlite_that_is_removed_while_it_is_written_to_is_told(place: Place) -> None:
    if place.server is not None:
        pytest.skip("it is no file")
    options = place.options()
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        (place.folder / "out.sqlite").rename(place.folder / "moved.sqlite")
        with pytest.raises(ConfigError, match=r"out\.sqlite: it was removed, moved away or replaced"):
            sink.write([payload(options, [(2, "b")], 10)])
