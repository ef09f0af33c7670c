"""What is special to memcached: pipelining, answers that are not all well, and what must never be sent."""

from __future__ import annotations

import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import NamedTemporaryFile

import pytest
from pymemcache.client.base import Client

from actors.runtime.errors import ConfigError, Reject, Retryable
from actors.runtime.progress import listen
from actors.runtime.values import Payload, Refusal
from actors.sinks.memcached import Memcached
from tests.contract.test_sinks import payload
from tests.fakes import Signs
from tests.servers import Memcached as Server

Item = tuple[bytes, bytes]
Talk = Callable[[socket.socket], None]
WATCHDOG_S = 20.0
TOO_LARGE = b"x" * 1_100_000
TOO_LONG_KEY = b"k" * 300


def write(server: Server, *groups: list[Item], timeout_s: float = 3.0) -> list[Refusal]:
    """Write a payload for each list of items, in one call."""
    options = Memcached(server=server.address, timeout_s=timeout_s)
    with closing(options.open("store", Path())) as sink:
        return sink.write([payload(options, group) for group in groups])


def unchecked(items: list[Item]) -> Payload:
    """The commands of items whose keys nobody looked at."""
    return Payload("p", 0, 1, len(items), b"".join(
        b"set %b 0 0 %d\r\n%b\r\n" % (key, len(value), value) for key, value in items))


def numbered(count: int, size: int) -> list[Item]:
    """Items with values of their own."""
    return [(b"key%d" % number, (b"%d;" % number * size)[:size]) for number in range(count)]


@contextmanager
def talking(listener: socket.socket, *talks: Talk) -> Iterator[None]:
    """Accept a connection for each talk, one after the other, and hold it."""
    listener.settimeout(WATCHDOG_S)

    def serve() -> None:
        for talk in talks:
            connection, _ = listener.accept()
            with connection:
                connection.settimeout(WATCHDOG_S)
                talk(connection)

    thread = threading.Thread(target=serve)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def answering(answer: bytes) -> Talk:
    """Read something, answer, and wait for the other side to close."""

    def talk(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        while connection.recv(65536):
            pass

    return talk


def local_address(listener: socket.socket) -> str:
    """The address in the form that options take."""
    return f"127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.parametrize("key", [
    b"", b"k" * 251, b"k" * 20_000, b"a b", b"a\tb", b"a\nb", b"a\x00b", b"a\x7fb", b"a 0 0 1\r\nX\r\nset b"])
def test_a_key_that_memcached_cannot_take_is_rejected_before_it_is_sent(key: bytes) -> None:
    with pytest.raises(Reject, match=r"^key: expected ") as rejection:
        Memcached(server="127.0.0.1:1").pack([(b"good", b"1"), (key, b"flush_all"), (b"fine", b"2")])
    assert rejection.value.reason == "key"


def test_a_key_of_250_bytes_beyond_ascii_is_a_key() -> None:
    items = [(b"\xff\x80" * 125, b"1")]
    with Server() as server:
        assert write(server, items) == []
        assert server.get_many([items[0][0]]) == dict(items)


def test_nothing_is_packed_to_nothing() -> None:
    assert Memcached(server="127.0.0.1:1").pack([]) == b""


def test_items_expire_when_told_to() -> None:
    assert Memcached(server="127.0.0.1:1", expire_s=60).pack([(b"a", b"12")]) == b"set a 0 60 2\r\n12\r\n"


@pytest.mark.parametrize("expire_s", [30 * 24 * 3600, 30 * 24 * 3600 + 1, 365 * 24 * 3600])
def test_items_that_expire_in_a_month_or_a_year_are_there_until_then(expire_s: int) -> None:
    with Server() as server, closing(Client(server.address, timeout=10)) as client:
        options = Memcached(server=server.address, expire_s=expire_s)
        with closing(options.open("store", Path())) as sink:
            assert sink.write([payload(options, [(b"a", b"1")])]) == []
        left_s = int(client.raw_command(b"mg a t").split(b" t")[1])
        assert expire_s - WATCHDOG_S <= left_s <= expire_s + 1


def test_a_time_beyond_the_dates_of_memcached_is_refused_with_the_longest() -> None:
    with pytest.raises(ConfigError, match=r"^expire_s: expected at most \d{9} .*2038.*got 3153600000; 0 is never"):
        Memcached(server="127.0.0.1:11211", expire_s=100 * 365 * 24 * 3600)


