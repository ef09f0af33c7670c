"""Stores of keys and values, looked at by a reader: a value, ranges in order, while somebody writes and afterwards."""

from __future__ import annotations

import itertools
import random
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from actors.runtime.errors import Retryable
from actors.runtime.ports import Sink, SinkOptions
from actors.runtime.stored import NothingStored, Reader, behind
from actors.runtime.values import Payload
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from actors.sinks.redis import Redis
from tests.loads import ROOT, WATCHDOG_S
from tests.redis import Redis as Server
from tests.servers import Memcached as MemcachedServer

LONGEST = 511


def write(sink: Sink, options: SinkOptions, items: dict[bytes, bytes | None], start: int = 0) -> None:
    assert sink.write([Payload("p", start, start + 1, len(items), options.pack(list(items.items())))]) == []


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[dict[bytes, bytes], Reader]]:
    """An environment of keys that begin with one another, and its reader."""
    folder = tmp_path_factory.mktemp("many")
    texts = [b"a" * count for count in range(1, 40)] + [b"\xff", b"\xff\xff", b"a" * LONGEST, b"b/1", b"b/2", b"b0"]
    items: dict[bytes, bytes | None] = {text: b"%d" % number for number, text in enumerate(texts)}
    with closing(Lmdb().open("out", folder)) as sink:
        write(sink, Lmdb(), items)
    with closing(Lmdb().reader("out", folder)) as reader:
        yield {key: value for key, value in items.items() if value is not None}, reader


BOUNDS = st.one_of(st.binary(max_size=3), st.integers(0, 40).map(lambda count: b"a" * count),
                   st.sampled_from([b"a" * LONGEST, b"a" * (LONGEST + 1), b"b" * (LONGEST + 9), b"\xff\xff"]))


@settings(max_examples=300)
@given(BOUNDS, st.none() | BOUNDS, st.booleans())
@example(b"a" * (LONGEST + 1), None, False)
@example(b"", b"a" * (LONGEST + 1), True)
@example(b"", b"", True)
def test_a_range_of_lmdb_has_what_is_between_two_keys_in_order(
    many: tuple[dict[bytes, bytes], Reader], first: bytes, last: bytes | None, backwards: bool
) -> None:
    items, reader = many
    expected = sorted((key, value) for key, value in items.items() if key >= first and (last is None or key < last))
    assert list(reader.range(first, last, backwards)) == (expected[::-1] if backwards else expected)


def test_a_key_of_lmdb_is_there_or_is_not(many: tuple[dict[bytes, bytes], Reader]) -> None:
    items, reader = many
    assert reader.get(b"aaa") == items[b"aaa"]
    for none in (b"", b"c", b"a" * (LONGEST + 1)):
        assert reader.get(none) is None


def test_what_begins_with_the_same_is_before_the_key_behind_it(many: tuple[dict[bytes, bytes], Reader]) -> None:
    _, reader = many
    assert [key for key, _ in reader.range(b"b/", behind(b"b/"))] == [b"b/1", b"b/2"]
    assert [key for key, _ in reader.range(b"\xff", behind(b"\xff"))] == [b"\xff", b"\xff\xff"]


#: Writes 3000 keys each time that it is told a letter to write, and says so: two environments of one process are not
#: two of LMDB's.
WRITER = """
import sys
from pathlib import Path
from actors.runtime.values import Payload
from actors.sinks.lmdb import Lmdb
options = Lmdb(map_bytes=1 << 20, sync=False)
sink = options.open("out", Path(sys.argv[1]))
for line in sys.stdin:
    items = [(b"%05d" % number, line[:1].encode() * int(line[1:])) for number in range(3000)]
    assert sink.write([Payload("p", 0, 1, len(items), options.pack(items))]) == []
    print("written", flush=True)
"""


#: Looks, and is killed while it does.
KILLED = """
import os, sys, lmdb
environment = lmdb.open(sys.argv[1], readonly=True)
transaction = environment.begin()
assert transaction.stat()["entries"] == 3000
os.kill(os.getpid(), 9)
"""


