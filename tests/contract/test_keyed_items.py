"""What a retry asks of sinks that store by key: items can be taken out of a payload, and a key's value can be kept."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from actors.runtime.errors import Reject
from actors.runtime.values import Payload
from actors.sinks.lmdb import Lmdb
from actors.sinks.memcached import Memcached
from tests.contract.test_sinks import payload, read_elsewhere
from tests.servers import Memcached as Server

Options = Lmdb | Memcached
KEYS = [b"key%d" % number for number in range(500)]
ITEMS = [(b"a", b""), (b"b", b"\x00\r\nset b 0 0 1\r\n\xff"), (b"k" * 250, bytes(range(256)))]


@pytest.fixture(params=["lmdb", "memcached"])
def keyed(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Options, Callable[[], dict[bytes, bytes]]]]:
    """A sink and a way to look what is in it."""
    if request.param == "lmdb":
        yield Lmdb(sync=False), lambda: read_elsewhere(tmp_path / "store.lmdb")
    else:
        with Server() as server:
            yield Memcached(server=server.address), lambda: server.get_many([b"a", b"b", b"c", *KEYS])


@pytest.mark.parametrize("options", [
    Lmdb(), Lmdb(only_missing=True), Memcached(server="h:1"), Memcached(server="h:1", expire_s=77),
    Memcached(server="h:1", only_missing=True)])
def test_unpack_gives_back_what_was_packed(options: Options) -> None:
    assert options.unpack(options.pack(ITEMS)) == ITEMS
    assert options.unpack(options.pack([])) == []


@pytest.mark.parametrize("options", [Lmdb(), Memcached(server="h:1")])
@pytest.mark.parametrize("data", [
    b"x", b"flush_all\r\n", b"set a 0 0 1\r\n", b"set a 0 0 1\r\nxx\r\n", b"set a 0 0 9\r\nx\r\nflush_all\r\n",
    b"set a 0 0 1\r\nx\r\nflush_all\r\n", b"\x91\x91\xc4\x01a", b"\xff" * 30])
def test_what_is_no_payload_is_rejected(options: Options, data: bytes) -> None:
    with pytest.raises(Reject, match=r"^format: expected a "):
        options.unpack(data)


def test_only_missing_keeps_what_is_there_and_stores_the_rest(
    keyed: tuple[Options, Callable[[], dict[bytes, bytes]]], tmp_path: Path
) -> None:
    options, contents = keyed
    with closing(options.open("store", tmp_path)) as sink:
        sink.write([payload(options, [(b"a", b"old"), *((key, b"old") for key in KEYS[::2])])])
    keeping = msgspec.structs.replace(options, only_missing=True)
    with closing(keeping.open("store", tmp_path)) as sink:
        for _ in range(2):
            assert sink.write([payload(keeping, [(b"a", b"new"), (b"b", b"new"), (b"b", b"newer")]),
                               payload(keeping, [(key, b"new") for key in KEYS])]) == []
        assert contents() == {b"a": b"old", b"b": b"new", **dict.fromkeys(KEYS[::2], b"old"),
                              **dict.fromkeys(KEYS[1::2], b"new")}


def test_a_refused_item_can_be_written_again_as_it_is(
    keyed: tuple[Options, Callable[[], dict[bytes, bytes]]], tmp_path: Path
) -> None:
    options, contents = keyed
    bad = (b"k" * 600, b"x\0y") if isinstance(options, Lmdb) else (b"c", b"x" * 2_000_000)
    with closing(options.open("store", tmp_path)) as sink:
        (refusal,) = sink.write([payload(options, [(b"a", b"1"), bad, (b"b", b"2")])])
        assert options.unpack(refusal.raw) == [bad]
        (again,) = sink.write([Payload("p", 0, 1, 1, refusal.raw)])
        assert (again.payload, again.item, again.reason, again.raw) == (0, 0, refusal.reason, refusal.raw)
        assert contents() == {b"a": b"1", b"b": b"2"}


def test_only_missing_refuses_a_value_that_is_too_large_all_the_same(tmp_path: Path) -> None:
    with Server() as server:
        options = Memcached(server=server.address, only_missing=True)
        with closing(options.open("store", tmp_path)) as sink:
            (refusal,) = sink.write([payload(options, [(b"a", b"1"), (b"c", b"x" * 2_000_000), (b"a", b"2")])])
            assert (refusal.item, refusal.reason) == (1, "too_large")
            assert server.get_many([b"a", b"c"]) == {b"a": b"1"}
