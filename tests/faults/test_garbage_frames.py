"""Garbage on every socket, from strangers and from relatives: it is refused or counted, and harms nobody."""

from __future__ import annotations

import gzip
import os
import random
import shutil
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import zmq

from actors import settings
from actors.runtime.board import create_board
from actors.runtime.codec import VERSION, decode, encode
from actors.runtime.mailbox import ControlBox
from actors.runtime.messages import (
    Ack,
    Batch,
    Booted,
    Bundle,
    Credit,
    Drain,
    Failed,
    Hello,
    InputDone,
    Member,
    Message,
    Outage,
    Part,
    Ready,
    Roster,
    Start,
    Stop,
)
from actors.runtime.rundir import BOARD, MANIFEST, path_for
from scripts.make_logs import write_logs
from tests.loads import ROOT, Load, assert_counts_add_up, expected_stores, lmdb_stores

WAIT_S = 20.0
V = bytes([VERSION])
RECORDS = 40_000
#: A run whose batches are under way for a while, with all kinds of actors.
SLOW = ("flow.batch_bytes=16384", "flow.window_batches=8", "parser.fused=false")

#: Whole messages, well-formed, that would stop, mislead or starve an actor that believed them.
LIES: tuple[Message, ...] = (
    Stop(), Drain(), Start(), Roster(10**9, ()), Roster(10**9, (Member("parser.1", 99, "parser", "ipc:///x", False),)),
    Hello("run"), Credit(10**6), Credit(-(10**6)), Booted(1), Ready("ipc:///nowhere"), Outage("lies", 1e9),
    InputDone(False), Ack("p", 0, 1, 0, {"read": 10**9}), Failed("p", 0, 1, 0, "lies"),
    Bundle([Ack("p", 0, 1, 0, {"read": 10**9}), Credit(10**6)], [[], []]), Bundle([], []),
)
#: Work whose payload is garbage.
WORK: tuple[Message, ...] = (
    Batch("p", 0, 10, 1 << 40, 0, 9, 1, "lies", 0, 1), Part("p", 0, 10, 1 << 40, 0, 3, {"written": 3}),
    Part("p", 10**12, 10**12 + 1, 1 << 40, 10**12, 1, {}),
)


def garbage() -> list[list[bytes]]:
    """Messages, as lists of frames, that are none."""
    chance = random.Random(1)
    good = [encode(message) for message in (*LIES, *WORK)]
    return [
        [b""], [b"", b""], [V], [b"x" * 1000], [V * (2 << 20)], [V + b"\xc6\xff\xff\xff\xff"],
        [V + b"\x91" * 100_000],  # nested too deep
        *([bytes([VERSION + 1]) + header[1:]] for header in good), *([b"\x01" + header[1:]] for header in good),
        *([header[:-1]] for header in good), *([header + b"\x00"] for header in good),
        [V + b"\x92\xa6credit\xa3two"], [V + b"\x92\xa6credit\xc0"], [V + b"\x92\xa6credit\xcb" + bytes(8)],
        [V + b"\x91\xa7nothing"], [V + b"\x92\xa5hello\xa2\xff\xfe"], [V + b"\x91\xa6credit"], [V + b"\xa6credit"],
        [b"\x80\x04\x95\x0fcos\nsystem\n(S'true'\ntR."], [V + b"\x80\x04\x95cos\nsystem\n"],
        *([V + chance.randbytes(chance.randrange(60))] for _ in range(200)),
    ]


def streams() -> list[bytes]:
    """What a peer may say that does not speak ZeroMQ, or claims a frame of a terabyte."""
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    return [b"", b"GET / HTTP/1.1\r\n\r\n", random.Random(2).randbytes(50_000), greeting, greeting + b"\x04\x05READY",
            greeting + b"\x02" + struct.pack(">Q", 1 << 40) + bytes(10_000), b"\xff" * 9]


class Strangers:
    """DEALERs of this process at one socket, each under a name of its own or of somebody else.

    Args:
        context: theirs.
        path: the socket.
        names: what they call themselves.
    """

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], path: Path, names: list[bytes]) -> None:
        self.sockets = []
        for name in names:
            dealer = context.socket(zmq.DEALER)
            dealer.linger = 0
            dealer.identity = name
            dealer.connect(f"ipc://{path}")
            self.sockets.append(dealer)

    def send(self, messages: list[list[bytes]]) -> None:
        """Send all of them, each of these; who has been refused cannot."""
        for dealer in self.sockets:
            with suppress(zmq.Again):
                for frames in messages:
                    dealer.send_multipart(frames, zmq.DONTWAIT)


def _whole(messages: tuple[Message, ...]) -> list[list[bytes]]:
    return [[encode(message), b"\xc1 no payload \xff" * 10] for message in messages]


def _shout(path: Path, said: bytes) -> None:
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(0.05)
        try:
            raw.connect(str(path))
            raw.sendall(said)
            raw.recv(1000)
        except OSError:
            pass  # refused, closed, or left without an answer


