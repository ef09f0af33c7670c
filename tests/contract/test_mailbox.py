"""Mailboxes over real sockets: what arrives, what is dropped, and who may listen."""

from __future__ import annotations

import ctypes
import os
import shutil
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import zmq

from actors.runtime.actor import Actor, Post
from actors.runtime.board import create_board
from actors.runtime.codec import VERSION, encode
from actors.runtime.errors import ConfigError, Fatal
from actors.runtime.links import Links, is_of_this_run, is_of_this_user
from actors.runtime.mailbox import IPC, SUPERVISOR, ControlBox, Mailbox, make_keys
from actors.runtime.messages import (
    Ack,
    AnyMessage,
    Booted,
    Bundle,
    Credit,
    Hello,
    Member,
    Message,
    Part,
    Ready,
    Roster,
    Start,
    Stop,
)
from actors.runtime.parcels import MAX_FRAME_BYTES
from actors.runtime.rundir import BOARD

WAIT_S = 30.0
ROOT = Path(__file__).resolve().parents[2]
TCP = Links(transport="tcp", **make_keys())


@pytest.fixture
def run_dir() -> Iterator[Path]:
    """A directory with a path short enough for sockets."""
    path = Path(tempfile.mkdtemp(prefix="thresher-test-", dir="/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=[IPC, TCP], ids=["ipc", "tcp"])
def boxes(run_dir: Path, request: pytest.FixtureRequest) -> Iterator[tuple[ControlBox, Mailbox, Mailbox]]:
    """A supervisor, a producer and a consumer; the producer is connected to the consumer."""
    yield from connected(run_dir, request.param)


@pytest.fixture
def ipc_boxes(run_dir: Path) -> Iterator[tuple[ControlBox, Mailbox, Mailbox]]:
    """The same, over ipc."""
    yield from connected(run_dir, IPC)


def connected(run_dir: Path, links: Links) -> Iterator[tuple[ControlBox, Mailbox, Mailbox]]:
    control = ControlBox(run_dir, links)
    producer, consumer = Mailbox("parser.1#1", run_dir, links), Mailbox("writer.a#1", run_dir, links)
    producer.connect("writer.a#1", consumer.bind())
    yield control, producer, consumer
    for box in (producer, consumer, control):
        box.close()


def test_messages_go_both_ways_with_the_senders_address(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    assert producer.send("writer.a#1", Hello("run"))
    assert consumer.receive(WAIT_S) == [("parser.1#1", Hello("run"), [])]
    assert consumer.send("parser.1#1", Credit(2))
    assert producer.receive(WAIT_S) == [("writer.a#1", Credit(2), [])]


def test_large_payloads_arrive_whole(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    payloads = [os.urandom(5_000_000), b"", os.urandom(70_000)]
    producer.send("writer.a#1", Hello("run"), payloads)
    ((_, _, frames),) = consumer.receive(WAIT_S)
    assert frames == payloads


def test_the_supervisor_hears_actors_and_answers_them(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, _ = boxes
    producer.send(SUPERVISOR, Booted(7))
    received, fds = control.wait(WAIT_S)
    assert (received, fds) == ([("parser.1#1", Booted(7), [])], [])
    assert control.send("parser.1#1", Start())
    assert producer.receive(WAIT_S) == [(SUPERVISOR, Start(), [])]


def test_what_is_sent_to_nobody_is_said_to_be(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, consumer = boxes
    assert not consumer.send("parser.9#1", Credit(1))
    assert not control.send("parser.1#2", Start())
    producer.disconnect("writer.a#1")
    assert not producer.send("writer.a#1", Hello("run"))


V = bytes([VERSION])
GARBAGE = [b"", b"x", b"\x01" + encode(Credit(1))[1:], encode(Credit(1))[:-1], V + b"\xff" * 50,
           V * (2 << 20), V + b"\x92\xa6credit\xa3two", encode(Bundle([Credit(1), Credit(2)], [[3], []])),
           b"\x80\x04\x95cos\nsystem\n"]


def test_what_is_posted_leaves_together_and_in_order_with_what_is_sent(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = boxes
    said: list[tuple[Message, list[bytes]]] = [
        (Part("p", at, at + 1, 1, 0, 1, {}), [b"%d" % at] * (at % 3)) for at in range(700)]
    said[350] = said[350][0], [b"large" * 10_000]
    for message, frames in said[:-1]:
        assert producer.post("writer.a#1", message, frames)
    producer.send("writer.a#1", *said[-1])
    heard: list[tuple[Message, list[bytes]]] = []
    while len(heard) < len(said):
        heard += [(message, frames) for _, message, frames in received_by(consumer)]
    assert heard == said
    assert consumer.garbage == 0


def test_an_answer_that_is_posted_waits_for_the_flush_and_for_no_more(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = boxes
    producer.send("writer.a#1", Hello("run"))
    assert received_by(consumer)
    assert consumer.post("parser.1#1", Credit(1))
    assert consumer.post("parser.1#1", Credit(2))
    assert producer.receive(0.0) == []
    consumer.flush()
    assert received_by(producer) == [("writer.a#1", Credit(1), []), ("writer.a#1", Credit(2), [])]


def test_what_is_posted_to_who_is_not_there_is_refused_or_lost_without_a_word(
    ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = ipc_boxes
    assert not producer.post("writer.b#1", Credit(1))
    consumer.post("parser.9#1", Credit(1))
    consumer.flush()
    producer.post("writer.a#1", Credit(1))
    producer.disconnect("writer.a#1")
    producer.flush()
    assert consumer.receive(0.2) == []


def test_what_was_posted_is_sent_before_a_mailbox_closes(ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = ipc_boxes
    producer.send("writer.a#1", Hello("run"))
    assert received_by(consumer), "they have met"
    producer.post("writer.a#1", Credit(1))
    producer.close()
    assert received_by(consumer) == [("parser.1#1", Credit(1), [])]


def test_garbage_is_counted_and_dropped_and_the_next_message_arrives(
    run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = ipc_boxes
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.identity = b"stranger#1"
        stranger.connect(f"ipc://{run_dir}/writer.a.1")
        for frame in GARBAGE:
            stranger.send_multipart([frame])
        stranger.send_multipart([encode(Hello("after"))])
        assert received_by(consumer) == [("stranger#1", Hello("after"), [])]
    assert consumer.garbage == len(GARBAGE)
    producer.send("writer.a#1", Ack("p", 0, 1, 1, {}))
    assert len(consumer.receive(WAIT_S)) == 1


def test_garbage_from_a_consumer_and_to_the_supervisor_is_counted_and_dropped(
    run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    control, producer, _ = ipc_boxes
    with zmq.Context() as context, context.socket(zmq.ROUTER) as consumer, context.socket(zmq.DEALER) as actor:
        consumer.bind(f"ipc://{run_dir}/writer.b.1")
        producer.connect("writer.b#1", f"ipc://{run_dir}/writer.b.1")
        producer.send("writer.b#1", Hello("run"))
        sender, _ = consumer.recv_multipart()
        actor.identity = b"parser.2#1"
        actor.connect(f"ipc://{run_dir}/control")
        for frame in GARBAGE:
            consumer.send_multipart([sender, frame])
            actor.send(frame)
        consumer.send_multipart([sender, encode(Credit(1))])
        actor.send(encode(Booted(1)))
        assert received_by(producer) == [("writer.b#1", Credit(1), [])]
        heard: list[object] = []
        while not heard:
            heard += control.wait(WAIT_S)[0]
    assert heard == [("parser.2#1", Booted(1), [])]
    assert (producer.garbage, control.garbage) == (len(GARBAGE), len(GARBAGE))


@pytest.mark.parametrize("name", [b"supervisor", b"\xff\xfe#1", b"parser.1", b"parser.1#", b"#1", b"parser.1#\xc2\xb2",
                                  b"parser.1#1#1", b"a b#1", None], ids=repr)
def test_a_message_under_a_name_that_no_actor_has_is_garbage(
    run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox], name: bytes | None
) -> None:
    _, _, consumer = ipc_boxes
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        if name is not None:
            stranger.identity = name
        stranger.connect(f"ipc://{run_dir}/writer.a.1")
        stranger.send_multipart([encode(Stop())])
        assert happens(lambda: consumer.receive(0.01) == [] and consumer.garbage == 1)


def test_who_takes_the_name_of_one_who_is_there_is_not_heard(
    run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = ipc_boxes
    producer.send("writer.a#1", Hello("run"))
    assert received_by(consumer) == [("parser.1#1", Hello("run"), [])]
    with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
        stranger.identity = b"parser.1#1"
        stranger.connect(f"ipc://{run_dir}/writer.a.1")
        stranger.send_multipart([encode(Credit(9))])
        assert not stranger.poll(200) and consumer.receive(0.05) == []
        assert consumer.send("parser.1#1", Credit(1))
        assert producer.receive(WAIT_S) == [("writer.a#1", Credit(1), [])]


STRANGER = """
import os, sys, zmq
from actors.runtime.codec import encode
from actors.runtime.messages import (Hello)
with zmq.Context() as context, context.socket(zmq.DEALER) as stranger:
    stranger.linger = 0
    stranger.identity = sys.argv[3].encode()
    stranger.connect(sys.argv[1])
    stranger.send(encode(Hello("stranger")))
    print("answered" if stranger.poll(int(sys.argv[2])) else "silence")
"""


def run_stranger(
    endpoint: str, *wrapper: str, wait_ms: int = 20_000, name: str = "parser.7#1"
) -> subprocess.Popen[str]:
    return subprocess.Popen([*wrapper, sys.executable, "-c", STRANGER, endpoint, str(wait_ms), name], cwd=ROOT,
                            stdout=subprocess.PIPE, text=True)


def test_a_child_of_the_supervisor_is_let_in_and_a_child_of_anybody_else_gets_nothing(run_dir: Path) -> None:
    ControlBox(run_dir).close()
    consumer = Mailbox("writer.a#1", run_dir, head=os.getpid())
    endpoint = consumer.bind()
    with run_stranger(endpoint) as child:
        assert received_by(consumer) == [("parser.7#1", Hello("stranger"), [])]
        consumer.send("parser.7#1", Credit(1))
        assert child.communicate(timeout=30)[0] == "answered\n"
    # The shell is the child, and what it starts is no relative of ours.
    with run_stranger(endpoint, "sh", "-c", '"$@"; true', "sh", wait_ms=1000) as nephew:
        assert happens(lambda: consumer.receive(0.01) == [] and consumer.refused == 1)
        assert nephew.communicate(timeout=30)[0] == "silence\n"
    assert (consumer.refused, consumer.garbage) == (1, 0)
    consumer.close()


def test_a_command_comes_from_a_process_that_is_no_relative_and_is_answered(run_dir: Path) -> None:
    control = ControlBox(run_dir)
    endpoint = f"ipc://{run_dir}/commands"
    with run_stranger(endpoint, "sh", "-c", '"$@"; true', "sh", name="command.123#1") as person:
        assert heard_by(control) == [("command.123#1", Hello("stranger"), [])]
        assert control.send("command.123#1", Credit(1))
        assert person.communicate(timeout=30)[0] == "answered\n"
    with run_stranger(endpoint, name="parser.1#2", wait_ms=300) as liar:  # there it cannot pass for an actor
        assert happens(lambda: control.wait(0.01) == ([], []) and control.garbage == 1)
        assert liar.communicate(timeout=30)[0] == "silence\n"
    assert control.refused == 0
    control.close()


def test_a_mailbox_for_commands_writes_where_commands_are_heard(run_dir: Path) -> None:
    control = ControlBox(run_dir, TCP)
    box = Mailbox("command.7#1", run_dir)
    box.send(SUPERVISOR, Hello("run"))
    assert heard_by(control) == [("command.7#1", Hello("run"), [])]
    assert control.send("command.7#1", Credit(1))
    assert received_by(box) == [(SUPERVISOR, Credit(1), [])]
    box.close()
    control.close()


def test_commands_are_for_the_user_and_for_root() -> None:
    assert is_of_this_user("localhost:1000:1000:1", 1000) and is_of_this_user("localhost:0:0:1", 1000)
    assert not is_of_this_user("localhost:1001:1000:1000", 1000)
    assert is_of_this_user("localhost", 1000), "libzmq cannot tell"


def test_bytes_that_are_not_zeromq_and_frames_that_claim_to_be_huge_harm_nobody(
    run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, consumer = ipc_boxes
    greeting = b"\xff" + bytes(8) + b"\x7f\x03\x00NULL" + bytes(48)
    huge = greeting + b"\x02" + struct.pack(">Q", 1 << 40) + b"x" * 1000
    for sent in (b"GET / HTTP/1.1\r\n\r\n", b"", os.urandom(100_000), greeting, huge):
        with socket.socket(socket.AF_UNIX) as raw:
            raw.settimeout(0.2)
            raw.connect(str(run_dir / "writer.a.1"))
            try:
                raw.sendall(sent)
                while raw.recv(65536):
                    consumer.receive(0.0)
            except OSError:
                pass
    producer.send("writer.a#1", Hello("run"))
    assert received_by(consumer) == [("parser.1#1", Hello("run"), [])]
    assert consumer.garbage == 0


def test_a_frame_longer_than_any_consumer_takes_is_a_clear_error(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, producer, _ = boxes
    problem = (r"Hello for writer.a#1: a frame of 268435457 bytes, at most 268435456 are possible: "
               r"make flow.batch_bytes or source.max_line_bytes smaller")
    with pytest.raises(Fatal, match=problem):
        producer.send("writer.a#1", Hello("run"), [bytes(MAX_FRAME_BYTES + 1)])


# Who may listen.


def test_sockets_are_private_to_the_user(run_dir: Path, ipc_boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    sockets = [path for path in run_dir.iterdir() if stat.S_ISSOCK(path.stat().st_mode)]
    assert {path.name for path in sockets} == {"control", "commands", "writer.a.1"}
    assert {stat.S_IMODE(path.stat().st_mode) for path in sockets} == {0o600}
    assert stat.S_IMODE(run_dir.stat().st_mode) == 0o700


@pytest.mark.parametrize("links", [IPC, TCP], ids=["ipc", "tcp"])
def test_sockets_and_files_are_made_private_and_not_only_later(run_dir: Path, links: Links) -> None:
    before = os.umask(0)
    try:
        with changes_of_mode(run_dir) as changes:
            control = ControlBox(run_dir, links)
            box = Mailbox("writer.a#1", run_dir, links)
            box.bind()
            create_board(run_dir / BOARD, ["writer.a"])
        assert os.umask(0) == 0
    finally:
        os.umask(before)
    assert changes == []
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in run_dir.iterdir()}
    assert modes == dict.fromkeys(["control", "commands", "board", *(["writer.a.1"] if links is IPC else [])], 0o600)
    box.close()
    control.close()


@contextmanager
def changes_of_mode(folder: Path) -> Iterator[list[str]]:
    """Names in a folder whose mode changed within the block; what is made with its mode is not among them."""
    libc = ctypes.CDLL(None)
    watcher = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
    attributes = 0x4
    assert watcher >= 0 and libc.inotify_add_watch(watcher, os.fsencode(folder), attributes) >= 0
    names: list[str] = []
    (folder / "proof").touch(mode=0o600)
    (folder / "proof").chmod(0o400)
    yield names
    events = os.read(watcher, 1 << 16)
    (folder / "proof").unlink()
    while events:
        (length,) = struct.unpack_from("I", events, 12)
        names.append(events[16:16 + length].rstrip(b"\0").decode())
        events = events[16 + length:]
    os.close(watcher)
    names.remove("proof")


def test_tcp_is_encrypted_and_open_to_holders_of_the_clients_key_alone(run_dir: Path) -> None:
    control, consumer = ControlBox(run_dir, TCP), Mailbox("writer.a#1", run_dir, TCP)
    endpoint = consumer.bind()
    assert endpoint.startswith("tcp://127.0.0.1:")
    own_public, own_secret = zmq.curve_keypair()
    with zmq.Context() as context:
        strangers = [context.socket(zmq.DEALER) for _ in range(3)]
        for number, stranger in enumerate(strangers):
            stranger.linger = 0
            stranger.identity = b"stranger.%d#1" % number
        strangers[1].curve_serverkey = TCP.server_public.encode()  # knows whom it talks to, and has a key of its own
        strangers[1].curve_publickey, strangers[1].curve_secretkey = own_public, own_secret
        strangers[2].curve_serverkey = TCP.server_public.encode()  # claims the client's key without its other half
        strangers[2].curve_publickey, strangers[2].curve_secretkey = TCP.client_public.encode(), own_secret
        for stranger in strangers:
            stranger.connect(endpoint)
            stranger.send(encode(Hello("stranger")))
        assert happens(lambda: consumer.receive(0.05) == [] and consumer.refused >= 1)
        producer = Mailbox("parser.1#1", run_dir, TCP)
        producer.connect("writer.a#1", endpoint)
        producer.send("writer.a#1", Hello("run"))
        assert received_by(consumer) == [("parser.1#1", Hello("run"), [])]
        assert consumer.receive(0.2) == []
        assert not any(stranger.poll(0) for stranger in strangers)
        for stranger in strangers:
            stranger.close()
    with socket.create_connection(("127.0.0.1", int(endpoint.rpartition(":")[2]))) as raw:
        raw.sendall(os.urandom(10_000))
        producer.send("writer.a#1", Hello("again"))
        assert received_by(consumer) == [("parser.1#1", Hello("again"), [])]
    for box in (producer, consumer, control):
        box.close()


@pytest.mark.parametrize(("links", "missing"), [
    (Links(transport="tcp"), "links.server_public, links.server_secret, links.client_public, links.client_secret"),
    (Links(transport="tcp", **{**make_keys(), "client_public": "short"}), "links.client_public"),
])
def test_tcp_without_keys_is_refused(run_dir: Path, links: Links, missing: str) -> None:
    message = (f"links: tcp://127.0.0.1:*: TCP is refused without CURVE keys: expected {missing} of 40 characters each "
               "(Z85): `thresher keys` makes two pairs; give them as ${file:...} or ${env:...}, "
               "or set links.transport = \"ipc\"")
    with pytest.raises(ConfigError) as refused:
        ControlBox(run_dir, links)
    assert str(refused.value) == message
    assert list(run_dir.iterdir()) == []
    ControlBox(run_dir).close()
    box = Mailbox("writer.a#1", run_dir)
    with pytest.raises(ConfigError, match="TCP is refused without CURVE keys"):
        box.connect("parser.1#1", "tcp://127.0.0.1:1")
    box.close()


def test_an_address_that_is_not_of_this_machine_is_a_clear_error(run_dir: Path) -> None:
    elsewhere = Links(transport="tcp", host="192.0.2.1", **make_keys())
    with pytest.raises(Fatal, match=r"cannot bind tcp://192.0.2.1:\*: .*links.host has to be an address of this"):
        ControlBox(run_dir, elsewhere)


def test_a_relative_is_this_process_the_supervisor_or_a_child_of_it() -> None:
    me, parent = os.getpid(), os.getppid()
    assert is_of_this_run(f"localhost:0:0:{me}", me, 0)
    assert is_of_this_run(f"localhost:0:0:{parent}", 0, parent)
    assert is_of_this_run(f"localhost:0:0:{me}", 0, parent)
    assert not is_of_this_run(f"localhost:0:0:{me}", 0, me + 1)
    assert not is_of_this_run("localhost:0:0:0", me, parent), "of another pid namespace"
    assert not is_of_this_run(f"localhost:0:0:{2**22 + 1}", me, parent), "has ended"
    assert is_of_this_run("localhost", me, parent), "libzmq cannot tell"


def test_a_path_too_long_for_a_socket_is_a_clear_error(run_dir: Path) -> None:
    deep = run_dir / ("x" * 100)
    deep.mkdir()
    with pytest.raises(Fatal, match="bytes, at most 107 are possible"):
        ControlBox(deep)


def test_messages_between_two_arrive_in_the_order_they_were_sent(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    _, producer, consumer = boxes
    for number in range(500):
        producer.send("writer.a#1", Credit(number), [b"x" * (number * 300)])
    heard: list[int] = []
    while len(heard) < 500:
        received = consumer.receive(WAIT_S)
        assert received
        heard += [message.batches for _, message, _ in received if isinstance(message, Credit)]
    assert heard == list(range(500))


def test_nothing_comes_from_a_consumer_that_was_disconnected(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, producer, consumer = boxes
    producer.send("writer.a#1", Hello("run"))
    producer.send(SUPERVISOR, Booted(1))
    assert consumer.receive(WAIT_S) and control.wait(WAIT_S)[0]
    consumer.send("parser.1#1", Credit(1))
    producer.disconnect("writer.a#1")
    producer.disconnect("writer.a#1")
    control.send("parser.1#1", Start())
    assert producer.receive(WAIT_S) == [(SUPERVISOR, Start(), [])]


def test_sending_to_someone_who_was_there_and_is_gone_is_said_to_fail(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    control, producer, _ = boxes
    producer.send(SUPERVISOR, Booted(1))
    assert control.wait(WAIT_S)[0]
    producer.close()
    assert happens(lambda: not control.send("parser.1#1", Start()))


def test_the_supervisor_wakes_up_for_a_descriptor(boxes: tuple[ControlBox, Mailbox, Mailbox]) -> None:
    control, _, _ = boxes
    reader, writer = os.pipe()
    control.watch(reader)
    assert control.wait(0.0) == ([], [])
    os.close(writer)
    assert control.wait(WAIT_S) == ([], [reader])
    control.unwatch(reader)
    assert control.wait(0.0) == ([], [])
    os.close(reader)


def test_a_mailbox_wakes_up_for_a_descriptor_as_long_as_it_is_given(
    boxes: tuple[ControlBox, Mailbox, Mailbox]
) -> None:
    _, consumer, _ = boxes
    reader, writer = os.pipe()
    other, another = os.pipe()
    assert consumer.receive(0.0, reader) == []
    os.close(writer)  # so it can be read, from now on
    assert consumer.receive(None, reader) == [], "it did not wait for ever"
    assert consumer.receive(0.01) == []
    os.close(another)
    assert consumer.receive(None, other) == []
    os.close(reader)
    os.close(other)
    assert consumer.receive(0.01) == [], "a descriptor that is closed is not asked any more"


def received_by(box: Mailbox) -> list[tuple[str, AnyMessage, list[bytes]]]:
    """The first messages that arrive; garbage before them wakes the mailbox too."""
    deadline = time.monotonic() + 2 * WAIT_S
    received: list[tuple[str, AnyMessage, list[bytes]]] = []
    while not received and time.monotonic() < deadline:
        received = box.receive(WAIT_S)
    return received


def heard_by(box: ControlBox) -> list[tuple[str, AnyMessage, list[bytes]]]:
    """The first messages that arrive at a supervisor."""
    deadline = time.monotonic() + 2 * WAIT_S
    received: list[tuple[str, AnyMessage, list[bytes]]] = []
    while not received and time.monotonic() < deadline:
        received = box.wait(WAIT_S)[0]
    return received


def happens(condition: Callable[[], bool]) -> bool:
    """Look until something outside of this process's power is so, under a watchdog."""
    deadline = time.monotonic() + WAIT_S
    while not condition():
        if time.monotonic() > deadline:
            return False
    return True


class Recorder:
    """A role that notes what it is told, and can be busy until several sockets have something to say."""

    wake: int | None = None

    def __init__(self) -> None:
        self.heard: list[tuple[str, AnyMessage]] = []
        self.come: list[str] = []
        self.gone: list[str] = []
        self.busy: Callable[[], object] = lambda: None
        self.is_busy = threading.Event()

    def message(self, sender: str, message: AnyMessage, frames: list[bytes]) -> None:
        self.heard.append((sender, message))

    def roster(self, come: Sequence[Member], gone: Sequence[Member]) -> None:
        self.come += [member.address for member in come]
        self.gone += [member.address for member in gone]

    def work(self, now: float) -> float | None:
        if self.come:
            self.is_busy.set()
            busy, self.busy = self.busy, lambda: None
            busy()
        return None

    def drain(self) -> None:
        """Nothing to do."""

    def close(self) -> None:
        """Nothing is held."""


@pytest.fixture
def running(run_dir: Path) -> Iterator[tuple[ControlBox, Actor, Recorder, threading.Thread]]:
    """A real actor in a thread, with its supervisor's mailbox; it has booted."""
    create_board(run_dir / BOARD, ["reader.1"])
    control, recorder = ControlBox(run_dir), Recorder()
    actor = Actor("reader.1", 1, run_dir, ("parser",), "run")

    def role(post: Post) -> Recorder:
        return recorder

    thread = threading.Thread(target=actor.run, args=(1, role))
    thread.start()
    assert [message for _, message, _ in control.wait(WAIT_S)[0]] == [Booted(1)]
    yield control, actor, recorder, thread
    control.send("reader.1#1", Stop())
    thread.join(WAIT_S)
    control.close()
    assert not thread.is_alive()


def send_all(control: ControlBox, *messages: Message) -> None:
    for message in messages:
        assert control.send("reader.1#1", message)


def test_what_a_dead_actor_said_last_is_not_heard_after_its_death_is_known(
    run_dir: Path, running: tuple[ControlBox, Actor, Recorder, threading.Thread]
) -> None:
    control, actor, recorder, thread = running
    send_all(control, Start())
    assert isinstance(control.wait(WAIT_S)[0][0][1], Ready)
    parser = Mailbox("parser.1#1", run_dir)
    member = Member("parser.1", 1, "parser", parser.bind(), False)
    mailbox = actor._mailbox
    assert isinstance(mailbox, Mailbox)
    # While the reader is busy with one chunk, its worker gives credit, dies, and the roster says so.
    recorder.busy = lambda: happens(lambda: len(mailbox._poller.poll(0)) == 2)
    send_all(control, Roster(1, (member,)))
    assert parser.receive(WAIT_S) == [("reader.1#1", Hello("run"), [])]
    assert recorder.is_busy.wait(WAIT_S)
    parser.send("reader.1#1", Credit(2))
    send_all(control, Roster(2, ()), Stop())
    thread.join(WAIT_S)
    parser.close()
    assert recorder.gone == ["parser.1#1"]
    assert recorder.heard == []


def test_an_actor_that_is_told_to_start_and_to_stop_at_once_does_not_miss_the_stop(
    running: tuple[ControlBox, Actor, Recorder, threading.Thread]
) -> None:
    control, _, _, thread = running
    send_all(control, Start(), Stop())
    thread.join(WAIT_S)
    assert not thread.is_alive()


@pytest.mark.parametrize("timeout_s", [1e7, 1e300])
def test_a_wait_that_is_longer_than_c_can_say_is_a_wait(run_dir: Path, timeout_s: float) -> None:
    ours, theirs = os.pipe()
    box = Mailbox("writer.1#1", run_dir)
    try:
        os.write(theirs, b"x")
        assert box.receive(timeout_s, ours) == []
    finally:
        box.close()
        os.close(ours)
        os.close(theirs)
