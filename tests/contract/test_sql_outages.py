"""Rows in SQLite and in a real PostgreSQL through outages and kills: waited for, and each there once."""

from __future__ import annotations

import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.runtime.errors import Retryable
from actors.runtime.progress import listen
from actors.runtime.values import Payload
from tests.databases import Place, payload, sqlite_place
from tests.loads import ROOT, WATCHDOG_S

pytest.importorskip("sqlalchemy")


def test_a_server_that_stops_in_between_is_waited_for_and_every_row_is_there_once(in_postgres: Place) -> None:
    options, server = in_postgres.options(sync=True), in_postgres.server
    assert server is not None
    with closing(in_postgres.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        server.stop()
        try:
            for _ in range(2):
                with pytest.raises(Retryable, match=re.escape(f"@{server.address}/") + r"\w+: .*\w"):
                    sink.write([payload(options, [(1, "a")]), payload(options, [(2, "b")], 10)])
            with closing(in_postgres.open(options)) as other, pytest.raises(Retryable, match="refused"):
                other.write([payload(options, [(2, "b")], 10)])
        finally:
            server.start()
        assert sink.write([payload(options, [(1, "a")]), payload(options, [(2, "b")], 10)]) == []
    assert in_postgres.rows() == [(1, "a"), (2, "b")]


def test_a_server_that_gives_no_answer_is_hung_up_on(in_postgres: Place) -> None:
    options, server = in_postgres.options(), in_postgres.server
    assert server is not None
    asked: list[float] = []

    class Signs:
        def progress(self) -> None:
            """Not looked at."""

        def extend(self, seconds: float) -> None:
            asked.append(seconds)

    with closing(in_postgres.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        impatient = msgspec.structs.replace(options, timeout_s=0.5)
        listen(Signs())
        try:
            with server.connect(options.url.rpartition("/")[2]) as blocker:
                blocker.execute("BEGIN")
                blocker.execute("LOCK TABLE rows")
                with closing(in_postgres.open(impatient)) as other, pytest.raises(Retryable, match="no answer for 0"):
                    other.write([payload(options, [(2, "b")], 10)])
                blocker.execute("ROLLBACK")
        finally:
            listen(None)
        assert min(asked) > 0.5
        assert sink.write([payload(options, [(2, "b")], 10)]) == []
    assert in_postgres.rows() == [(1, "a"), (2, "b")]


def test_what_a_killed_writer_has_under_way_is_waited_for_and_not_written_again(in_postgres: Place) -> None:
    options = in_postgres.options()
    sink, successor = in_postgres.open(options), in_postgres.open(options)
    server = in_postgres.server
    assert server is not None
    data = payload(options, [(1, "a")])
    with sink._engine.connect() as connection:  # a transaction of the one before, which the server has yet to commit
        transaction = connection.begin()
        assert sink._apply(connection, [data], [[[1, "a"]]]) == []
        quick = msgspec.structs.replace(options, timeout_s=0.5)
        with closing(in_postgres.open(quick)) as waiting, pytest.raises(Retryable, match="no answer"):
            waiting.write([data])
        transaction.commit()
    assert successor.write([data]) == []
    sink.close()
    successor.close()
    assert in_postgres.rows() == [(1, "a")]


def test_a_file_that_somebody_else_has_locked_is_waited_for(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)
    options = place.options(timeout_s=0.1)
    with closing(place.open(options)) as sink:
        with closing(sqlite3.connect(tmp_path / "out.sqlite", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(Retryable, match=r"^sql out\.sqlite: database is locked$"):
                sink.write([payload(options, [(1, "a")])])
            other.execute("ROLLBACK")
        assert sink.write([payload(options, [(1, "a")])]) == []
    assert place.rows() == [(1, "a")]


def test_a_full_disk_is_waited_for(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)
    options = place.options()
    rows = [(number, "x" * 1000) for number in range(3000)]
    with closing(place.open(options)) as sink:
        sink.write([payload(options, rows[:1])])
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, limits[1]))
        try:
            with pytest.raises(Retryable, match=r"^sql out\.sqlite: "):
                sink.write([payload(options, rows[1:], 10)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sink.write([payload(options, rows[1:], 10)]) == []
    assert place.rows() == rows


def test_a_place_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    place = sqlite_place(tmp_path)
    options = place.options(url="sqlite:///there/x.db")
    (tmp_path / "there").touch()
    with closing(place.open(options)) as sink:
        with pytest.raises(Retryable, match=r"^sql sqlite:///there/x\.db: "):
            sink.write([payload(options, [(1, "a")])])
        (tmp_path / "there").unlink()
        assert sink.write([payload(options, [(1, "a")])]) == []
    assert (tmp_path / "there" / "x.db").stat().st_mode & 0o777 == 0o600


WRITER = """
import sys
from pathlib import Path
from actors.runtime.values import Payload
from actors.sinks.sql import Sql
url, folder, first = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3])
options = Sql(url=url, table="rows", columns={"id": "integer", "name": "text"}, sync=False)
sink = options.open("out", folder)
for batch in range(first, 100_000):
    rows = [(batch * 50 + number, "x") for number in range(50)]
    sink.write([Payload("p", batch, batch + 1, 50, options.pack(rows))])
    print(batch, flush=True)
"""


@pytest.fixture
def killed() -> Iterator[list[subprocess.Popen[str]]]:
    started: list[subprocess.Popen[str]] = []
    yield started
    for process in started:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def test_a_writer_that_is_killed_again_and_again_writes_each_row_once(
    place: Place, killed: list[subprocess.Popen[str]]
) -> None:
    chance, acknowledged = random.Random(7), -1
    for _ in range(6):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, place.url, str(place.folder), str(max(0, acknowledged - 3))], cwd=ROOT,
            stdout=subprocess.PIPE, text=True)
        killed.append(process)
        assert process.stdout is not None
        goal = acknowledged + chance.randrange(5, 30)
        deadline = time.monotonic() + WATCHDOG_S
        while acknowledged < goal:
            line = process.stdout.readline()
            assert line, f"the writer ended with {process.wait()}"
            assert time.monotonic() < deadline
            acknowledged = max(acknowledged, int(line))
        process.send_signal(signal.SIGKILL)  # in the middle of a later batch, mostly
        process.wait()
        acknowledged = max([acknowledged, *map(int, process.stdout.read().split())])
    options = place.options()
    with closing(place.open(options)) as sink:  # everything that is open comes again
        for batch in range(max(0, acknowledged - 3), acknowledged + 5):
            rows = [(batch * 50 + number, "x") for number in range(50)]
            sink.write([Payload("p", batch, batch + 1, 50, options.pack(rows))])
    assert [row[0] for row in place.rows()] == list(range((acknowledged + 5) * 50))
