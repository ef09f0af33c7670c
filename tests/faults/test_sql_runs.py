"""Whole runs into SQLite and PostgreSQL: kills, an outage, refusals and their retry; all is there, and once."""

from __future__ import annotations

import re
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import psycopg
import pytest

from actors.sinks.dead_letters import read_letters
from tests.loads import ROOT, Load, assert_counts_add_up
from tests.postgres import Postgres

TARGET = "tests.pipelines.rower"
RECORDS = 20_000
BAD = {11, 12, 7000, 19_999}
MADE = "CREATE TABLE rows (id bigint NOT NULL, name text NOT NULL {check})"
CHECK = "CONSTRAINT no_bad_words CHECK (name <> 'bad')"

Ask = Callable[[str], list[Any]]


@pytest.fixture(params=["sqlite", "postgres"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Ask]:
    """The address of a database, and how to ask it something."""
    if request.param == "sqlite":
        path = tmp_path / "there.db"

        def ask_file(statement: str) -> list[Any]:
            with closing(sqlite3.connect(path, timeout=30)) as connection, connection:
                return connection.execute(statement).fetchall()

        return f"sqlite:///{path}", ask_file
    server: Postgres = request.getfixturevalue("postgres")
    return server.url(database := server.make_database()), _asking(server, database)


def _asking(server: Postgres, database: str) -> Ask:
    def ask(statement: str) -> list[Any]:
        with server.connect(database) as connection:
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return ask


def write_lines(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a.txt").write_text("".join(
        f"{number} {'bad' if number in BAD else 'word'}\n" for number in range(RECORDS)))


def start(tmp_path: Path, url: str, *sets: str) -> Load:
    return Load(tmp_path / "logs" / "*.txt", tmp_path / "state", f"sinks.store.url={url}", "flow.batch_bytes=3000",
                *sets, target=TARGET)


def test_rows_and_letters_are_there_once_whoever_is_killed_and_letters_can_be_retried(
    tmp_path: Path, place: tuple[str, Ask]
) -> None:
    url, ask = place
    ask(MADE.format(check=f", {CHECK}"))
    write_lines(tmp_path)
    with start(tmp_path, url) as running:
        for name, batches in (("writer.store", 1), ("writer.dead_letters", 1), ("writer.store", 10)):
            running.kill(name, after_batches=batches)
        running.until(lambda views: views["writer.store"].batches > 3, "some more")
        running.process.kill()
        running.wait()
    with start(tmp_path, url) as running:
        assert running.wait() == 0, running.output()
    assert ask("SELECT id FROM rows ORDER BY id") == [(number,) for number in range(RECORDS) if number not in BAD]
    letters = list(read_letters(tmp_path / "state" / "dead-letters.db"))
    assert sorted(msgspec.msgpack.decode(letter.raw)[0][0] for letter in letters) == sorted(BAD)
    assert {(letter.stage, letter.reason) for letter in letters} == {("writer.store", "sink_rejected")}
    counts = assert_counts_add_up(tmp_path / "state")
    assert (counts["written"], counts["dead_lettered"]) == (RECORDS - len(BAD), len(BAD))

    retry = [sys.executable, "-m", "actors.cli", "dlq", "retry", TARGET, "--state", str(tmp_path / "state"), "--set",
             f"sinks.store.url={url}"]
    assert subprocess.run(retry, cwd=ROOT, capture_output=True, timeout=240, check=False).returncode == 4
    if url.startswith("postgres"):
        ask("ALTER TABLE rows DROP CONSTRAINT no_bad_words")
        done = subprocess.run(retry, cwd=ROOT, capture_output=True, text=True, timeout=240, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert ask("SELECT count(*), count(DISTINCT id) FROM rows") == [(RECORDS, RECORDS)]


def test_a_server_that_is_away_for_a_while_is_waited_for(tmp_path: Path, postgres: Postgres) -> None:
    database = postgres.make_database()
    write_lines(tmp_path)
    gate = tmp_path / "gate"
    with start(tmp_path, postgres.url(database), f"options.gate={gate}") as running:
        running.until(lambda views: views["writer.store"].batches >= 3, "three batches")
        postgres.stop()
        gate.touch()
        try:
            views = running.until(lambda views: bool(views["writer.store"].note), "a note")
            assert f"@{postgres.address}/" in views["writer.store"].note
            assert ":***@" in views["writer.store"].note
        finally:
            postgres.start()
        assert running.wait() == 0, running.output()
    assert running.of("outage")
    ask = _asking(postgres, database)
    assert ask("SELECT id FROM rows ORDER BY id") == [(number,) for number in range(RECORDS)]


def test_a_database_that_is_dropped_and_made_anew_is_told_with_what_is_missing(
    tmp_path: Path, postgres: Postgres
) -> None:
    database = postgres.make_database()
    write_lines(tmp_path)
    gate = tmp_path / "gate"
    with start(tmp_path, postgres.url(database), f"options.gate={gate}") as running:
        running.until(lambda views: views["writer.store"].batches >= 3, "three batches")
        with postgres.connect() as connection:
            connection.execute(f"DROP DATABASE {database} WITH (FORCE)")
            connection.execute(f"CREATE DATABASE {database}")
        gate.touch()
        assert running.wait() == 78, running.output()
    with start(tmp_path, postgres.url(database)) as again:
        assert again.wait() == 78, again.output()
    for output in (running.output(), again.output()):
        assert "rows that were acknowledged are not there: expected" in output
        assert re.search(r"expected \S+ up to \d+, got nothing: the database was dropped", output), output
        assert "Traceback" not in output
    with postgres.connect(database) as connection, pytest.raises(psycopg.errors.UndefinedTable):
        connection.execute("SELECT * FROM rows")
    (tmp_path / "state" / "store.applied").unlink()
    with start(tmp_path, postgres.url(database)) as without:
        assert without.wait() == 0, without.output()


def test_a_wrong_password_ends_the_run_with_a_text_and_no_traceback(tmp_path: Path, postgres: Postgres) -> None:
    write_lines(tmp_path)
    with start(tmp_path, postgres.url(password="wr0ng")) as running:
        assert running.wait() != 0
    assert "password authentication failed" in running.output()
    assert "Traceback" not in running.output()
    assert "wr0ng" not in running.output()
