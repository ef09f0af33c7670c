"""What Redis is given once, and what it loses: writers that come too late, servers that are emptied or failed over."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from contextlib import closing
from pathlib import Path

import pytest

from actors.runtime.agreement import acknowledged_in
from actors.runtime.errors import ConfigError, Fatal, Lost, Retryable
from actors.runtime.units import LEDGER, STEPS
from actors.sinks.redis import Redis
from tests.contract.test_redis_sink import batch
from tests.redis import WATCHDOG_S, Watched
from tests.redis import Redis as Server


@pytest.fixture
def server(redis: Server) -> Server:
    """The one of this test process, with nothing in it."""
    redis.ask("FLUSHALL")
    redis.ask("ACL", "SETUSER", "default", "nopass")
    return redis


class Gate:
    """A way to a server that can be shut: what comes then waits in it, also when its sender is gone; a context manager.

    Attributes:
        port: where it listens; for one connection.
    """

    def __init__(self, port: int) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._server = socket.create_connection(("127.0.0.1", port))
        self._is_open = threading.Event()
        self._is_open.set()
        self._threads = [threading.Thread(target=self._in), threading.Thread(target=self._out)]
        self._has_come = threading.Event()
        self.answers = bytearray()

    def __enter__(self) -> Gate:
        self._threads[0].start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.open()
        for thread in self._threads:
            thread.join()
        self._listener.close()
        self._server.close()

    def shut(self) -> None:
        """Let nothing more through."""
        self._is_open.clear()

    def until_more_has_come(self) -> None:
        """Wait until something waits in it."""
        assert self._has_come.wait(WATCHDOG_S)

    def open(self) -> None:
        """Let through what waits, and what comes."""
        self._is_open.set()

    def until_done(self) -> None:
        """Wait until the server has done all that came, and has ended the connection."""
        self._threads[0].join()
        self._threads[1].join()

    def _in(self) -> None:
        self._client, _ = self._listener.accept()
        self._threads[1].start()
        while data := self._client.recv(65536):
            if not self._is_open.is_set():
                self._has_come.set()
            self._is_open.wait(WATCHDOG_S)
            self._server.sendall(data)
        self._server.shutdown(socket.SHUT_WR)

    def _out(self) -> None:
        while data := self._server.recv(65536):
            self.answers += data
            with contextlib.suppress(OSError):  # its client has gone
                self._client.sendall(data)
        self._client.close()


def test_what_was_under_way_of_an_older_writer_is_not_done_over_what_its_successor_has_written(
    tmp_path: Path, server: Server
) -> None:
    with Gate(server.port) as gate:
        options = Redis(url=f"redis://127.0.0.1:{gate.port}/0", timeout_s=0.5)
        with closing(options.open("store", tmp_path)) as older:
            older.write([batch(options, 0, [(b"a", b"0")])])
            gate.shut()
            with pytest.raises(Retryable, match=r"no answer for 0\.5 s"):
                older.write([batch(options, 1, [(b"a", b"1")])])
            gate.until_more_has_come()
        direct = Redis(url=server.url())
        with closing(direct.open("store", tmp_path)) as newer:
            newer.write([batch(direct, 1, [(b"a", b"1")]), batch(direct, 2, [(b"a", b"2")])])
        gate.open()
        gate.until_done()
        assert gate.answers.endswith(b"+QUEUED\r\n+QUEUED\r\n*-1\r\n+OK\r\n:0\r\n"), "it was done"
    assert server.contents() == {b"a": b"2"}
    assert direct.positions("store", tmp_path) == {"run": 3}


def test_of_two_who_open_the_same_sink_the_later_goes_on_and_the_other_ends(tmp_path: Path, server: Server) -> None:
    options = Redis(url=server.url())
    with closing(options.open("store", tmp_path)) as older, closing(options.open("store", tmp_path)) as newer:
        newer.write([batch(options, 0, [(b"a", b"1")])])
        with pytest.raises(ConfigError, match="another process has opened this sink of this state, and writes on"):
            older.write([batch(options, 0, [(b"a", b"0")])])
        newer.write([batch(options, 1, [(b"b", b"1")])])
    assert server.contents() == {b"a": b"1", b"b": b"1"}


def commit(state: Path, position: int, partition: str = "run") -> None:
    """Have the ledger of this state say that all is acknowledged up to here."""
    with closing(sqlite3.connect(state / LEDGER)) as ledger, ledger:
        if not ledger.execute("SELECT 1 FROM sqlite_master").fetchone():
            for step in STEPS:
                ledger.executescript(step)
        ledger.execute("DELETE FROM units")
        ledger.execute(
            "INSERT INTO units (id, run, partition, name, fingerprint, base, low, lines, status, counts, problem) "
            "VALUES (1, 'run', ?, 'a', '', 0, ?, 0, 'reading', '{\"read\":1}', '')", (partition, position))


def test_what_was_emptied_is_noticed_and_given_again_where_it_is_not_committed_yet(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url())
    payloads = [batch(options, number, [(b"%d" % number, b"1")]) for number in range(3)]
    with closing(options.open("store", tmp_path)) as sink:
        sink.write(payloads[:2])
        server.ask("FLUSHALL")
        with pytest.raises(Fatal, match="has lost positions 0 to 2 of run, which it had acknowledged"):
            sink.write(payloads[2:])
    with closing(options.open("store", tmp_path)) as sink:  # the next generation is given all that is not committed
        assert sink.write(payloads) == []
    assert len(server.contents()) == 3


def test_what_was_committed_and_is_gone_ends_the_run_with_the_range_and_the_file_to_remove(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url())
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, number, [(b"%d" % number, b"1")]) for number in range(5)])
        commit(tmp_path, 5)
        assert acknowledged_in(tmp_path) == {"run": 5}
        sink.close()
        assert sink.write([batch(options, 5, [(b"5", b"1")])]) == [], "all of it is there"
        commit(tmp_path, 6)
        server.ask("HSET", server.ask("KEYS", "thresher_applied:*")[0], "run", "3")  # as an older file has it
        with pytest.raises(Lost, match=r"positions 3 to 6 of run .*remove .*/store\.redis$"):
            sink.write([batch(options, 6, [(b"6", b"1")])])
    with pytest.raises(Lost, match="positions 3 to 6 of run "):
        options.open("store", tmp_path)
    assert "positions 3 to 6 of run" in options.check("store", tmp_path)[0]
    (tmp_path / "store.redis").unlink()  # somebody has decided
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, 6, [(b"6", b"1")])])
    options.open("store", tmp_path).close()


def test_a_sink_that_begins_in_the_middle_of_a_run_has_lost_nothing(tmp_path: Path, server: Server) -> None:
    options = Redis(url=server.url())
    commit(tmp_path, 7)
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, 7, [(b"7", b"1")])])
        commit(tmp_path, 8)
    options.open("store", tmp_path).close()
    server.ask("FLUSHALL")
    with pytest.raises(Lost, match="positions 0 to 8 of run"):
        options.open("store", tmp_path)


def test_what_a_shard_has_emitted_and_a_server_has_lost_is_missed_though_the_shard_goes_on(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url())
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, number, [(b"%d" % number, b"1")], "aggregator.1@abc") for number in range(3)])
    server.ask("FLUSHALL")
    with closing(options.open("store", tmp_path)) as sink, pytest.raises(
            Lost, match=r"positions 0 to 3 of aggregator\.1@abc"):
        sink.write([batch(options, 3, [(b"3", b"1")], "aggregator.1@abc")])


def test_a_replica_that_lagged_and_became_the_master_is_noticed(tmp_path: Path) -> None:
    with Watched(password="geheim") as watched:
        first, second = watched.nodes
        options = Redis(url=watched.url(), timeout_s=5, sentinel_secret="geheim")
        (problem,) = Redis(url=watched.url()).check("store", tmp_path)
        assert "no Sentinel says where it is (127.0.0.1:" in problem and "NOAUTH" in problem
        (problem,) = Redis(url=watched.url().replace("/main/", "/other/"), sentinel_secret="geheim").check("", tmp_path)
        assert "knows no master other" in problem
        with closing(options.open("store", tmp_path)) as sink:
            sink.write([batch(options, 0, [(b"0", b"1")])])
            assert "is a replica" in Redis(url=second.url(user=":geheim")).check("store", tmp_path)[0]
            first.ask("WAIT", 1, 20_000)
            second.pause()
            first.ask("CLIENT", "KILL", "TYPE", "replica")  # what is written now never comes there
            sink.write([batch(options, 1, [(b"1", b"1")])])
            commit(tmp_path, 2)
            first.kill()
            second.resume()
            watched.until_master(second)
            with pytest.raises(Retryable):  # the connection is gone
                sink.write([batch(options, 2, [(b"2", b"1")])])
            with pytest.raises(Lost, match=r"main/0 of .* at 127\.0\.0\.1:.* positions 1 to 2 of run"):
                sink.write([batch(options, 2, [(b"2", b"1")])])
            commit(tmp_path, 1)
            with pytest.raises(Fatal):
                sink.write([batch(options, 2, [(b"2", b"1")])])
        with closing(options.open("store", tmp_path)) as sink:
            sink.write([batch(options, number, [(b"%d" % number, b"1")]) for number in range(1, 3)])
        assert second.contents() == {b"0": b"1", b"1": b"1", b"2": b"1"}
