"""numbers on real sockets: every rule, and every trap that others fell into."""

from __future__ import annotations

import functools
import os
import random
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Self

import pytest

from actors.runtime.board import read_views
from actors.runtime.rundir import BOARD, path_for
from actors.sinks.dead_letters import read_letters
from tests.loads import ROOT, WATCHDOG_S, assert_counts_add_up, living, members

REPORT = re.compile(r"Received (\d+) unique numbers, (\d+) duplicates\. Unique total: (\d+)\n")


class Numbers:
    """A run of ``numbers``, started as users start it.

    Args:
        state: the state directory.
        words: options of the command line.
    """

    def __init__(self, state: Path, *words: str) -> None:
        self.state = state
        self.out, self.err = state.parent / f"{state.name}.out", state.parent / f"{state.name}.err"
        address = state / "journal" / "tcp.address"
        address.unlink(missing_ok=True)
        with self.out.open("wb") as out, self.err.open("wb") as err:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "actors.cli", "run", "numbers", "--state", str(state),
                 "--set", "source.port=0", *words],
                cwd=ROOT, stdout=out, stderr=err, stdin=subprocess.DEVNULL, start_new_session=True)
        self.until(address.exists, "an address")
        host, _, port = address.read_text().strip().rpartition(":")
        self.address = (host, int(port))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()

    def kill(self, victim: str) -> None:
        """Kill an actor, as soon as it lives."""
        pids: dict[str, int] = {}
        self.until(lambda: pids.update(pids_of(self.state)) or victim in pids, f"{victim} lives")
        os.kill(pids[victim], signal.SIGKILL)

    def until(self, condition: Callable[[], Any], what: str) -> None:
        """Wait until something is so; fail when the run ends first."""
        deadline = time.monotonic() + WATCHDOG_S
        while not condition():
            assert self.process.poll() is None, f"the run ended before {what}:\n{self.err.read_text()}"
            assert time.monotonic() < deadline, f"no {what} within {WATCHDOG_S} s:\n{self.err.read_text()}"
            time.sleep(0.002)

    @contextmanager
    def client(self) -> Iterator[socket.socket]:
        """A connection."""
        with socket.create_connection(self.address, timeout=WATCHDOG_S) as connection:
            yield connection

    def send(self, data: bytes) -> bool:
        """Connect, send, and hang up; False, so that it can stand in a condition for one try more."""
        with self.client() as connection:
            connection.sendall(data)
        return False

    def logged(self) -> list[bytes]:
        """The lines of the log so far."""
        path = self.state / "numbers.log"
        return path.read_bytes().splitlines(keepends=True) if path.exists() else []

    def terminate(self) -> int:
        """Send the word, and wait for the end; return the exit code."""
        self.send(b"terminate\n")
        return self.process.wait(WATCHDOG_S)

    def reports(self) -> list[tuple[int, int, int]]:
        """(new, again, total) of every line of standard output; nothing else may be there."""
        found = []
        for line in self.out.read_text().splitlines(keepends=True):
            match = REPORT.fullmatch(line)
            assert match is not None, f"not a report: {line!r}"
            found.append((int(match[1]), int(match[2]), int(match[3])))
        return found


@pytest.fixture
def numbers(tmp_path: Path) -> Iterator[Numbers]:
    with Numbers(tmp_path / "state") as running:
        yield running