def test_strangers_at_every_socket_of_a_run_change_nothing(tmp_path: Path) -> None:
    paths = write_logs(tmp_path / "logs", records=RECORDS, keys=3000)
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    directory = path_for(tmp_path / "state")
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        running = stack.enter_context(Load(f"{tmp_path}/logs/*.gz", tmp_path / "state", *SLOW))
        views = running.until(lambda views: views["reader.1"].batches >= 3, "3 batches")
        sockets = [path for path in directory.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
        assert {path.name for path in sockets} == {"control", "commands", *(f"{name}.1" for name in views)}
        os.kill(views["writer.adid"].pid, signal.SIGSTOP)  # so that the run is not over first
        # Their own name, names of the living, of those who will come, and of the supervisor.
        names = [b"stranger.1#1", b"supervisor", b"reader.1#1", b"parser.1#1", b"checker.1#1", b"writer.gaid#1",
                 b"parser.1#2", b"writer.gaid#2"]
        shouting = [Strangers(context, path, names) for path in sockets]
        for strangers in shouting:
            strangers.send([*_whole(LIES), *_whole(WORK), *garbage()[5:]])
        for path in sockets:
            for said in streams():
                _shout(path, said)
        running.kill("parser.1", after_batches=0)
        running.kill("writer.gaid", after_batches=0)  # the next one finds somebody under its name everywhere
        os.kill(views["writer.adid"].pid, signal.SIGCONT)
        assert running.wait() == 0, running.output()
        heard = [dealer for strangers in shouting for dealer in strangers.sockets if dealer.poll(0)]
        context.destroy(linger=0)
    assert heard == []
    assert sorted(death["actor"] for death in running.of("died")) == ["parser.1", "writer.gaid"]
    assert lmdb_stores(tmp_path / "state") == expected_stores(lines)
    assert assert_counts_add_up(tmp_path / "state")["read"] == RECORDS
    assert running.of("outage") == []


def test_everything_in_the_run_directory_is_private_whatever_the_umask(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", records=RECORDS)
    directory = path_for(tmp_path / "state")
    before = os.umask(0)
    try:
        running = Load(f"{tmp_path}/logs/*.gz", tmp_path / "state", *SLOW)
    finally:
        os.umask(before)
    with running:
        views = running.until(lambda views: views["reader.1"].batches >= 3, "3 batches")
        running.kill("parser.1", after_batches=0)
        running.until(lambda views: (directory / "parser.1.2").exists(), "a second generation")
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()}
        assert modes.keys() >= {"control", "board", "manifest.json", "parser.1.2", *(f"{name}.1" for name in views)}
        assert set(modes.values()) == {0o600}
        for folder in (directory, directory.parent, tmp_path / "state"):
            assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        assert running.wait() == 0, running.output()
    assert not directory.exists()


_OVER_TCP = """
import sys, msgspec
from actors import launcher, settings
from actors.runtime.links import Links
from actors.runtime.mailbox import make_keys

class Observer:
    refresh_s = 0.0
    def event(self, event):
        print(event.text(), flush=True)

logs, state = sys.argv[1:]
loaded = settings.load("appsinstalled", state=state, environ={}, sets=[
    f"source.pattern={logs}", "flow.batch_bytes=16384", "parser.fused=false"])
links = Links(transport="tcp", **make_keys())
sys.exit(launcher.run(msgspec.structs.replace(loaded.manifest, links=links), Observer()).code)
"""


def test_a_run_over_tcp_is_the_same_and_strangers_get_nothing(tmp_path: Path) -> None:
    paths = write_logs(tmp_path / "logs", records=RECORDS)
    lines = [line for path in paths for line in gzip.decompress(path.read_bytes()).split(b"\n")[:-1]]
    directory = path_for(tmp_path / "state")
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        process = stack.enter_context(subprocess.Popen(
            [sys.executable, "-c", _OVER_TCP, f"{tmp_path}/logs/*.gz", str(tmp_path / "state")], cwd=ROOT,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        stack.callback(process.kill)
        assert process.stdout is not None
        assert "starting" in process.stdout.readline()
        endpoint = (directory / "control").read_text()
        assert endpoint.startswith("tcp://127.0.0.1:")
        assert [path.name for path in directory.iterdir() if stat.S_ISSOCK(path.stat().st_mode)] == ["commands"]
        assert {stat.S_IMODE(path.stat().st_mode) for path in directory.iterdir()} == {0o600}
        stranger = context.socket(zmq.DEALER)
        stranger.linger = 0
        stranger.identity = b"reader.1#1"
        stranger.connect(endpoint)
        stranger.send(encode(InputDone(False)))
        said = process.stdout.read()
        assert process.wait(WAIT_S) == 0, said
        assert not stranger.poll(0)
        context.destroy(linger=0)
    assert lmdb_stores(tmp_path / "state") == expected_stores(lines)
    assert assert_counts_add_up(tmp_path / "state")["read"] == RECORDS


# From relatives: this process as the supervisor, each role in a process of its own.


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="thresher-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


class Family:
    """This process as a supervisor, and one started actor.

    Args:
        run_dir: the run directory.
        name: the actor.
    """

    def __init__(self, run_dir: Path, name: str) -> None:
        (run_dir / "logs").mkdir()
        manifest = settings.load("appsinstalled", state=str(run_dir / "state"), environ={}, sets=[
            f"source.pattern={run_dir}/logs/*", "parser.fused=false"]).manifest
        (run_dir / "state").mkdir()
        manifest.save(run_dir / MANIFEST)
        create_board(run_dir / BOARD, [name])
        self.address = f"{name}#1"
        self.path = run_dir / f"{name}.1"
        self.control = ControlBox(run_dir)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "actors", name, "--generation", "1", "--run", str(run_dir), "--parent",
             str(os.getpid())], cwd=ROOT)
        self.hear(Booted)
        assert self.control.send(self.address, Start())
        self.hear(Ready)

    def hear(self, kind: type[Message]) -> None:
        """Wait until the actor says so."""
        deadline = time.monotonic() + WAIT_S
        while time.monotonic() < deadline and self.process.poll() is None:
            for sender, message, _ in self.control.wait(0.1)[0]:
                if sender == self.address and isinstance(message, kind):
                    return
        raise AssertionError(f"{self.address} does not say {kind.__name__}; exit code {self.process.poll()}")

    def stop(self) -> int:
        """Tell the actor to stop; return its exit code."""
        self.control.send(self.address, Stop())
        return self.process.wait(WAIT_S)

    def close(self) -> None:
        """Leave nothing behind."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        self.control.close()


def _answer(dealer: zmq.Socket[bytes], message: Message, frames: list[bytes], expected: type[Message]) -> Message:
    dealer.send_multipart([encode(message), *frames])
    while dealer.poll(round(WAIT_S * 1000)):
        answer = decode(dealer.recv_multipart()[0])
        for each in answer.messages if isinstance(answer, Bundle) else [answer]:
            if isinstance(each, expected):
                return each
    raise AssertionError(f"no {expected.__name__}")


def _works_as_a_pool(dealer: zmq.Socket[bytes]) -> None:
    assert _answer(dealer, Hello("run"), [], Credit) == Credit(2)


def _works_as_a_destination(dealer: zmq.Socket[bytes]) -> None:
    part = Part("q", 0, 5, 1, 0, 0, {"written": 0})
    assert _answer(dealer, part, [], Ack) == Ack("q", 0, 5, 1, {"written": 0})


def _works_as_a_store(dealer: zmq.Socket[bytes]) -> None:
    part = Part("q", 0, 5, 1, 0, 0, {})  # no letters: acknowledged
    assert _answer(dealer, part, [], Ack) == Ack("q", 0, 5, 1, {})


@pytest.mark.parametrize(("name", "works"), [
    ("parser.1", _works_as_a_pool), ("checker.1", _works_as_a_pool), ("writer.idfa", _works_as_a_destination),
    ("aggregator.1", _works_as_a_destination), ("writer.dead_letters", _works_as_a_store), ("reader.1", None),
])
def test_garbage_of_a_relative_is_dropped_and_the_actor_works_on(
    run_dir: Path, name: str, works: Callable[[zmq.Socket[bytes]], None] | None
) -> None:
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        family = Family(run_dir, name)
        stack.callback(family.close)
        liar = Strangers(context, family.path, [b"liar.1#1", b"supervisor", b"\xff\xfe", b"reader.1#\xc2\xb2"])
        liar.send([*garbage(), *_whole(LIES)])
        honest = context.socket(zmq.DEALER)
        honest.linger = 0
        honest.identity = b"reader.1#1" if name == "parser.1" else b"parser.7#1"
        honest.connect(f"ipc://{family.path}")
        if works is not None:
            works(honest)
            works_again = Strangers(context, family.path, [b"liar.2#1"])
            works_again.send(garbage())
            assert family.process.poll() is None
        else:
            family.control.send(family.address, Drain())
        assert family.stop() == 0
        context.destroy(linger=0)


def test_the_supervisor_believes_no_stranger(tmp_path: Path) -> None:
    write_logs(tmp_path / "logs", records=RECORDS)
    with ExitStack() as stack:
        context = stack.enter_context(zmq.Context())
        running = stack.enter_context(Load(f"{tmp_path}/logs/*.gz", tmp_path / "state", *SLOW))
        running.until(lambda views: views["reader.1"].batches >= 3, "3 batches")
        liar = Strangers(context, path_for(tmp_path / "state") / "control", [b"reader.1#1", b"reader.1#2"])
        liar.send(_whole((InputDone(False), Outage("lies", 1e9), Ready("ipc:///nowhere"), Booted(1))))
        assert running.wait() == 0, running.output()
        context.destroy(linger=0)
    assert assert_counts_add_up(tmp_path / "state")["read"] == RECORDS
    assert running.of("outage") == running.of("died") == []
