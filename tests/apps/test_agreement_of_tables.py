"""A table of the sink ``sql`` that is ahead of the state whose rows it has: refused, also by a server that was down."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from actors.runtime.agreement import Unasked
from actors.runtime.errors import Retryable
from actors.runtime.values import Payload
from actors.sinks.discard import Discard
from actors.sinks.sql import Sql
from tests.loads import Running
from tests.postgres import Postgres
from tests.servers import free_port

Ask = Callable[[str], list[Any]]
COLUMNS = 'sinks.rows.columns={start="integer", top_connections="integer"}'
#: Lines of a file: two hours, one every 40 s.
EACH = 180


class Table:
    """Where the rows go, and what is done behind the sink's back."""

    def __init__(self, url: str, ask: Ask, server: Postgres | None) -> None:
        self.url, self.ask, self.server = url, ask, server

    def hours(self) -> list[tuple[int, int]]:
        return [tuple(row) for row in self.ask("SELECT start, top_connections FROM hours ORDER BY 1")]


@pytest.fixture(params=["sqlite", "postgres"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> Table:
    if request.param == "sqlite":
        path = tmp_path / "kept.sqlite"

        def ask_file(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                return connection.execute(statement).fetchall()

        return Table(f"sqlite:///{path}", ask_file, None)
    server: Postgres = request.getfixturevalue("postgres")
    return in_postgres(server)


def in_postgres(server: Postgres) -> Table:
    database = server.make_database()

    def ask(statement: str) -> list[Any]:
        with server.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return Table(server.url(database), ask, server)


@pytest.fixture
def server() -> Iterator[Postgres]:
    """A PostgreSQL of this test's own, which it stops."""
    with Postgres() as own:
        yield own


class Desk:
    """A folder of logs, a state, and runs over them."""

    def __init__(self, folder: Path, table: Table) -> None:
        self.folder, self.table, self.state = folder, table, folder / "state"
        (folder / "logs").mkdir()
        self._given = 0

    def give(self) -> None:
        """A log more, of the next two hours."""
        lines = [f"{1_565_647_200_000 + at * 40_000} h{at % 3} t\n"
                 for at in range(self._given * EACH, (self._given + 1) * EACH)]
        (self.folder / "logs" / f"{self._given}.log").write_text("".join(lines))
        self._given += 1

    def start(self, *sets: str) -> Running:
        more = ("sinks.rows.type=sql", f"sinks.rows.url={self.table.url}",
                "sinks.rows.table=hours", COLUMNS, "window.start=0", *sets)
        return Running(self.state, "run", "connections", str(self.folder / "logs"), "--once", "--format", "json",
                       *(word for item in more for word in ("--set", item)))

    def run(self, *sets: str) -> tuple[int, str]:
        with self.start(*sets) as running:
            return running.wait(), running.output()


@pytest.fixture
def desk(tmp_path: Path, table: Table) -> Desk:
    return Desk(tmp_path, table)


def put_the_state_back(desk: Desk) -> list[tuple[int, int]]:
    """Two runs, of which the state has only the first, and the table both; return what the table has."""
    desk.give()
    assert desk.run()[0] == 0
    shutil.copytree(desk.state, desk.folder / "before")
    desk.give()
    assert desk.run()[0] == 0
    shutil.rmtree(desk.state)
    (desk.folder / "before").rename(desk.state)
    return desk.table.hours()


def test_a_table_of_a_later_moment_is_refused_before_anything_runs(desk: Desk) -> None:
    had = put_the_state_back(desk)
    desk.give()
    code, output = desk.run()
    assert code == 78, output
    assert "sink rows has" in output
    assert "of aggregator.1, whose state knows of" in output
    assert "put back those that belong together, or begin anew with --fresh" in output
    assert desk.table.hours() == had


def test_a_table_that_is_of_the_same_moment_is_gone_on_with(desk: Desk) -> None:
    for _ in range(3):
        desk.give()
        code, output = desk.run()
        assert code == 0, output
    starts = [start for start, _ in desk.table.hours()]
    assert starts == sorted(set(starts))
    assert len(starts) == 6


def test_a_table_of_another_state_is_none_of_this_one(desk: Desk) -> None:
    put_the_state_back(desk)
    shutil.rmtree(desk.state)
    desk.give()
    code, output = desk.run()
    assert code == 0, output


def test_a_server_that_was_down_at_the_start_is_asked_before_the_first_row(tmp_path: Path, server: Postgres) -> None:
    desk = Desk(tmp_path, in_postgres(server))
    had = put_the_state_back(desk)
    desk.give()
    server.stop()
    with desk.start("run.max_outage_s=120") as running:
        running.until(lambda views: views["writer.rows"].phase == "RETRY", "a writer that waits")
        server.start()
        assert running.wait() == 78, running.output()
    assert "writer.rows: sink rows has" in running.output()
    assert "put back those that belong together" in running.output()
    assert "Traceback" not in running.output()
    assert desk.table.hours() == had


def test_a_server_that_was_down_at_the_start_is_no_reason_to_refuse_what_is_right(
    tmp_path: Path, server: Postgres
) -> None:
    desk = Desk(tmp_path, in_postgres(server))
    desk.give()
    assert desk.run()[0] == 0
    desk.give()
    server.stop()
    with desk.start("run.max_outage_s=120") as running:
        running.until(lambda views: views["writer.rows"].phase == "RETRY", "a writer that waits")
        running.kill("writer.rows", after_batches=0)
        server.start()
        assert running.wait() == 0, running.output()
    assert len(desk.table.hours()) == 4


def test_the_next_generation_of_a_writer_does_not_ask_what_the_run_itself_has_made_otherwise(tmp_path: Path) -> None:
    asked: list[str] = []
    mark = tmp_path / "asked-rows"

    def down() -> None:
        asked.append("down")
        raise Retryable("down")

    options = Discard()
    data = [Payload("aggregator.1@x", 0, 1, 1, options.pack([b"row"]))]
    first = Unasked(options.open("rows", tmp_path), down, mark)
    for _ in range(2):
        with pytest.raises(Retryable):
            first.write(data)
    again = Unasked(options.open("rows", tmp_path), lambda: asked.append("first"), mark)
    for _ in range(2):
        assert again.write(data) == []
    assert Unasked(options.open("rows", tmp_path), lambda: asked.append("next"), mark).write(data) == []
    assert asked == ["down", "down", "first"]


def test_positions_are_those_of_this_sink_and_table_and_no_table_is_made(desk: Desk) -> None:
    options = Sql(url=desk.table.url, table="hours", columns={"start": "integer"})
    assert options.positions("rows", desk.folder) == {}
    desk.give()
    assert desk.run()[0] == 0
    found = options.positions("rows", desk.folder)
    assert [name.partition("@")[0] for name in found] == ["aggregator.1"]
    assert options.positions("others", desk.folder) == {}


def test_a_server_that_does_not_answer_is_asked_again(tmp_path: Path) -> None:
    pytest.importorskip("psycopg")
    options = Sql(url=f"postgresql+psycopg://me@127.0.0.1:{free_port()}/no", table="t", columns={"id": "integer"})
    with pytest.raises(Retryable, match=r"^sql postgresql\+psycopg://"):
        options.positions("rows", tmp_path)


def test_a_file_of_which_another_holds_the_lock_can_be_asked(tmp_path: Path) -> None:
    path = tmp_path / "rows.sqlite"
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("PRAGMA journal_mode=WAL")
        other.execute("CREATE TABLE thresher_applied (sink, partition, position)")
        other.execute("INSERT INTO thresher_applied VALUES ('rows rows', 'p', 7)")
        other.execute("BEGIN IMMEDIATE")
        assert Sql(columns={"id": "integer"}).positions("rows", tmp_path) == {"p": 7}