def is_closed(connection: socket.socket) -> bool:
    """Wait until the other side has hung up."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def check(running: Numbers, expected: set[bytes], duplicates: int) -> None:
    """The log holds each number once and nothing else, and the reports add up to it."""
    lines = running.logged()
    assert len(lines) == len(set(lines)) == len(expected)
    assert {line.removesuffix(b"\n") for line in lines} == expected
    assert all(re.fullmatch(rb"[0-9]{9}\n", line) for line in lines)
    reports = running.reports()
    assert sum(new for new, _, _ in reports) == len(expected) == reports[-1][2]
    assert sum(again for _, again, _ in reports) == duplicates


def test_numbers_are_logged_once_each_and_terminate_ends_the_run(numbers: Numbers) -> None:
    numbers.send(b"314159265\n007007009\n314159265\n")
    numbers.send(b"000000000\n314159265\n")
    assert numbers.terminate() == 0
    check(numbers, {b"314159265", b"007007009", b"000000000"}, 2)
    assert len(numbers.reports()) == 1


def test_terminated_at_once_there_is_a_report_and_an_empty_log(numbers: Numbers) -> None:
    assert numbers.terminate() == 0
    assert numbers.logged() == []
    assert numbers.reports() == [(0, 0, 0)]
    assert (numbers.state / "numbers.log").exists()


def test_the_last_number_before_terminate_is_not_lost_and_all_clients_are_disconnected(numbers: Numbers) -> None:
    with numbers.client() as idle, numbers.client() as last:
        last.sendall(b"000000001\n000000002\nterminate\n000000003\n")  # what is behind it was received, too
        assert is_closed(last)
        assert is_closed(idle)
    assert numbers.process.wait(WATCHDOG_S) == 0
    check(numbers, {b"000000001", b"000000002", b"000000003"}, 0)
    with pytest.raises(OSError):
        socket.create_connection(numbers.address, timeout=5).close()


def test_a_sixth_client_is_closed_at_once_and_five_go_on(numbers: Numbers) -> None:
    clients = [socket.create_connection(numbers.address, timeout=WATCHDOG_S) for _ in range(5)]
    for index, connection in enumerate(clients):
        connection.sendall(b"%09d\n" % index)
    numbers.until(lambda: len(numbers.logged()) == 5, "five numbers")
    with numbers.client() as sixth:
        assert is_closed(sixth)
    for index, connection in enumerate(clients):
        connection.sendall(b"%09d\n" % (10 + index))
    numbers.until(lambda: len(numbers.logged()) == 10, "ten numbers")
    clients.pop().close()
    numbers.send(b"000000099\n")  # there is room again, as soon as the end of that one was seen
    for connection in clients:
        connection.close()
    numbers.until(lambda: b"000000099\n" in numbers.logged() or numbers.send(b"000000099\n"), "one more client")
    assert numbers.terminate() == 0


@pytest.mark.parametrize("bad", [
    b"12345678\n", b"1234567890\n", b"+12345678\n", b"-12345678\n", b"12345678a\n", b" 12345678\n", b"\n",
    b"123456789 \n", "١٢٣٤٥٦٧٨٩\n".encode(), b"terminate \n", b"TERMINATE\n", b"123456789\r\n", bytes(9) + b"\n",
    b"1234567891234567890",
], ids=repr)
def test_anything_else_closes_that_client_at_once_and_what_it_sent_before_counts(numbers: Numbers, bad: bytes) -> None:
    with numbers.client() as good, numbers.client() as client:
        good.sendall(b"000000001\n")
        client.sendall(b"000000002\n" + bad + b"000000003\n")
        assert is_closed(client)
        good.sendall(b"000000004\n")
    assert numbers.terminate() == 0
    check(numbers, {b"000000001", b"000000002", b"000000004"}, 0)
    letters = numbers.state / "dead-letters.db"
    assert not letters.exists() or list(read_letters(letters)) == []


def test_a_short_line_is_noticed_when_its_newline_comes(numbers: Numbers) -> None:
    with numbers.client() as client:
        client.sendall(b"12345678\n")  # and nothing after it
        assert is_closed(client)


def test_an_unterminated_line_at_the_end_of_a_connection_is_no_number(numbers: Numbers) -> None:
    numbers.send(b"000000001\n000000002")
    assert numbers.terminate() == 0
    check(numbers, {b"000000001"}, 0)


def test_lines_may_come_in_any_pieces(numbers: Numbers) -> None:
    with numbers.client() as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"000000001\n000000002\nterm":
            client.sendall(bytes([byte]))
        client.sendall(b"inate\n")
        assert is_closed(client)
    assert numbers.process.wait(WATCHDOG_S) == 0
    check(numbers, {b"000000001", b"000000002"}, 0)


def test_with_any_newline_crlf_ends_a_line(tmp_path: Path) -> None:
    with Numbers(tmp_path / "state", "--set", "source.newline=any") as running:
        running.send(b"000000001\r\n000000002\n000000001\n")
        with running.client() as client:
            client.sendall(b"terminate\r\n")
        assert running.process.wait(WATCHDOG_S) == 0
        check(running, {b"000000001", b"000000002"}, 1)


def test_a_client_that_stalls_is_closed_when_there_is_a_timeout(tmp_path: Path) -> None:
    with Numbers(tmp_path / "state", "--set", "source.read_timeout_s=0.3") as running:
        with running.client() as client:
            client.sendall(b"000000001\n1234")
            assert is_closed(client)
        assert running.terminate() == 0
        check(running, {b"000000001"}, 0)


def test_reports_come_by_the_clock_and_add_up_to_the_log(tmp_path: Path) -> None:
    rng = random.Random(1)
    sent: list[bytes] = []
    with Numbers(tmp_path / "state", "--set", "aggregator.report_s=0.2") as running:
        with running.client() as client:
            while len(running.reports()) < 5:
                some = [b"%09d" % rng.randrange(3000) for _ in range(100)]
                client.sendall(b"".join(line + b"\n" for line in some))
                sent += some
        running.until(lambda: sum(sum(report[:2]) for report in running.reports()) == len(sent), "a last count")
        assert running.terminate() == 0
        check(running, set(sent), len(sent) - len(set(sent)))


def test_a_fresh_start_clears_and_resume_goes_on_with_log_and_counts(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Numbers(state) as running:
        running.send(b"000000001\n000000002\n")
        assert running.terminate() == 0
    with Numbers(state, "--resume") as running:
        running.send(b"000000002\n000000003\n")
        assert running.terminate() == 0
        assert running.reports() == [(1, 1, 3)]
        assert sorted(running.logged()) == [b"000000001\n", b"000000002\n", b"000000003\n"]
    with Numbers(state) as running:
        assert running.logged() == []
        running.send(b"000000003\n")
        assert running.terminate() == 0
        check(running, {b"000000003"}, 0)


def test_ctrl_c_is_clean_and_resume_goes_on(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with Numbers(state) as running:
        running.send(b"000000001\n")
        running.until(lambda: len(running.logged()) == 1, "a number")
        running.process.send_signal(signal.SIGINT)
        assert running.process.wait(WATCHDOG_S) == 0
        assert "Traceback" not in running.err.read_text()
        assert running.reports() == [(1, 0, 1)]
    with Numbers(state, "--resume") as running:
        running.send(b"000000001\n000000002\n")
        assert running.terminate() == 0
        assert running.reports() == [(1, 1, 2)]


def test_a_port_in_use_is_said_in_plain_words(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = subprocess.run(
            [sys.executable, "-m", "actors.cli", "run", "numbers", "--state", str(tmp_path), "--set",
             f"source.port={port}"], cwd=ROOT, capture_output=True, text=True, timeout=WATCHDOG_S, check=False)
    assert done.returncode == 78
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr
    assert "Traceback" not in done.stderr


class Sender:
    """A client that knows what it has sent.

    Args:
        running: to whom.
        seed: of its numbers.
    """

    def __init__(self, running: Numbers, seed: int) -> None:
        self.rng = random.Random(seed)
        self.running = running
        self.sent: list[bytes] = []
        self.connection: socket.socket | None = None

    def send(self, count: int) -> bool:
        """Send so many, over a new connection when the old one has gone; False, see ``Numbers.send``."""
        some = [b"%09d\n" % self.rng.randrange(50_000) for _ in range(count)]
        while True:
            try:
                if self.connection is None:
                    self.connection = socket.create_connection(self.running.address, timeout=WATCHDOG_S)
                self.connection.sendall(b"".join(some))
                self.sent += some
                return False
            except OSError:
                self.close()
                assert self.running.process.poll() is None, self.running.err.read_text()
                time.sleep(0.01)

    def close(self) -> None:
        """Hang up."""
        if self.connection is not None:
            self.connection.close()
            self.connection = None


def has_more_than(running: Numbers, lines: int) -> bool:
    return len(running.logged()) > lines


def pids_of(state: Path) -> dict[str, int]:
    """The living actors."""
    try:
        return {view.actor: view.pid for view in read_views(path_for(state) / BOARD) if living([view.pid])}
    except (OSError, ValueError):
        return {}


@pytest.mark.parametrize("victim", ["parser.1", "aggregator.1", "writer.log", "writer.report", "writer.dead_letters"])
def test_whoever_is_killed_under_load_nothing_is_lost_and_nothing_twice(tmp_path: Path, victim: str) -> None:
    with Numbers(tmp_path / "state", "--set", "aggregator.report_s=0.1") as running:
        sender = Sender(running, 1)
        for round_ in range(3):
            sender.send(20_000)
            running.kill(victim)
            sender.send(20_000 + round_)
        sender.close()
        assert running.terminate() == 0, running.err.read_text()
        lines = running.logged()
        assert len(lines) == len(set(lines))
        assert set(lines) == set(sender.sent)
        assert_counts_add_up(running.state)
        if victim != "writer.report":  # what it was printing when it died may be printed again
            check(running, {line.strip() for line in sender.sent}, len(sender.sent) - len(set(sender.sent)))


def test_a_killed_reader_loses_nothing_that_was_accepted(tmp_path: Path) -> None:
    with Numbers(tmp_path / "state") as running:
        sender = Sender(running, 2)
        sender.send(20_000)
        running.until(lambda: len(running.logged()) == len(set(sender.sent)), "the first numbers")
        killed = pids_of(running.state)["reader.1"]
        os.kill(killed, signal.SIGKILL)
        sender.close()
        # What connects to the dying is reset, and lost.
        running.until(lambda: pids_of(running.state).get("reader.1", killed) != killed, "another reader")
        more = Sender(running, 3)
        more.send(10)
        running.until(lambda: set(more.sent) <= set(running.logged()), "the next numbers")
        more.close()
        assert running.terminate() == 0, running.err.read_text()
        lines = running.logged()
        assert len(lines) == len(set(lines))
        assert set(sender.sent) <= set(lines) <= set(sender.sent) | set(more.sent)
        assert_counts_add_up(running.state)


def test_after_the_supervisor_is_killed_resume_goes_on_with_all_that_was_accepted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    sent: list[bytes] = []
    for seed in range(3):
        with Numbers(state, *(["--resume"] if seed else [])) as running:
            before = len(running.logged())
            sender = Sender(running, seed)
            sender.send(30_000)
            running.until(functools.partial(has_more_than, running, before), "some of it in the log")
            running.process.kill()
            running.process.wait()
            sender.close()
            deadline = time.monotonic() + WATCHDOG_S
            while members(running.process.pid):
                assert time.monotonic() < deadline
                time.sleep(0.002)
            journal = b"".join(path.read_bytes() for path in sorted((state / "journal").glob("0*")))
            sent += sender.sent
            accepted = set(journal.splitlines(keepends=True)) & set(sent)
    with Numbers(state, "--resume") as running:
        assert running.terminate() == 0, running.err.read_text()
        lines = running.logged()
        assert len(lines) == len(set(lines))
        assert accepted <= set(lines) <= set(sent)
        assert running.reports()[-1][2] == len(lines)


def test_a_run_whose_reports_nobody_reads_any_more_ends_with_all_that_was_accepted(tmp_path: Path) -> None:
    state = tmp_path / "state"
    reading, writing = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "actors.cli", "run", "numbers", "--state", str(state), "--set", "source.port=0",
             "--set", "aggregator.report_s=0.05"],
            cwd=ROOT, stdout=writing, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
        os.close(writing)
        assert os.read(reading, 9) == b"Received "
    finally:
        os.close(reading)
    try:
        _, err = process.communicate(timeout=WATCHDOG_S)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 0, err
    assert "stopped by aggregator.1, as nobody reads what it emits any more" in err
