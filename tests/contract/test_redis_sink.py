"""The sink of Redis on a real server: the contract of all sinks, deletes, sorted sets, who may, and what is refused."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, ClassVar

import pytest
from redis import Redis as Client

from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload, Refusal
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.redis import Indexed, Redis
from actors.sinks.redis_applied import applied_key, refused_key
from actors.sinks.redis_group import Group
from actors.sinks.redis_line import Line
from actors.sinks.topic import Topic
from actors.testing import SinkContract
from tests.contract.test_sink_contracts import OfKeys
from tests.redis import Redis as Server

MANY = 20_000


@pytest.fixture
def server(redis: Server) -> Server:
    """The one of this test process, with nothing in it."""
    redis.ask("FLUSHALL")
    redis.ask("ACL", "SETUSER", "default", "nopass")
    return redis


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
        sets = [name for name in self.server.ask("KEYS", "by-*") if name not in (b"by-taken", b"by-")]
        assert [key for key, _ in self.server.entries(b"by-")] == sorted(self.server.contents())
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
                           and item[0] == key and sorted(item.under) == names), tuple(names))
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
    assert server.ask("EXISTS", "by-") == 0 and options.answers() == ("key",)  # of all keys nobody would take them out
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


def test_an_item_that_names_sets_is_the_pair_where_there_are_none() -> None:
    item, plain = Indexed(b"a", b"1", 5, (b"s",)), Redis(url="redis://localhost")
    for sink in (plain, Lmdb(), Memcached(server="localhost:1"), Topic()):
        assert sink.pack([item]) == sink.pack([(b"a", b"1")])
    assert item[1] == b"1" and repr(item).endswith("5, (b's',))")
    assert item != (b"a", b"1") and item != Indexed(b"a", b"1", 6, (b"s",)) and Indexed(b"a", b"1") == (b"a", b"1")
    with pytest.raises(Reject, match="expected names of sets"):
        Redis(url="redis://localhost", index="by-").pack([Indexed(b"a", b"1", 5, (b"",))])


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
READ_RULES = ("+mget", "+select", "+zrangebylex", "+zrevrangebylex")


def test_a_user_with_the_rules_of_the_page_writes_over_tls(tmp_path: Path, server: Server) -> None:
    for name, index, rules in (("plain", "", RULES), ("indexed", "by-", (*RULES, *INDEX_RULES))):
        server.ask("ACL", "SETUSER", name, "on", ">p@ss", *rules)
        options = Redis(url=server.url(user=f"{name}:p%40ss", tls=True), ca_file=str(server.authority), index=index)
        assert options.check(name, tmp_path) == []
        assert "may not CONFIG GET" in options.assures(name, tmp_path)
        with closing(options.open(name, tmp_path)) as sink:
            assert sink.write([batch(options, 0, numbered(2000)), batch(options, 1, [(name.encode(), None)])]) == []
    server.ask("ACL", "SETUSER", "asker", "on", ">p@ss", "~*", *READ_RULES)
    url = server.url(user="asker:p%40ss", tls=True)
    with closing(Redis(url=url, ca_file=str(server.authority), index="by-").reader("indexed", tmp_path)) as reader:
        for backwards in (False, True):
            assert dict(reader.range(backwards=backwards)) == dict(numbered(2000))
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
