"""Deletions in the sinks that can: in source order, within a batch and over batches, and once more after a crash."""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from actors.runtime.errors import Reject
from actors.runtime.ports import SinkOptions
from actors.runtime.values import Payload
from actors.sinks.lmdb import Lmdb, read_lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.redis import Indexed, Redis
from actors.sinks.sql import Deleted, Sql
from tests.databases import Place, payload, postgres_place, sqlite_place
from tests.redis import Redis as RedisServer
from tests.servers import Memcached as Server

KEYS = [b"a", b"b", b"c", b"d"]
#: A word on a key: its new value, or none.
Word = tuple[bytes, bytes | None]
words = st.lists(st.tuples(st.sampled_from(KEYS), st.none() | st.binary(max_size=3)), max_size=12)


class Keeper(msgspec.Struct):
    """A sink, the item that it takes for a word, and what it holds."""

    options: SinkOptions
    item: Callable[[Word], Any]
    held: Callable[[], dict[bytes, bytes]]


def _table(place: Place) -> Keeper:
    options = place.options(columns={"value": "bytes", "id": "text"}, key=["id"])
    with closing(options.open("out", place.folder)):  # makes the table
        pass
    return Keeper(options, lambda word: Deleted(word[0].decode()) if word[1] is None else (word[1], word[0].decode()),
                  lambda: {key.encode(): bytes(value) for value, key in place.ask("SELECT value, id FROM rows")})


def _redis(server: RedisServer, in_sets: bool) -> Keeper:
    def held() -> dict[bytes, bytes]:
        found = server.contents()
        members = [key for key, _ in server.entries(b"by-all")]
        assert not in_sets or set(members) == set(found), "a key without its entry, or the other way round"
        return found

    if not in_sets:
        return Keeper(Redis(url=server.url()), lambda word: word, held)
    return Keeper(Redis(url=server.url(), index="by-"),
                  lambda word: word if word[1] is None else Indexed(word[0], word[1], 1, (b"all",)), held)


@pytest.fixture(params=["lmdb", "memcached", "redis", "redis sets", "sqlite", "postgres"])
def keeper(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Keeper]:
    """Each sink that deletes."""
    if request.param == "lmdb":
        with closing(Lmdb(sync=False).open("out", tmp_path)):
            pass
        yield Keeper(Lmdb(sync=False), lambda word: word, lambda: dict(read_lmdb(tmp_path / "out.lmdb")))
    elif request.param == "memcached":
        with Server() as server:
            yield Keeper(Memcached(server=server.address), lambda word: word, lambda: server.get_many(KEYS))
    elif request.param.startswith("redis"):
        with RedisServer({"appendonly": "no"}) as redis:
            yield _redis(redis, "sets" in request.param)
    else:
        yield _table(sqlite_place(tmp_path) if request.param == "sqlite" else
                     postgres_place(tmp_path, request.getfixturevalue("postgres")))


@given(batches=st.lists(words, min_size=1, max_size=5), dies=st.integers(0, 5), again=st.integers(0, 5))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_the_last_word_on_each_key_stands_also_when_batches_come_again_after_a_crash(
    keeper: Keeper, tmp_path: Path, batches: list[list[Word]], dies: int, again: int
) -> None:
    partition = uuid.uuid4().hex  # of a run of its own: sinks know what they have of each
    reset: list[list[Word]] = [[(key, None) for key in KEYS]]
    payloads = [Payload(partition, at, at + 1, len(some), keeper.options.pack(list(map(keeper.item, some))))
                for at, some in enumerate([*reset, *batches])]
    dies = min(dies, len(batches)) + 1
    with closing(keeper.options.open("out", tmp_path)) as sink:
        for each in payloads[:dies]:
            assert sink.write([each]) == []
    with closing(keeper.options.open("out", tmp_path)) as sink:  # its successor; from the lowest open position on
        assert sink.write(payloads[min(again, dies):]) == []
    expected: dict[bytes, bytes | None] = {}
    for some in batches:
        expected.update(some)
    assert keeper.held() == {key: value for key, value in expected.items() if value is not None}


def test_a_deletion_of_what_is_not_there_is_no_failure_and_one_among_many_costs_nobody_else(
    keeper: Keeper, tmp_path: Path
) -> None:
    with closing(keeper.options.open("out", tmp_path)) as sink:
        many: list[Word] = [(b"k%d" % number, b"v") for number in range(3000)]
        some: list[Word] = [(b"a", b"1"), (b"nobody", None), *many, (b"b", b"2"), (b"a", None), (b"c", b"")]
        packed = keeper.options.pack(list(map(keeper.item, some)))
        assert sink.write([Payload("p", 0, 1, len(some), packed)]) == []
    held = keeper.held()
    assert {key: held.get(key) for key in KEYS} == {b"a": None, b"b": b"2", b"c": b"", b"d": None}