def test_values_that_look_like_the_protocol_are_values() -> None:
    items = [(b"a", b"STORED\r\n"), (b"b", b"ERROR\r\n"), (b"c", b"\r\nflush_all\r\n"), (b"d", b"set a 0 0 1\r\nX\r\n")]
    with Server() as server:
        assert write(server, [*items, (b"big", TOO_LARGE)])[0].item == 4
        assert server.get_many([key for key, _ in items]) == dict(items)


def test_values_of_900_kilobytes_are_stored() -> None:
    items = numbered(30, 900_000)
    with Server() as server:
        assert write(server, items) == []
        assert server.get_many([key for key, _ in items]) == dict(items)


def test_the_last_of_many_values_in_one_payload_stands() -> None:
    with Server() as server:
        assert write(server, [(b"a", b"%d" % number) for number in range(20_000)]) == []
        assert server.get_many([b"a"]) == {b"a": b"19999"}


def test_every_item_that_is_too_large_is_refused_and_no_other() -> None:
    first, second = numbered(2000, 190), numbered(10, 5)
    for number in (0, 700, 701):
        first[number] = (b"big%d" % number, TOO_LARGE)
    second[9] = (b"last", TOO_LARGE)
    with Server() as server:
        refusals = write(server, first, second)
        assert [(refusal.payload, refusal.item) for refusal in refusals] == [(0, 0), (0, 700), (0, 701), (1, 9)]
        assert {refusal.reason for refusal in refusals} == {"too_large"}
        assert refusals[1].raw == b"set big700 0 0 %d\r\n%b\r\n" % (len(TOO_LARGE), TOO_LARGE)
        stored = {key: value for key, value in [*first, *second] if value is not TOO_LARGE}
        assert server.get_many(list(stored)) == stored
        assert server.items() == len(stored)


def test_a_payload_may_be_a_view() -> None:
    packed = payload(Memcached(server="127.0.0.1:1"), [(b"a", b"1"), (b"big", TOO_LARGE)])
    with Server() as server, closing(Memcached(server=server.address).open("store", Path())) as sink:
        (refusal,) = sink.write([Payload("p", 0, 1, 2, memoryview(packed.data))])
        assert type(refusal.raw) is bytes
        assert server.get_many([b"a"]) == {b"a": b"1"}


@pytest.mark.parametrize(("count", "size", "bad"), [
    (3, 1, 1), (750, 190, 749), (5000, 190, 3), (20_000, 190, 10_000), (50, 100_000, 1)])
def test_after_an_answer_out_of_step_exactly_the_guilty_item_is_refused(count: int, size: int, bad: int) -> None:
    items = numbered(count, size)
    expected = dict(items)
    del expected[items[bad][0]]
    items[bad] = (TOO_LONG_KEY, b"2")
    with Server() as server, closing(Memcached(server=server.address).open("store", Path())) as sink:
        refusals = sink.write([unchecked(items)])
        assert [(refusal.item, refusal.reason) for refusal in refusals] == [(bad, "sink_rejected")]
        assert refusals[0].raw == b"set %b 0 0 1\r\n2\r\n" % TOO_LONG_KEY
        assert sink.write([unchecked([(b"after", b"1")])]) == []
        assert server.get_many(list(expected)) == expected
        assert server.items() == len(expected) + 1


def test_a_server_that_wants_a_password_is_an_outage_and_no_item_is_refused() -> None:
    with NamedTemporaryFile() as users:  # not in tmp_path: the server may run as another user
        users.write(b"user:password\n")
        users.flush()
        Path(users.name).chmod(0o644)
        with Server(arguments=("-Y", users.name)) as server, \
                pytest.raises(Retryable, match=f"^memcached {server.address}: CLIENT_ERROR .*authent"):
            write(server, [(b"a", b"1"), (b"b", b"2")], timeout_s=1)


def test_a_server_that_knows_no_set_is_an_outage_and_no_item_is_refused() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, \
            talking(listener, answering(b"ERROR\r\n" * 4), answering(b"ERROR\r\n" * 2)):
        options = Memcached(server=local_address(listener), timeout_s=0.2)
        with closing(options.open("store", Path())) as sink, pytest.raises(Retryable, match=r": ERROR$"):
            sink.write([payload(options, [(b"a", b"1"), (b"b", b"2")])])


