"""One contract for every sink, over the real thing; then what is special to each."""

from __future__ import annotations

import ast
import re
import resource
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import lmdb
import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.runtime.ports import SinkOptions
from actors.runtime.values import DeadLetter, Payload
from actors.sinks import lmdb as lmdb_sink
from actors.sinks.dead_letters import DeadLetters, read_letters
from actors.sinks.discard import Discard
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from tests.loads import ROOT
from tests.servers import Memcached as Server
from tests.servers import free_port

Contents = Callable[[], dict[bytes, bytes]]


def payload(options: SinkOptions, items: list[Any], start: int = 0) -> Payload:
    """The payload of a batch."""
    return Payload("p", start, start + 1, len(items), options.pack(items))


def letter(raw: bytes, position: int = 0, reason: str = "columns") -> DeadLetter:
    """A dead letter."""
    return DeadLetter("parser", reason, "why", "a.tsv", "p", position, position, 1, raw)


@pytest.fixture(params=["lmdb", "memcached"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[SinkOptions, Contents]]:
    """A key-value sink and a way to look what is in it."""
    if request.param == "lmdb":
        yield Lmdb(sync=False), lambda: read_elsewhere(tmp_path / "store.lmdb")
    else:
        with Server() as server:
            yield Memcached(server=server.address), lambda: server.get_many([b"a", b"b", b"c", *KEYS])


def read_elsewhere(path: Path) -> dict[bytes, bytes]:
    """What another process reads in an LMDB store that is open here."""
    program = ("import sys; from pathlib import Path; from actors.sinks.lmdb import read_lmdb; "
               "print(dict(read_lmdb(Path(sys.argv[1]))))")
    done = subprocess.run(
        [sys.executable, "-c", program, str(path)], cwd=ROOT, capture_output=True, text=True, check=True)
    contents: dict[bytes, bytes] = ast.literal_eval(done.stdout)
    return contents


KEYS = [b"key%d" % number for number in range(2000)]


def test_what_is_written_is_there_when_write_returns(store: tuple[SinkOptions, Contents], tmp_path: Path) -> None:
    options, contents = store
    with closing(options.open("store", tmp_path)) as sink:
        assert sink.write([payload(options, [(b"a", b"1"), (b"b", b"\x00\r\n\xff")])]) == []
        assert contents() == {b"a": b"1", b"b": b"\x00\r\n\xff"}


def test_the_later_of_two_values_stands(store: tuple[SinkOptions, Contents], tmp_path: Path) -> None:
    options, contents = store
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([payload(options, [(b"a", b"1"), (b"a", b"2"), (b"b", b"1"), (b"c", b"1")]),
                    payload(options, [(b"b", b"2")])])
        sink.write([payload(options, [(b"c", b"2")])])
        assert contents() == {b"a": b"2", b"b": b"2", b"c": b"2"}


def test_writing_again_is_writing_once(store: tuple[SinkOptions, Contents], tmp_path: Path) -> None:
    options, contents = store
    items = [(key, key * 3) for key in KEYS]
    with closing(options.open("store", tmp_path)) as sink:
        for _ in range(2):
            assert sink.write([payload(options, items[:1000]), payload(options, items[1000:])]) == []
        assert contents() == dict(items)


def test_closing_twice_is_harmless(store: tuple[SinkOptions, Contents], tmp_path: Path) -> None:
    options, _ = store
    sink = options.open("store", tmp_path)
    sink.write([payload(options, [(b"a", b"1")])])
    sink.close()
    sink.close()


def test_an_item_that_is_refused_does_not_harm_its_neighbours(
    store: tuple[SinkOptions, Contents], tmp_path: Path
) -> None:
    options, contents = store
    bad = (b"k" * 600, b"x") if isinstance(options, Lmdb) else (b"big", b"x" * 2_000_000)
    with closing(options.open("store", tmp_path)) as sink:
        (refusal,) = sink.write([
            payload(options, [(b"a", b"1")]), payload(options, [(KEYS[0], b"1"), bad, (b"b", b"2")])])
        assert (refusal.payload, refusal.item) == (1, 1)
        assert bad[0] in refusal.raw
        assert bad[1] in refusal.raw
        assert contents() == {b"a": b"1", b"b": b"2", KEYS[0]: b"1"}


def test_lmdb_grows_its_map_when_it_is_full(tmp_path: Path) -> None:
    options = Lmdb(map_bytes=1 << 20, sync=False)
    items = [(key, key * 500) for key in KEYS]
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([payload(options, items)])
        assert read_elsewhere(tmp_path / "store.lmdb") == dict(items)


def test_an_lmdb_store_that_somebody_removes_under_its_writer_is_told(tmp_path: Path) -> None:
    options = Lmdb(sync=False)
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([payload(options, [(b"a", b"1")])])
        (tmp_path / "store.lmdb" / "data.mdb").unlink()
        for _ in range(2):
            with pytest.raises(ConfigError, match="it was removed, moved away or replaced while it was written to"):
                sink.write([payload(options, [(b"b", b"2")])])
            sink.close()
        assert not (tmp_path / "store.lmdb" / "data.mdb").exists()


def test_a_dead_letter_store_that_somebody_removes_under_its_writer_is_told(tmp_path: Path) -> None:
    options = DeadLetters()
    with closing(options.open("dead_letters", tmp_path)) as sink:
        sink.write([payload(options, [letter(b"a", 1)])])
        for path in tmp_path.glob("dead-letters.db*"):
            path.unlink()
        for _ in range(2):
            with pytest.raises(ConfigError, match="it was removed, moved away or replaced while it was written to"):
                sink.write([payload(options, [letter(b"b", 2)])])
            sink.close()
        assert not (tmp_path / "dead-letters.db").exists()


def test_lmdb_that_cannot_be_made_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "store.lmdb").write_text("in the way")
    options = Lmdb()
    with closing(options.open("store", tmp_path)) as sink:
        with pytest.raises(Retryable, match=r"^lmdb .*store\.lmdb: "):
            sink.write([payload(options, [(b"a", b"1")])])
        (tmp_path / "store.lmdb").unlink()
        assert sink.write([payload(options, [(b"a", b"1")])]) == []


