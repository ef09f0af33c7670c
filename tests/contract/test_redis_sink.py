"""The sink of Redis on real servers: the contract of all sinks, who may, what is refused, and what the server loses."""

from __future__ import annotations

import contextlib
import socket
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis as Client

from actors.runtime.agreement import acknowledged_in
from actors.runtime.errors import ConfigError, Fatal, Lost, Reject, Retryable
from actors.runtime.ports import SinkOptions
from actors.runtime.units import LEDGER, STEPS
from actors.runtime.values import Payload, Refusal
from actors.sinks.redis import Indexed, Redis
from actors.sinks.redis_applied import applied_key, refused_key
from actors.sinks.redis_group import Group
from actors.sinks.redis_line import Line
from actors.testing import SinkContract
from tests.contract.test_sink_contracts import OfKeys
from tests.redis import WATCHDOG_S, Watched
from tests.redis import Redis as Server

MANY = 20_000


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    """One for this module: a test that stops it starts it again."""
    with Server({"proto-max-bulk-len": "1mb", "unixsocket": "socket"}, secure=True) as server:
        yield server


@pytest.fixture
def server(running: Server) -> Server:
    """That one, with nothing in it and the configuration of the beginning."""
    running.ask("FLUSHALL")
    running.ask("ACL", "SETUSER", "default", "nopass")
    return running


def batch(options: SinkOptions, start: int, items: list[Any], partition: str = "run") -> Payload:
    return Payload(partition, start, start + 1, len(items), options.pack(items))


def numbered(count: int, size: int = 20) -> list[tuple[bytes, bytes]]:
    return [(b"key%d" % number, (b"%d;" % number * size)[:size]) for number in range(count)]


class TestRedis(OfKeys):
    __test__ = True
    bad: ClassVar[tuple[bytes, bytes]] = (b"big", b"x" * 2_000_000)

    @pytest.fixture(autouse=True)
    def _server(self, server: Server) -> None:
        self.server = server

    def options(self, folder: Path) -> SinkOptions:
        return Redis(url=self.server.url())

    def contents(self, folder: Path) -> list[Any]:
        return sorted(self.server.contents().items())

    @contextmanager
    def down(self, folder: Path) -> Iterator[None]:
        self.server.kill()
        yield
        self.server.start()


class TestRedisIndexed(TestRedis):
    """With sorted sets, one of which is somebody else's string."""

    def options(self, folder: Path) -> SinkOptions:
        return Redis(url=self.server.url(), index="by-")

    def items(self) -> list[Any]:
        return [Indexed(b"a", b"1", 5, (b"s:1", b"h:1")), Indexed(b"b", b"\x00\r\n\xff", 1.5, (b"s:1",)), (b"c", b""),
                Indexed(b"d", b"d" * 5000, -1, (b"\r\n",))]

    def versions(self) -> tuple[Any, Any]:
        return Indexed(b"a", b"1", 5, (b"s:1", b"h:1")), Indexed(b"a", b"2", 6, (b"s:2", b"h:1"))

    def impossible(self) -> Any:
        self.server.ask("HSET", "by-taken", "a", "b")
        return Indexed(b"bad", b"1", 1, (b"s:1", b"taken"))

    def _expect_refusal(self, options: SinkOptions, refusal: Refusal, bad: Any) -> None:
        SinkContract._expect_refusal(self, options, refusal, bad)
        assert refusal.detail == "WRONGTYPE by-taken is a hash and no sorted set"
        assert options.unpack(refusal.raw) == [bad]

    def contents(self, folder: Path) -> list[Any]:
        sets = [name for name in self.server.ask("KEYS", "by-*") if name != b"by-taken"]
        under: dict[bytes, list[tuple[bytes, float]]] = {}
        for name in sets:
            for key, score in self.server.entries(name):
                under.setdefault(key, []).append((name.removeprefix(b"by-"), score))
        found: list[Any] = []
        for key, value in sorted(self.server.contents().items()):
            names = sorted(name for name, _ in under.get(key, []))
            scores = {score for _, score in under.get(key, [])}
            assert len(scores) < 2, f"an entry of {key!r} is an older one"
            wanted = next((item.under for item in (*self.items(), *self.versions()) if isinstance(item, Indexed)
                           and item.key == key and sorted(item.under) == names), tuple(names))
            found.append(Indexed(key, value, scores.pop(), wanted) if names else (key, value))
        assert set(under) <= set(self.server.contents()), f"an entry without a key: {under}"
        return found


