"""Rows in SQLite and in a real PostgreSQL through outages and kills: waited for, and each there once."""

from __future__ import annotations

import os
import random
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from sqlalchemy.exc import DBAPIError

from actors.runtime.errors import Retryable
from actors.runtime.progress import listen
from actors.runtime.values import Payload
from actors.sinks import sql_engine
from actors.sinks.sql_store import Store
from tests.databases import Place, payload, sqlite_place
from tests.loads import ROOT, WATCHDOG_S

pytest.importorskip("sqlalchemy")


def sessions(place: Place) -> dict[int, str]:
    """The server's processes for sinks of ours in this database, and what kind of thing each waits for."""
    return {pid: waits or "" for pid, waits in place.ask(
        "SELECT pid, wait_event_type FROM pg_stat_activity "
        "WHERE application_name = 'thresher out' AND datname = current_database()")}


def tries(sink: Store, payloads: list[Payload]) -> bool:
    """Write; whether that could be done."""
    try:
        return sink.write(payloads) == []
    except Retryable:
        return False


def wait_until(condition: Callable[[], bool], what: str, seconds: float = WATCHDOG_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"no {what} within {seconds} s"
        time.sleep(0.01)


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

    impatient = msgspec.structs.replace(options, timeout_s=0.5)
    with closing(in_postgres.open(impatient)) as sink:
        sink.write([payload(options, [(1, "a")])])
        (pid,) = sessions(in_postgres)
        listen(Signs())
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(Retryable, match=r"no answer for 1\.6 s"):
                sink.write([payload(options, [(2, "b")], 10)])
        finally:
            os.kill(pid, signal.SIGCONT)
            listen(None)
        assert min(asked) > 0.5
        wait_until(lambda: pid not in sessions(in_postgres), "the end of the session")
        assert sink.write([payload(options, [(2, "b")], 10)]) == []
    assert in_postgres.rows() == [(1, "a"), (2, "b")]


def test_a_lock_that_somebody_else_holds_leaves_no_session_of_ours_waiting(in_postgres: Place) -> None:
    options, server = in_postgres.options(timeout_s=0.3), in_postgres.server
    assert server is not None
    with closing(in_postgres.open(options)) as sink, server.connect(options.url.rpartition("/")[2]) as blocker:
        for table in ("rows", "thresher_applied"):
            blocker.execute("BEGIN")
            blocker.execute(f"LOCK TABLE {table}")
            for _ in range(4):
                with pytest.raises(Retryable, match=r"another session holds a lock for more than 0\.3 s"):
                    sink.write([payload(options, [(1, table)], 10 * len(table))])
                assert len(sessions(in_postgres)) <= 1, "the one that has given up may just be going"
            if table == "thresher_applied":
                for _ in range(4):
                    with pytest.raises(Retryable, match="another session holds a lock"):
                        options.positions("out", in_postgres.folder)
                assert len(sessions(in_postgres)) <= 1
            blocker.execute("ROLLBACK")
            assert sink.write([payload(options, [(1, table)], 10 * len(table))]) == []
    assert in_postgres.rows() == [(1, "rows"), (1, "thresher_applied")]


def test_a_writer_that_is_killed_while_it_waits_for_a_lock_leaves_no_session(
    in_postgres: Place, killed: list[subprocess.Popen[str]]
) -> None:
    server = in_postgres.server
    assert server is not None
    process = subprocess.Popen([sys.executable, "-c", WRITER, in_postgres.url, str(in_postgres.folder), "0"], cwd=ROOT,
                               stdout=subprocess.PIPE, text=True)
    killed.append(process)
    assert process.stdout is not None
    assert process.stdout.readline()
    with server.connect(in_postgres.url.rpartition("/")[2]) as blocker:
        blocker.execute("BEGIN")
        blocker.execute("LOCK TABLE rows")
        wait_until(lambda: "Lock" in sessions(in_postgres).values(), "a writer that waits for the lock")
        process.send_signal(signal.SIGKILL)
        process.wait()
        wait_until(lambda: not sessions(in_postgres), "the end of its session", 8.0)  # timeout_s is 10
        blocker.execute("ROLLBACK")


def test_a_writer_that_stands_still_in_a_transaction_keeps_nobody_out_for_long(
    in_postgres: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sql_engine, "_IDLE_S", 0.5)
    options = in_postgres.options(timeout_s=1.0)
    data = payload(options, [(1, "a")])
    with closing(in_postgres.open(options)) as still, closing(in_postgres.open(options)) as successor:
        connection, rows = still._opened()
        transaction = connection.begin()
        still._apply(connection, rows, [data], [[[1, "a"]]])
        still._watch.end()  # nobody is there who would wait
        with pytest.raises(Retryable, match="another session holds a lock"):
            successor.write([data])
        wait_until(lambda: tries(successor, [data]), "a successor that gets in")
        with pytest.raises(DBAPIError):
            transaction.commit()
        transaction.rollback()
        assert still.write([data]) == [], "its session has ended, and all is there"
    assert in_postgres.rows() == [(1, "a")]


def test_what_a_killed_writer_has_under_way_is_waited_for_and_not_written_again(in_postgres: Place) -> None:
    options = in_postgres.options()
    sink, successor = in_postgres.open(options), in_postgres.open(options)
    server = in_postgres.server
    assert server is not None
    data = payload(options, [(1, "a")])
    connection, rows = sink._opened()  # with a transaction of the one before, which the server has yet to commit
    transaction = connection.begin()
    assert sink._apply(connection, rows, [data], [[[1, "a"]]])[0] == []
    quick = msgspec.structs.replace(options, timeout_s=0.5)
    with closing(in_postgres.open(quick)) as waiting, pytest.raises(Retryable, match="another session holds a lock"):
        waiting.write([data])
    transaction.commit()
    assert successor.write([data]) == []
    sink.close()
    successor.close()
    assert in_postgres.rows() == [(1, "a")]


def test_a_session_that_was_ended_while_it_was_idle_is_begun_again_at_once(in_postgres: Place) -> None:
    options = in_postgres.options()
    with closing(in_postgres.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        (pid,) = sessions(in_postgres)
        in_postgres.ask(f"SELECT pg_terminate_backend({pid}, 60000)")
        assert sink.write([payload(options, [(2, "b")], 10)]) == []
    assert in_postgres.rows() == [(1, "a"), (2, "b")]


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
