"""The tcp source as its clients and its reader see it, over real sockets."""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import msgspec
import pytest

from actors.runtime.errors import ConfigError, Retryable
from actors.sources.tcp import ADDRESS, OPTIONS, Tcp
from tests.tcp import NINE, WATCHDOG_S, Reading, address_of, is_closed, reading

ROOT = Path(__file__).resolve().parents[2]
ONE, TWO = b"314159265\n", b"007007009\n"


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


def blocked_after(client: socket.socket, data: bytes, most: int) -> int:
    """Send until the other end holds us back; return how many bytes that took."""
    client.setblocking(False)
    sent = 0
    while select.select([], [client], [], 0.3)[1]:
        sent += client.send(data)
        assert sent < most, "nobody holds us back"
    return sent


def test_lines_are_handed_out_and_journalled(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        client.sendall(ONE + TWO)
        assert here.until_data(20) == ONE + TWO
        (path,) = here.segments
        assert path.read_bytes() == ONE + TWO
        assert here.source.progress() == (20, 0)
        assert here.chunks[0].source == f"journal/{path.name}"
        assert not is_closed(client)


def test_a_sixth_client_is_closed_at_once_and_may_come_when_another_has_gone(tmp_path: Path) -> None:
    with reading(tmp_path, max_clients=5, **NINE) as here, ExitStack() as stack:
        clients = [stack.enter_context(here.connect()) for _ in range(5)]
        sixth = stack.enter_context(here.connect())
        here.until_closed(sixth)
        for client in clients:
            client.sendall(ONE)
        here.until_data(50)
        assert not any(map(is_closed, clients))
        clients[0].close()
        seventh = stack.enter_context(here.connect())
        seventh.sendall(TWO)
        assert here.until_data(60) == ONE * 5 + TWO


@pytest.mark.parametrize("bad", [
    b"12345678\n", b"+12345678\n", b"1234567890\n", b"\n", b"123456789\r\n", "١٢٣٤٥٦٧٨٩\n".encode(), b"123456789 \n",
    b"12345678x", b"1234567890"])
def test_a_bad_line_closes_that_client_at_once_and_nobody_else(tmp_path: Path, bad: bytes) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as good, here.connect() as client:
        good.sendall(ONE)
        client.sendall(TWO)
        here.until_data(20)
        if bad == b"12345678x":  # nine characters may still become anything
            bad += b"\n"
        client.sendall(bad)
        here.until_closed(client)
        good.sendall(ONE)
        assert sorted(here.until_data(30).split()) == sorted((ONE + TWO + ONE).split())
        assert not is_closed(good)


def test_what_came_before_a_bad_line_counts_and_what_came_after_does_not_in_one_packet(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        client.sendall(ONE + TWO + b"bad\n" + ONE)
        here.until_closed(client)
        assert here.data == ONE + TWO


def test_a_connection_that_ends_within_a_line_leaves_no_record(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here:
        with here.connect() as client:
            client.sendall(ONE + b"123456789")
        with here.connect() as client:
            client.sendall(b"\n")
            here.until_closed(client)
        assert here.data == ONE


def test_carriage_returns_are_stripped_where_they_may_come_even_from_the_next_packet(tmp_path: Path) -> None:
    with reading(tmp_path, newline="any", **NINE) as here, here.connect() as client:
        client.sendall(b"314159265\r\n007007009\n314159265\r")
        here.until_data(20)
        client.sendall(b"\nterminate\r\n")
        assert here.until_data(40) == ONE + TWO + ONE + b"terminate\n"
        assert not is_closed(client)
        client.sendall(b"314159265\r\r\n")
        here.until_closed(client)


def test_without_a_form_any_line_will_do(tmp_path: Path) -> None:
    with reading(tmp_path) as here, here.connect() as client:
        data = b"\n\xff\x00 \r\n" + b"x" * 60_000 + b"\n\xef\xbb\xbf\n"
        client.sendall(data)
        assert here.until_data(len(data)) == data


@pytest.mark.parametrize("ending", [b"", b"\n"])
def test_a_line_that_is_too_long_closes_its_client_with_or_without_its_newline(tmp_path: Path, ending: bytes) -> None:
    with reading(tmp_path, max_line_bytes=1000) as here, here.connect() as client:
        fits = b"x" * 999 + b"\n"
        client.sendall(fits + b"y" * 1000 + ending)
        here.until_closed(client)
        assert here.data == fits


def test_two_thousand_short_connections(tmp_path: Path) -> None:
    with reading(tmp_path, max_clients=64, **NINE) as here:
        address, lines = address_of(tmp_path), [b"%09d\n" % number for number in range(2000)]

        def come_and_go() -> None:
            for line in lines:
                with socket.create_connection(address, timeout=WATCHDOG_S) as client:
                    client.sendall(line)
                    client.shutdown(socket.SHUT_WR)
                    client.recv(1)

        thread = threading.Thread(target=come_and_go)
        thread.start()
        try:
            here.until(lambda: len(here.data) >= 20_000)
        finally:
            here.until(lambda: not thread.is_alive())
        assert here.data == b"".join(lines)


def test_no_client_waits_for_one_who_sends_without_end(tmp_path: Path) -> None:
    with reading(tmp_path, batch_bytes=4096, **NINE) as here, here.connect() as loud, here.connect() as quiet:
        blocked_after(loud, ONE * 10_000, 1 << 26)
        quiet.sendall(TWO)
        here.until(lambda: TWO in here.data)
        assert len(here.chunks) < 10


def test_a_silent_client_is_closed_after_the_time_that_is_allowed_and_one_that_talks_is_not(tmp_path: Path) -> None:
    with reading(tmp_path, read_timeout_s=0.2, **NINE) as here, here.connect() as talks:
        with here.connect() as silent, here.connect() as stalls:
            stalls.sendall(b"12345")

            def is_over() -> bool:
                talks.sendall(ONE)
                return is_closed(silent) and is_closed(stalls)

            here.until(is_over)
            assert not is_closed(talks)
        here.until_closed(talks)


def test_a_client_that_has_ended_its_side_is_closed_with_its_lines_taken(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        client.sendall(ONE)
        client.shutdown(socket.SHUT_WR)
        here.until_closed(client)
        assert here.data == ONE


def test_a_reset_takes_nothing_away_from_what_was_received(tmp_path: Path) -> None:
    with reading(tmp_path, max_clients=1, **NINE) as here:
        client = here.connect()
        client.sendall(ONE)
        here.until_data(10)
        client.sendall(b"1234")
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
        client.close()
        with here.connect() as again:
            again.sendall(TWO)
            assert here.until_data(20) == ONE + TWO


@pytest.mark.parametrize("how", [socket.SHUT_WR, None])
@pytest.mark.parametrize("batch", [20, 64 * 1024])
def test_who_has_gone_before_it_is_let_in_has_no_seat(tmp_path: Path, batch: int, how: int | None) -> None:
    with reading(tmp_path, batch, max_clients=2, **NINE) as here, here.connect() as first, ExitStack() as stack:
        for _ in range(30):  # nobody reads meanwhile
            gone = stack.enter_context(socket.create_connection(address_of(tmp_path), timeout=WATCHDOG_S))
            gone.sendall(ONE * 20)
            if how is None:
                gone.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")
                gone.close()
            else:
                gone.shutdown(how)
        last = stack.enter_context(socket.create_connection(address_of(tmp_path), timeout=WATCHDOG_S))
        last.sendall(TWO)
        here.until(lambda: here.data.endswith(TWO))
        if how is not None:
            assert here.data == ONE * 600 + TWO
        one_too_many = stack.enter_context(here.connect())
        here.until_closed(one_too_many)
        assert not is_closed(first)
        assert not is_closed(last)


def test_the_kernel_looks_after_clients_that_have_vanished(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect():
        port = f":{address_of(tmp_path)[1]:04X}"
        rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
        (accepted,) = [row for row in rows if row[1].endswith(port) and row[3] == "01"]
        timer, when = accepted[5].split(":")
        assert (timer, int(when, 16) <= 30 * os.sysconf("SC_CLK_TCK")) == ("02", True)  # keepalive, within 30 s


def test_a_reader_that_does_not_read_holds_the_sender_back(tmp_path: Path) -> None:
    block = ONE * 100_000
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        sent = blocked_after(client, block, 64 << 20)
        assert here.data == b""
        here.until_data(sent // 10 * 10)
        assert here.data == (block * (sent // len(block) + 1))[:sent // 10 * 10]


def test_memory_does_not_grow_with_what_comes(tmp_path: Path) -> None:
    total, block = 40_000_000, ONE * 100_000
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        def send() -> None:
            for _ in range(total // len(block)):
                client.sendall(block)

        thread = threading.Thread(target=send)
        thread.start()
        tracemalloc.start()
        try:
            def take() -> bool:
                here.chunks.clear()
                return here.source.progress()[0] >= total

            here.until(take)
            assert tracemalloc.get_traced_memory()[1] < 8 << 20
        finally:
            tracemalloc.stop()
            client.close()
            thread.join()


def test_after_a_kill_what_was_not_committed_comes_again_and_then_what_is_new(tmp_path: Path) -> None:
    with reading(tmp_path / "a", **NINE) as here, here.connect() as client:
        for line in (ONE, TWO * 3, ONE * 2):
            client.sendall(line)
            here.until_data(len(here.data) + len(line))
        here.commit(here.chunks[0])
        again = here.as_after_a_kill(tmp_path / "b", batch_bytes=7, **NINE)
        try:
            again.read_all()
            assert again.chunks == here.chunks[1:]
            again.chunks.clear()
            with again.connect() as other:
                other.sendall(TWO)
                assert again.until_data(10) == TWO
            assert again.chunks[0].start == here.chunks[-1].end
            again.commit(*here.chunks[1:], *again.chunks)
            assert len(again.segments) == 1  # the one that grows
        finally:
            again.close()


def test_another_run_goes_on_where_the_last_one_was_killed(tmp_path: Path) -> None:
    with reading(tmp_path / "a", **NINE) as here, here.connect() as client:
        client.sendall(ONE + TWO)
        here.until_data(20)
        again = here.as_after_a_kill(tmp_path / "b", run="another", **NINE)
        try:
            again.read_all()
            assert again.data == ONE + TWO
            assert again.ledger.partition(again.chunks[0].unit) == "run"
        finally:
            again.close()


def test_what_a_killed_process_has_handed_out_is_in_the_journal(tmp_path: Path) -> None:
    """A real process, killed while five clients send: nothing that it said it had is missing, no line is half."""
    program = """
import sys
from pathlib import Path
from tests.tcp import NINE, reading
with reading(Path(sys.argv[1]), **NINE) as here:
    print("ready", flush=True)
    while True:
        here.until_data(len(here.data) + 1)
        print(len(here.data), flush=True)
"""
    with ExitStack() as stack:
        child = stack.enter_context(subprocess.Popen(
            [sys.executable, "-c", program, str(tmp_path)], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True))
        stack.callback(child.kill)
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
        said = 0
        for number in range(5):
            client = stack.enter_context(socket.create_connection(address_of(tmp_path), timeout=WATCHDOG_S))
            client.sendall(b"%09d\n" % number * 20_000)
        while said < 200_000:
            said = int(child.stdout.readline())
        child.send_signal(signal.SIGKILL)
        rest = child.stdout.read().split()
        said = int(rest[-1]) if rest else said
    port = address_of(tmp_path)[1]
    with reading(tmp_path, **NINE) as here:
        assert address_of(tmp_path)[1] == port  # clients find it where it was
        here.read_all()
        assert len(here.data) >= said
        assert re.fullmatch(rb"(?:00000000[0-4]\n)*", here.data)


def test_a_half_line_at_the_end_of_the_journal_was_never_accepted(tmp_path: Path) -> None:
    with reading(tmp_path / "a", **NINE) as here, here.connect() as client:
        client.sendall(ONE)
        here.until_data(10)
        with here.segments[0].open("ab") as file:
            file.write(TWO + b"1234")
        again = here.as_after_a_kill(tmp_path / "b", **NINE)
        try:
            again.read_all()
            assert again.data == ONE + TWO
        finally:
            again.close()


def test_segments_follow_one_another_and_go_when_they_are_durable(tmp_path: Path) -> None:
    with reading(tmp_path, segment_bytes=30, **NINE) as here, here.connect() as client:
        for _ in range(10):
            client.sendall(ONE)
            here.until_data(len(here.data) + 10)
        assert [path.name[:6] for path in here.segments] == ["000001", "000002", "000003", "000004"]
        here.commit(*here.chunks[:7])
        assert [path.name[:6] for path in here.segments] == ["000003", "000004"]
        assert [unit.name for unit in here.ledger.taken_up()] == [f"journal/{path.name}" for path in here.segments]


def test_stop_closes_everybody_and_hands_out_what_was_received(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        client.sendall(ONE)
        here.until_data(10)
        address = address_of(tmp_path)
        here.source.stop()
        assert is_closed(client)
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(address, timeout=WATCHDOG_S)
        assert not here.source.exhausted
        assert here.read() is None
        assert here.source.exhausted
        here.commit(*here.chunks)
        assert here.ledger.taken_up() == []
        assert here.segments == []
    assert not (tmp_path / "journal").exists()


def test_stop_while_the_rest_of_an_earlier_generation_is_read_hands_that_out_first(tmp_path: Path) -> None:
    with reading(tmp_path / "a", **NINE) as here, here.connect() as client:
        for _ in range(2):
            client.sendall(ONE)
            here.until_data(len(here.data) + 10)
        again = here.as_after_a_kill(tmp_path / "b", **NINE)
        try:
            again.source.stop()
            again.read_all()
            assert again.chunks == here.chunks
            assert again.source.exhausted
        finally:
            again.close()


def test_a_full_disk_holds_the_clients_back_and_loses_nothing(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here, here.connect() as client:
        client.sendall(ONE)
        here.until_data(10)
        with limited(resource.RLIMIT_FSIZE, 14):
            client.sendall(TWO)
            with pytest.raises(Retryable, match=rf"^journal {tmp_path / 'journal'}: file too large$"):
                here.until(lambda: False)
            blocked_after(client, TWO * 1000, 64 << 20)
            for _ in range(3):
                with pytest.raises(Retryable):
                    here.source.read()
            here.source.stop()
            with pytest.raises(Retryable):
                here.source.read()
            assert not here.source.exhausted
        here.read_all()
        assert here.data == ONE + TWO
        assert here.source.exhausted
        assert here.segments[0].read_bytes() == ONE + TWO


def test_without_descriptors_nobody_is_let_in_for_a_moment_and_nothing_spins(tmp_path: Path) -> None:
    with reading(tmp_path, **NINE) as here:
        here.read_all()
        poll = select.poll()
        poll.register(here.source.wake or 0)
        with socket.create_connection(address_of(tmp_path), timeout=WATCHDOG_S) as client:
            client.sendall(ONE)
            with limited(resource.RLIMIT_NOFILE, 3):  # those are taken
                assert poll.poll(WATCHDOG_S * 1000)
                assert here.read() is None
                assert not poll.poll(0)
            assert here.until_data(10) == ONE


def test_no_more_clients_are_let_in_than_leave_descriptors_for_the_journal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    if hard == resource.RLIM_INFINITY:
        pytest.skip("there is no limit here")
    with limited(resource.RLIMIT_NOFILE, hard), reading(tmp_path, max_clients=hard, **NINE):
        assert f"tcp: {hard - 128} clients at most, not {hard} (source.max_clients)" in capsys.readouterr().err


def test_an_address_that_is_in_use_is_said_with_what_to_do(tmp_path: Path) -> None:
    with reading(tmp_path / "a", **NINE):
        port = address_of(tmp_path / "a")[1]
        with pytest.raises(ConfigError, match=rf"^tcp 127\.0\.0\.1:{port}: cannot listen: address already in use: "
                                              r"another process listens there .* stop it, or set source\.port"):
            Reading(tmp_path / "b", port=port)
    assert not (tmp_path / "b" / "journal" / ADDRESS).exists()


@pytest.mark.parametrize(("host", "what"), [
    ("192.0.2.1", "expected source.host to be an address of this machine"),
    ("no such host", "expected an address of this machine, got 'no such host'"),
])
def test_an_address_that_is_not_ours_is_said(tmp_path: Path, host: str, what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        Reading(tmp_path, host=host)


def test_it_binds_again_at_once_while_old_connections_linger(tmp_path: Path) -> None:
    port = 0
    for number in range(3):
        with reading(tmp_path / str(number), port=port, **NINE) as here, here.connect() as client:
            port = address_of(here.state)[1]
            client.sendall(ONE)
            here.until_data(10)


def test_it_listens_on_ipv6_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not socket.has_ipv6 or not Path("/proc/net/if_inet6").exists():
        pytest.skip("no IPv6 here")
    with reading(tmp_path, host="::1", **NINE) as here, here.connect() as client:
        client.sendall(ONE)
        assert here.until_data(10) == ONE
        port = address_of(tmp_path)[1]
    assert capsys.readouterr().err == f"tcp: listening on [::1]:{port}\n"


@pytest.mark.parametrize(("options", "what"), [
    ({}, "port"), ({"port": 70000}, "port"),
    ({"port": 0, "line": "["}, r"line: expected a regular expression, got '\['"),
    ({"port": 0, "line": "é"}, "in ASCII"), ({"port": 0, "newline": "cr"}, "newline"),
    ({"port": 0, "journal": ""}, "journal: expected the name of a folder"), ({"port": 0, "max_clients": 0}, ">= 1"),
])
def test_options_that_cannot_be_are_refused(options: dict[str, object], what: str) -> None:
    with pytest.raises(msgspec.ValidationError, match=what):
        msgspec.convert(options, Tcp)


def test_it_says_where_it_listens_and_what_it_promises() -> None:
    assert OPTIONS is Tcp
    assert Tcp(port=4000).describe() == "tcp 127.0.0.1:4000"
    assert Tcp(port=0, host="::").describe() == "tcp [::]:0 (any free port)"
    assert "journalled" in Tcp.guarantee