def test_a_large_batch_is_there_whole_with_its_position_and_costs_three_replies_less_than_it_has_items(
    tmp_path: Path, server: Server
) -> None:
    options, items = Redis(url=server.url()), numbered(MANY, 190)
    with closing(options.open("store", tmp_path)) as sink:
        assert sink.write([batch(options, 0, items[:MANY // 2]), batch(options, 1, items[MANY // 2:]),
                           Payload("run", 2, 9, 0, b"")]) == []
    assert server.contents() == dict(items)
    assert options.positions("store", tmp_path) == {"run": 9}


def test_what_is_there_is_not_written_again_so_that_a_later_value_stays(tmp_path: Path, server: Server) -> None:
    options = Redis(url=server.url())
    early, late = batch(options, 0, [(b"a", b"early")]), batch(options, 1, [(b"a", b"late")])
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([early, late])
        sink.write([early])
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([early, late])
        server.ask("SET", "a", "of somebody else")
        sink.write([early])
    assert server.contents() == {b"a": b"of somebody else"}


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


def test_a_deletion_is_part_of_the_order_and_takes_its_entries_with_it(tmp_path: Path, server: Server) -> None:
    for index in ("", "by-"):
        options = Redis(url=server.url(), index=index)
        with closing(options.open(f"store{index}", tmp_path)) as sink:
            here: Any = Indexed(b"a", b"1", 7, (b"s:1",)) if index else (b"a", b"1")
            sink.write([batch(options, 0, [here, (b"a", None), (b"b", b"1"), (b"never", None)])])
            assert server.contents() == {b"b": b"1"}
            sink.write([batch(options, 1, [(b"b", None), here])])
            assert server.contents() == {b"a": b"1"}
            sink.write([batch(options, 2, [Indexed(b"a", None) if index else (b"a", None)])])
    assert server.contents() == {}
    assert server.ask("KEYS", "by-*") == server.ask("KEYS", "thresher_index:*") == []


def test_keys_and_their_entries_expire(tmp_path: Path, server: Server) -> None:
    plain, options = Redis(url=server.url(), expire_s=100), Redis(url=server.url(), expire_s=1000, index="by-")
    with closing(plain.open("plain", tmp_path)) as sink:
        sink.write([batch(plain, 0, [(b"p", b"1")])])
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, 0, [Indexed(b"old", b"1", 1, (b"s",)), Indexed(b"a", b"1", 2, (b"s",))])])
        server.ask("DEL", "old")  # as if its time were over
        sink.write([batch(options, 1, [Indexed(b"b", b"1", 3, (b"s",))])])
    assert server.entries(b"by-s") == [(b"a", 2.0), (b"b", 3.0)]
    assert 90 < server.ask("TTL", "p") <= 100
    assert {900 < server.ask("TTL", key) <= 1000 for key in ("a", "by-s", "thresher_index:a")} == {True}


def test_only_missing_keys_are_stored_when_that_is_asked_for(tmp_path: Path, server: Server) -> None:
    server.ask("SET", "a", "there")
    for number, index in enumerate(("", "by-")):
        options = Redis(url=server.url(), index=index).keeping()
        with closing(options.open(f"store{index}", tmp_path)) as sink:
            assert sink.write([batch(options, 0, [(b"a", b"1"), (b"b%d" % number, b"1")])]) == []
        with pytest.raises(Reject, match="a deletion, and what is there is to stay"):
            options.pack([(b"a", None)])
    assert server.contents() == {b"a": b"there", b"b0": b"1", b"b1": b"1"}


@pytest.mark.parametrize(("items", "why"), [
    ([(b"", b"1")], "at least one byte"), ([(b"thresher_x", b"1")], "does not begin with thresher_"),
    ([(b"by-s", b"1")], "or by-"), ([Indexed(b"a", b"1", float("nan"), (b"s",))], "expected a finite number, got nan")])
def test_a_key_or_a_score_that_cannot_be_is_rejected_before_it_is_sent(items: list[Any], why: str) -> None:
    with pytest.raises(Reject, match=why):
        Redis(url="redis://localhost", index="by-").pack(items)
    if isinstance(items[0], Indexed):
        with pytest.raises(Reject, match="the sink has no index"):
            Redis(url="redis://localhost").pack(items)