def test_memcached_takes_a_hundred_thousand_tiny_items_without_a_deadlock(tmp_path: Path) -> None:
    with Server() as server:
        options = Memcached(server=server.address)
        with closing(options.open("store", tmp_path)) as sink:
            assert sink.write([payload(options, [(b"%d" % number, b"") for number in range(100_000)])]) == []
        assert server.items() == 100_000


def test_memcached_that_went_away_is_said_by_name_and_works_when_it_is_back(tmp_path: Path) -> None:
    with Server() as server:
        options = Memcached(server=server.address, timeout_s=1.0)
        with closing(options.open("store", tmp_path)) as sink:
            sink.write([payload(options, [(b"a", b"1")])])
            server.stop()
            with pytest.raises(Retryable, match=f"memcached {server.address}: "):
                sink.write([payload(options, [(b"a", b"2")])])
            with pytest.raises(Retryable, match=f"memcached {server.address}: connection refused"):
                sink.write([payload(options, [(b"a", b"2")])])
            server.start()
            assert sink.write([payload(options, [(b"a", b"2")])]) == []
            server.pause()
            with pytest.raises(Retryable, match=r"no answer for 1 s"):
                sink.write([payload(options, [(b"a", b"3")])])
            server.resume()
            assert sink.write([payload(options, [(b"a", b"4")])]) == []
            assert server.get_many([b"a"]) == {b"a": b"4"}


@pytest.mark.parametrize(("answer", "message"), [
    (b"HELLO WORLD\r\nSTORED\r\n", "HELLO WORLD"), (b"STORED\r\nSTO", "closed by the server"),
    (b"", "closed by the server"), (b"SERVER_ERROR out of memory storing object\r\nSTORED\r\n", "out of memory"),
    (b"STORED\r\nSTORED\r\nSTORED\r\n", "3 answers to 2 commands")])