class Writer:
    """``WRITER`` as a process; a context manager."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(folder)], cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            text=True)

    def __enter__(self) -> Writer:
        return self

    def __exit__(self, *raised: object) -> None:
        self._process.communicate(timeout=WATCHDOG_S)

    def has_written(self, letter: str, size: int, times: int = 1) -> int:
        """How large the file is once all values are so many of this letter, so many times."""
        assert self._process.stdin is not None and self._process.stdout is not None
        for _ in range(times):
            self._process.stdin.write(f"{letter}{size}\n")
            self._process.stdin.flush()
            assert self._process.stdout.readline() == "written\n"
        return (self._folder / "out.lmdb" / "data.mdb").stat().st_size


def test_who_reads_slowly_holds_no_page_and_reads_on_in_a_store_that_has_grown(tmp_path: Path) -> None:
    with Writer(tmp_path) as writer, closing(Lmdb().reader("out", tmp_path)) as reader:
        before = writer.has_written("a", 100, 4)
        found = reader.range()
        assert [value[:1] for _, value in itertools.islice(found, 50)] == [b"a"] * 50
        assert writer.has_written("b", 100, 12) <= 2 * before
        assert writer.has_written("c", 2000) > 4 << 20
        rest = list(found)
        assert [key for key, _ in rest] == [b"%05d" % number for number in range(50, 3000)]
        assert rest[-1][1] == b"c" * 2000


def test_who_is_killed_while_it_looks_keeps_no_page_from_the_next_writer_or_one_that_needs_room(tmp_path: Path) -> None:
    def is_killed() -> None:
        words = [sys.executable, "-c", KILLED, str(tmp_path / "out.lmdb")]
        assert subprocess.run(words, timeout=WATCHDOG_S, check=False).returncode == -9

    with Writer(tmp_path) as writer:
        before = writer.has_written("a", 100, 4)
        is_killed()
        assert writer.has_written("b", 100, 20) <= max(2 * before, 1 << 20)
        is_killed()
    with Writer(tmp_path) as writer:
        assert writer.has_written("c", 100, 20) <= max(2 * before, 1 << 20)


def test_where_nothing_was_written_a_reader_of_lmdb_says_so_and_makes_nothing(tmp_path: Path) -> None:
    with closing(Lmdb().reader("out", tmp_path)) as reader:
        looks: tuple[Callable[[], object], ...] = (lambda: reader.get(b"a"), lambda: list(reader.range()))
        for look in looks:
            with pytest.raises(NothingStored, match=r"out\.lmdb: there is no such store"):
                look()
        assert list(tmp_path.iterdir()) == []
        with closing(Lmdb().open("out", tmp_path)) as sink:
            write(sink, Lmdb(), {b"a": b"1"})
        (tmp_path / "out.lmdb" / "lock.mdb").unlink()
        assert reader.get(b"a") == b"1"
        assert [path.name for path in (tmp_path / "out.lmdb").iterdir()] == ["data.mdb"]


# Servers -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def memcached() -> Iterator[MemcachedServer]:
    with MemcachedServer() as server:
        yield server


@pytest.fixture
def emptied(redis: Server) -> Server:
    """The one of this test process, as every test wants it."""
    redis.ask("FLUSHALL")
    redis.ask("ACL", "SETUSER", "default", "nopass")
    return redis


def of_server(name: str, port: int) -> SinkOptions:
    return Memcached(server=f"127.0.0.1:{port}") if name == "memcached" else Redis(url=f"redis://127.0.0.1:{port}/0")


@pytest.mark.parametrize("name", ["memcached", "redis"])
def test_a_server_is_asked_for_a_key_while_it_is_written_to(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    options = of_server(name, request.getfixturevalue("emptied" if name == "redis" else name).port)
    assert options.answers() == ("key",)
    with closing(options.reader("out", tmp_path)) as reader, closing(options.open("out", tmp_path)) as sink:
        write(sink, options, {b"looked-at/a": b"\r\n\xff\0", b"looked-at/b": b"", b"looked-at/c": b"c"})
        assert [reader.get(b"looked-at/" + end) for end in (b"a", b"b", b"c", b"d")] == [b"\r\n\xff\0", b"", b"c", None]
        write(sink, options, {b"looked-at/a": b"new", b"looked-at/c": None}, 1)
        assert [reader.get(b"looked-at/" + end) for end in (b"a", b"b", b"c")] == [b"new", b"", None]
        for none in (b"", b"with blanks", b"a" * 300):
            assert reader.get(none) is None
        reader.close()
        assert reader.get(b"looked-at/b") == b""
        write(sink, options, {b"looked-at/a": None, b"looked-at/b": None}, 2)


@pytest.mark.parametrize("name", ["memcached", "redis"])
def test_a_server_that_is_not_there_can_be_asked_again_and_what_is_none_of_them_is_named(
    name: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        options = of_server(name, server.getsockname()[1])
        with closing(options.reader("out", tmp_path)) as reader:
            with ThreadPoolExecutor(1) as pool:
                pool.submit(speaks_http, server)
                with pytest.raises(Retryable, match=f"expected {name.title() if name == 'redis' else name}"):
                    reader.get(b"a")
            server.close()
            with pytest.raises(Retryable, match=rf"{name} 127.0.0.1:\d+.*refused"):
                reader.get(b"a")


def test_a_range_of_redis_has_what_is_between_two_keys_in_order(emptied: Server, tmp_path: Path) -> None:
    options, rng = Redis(url=emptied.url(), index="by-"), random.Random(3)
    texts = {rng.choice((b"\xff", b"a", b"a/", b"\0")) + rng.randbytes(rng.randrange(3)) for _ in range(3000)}
    items: dict[bytes, bytes | None] = {text: text * 9 for text in texts}
    gone = set(rng.sample(sorted(texts), 50))
    with closing(options.reader("out", tmp_path)) as reader, closing(options.open("out", tmp_path)) as sink:
        assert list(reader.range()) == []
        write(sink, options, items)
        write(sink, options, dict.fromkeys(gone), 1)
        left = sorted(texts - gone)
        emptied.ask("DEL", left[7])  # by somebody else: it is listed still
        bounds = [None, b"", left[7], left[7] + b"\0", *rng.sample(sorted(texts), 10)]
        for first, last, backwards in itertools.product(bounds, bounds, (False, True)):
            found = list(itertools.islice(reader.range(first or b"", last, backwards), 1500))
            expected = [(key, items[key]) for key in left if key != left[7] and (first or b"") <= key
                        and (last is None or key < last)]
            assert found == (expected[::-1] if backwards else expected)[:1500]


def speaks_http(server: socket.socket) -> None:
    client, _ = server.accept()
    with client:
        client.recv(4096)
        client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def test_what_is_no_text_in_redis_is_no_value_of_ours(emptied: Server, tmp_path: Path) -> None:
    emptied.ask("RPUSH", "looked-at/list", "a")
    with closing(Redis(url=emptied.url()).reader("out", tmp_path)) as reader:
        assert reader.get(b"looked-at/list") is None