# Refusals and outages -------------------------------------------------------------------------------------------------


def test_what_was_refused_is_refused_again_when_the_writer_has_died_before_it_could_say_so(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url())
    payloads = [batch(options, 0, [(b"a", b"1"), (b"big", b"x" * 1_100_000)]), batch(options, 1, [(b"b", b"1")])]
    found = []
    for _ in range(2):
        with closing(options.open("store", tmp_path)) as sink:
            found.append(sink.write(payloads))
    assert found[0] == found[1]
    (refusal,) = found[0]
    assert (refusal.item, refusal.reason) == (1, "too_large")
    assert "the server takes 1048576 (proto-max-bulk-len)" in refusal.detail
    assert server.contents() == {b"a": b"1", b"b": b"1"}


def test_a_position_does_not_pass_an_item_that_the_server_has_refused_before_that_is_remembered(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url(), index="by-")
    server.ask("SET", "by-taken", "1")
    line = Line(options, "store", tmp_path)
    owner = line.connect({})
    group = Group([batch(options, 0, [(b"a", b"1"), Indexed(b"b", b"1", 1, (b"taken",))])], {}, options, b"")
    outcome = group.sent(line.server, applied_key(owner, "store"), refused_key(owner, "store"), line.holder)
    line.server.close()  # the writer dies here
    assert (outcome.is_done, list(outcome.refused)) == (False, [(0, 1)])
    assert options.positions("store", tmp_path) == {}
    assert server.ask("EXISTS", "thresher_failed") == 0


def test_a_full_server_is_an_outage_of_which_nothing_is_left(tmp_path: Path, server: Server) -> None:
    options, items = Redis(url=server.url()), numbered(3000, 1000)
    server.ask("CONFIG", "SET", "maxmemory", str(server.client.info()["used_memory"] + 1_500_000))
    try:
        with closing(options.open("store", tmp_path)) as sink:
            with pytest.raises(Retryable, match="OOM command not allowed when used memory > 'maxmemory'"):
                sink.write([batch(options, 0, items)])
            assert server.contents() == {}
            server.ask("CONFIG", "SET", "maxmemory", "1")
            assert "OOM command not allowed" in options.check("store", tmp_path)[0]
            server.ask("CONFIG", "SET", "maxmemory", "0")
            assert sink.write([batch(options, 0, items)]) == []
    finally:
        server.ask("CONFIG", "SET", "maxmemory", "0")
    assert server.contents() == dict(items)


def test_scripts_that_the_server_has_forgotten_are_loaded_again(tmp_path: Path, server: Server) -> None:
    options = Redis(url=server.url(), index="by-")
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, 0, [Indexed(b"a", b"1", 1, (b"s",))])])
        server.ask("SCRIPT", "FLUSH")
        assert sink.write([batch(options, 1, [Indexed(b"b", b"1", 2, (b"s",))])]) == []
    assert server.entries(b"by-s") == [(b"a", 1.0), (b"b", 2.0)]


def test_replicas_that_are_waited_for_and_are_not_there_are_an_outage_and_nothing_is_written_twice(
    tmp_path: Path, server: Server
) -> None:
    options = Redis(url=server.url(), replicas=1, timeout_s=0.4)
    with Server({"replicaof": f"127.0.0.1 {server.port}"}) as replica, closing(
            options.open("store", tmp_path)) as sink:
        replica.kill()
        for _ in range(2):
            with pytest.raises(Retryable, match=r"0 of 1 replicas have it after 0\.2 s"):
                sink.write([batch(options, 0, [(b"a", b"1")])])
        replica.start()
        patient = Redis(url=server.url(), replicas=1)
        with closing(patient.open("store", tmp_path)) as waiting:
            assert waiting.write([batch(options, 0, [(b"a", b"1")]), batch(options, 1, [(b"b", b"1")])]) == []
        assert replica.contents() == {b"a": b"1", b"b": b"1"}


# Who may --------------------------------------------------------------------------------------------------------------

#: The rules of docs/redis.md.
RULES = ("~*", "+set", "+del", "+hset", "+hdel", "+hget", "+hmget", "+hgetall", "+hlen", "+hexists", "+multi", "+exec",
         "+discard", "+watch", "+select")