def test_answers_that_are_none_are_an_outage_not_a_success(tmp_path: Path, answer: bytes, message: str) -> None:
    with socket.create_server(("127.0.0.1", free_port())) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(answer)

        thread = threading.Thread(target=serve)
        thread.start()
        options = Memcached(server=f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=2)
        with closing(options.open("store", tmp_path)) as sink, pytest.raises(Retryable, match=message):
            sink.write([payload(options, [(b"a", b"1"), (b"b", b"2")])])
        thread.join()


def test_dead_letters_are_kept_byte_for_byte_and_once(tmp_path: Path) -> None:
    options = DeadLetters()
    raws = [b"\x00\xff\r", b"", b"x" * 5_000_000]
    letters = [letter(raw, position) for position, raw in enumerate(raws)]
    with closing(options.open("dead_letters", tmp_path)) as sink:
        for _ in range(2):
            assert sink.write([payload(options, letters)]) == []
        assert [row.raw for row in read_letters(tmp_path / "dead-letters.db")] == raws


def test_a_dead_letter_store_that_cannot_be_written_is_waited_for(tmp_path: Path) -> None:
    (tmp_path / "dead-letters.db").mkdir()
    options = DeadLetters()
    with closing(options.open("dead_letters", tmp_path)) as sink:
        with pytest.raises(Retryable, match=r"dead letters .*dead-letters\.db: "):
            sink.write([payload(options, [letter(b"x")])])
        (tmp_path / "dead-letters.db").rmdir()
        assert sink.write([payload(options, [letter(b"x")])]) == []


@pytest.mark.parametrize(("options", "items"), [
    (Lmdb(), [(b"key%d" % number, b"x" * 1000) for number in range(3000)]),
    (DeadLetters(), [letter(b"x" * 1000, position) for position in range(3000)])], ids=["lmdb", "dead_letters"])
def test_a_full_disk_is_waited_for(tmp_path: Path, options: SinkOptions, items: list[Any]) -> None:
    with closing(options.open("store", tmp_path)) as sink:
        assert sink.write([payload(options, items[:1])]) == []
        limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, limits[1]))
        try:
            with pytest.raises(Retryable, match=re.escape(str(tmp_path))):
                sink.write([payload(options, items)])
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        assert sink.write([payload(options, items)]) == []
    if isinstance(options, Lmdb):
        assert read_elsewhere(tmp_path / "store.lmdb") == dict(items)
    else:
        assert len(list(read_letters(tmp_path / "dead-letters.db"))) == len(items)


def test_discard_takes_everything(tmp_path: Path) -> None:
    with closing(Discard().open("x", tmp_path)) as sink:
        assert sink.write([payload(Lmdb(), [(b"a", b"1")])]) == []


def test_lmdb_has_fewer_items_in_a_transaction_when_each_may_have_a_page_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_sink, "MOST_PAGES", 20)
    options = Lmdb(sync=False)
    items = [(f"{number * 7919 % 10_007:05d}".encode(), b"x" * 100) for number in range(2000)]
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([payload(options, items[:1000])])
        sink.write([payload(options, items[1000:])])
    assert read_elsewhere(tmp_path / "store.lmdb") == dict(items)
    with lmdb.open(str(tmp_path / "store.lmdb"), readonly=True) as environment:
        assert environment.info()["last_txnid"] == 1 + 1000 / 20


def test_lmdb_has_no_more_in_one_transaction_than_it_may_whatever_has_gathered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lmdb_sink, "MOST_ITEMS", 100)
    options = Lmdb(sync=False)
    items = [(f"{number * 7919 % 500:04d}".encode(), str(number).encode()) for number in range(1000)]
    items[350] = (b"k" * 600, b"too long")
    payloads = [payload(options, items[start:start + 250], start) for start in range(0, 1000, 250)]
    sink = options.open("store", tmp_path)
    (refusal,) = sink.write(payloads)
    sink.close()
    assert (refusal.payload, refusal.item) == (1, 100)
    del items[350]
    assert read_elsewhere(tmp_path / "store.lmdb") == dict(items), "of two values the later one stands"
    with lmdb.open(str(tmp_path / "store.lmdb"), readonly=True) as environment:
        assert environment.info()["last_txnid"] == 10