def test_a_full_server_is_an_outage_and_no_item_is_refused() -> None:
    with Server(megabytes=8, arguments=("-M",)) as server, \
            pytest.raises(Retryable, match="SERVER_ERROR out of memory storing object"):
        write(server, numbered(100, 200_000))


@pytest.mark.parametrize("answer", [b"", b"STO", b"STORED\r\n", b"STORED\r\nSTORED\r"])
def test_an_answer_that_does_not_end_is_waited_for_only_so_long(answer: bytes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener, talking(listener, answering(answer)):
        options = Memcached(server=local_address(listener), timeout_s=0.2)
        with closing(options.open("store", Path())) as sink, pytest.raises(Retryable, match=r"no answer for 0\.2 s$"):
            sink.write([payload(options, [(b"a", b"1"), (b"b", b"2")])])


def test_nothing_is_sent_until_what_was_sent_before_a_time_out_is_done() -> None:
    def stuck(connection: socket.socket) -> None:
        received = b""
        while b"late" not in received:
            received += connection.recv(65536)
        timed_out.wait(WATCHDOG_S)
        while connection.recv(65536):  # until the other side has no more to say
            pass

    def quick(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(b"STORED\r\n")

    timed_out = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as listener:
        options = Memcached(server=f"127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)
        with closing(options.open("store", Path())) as sink, talking(listener, stuck, quick):
            for _ in range(2):  # the second time, too, nobody has done what was sent
                with pytest.raises(Retryable, match=r"no answer for 0\.2 s"):
                    sink.write([payload(options, [(b"a", b"late")])])
            assert not select.select([listener], [], [], 0)[0], "a second connection, before the first one has ended"
            timed_out.set()
            assert sink.write([payload(options, [(b"a", b"2")])]) == []


def test_a_server_that_dies_in_the_middle_gets_everything_again_when_it_is_back() -> None:
    items = numbered(3000, 1000)

    def die(connection: socket.socket) -> None:
        connection.recv(100_000)
        connection.sendall(b"STORED\r\n" * 20)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        options = Memcached(server=local_address(listener))
        sink = options.open("store", Path())
        with talking(listener, die), pytest.raises(Retryable, match=f"^memcached {options.server}: "):
            sink.write([payload(options, items)])
    with Server(port) as server, closing(sink):
        assert sink.write([payload(options, items)]) == []
        assert server.get_many([key for key, _ in items]) == dict(items)


def test_it_writes_to_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "memcached"
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen()
        options = Memcached(server=f"unix:{path}")
        with talking(listener, answering(b"STORED\r\n")), closing(options.open("store", Path())) as sink:
            assert sink.write([payload(options, [(b"a", b"1")])]) == []


def test_it_writes_to_an_ipv6_address() -> None:
    try:
        listener = socket.create_server(("::1", 0), family=socket.AF_INET6)
    except OSError:
        pytest.skip("this machine has no IPv6")
    with listener:
        options = Memcached(server=f"[::1]:{listener.getsockname()[1]}")
        with talking(listener, answering(b"STORED\r\n")), closing(options.open("store", Path())) as sink:
            assert sink.write([payload(options, [(b"a", b"1")])]) == []


@pytest.mark.parametrize("server", ["", "localhost", "localhost:", ":11211", "localhost:memcached", "localhost:70000"])
def test_an_address_that_is_none_is_said_with_what_was_expected(server: str) -> None:
    with pytest.raises(ConfigError, match=r"^server: expected host:port, \[ipv6\]:port or unix:/path, got '"):
        Memcached(server=server).open("store", Path())


def test_opening_does_not_wait_for_a_server() -> None:
    sink = Memcached(server="127.0.0.1:1").open("store", Path())
    assert sink.write([]) == []
    sink.close()


def test_a_writer_that_waits_for_a_slow_server_asks_for_the_time_that_it_waits() -> None:
    signs = Signs()
    listen(signs)
    try:
        with Server() as server:
            write(server, *[numbered(3, 10)] * 5, timeout_s=4.0)
    finally:
        listen(None)
    assert signs.asked[0] > 4.0, "for the resolver and the connection"
    assert len(signs.asked[1:]) >= 5
    assert set(signs.asked[1:]) == {4.0}