INDEX_RULES = ("+script|load", "+evalsha", "+get", "+type", "+exists", "+zadd", "+zrem", "+zrange", "+expire",
               "+persist")


def test_a_user_with_the_rules_of_the_page_writes_over_tls(tmp_path: Path, server: Server) -> None:
    for name, index, rules in (("plain", "", RULES), ("indexed", "by-", (*RULES, *INDEX_RULES))):
        server.ask("ACL", "SETUSER", name, "on", ">p@ss", *rules)
        options = Redis(url=server.url(user=f"{name}:p%40ss", tls=True), ca_file=str(server.authority), index=index)
        assert options.check(name, tmp_path) == []
        assert "may not CONFIG GET" in options.assures(name, tmp_path)
        with closing(options.open(name, tmp_path)) as sink:
            assert sink.write([batch(options, 0, numbered(2000)), batch(options, 1, [(name.encode(), None)])]) == []
    assert server.contents() == dict(numbered(2000))


@pytest.mark.parametrize(("user", "rules", "why"), [
    ("writer:wrong", (), "WRONGPASS"), ("nobody:x", (), "WRONGPASS"), ("writer:right", ("~*", "+multi"), "NOPERM"),
    ("writer:right", ("~thresher_*", "+@all"), "NOPERM")])
def test_a_user_who_may_not_ends_the_run_with_what_to_mend(
    tmp_path: Path, server: Server, user: str, rules: tuple[str, ...], why: str
) -> None:
    server.ask("ACL", "SETUSER", "writer", "reset", "on", ">right", *rules)
    options = Redis(url=server.url(user=user))
    expected = f"^sinks.store: redis 127.0.0.1:{server.port}/0: {why}.*mend user and password in url"
    with pytest.raises(ConfigError, match=expected), closing(options.open("store", tmp_path)) as sink:
        sink.write([batch(options, 0, [(b"a", b"1")])])
    server.ask("ACL", "DELUSER", "writer")


def test_it_writes_to_a_socket_of_this_machine(tmp_path: Path, server: Server) -> None:
    options = Redis(url=f"redis+unix://{server.folder}/socket?db=3")
    assert options.check("store", tmp_path) == []
    with closing(options.open("store", tmp_path)) as sink:
        assert sink.write([batch(options, 0, numbered(5000))]) == []
    with Client(port=server.port, db=3) as client:
        assert client.dbsize() == 5001


def test_a_certificate_that_nobody_vouches_for_ends_the_run(tmp_path: Path, server: Server) -> None:
    with pytest.raises(ConfigError, match=r"certificate.*set ca_file to the certificate that vouches for it"):
        Redis(url=server.url(tls=True)).open("store", tmp_path)


def test_check_says_what_the_server_keeps_and_what_would_make_it_forget(tmp_path: Path, server: Server) -> None:
    options = Redis(url=server.url())
    found = {}
    try:
        for setting, value in (("appendfsync", "always"), ("appendfsync", "everysec"), ("appendfsync", "no"),
                               ("appendonly", "no")):
            server.ask("CONFIG", "SET", setting, value)
            assert options.check("store", tmp_path) == []
            found[value if setting == "appendfsync" else "off"] = options.assures("store", tmp_path)
        server.ask("CONFIG", "SET", "maxmemory", "100mb", "maxmemory-policy", "allkeys-lru")
        (problem,) = options.check("store", tmp_path)
        assert "maxmemory-policy allkeys-lru forgets keys and positions when it is full: set noeviction" in problem
    finally:
        server.ask("CONFIG", "SET", "maxmemory", "0", "maxmemory-policy", "noeviction", "appendonly", "yes",
                   "appendfsync", "always")
    assert "each batch is on its disk when it counts as written" in found["always"]
    assert "the last second or two is lost in a power cut, which is noticed" in found["everysec"]
    assert "what the system has not flushed is lost in a power cut" in found["no"]
    assert found["off"].startswith("appendonly no: nothing is there after its death")
    (problem,) = Redis(url="redis://127.0.0.1:1").check("store", tmp_path)
    assert problem.endswith("connection refused: start it, or set sinks.store.url to where it is")


# What the server loses ------------------------------------------------------------------------------------------------


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