@pytest.mark.parametrize("options", [Lmdb(), Memcached(server="h:1"), Redis(url="redis://h"),
                                     Redis(url="redis://h", index="by-")])
def test_a_deletion_can_be_taken_out_of_a_payload_again_for_a_retry(options: Lmdb | Memcached | Redis) -> None:
    items: list[Word] = [(b"a", b"x"), (b"b", None), (b"delete", b"delete x\r\n"), (b"c", None)]
    assert options.unpack(options.pack(items)) == items


@pytest.mark.parametrize("options", [Lmdb(), Memcached(server="h:1"), Redis(url="redis://h")])
def test_what_is_there_is_to_stay_so_a_deletion_is_rejected(options: Lmdb | Memcached | Redis) -> None:
    keeping = options.keeping()
    assert keeping.tombstones() == ""
    keeping.pack([(b"a", b"x")])
    with pytest.raises(Reject, match=r"^only_missing: a deletion, and what is there is to stay"):
        keeping.pack([(b"a", b"x"), (b"b", None)])


def test_a_deletion_is_sent_to_memcached_as_one() -> None:
    options = Memcached(server="h:1")
    assert options.pack([(b"a", None), (b"b", b"x")]) == b"delete a\r\nset b 0 0 1\r\nx\r\n"


# Of rows ------------------------------------------------------------------------------------------------------------


def test_a_row_is_deleted_by_a_key_of_several_columns_of_any_type(place: Place) -> None:
    at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=datetime.UTC)
    options = place.options(columns={"n": "integer", "at": "timestamp", "b": "bytes", "v": "text?"}, key=["b", "at"])
    with closing(place.open(options)) as sink:
        assert sink.write([payload(options, [
            (1, at, b"\0", "x"), (2, at, b"\1", None), (3, at + datetime.timedelta(1), b"\0", "z")])]) == []
        assert sink.write([payload(options, [Deleted(b"\0", at), Deleted(b"\2", at)], 10)]) == []
    assert place.ask("SELECT n FROM rows ORDER BY n") == [(2,), (3,)]


@pytest.mark.parametrize(("options", "item", "problem"), [
    (Sql(columns={"a": "text", "b": "text"}), Deleted("x"), "expected a row, for there is no key to delete by, got"),
    (Sql(columns={"a": "text", "b": "text"}, key=["a"]), Deleted(), r"expected Deleted\(a\), got"),
    (Sql(columns={"a": "text", "b": "text"}, key=["b", "a"]), Deleted("x"), r"expected Deleted\(b, a\), got"),
    (Sql(columns={"a": "text", "b": "text"}, key=["a"]), Deleted(1), "a: expected text without a NUL character, got"),
])
def test_a_deletion_that_names_no_key_is_rejected(options: Sql, item: Deleted, problem: str) -> None:
    with pytest.raises(Reject, match=f"^column: {problem}"):
        options.pack([item])


def test_a_row_that_another_refers_to_is_a_refusal_and_its_neighbours_go(in_postgres: Place) -> None:
    place = in_postgres
    options = place.options(key=["id"])
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a"), (2, "b"), (3, "c")])])
        place.ask("CREATE TABLE refers (id bigint REFERENCES rows (id)); INSERT INTO refers VALUES (2)")
        (refusal,) = sink.write([payload(options, [Deleted(1), Deleted(2), Deleted(3), (1, "new")], 10)])
        assert (refusal.item, refusal.reason) == (1, "sink_rejected")
        assert "violates foreign key constraint" in refusal.detail
        assert place.rows() == [(1, "new"), (2, "b")]
        place.ask("DELETE FROM refers")
        assert sink.write([Payload("retry", 0, 1, 1, refusal.raw)]) == []
    assert place.rows() == [(1, "new")]


def test_a_value_that_must_be_there_once_may_move_from_a_row_that_is_deleted(place: Place) -> None:
    options = place.options(key=["id"])
    with closing(place.open(options)) as sink:
        sink.write([payload(options, [(1, "a")])])
        place.ask("CREATE UNIQUE INDEX names ON rows (name)")
        assert sink.write([payload(options, [Deleted(1), (2, "a"), (3, "b"), Deleted(3), (4, "b")], 10)]) == []
    assert place.rows() == [(2, "a"), (4, "b")]
